#![doc = include_str!("../README.md")]

mod audit;
mod call;
mod callbacks;
mod cell;
mod copy;
mod dead_letters;
mod digests;
mod directory;
mod engine;
mod error;
mod events;
mod follow;
mod health;
mod history;
mod import;
mod inbox;
mod keepers;
mod mailboxes;
mod many;
mod notifications;
mod open;
mod open_postgres;
mod open_sqlite;
mod page;
mod record;
mod repositories;
mod retention;
mod seal;
mod sealing;
mod sends;
mod sessions;
mod slots;
mod sql;
mod sql_directory;
mod store;
mod tables;
mod text;
mod tokens;
mod value;
mod writing;

pub use audit::{AuditEntry, AuditPage, AuditQuery};
pub use callbacks::{AwaitedCallback, CallbackRow};
pub use copy::{Comparison, CopiedTable};
pub use dead_letters::{DeadLetter, DeadLetterPage, DeadLetterQuery, DeadLetterRow};
pub use digests::{Collected, Collecting, DueDigest, OpenDigest};
pub use directory::{Account, DirectoryError, Put, Team};
pub use error::{OpenError, StoreError};
pub use events::{Admission, EventPage, MAX_SOURCES, SeenEvent, StoredEvent};
pub use health::{ReceiverHealth, SeenReceiver};
pub use history::{AttemptRow, DeliveryCount, DeliveryDetail, DeliveryPage, DeliveryQuery, DeliveryRow};
pub use import::{
    DIRECTORY_VERSION, DirectoryChange, DirectoryDocument, OrganizationEntry, PermissionEntry,
    RepositoryEntry, RobotEntry, TeamEntry, UserEntry,
};
pub use inbox::{InboxItem, InboxPage, InboxRow};
pub use mailboxes::Mailboxes;
pub use notifications::MOST_NOTIFICATIONS;
pub use page::{Cursor, MAX_PAGE, Page};
pub use repositories::{AuthorizedEmail, Permission, Repository};
pub use retention::Pruned;
pub use seal::SecretKeys;
pub use sealing::Sealing;
pub use slots::{SlotAnswer, SlotAsk, SlotCall, SlotTerms};
pub use store::Store;
pub use tokens::Token;
