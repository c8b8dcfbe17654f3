//! The history of deliveries and attempts, as it is read. `record` writes it.

use std::collections::HashSet;

use bellbuoy_domain::{Cause, DeliveryId, DeliveryState, Kind, NotificationId};
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Cursor, Store, StoreError,
    call::{Value, values},
    page::{self, Stretch},
    record::STEPS,
    sql,
    text::Text,
    value::{cause, delivery_state, kind, number, timestamp},
};

const LIST: char = 'd';

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
    /// The number of the attempt that its latest record is of, also of one that was not made; 0 before the first.
    pub last_number: u32,
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
    /// One delivery with its attempts.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError> {
        let found: Option<StoredDelivery> = self.fetch_one(sql::DELIVERY, &values![id.as_uuid()]).await?;
        let Some(found) = found else { return Ok(None) };
        let attempts: Vec<StoredAttempt> = self.fetch(sql::ATTEMPTS, &values![found.seq]).await?;
        let attempts = attempts.into_iter().map(StoredAttempt::read).collect::<Result<_, _>>()?;
        Ok(Some(DeliveryDetail { delivery: found.read()?, attempts }))
    }

    /// Those of `ids` that there are.
    pub async fn known_deliveries(&self, ids: &[DeliveryId]) -> Result<HashSet<DeliveryId>, StoreError> {
        let known: Vec<(Uuid,)> =
            self.fetch_many(&sql::KNOWN_DELIVERIES, ids, |id| values![id.as_uuid()]).await?;
        Ok(known.into_iter().map(|(id,)| id.into()).collect())
    }

    /// A page of deliveries, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadCursor`] when `after` is not of this list.
    pub async fn deliveries(&self, query: &DeliveryQuery) -> Result<DeliveryPage, StoreError> {
        let (text, stretch) = self.driven(query).await?;
        let limit = page::limit(query.limit);
        let values = values![
            stretch.before,
            stretch.floor,
            query.state.map(DeliveryState::name),
            query.method.as_deref(),
            query.kind.map(Kind::name),
            query.notification.map(NotificationId::as_uuid),
            query.subject.as_deref(),
            query.source.as_deref(),
            query.event.as_deref(),
            limit + 1,
        ];
        let mut rows: Vec<StoredDelivery> = self.fetch(text, &values).await?;
        let next = stretch.cut(&mut rows, limit, LIST, |row| row.seq);
        let rows = rows.into_iter().map(StoredDelivery::read).collect::<Result<_, _>>()?;
        Ok(DeliveryPage { rows, next })
    }

    /// The text whose index leads to the fewest rows, and the stretch of these that it looks at.
    async fn driven(&self, query: &DeliveryQuery) -> Result<(&'static str, Stretch), StoreError> {
        let before = Cursor::seq(query.after.as_ref(), LIST)?;
        let searched = query.is_searched();
        Ok(match query.driver() {
            None => (sql::DELIVERIES, Stretch::find(self, sql::DELIVERY_ENDS, before, searched).await?),
            Some((text, end, key)) if searched => (text, Stretch::along(self, end, key, before).await?),
            Some((text, ..)) => (text, Stretch::whole(before)),
        })
    }

    /// How many deliveries there are by method and state. Reads an index from end to end: for a page that a person
    /// looks at, not for a metric.
    pub async fn delivery_counts(&self) -> Result<Vec<DeliveryCount>, StoreError> {
        let rows: Vec<(Text, String, i64)> = self.fetch(sql::DELIVERY_COUNTS, &[]).await?;
        rows.into_iter()
            .map(|(Text(method), state, count)| {
                Ok(DeliveryCount { method, state: delivery_state(&state)?, count: number(count)? })
            })
            .collect()
    }
}

impl DeliveryQuery {
    /// The list that an index leads to, if one does, with what ends a stretch of it and what the index looks for.
    fn driver(&self) -> Option<(&'static str, &'static str, Value<'_>)> {
        if let Some(event) = &self.event {
            Some((sql::DELIVERIES_BY_EVENT, sql::END_BY_EVENT, event.as_str().into()))
        } else if let Some(notification) = self.notification {
            Some((sql::DELIVERIES_BY_NOTIFICATION, sql::END_BY_NOTIFICATION, notification.as_uuid().into()))
        } else {
            self.state.map(|state| (sql::DELIVERIES_BY_STATE, sql::END_BY_STATE, state.name().into()))
        }
    }

    /// Whether it is restricted by more than that index answers.
    fn is_searched(&self) -> bool {
        let given = [
            self.state.is_some(),
            self.method.is_some(),
            self.kind.is_some(),
            self.notification.is_some(),
            self.subject.is_some(),
            self.source.is_some(),
            self.event.is_some(),
        ];
        given.into_iter().filter(|given| *given).count() > usize::from(self.driver().is_some())
    }
}

#[derive(FromRow)]
struct StoredDelivery {
    seq: i64,
    id: Uuid,
    notification: Uuid,
    method: Text,
    source: Text,
    event: Text,
    kind: String,
    subject: Text,
    accepted_at: i64,
    progress: i64,
    state: String,
    attempts: i64,
    next_due_at: Option<i64>,
    updated_at: i64,
    cause_code: Option<String>,
    cause_detail: Option<Text>,
    status: Option<i64>,
}

impl StoredDelivery {
    fn read(self) -> Result<DeliveryRow, StoreError> {
        Ok(DeliveryRow {
            id: self.id.into(),
            notification: self.notification.into(),
            kind: kind(&self.kind)?,
            accepted_at: timestamp(self.accepted_at)?,
            state: delivery_state(&self.state)?,
            attempts: number(self.attempts)?,
            last_number: number(self.progress / STEPS)?,
            next_due_at: self.next_due_at.map(timestamp).transpose()?,
            updated_at: timestamp(self.updated_at)?,
            cause: cause(self.cause_code.as_deref(), self.cause_detail)?,
            status: self.status.map(number).transpose()?,
            method: self.method.0,
            source: self.source.0,
            event: self.event.0,
            subject: self.subject.0,
        })
    }
}

#[derive(FromRow)]
struct StoredAttempt {
    attempt: i64,
    started_at: i64,
    duration_ms: i64,
    outcome: Text,
    cause_code: Option<String>,
    cause_detail: Option<Text>,
    status: Option<i64>,
}

impl StoredAttempt {
    fn read(self) -> Result<AttemptRow, StoreError> {
        Ok(AttemptRow {
            number: number(self.attempt)?,
            started_at: timestamp(self.started_at)?,
            duration_ms: number(self.duration_ms)?,
            outcome: self.outcome.0,
            cause: cause(self.cause_code.as_deref(), self.cause_detail)?,
            status: self.status.map(number).transpose()?,
        })
    }
}
