//! One channel's life: what was taken on it, and what is said of it.
//!
//! When the channel is gone, so is every claim taken on it: RabbitMQ gives those messages to somebody else,
//! and nothing that is said of them any more can reach it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use lapin::{
    Channel,
    options::{BasicAckOptions, BasicRejectOptions},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::{
    grouping::Grouping,
    publisher::Publisher,
    topology::Lane,
    wire::{Message, Parcel},
};
use crate::BrokerError;

/// Most words that are gathered before they are said.
const GATHER: usize = 1024;

/// What is to be said of messages.
enum Word {
    /// They are done with.
    Ack { tags: Vec<u64>, reply: oneshot::Sender<Result<(), BrokerError>> },
    /// It goes back, and counts.
    Return { tag: u64 },
}

/// A channel that messages are taken on.
#[derive(Debug)]
pub(super) struct Session {
    words: mpsc::UnboundedSender<Word>,
    alive: AtomicBool,
    publisher: Arc<Publisher>,
    quiet: Arc<AtomicBool>,
    background: TaskTracker,
}

/// A message in our hands. Whoever drops it gives it back.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) message: Message,
    tag: u64,
    lane: Lane,
    session: Arc<Session>,
    settled: bool,
}

impl Session {
    /// Begins to speak on `channel`.
    pub(super) fn begin(
        channel: Channel,
        publisher: Arc<Publisher>,
        quiet: Arc<AtomicBool>,
        background: TaskTracker,
    ) -> Arc<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by the prefetch: one word for each message taken"
        )]
        let (words, said) = mpsc::unbounded_channel();
        tokio::spawn(speak(channel, said));
        Arc::new(Self { words, alive: AtomicBool::new(true), publisher, quiet, background })
    }

    /// The channel is gone.
    pub(super) fn end(&self) {
        self.alive.store(false, Ordering::SeqCst);
    }

    /// Whether what was taken is still ours.
    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    /// Ends `tags`; done when RabbitMQ was told.
    pub(super) async fn ack(&self, tags: Vec<u64>) -> Result<(), BrokerError> {
        let (reply, answer) = oneshot::channel();
        if !self.is_alive() || self.words.send(Word::Ack { tags, reply }).is_err() {
            return Err(void());
        }
        answer.await.unwrap_or_else(|_| Err(void()))
    }

    /// Publishes a message anew and ends the one it was read from: it moves without being counted.
    fn replace(self: &Arc<Self>, parcel: Parcel, tag: u64) {
        let session = Arc::clone(self);
        self.background.spawn(async move {
            let wanted = || session.is_alive();
            if session.publisher.publish_patiently(vec![parcel], wanted).await.is_ok() {
                // Unheard, the message is delivered again and moved once more.
                let _ = session.ack(vec![tag]).await;
            }
        });
    }
}

impl Taken {
    pub(super) fn new(message: Message, tag: u64, lane: Lane, session: &Arc<Session>) -> Self {
        Self { message, tag, lane, session: Arc::clone(session), settled: false }
    }

    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    /// Whether it is still ours.
    pub(super) fn is_ours(&self) -> bool {
        self.session.is_alive()
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Hands over the duty to say what became of it.
    pub(super) fn into_tag(mut self) -> u64 {
        self.settled = true;
        self.tag
    }

    /// Gives it back unseen: nobody had it, so nothing is held against it.
    pub(super) fn put_back(self) {
        if self.lane == Lane::Suspects && self.is_ours() {
            let parcel = self.message.parcel_for(Lane::Suspects);
            self.replace(parcel);
        }
    }

    /// Publishes it as `parcel` and ends it here; it costs the message nothing.
    pub(super) fn replace(mut self, parcel: Parcel) {
        self.settled = true;
        self.session.replace(parcel, self.tag);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.settled || !self.session.is_alive() {
            return;
        }
        // Each return of a suspect is held against it. A shutdown's is not its doing.
        if self.lane == Lane::Suspects && self.session.quiet.load(Ordering::Relaxed) {
            self.session.replace(self.message.parcel_for(Lane::Suspects), self.tag);
        } else {
            // Nobody listens when the channel is gone, and with it the claim.
            let _ = self.session.words.send(Word::Return { tag: self.tag });
        }
    }
}

/// What a claim is that was taken on a channel that is gone.
pub(super) fn void() -> BrokerError {
    BrokerError::Unavailable(
        "the connection on which the message was taken is lost; RabbitMQ gives it to somebody again".into(),
    )
}

async fn speak(channel: Channel, mut words: mpsc::UnboundedReceiver<Word>) {
    let mut grouping = Grouping::default();
    while let Some(first) = words.recv().await {
        let mut gathered = vec![first];
        while gathered.len() < GATHER
            && let Ok(word) = words.try_recv()
        {
            gathered.push(word);
        }
        let said = say(&channel, &mut grouping, &gathered).await;
        for word in gathered {
            if let Word::Ack { reply, .. } = word {
                // Its caller stopped waiting; what was said is said.
                let _ = reply.send(said.clone());
            }
        }
    }
}

async fn say(channel: &Channel, grouping: &mut Grouping, gathered: &[Word]) -> Result<(), BrokerError> {
    let acked = gathered.iter().flat_map(|word| match word {
        Word::Ack { tags, .. } => tags.as_slice(),
        Word::Return { .. } => &[],
    });
    let words = grouping.words(acked.copied());
    let told = async {
        if let Some(tag) = words.up_to {
            channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
        for tag in words.single {
            channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?;
        }
        for word in gathered {
            if let Word::Return { tag } = word {
                grouping.said(*tag);
                // Not `nack`, which RabbitMQ 4.3 doesn't count.
                channel.basic_reject(*tag, BasicRejectOptions { requeue: true }).await?;
            }
        }
        Ok::<_, lapin::Error>(())
    };
    told.await.map_err(|_| void())
}
