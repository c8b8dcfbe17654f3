//! Events seen, so that a producer's retry reaches nobody twice.

use std::time::Duration;

use bellbuoy_domain::Kind;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Store, StoreError};

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
        todo!()
    }

    /// The events of that id, of one source or of all.
    pub async fn event(&self, source: Option<&str>, id: &str) -> Result<Vec<StoredEvent>, StoreError> {
        todo!()
    }
}
