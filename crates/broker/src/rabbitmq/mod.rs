//! The broker on RabbitMQ.
//!
//! Two connections: an alarm stops the one that publishes (`publisher`), and messages are taken, ended and
//! returned on the other (`subscription`, `session`). Both are kept by `link`, which makes a lost one anew.
//! What stands on RabbitMQ is described in `topology`, declared and compared in `declare` and `comparison`; what
//! had no route finds it again in `reroute`. How a message looks there is in `wire`, how it waits in `delay`.
//! Events and what the recorder is told leave as few large messages (`pack`), those of callers who do not wait for outages in
//! groups (`gathering`). How much stands where is asked for in `depths`.

mod comparison;
mod declare;
mod delay;
mod depths;
mod gathering;
mod grouping;
mod link;
mod pack;
mod publisher;
mod reconnect;
mod reroute;
mod session;
mod subscription;
mod topology;
mod wire;

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use lapin::{options::QueueDeclareOptions, types::FieldTable};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::session::Taken;
pub(crate) use self::wire::Message;
pub use self::{comparison::Comparison, declare::TopologyError, topology::Topology};
use self::{
    delay::Tolerance,
    depths::Depths,
    link::{Connector, Link, Refusal, Role, State, keep, refusal, up_now},
    publisher::Publisher,
    subscription::Subscription,
    topology::{Lane, level_name},
};
use crate::{AmqpUrl, BrokerError, OpenError, Outgoing, QueueCount, QueueName, Shards};

/// How long RabbitMQ may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);

/// Between two looks for a queue that done work has to go to.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long messages of another broker wait for an outage to end.
const CARRY: Duration = Duration::from_secs(30);

/// How long a close waits for what is still being moved. What remains is delivered again.
const FAREWELL: Duration = Duration::from_secs(3);

/// How the broker on RabbitMQ behaves.
#[derive(Debug, Clone)]
pub struct RabbitMqOptions {
    /// Certificates for `amqps`.
    pub tls: Tls,
    /// How long RabbitMQ may be silent; twice that, and the connection is lost. 10 s, in whole seconds.
    pub heartbeat: Duration,
    /// How late a wait may end, in percent of it, where that is more than a second, but no more than 20 s; 0 keeps
    /// each to the second, by up to half as many hops more. 1.
    pub delay_tolerance_percent: u8,
    /// How long a process has to live before it touches a message that was returned twice. One that dies
    /// sooner has died of something else. 2 s.
    pub suspects_after: Duration,
    /// What stands there: the queues whose depths are asked for.
    pub topology: Topology,
}

impl Default for RabbitMqOptions {
    /// The system's certificate authorities, 10 s, 1 %, 2 s, no delivery methods.
    fn default() -> Self {
        let topology = Topology::new(&[], Shards::ONE);
        Self {
            tls: Tls::default(),
            heartbeat: Duration::from_secs(10),
            delay_tolerance_percent: 1,
            suspects_after: Duration::from_secs(2),
            topology,
        }
    }
}

/// PEM files for `amqps`.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificate authorities that are trusted besides the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate (with its chain) and key, where RabbitMQ asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How RabbitMQ is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Whether the connection stands on which messages are published.
    pub publishing: bool,
    /// Whether the connection stands on which messages are taken and ended.
    pub consuming: bool,
    /// Whether RabbitMQ has an alarm and takes no messages.
    pub blocked: bool,
}

/// A broker on RabbitMQ. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RabbitMq {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    publisher: Arc<Publisher>,
    taking: watch::Receiver<State>,
    subscriptions: Mutex<HashMap<QueueName, Arc<Subscription>>>,
    known: Mutex<HashSet<QueueName>>,
    depths: Mutex<Depths>,
    names: Vec<QueueName>,
    suspects_from: Instant,
    quiet: Arc<AtomicBool>,
    closed: AtomicBool,
    taking_part: TaskTracker,
    background: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

/// One worker's hold on a queue.
#[derive(Debug)]
pub(crate) struct Consumer {
    subscription: Arc<Subscription>,
    number: u64,
    limit: Arc<Semaphore>,
    // While somebody consumes, the broker lives.
    broker: RabbitMq,
}

/// A message in somebody's hands.
#[derive(Debug)]
pub(crate) struct Claimed {
    taken: Taken,
    _counted: Counted,
    // Frees its place in the consumer's limit when the claim is gone.
    _permit: OwnedSemaphorePermit,
    // While somebody has a claim, the broker lives.
    _broker: RabbitMq,
}

/// Counts among what its queue has in somebody's hands.
#[derive(Debug)]
struct Counted(Arc<Subscription>);

impl RabbitMq {
    /// Begins to connect, and goes on until it is closed: RabbitMQ may be away, now and later. Needs a tokio
    /// runtime.
    pub(crate) fn open(url: &AmqpUrl, options: &RabbitMqOptions) -> Result<Self, OpenError> {
        let connector = Arc::new(Connector::new(url, options)?);
        let stop = CancellationToken::new();
        let begin = |role| {
            let (state, seen) = watch::channel(State::Down("not connected yet".into()));
            tokio::spawn(keep(role, Arc::clone(&connector), state, stop.clone()));
            seen
        };
        let shared = Shared {
            publisher: Arc::new(Publisher::new(
                begin(Role::Publish),
                Tolerance::percent(options.delay_tolerance_percent),
            )),
            taking: begin(Role::Consume),
            subscriptions: Mutex::default(),
            known: Mutex::default(),
            depths: Mutex::default(),
            names: options.topology.names.clone(),
            suspects_from: Instant::now() + options.suspects_after,
            quiet: Arc::default(),
            closed: AtomicBool::new(false),
            taking_part: TaskTracker::new(),
            background: TaskTracker::new(),
            stop: stop.clone(),
            _stop_when_dropped: stop.drop_guard(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) async fn settle(
        &self,
        claims: Vec<Claimed>,
        outputs: Vec<Outgoing>,
    ) -> Result<(), BrokerError> {
        let broker = self.clone();
        // On its own: a caller that stops waiting must not leave it half done.
        tokio::spawn(async move { broker.settle_now(claims, outputs).await })
            .await
            .unwrap_or(Err(BrokerError::Closed))
    }

    /// Publishes through every outage, until `stop`.
    pub(crate) async fn publish_patiently(
        &self,
        outputs: Vec<Outgoing>,
        stop: CancellationToken,
    ) -> Result<(), BrokerError> {
        let broker = self.clone();
        tokio::spawn(async move { broker.make_durable(outputs, || !stop.is_cancelled()).await })
            .await
            .unwrap_or(Err(BrokerError::Closed))
    }

    async fn settle_now(&self, claims: Vec<Claimed>, outputs: Vec<Outgoing>) -> Result<(), BrokerError> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(BrokerError::Closed);
        }
        if claims.is_empty() {
            let publisher = &self.shared.publisher;
            self.look_for(outputs.iter().map(|output| &output.queue)).await?;
            let (packable, others) = outputs.into_iter().partition(pack::is_packable);
            let now = SystemTime::now();
            publisher.publish(parcels(pack::pack_waiting(others), now, publisher.tolerance())).await?;
            return publisher.publish_packed(packable).await;
        }
        // Its work is done, and of the claims that are ours nobody repeats it: better to wait than to give up.
        let ours = || claims.iter().any(Claimed::is_ours);
        if !ours() {
            return Err(BrokerError::Lost);
        }
        let durable = self.make_durable(outputs, ours).await;
        durable.map_err(|error| if ours() { error } else { BrokerError::Lost })?;
        self.end(claims).await
    }

    /// Publishes through every outage, for as long as it is `wanted`.
    async fn make_durable(
        &self,
        outputs: Vec<Outgoing>,
        wanted: impl Fn() -> bool,
    ) -> Result<(), BrokerError> {
        let mut said = false;
        while let Err(error) = self.look_for(outputs.iter().map(|output| &output.queue)).await {
            if self.shared.closed.load(Ordering::SeqCst) || !wanted() {
                return Err(error);
            }
            if !std::mem::replace(&mut said, true) {
                tracing::warn!("done work waits for its way out: {error}");
            }
            sleep(LOOK_AGAIN).await;
        }
        let publisher = &self.shared.publisher;
        let (packable, others): (Vec<_>, Vec<_>) = outputs.into_iter().partition(pack::is_packable);
        let can_be_told_twice = others.iter().all(|output| output.together);
        let others = parcels(pack::pack_waiting(others), SystemTime::now(), publisher.tolerance());
        let others = publisher.publish_patiently(others, &wanted);
        let packable = publisher.publish_packed_patiently(&packable, &wanted);
        if can_be_told_twice {
            let (others, packable) = tokio::join!(others, packable);
            others.and(packable)?;
        } else {
            // What is told of an outcome is told when all else is durable.
            others.await?;
            packable.await?;
        }
        Ok(())
    }

    /// Publishes messages of another broker as they stood there, through a short outage.
    pub(crate) async fn carry(&self, messages: Vec<Message>) -> Result<(), BrokerError> {
        let until = Instant::now() + CARRY;
        let wanted = || Instant::now() < until;
        while let Err(error) = self.look_for(messages.iter().map(|message| &message.queue)).await {
            if self.shared.closed.load(Ordering::SeqCst) || !wanted() {
                return Err(error);
            }
            sleep(LOOK_AGAIN).await;
        }
        let now = SystemTime::now();
        let publisher = &self.shared.publisher;
        let tolerance = publisher.tolerance();
        let parcels = messages.iter().map(|message| message.parcel_as_it_stands(now, tolerance)).collect();
        publisher.publish_patiently(parcels, wanted).await
    }

    async fn end(&self, claims: Vec<Claimed>) -> Result<(), BrokerError> {
        let (claims, lost): (Vec<_>, Vec<_>) = claims.into_iter().partition(Claimed::is_ours);
        let mut by_session: Vec<(Arc<session::Session>, Vec<u64>)> = Vec::new();
        for claim in claims {
            let session = Arc::clone(claim.taken.session());
            let found = by_session.iter().position(|(known, _)| Arc::ptr_eq(known, &session));
            let place = found.unwrap_or_else(|| {
                by_session.push((session, Vec::new()));
                by_session.len() - 1
            });
            by_session[place].1.extend(claim.taken.into_tag());
        }
        // That one session is gone costs no claim of the others.
        let mut result = if lost.is_empty() { Ok(()) } else { Err(BrokerError::Lost) };
        for (session, tags) in by_session {
            result = result.and(session.ack(tags).await);
        }
        result
    }

    pub(crate) fn consume(&self, queue: &QueueName, prefetch: NonZeroUsize) -> Consumer {
        let subscription = self.subscription(queue);
        let number = subscription.join(prefetch.get());
        let limit = Arc::new(Semaphore::new(prefetch.get()));
        Consumer { subscription, number, limit, broker: self.clone() }
    }

    fn subscription(&self, queue: &QueueName) -> Arc<Subscription> {
        let shared = &self.shared;
        let mut subscriptions = shared.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        let subscription = subscriptions.entry(queue.clone()).or_insert_with(|| {
            let subscription = Arc::new(Subscription::new(
                queue.clone(),
                Arc::clone(&shared.publisher),
                Arc::clone(&shared.quiet),
                shared.background.clone(),
                shared.suspects_from,
            ));
            let run = Arc::clone(&subscription).run(shared.taking.clone(), shared.stop.clone());
            shared.taking_part.spawn(run);
            subscription
        });
        if shared.closed.load(Ordering::SeqCst) {
            subscription.close();
        }
        Arc::clone(subscription)
    }

    /// What stands in each queue, asked for now.
    pub(crate) async fn count(&self) -> Result<Vec<QueueCount>, BrokerError> {
        let channel = self.channel().await?;
        let parts = self
            .shared
            .names
            .iter()
            .map(|queue| (queue.clone(), Lane::ALL.map(|lane| lane.of(queue)).to_vec()));
        let levels = (0..delay::LEVELS).map(level_name).collect();
        let others =
            [(topology::DELAYS, levels), (topology::UNROUTABLE, vec![topology::UNROUTABLE.to_owned()])];
        let others = others.map(|(name, parts)| (QueueName::new(name), parts));
        let mut counts = Vec::new();
        for (queue, parts) in parts.chain(others) {
            let mut counted = QueueCount { queue, messages: 0, consumers: 0 };
            for part in parts {
                let found = look(&channel, &part).await?;
                counted.messages += u64::from(found.message_count());
                counted.consumers += u64::from(found.consumer_count());
            }
            counts.push(counted);
        }
        Ok(counts)
    }

    fn claimed(&self, queue: &QueueName) -> u64 {
        let subscriptions = self.shared.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.get(queue).map_or(0, |subscription| subscription.claimed.load(Ordering::Relaxed))
    }

    /// Whether messages would be taken now: connected both ways, no alarm, and RabbitMQ answers.
    pub(crate) async fn ping(&self) -> Result<(), BrokerError> {
        let link = self.shared.publisher.ready().await?;
        open_channel(&link).await?;
        self.channel().await.map(drop)
    }

    /// How both connections are now.
    pub(crate) fn connections(&self) -> Connections {
        let publishing = self.shared.publisher.link();
        Connections {
            publishing: publishing.is_some(),
            consuming: up_now(&self.shared.taking).is_some(),
            blocked: publishing.is_some_and(|link| link.is_blocked()),
        }
    }

    pub(crate) fn stop_counting_returns(&self) {
        self.shared.quiet.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn close(&self) {
        let shared = &self.shared;
        self.stop_counting_returns();
        shared.closed.store(true, Ordering::SeqCst);
        let all: Vec<_> = {
            let subscriptions = shared.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
            subscriptions.values().cloned().collect()
        };
        for subscription in all {
            subscription.close();
        }
        shared.background.close();
        shared.taking_part.close();
        let taking = up_now(&shared.taking);
        if taking.is_some() {
            // What is not moved by then is delivered again.
            let _ = timeout(FAREWELL, shared.taking_part.wait()).await;
        }
        shared.publisher.close();
        let publishing = shared.publisher.link();
        shared.stop.cancel();
        for link in [taking, publishing].into_iter().flatten() {
            let _ = timeout(FAREWELL, link.connection.close(200, "closed".into())).await;
        }
    }

    // A message for a queue that is not there would be set aside as unroutable, acknowledged and unseen.
    async fn look_for(&self, queues: impl Iterator<Item = &QueueName>) -> Result<(), BrokerError> {
        for queue in queues {
            let known =
                |shared: &Shared| shared.known.lock().unwrap_or_else(PoisonError::into_inner).contains(queue);
            if known(&self.shared) {
                continue;
            }
            let channel = self.channel().await?;
            for lane in Lane::ALL {
                match timeout(ANSWER, passive(&channel, &lane.of(queue))).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => match refusal(&error) {
                        // From 4.3 on a user has to have some right on a queue to ask for it.
                        Some(Refusal::Forbidden(_)) => {
                            tracing::info!(
                                "RabbitMQ does not tell this user whether queue `{queue}` is there; if it is not, \
                                 messages for it are set aside in `{}`",
                                topology::UNROUTABLE
                            );
                            break;
                        }
                        Some(Refusal::Missing(_)) => {
                            let name = lane.of(queue);
                            let why = format!("queue `{name}` is missing; run `bellbuoy topology apply`");
                            return Err(BrokerError::Unavailable(why));
                        }
                        _ => return Err(BrokerError::Unavailable(error.to_string())),
                    },
                    Err(_) => return Err(silent()),
                }
            }
            self.shared.known.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.clone());
        }
        Ok(())
    }

    async fn channel(&self) -> Result<lapin::Channel, BrokerError> {
        let mut taking = self.shared.taking.clone();
        let waited = timeout(ANSWER.min(Duration::from_secs(1)), async {
            taking.wait_for(|state| matches!(state, State::Up(_))).await.map(|state| state.clone())
        });
        match waited.await {
            Ok(Ok(State::Up(link))) => open_channel(&link).await,
            _ => Err(BrokerError::Unavailable(match &*self.shared.taking.borrow() {
                State::Down(why) => why.clone(),
                State::Up(_) => "RabbitMQ is being connected to".into(),
            })),
        }
    }
}

impl Consumer {
    pub(crate) async fn next(&mut self) -> Result<Claimed, BrokerError> {
        let permit = Arc::clone(&self.limit).acquire_owned();
        let permit = tokio::select! {
            // A closed broker's consumers end also while all their claims are open.
            () = self.broker.shared.stop.cancelled() => return Err(BrokerError::Closed),
            permit = permit => permit.map_err(|_| BrokerError::Closed)?,
        };
        let taken = self.subscription.claim().await?;
        Ok(self.claimed(taken, permit))
    }

    pub(crate) fn try_next(&mut self) -> Option<Claimed> {
        let permit = Arc::clone(&self.limit).try_acquire_owned().ok()?;
        let taken = self.subscription.try_claim()?;
        Some(self.claimed(taken, permit))
    }

    fn claimed(&self, taken: Taken, permit: OwnedSemaphorePermit) -> Claimed {
        self.subscription.claimed.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.subscription));
        Claimed { taken, _counted: counted, _permit: permit, _broker: self.broker.clone() }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.subscription.leave(self.number);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.claimed.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Claimed {
    pub(crate) fn message(&self) -> &Message {
        &self.taken.message
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.taken.is_ours()
    }
}

fn parcels(outputs: Vec<Outgoing>, now: SystemTime, tolerance: Tolerance) -> Vec<wire::Parcel> {
    outputs.into_iter().map(|output| Message::new(output, now).parcel(now, tolerance)).collect()
}

async fn open_channel(link: &Link) -> Result<lapin::Channel, BrokerError> {
    match timeout(ANSWER, link.connection.create_channel()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(BrokerError::Unavailable(error.to_string())),
        Err(_) => Err(silent()),
    }
}

async fn passive(channel: &lapin::Channel, name: &str) -> lapin::Result<lapin::Queue> {
    let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    channel.queue_declare(name.into(), options, FieldTable::default()).await
}

async fn look(channel: &lapin::Channel, name: &str) -> Result<lapin::Queue, BrokerError> {
    match timeout(ANSWER, passive(channel, name)).await {
        Ok(Ok(queue)) => Ok(queue),
        Ok(Err(error)) => Err(BrokerError::Unavailable(error.to_string())),
        Err(_) => Err(silent()),
    }
}

fn silent() -> BrokerError {
    BrokerError::Unavailable(format!("RabbitMQ did not answer within {ANSWER:?}"))
}
