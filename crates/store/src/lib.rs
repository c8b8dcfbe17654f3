#![doc = include_str!("../README.md")]

mod call;
mod cell;
mod copy;
mod dead_letters;
mod engine;
mod error;
mod events;
mod follow;
mod history;
mod inbox;
mod notifications;
mod open;
mod open_postgres;
mod open_sqlite;
mod page;
mod record;
mod retention;
mod sql;
mod store;
mod tables;
mod text;
mod value;
mod writing;

pub use copy::{Comparison, CopiedTable};
pub use dead_letters::{DeadLetter, DeadLetterPage, DeadLetterQuery, DeadLetterRow};
pub use error::{OpenError, StoreError};
pub use events::{Admission, SeenEvent, StoredEvent};
pub use history::{AttemptRow, DeliveryCount, DeliveryDetail, DeliveryPage, DeliveryQuery, DeliveryRow};
pub use inbox::{InboxItem, InboxPage, InboxRow};
pub use page::{Cursor, MAX_PAGE, Page};
pub use retention::Pruned;
pub use store::Store;
