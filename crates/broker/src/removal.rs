//! Moving out of an embedded broker: everything that stands on one goes to another broker.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    Broker, BrokerError, EmbeddedOptions, OpenError, QueueDepth, QueueName,
    embedded::{Embedded, Held},
    rabbitmq::Message,
};

/// The most messages of one batch.
const BATCH: usize = 1024;

/// The most bytes of bodies in one batch, unless one message alone has more.
const BATCH_BYTES: usize = 4 << 20;

/// An embedded broker that is emptied. Nobody consumes from it, neither this process nor another.
#[derive(Debug)]
pub struct Removal(Embedded);

/// Messages that were moved from one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Which queue.
    pub queue: QueueName,
    /// Messages that could have been claimed.
    pub ready: u64,
    /// Messages that still had to wait, and go on waiting.
    pub delayed: u64,
}

/// Why a batch was not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemovalError {
    /// The embedded broker could not be read or written. What it could not let go stands on both.
    #[error("the embedded broker can't be emptied")]
    From(#[source] BrokerError),
    /// The other broker did not take all of it. Nothing was let go; some of it may stand on both.
    #[error("the messages are not taken where they go to")]
    To(#[source] BrokerError),
}

impl Removal {
    /// Opens the embedded broker's files in `directory`, and counts what was claimed when they were last used. Needs a
    /// tokio runtime, now and in every call.
    ///
    /// # Errors
    ///
    /// As for [`Broker::open_embedded`].
    pub fn open(directory: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        Ok(Self::of(Embedded::open(directory, options)?))
    }

    /// The same, only to look: what was claimed when the files were last used is not counted now, but by whoever opens
    /// them next.
    ///
    /// # Errors
    ///
    /// As for [`Removal::open`].
    pub fn look(directory: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        Ok(Self::of(Embedded::open_uncounted(directory, options)?))
    }

    fn of(embedded: Embedded) -> Self {
        // Nothing is claimed, so nothing dies in our hands.
        embedded.stop_counting_returns();
        Self(embedded)
    }

    /// How much is left in each queue. As nobody has looked, what came due since the broker was last used is still
    /// counted as delayed.
    pub fn depths(&self) -> Vec<QueueDepth> {
        self.0.depths()
    }

    /// Moves the next messages, at most 1024 and a few MiB, of whichever queue; nothing when none is left.
    ///
    /// A message keeps its id, body, headers and the time it is due; on RabbitMQ also how often it was returned. It is let
    /// go here only when it is durable there. Whoever is cut off between the two and begins again moves up to a batch
    /// twice, under the same ids. An outage of RabbitMQ is waited out for half a minute.
    ///
    /// # Errors
    ///
    /// When either broker refuses. It can be called again.
    pub async fn move_next(&mut self, to: &Broker) -> Result<Vec<Moved>, RemovalError> {
        let batch = self.0.oldest(BATCH, BATCH_BYTES).await.map_err(RemovalError::From)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let now = SystemTime::now();
        let moved = tally(&batch, now);
        let messages = batch.iter().map(|held| message(held, now)).collect();
        to.carry(messages).await.map_err(RemovalError::To)?;
        self.0.remove(batch).await.map_err(RemovalError::From)?;
        Ok(moved)
    }

    /// Closes it in order; its files are free for another process then.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// The message as it stands. How long its whole wait was is not known any more, so that what is left is the whole.
fn message(held: &Held, now: SystemTime) -> Message {
    let wait_ms = if held.is_delayed() { remaining_ms(held, now).max(1) } else { 0 };
    Message {
        queue: held.queue.clone(),
        id: held.id,
        headers: held.headers.clone(),
        body: held.body.clone(),
        due_ms: held.due_ms,
        wait_ms,
        returns: held.returns,
    }
}

fn tally(batch: &[Held], now: SystemTime) -> Vec<Moved> {
    let mut by_queue = BTreeMap::<&QueueName, (u64, u64)>::new();
    for held in batch {
        let (ready, delayed) = by_queue.entry(&held.queue).or_default();
        let waits = held.is_delayed() && remaining_ms(held, now) > 0;
        *if waits { delayed } else { ready } += 1;
    }
    let moved = by_queue.into_iter();
    moved.map(|(queue, (ready, delayed))| Moved { queue: queue.clone(), ready, delayed }).collect()
}

fn remaining_ms(held: &Held, now: SystemTime) -> i64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    held.due_ms.saturating_sub(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)).max(0)
}
