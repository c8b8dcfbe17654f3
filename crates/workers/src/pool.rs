//! Claims served side by side, each by a task of its own: at most so many, with a drain at the end.
//!
//! A task ends with what follows for its claim. What has ended while one group is being settled makes the next group,
//! so that a busy worker settles many claims at the price of one, and a quiet one waits for nobody. Only what is to wait
//! together waits a moment for others to be settled with: it is to be done again anyhow, so that a crash repeats nothing.
//!
//! A task that panics drops its claim: the broker gives the message out again and counts, and the
//! other tasks go on.

use std::{collections::BTreeMap, future::Future, time::Duration};

use bellbuoy_broker::{BrokerError, Claim, Outgoing, QueueName};
use bellbuoy_domain::Record;
use futures_util::future::join_all;
use tokio::{
    task::{JoinError, JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{DeliverLimits, WorkerError, bundle::Bundles, intake::Intake};

/// How long what is to wait together waits for others, unless something else is settled meanwhile.
const COMPANY: Duration = Duration::from_millis(25);

/// Nor does it wait when more have gathered than these, or than a quarter of those that may be claimed at a time.
const ENOUGH: usize = 64;

/// How long a group may be settled before no further claim is taken: the broker may not take outcomes now, and whoever got
/// a request would get it again when this process ends meanwhile.
const STANDS: Duration = Duration::from_secs(1);

/// A claim whose work is done.
pub(crate) struct Served {
    /// What to let go.
    pub(crate) claim: Claim,
    /// What has to be durable before.
    pub(crate) outputs: Vec<Outgoing>,
    /// What the recorder is told of it.
    pub(crate) record: Option<Record>,
}

/// How a task ends: with what to settle, or without anything, when it stopped in time and its claim went back.
pub(crate) type Ended = Result<Option<Served>, WorkerError>;

/// Serves claims until `shutdown` is cancelled or a task fails, then waits up to `limits.drain`
/// for the tasks in flight and aborts the rest, whose claims go back to the queue. While a settle takes longer than a second,
/// none is taken.
///
/// `serve` gets a token that is cancelled when the drain begins, for whoever waits for something
/// that may take longer. `settle` ends those claims of a group that came from one queue. `show` is told how many tasks there are whenever that
/// may have changed.
///
/// # Errors
///
/// The first failure of a task, of a settle, or of the broker to give a claim.
pub(crate) async fn serve_each<F, S>(
    mut intake: Intake,
    name: &str,
    limits: DeliverLimits,
    shutdown: &CancellationToken,
    show: impl Fn(usize),
    serve: impl Fn(Claim, CancellationToken) -> F,
    settle: impl Fn(Vec<Claim>, Vec<Outgoing>) -> S,
) -> Result<(), WorkerError>
where
    F: Future<Output = Ended> + Send + 'static,
    S: Future<Output = Result<(), BrokerError>> + Send + 'static,
{
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    let mut settling = Settling::new(settle, (COMPANY, ENOUGH.min(limits.in_flight.get() / 4)));
    let mut result = Ok(());
    while result.is_ok() {
        show(tasks.len());
        let stands_at = settling.stands_at();
        let stands = stands_at.is_some_and(|at| at <= Instant::now());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            settled = settling.next() => result = settled,
            Some(ended) = tasks.join_next() => result = settling.take(ended, &mut tasks),
            () = sleep_until(stands_at.unwrap_or_else(Instant::now)), if stands_at.is_some() && !stands => {}
            claim = intake.next(), if tasks.len() < limits.in_flight.get() && !stands => match claim {
                Ok(claim) => drop(tasks.spawn(serve(claim, stop.clone()))),
                Err(error) => result = Err(error.into()),
            }
        }
    }
    drop(intake); // No new work while we drain.
    stop.cancel();
    let drain = async {
        while let Some(ended) = tasks.join_next().await {
            let taken = settling.take(ended, &mut tasks);
            result = std::mem::replace(&mut result, Ok(())).and(taken);
        }
        while settling.is_busy() {
            let settled = settling.next().await;
            result = std::mem::replace(&mut result, Ok(())).and(settled);
        }
    };
    if tokio::time::timeout(limits.drain, drain).await.is_err() {
        warn!(
            "drain of {name} ran out after {:?}; {} attempts are cut off and will be made again",
            limits.drain,
            tasks.len()
        );
        settling.leave();
        tasks.shutdown().await; // Their claims are back when this returns.
    }
    show(0);
    result
}

/// Settles one group at a time, while the next one gathers.
struct Settling<S> {
    settle: S,
    gathered: Vec<Served>,
    // Until when they may be left to gather.
    until: Option<Instant>,
    // How long what is in no hurry waits for company, and how many are enough of it.
    company: (Duration, usize),
    // A task of its own: who leaves it must not leave it half done. And when it began.
    current: Option<(JoinHandle<Result<(), WorkerError>>, Instant)>,
}

/// Of a group, what came from one queue. It is settled by itself: the claims of a queue are lost together, and then what
/// follows of them must not go out with what follows of others, for it goes out again when they are served again.
#[derive(Default)]
struct Share {
    claims: Vec<Claim>,
    outputs: Vec<Outgoing>,
    told: Bundles,
}

impl Share {
    fn add(&mut self, served: Served) {
        self.claims.push(served.claim);
        self.outputs.extend(served.outputs);
        served.record.iter().for_each(|record| self.told.push(record));
    }

    fn into_parts(mut self) -> (Vec<Claim>, Vec<Outgoing>) {
        self.outputs.extend(self.told.into_messages());
        (self.claims, self.outputs)
    }
}

impl<S, F> Settling<S>
where
    S: Fn(Vec<Claim>, Vec<Outgoing>) -> F,
    F: Future<Output = Result<(), BrokerError>> + Send + 'static,
{
    fn new(settle: S, company: (Duration, usize)) -> Self {
        Self { settle, gathered: Vec::new(), until: None, company, current: None }
    }

    /// Takes over a task that has ended, and all others that have.
    fn take(
        &mut self,
        ended: Result<Ended, JoinError>,
        tasks: &mut JoinSet<Ended>,
    ) -> Result<(), WorkerError> {
        let mut result = self.gather(ended);
        while let Some(ended) = tasks.try_join_next() {
            result = result.and(self.gather(ended));
        }
        self.begin();
        result
    }

    fn gather(&mut self, ended: Result<Ended, JoinError>) -> Result<(), WorkerError> {
        match ended {
            Ok(served) => {
                let Some(served) = served? else { return Ok(()) };
                let is_patient = served.outputs.iter().any(|output| output.together);
                let now = Instant::now();
                let until = if is_patient { now + self.company.0 } else { now };
                self.until = Some(self.until.map_or(until, |earlier| earlier.min(until)));
                self.gathered.push(served);
            }
            Err(error) => {
                error!("an attempt ended without a result, and its delivery goes back to the queue: {error}");
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        let is_due = self.until.is_some_and(|until| until <= Instant::now());
        if self.current.is_none() && (is_due || self.gathered.len() > self.company.1) {
            self.current = Some((self.send(), Instant::now()));
        }
    }

    fn send(&mut self) -> JoinHandle<Result<(), WorkerError>> {
        self.until = None;
        let mut shares: BTreeMap<QueueName, Share> = BTreeMap::new();
        for served in self.gathered.drain(..) {
            // Somebody does it again, and what follows of it goes out then.
            if !served.claim.is_ours() {
                let (id, queue) = (served.claim.id(), served.claim.queue());
                info!("message {id} of {queue} comes again: the connection that it came by is lost");
                continue;
            }
            shares.entry(served.claim.queue().clone()).or_default().add(served);
        }
        let settles: Vec<_> = shares
            .into_values()
            .map(|share| {
                let (claims, outputs) = share.into_parts();
                (self.settle)(claims, outputs)
            })
            .collect();
        tokio::spawn(async move {
            let mut settled = join_all(settles).await.into_iter();
            settled.try_for_each(|settled| {
                settled.map_err(WorkerError::from).or_else(|error| error.outlived("deliver"))
            })
        })
    }

    /// From when on the group that is being settled has been so for too long.
    fn stands_at(&self) -> Option<Instant> {
        self.current.as_ref().map(|(_, began)| *began + STANDS)
    }

    fn is_busy(&self) -> bool {
        self.current.is_some() || !self.gathered.is_empty()
    }

    /// Waits for the group that is being settled, for ever if there is none, and begins the next. Cancel safe.
    async fn next(&mut self) -> Result<(), WorkerError> {
        let settled = match (&mut self.current, self.until) {
            (Some((current, _)), _) => current.await.unwrap_or_else(|_| Err(BrokerError::Closed.into())),
            (None, Some(until)) => {
                sleep_until(until).await;
                Ok(())
            }
            (None, None) => return std::future::pending().await,
        };
        self.current = None;
        self.begin();
        settled
    }

    /// What is done is settled as far as there is time for it; nobody waits any more.
    fn leave(&mut self) {
        if !self.gathered.is_empty() {
            drop(self.send());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroUsize,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use bellbuoy_broker::{Broker, EmbeddedOptions, Outgoing, QueueName, queues};
    use bellbuoy_domain::WIRE_VERSION;
    use tempfile::TempDir;
    use tokio::sync::{Notify, Semaphore};

    use super::*;

    struct Rig {
        broker: Broker,
        queue: QueueName,
        shutdown: CancellationToken,
        _directory: TempDir,
    }

    impl Rig {
        async fn with(messages: &[&'static str]) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let options = EmbeddedOptions::default();
            let broker = Broker::open_embedded(directory.path(), &options).expect("a broker");
            let queue = queues::deliver("webhook");
            let messages = messages.iter().map(|body| Outgoing::new(queue.clone(), *body)).collect();
            broker.publish(messages).await.expect("published");
            Self { broker, queue, shutdown: CancellationToken::new(), _directory: directory }
        }

        async fn serve<F>(
            &self,
            limits: DeliverLimits,
            show: impl Fn(usize),
            serve: impl Fn(Claim, CancellationToken) -> F,
        ) -> Result<(), WorkerError>
        where
            F: Future<Output = Ended> + Send + 'static,
        {
            let settle = |claims, outputs| {
                let broker = self.broker.clone();
                async move { broker.settle(claims, outputs).await }
            };
            self.serve_and_settle(limits, show, serve, settle).await
        }

        async fn serve_and_settle<F, S>(
            &self,
            limits: DeliverLimits,
            show: impl Fn(usize),
            serve: impl Fn(Claim, CancellationToken) -> F,
            settle: impl Fn(Vec<Claim>, Vec<Outgoing>) -> S,
        ) -> Result<(), WorkerError>
        where
            F: Future<Output = Ended> + Send + 'static,
            S: Future<Output = Result<(), BrokerError>> + Send + 'static,
        {
            let intake = Intake::new(&self.broker, std::slice::from_ref(&self.queue), limits.in_flight);
            serve_each(intake, "webhook", limits, &self.shutdown, show, serve, settle).await
        }

        async fn next(&self) -> Claim {
            self.broker.consume(&self.queue, NonZeroUsize::MIN).next().await.expect("an open broker")
        }

        fn waiting(&self, queue: &QueueName) -> u64 {
            self.broker.depths().iter().filter(|depth| depth.queue == *queue).map(|depth| depth.ready).sum()
        }
    }

    fn limits(in_flight: usize, drain: Duration) -> DeliverLimits {
        DeliverLimits { in_flight: NonZeroUsize::new(in_flight).expect("not zero"), drain }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a task ends")]
    fn done(claim: Claim) -> Ended {
        Ok(Some(Served { claim, outputs: Vec::new(), record: None }))
    }

    async fn until(order: &Mutex<Vec<String>>, count: usize) {
        while order.lock().expect("not poisoned").len() < count {
            tokio::task::yield_now().await;
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_panicking_task_returns_its_claim_and_takes_no_other_down() {
        let rig = Arc::new(Rig::with(&["good 1", "bad", "good 2", "good 3"]).await);
        let served = Arc::new(Mutex::new(Vec::new()));
        let serve = |claim: Claim, _| {
            let (rig, served) = (Arc::clone(&rig), Arc::clone(&served));
            async move {
                let body = String::from_utf8_lossy(claim.body()).into_owned();
                assert_ne!(body, "bad", "on purpose");
                let last = {
                    let mut served = served.lock().expect("not poisoned");
                    served.push(body);
                    served.len() == 3
                };
                if last {
                    // The bad one has been tried as often as the broker allows.
                    let dead = rig.broker.consume(&queues::dead(), NonZeroUsize::MIN).next().await?;
                    assert_eq!((&**dead.body(), dead.dead_reason()), (&b"bad"[..], Some("poisoned")));
                    rig.broker.settle(vec![dead], Vec::new()).await?;
                    rig.shutdown.cancel();
                }
                done(claim)
            }
        };
        rig.serve(limits(2, LONG), |_| {}, serve).await.expect("it ended in order");
        let mut served = served.lock().expect("not poisoned").clone();
        served.sort();
        assert_eq!(served, ["good 1", "good 2", "good 3"]);
        assert_eq!(rig.waiting(&rig.queue), 0);
    }

    #[tokio::test]
    async fn no_more_tasks_than_slots_are_in_flight() {
        let rig = Arc::new(Rig::with(&["1", "2", "3", "4", "5", "6", "7"]).await);
        let (most, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let running = Arc::new(AtomicUsize::new(0));
        let serve = |claim, _| {
            let (rig, served, most) = (Arc::clone(&rig), Arc::clone(&served), Arc::clone(&most));
            let running = Arc::clone(&running);
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                if served.fetch_add(1, Ordering::SeqCst) == 6 {
                    rig.shutdown.cancel();
                }
                done(claim)
            }
        };
        let shown = AtomicUsize::new(9);
        rig.serve(limits(3, LONG), |count| shown.store(count, Ordering::SeqCst), serve)
            .await
            .expect("in order");
        assert_eq!((served.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (7, 3));
        assert_eq!(shown.load(Ordering::SeqCst), 0, "nothing is in flight at the end");
    }

    #[tokio::test]
    async fn a_task_that_waits_is_told_when_the_drain_begins() {
        let rig = Rig::with(&["1"]).await;
        let begun = Arc::new(Notify::new());
        let serve = |_claim, stop: CancellationToken| {
            let begun = Arc::clone(&begun);
            async move {
                begun.notify_one();
                stop.cancelled().await;
                Ok(None)
            }
        };
        let told = async {
            begun.notified().await;
            rig.shutdown.cancel();
        };
        let (ended, ()) = tokio::join!(rig.serve(limits(1, LONG), |_| {}, serve), told);
        ended.expect("in order");
        assert_eq!(&**rig.next().await.body(), b"1", "it went back");
    }

    #[tokio::test]
    async fn a_failed_task_ends_the_worker_after_the_others_have_ended() {
        let rig = Arc::new(Rig::with(&["fails", "ends"]).await);
        let failed = Arc::new(Notify::new());
        let serve = |claim: Claim, _| {
            let failed = Arc::clone(&failed);
            async move {
                if **claim.body() == *b"fails" {
                    failed.notify_one();
                    return Err(BrokerError::Closed.into());
                }
                failed.notified().await;
                done(claim)
            }
        };
        let ended = rig.serve(limits(2, LONG), |_| {}, serve).await;
        assert!(matches!(ended, Err(WorkerError::Broker(_))), "{ended:?}");
        assert_eq!(&**rig.next().await.body(), b"fails", "the other one was settled");
        assert_eq!(rig.waiting(&rig.queue), 1);
    }

    #[tokio::test]
    async fn while_a_settle_stands_no_claim_is_taken() {
        let rig = Rig::with(&["1"]).await;
        let (settling, may_settle) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |what: String| order.lock().expect("not poisoned").push(what);
        let serve = |claim: Claim, _| {
            note(format!("served {}", String::from_utf8_lossy(claim.body())));
            async { done(claim) }
        };
        let settle = |claims: Vec<Claim>, outputs| {
            settling.notify_one();
            let (broker, may_settle, order) =
                (rig.broker.clone(), Arc::clone(&may_settle), Arc::clone(&order));
            async move {
                may_settle.acquire().await.expect("open").forget();
                order.lock().expect("not poisoned").push("settled".into());
                broker.settle(claims, outputs).await
            }
        };
        let publish = async |body: &'static str| {
            rig.broker.publish(vec![Outgoing::new(rig.queue.clone(), body)]).await.expect("published");
        };
        let told = async {
            settling.notified().await;
            let began = Instant::now();
            publish("2").await;
            until(&order, 2).await;
            sleep_until(began + STANDS).await;
            publish("3").await;
            for _ in 0..1000 {
                tokio::task::yield_now().await; // In vain.
            }
            may_settle.add_permits(2);
            until(&order, 5).await;
            rig.shutdown.cancel();
            may_settle.add_permits(1);
        };
        let (ended, ()) = tokio::join!(rig.serve_and_settle(limits(9, LONG), |_| {}, serve, settle), told);
        ended.expect("in order");
        let order = order.lock().expect("not poisoned").clone();
        assert_eq!(order[..3], ["served 1", "served 2", "settled"]);
    }

    #[tokio::test]
    async fn what_ends_while_a_group_is_settled_makes_the_next_group() {
        let rig = Rig::with(&["1", "2", "3", "4"]).await;
        let (groups, may_settle) = (Mutex::new(Vec::new()), Arc::new(Semaphore::new(0)));
        let mut settling = Settling::new(
            |claims: Vec<Claim>, outputs| {
                groups.lock().expect("not poisoned").push(claims.len());
                let (broker, may_settle) = (rig.broker.clone(), Arc::clone(&may_settle));
                async move {
                    may_settle.acquire().await.expect("open").forget();
                    broker.settle(claims, outputs).await
                }
            },
            (COMPANY, ENOUGH),
        );
        let mut consumer = rig.broker.consume(&rig.queue, NonZeroUsize::new(4).expect("not zero"));
        let mut tasks = JoinSet::new();
        for count in [1, 3] {
            for _ in 0..count {
                let claim = consumer.next().await.expect("an open broker");
                tasks.spawn(async { done(claim) });
            }
            while let Some(ended) = tasks.join_next().await {
                settling.take(ended, &mut tasks).expect("no task failed");
            }
        }
        may_settle.add_permits(2);
        while settling.is_busy() {
            settling.next().await.expect("settled");
        }
        assert_eq!(*groups.lock().expect("not poisoned"), [1, 3]);
        assert_eq!(rig.waiting(&rig.queue), 0);
    }

    #[tokio::test]
    async fn what_is_told_of_a_group_goes_in_one_message() {
        let rig = Rig::with(&["1", "2"]).await;
        let told = Mutex::new(Vec::new());
        let settle = |claims, outputs: Vec<Outgoing>| {
            told.lock().expect("not poisoned").extend(outputs.clone());
            let broker = rig.broker.clone();
            async move { broker.settle(claims, outputs).await }
        };
        let mut settling = Settling::new(settle, (COMPANY, ENOUGH));
        for _ in 0..2 {
            let record = Record { v: WIRE_VERSION, fanned_out: None, attempt: None };
            let served = Served { claim: rig.next().await, outputs: Vec::new(), record: Some(record) };
            settling.gather(Ok(Ok(Some(served)))).expect("no task failed");
        }
        settling.begin();
        settling.next().await.expect("settled");
        let [message] = &told.lock().expect("not poisoned")[..] else { panic!("one message") };
        assert_eq!(message.queue, queues::outcomes());
        assert_eq!(Record::all_from_json(&message.body).expect("records").len(), 2);
    }

    #[tokio::test]
    async fn what_follows_of_claims_that_are_lost_does_not_go_out_with_those_of_another_queue() {
        let rig = Rig::with(&["lost"]).await;
        let other = queues::deliver("webhook.1");
        rig.broker.publish(vec![Outgoing::new(other.clone(), "kept")]).await.expect("published");
        let settle = |claims: Vec<Claim>, outputs| {
            let (broker, lost) = (rig.broker.clone(), claims.iter().any(|claim| claim.queue() == &rig.queue));
            // As RabbitMQ does when the channel of that queue goes: nothing is published for claims that nobody has.
            async move { if lost { Err(BrokerError::Lost) } else { broker.settle(claims, outputs).await } }
        };
        let mut settling = Settling::new(settle, (COMPANY, ENOUGH));
        for queue in [&rig.queue, &other] {
            let claim = rig.broker.consume(queue, NonZeroUsize::MIN).next().await.expect("an open broker");
            let follows = Outgoing::new(QueueName::new("follows"), claim.body().clone());
            let record = Some(Record { v: WIRE_VERSION, fanned_out: None, attempt: None });
            let served = Served { claim, outputs: vec![follows], record };
            settling.gather(Ok(Ok(Some(served)))).expect("no task failed");
        }
        settling.begin();
        settling.next().await.expect("the worker goes on");
        let left = [&rig.queue, &other, &QueueName::new("follows"), &queues::outcomes()];
        assert_eq!(left.map(|queue| rig.waiting(queue)), [1, 0, 1, 1]);
        let mut follows = rig.broker.consume(&QueueName::new("follows"), NonZeroUsize::MIN);
        assert_eq!(&**follows.next().await.expect("an open broker").body(), b"kept");
    }

    #[tokio::test]
    async fn what_is_held_waits_a_moment_for_others_or_goes_with_what_waits_for_nobody() {
        let rig = Rig::with(&["1", "2", "3", "4", "5", "6", "7"]).await;
        let groups = Mutex::new(Vec::new());
        let settle = |claims: Vec<Claim>, _| {
            groups.lock().expect("not poisoned").push(claims.len());
            let broker = rig.broker.clone();
            async move { broker.settle(claims, Vec::new()).await }
        };
        let mut settling = Settling::new(settle, (LONG, 2));
        let mut consumer = rig.broker.consume(&rig.queue, NonZeroUsize::new(7).expect("not zero"));
        let mut tasks = JoinSet::new();
        let mut end = async |settling: &mut Settling<_>, is_held: bool| {
            let claim = consumer.next().await.expect("an open broker");
            let output = Outgoing::new(rig.queue.clone(), "held");
            let outputs = is_held.then(|| output.after(LONG).together()).into_iter().collect();
            tasks.spawn(async { Ok(Some(Served { claim, outputs, record: None })) });
            let ended = tasks.join_next().await.expect("a task");
            settling.take(ended, &mut tasks).expect("no task failed");
            settling.current.is_some()
        };
        assert!(!end(&mut settling, true).await && !end(&mut settling, true).await, "they wait");
        assert!(end(&mut settling, false).await, "an attempt's end does not");
        settling.next().await.expect("settled");
        assert!(!end(&mut settling, true).await && !end(&mut settling, true).await, "they wait again");
        assert!(end(&mut settling, true).await, "three are enough");
        settling.next().await.expect("settled");
        settling.company.0 = Duration::from_millis(1);
        end(&mut settling, true).await;
        while settling.is_busy() {
            settling.next().await.expect("settled");
        }
        assert_eq!(*groups.lock().expect("not poisoned"), [3, 3, 1], "the last had waited long enough");
    }

    #[tokio::test]
    async fn a_settle_that_fails_ends_the_worker() {
        let rig = Rig::with(&["1"]).await;
        let settle = |claims: Vec<Claim>, _| async move {
            drop(claims);
            Err(BrokerError::Unavailable("on purpose".into()))
        };
        let ended = rig.serve_and_settle(limits(1, LONG), |_| {}, |claim, _| async { done(claim) }, settle);
        assert!(matches!(ended.await, Err(WorkerError::Broker(BrokerError::Unavailable(_)))));
    }

    #[tokio::test]
    async fn what_outlasts_the_drain_is_cut_off_and_goes_back() {
        let rig = Rig::with(&["endless"]).await;
        let begun = Arc::new(Notify::new());
        let serve = |claim: Claim, _| {
            let begun = Arc::clone(&begun);
            async move {
                begun.notify_one();
                std::future::pending::<()>().await;
                done(claim)
            }
        };
        let told = async {
            begun.notified().await;
            rig.shutdown.cancel();
        };
        let limits = limits(1, Duration::from_millis(1));
        let (ended, ()) = tokio::join!(rig.serve(limits, |_| {}, serve), told);
        ended.expect("in order");
        let claim = rig.next().await;
        assert_eq!((&**claim.body(), claim.returns()), (&b"endless"[..], 1));
    }
}
