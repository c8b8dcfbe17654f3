//! The history of deliveries and attempts.

use bellbuoy_domain::{Cause, DeliveryId, DeliveryState, Kind, NotificationId, Record};
use jiff::Timestamp;

use crate::{Cursor, Store, StoreError};

/// Where one delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// For which notification.
    pub notification: NotificationId,
    /// By which method.
    pub method: String,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event: String,
    /// The event's kind.
    pub kind: Kind,
    /// The event's repository or namespace; empty for the registry.
    pub subject: String,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// Where it stands.
    pub state: DeliveryState,
    /// How many attempts it has spent.
    pub attempts: u32,
    /// When it is next due, while waiting.
    pub next_due_at: Option<Timestamp>,
    /// When it came to stand there.
    pub updated_at: Timestamp,
    /// Why it is not delivered, by its latest record.
    pub cause: Option<Cause>,
    /// The HTTP status of the latest record.
    pub status: Option<u16>,
}

/// One attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// `delivered`, `deferred` or `rejected`.
    pub outcome: String,
    /// Why it did not deliver.
    pub cause: Option<Cause>,
    /// The HTTP status of the answer, if one came.
    pub status: Option<u16>,
}

/// A delivery with its attempts, first to last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryDetail {
    /// The delivery.
    pub delivery: DeliveryRow,
    /// Its attempts.
    pub attempts: Vec<AttemptRow>,
}

/// Which deliveries are wanted. What is `None` does not restrict.
#[derive(Debug, Clone)]
pub struct DeliveryQuery {
    /// In this state.
    pub state: Option<DeliveryState>,
    /// By this method.
    pub method: Option<String>,
    /// Of this kind of event.
    pub kind: Option<Kind>,
    /// For this notification.
    pub notification: Option<NotificationId>,
    /// About this repository or namespace.
    pub subject: Option<String>,
    /// Of an event of this source.
    pub source: Option<String>,
    /// Of the event of this id.
    pub event: Option<String>,
    /// From where on; from the newest without it.
    pub after: Option<Cursor>,
    /// At most so many, from 1 to [`MAX_PAGE`](crate::MAX_PAGE).
    pub limit: u32,
}

impl Default for DeliveryQuery {
    /// The newest 50.
    fn default() -> Self {
        Self {
            state: None,
            method: None,
            kind: None,
            notification: None,
            subject: None,
            source: None,
            event: None,
            after: None,
            limit: 50,
        }
    }
}

/// Deliveries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// The deliveries. Can be fewer than the limit, even none, though more follow: one call looks at a bounded
    /// stretch of history.
    pub rows: Vec<DeliveryRow>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// How many deliveries of a method are in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryCount {
    /// The method.
    pub method: String,
    /// The state.
    pub state: DeliveryState,
    /// How many.
    pub count: u64,
}

impl Store {
    /// Writes what happened, in one transaction; repeats change nothing, and any order ends the same.
    ///
    /// Gives back the notifications that these records say are failing: those with a delivery that died here (or
    /// is repeated as having died), that are not disabled, and whose `failures` stand at `threshold` or above.
    pub async fn record(
        &self,
        records: &[Record],
        threshold: u32,
    ) -> Result<Vec<NotificationId>, StoreError> {
        todo!()
    }

    /// One delivery with its attempts.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError> {
        todo!()
    }

    /// A page of deliveries, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadCursor`] when `after` is not of this list.
    pub async fn deliveries(&self, query: &DeliveryQuery) -> Result<DeliveryPage, StoreError> {
        todo!()
    }

    /// How many deliveries there are by method and state. Reads an index from end to end: for a page that a person
    /// looks at, not for a metric.
    pub async fn delivery_counts(&self) -> Result<Vec<DeliveryCount>, StoreError> {
        todo!()
    }
}
