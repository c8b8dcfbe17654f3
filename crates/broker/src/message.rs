//! Messages before, in and after a queue.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use uuid::Uuid;

use crate::{MAX_MESSAGE_BYTES, embedded, rabbitmq};

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
    /// Names a queue. On the embedded broker it comes into being with its first message or consumer, on
    /// RabbitMQ by a [`Topology`](crate::Topology).
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
    pub(crate) fn explain(&mut self, origin: &str, reason: &str, detail: &str) {
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
    /// Whether it may wait together with others, which is cheaper where many do: its wait then ends up to a quarter of
    /// a second later, and whoever counts waiting messages may count them as one. For what is to be done again anyhow:
    /// what is published with it may be durable before it is.
    pub together: bool,
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
            together: false,
        }
    }

    /// The same, but not before `delay` has passed.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same, waiting together with others.
    #[must_use]
    pub fn together(mut self) -> Self {
        self.together = true;
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
    /// output of settling the claim. Of a body of more than [`crate::MAX_MESSAGE_BYTES`] the beginning is kept, and the
    /// detail says so.
    pub fn dead_letter(claim: &Claim, reason: &str, detail: &str) -> Self {
        Self::given_up(claim.queue(), claim.id(), claim.headers(), claim.body(), (reason, detail))
    }

    pub(crate) fn given_up(
        queue: &QueueName,
        id: Uuid,
        headers: &Headers,
        body: &Bytes,
        (reason, detail): (&str, &str),
    ) -> Self {
        // A letter that is refused would bring back, again and again, what it is about and all that is settled beside it.
        let kept = body.slice(..body.len().min(MAX_MESSAGE_BYTES));
        let cut = (kept.len() < body.len())
            .then(|| format!("{detail}; of its {} bytes the first {} are kept", body.len(), kept.len()));
        let mut message = Self::new(crate::queues::dead(), kept);
        message.id = id;
        message.headers = headers.clone();
        message.headers.explain(queue.as_str(), reason, cut.as_deref().unwrap_or(detail));
        message
    }
}

/// A message that is ours until it is settled or returned.
///
/// Dropping a claim returns the message to its queue and counts: a message returned as often as
/// the delivery limit is dead-lettered, because it seems to kill whoever takes it.
///
/// On RabbitMQ a return costs the message as well when the connection is lost or this process ends while
/// the message is claimed or waits to be; a shutdown's return may.
#[derive(Debug)]
pub struct Claim(pub(crate) Hold);

/// By whom a message is held for us.
#[derive(Debug)]
pub(crate) enum Hold {
    Embedded(embedded::Claimed),
    RabbitMq(Box<rabbitmq::Claimed>),
}

impl Claim {
    /// The message's own id.
    pub fn id(&self) -> Uuid {
        match &self.0 {
            Hold::Embedded(claimed) => claimed.held().id,
            Hold::RabbitMq(claimed) => claimed.message().id,
        }
    }

    /// What it says.
    pub fn body(&self) -> &Bytes {
        match &self.0 {
            Hold::Embedded(claimed) => &claimed.held().body,
            Hold::RabbitMq(claimed) => &claimed.message().body,
        }
    }

    /// Texts beside the body.
    pub fn headers(&self) -> &Headers {
        match &self.0 {
            Hold::Embedded(claimed) => &claimed.held().headers,
            Hold::RabbitMq(claimed) => &claimed.message().headers,
        }
    }

    /// From which queue.
    pub fn queue(&self) -> &QueueName {
        match &self.0 {
            Hold::Embedded(claimed) => &claimed.held().queue,
            Hold::RabbitMq(claimed) => &claimed.message().queue,
        }
    }

    /// How often it was returned unsettled before.
    pub fn returns(&self) -> u32 {
        match &self.0 {
            Hold::Embedded(claimed) => claimed.held().returns,
            Hold::RabbitMq(claimed) => claimed.message().returns,
        }
    }

    /// Whether it can still be settled: on RabbitMQ not once the connection that it came by is lost. Then it comes again.
    pub fn is_ours(&self) -> bool {
        match &self.0 {
            Hold::Embedded(_) => true,
            Hold::RabbitMq(claimed) => claimed.is_ours(),
        }
    }

    /// Since when it could have been claimed.
    pub fn due(&self) -> SystemTime {
        let due_ms = match &self.0 {
            Hold::Embedded(claimed) => claimed.held().due_ms,
            Hold::RabbitMq(claimed) => claimed.message().due_ms,
        };
        SystemTime::UNIX_EPOCH + Duration::from_millis(due_ms.unsigned_abs())
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
}

/// How much stands in one of RabbitMQ's queues, and who takes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueCount {
    /// One of the topology's queues with all its parts; or `bellbuoy.delay`, where the messages of all queues wait
    /// together; or `bellbuoy.unroutable`, where those stand that had no way.
    pub queue: QueueName,
    /// Messages that nobody has claimed.
    pub messages: u64,
    /// Consumers, of whichever process.
    pub consumers: u64,
}

/// How much stands in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Which queue.
    pub queue: QueueName,
    /// Messages that could be claimed now, claimed ones included; on RabbitMQ, those that others have claimed
    /// are not.
    pub ready: u64,
    /// Messages whose delay had not ended when it was last looked at. On RabbitMQ the messages of all queues
    /// wait together, under the name `bellbuoy.delay`.
    pub delayed: u64,
    /// Messages claimed and not yet settled; on RabbitMQ, by this process.
    pub claimed: u64,
    /// How long the oldest message has been ready, if one is waiting. RabbitMQ doesn't say.
    pub oldest_ready: Option<Duration>,
}
