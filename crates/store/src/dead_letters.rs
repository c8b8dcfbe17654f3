//! Dead letters: what was given up or could not be read, kept with its reason.

use bellbuoy_domain::{DeliveryId, NotificationId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Cursor, Store, StoreError};

/// A dead letter with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id of the message that died.
    pub id: Uuid,
    /// The queue or the ingest that it came from.
    pub origin: String,
    /// Why, as a word of a closed set.
    pub reason: String,
    /// Why, as a sentence.
    pub detail: String,
    /// The delivery, if it was one.
    pub delivery: Option<DeliveryId>,
    /// Its notification.
    pub notification: Option<NotificationId>,
    /// Its method.
    pub method: Option<String>,
    /// The repository or namespace; empty for the registry, `None` when not known.
    pub subject: Option<String>,
    /// How many attempts it had spent.
    pub attempts: u32,
    /// The message's bytes, as they came.
    pub body: Vec<u8>,
    /// When it died.
    pub died_at: Timestamp,
}

/// A dead letter in a list: all but its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// The id of the message that died.
    pub id: Uuid,
    /// The queue or the ingest that it came from.
    pub origin: String,
    /// Why, as a word of a closed set.
    pub reason: String,
    /// Why, as a sentence.
    pub detail: String,
    /// The delivery, if it was one.
    pub delivery: Option<DeliveryId>,
    /// Its notification.
    pub notification: Option<NotificationId>,
    /// Its method.
    pub method: Option<String>,
    /// The repository or namespace; empty for the registry, `None` when not known.
    pub subject: Option<String>,
    /// How many attempts it had spent.
    pub attempts: u32,
    /// How many bytes its body has.
    pub body_bytes: u64,
    /// When it died.
    pub died_at: Timestamp,
}

/// Which dead letters are wanted. What is `None` does not restrict.
#[derive(Debug, Clone)]
pub struct DeadLetterQuery {
    /// From this queue or ingest.
    pub origin: Option<String>,
    /// For this reason.
    pub reason: Option<String>,
    /// By this method.
    pub method: Option<String>,
    /// For this notification.
    pub notification: Option<NotificationId>,
    /// About this repository or namespace.
    pub subject: Option<String>,
    /// From where on; from the newest without it.
    pub after: Option<Cursor>,
    /// At most so many, from 1 to [`MAX_PAGE`](crate::MAX_PAGE).
    pub limit: u32,
}

impl Default for DeadLetterQuery {
    /// The newest 50.
    fn default() -> Self {
        Self {
            origin: None,
            reason: None,
            method: None,
            notification: None,
            subject: None,
            after: None,
            limit: 50,
        }
    }
}

/// Dead letters, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The letters.
    pub rows: Vec<DeadLetterRow>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl Store {
    /// Keeps dead letters. One that is kept already stays as it is.
    pub async fn archive_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        todo!()
    }

    /// A page of dead letters, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadCursor`] when `after` is not of this list.
    pub async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        todo!()
    }

    /// One dead letter with its bytes.
    pub async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
        todo!()
    }

    /// Forgets a dead letter that was replayed or is not wanted. False when there is none.
    pub async fn discard_dead_letter(&self, id: Uuid) -> Result<bool, StoreError> {
        todo!()
    }
}
