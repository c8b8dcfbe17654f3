//! Messages before, in and after a queue.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use crate::embedded::{Held, Returns};

/// Header that says why a message is dead.
const REASON: &str = "bellbuoy-reason";
/// Header that says which queue, or which way in, a dead message came from.
const ORIGIN: &str = "bellbuoy-origin";
/// Header that says more of why a message is dead, for people.
const DETAIL: &str = "bellbuoy-detail";

/// A queue's name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// Names a queue; it comes into being with its first message or consumer.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().into())
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Short named texts beside a message's body, in the order they were set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Sets a header, in place of an earlier one of that name.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.0.retain(|(earlier, _)| *earlier != name);
        self.0.push((name, value.into()));
    }

    // Why a message is dead.
    fn explain(&mut self, origin: &str, reason: &str, detail: &str) {
        self.set(REASON, reason);
        self.set(ORIGIN, origin);
        self.set(DETAIL, detail);
    }

    /// A header's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message to be made durable.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// To which queue.
    pub queue: QueueName,
    /// Its own id, kept over redeliveries.
    pub id: Uuid,
    /// What it says.
    pub body: Bytes,
    /// Texts beside the body.
    pub headers: Headers,
    /// How long nobody may have it; zero for at once, at most [`crate::MAX_DELAY`].
    pub delay: Duration,
}

impl Outgoing {
    /// A message for at once, with a fresh random id and no headers.
    pub fn new(queue: QueueName, body: impl Into<Bytes>) -> Self {
        Self {
            queue,
            id: Uuid::new_v4(),
            body: body.into(),
            headers: Headers::default(),
            delay: Duration::ZERO,
        }
    }

    /// The same, but not before `delay` has passed.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Bytes from outside that can't be used, kept as a dead letter: `origin` is the way they
    /// came in, `reason` one of a closed set, `detail` a sentence for people.
    pub fn quarantined(origin: &str, reason: &str, detail: &str, body: impl Into<Bytes>) -> Self {
        let mut message = Self::new(crate::queues::dead(), body);
        message.headers.explain(origin, reason, detail);
        message
    }

    /// A claimed message as a dead letter: its id, body and headers, and why. Give it as an
    /// output of settling the claim.
    pub fn dead_letter(claim: &Claim, reason: &str, detail: &str) -> Self {
        Self::given_up(claim.message(), reason, detail)
    }

    pub(crate) fn given_up(held: &Held, reason: &str, detail: &str) -> Self {
        let mut message = Self::new(crate::queues::dead(), held.body.clone());
        message.id = held.id;
        message.headers = held.headers.clone();
        message.headers.explain(held.queue.as_str(), reason, detail);
        message
    }
}

/// A message that is ours until it is settled or returned.
///
/// Dropping a claim returns the message to its queue and counts: a message returned as often as
/// the delivery limit is dead-lettered, because it seems to kill whoever takes it.
#[derive(Debug)]
pub struct Claim {
    pub(crate) held: Option<Held>,
    pub(crate) returns_to: Returns,
    // Frees its place in the consumer's limit when the claim is gone.
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Claim {
    /// The message's own id.
    pub fn id(&self) -> Uuid {
        self.message().id
    }

    /// What it says.
    pub fn body(&self) -> &Bytes {
        &self.message().body
    }

    /// Texts beside the body.
    pub fn headers(&self) -> &Headers {
        &self.message().headers
    }

    /// From which queue.
    pub fn queue(&self) -> &QueueName {
        &self.message().queue
    }

    /// How often it was returned unsettled before.
    pub fn returns(&self) -> u32 {
        self.message().returns
    }

    /// Since when it could have been claimed.
    pub fn due(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.message().due_ms.unsigned_abs())
    }

    /// Of a dead letter: why it is one.
    pub fn dead_reason(&self) -> Option<&str> {
        self.headers().get(REASON)
    }

    /// Of a dead letter: where it came from.
    pub fn dead_origin(&self) -> Option<&str> {
        self.headers().get(ORIGIN)
    }

    /// Of a dead letter: more of why, for people.
    pub fn dead_detail(&self) -> Option<&str> {
        self.headers().get(DETAIL)
    }

    fn message(&self) -> &Held {
        self.held.as_ref().expect("a claim holds its message until it is consumed")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.returns_to.give_back(held);
        }
    }
}

/// How much stands in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Which queue.
    pub queue: QueueName,
    /// Messages that could be claimed now, claimed ones included.
    pub ready: u64,
    /// Messages whose delay had not ended when it was last looked at.
    pub delayed: u64,
    /// Messages claimed and not yet settled.
    pub claimed: u64,
    /// How long the oldest message has been ready, if one is waiting.
    pub oldest_ready: Option<Duration>,
}
