#![doc = include_str!("../README.md")]

mod delivery;
mod event;
mod id;
mod kind;
mod name;
mod notification;
mod outcome;
mod retry;

pub use delivery::{
    AttemptRecord, DeadReason, DeliveryMessage, DeliveryState, FannedOut, PlannedDelivery, Record,
    WIRE_VERSION, WireError,
};
pub use event::{Event, EventError, MAX_DEPTH, MAX_EVENT_BYTES};
pub use id::{DeliveryId, NotificationId};
pub use kind::{Kind, KindScope, Level, UnknownKind};
pub use name::{NameError, RepositoryName, Subject};
pub use notification::{Notification, NotificationState, Scope};
pub use outcome::{Cause, CauseCode, Outcome};
pub use retry::{InvalidPolicy, Next, RetryPolicy};
