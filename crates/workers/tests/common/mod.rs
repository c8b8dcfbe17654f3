//! Workers over a real broker and a real store in a directory of their own, and a receiver.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use bellbuoy_broker::{Broker, Claim, EmbeddedOptions, Outgoing, QueueName, Shards, queues};
use bellbuoy_domain::{
    DeliveryId, DeliveryMessage, Event, Kind, MethodName, Notification, NotificationId, NotificationState,
    Registry, RepositoryName, RetryPolicy, Scope, WIRE_VERSION,
};
use bellbuoy_methods::{Methods, Outbound};
use bellbuoy_store::{DeadLetterQuery, DeadLetterRow, DeliveryDetail, DeliveryRow, Store};
use bellbuoy_telemetry::{Counter, Metrics};
use bellbuoy_testkit::{
    receiver::{Answer, Receiver},
    wait::eventually,
};
use bellbuoy_workers::{
    Deliver, DeliverLimits, Digests, Fanout, FanoutLimits, Gate, GateLimits, Record, RecordLimits, Retention,
    Vital, Wishes, WorkerError, deliver_role, supervise,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json, value::RawValue};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long against anything that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where the notifications of the tests send to.
pub(crate) const HOOK: &str = "/hook";

pub(crate) struct Rig {
    pub(crate) broker: Broker,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) receiver: Receiver,
    pub(crate) policy: RetryPolicy,
    pub(crate) limits: DeliverLimits,
    pub(crate) gate: Arc<Gate>,
    /// Deliveries in a row that end in dead letters before their notification is disabled.
    pub(crate) failures: u32,
    directory: TempDir,
}

/// A worker under supervision.
pub(crate) struct Running {
    pub(crate) vital: Arc<Vital>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("a worker that ends in order");
    }

    /// Tells it to stop, and leaves it to do so.
    pub(crate) fn tell_to_stop(&self) {
        self.shutdown.cancel();
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let broker = Broker::open_embedded(directory.path(), &EmbeddedOptions::default()).expect("a broker");
        let store = Store::open_sqlite(&directory.path().join("store.db")).await.expect("a store");
        Self {
            broker,
            store,
            metrics: Arc::default(),
            receiver: Receiver::start().await.expect("a receiver"),
            policy: retries(&[Duration::from_millis(1)]),
            limits: DeliverLimits::default(),
            gate: Arc::new(Gate::new(GateLimits::default())),
            failures: 20,
            directory,
        }
    }

    pub(crate) fn fanout(&self) -> Running {
        let wishes = Arc::new(Wishes::new(self.store.clone()));
        self.run("fanout", |vital, shutdown| {
            let fanout = Arc::new(Fanout {
                broker: self.broker.clone(),
                store: self.store.clone(),
                wishes,
                metrics: Arc::clone(&self.metrics),
                vital,
                shards: Shards::ONE,
                limits: FanoutLimits::default(),
            });
            move || Arc::clone(&fanout).run(shutdown.clone())
        })
    }

    pub(crate) fn digests(&self) -> Running {
        self.run("digest", |vital, shutdown| {
            let digests = Arc::new(Digests {
                broker: self.broker.clone(),
                store: self.store.clone(),
                metrics: Arc::clone(&self.metrics),
                vital,
                shards: Shards::ONE,
            });
            move || Arc::clone(&digests).run(shutdown.clone())
        })
    }

    pub(crate) fn deliver(&self, method: MethodName) -> Running {
        let outbound =
            Outbound { allow: vec!["127.0.0.0/8".parse().expect("a network")], ..Outbound::default() };
        let registry = Registry { title: "Test".into(), url: "https://registry.example.com".into() };
        let methods = Methods::new(outbound, registry, self.store.clone()).expect("usable settings");
        self.run(deliver_role(method), |vital, shutdown| {
            let deliver = Arc::new(Deliver {
                method,
                broker: self.broker.clone(),
                wishes: Arc::new(Wishes::new(self.store.clone())),
                methods: Arc::new(methods),
                gate: Arc::clone(&self.gate),
                policy: self.policy.clone(),
                metrics: Arc::clone(&self.metrics),
                vital,
                shards: Shards::ONE,
                limits: self.limits,
            });
            move || Arc::clone(&deliver).run(shutdown.clone())
        })
    }

    pub(crate) fn record(&self) -> Running {
        self.run("record", |vital, shutdown| {
            let record = self.recorder(vital);
            move || Arc::clone(&record).run_outcomes(shutdown.clone())
        })
    }

    pub(crate) fn archive(&self) -> Running {
        self.run("archive", |vital, shutdown| {
            let record = self.recorder(vital);
            move || Arc::clone(&record).run_dead_letters(shutdown.clone())
        })
    }

    pub(crate) fn chains(&self) -> Running {
        self.run("chains", |vital, shutdown| {
            let record = self.recorder(vital);
            move || Arc::clone(&record).run_chains(shutdown.clone())
        })
    }

    pub(crate) fn retention(&self, retention: Retention) -> Running {
        self.run("retention", |vital, shutdown| {
            let record = self.recorder(vital);
            let record = Arc::into_inner(record).map(|record| Arc::new(Record { retention, ..record }));
            let record = record.expect("nobody else has it");
            move || Arc::clone(&record).run_retention(shutdown.clone())
        })
    }

    fn recorder(&self, vital: Arc<Vital>) -> Arc<Record> {
        Arc::new(Record {
            broker: self.broker.clone(),
            store: self.store.clone(),
            metrics: Arc::clone(&self.metrics),
            vital,
            limits: RecordLimits {
                linger: Duration::from_millis(1),
                failures: self.failures,
                ..RecordLimits::default()
            },
            retention: Retention::default(),
            shards: Shards::ONE,
        })
    }

    fn run<W, F>(
        &self,
        role: &'static str,
        worker: impl FnOnce(Arc<Vital>, CancellationToken) -> W,
    ) -> Running
    where
        W: Fn() -> F + Send + 'static,
        F: Future<Output = Result<(), WorkerError>> + Send + 'static,
    {
        let (vital, shutdown) = (Arc::new(Vital::default()), CancellationToken::new());
        let worker = worker(Arc::clone(&vital), shutdown.clone());
        let (shown, metrics, stop) = (Arc::clone(&vital), Arc::clone(&self.metrics), shutdown.clone());
        let task = tokio::spawn(async move { supervise(role, shown, metrics, stop, worker).await });
        Running { vital, shutdown, task }
    }

    /// Makes a webhook notification for pushes to `acme/api`, which `change` has had its way with.
    pub(crate) async fn notify(
        &self,
        number: u128,
        change: impl FnOnce(&mut Notification),
    ) -> NotificationId {
        let mut notification = notification(number, &self.receiver.url(HOOK));
        change(&mut notification);
        self.store.create_notification(&notification).await.expect("created");
        notification.id
    }

    pub(crate) async fn notification(&self, id: NotificationId) -> Notification {
        self.store.notification(id).await.expect("read").expect("there")
    }

    /// Publishes a push to `acme/api` as our ingest does.
    pub(crate) async fn push(&self, event: &str) {
        self.publish(queues::events(), push_event(event).to_string()).await;
    }

    /// Publishes a delivery of a push to `acme/api` as the fan-out does.
    pub(crate) async fn queue(&self, event: &str, notification: NotificationId) -> DeliveryId {
        let message = delivery(event, notification);
        self.publish(queues::deliver("webhook"), message.to_json()).await;
        message.delivery
    }

    pub(crate) async fn publish(&self, queue: QueueName, body: impl Into<bytes::Bytes>) {
        self.broker.publish(vec![Outgoing::new(queue, body)]).await.expect("published");
    }

    /// The next message of a queue, which is not settled.
    pub(crate) async fn take(&self, queue: QueueName) -> Claim {
        let mut consumer = self.broker.consume(&queue, NonZeroUsize::MIN);
        let claim = tokio::time::timeout(PATIENCE, consumer.next()).await;
        claim.unwrap_or_else(|_| panic!("nothing came on {queue}")).expect("an open broker")
    }

    /// Messages in a queue, waiting ones included.
    pub(crate) fn depth(&self, queue: &QueueName) -> u64 {
        let depths = self.broker.depths();
        depths.iter().filter(|depth| depth.queue == *queue).map(|depth| depth.ready + depth.delayed).sum()
    }

    pub(crate) async fn emptied(&self, queue: QueueName) {
        eventually(PATIENCE, async || (self.depth(&queue) == 0).then_some(())).await;
    }

    /// Waits until a delivery's history is as `wanted` wants it.
    pub(crate) async fn history(
        &self,
        id: DeliveryId,
        wanted: impl Fn(&DeliveryDetail) -> bool,
    ) -> DeliveryDetail {
        let look = async || self.store.delivery(id).await.expect("read").filter(&wanted);
        eventually(PATIENCE, look).await
    }

    pub(crate) async fn row(&self, id: DeliveryId, wanted: impl Fn(&DeliveryRow) -> bool) -> DeliveryRow {
        self.history(id, |detail| wanted(&detail.delivery)).await.delivery
    }

    /// Waits until so many dead letters are kept, and gives them, newest first.
    pub(crate) async fn dead_letters(&self, count: usize) -> Vec<DeadLetterRow> {
        eventually(PATIENCE, async || {
            let page = self.store.dead_letters(&DeadLetterQuery::default()).await.expect("a page");
            (page.rows.len() >= count).then_some(page.rows)
        })
        .await
    }

    pub(crate) fn counted(&self, counter: Counter, labels: &[&str]) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        let count = self.metrics.counted(counter, labels) as u64;
        count
    }

    /// Takes the store's file away from under its writer, as a file system that went away does.
    pub(crate) async fn break_store(&self) -> Outage {
        let (path, hidden) =
            (self.directory.path().join("store.db"), self.directory.path().join("hidden.db"));
        std::fs::rename(&path, &hidden).expect("renamed");
        // A call that is dropped half way closes its connection, and the next one finds no file.
        for polls in 1.. {
            {
                let mut call = pin!(self.store.discard_dead_letter(uuid::Uuid::nil()));
                for _ in 0..polls % 50 {
                    if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                    std::thread::yield_now();
                }
            }
            if self.store.discard_dead_letter(uuid::Uuid::nil()).await.is_err() {
                break;
            }
        }
        Outage { path, hidden }
    }
}

/// While it lasts, the store can't write.
pub(crate) struct Outage {
    path: PathBuf,
    hidden: PathBuf,
}

impl Outage {
    pub(crate) fn end(self) {
        std::fs::rename(self.hidden, self.path).expect("renamed back");
    }
}

/// So many waits, of these lengths at most and half of it at least.
pub(crate) fn retries(steps: &[Duration]) -> RetryPolicy {
    RetryPolicy::new(steps.to_vec(), Duration::from_mins(1), NonZeroU32::new(3).expect("not zero"))
        .expect("a valid policy")
}

pub(crate) fn notification(number: u128, url: &str) -> Notification {
    let at = Timestamp::now();
    let Value::Object(config) = json!({ "url": url }) else { panic!("an object") };
    Notification {
        id: uuid::Uuid::from_u128(number).into(),
        title: None,
        scope: Scope::Repository(RepositoryName::parse("acme/api").expect("a name")),
        kinds: vec![Kind::RepoPush],
        event_config: Map::new(),
        method: "webhook".into(),
        config,
        secret: None,
        format: "quay".into(),
        retry: None,
        state: NotificationState::Active,
        state_reason: None,
        failures: 0,
        created_at: at,
        updated_at: at,
        author: None,
        succeeded_at: None,
    }
}

pub(crate) fn push_event(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "registry.example.com", "type": "repo_push",
        "subject": "acme/api", "time": "2026-11-20T12:00:00Z", "data": {"updated_tags": ["v1"]},
    })
}

pub(crate) fn delivery(event: &str, notification: NotificationId) -> DeliveryMessage {
    let now = Timestamp::now();
    let body = push_event(event);
    let read = Event::from_json(body.to_string().as_bytes(), now).expect("an event");
    DeliveryMessage {
        v: WIRE_VERSION,
        delivery: DeliveryId::derive(&read.source, &read.id, notification),
        notification,
        attempt: 1,
        spent: 0,
        accepted_at: now,
        due_at: now,
        held_since: None,
        event: RawValue::from_string(body.to_string()).expect("JSON"),
    }
}

pub(crate) fn id_of(event: &str, notification: NotificationId) -> DeliveryId {
    DeliveryId::derive("registry.example.com", event, notification)
}

/// An answer for each status.
pub(crate) fn answers(statuses: &[u16]) -> Vec<Answer> {
    statuses.iter().map(|status| Answer::status(*status)).collect()
}
