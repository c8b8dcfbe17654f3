//! One channel's life: what was taken on it, and what is said of it.
//!
//! When the channel is gone, so is every claim taken on it: RabbitMQ gives those messages to somebody else,
//! and nothing that is said of them any more can reach it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
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
    pack: Option<Arc<Pack>>,
    lane: Lane,
    session: Arc<Session>,
    settled: bool,
}

/// What its members share that came in one message: what is said of that is said when the last of them has ended.
#[derive(Debug)]
pub(super) struct Pack {
    members: usize,
    open: AtomicUsize,
    returned: Mutex<Vec<Message>>,
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
        if tags.is_empty() {
            return if self.is_alive() { Ok(()) } else { Err(BrokerError::Lost) };
        }
        let (reply, answer) = oneshot::channel();
        if !self.is_alive() || self.words.send(Word::Ack { tags, reply }).is_err() {
            return Err(BrokerError::Lost);
        }
        answer.await.unwrap_or(Err(BrokerError::Lost))
    }

    /// Publishes a message anew, or a pack's members, and ends the one that they were read from: it moves without
    /// being counted.
    pub(super) fn replace(self: &Arc<Self>, parcels: Vec<Parcel>, tag: u64) {
        let session = Arc::clone(self);
        self.background.spawn(async move {
            let wanted = || session.is_alive();
            // RabbitMQ gives it out again, whole.
            if !wanted() {
                return;
            }
            if session.publisher.publish_patiently(parcels, wanted).await.is_ok() {
                // Unheard, the message is delivered again and moved once more.
                let _ = session.ack(vec![tag]).await;
            }
        });
    }
}

impl Taken {
    pub(super) fn new(message: Message, tag: u64, lane: Lane, session: &Arc<Session>) -> Self {
        Self { message, tag, pack: None, lane, session: Arc::clone(session), settled: false }
    }

    /// The same, as one of those that came together.
    pub(super) fn of(mut self, pack: &Arc<Pack>) -> Self {
        self.pack = Some(Arc::clone(pack));
        self
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

    /// Hands over the duty to say that it is done, with the tag that is to be said; none, if it is one of a pack and
    /// not the last, or others of them come again.
    pub(super) fn into_tag(mut self) -> Option<u64> {
        self.settled = true;
        match &self.pack {
            None => Some(self.tag),
            Some(pack) => match pack.end(None) {
                Ended::Settled => Some(self.tag),
                ended => {
                    self.conclude(ended);
                    None
                }
            },
        }
    }

    // The settled members of a pack stay settled: those that were given back are published anew.
    fn conclude(&self, ended: Ended) {
        match ended {
            Ended::Open | Ended::Settled => {}
            Ended::Returned => {
                // Nobody listens when the channel is gone, and with it the claim.
                let _ = self.session.words.send(Word::Return { tag: self.tag });
            }
            Ended::Divided(returned) => {
                let (now, tolerance) = (SystemTime::now(), self.session.publisher.tolerance());
                let parcels = returned.iter().map(|message| message.parcel(now, tolerance)).collect();
                self.session.replace(parcels, self.tag);
            }
        }
    }

    /// Gives it back unseen: nobody had it, so nothing is held against it.
    pub(super) fn put_back(mut self) {
        if !self.is_ours() {
            return;
        }
        if let Some(pack) = self.pack.take() {
            self.settled = true;
            self.conclude(pack.end(Some(self.message.clone())));
        } else if self.lane == Lane::Suspects {
            let parcel = self.message.parcel_for(Lane::Suspects);
            self.replace(parcel);
        }
    }

    /// Publishes it as `parcel` and ends it here; it costs the message nothing.
    pub(super) fn replace(mut self, parcel: Parcel) {
        self.settled = true;
        self.session.replace(vec![parcel], self.tag);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.settled || !self.session.is_alive() {
            return;
        }
        // Each return of a suspect is held against it. A shutdown's is not its doing.
        let quiet = self.session.quiet.load(Ordering::Relaxed);
        if self.lane == Lane::Suspects && quiet {
            self.session.replace(vec![self.message.parcel_for(Lane::Suspects)], self.tag);
            return;
        }
        self.conclude(self.pack.as_ref().map_or(Ended::Returned, |pack| {
            let mut message = self.message.clone();
            message.returns = message.returns.saturating_add(u32::from(!quiet));
            pack.end(Some(message))
        }));
    }
}

/// Where a pack stands after one more of its members has ended.
#[derive(Debug)]
enum Ended {
    /// Others are in hand.
    Open,
    /// All were settled.
    Settled,
    /// All were given back.
    Returned,
    /// All have ended, and these were given back.
    Divided(Vec<Message>),
}

impl Pack {
    pub(super) fn new(members: usize) -> Arc<Self> {
        Arc::new(Self { members, open: AtomicUsize::new(members), returned: Mutex::default() })
    }

    fn end(&self, returned: Option<Message>) -> Ended {
        let mut all = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(returned);
        if self.open.fetch_sub(1, Ordering::Relaxed) > 1 {
            return Ended::Open;
        }
        match all.len() {
            0 => Ended::Settled,
            count if count == self.members => Ended::Returned,
            _ => Ended::Divided(std::mem::take(&mut all)),
        }
    }
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
    told.await.map_err(|_| BrokerError::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outgoing, queues};

    fn message() -> Message {
        Message::new(Outgoing::new(queues::outcomes(), "{}"), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_pack_ends_with_its_last_member_and_only_those_given_back_come_again() {
        let pack = Pack::new(2);
        assert!(matches!([pack.end(None), pack.end(None)], [Ended::Open, Ended::Settled]));
        let pack = Pack::new(2);
        let ends = [pack.end(Some(message())), pack.end(Some(message()))];
        assert!(matches!(ends, [Ended::Open, Ended::Returned]));
        let (pack, returned) = (Pack::new(3), message());
        let ends = [pack.end(None), pack.end(Some(returned.clone())), pack.end(None)];
        let [Ended::Open, Ended::Open, Ended::Divided(again)] = ends else { panic!("{ends:?}") };
        assert_eq!(again.iter().map(|message| message.id).collect::<Vec<_>>(), [returned.id]);
    }
}
