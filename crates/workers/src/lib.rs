#![doc = include_str!("../README.md")]

mod clock;
mod deliver;
mod error;
mod fanout;
mod record;
mod supervise;
mod vital;
mod wishes;

pub use deliver::{Deliver, DeliverLimits};
pub use error::WorkerError;
pub use fanout::{Fanout, FanoutLimits};
pub use record::{Record, RecordLimits, Retention};
pub use supervise::supervise;
pub use vital::Vital;
pub use wishes::{Wish, Wishes};
