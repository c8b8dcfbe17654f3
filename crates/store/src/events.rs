//! Events seen, so that a producer's retry reaches nobody twice.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bellbuoy_domain::{Kind, KindScope, RepositoryName, Scope};
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Cursor, Store, StoreError,
    call::{Value, values},
    page::limit,
    sql,
    text::Text,
    value::{kind, timestamp},
    writing::{Writing, retried},
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
    /// The id of the message that brought it, or that took it over.
    pub message: Uuid,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Whether its deliveries are recorded.
    pub fanned_out: bool,
    /// The event's canonical JSON.
    pub body: Vec<u8>,
}

/// Events, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub rows: Vec<StoredEvent>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// The letter of this list's cursors.
const LIST: char = 'e';

/// How far an event that arrived earlier may have been accepted later: an hour, for clocks and for queues.
const CLOCKS_APART_MS: i64 = 60 * 60 * 1000;

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
        retried(|| self.admit_once(seen, &firsts, window)).await
    }

    async fn admit_once(
        &self,
        seen: &[SeenEvent],
        firsts: &[&SeenEvent],
        window: Duration,
    ) -> Result<Vec<Admission>, StoreError> {
        let mut known: HashMap<_, _> = firsts.iter().map(|event| (event.key(), Known::by(event))).collect();
        let mut writing = self.write().await?;
        let added =
            writing.run_many(&sql::ADMIT, firsts, |event| event.body.len(), |event| event.columns()).await?;
        if added < firsts.len() as u64 {
            read_known(&mut writing, firsts, &mut known).await?;
        }
        let mut admissions = Vec::with_capacity(seen.len());
        for event in seen {
            let verdict = known.get(&event.key()).map_or(Verdict::New, |known| known.judge(event, window));
            if verdict == Verdict::TakeOver {
                writing.run(sql::TAKE_OVER_EVENT, &event.taking_over()).await?;
                known.insert(event.key(), Known::by(event));
            }
            admissions.push(verdict.admission());
        }
        writing.commit().await?;
        Ok(admissions)
    }

    /// The newest events within `scope`, newest first, at most `most`; of the newest 10,000 of all, so that a scope
    /// in which nothing happens costs no more than another.
    pub async fn recent_events(&self, scope: &Scope, most: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let (last,) = self.fetch_one(sql::LAST_EVENT, &[]).await?.ok_or(sqlx::Error::RowNotFound)?;
        let last: i64 = last;
        let (exact, within) = match scope {
            Scope::Registry => (None, None),
            Scope::Namespace(name) => (Some(name.as_str()), Some([format!("{name}/"), format!("{name}0")])),
            Scope::Repository(name) => (Some(name.as_str()), None),
        };
        let [from, to] = within.map_or([None, None], |within| within.map(Some));
        let values = values![last - RECENT, exact, from, to, limit(most)];
        let rows: Vec<EventRow> = self.fetch(sql::RECENT_EVENTS, &values).await?;
        let events = rows.into_iter().map(EventRow::read).collect::<Result<Vec<_>, _>>()?;
        Ok(events.into_iter().filter(|event| is_within(event, scope)).collect())
    }

    /// A page of events accepted at `since` or later, newest first. It can be short, even empty, though more follow.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadCursor`] when `after` is not of this list.
    pub async fn events_since(
        &self,
        since: Timestamp,
        after: Option<&Cursor>,
        wanted: u32,
    ) -> Result<EventPage, StoreError> {
        let most = limit(wanted);
        let before = Cursor::seq(after, LIST)?;
        let rows: Vec<ListedEvent> = self.fetch(sql::EVENTS, &values![before, most]).await?;
        let since = since.as_millisecond();
        let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= most);
        let last = rows.last().map(|last| (last.seq, last.event.accepted_at));
        // Events stand in the order of their arrival here, which is nearly that of their acceptance.
        let more = last.filter(|(_, accepted_at)| is_full && since - accepted_at <= CLOCKS_APART_MS);
        let rows = rows.into_iter().filter(|row| row.event.accepted_at >= since);
        Ok(EventPage {
            rows: rows.map(|row| row.event.read()).collect::<Result<_, _>>()?,
            next: more.map(|(seq, _)| Cursor::below(LIST, seq)),
        })
    }

    /// The events of that id, of one source or of all, in the order of their sources: the first of them, one more than
    /// [`MAX_SOURCES`] where there are more.
    pub async fn event(&self, source: Option<&str>, id: &str) -> Result<Vec<StoredEvent>, StoreError> {
        let most = i64::try_from(MAX_SOURCES).unwrap_or(i64::MAX).saturating_add(1);
        let rows: Vec<EventRow> = self.fetch(sql::EVENT, &values![id, source, most]).await?;
        rows.into_iter().map(EventRow::read).collect()
    }
}

/// Of how many sources the events of one id are shown together: each may hold 256 KiB.
pub const MAX_SOURCES: usize = 100;

/// How many of the newest events [`Store::recent_events`] looks at.
const RECENT: i64 = 10_000;

fn is_within(event: &StoredEvent, scope: &Scope) -> bool {
    let below = |name: &str| event.subject.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    match (scope, event.kind.scope()) {
        (Scope::Registry, _) => true,
        (Scope::Namespace(name), KindScope::Namespace) => event.subject == *name,
        (Scope::Namespace(name), KindScope::Repository) => below(name),
        (Scope::Repository(name), KindScope::Repository) => event.subject == name.as_str(),
        (Scope::Namespace(_) | Scope::Repository(_), _) => false,
    }
}

impl StoredEvent {
    /// Where it happened, without its body being read; `None` where its subject is no name.
    pub fn place(&self) -> Option<Scope> {
        match self.kind.scope() {
            KindScope::Repository => RepositoryName::parse(&*self.subject).ok().map(Scope::Repository),
            KindScope::Namespace => Some(Scope::Namespace(self.subject.clone())),
            KindScope::Registry => Some(Scope::Registry),
        }
    }
}

impl SeenEvent {
    fn key(&self) -> (&str, &str) {
        (&self.id, &self.source)
    }

    fn columns(&self) -> [Value<'_>; 8] {
        values![
            self.id.as_str(),
            self.source.as_str(),
            self.kind.name(),
            self.subject.as_str(),
            self.message,
            self.accepted_at.as_millisecond(),
            false,
            self.body.as_slice(),
        ]
    }

    fn taking_over(&self) -> [Value<'_>; 7] {
        values![
            self.id.as_str(),
            self.source.as_str(),
            self.kind.name(),
            self.subject.as_str(),
            self.message,
            self.accepted_at.as_millisecond(),
            self.body.as_slice(),
        ]
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

/// The first of each (source, id), in the order of their keys: two admitters that lock the same events in the same
/// order never wait for each other.
fn first_of_each(seen: &[SeenEvent]) -> Vec<&SeenEvent> {
    let mut keys = HashSet::with_capacity(seen.len());
    let mut firsts: Vec<&SeenEvent> = seen.iter().filter(|event| keys.insert(event.key())).collect();
    firsts.sort_unstable_by_key(|event| event.key());
    firsts
}

/// Puts into `known` what the table held before this batch.
async fn read_known<'a>(
    writing: &mut Writing,
    firsts: &[&'a SeenEvent],
    known: &mut HashMap<(&'a str, &'a str), Known>,
) -> Result<(), StoreError> {
    let rows: Vec<KnownRow> = writing
        .fetch_many(&sql::SEEN, firsts, |event| values![event.id.as_str(), event.source.as_str()])
        .await?;
    let mut held: HashMap<(&str, &str), &KnownRow> =
        rows.iter().map(|row| ((&*row.id.0, &*row.source.0), row)).collect();
    for event in firsts {
        if let Some(KnownRow { message, accepted_at, fanned_out, .. }) = held.remove(&event.key()) {
            let held = Known { message: *message, accepted_at: *accepted_at, fanned_out: *fanned_out };
            known.insert(event.key(), held);
        }
    }
    Ok(())
}

#[derive(FromRow)]
struct KnownRow {
    id: Text,
    source: Text,
    message: Uuid,
    accepted_at: i64,
    fanned_out: bool,
}

#[derive(FromRow)]
struct ListedEvent {
    seq: i64,
    #[sqlx(flatten)]
    event: EventRow,
}

#[derive(FromRow)]
struct EventRow {
    source: Text,
    id: Text,
    kind: String,
    subject: Text,
    message: Uuid,
    accepted_at: i64,
    fanned_out: bool,
    body: Vec<u8>,
}

impl EventRow {
    fn read(self) -> Result<StoredEvent, StoreError> {
        Ok(StoredEvent {
            kind: kind(&self.kind)?,
            accepted_at: timestamp(self.accepted_at)?,
            source: self.source.0,
            id: self.id.0,
            subject: self.subject.0,
            message: self.message,
            fanned_out: self.fanned_out,
            body: self.body,
        })
    }
}
