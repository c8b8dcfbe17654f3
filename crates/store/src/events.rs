//! Events seen, so that a producer's retry reaches nobody twice.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bellbuoy_domain::Kind;
use jiff::Timestamp;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::{
    Store, StoreError, sql,
    store::{Statement, Writing},
    value::{kind, timestamp},
};

/// An event that stands at the fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEvent {
    /// Its source.
    pub source: String,
    /// Its id, unique within the source.
    pub id: String,
    /// Its kind.
    pub kind: Kind,
    /// Its repository or namespace; empty for the registry.
    pub subject: String,
    /// The id of the message that brought it.
    pub message: Uuid,
    /// When it was accepted; also the moment at which the window is judged.
    pub accepted_at: Timestamp,
    /// The event's canonical JSON.
    pub body: Vec<u8>,
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Fan it out.
    New,
    /// Drop it: another message of the same event is on its way or done.
    Repeat,
}

/// An event as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its source.
    pub source: String,
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: Kind,
    /// Its repository or namespace; empty for the registry.
    pub subject: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Whether its deliveries are recorded.
    pub fanned_out: bool,
    /// The event's canonical JSON.
    pub body: Vec<u8>,
}

impl Store {
    /// Decides, in one transaction and in the order given, which events are fanned out; one answer per event.
    ///
    /// An event is [`Admission::New`] when its (source, id) was never seen; when it was last accepted more than
    /// `window` before now, and is taken over; or when this very message brought it before and it is not yet
    /// recorded as fanned out. Else it is a repeat: the first message is durable in the broker and keeps coming
    /// back until it is settled.
    pub async fn admit_events(
        &self,
        seen: &[SeenEvent],
        window: Duration,
    ) -> Result<Vec<Admission>, StoreError> {
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        let firsts = first_of_each(seen);
        let mut known: HashMap<_, _> = firsts.iter().map(|event| (event.key(), Known::by(event))).collect();
        let mut writing = self.write().await?;
        let added = writing
            .run_many(
                &sql::ADMIT,
                &firsts,
                |event| event.body.len(),
                |statement, event| bind_event(statement, event),
            )
            .await?;
        if added < firsts.len() as u64 {
            read_known(&mut writing, &firsts, &mut known).await?;
        }
        let mut admissions = Vec::with_capacity(seen.len());
        for event in seen {
            let verdict = known.get(&event.key()).map_or(Verdict::New, |known| known.judge(event, window));
            if verdict == Verdict::TakeOver {
                writing.run(bind_take_over(event)).await?;
                known.insert(event.key(), Known::by(event));
            }
            admissions.push(verdict.admission());
        }
        writing.commit().await?;
        Ok(admissions)
    }

    /// The events of that id, of one source or of all.
    pub async fn event(&self, source: Option<&str>, id: &str) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(sql::EVENT).bind(id).bind(source).fetch_all(self.readers()).await?;
        rows.iter().map(|row| EventRow::from_row(row)?.read()).collect()
    }
}

impl SeenEvent {
    fn key(&self) -> (&str, &str) {
        (&self.id, &self.source)
    }
}

/// What the table says of an event.
struct Known {
    message: Uuid,
    accepted_at: i64,
    fanned_out: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    New,
    TakeOver,
    Repeat,
}

impl Known {
    /// What the table says once `event` is in it.
    fn by(event: &SeenEvent) -> Self {
        Self { message: event.message, accepted_at: event.accepted_at.as_millisecond(), fanned_out: false }
    }

    fn judge(&self, event: &SeenEvent, window: Duration) -> Verdict {
        let age = event.accepted_at.as_millisecond().saturating_sub(self.accepted_at);
        if self.message == event.message && !self.fanned_out {
            Verdict::New
        } else if age > millis(window) {
            Verdict::TakeOver
        } else {
            Verdict::Repeat
        }
    }
}

impl Verdict {
    fn admission(self) -> Admission {
        match self {
            Self::New | Self::TakeOver => Admission::New,
            Self::Repeat => Admission::Repeat,
        }
    }
}

fn millis(window: Duration) -> i64 {
    i64::try_from(window.as_millis()).unwrap_or(i64::MAX)
}

/// The first of each (source, id), in the order given.
fn first_of_each(seen: &[SeenEvent]) -> Vec<&SeenEvent> {
    let mut keys = HashSet::with_capacity(seen.len());
    seen.iter().filter(|event| keys.insert(event.key())).collect()
}

/// Puts into `known` what the table held before this batch.
async fn read_known<'a>(
    writing: &mut Writing,
    firsts: &[&'a SeenEvent],
    known: &mut HashMap<(&'a str, &'a str), Known>,
) -> Result<(), StoreError> {
    let bind = |statement: Statement, event: &&SeenEvent| {
        statement.bind(event.id.as_str()).bind(event.source.as_str())
    };
    let rows = writing.fetch_many(&sql::SEEN, firsts, bind).await?;
    let mut held: HashMap<(&str, &str), Known> = rows
        .iter()
        .map(|row| {
            let known = Known {
                message: row.try_get("message")?,
                accepted_at: row.try_get("accepted_at")?,
                fanned_out: row.try_get("fanned_out")?,
            };
            Ok(((row.try_get("id")?, row.try_get("source")?), known))
        })
        .collect::<Result<_, StoreError>>()?;
    for event in firsts {
        if let Some(held) = held.remove(&event.key()) {
            known.insert(event.key(), held);
        }
    }
    Ok(())
}

fn bind_event(statement: Statement, event: &SeenEvent) -> Statement {
    statement
        .bind(event.id.as_str())
        .bind(event.source.as_str())
        .bind(event.kind.name())
        .bind(event.subject.as_str())
        .bind(event.message)
        .bind(event.accepted_at.as_millisecond())
        .bind(false)
        .bind(event.body.as_slice())
}

fn bind_take_over(event: &SeenEvent) -> Statement {
    sqlx::query(sql::TAKE_OVER_EVENT)
        .bind(event.id.as_str())
        .bind(event.source.as_str())
        .bind(event.kind.name())
        .bind(event.subject.as_str())
        .bind(event.message)
        .bind(event.accepted_at.as_millisecond())
        .bind(event.body.as_slice())
}

#[derive(FromRow)]
struct EventRow {
    source: String,
    id: String,
    kind: String,
    subject: String,
    accepted_at: i64,
    fanned_out: bool,
    body: Vec<u8>,
}

impl EventRow {
    fn read(self) -> Result<StoredEvent, StoreError> {
        Ok(StoredEvent {
            kind: kind(&self.kind)?,
            accepted_at: timestamp(self.accepted_at)?,
            source: self.source,
            id: self.id,
            subject: self.subject,
            fanned_out: self.fanned_out,
            body: self.body,
        })
    }
}
