//! This process's part in one queue's work: one channel, one window, any number of consumers.
//!
//! What RabbitMQ sends ahead stands in the window, where any of the process's consumers takes it. A message
//! that came before its time waits once more, and one that was returned twice goes to the suspects, of which
//! a process has one at a time: when it dies, that one is to blame, and nothing that was merely near it.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> arrived : from RabbitMQ
//!     arrived --> [*] : early, parked again
//!     arrived --> [*] : a pack that has waited, taken apart
//!     arrived --> [*] : suspicious, moved to the suspects (a pack's members each by itself)
//!     arrived --> window
//!     window --> claimed : a consumer asks
//!     claimed --> [*] : settled, or returned
//!     window --> [*] : void, the channel is gone
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, SystemTime},
};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{
    link::{Link, Refusal, State, refusal},
    publisher::Publisher,
    reconnect::Pauses,
    session::{Pack, Session, Taken},
    topology::{Lane, SUSPECT_RETURNS},
    wire::Message,
};
use crate::{BrokerError, QueueName};

/// A message that is early by no more than this is held here; another round through RabbitMQ takes longer.
const HOLD: Duration = Duration::from_millis(25);

/// How long RabbitMQ may take to answer on the channel.
const ANSWER: Duration = Duration::from_secs(15);

/// One queue, as this process takes part in it.
#[derive(Debug)]
pub(super) struct Subscription {
    queue: QueueName,
    window: Mutex<Window>,
    ready: Notify,
    changed: Notify,
    pub(super) claimed: AtomicU64,
    publisher: Arc<Publisher>,
    quiet: Arc<AtomicBool>,
    background: TaskTracker,
    suspects_from: Instant,
}

#[derive(Debug, Default)]
struct Window {
    fresh: VecDeque<Taken>,
    due: VecDeque<Taken>,
    suspects: VecDeque<Taken>,
    due_turn: bool,
    consumers: BTreeMap<u64, u16>,
    next_consumer: u64,
    failure: Option<BrokerError>,
    closed: bool,
}

/// From one of RabbitMQ's consumers.
enum Item {
    Delivery(Lane, Box<Delivery>),
    Failed(lapin::Error),
    Ended(ShortString),
}

/// What we have asked RabbitMQ to send us.
#[derive(Default)]
struct Asked {
    streams: SelectAll<BoxStream<'static, Item>>,
    by_consumer: BTreeMap<u64, Vec<ShortString>>,
    suspects: Option<ShortString>,
}

impl Subscription {
    pub(super) fn new(
        queue: QueueName,
        publisher: Arc<Publisher>,
        quiet: Arc<AtomicBool>,
        background: TaskTracker,
        suspects_from: Instant,
    ) -> Self {
        Self {
            queue,
            window: Mutex::default(),
            ready: Notify::new(),
            changed: Notify::new(),
            claimed: AtomicU64::new(0),
            publisher,
            quiet,
            background,
            suspects_from,
        }
    }

    /// A consumer with room for `limit` messages comes; its number is for [`Subscription::leave`].
    pub(super) fn join(&self, limit: usize) -> u64 {
        let mut window = self.window();
        let number = window.next_consumer;
        window.next_consumer += 1;
        window.consumers.insert(number, u16::try_from(limit).unwrap_or(u16::MAX));
        self.changed.notify_one();
        number
    }

    /// That consumer goes. With the last one, what stands in the window goes back.
    pub(super) fn leave(&self, number: u64) {
        let mut window = self.window();
        window.consumers.remove(&number);
        if window.consumers.is_empty() {
            window.give_back();
        }
        self.changed.notify_one();
    }

    /// Takes the next message as soon as there is one.
    pub(super) async fn claim(&self) -> Result<Taken, BrokerError> {
        // What went wrong while nobody waited may be put right by now.
        self.window().failure = None;
        loop {
            let ready = self.ready.notified();
            tokio::pin!(ready);
            ready.as_mut().enable();
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if let Some(taken) = self.try_claim() {
                return Ok(taken);
            }
            ready.await;
        }
    }

    /// Takes a message if one is at hand.
    pub(super) fn try_claim(&self) -> Option<Taken> {
        let mut window = self.window();
        let taken = window.take();
        if window.has_any() {
            self.ready.notify_one();
        }
        taken
    }

    fn failure(&self) -> Option<BrokerError> {
        let mut window = self.window();
        if window.closed { Some(BrokerError::Closed) } else { window.failure.take() }
    }

    /// Ends every wait; what stands in the window goes back.
    pub(super) fn close(&self) {
        let mut window = self.window();
        window.closed = true;
        window.consumers.clear();
        window.give_back();
        drop(window);
        self.ready.notify_waiters();
        self.changed.notify_one();
    }

    /// Keeps a channel on the link, whichever it is, until `stop`.
    pub(super) async fn run(self: Arc<Self>, mut state: watch::Receiver<State>, stop: CancellationToken) {
        let work = async {
            let mut pauses = Pauses::new();
            loop {
                let Some(link) = up(&mut state).await else { return };
                let began = Instant::now();
                let Err(ended) = self.serve(&link).await else { return };
                if began.elapsed() > ANSWER {
                    pauses.reset();
                }
                self.void(&ended);
                drop(link);
                sleep(pauses.next()).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Takes part until the channel is lost, or, in order, until we are closed.
    async fn serve(self: &Arc<Self>, link: &Link) -> lapin::Result<()> {
        let channel = within(link.connection.create_channel()).await?;
        let session = Session::begin(
            channel.clone(),
            Arc::clone(&self.publisher),
            Arc::clone(&self.quiet),
            self.background.clone(),
        );
        let ended = self.take_in(&channel, &session).await;
        if ended.is_ok() {
            // What is being moved still has to be ended on this channel.
            self.background.wait().await;
        }
        session.end();
        // What was sent ahead goes back now and not only when the connection ends.
        let closing = timeout(ANSWER, async move { channel.close(200, "".into()).await });
        if ended.is_ok() {
            let _ = closing.await;
        } else {
            // RabbitMQ may be silent on this channel and well on the next one.
            tokio::spawn(closing);
        }
        ended
    }

    async fn take_in(self: &Arc<Self>, channel: &Channel, session: &Arc<Session>) -> lapin::Result<()> {
        let mut asked = Asked::default();
        loop {
            self.ask(channel, &mut asked).await?;
            if asked.streams.is_empty() && self.window().closed {
                return Ok(());
            }
            tokio::select! {
                item = asked.streams.next(), if !asked.streams.is_empty() => match item {
                    Some(Item::Delivery(lane, delivery)) => self.arrived(lane, *delivery, session),
                    Some(Item::Failed(error)) => return Err(error),
                    Some(Item::Ended(tag)) => asked.ended(&tag)?,
                    // The last of them has ended.
                    None => {}
                },
                () = self.changed.notified() => {}
                () = sleep_until(self.suspects_from), if Instant::now() < self.suspects_from => {}
            }
        }
    }

    /// Makes what we have asked for what our consumers want.
    async fn ask(&self, channel: &Channel, asked: &mut Asked) -> lapin::Result<()> {
        let wanted = self.window().consumers.clone();
        for (number, limit) in &wanted {
            if !asked.by_consumer.contains_key(number) {
                let mut tags = Vec::new();
                for lane in [Lane::Fresh, Lane::Due] {
                    tags.push(asked.consume(channel, lane, &self.queue, *limit).await?);
                }
                asked.by_consumer.insert(*number, tags);
            }
        }
        let gone: Vec<_> =
            asked.by_consumer.keys().filter(|number| !wanted.contains_key(number)).copied().collect();
        for number in gone {
            for tag in asked.by_consumer.remove(&number).unwrap_or_default() {
                within(channel.basic_cancel(tag, BasicCancelOptions::default())).await?;
            }
        }
        // One for the whole process, and one at a time.
        match asked.suspects.take() {
            None if !wanted.is_empty() && Instant::now() >= self.suspects_from => {
                asked.suspects = Some(asked.consume(channel, Lane::Suspects, &self.queue, 1).await?);
            }
            Some(tag) if wanted.is_empty() => {
                within(channel.basic_cancel(tag, BasicCancelOptions::default())).await?;
            }
            unchanged => asked.suspects = unchanged,
        }
        Ok(())
    }

    fn arrived(self: &Arc<Self>, lane: Lane, delivery: Delivery, session: &Arc<Session>) {
        let now = SystemTime::now();
        let tag = delivery.delivery_tag;
        let message = Message::received(&self.queue, delivery, now);
        if let Some(members) = message.members() {
            return if message.wait_ms > 0 {
                self.waited_together(&message, &members, tag, session);
            } else {
                self.arrived_together(lane, members, tag, session);
            };
        }
        let taken = Taken::new(message, tag, lane, session);
        let remaining = taken.message.remaining(now);
        if remaining > HOLD {
            let parcel = taken.message.parcel(now, self.publisher.tolerance());
            taken.replace(parcel);
        } else if lane != Lane::Suspects && taken.message.returns >= SUSPECT_RETURNS {
            let parcel = taken.message.parcel_for(Lane::Suspects);
            taken.replace(parcel);
        } else if remaining.is_zero() {
            self.offer(taken);
        } else {
            let subscription = Arc::clone(self);
            self.background.spawn(async move {
                sleep(remaining).await;
                subscription.offer(taken);
            });
        }
    }

    // Each goes on by itself, so that none comes again because another one was not settled.
    fn waited_together(&self, pack: &Message, members: &[Message], tag: u64, session: &Arc<Session>) {
        let now = SystemTime::now();
        let parcels = if pack.remaining(now) > HOLD {
            vec![pack.parcel(now, self.publisher.tolerance())]
        } else {
            members.iter().map(|member| member.parcel_for(Lane::Due)).collect()
        };
        session.replace(parcels, tag);
    }

    // Which of them is to blame when it was returned shows when each is tried alone.
    fn arrived_together(&self, lane: Lane, members: Vec<Message>, tag: u64, session: &Arc<Session>) {
        if members.iter().any(|member| member.returns >= SUSPECT_RETURNS) {
            return session.replace(members.iter().map(|one| one.parcel_for(Lane::Suspects)).collect(), tag);
        }
        let pack = Pack::new(members.len());
        for member in members {
            self.offer(Taken::new(member, tag, lane, session).of(&pack));
        }
    }

    fn offer(&self, taken: Taken) {
        let mut window = self.window();
        if window.consumers.is_empty() {
            return taken.put_back();
        }
        window.lane(taken.lane()).push_back(taken);
        drop(window);
        self.ready.notify_one();
    }

    /// The channel is gone: what stands in the window is no longer ours.
    fn void(&self, ended: &lapin::Error) {
        let mut window = self.window();
        window.give_back();
        if let Some(Refusal::Missing(_)) = refusal(ended) {
            let why = format!("queue `{}` is missing; run `bellbuoy topology apply`", self.queue);
            warn!("{why}");
            window.failure = Some(BrokerError::Unavailable(why));
            drop(window);
            self.ready.notify_one();
        } else {
            drop(window);
            warn!("stopped taking from queue {} for a moment: {ended}", self.queue);
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Taken> {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Due => &mut self.due,
            Lane::Suspects => &mut self.suspects,
        }
    }

    // What is new and what has waited take turns, so that neither starves the other.
    fn take(&mut self) -> Option<Taken> {
        self.due_turn = !self.due_turn;
        let lanes = if self.due_turn {
            [Lane::Suspects, Lane::Due, Lane::Fresh]
        } else {
            [Lane::Suspects, Lane::Fresh, Lane::Due]
        };
        lanes.into_iter().find_map(|lane| self.lane(lane).pop_front().filter(Taken::is_ours))
    }

    fn has_any(&self) -> bool {
        !(self.fresh.is_empty() && self.due.is_empty() && self.suspects.is_empty())
    }

    fn give_back(&mut self) {
        for lane in Lane::ALL {
            self.lane(lane).drain(..).for_each(Taken::put_back);
        }
    }
}

impl Asked {
    async fn consume(
        &mut self,
        channel: &Channel,
        lane: Lane,
        queue: &QueueName,
        limit: u16,
    ) -> lapin::Result<ShortString> {
        within(channel.basic_qos(limit, BasicQosOptions { global: false })).await?;
        let consumer = channel.basic_consume(
            lane.of(queue).into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = within(consumer).await?;
        let tag = consumer.tag();
        let ended = Item::Ended(tag.clone());
        let items = consumer.map(move |delivered| match delivered {
            Ok(delivery) => Item::Delivery(lane, Box::new(delivery)),
            Err(error) => Item::Failed(error),
        });
        self.streams.push(items.chain(stream::iter([ended])).boxed());
        Ok(tag)
    }

    /// One of RabbitMQ's consumers has ended: because we wanted it to, or because its queue is gone.
    fn ended(&self, tag: &ShortString) -> lapin::Result<()> {
        let ours = self.by_consumer.values().flatten().chain(&self.suspects).any(|wanted| wanted == tag);
        if ours { Err(std::io::Error::other("RabbitMQ ended the subscription").into()) } else { Ok(()) }
    }
}

/// The link, once there is one.
async fn up(state: &mut watch::Receiver<State>) -> Option<Arc<Link>> {
    let state = state.wait_for(|state| matches!(state, State::Up(_))).await.ok()?;
    match &*state {
        State::Up(link) => Some(Arc::clone(link)),
        State::Down(_) => None,
    }
}

async fn within<T>(asked: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
    timeout(ANSWER, asked)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}
