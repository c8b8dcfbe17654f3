//! From one machine to a fleet: what stood in a data directory goes on, on RabbitMQ and PostgreSQL.

mod support;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bellbuoy_broker::{
    AmqpUrl, Broker, BrokerUrl, EmbeddedOptions, Outgoing, QueueCount, RabbitMqOptions, Shards, Topology,
    queues,
};
use bellbuoy_domain::Kind;
use bellbuoy_store::{CopiedTable, SeenEvent, Store};
use bellbuoy_testkit::postgres::Postgres;
use bellbuoy_testkit::process::{Launch, Process};
use bellbuoy_testkit::rabbitmq::Node;
use bellbuoy_testkit::receiver::{Answer, Receiver};
use bellbuoy_testkit::wait::{eventually, within};
use jiff::Timestamp;
use serde_json::{Value, json};
use support::{BINARY, Fleet, SOON, push};
use uuid::Uuid;

/// Long enough that nothing is due before the fleet is up, unless the machine is very busy.
const RETRY: &str = "30s";

/// Messages and rows of the migration that is killed: enough for it to take seconds.
const MANY: usize = 20_000;

/// The most messages that one kill can double: what is on its way between the brokers.
const BATCH: usize = 1024;

/// A fleet's servers, with nothing on them yet.
struct Servers {
    rabbitmq: Node,
    postgres: Postgres,
}

/// Where to: one virtual host and one database.
struct Target {
    folder: tempfile::TempDir,
    broker: String,
    store: String,
}

impl Servers {
    async fn start() -> Self {
        let (rabbitmq, postgres) = tokio::join!(Node::start(), Postgres::start());
        Self { rabbitmq, postgres }
    }

    async fn target(&self, vhost: &str) -> Target {
        self.rabbitmq.add_vhosts(&[vhost]).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        Target { folder, broker: self.rabbitmq.url(vhost), store: self.postgres.database().await }
    }

    async fn rows(&self, target: &Target, table: &str) -> usize {
        let database = target.store.rsplit('/').next().expect("a name");
        let there = format!("SELECT count(*) FROM pg_tables WHERE tablename = '{table}'");
        if self.postgres.sql(database, &there).await.trim() == "0" {
            return 0;
        }
        let count = self.postgres.sql(database, &format!("SELECT count(*) FROM {table}")).await;
        count.trim().parse().expect("a number")
    }
}

impl Target {
    fn launch(&self, args: &[&str], environment: &[(&str, &str)]) -> Process {
        let launch = Launch::new("command", BINARY, self.folder.path())
            .args(args)
            .env("BELLBUOY_BROKER__URL", &self.broker)
            .env("BELLBUOY_STORE__URL", &self.store);
        environment.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
    }

    async fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let process = self.launch(args, environment);
        let code = process.wait_exit(SOON).await.code();
        (code, process.lines().join("\n"))
    }

    async fn prepare(&self) {
        let (code, said) = self.run(&["topology", "apply"], &[]).await;
        assert_eq!(code, Some(0), "{said}");
    }

    async fn migrate(&self, from: &Path, more: &[&str]) -> (Option<i32>, String) {
        self.run(&[&["migrate", "--from", path(from)][..], more].concat(), &[]).await
    }

    /// A broker of the test's own on it.
    async fn open(&self) -> Broker {
        let url: AmqpUrl = match self.broker.parse() {
            Ok(BrokerUrl::RabbitMq(url)) => url,
            other => panic!("{other:?}"),
        };
        let topology = Topology::new(&["webhook"], Shards::ONE);
        let options = RabbitMqOptions { topology, ..RabbitMqOptions::default() };
        let broker = Broker::open_rabbitmq(&url, &options).expect("a broker");
        eventually(SOON, async || broker.ping().await.ok()).await;
        broker
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of plain text")
}

fn due(delivery: &Value) -> SystemTime {
    let due: Timestamp = delivery["next_due_at"].as_str().expect("a time").parse().expect("a time");
    due.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_goes_on_where_one_machine_stopped() {
    let machine = Fleet::start(&[("BELLBUOY_RETRY__STEPS", RETRY)]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/waits", [Answer::status(503), Answer::status(200)]);
    receiver.script("/dies", [Answer::status(503), Answer::status(503), Answer::status(200)]);
    let api = &machine.api;
    api.webhook("acme/waits", "repo_push", &receiver.url("/waits")).await;
    let at_once = json!({"steps_ms": [1], "longest_hint_ms": 1, "client_error_attempts": 1});
    let wish = |repository: &str, method: &str, config: Value| {
        json!({"scope": {"repository": repository}, "kinds": ["repo_push"], "method": method, "config": config,
               "retry": at_once.clone()})
    };
    api.wish(&wish("acme/dies", "webhook", json!({"url": receiver.url("/dies")}))).await;
    let ann = json!({"version": 1, "users": [{"name": "ann"}]});
    assert_eq!(api.post("/v1/directory/import", &ann).await.status, 200);
    let in_app = json!({"target": {"kind": "user", "name": "ann"}});
    api.wish(&wish("acme/told", "quay_notification", in_app)).await;
    let paused = api.wish(&wish("acme/paused", "webhook", json!({"url": receiver.url("/paused")}))).await;
    assert_eq!(api.post(&format!("/v1/notifications/{}/pause", paused.id), &json!({})).await.status, 200);
    for name in ["waits", "dies", "told", "paused"] {
        api.publish(&push(name, &format!("acme/{name}"), "v1")).await;
    }
    let waits = api.until("subject=acme/waits", 1, &["waiting"]).await.remove(0);
    let held = api.until("subject=acme/paused", 1, &["waiting"]).await.remove(0);
    api.until("subject=acme/dies", 1, &["dead"]).await;
    api.until("subject=acme/told", 1, &["delivered"]).await;
    eventually(SOON, async || (api.dead_letters("").await.len() == 1).then_some(())).await;
    machine.stop().await;

    let servers = Servers::start().await;
    let target = servers.target("fleet").await;
    target.prepare().await;
    let (code, said) = target.migrate(&machine.data(), &["--dry-run"]).await;
    assert!(code == Some(0) && said.contains("bellbuoy.deliver.webhook"), "{code:?} {said}");
    assert_eq!(servers.rows(&target, "deliveries").await, 0, "{said}");
    let (code, said) = target.migrate(&machine.data(), &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("deliveries") && said.contains("Start `bellbuoy serve`"), "{said}");

    let (code, refused) = target
        .run(
            &["serve"],
            &[
                ("BELLBUOY_BROKER__URL", "embedded:"),
                ("BELLBUOY_STORE__URL", "sqlite:"),
                ("BELLBUOY_LISTEN", "127.0.0.1:0"),
                ("BELLBUOY_DATA_DIR", path(&machine.data())),
            ],
        )
        .await;
    assert!(code == Some(1) && refused.contains("was migrated to RabbitMQ"), "{code:?} {refused}");
    let (code, again) = target.migrate(&machine.data(), &["--json"]).await;
    assert!(code == Some(0) && again.contains("copied and found there again"), "{code:?} {again}");

    let fleet = Fleet::start(&[
        ("BELLBUOY_RETRY__STEPS", RETRY),
        ("BELLBUOY_BROKER__URL", &target.broker),
        ("BELLBUOY_STORE__URL", &target.store),
    ])
    .await;
    let delivered = fleet.api.until("subject=acme/waits", 1, &["delivered"]).await.remove(0);
    assert_eq!((&delivered["id"], &delivered["attempt_count"]), (&waits["id"], &json!(2)));
    let history = fleet.api.delivery(&waits["id"]).await;
    let outcomes: Vec<_> = history["attempts"].as_array().expect("attempts").iter().collect();
    assert_eq!(outcomes.len(), 2, "{history}");
    let second: Timestamp = outcomes[1]["started_at"].as_str().expect("a time").parse().expect("a time");
    assert!(SystemTime::from(second) >= due(&waits), "{history} was due at {}", waits["next_due_at"]);

    let store = Store::open(&target.store).await.expect("the store");
    let inbox = store.inbox("user", "ann", None, 10).await.expect("a page");
    assert_eq!(inbox.rows.len(), 1, "{inbox:?}");
    store.close().await;
    let still = fleet.api.delivery(&held["id"]).await;
    assert_eq!(still["state"], "waiting", "its notification is paused: {still}");

    let before = fleet.api.deliveries("").await.len();
    fleet.api.publish(&push("told", "acme/told", "v1")).await;
    fleet.api.publish(&push("new", "acme/told", "v1")).await;
    fleet.api.until("subject=acme/told", 2, &["delivered"]).await;
    assert_eq!(fleet.api.deliveries("").await.len(), before + 1, "what was seen before is a repeat");

    let letter = fleet.api.dead_letters("").await.remove(0);
    let replay = format!("/v1/dead-letters/{}/replay", letter["id"].as_str().expect("an id"));
    let answer = fleet.api.post(&replay, &json!({})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    fleet.api.until("subject=acme/dies", 1, &["delivered"]).await;
    fleet.stop().await;
}

/// A data directory with as many rows and messages as [`MANY`]; the ids of the messages for at once.
async fn crowded(directory: &Path) -> HashSet<Uuid> {
    let store = Store::open_sqlite(&directory.join("store.db")).await.expect("a store");
    for piece in 0..MANY / 1000 {
        let events: Vec<_> = (0..1000).map(|number| event(piece * 1000 + number)).collect();
        store.admit_events(&events, Duration::from_hours(24)).await.expect("admitted");
    }
    store.close().await;
    let broker = Broker::open_embedded(directory, &EmbeddedOptions::default()).expect("a broker");
    let mut ids = HashSet::new();
    for number in 0..MANY / 1000 {
        let queue = queues::deliver("webhook");
        let messages = (0..1000).map(|_| Outgoing::new(queue.clone(), vec![b'x'; 500]));
        let wait = if number % 2 == 0 { Duration::ZERO } else { Duration::from_hours(1) };
        let messages: Vec<_> = messages.map(|message| message.after(wait)).collect();
        if wait.is_zero() {
            ids.extend(messages.iter().map(|message| message.id));
        }
        broker.publish(messages).await.expect("published");
    }
    broker.close().await;
    ids
}

fn event(number: usize) -> SeenEvent {
    SeenEvent {
        source: "journeys".into(),
        id: number.to_string(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::from_u128(number as u128),
        accepted_at: Timestamp::UNIX_EPOCH,
        body: b"{}".to_vec(),
    }
}

fn standing(counts: &[QueueCount]) -> usize {
    usize::try_from(counts.iter().map(|count| count.messages).sum::<u64>()).expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_killed_anywhere_is_run_again_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (servers, ids) = tokio::join!(Servers::start(), crowded(folder.path()));
    let target = servers.target("fleet").await;
    target.prepare().await;
    let broker = target.open().await;
    let start = || target.launch(&["migrate", "--from", path(folder.path())], &[]);

    let migration = start();
    eventually(SOON, async || (servers.rows(&target, "events").await > 0).then_some(())).await;
    migration.kill_9();
    let copied = servers.rows(&target, "events").await;
    assert!(copied < MANY, "it was killed too late to show anything");

    let mut moved = 0;
    for _ in 0..3 {
        let migration = start();
        eventually(SOON, async || {
            let now = standing(&broker.count().await.expect("counted"));
            (now > moved).then_some(())
        })
        .await;
        migration.kill_9();
        moved = standing(&broker.count().await.expect("counted"));
    }
    assert!(moved < MANY, "it was killed too late to show anything");
    let (code, said) = target.migrate(folder.path(), &[]).await;
    assert_eq!(code, Some(0), "{said}");

    let old = Store::open_sqlite(&folder.path().join("store.db")).await.expect("the old store");
    let new = Store::open(&target.store).await.expect("the new store");
    for table in CopiedTable::all() {
        let found = table.compare(&old, &new, |_| ()).await.expect("compared");
        assert!(found.is_same(), "{table:?}: {found:?}");
    }
    assert_eq!(servers.rows(&target, "events").await, MANY);

    let counts = broker.count().await.expect("counted");
    let all = standing(&counts);
    assert!((MANY..=MANY + 3 * BATCH).contains(&all), "{all}");
    let delayed = counts.iter().find(|count| count.queue.as_str() == "bellbuoy.delay").expect("waits");
    assert!(delayed.messages >= MANY as u64 / 2, "{counts:?}");
    let ready = all - usize::try_from(delayed.messages).expect("a count");
    let prefetch = NonZeroUsize::new(1000).expect("not zero");
    let mut consumer = broker.consume(&queues::deliver("webhook"), prefetch);
    let mut found = HashSet::new();
    for _ in 0..ready {
        let claim = within(SOON, async || consumer.next().await.ok()).await.expect("a message in time");
        found.insert(claim.id());
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    assert!(found == ids, "{} of {} messages arrived", found.len(), ids.len());
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_way_is_named_and_nothing_is_carried_over() {
    let (servers, machine) = tokio::join!(Servers::start(), Fleet::start(&[]));
    machine
        .api
        .wish(&json!({"scope": {"registry": true}, "kinds": ["repo_push"], "method": "webhook",
        "config": {"url": "http://127.0.0.1:9009/"}}))
        .await;
    let target = servers.target("fleet").await;
    let data = machine.data();
    let from = ["migrate", "--from", path(&data)];
    let refused = async |args: &[&str], environment: &[(&str, &str)], code: i32, parts: &[&str]| {
        let (found, said) = target.run(args, environment).await;
        assert!(found == Some(code) && parts.iter().all(|part| said.contains(part)), "{found:?} {said}");
        assert!(!said.contains("guest:guest"), "{said}");
    };
    refused(&["migrate"], &[], 2, &["--from"]).await;
    refused(&from, &[("BELLBUOY_BROKER__URL", "embedded:")], 2, &["`broker.url` is `embedded:`"]).await;
    refused(&from, &[("BELLBUOY_STORE__URL", "sqlite:")], 2, &["`store.url` is `sqlite:`"]).await;
    let empty = PathBuf::from("nowhere");
    refused(&["migrate", "--from", path(&empty)], &[], 1, &["nowhere holds neither broker.db nor store.db"])
        .await;
    refused(&from, &[], 1, &["nothing was carried over", "is missing", "bellbuoy topology apply"]).await;
    target.prepare().await;
    refused(&from, &[], 1, &["stop the Bellbuoy that runs on it", "in use"]).await;
    machine.stop().await;

    let strange = Outgoing::new(queues::deliver("semaphore"), "from another version");
    let old = Broker::open_embedded(&data, &EmbeddedOptions::default()).expect("the old broker");
    old.publish(vec![strange.clone()]).await.expect("published");
    old.close().await;
    refused(&from, &[], 1, &["queue bellbuoy.deliver.semaphore", "holds 1 message", "no such queue"]).await;
    let old = Broker::open_embedded(&data, &EmbeddedOptions::default()).expect("the old broker");
    let claim = old.consume(&strange.queue, NonZeroUsize::MIN).next().await.expect("the message");
    old.settle(vec![claim], Vec::new()).await.expect("settled");
    old.close().await;

    // Somebody works there already.
    let running = target.open().await;
    let consumer = running.consume(&queues::events(), NonZeroUsize::MIN);
    let consumers = async || running.count().await.expect("counted").iter().any(|count| count.consumers > 0);
    eventually(SOON, async || consumers().await.then_some(())).await;
    let fleet = ["has a consumer", "nothing was carried over", "stop every process of the fleet"];
    refused(&from, &[], 1, &fleet).await;
    refused(&[&from[..], &["--dry-run"]].concat(), &[], 1, &fleet).await;
    drop(consumer);
    running.close().await;

    // It has worked there before.
    let database = target.store.rsplit('/').next().expect("a name");
    let day = Duration::from_hours(24);
    let old = Store::open_sqlite(&data.join("store.db")).await.expect("the old store");
    let new = Store::open(&target.store).await.expect("the new store");
    old.admit_events(&[event(1)], day).await.expect("admitted");
    new.admit_events(&[event(2)], day).await.expect("admitted");
    old.close().await;
    new.close().await;
    // With it goes its lock.
    drop(old);
    let own = ["holds 1 rows of table events that are not of the old store", "nothing was carried over"];
    refused(&from, &[], 1, &own).await;
    refused(&[&from[..], &["--dry-run"]].concat(), &[], 1, &own).await;
    servers.postgres.sql(database, "DELETE FROM events").await;

    // Another form of the same notification stands there already.
    let old = Store::open_sqlite(&data.join("store.db")).await.expect("the old store");
    let new = Store::open(&target.store).await.expect("the new store");
    for table in CopiedTable::all().filter(|table| table.name() == "notifications") {
        assert_eq!(table.copy(&old, &new, |_| ()).await.expect("copied"), 1);
    }
    old.close().await;
    new.close().await;
    drop(old);
    servers.postgres.sql(database, "UPDATE notifications SET title = 'another'").await;
    let other = ["holds 1 rows of table notifications", "differ", "an empty database"];
    refused(&from, &[], 1, &other).await;
    refused(&[&from[..], &["--dry-run"]].concat(), &[], 1, &other).await;
    assert!(!data.join("migration.json").exists(), "nothing was begun");
    servers.postgres.sql(database, "UPDATE notifications SET title = NULL").await;
    let (code, said) = target.migrate(&data, &["--json"]).await;
    assert_eq!(code, Some(0), "{said}");

    // It was migrated there and nowhere else.
    let elsewhere = servers.target("other").await;
    elsewhere.prepare().await;
    let (code, said) = elsewhere.migrate(&data, &[]).await;
    assert!(code == Some(1) && said.contains("but the settings say"), "{code:?} {said}");
}
