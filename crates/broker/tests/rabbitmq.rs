//! The broker on RabbitMQ: the suite that every broker passes, and what only a server and a network can do
//! to it.
//!
//! Each test starts a node of its own, which takes some seconds; so the suite is one test, whose promises
//! run side by side, each in a virtual host of its own.

#![expect(clippy::print_stdout, reason = "what was measured, for whoever runs it with --no-capture")]

mod conformance;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    num::{NonZeroU16, NonZeroUsize},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bellbuoy_broker::{
    AmqpUrl, Broker, BrokerError, BrokerUrl, Claim, Consumer, EmbeddedOptions, MAX_MESSAGE_BYTES, Outgoing,
    QueueName, RabbitMqOptions, Removal, Shards, Tls, Topology, TopologyError, queues,
};
use bellbuoy_testkit::{
    amqp::Operator,
    certs::{Authority, Identity},
    process::free_port,
    rabbitmq::{Cluster, Node},
    relay::Relay,
    wait::eventually,
};
use tokio::{
    task::{JoinSet, LocalSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Long enough for a loaded machine; nothing waits for it unless it fails.
const PATIENCE: Duration = Duration::from_mins(1);

fn url(text: &str) -> AmqpUrl {
    match text.parse() {
        Ok(BrokerUrl::RabbitMq(url)) => url,
        other => panic!("{text}: {other:?}"),
    }
}

fn topology() -> Topology {
    Topology::new(&[], Shards::ONE).with_queues(&[QueueName::new("q"), QueueName::new("out")])
}

fn options() -> RabbitMqOptions {
    RabbitMqOptions { topology: topology(), suspects_after: Duration::ZERO, ..RabbitMqOptions::default() }
}

/// Where done work goes in the storms: the queue whose messages travel in packs.
fn out() -> QueueName {
    queues::outcomes()
}

fn many() -> NonZeroUsize {
    NonZeroUsize::new(1000).expect("not zero")
}

fn message(body: impl std::fmt::Display) -> Outgoing {
    Outgoing::new(QueueName::new("q"), format!("{body}"))
}

async fn next(consumer: &mut Consumer) -> Claim {
    timeout(PATIENCE, consumer.next()).await.expect("a message in time").expect("an open broker")
}

/// A broker on `text`, connected.
async fn open(text: &str) -> Broker {
    let broker = Broker::open_rabbitmq(&url(text), &options()).expect("a broker");
    connected(&broker).await;
    broker
}

async fn connected(broker: &Broker) {
    eventually(PATIENCE, async || broker.ping().await.ok()).await;
}

/// A node with our topology in the virtual host `v`.
async fn prepared() -> Node {
    let node = Node::start().await;
    node.add_vhosts(&["v"]).await;
    topology().apply(&url(&node.url("v")), &options()).await.expect("the topology");
    node
}

/// A virtual host, and the wire to it of the broker that is open.
struct Tenant {
    vhost: String,
    node: SocketAddr,
    wire: Mutex<Option<Relay>>,
}

impl Tenant {
    async fn new(node: SocketAddr, vhost: &str) -> Self {
        let text = format!("amqp://guest:guest@{node}/{vhost}");
        topology().apply(&url(&text), &options()).await.expect("the topology");
        Self { vhost: vhost.into(), node, wire: Mutex::default() }
    }

    fn wire(&self) -> Option<Relay> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl conformance::Fixture for Tenant {
    async fn open(&self) -> Broker {
        let wire = Relay::start(self.node).await;
        let text = format!("amqp://guest:guest@127.0.0.1:{}/{}", wire.port(), self.vhost);
        *self.wire.lock().unwrap_or_else(PoisonError::into_inner) = Some(wire);
        open(&text).await
    }

    async fn close(&self, broker: Broker) {
        broker.close().await;
        drop(self.wire());
    }

    // To RabbitMQ, a killed process is connections that end.
    async fn crash(&self, broker: Broker, claims: Vec<Claim>) {
        self.wire().expect("an open broker's wire").cut().await;
        drop(broker);
        drop(claims);
    }
}

macro_rules! side_by_side {
    (($node:expr) $($promise:ident)*) => {{
        let node: &Node = $node;
        node.add_vhosts(&[$(stringify!($promise)),*]).await;
        let mut running: JoinSet<()> = JoinSet::new();
        let mut names = HashMap::new();
        let turns = Arc::new(tokio::sync::Semaphore::new(3));
        $(
            let (address, turn) = (node.address(), Arc::clone(&turns).acquire_owned());
            let task = running.spawn_local(async move {
                let _turn = turn.await.expect("turns");
                let tenant = Tenant::new(address, stringify!($promise)).await;
                conformance::$promise(&tenant).await;
            });
            names.insert(task.id(), stringify!($promise));
        )*
        (running, names)
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_of_a_broker_is_kept() {
    let node = Node::start().await;
    let mut broken = Vec::new();
    let all = async {
        let (mut running, names) = promises! { side_by_side (&node) };
        while let Some(ended) = running.join_next_with_id().await {
            if let Err(error) = ended {
                broken.push(names[&error.id()]);
            }
        }
    };
    LocalSet::new().run_until(all).await;
    assert!(broken.is_empty(), "broken: {broken:?}; see above");
}

/// Publishes numbered messages until told to stop, each again until it is acknowledged, and says which were.
fn publishing(broker: &Broker, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<HashSet<Uuid>> {
    let (broker, stop) = (broker.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut acknowledged = HashSet::new();
        while !stop.load(Ordering::Relaxed) {
            let messages: Vec<_> = (0..20).map(|number| message(format!("message {number}"))).collect();
            let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
            while !stop.load(Ordering::Relaxed) {
                if broker.publish(messages.clone()).await.is_ok() {
                    acknowledged.extend(&ids);
                    break;
                }
            }
        }
        acknowledged
    })
}

/// Turns each message of `q` into one of the same id in [`out`], until told to stop.
fn working(broker: &Broker, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let (broker, stop) = (broker.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut consumer = broker.consume(&QueueName::new("q"), NonZeroUsize::new(100).expect("not zero"));
        while !stop.load(Ordering::Relaxed) {
            let Ok(claim) = timeout(Duration::from_millis(500), consumer.next()).await else { continue };
            let mut claims = vec![claim.expect("an open broker")];
            while let Some(claim) = consumer.try_next() {
                claims.push(claim);
            }
            let outputs = claims.iter().map(|claim| {
                let mut output = Outgoing::new(out(), claim.body().clone());
                output.id = claim.id();
                output
            });
            let outputs = outputs.collect();
            // A claim that was lost meanwhile comes again.
            let _ = broker.settle(claims, outputs).await;
        }
    })
}

/// Takes everything out of [`out`], until nothing has come for a while and all of `expected` did: how often
/// each came.
async fn drain(broker: &Broker, expected: &HashSet<Uuid>) -> HashMap<Uuid, u32> {
    let mut consumer = broker.consume(&out(), many());
    let mut seen: HashMap<Uuid, u32> = HashMap::new();
    let mut missing = expected.clone();
    loop {
        let quiet = Duration::from_secs(if missing.is_empty() { 1 } else { 30 });
        let Ok(claim) = timeout(quiet, consumer.next()).await else { break };
        let mut claims = vec![claim.expect("an open broker")];
        claims.extend(std::iter::from_fn(|| consumer.try_next()));
        for claim in &claims {
            *seen.entry(claim.id()).or_default() += 1;
            missing.remove(&claim.id());
        }
        broker.settle(claims, Vec::new()).await.expect("settled");
    }
    assert!(missing.is_empty(), "{} of {} acknowledged messages are lost", missing.len(), expected.len());
    seen
}

/// Lets messages be published and worked on while `trouble` is made, and looks for each acknowledged one.
async fn storm(broker: Broker, trouble: impl Future<Output = ()>) {
    let (stop_publishing, stop_working) = (Arc::default(), Arc::default());
    let publishers = [publishing(&broker, &stop_publishing), publishing(&broker, &stop_publishing)];
    let workers = [working(&broker, &stop_working), working(&broker, &stop_working)];
    trouble.await;
    connected(&broker).await;
    stop_publishing.store(true, Ordering::Relaxed);
    let mut acknowledged = HashSet::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.expect("a publisher"));
    }
    let seen = drain(&broker, &acknowledged).await;
    stop_working.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("a worker");
    }
    let repeated = seen.values().filter(|times| **times > 1).count();
    assert!(acknowledged.len() > 100, "only {} were acknowledged", acknowledged.len());
    // What was not acknowledged may have arrived; what was repeated was in flight at a blow.
    assert!(repeated < 2000, "{repeated} messages came more than once");
    broker.close().await;
}

async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_node_is_killed() {
    let mut node = prepared().await;
    let broker = open(&node.url("v")).await;
    storm(broker, async {
        for _ in 0..2 {
            pass(1.0).await;
            node.kill_9();
            node.start_again().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_an_operator_closes_the_connections() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    storm(broker, async {
        for _ in 0..2 {
            pass(0.5).await;
            node.ctl(&["close_all_connections", "--global", "by the operator"]).await;
        }
        pass(0.5).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_a_node_of_a_cluster_is_killed() {
    let mut cluster = Cluster::start().await;
    cluster.nodes[0].add_vhosts(&["v"]).await;
    cluster.import(&topology().definitions("v").to_string()).await;
    let broker = open(&cluster.url("v")).await;
    storm(broker, async {
        pass(1.0).await;
        cluster.nodes[0].kill_9();
        pass(3.0).await;
        cluster.nodes[0].start_again().await;
        pass(1.0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_alarm_refuses_messages_and_loses_none() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    broker.publish(vec![message("before")]).await.expect("published");
    let mut consumer = broker.consume(&QueueName::new("q"), many());
    let claim = next(&mut consumer).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;

    let began = Instant::now();
    let refused = broker.publish(vec![message("during")]).await.expect_err("an alarm");
    assert!(
        matches!(&refused, BrokerError::Unavailable(why) if why.contains("takes no messages")),
        "{refused}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "the caller waited {:?}", began.elapsed());
    assert!(broker.ping().await.is_err());

    // Work that needs no way out goes on; work that does waits, and its claim is kept.
    let waiting = {
        let broker = broker.clone();
        let output = Outgoing::new(QueueName::new("out"), "done");
        tokio::spawn(async move { broker.settle(vec![claim], vec![output]).await })
    };
    pass(2.0).await;
    assert!(!waiting.is_finished());
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    connected(&broker).await;
    timeout(PATIENCE, waiting).await.expect("in time").expect("a task").expect("settled");
    let done = next(&mut broker.consume(&QueueName::new("out"), many())).await;
    assert_eq!(done.body().as_ref(), b"done");
    broker.settle(vec![done], Vec::new()).await.expect("settled");
    broker.publish(vec![message("after")]).await.expect("published");
    // The one that was refused may have been on its way when the alarm came.
    while next(&mut consumer).await.body().as_ref() != b"after" {}
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_says_nothing_more_is_noticed_by_its_heartbeat() {
    let node = prepared().await;
    let options = RabbitMqOptions { heartbeat: Duration::from_secs(2), ..options() };
    let broker = Broker::open_rabbitmq(&url(&node.url("v")), &options).expect("a broker");
    connected(&broker).await;
    broker.publish(vec![message("a")]).await.expect("published");
    let mut consumer = broker.consume(&QueueName::new("q"), many());
    let claim = next(&mut consumer).await;
    node.pause();
    let paused = Instant::now();
    // The claim is void once the connection is given up, and says so.
    let lost = timeout(PATIENCE, broker.settle(vec![claim], vec![message("b")])).await.expect("an end");
    assert!(
        lost.is_err() && paused.elapsed() < Duration::from_secs(15),
        "{lost:?} after {:?}",
        paused.elapsed()
    );
    assert!(broker.ping().await.is_err());
    node.resume();
    connected(&broker).await;
    let again = next(&mut consumer).await;
    assert_eq!(again.body().as_ref(), b"a");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_holds_to_the_second_across_a_restart() {
    let mut node = prepared().await;
    let broker = open(&node.url("v")).await;
    let delays = [1, 7, 61].map(Duration::from_secs);
    let published = Instant::now();
    let messages = delays.iter().map(|delay| message(delay.as_secs()).after(*delay));
    broker.publish(messages.collect()).await.expect("published");
    let mut consumer = broker.consume(&QueueName::new("q"), many());
    let mut up_again = Duration::ZERO;
    for delay in delays {
        let claim = loop {
            let claim = next(&mut consumer).await;
            if claim.body() == &delay.as_secs().to_string() {
                break claim;
            }
            // Its end was said to a node that died before it had heard it.
            broker.settle(vec![claim], Vec::new()).await.expect("settled");
        };
        let waited = published.elapsed();
        // What fell due while the node was down comes once its queues are up.
        let latest = (delay + Duration::from_secs(1)).max(up_again + Duration::from_secs(5));
        assert!(waited >= delay && waited < latest, "{delay:?} took {waited:?}, and a restart {up_again:?}");
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
        if up_again.is_zero() {
            node.kill_9();
            node.start_again().await;
            connected(&broker).await;
            up_again = published.elapsed();
        }
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_or_different_is_named_with_its_remedy() {
    let node = Node::start().await;
    node.add_vhosts(&["v", "imported"]).await;
    let at = url(&node.url("v"));
    let problems = topology().check(&at, &options()).await.expect("looked").problems;
    assert_eq!(problems.len(), 6 + 19 + 15 + 19 + 1, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.contains("run `bellbuoy topology apply`")), "{problems:?}");

    let broker = open(&node.url("v")).await;
    let refused = broker.publish(vec![message("nowhere to go")]).await.expect_err("no queue");
    assert!(refused.to_string().contains("queue `q` is missing; run `bellbuoy topology apply`"), "{refused}");
    let mut consumer = broker.consume(&QueueName::new("q"), many());
    let deaf = timeout(PATIENCE, consumer.next()).await.expect("in time").expect_err("no queue");
    assert!(deaf.to_string().contains("queue `q` is missing"), "{deaf}");

    // One queue of another kind: it is named, and everything else is declared.
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    operator.declare_plain_queue("out.due").await.expect("declared");
    let differs = topology().apply(&at, &options()).await.expect_err("a difference");
    let TopologyError::Differs(lines) = differs else { panic!("{differs}") };
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("queue `out.due` differs") && lines[0].contains("inequivalent arg"),
        "{lines:?}"
    );
    assert_eq!(topology().check(&at, &options()).await.expect("looked").problems, lines);

    // Set up now, the broker that was deaf works without a restart.
    broker.publish(vec![message("somewhere")]).await.expect("published");
    assert_eq!(next(&mut consumer).await.body().as_ref(), b"somewhere");
    broker.close().await;

    let definitions = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(definitions.path(), topology().definitions("imported").to_string()).expect("written");
    node.ctl(&["import_definitions", &definitions.path().to_string_lossy()]).await;
    let at = url(&node.url("imported"));
    let found = topology().check(&at, &options()).await.expect("looked");
    assert!(found.is_well() && found.blind_spot().is_none(), "{found:?}");
    let broker = open(&node.url("imported")).await;
    broker.publish(vec![message("by import")]).await.expect("published");
    assert_eq!(next(&mut broker.consume(&QueueName::new("q"), many())).await.body().as_ref(), b"by import");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beyond_the_shards_that_are_consumed_are_pointed_out() {
    let node = Node::start().await;
    node.add_vhosts(&["v"]).await;
    let at = url(&node.url("v"));
    let shards = |count| Shards::new(NonZeroU16::new(count).expect("not zero"));
    let (wide, narrow) = (Topology::new(&["webhook"], shards(3)), Topology::new(&["webhook"], Shards::ONE));
    wide.apply(&at, &options()).await.expect("declared");
    assert!(narrow.check(&at, &options()).await.expect("looked").is_well(), "empty ones do no harm");
    let broker = open(&node.url("v")).await;
    let to = shards(3).queues("webhook").remove(2);
    broker.publish(vec![Outgoing::new(to, "left behind")]).await.expect("published");
    assert!(wide.check(&at, &options()).await.expect("looked").is_well());
    let problems = narrow.check(&at, &options()).await.expect("looked").left_behind;
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(
        problem.starts_with("queue `bellbuoy.deliver.webhook.2` holds 1 messages")
            && problem.ends_with("raise `limits.shards` until it is empty"),
        "{problem}"
    );
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_may_not_see_is_said_and_not_taken_for_well() {
    let node = prepared().await;
    node.ctl(&["add_user", "worker", "secret"]).await;
    // It has something to do with all but `out` and its parts.
    node.ctl(&["set_permissions", "--vhost", "v", "worker", "^$", "^bellbuoy", "^(bellbuoy|q)"]).await;
    let at = url(&node.url("v").replace("guest:guest", "worker:secret"));
    let found = topology().check(&at, &options()).await.expect("looked");
    let blind_spot = found.blind_spot().expect("arguments can't be compared");
    assert!(
        blind_spot.ends_with("run `bellbuoy topology check` with the user that declares them"),
        "{blind_spot}"
    );
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    operator.delete_queue("out.due").await.expect("deleted");
    let without = topology().check(&at, &options()).await.expect("looked");
    if node.is_from(4, 3) {
        assert_eq!(found.unseen, 3, "{found:?}");
        assert!(blind_spot.starts_with("RabbitMQ does not tell this user whether"), "{blind_spot}");
        assert_eq!(without, found, "that one is missing is not seen");
    } else {
        assert!(found.unseen == 0 && !found.compared && found.is_well(), "{found:?}");
        assert!(
            blind_spot.starts_with("the arguments of exchanges and queues were not compared"),
            "{blind_spot}"
        );
        assert_eq!(without.problems, ["queue `out.due` is missing; run `bellbuoy topology apply`"]);
    }
    let seen = topology().check(&url(&node.url("v")), &options()).await.expect("looked");
    assert_eq!((seen.blind_spot(), seen.problems.len()), (None, 1), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_route_is_set_aside_and_finds_its_way_once_there_is_one() {
    let node = prepared().await;
    let at = url(&node.url("v"));
    let broker = open(&node.url("v")).await;
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    operator.unbind("bellbuoy.queues", "q", "q").await.expect("unbound");
    operator.unbind("bellbuoy.queues", "q.due", "q.due").await.expect("unbound");
    let mut sent = [message("at once"), message("waited").after(Duration::from_millis(400))];
    sent[0].headers.set("traceparent", "00-abc");
    broker.publish(sent.to_vec()).await.expect("published");
    let left = eventually(PATIENCE, async || {
        let found = topology().check(&at, &options()).await.expect("looked");
        assert!(found.problems.is_empty(), "bindings are not shown: {found:?}");
        found.left_behind.into_iter().find(|left| left.contains("holds 2 messages"))
    });
    let left = left.await;
    assert!(
        left.contains("queue `bellbuoy.unroutable`") && left.ends_with("then `bellbuoy topology reroute`"),
        "{left}"
    );

    let again = topology().reroute(&at, &options()).await.expect("rerouted");
    assert_eq!(again, (2, 2), "each is tried once, and comes back");
    topology().apply(&at, &options()).await.expect("bound");
    assert_eq!(topology().reroute(&at, &options()).await.expect("rerouted"), (2, 0));
    assert_eq!(topology().reroute(&at, &options()).await.expect("rerouted"), (0, 0));
    let mut consumer = broker.consume(&QueueName::new("q"), many());
    for _ in 0..sent.len() {
        let claim = next(&mut consumer).await;
        let original = sent.iter().find(|sent| sent.id == claim.id()).expect("one of the two");
        assert_eq!((claim.body(), claim.headers(), claim.returns()), (&original.body, &original.headers, 0));
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_back_for_want_of_a_route_is_refused_and_done_work_waits_for_one() {
    let node = prepared().await;
    let at = url(&node.url("v"));
    let broker = open(&node.url("v")).await;
    broker.publish(vec![Outgoing::new(QueueName::new("out"), "work")]).await.expect("published");
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    operator.unbind("bellbuoy.queues", "q", "q").await.expect("unbound");
    operator.delete_exchange("bellbuoy.unroutable").await.expect("deleted");

    // In a crowd, of which only one has no way: whoever is told of a return, nobody believes the lost one stored.
    let crowd = |number: usize| match number {
        40 => message("lost"),
        _ => Outgoing::new(QueueName::new("out"), "found"),
    };
    let refused = broker.publish((0..80).map(crowd).collect()).await.expect_err("no route");
    let remedy = "no queue is bound to exchange `bellbuoy.queues` for `q`; run `bellbuoy topology apply`";
    assert!(matches!(&refused, BrokerError::Unavailable(why) if why == remedy), "{refused}");

    let mut work = broker.consume(&QueueName::new("out"), NonZeroUsize::MIN);
    let claim = next(&mut work).await;
    let settling = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.settle(vec![claim], vec![message("done")]).await })
    };
    topology().apply(&at, &options()).await.expect("bound");
    timeout(PATIENCE, settling).await.expect("in time").expect("a task").expect("settled");
    assert_eq!(next(&mut broker.consume(&QueueName::new("q"), many())).await.body().as_ref(), b"done");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_a_delivery_is_never_durable_before_the_delivery_is() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    operator.unbind("bellbuoy.queues", "q", "q").await.expect("unbound");
    operator.delete_exchange("bellbuoy.unroutable").await.expect("deleted");
    let work = QueueName::new("out");
    let mut outcomes = broker.consume(&queues::outcomes(), many());
    for size in [2, 40 << 10, 1 << 20] {
        broker.publish(vec![Outgoing::new(work.clone(), "work")]).await.expect("published");
        let claim = next(&mut broker.consume(&work, NonZeroUsize::MIN)).await;
        let outputs = vec![message("delivery"), Outgoing::new(queues::outcomes(), vec![b' '; size])];
        let settling = {
            let broker = broker.clone();
            tokio::spawn(async move { broker.settle(vec![claim], outputs).await })
        };
        let bind = async {
            pass(1.0).await;
            topology().apply(&url(&node.url("v")), &options()).await.expect("bound");
            true
        };
        tokio::select! {
            biased;
            _ = next(&mut outcomes) => panic!("{size} bytes were told of a delivery that has no way"),
            _ = bind => {}
        }
        timeout(PATIENCE, settling).await.expect("in time").expect("a task").expect("settled");
        let told = next(&mut outcomes).await;
        assert_eq!(told.body().len(), size);
        broker.settle(vec![told], Vec::new()).await.expect("settled");
        operator.unbind("bellbuoy.queues", "q", "q").await.expect("unbound");
        operator.delete_exchange("bellbuoy.unroutable").await.expect("deleted");
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_patiently_is_there_once_however_often_it_was_refused() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let room_for = async |most: u32| {
        let limit = format!(r#"{{"max-length": {most}, "overflow": "reject-publish"}}"#);
        node.ctl(&["set_policy", "-p", "v", "room", "^q$", &limit, "--apply-to", "queues"]).await;
    };
    room_for(100).await;
    let messages: Vec<_> = (0..2000).map(message).collect();
    let stop = CancellationToken::new();
    let publishing = {
        let (broker, stop) = (broker.clone(), stop.clone());
        tokio::spawn(async move { broker.publish_patiently(messages, &stop).await })
    };
    let q = QueueName::new("q");
    let waiting = async || {
        let counts = broker.count().await.expect("counts");
        counts.iter().find(|count| count.queue == q).map_or(0, |count| count.messages)
    };
    eventually(PATIENCE, async || (waiting().await >= 100).then_some(())).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    room_for(10_000).await;
    // RabbitMQ looks at the new limit when somebody takes a message.
    let mut consumer = broker.consume(&q, NonZeroUsize::MIN);
    let one = next(&mut consumer).await;
    broker.settle(vec![one], Vec::new()).await.expect("settled");
    drop(consumer);
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    timeout(PATIENCE, publishing).await.expect("in time").expect("a task").expect("published");
    eventually(PATIENCE, async || (waiting().await == 1999).then_some(())).await;

    room_for(100).await;
    let refused = async || broker.publish(vec![message("more")]).await.err();
    eventually(PATIENCE, refused).await;
    let publishing = {
        let (broker, stop) = (broker.clone(), stop.clone());
        tokio::spawn(async move { broker.publish_patiently(vec![message("never")], &stop).await })
    };
    stop.cancel();
    let stopped = timeout(PATIENCE, publishing).await.expect("in time").expect("a task");
    assert!(matches!(stopped, Err(BrokerError::Unavailable(_))), "{stopped:?}");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_queue_does_not_confirm_is_awaited_and_there_once() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    // All are known before two of them fall silent, one whose messages travel in packs.
    let told = || Outgoing::new(queues::outcomes(), "{}");
    broker
        .publish(vec![message("known"), told(), Outgoing::new(QueueName::new("out"), "known")])
        .await
        .expect("published");
    node.ctl(&["eval", "sys:suspend(v_q), sys:suspend('v_bellbuoy.outcomes')."]).await;
    let publish = |messages: Vec<Outgoing>| {
        let broker = broker.clone();
        tokio::spawn(async move { broker.publish_patiently(messages, &CancellationToken::new()).await })
    };
    let publishing = [publish((0..9).map(message).collect()), publish(vec![told(), told()])];
    // The third queue goes on, for longer than RabbitMQ may take to confirm.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        broker.publish(vec![Outgoing::new(QueueName::new("out"), "goes on")]).await.expect("published");
        pass(0.2).await;
    }
    assert!(publishing.iter().all(|publishing| !publishing.is_finished()));
    node.ctl(&["eval", "sys:resume(v_q), sys:resume('v_bellbuoy.outcomes')."]).await;
    for publishing in publishing {
        timeout(PATIENCE, publishing).await.expect("in time").expect("a task").expect("published");
    }
    let counts = eventually(PATIENCE, async || broker.count().await.ok()).await;
    let count =
        |queue: &QueueName| counts.iter().find(|count| count.queue == *queue).map(|count| count.messages);
    assert_eq!((count(&QueueName::new("q")), count(&queues::outcomes())), (Some(10), Some(2)));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_events_are_refused_what_is_told_of_deliveries_is_not() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let full = r#"{"max-length": 1, "overflow": "reject-publish"}"#;
    node.ctl(&["set_policy", "-p", "v", "full", r"^bellbuoy\.events$", full, "--apply-to", "queues"]).await;
    let one = |queue: QueueName| vec![Outgoing::new(queue, "{}")];
    let why = eventually(PATIENCE, async || broker.publish(one(queues::events())).await.err()).await;
    assert!(why.to_string().contains("its queue may be full"), "{why}");
    broker.publish(one(queues::outcomes())).await.expect("published");
    // Many at once, to queues that are known, so that some gather while others are confirmed.
    let mut publishing = JoinSet::new();
    for number in 0..400 {
        let queue = if number % 2 == 0 { queues::events() } else { queues::outcomes() };
        let broker = broker.clone();
        publishing.spawn(async move { (queue.clone(), broker.publish(one(queue)).await) });
    }
    while let Some(ended) = publishing.join_next().await {
        let (queue, published) = ended.expect("a task");
        assert_eq!(published.is_err(), queue == queues::events(), "{queue}: {published:?}");
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_published_when_its_worker_is_told_to_stop_is_there_once() {
    const PIECE: u64 = 3000;
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let stop = CancellationToken::new();
    let waiting = async || {
        let counts = broker.count().await.expect("counts");
        counts.iter().find(|count| count.queue.as_str() == "q").map_or(0, |count| count.messages)
    };
    let fan_out = async {
        // The second piece is begun after the word to stop: it ends an event whose first one is out.
        for _ in 0..2 {
            broker.publish_patiently((0..PIECE).map(message).collect(), &stop).await?;
        }
        Ok::<_, BrokerError>(())
    };
    let told = async {
        eventually(PATIENCE, async || (waiting().await > 0).then_some(())).await;
        stop.cancel();
    };
    let (ended, ()) = timeout(PATIENCE, async { tokio::join!(fan_out, told) }).await.expect("in time");
    ended.expect("all of it is out");
    eventually(PATIENCE, async || (waiting().await == 2 * PIECE).then_some(())).await;

    // Where nothing is taken, nobody waits.
    node.ctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    eventually(PATIENCE, async || broker.publish(vec![message("more")]).await.err()).await;
    let blocked = timeout(PATIENCE, broker.publish_patiently(vec![message("never")], &stop)).await;
    assert!(matches!(blocked, Ok(Err(BrokerError::Unavailable(_)))), "{blocked:?}");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_connection_is_lost_says_so_and_the_others_are_settled() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let out = QueueName::new("out");
    broker.publish(vec![message("one"), Outgoing::new(out.clone(), "two")]).await.expect("published");
    let mut consumers = (broker.consume(&QueueName::new("q"), many()), broker.consume(&out, many()));
    let (lost, kept) = (next(&mut consumers.0).await, next(&mut consumers.1).await);
    assert!(lost.is_ours() && kept.is_ours());
    // The channel of one queue goes, and that of the other stands.
    Operator::connect(&node.url("v")).await.expect("an operator").delete_queue("q").await.expect("deleted");
    eventually(PATIENCE, async || (!lost.is_ours()).then_some(())).await;
    assert!(kept.is_ours());
    assert_eq!(broker.settle(vec![lost], Vec::new()).await, Err(BrokerError::Lost));
    broker.settle(vec![kept], Vec::new()).await.expect("settled");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_claims_that_are_settled_together_those_of_a_living_channel_are_ended() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let out = QueueName::new("out");
    let messages = vec![message("lost"), message("its witness"), Outgoing::new(out.clone(), "kept")];
    broker.publish(messages).await.expect("published");
    let mut consumers = (broker.consume(&QueueName::new("q"), many()), broker.consume(&out, many()));
    let (lost, witness) = (next(&mut consumers.0).await, next(&mut consumers.0).await);
    let kept = next(&mut consumers.1).await;
    // What follows finds no way, so that the settle is under way when one of its channels goes.
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    operator.unbind("bellbuoy.queues", "out", "out").await.expect("unbound");
    operator.delete_exchange("bellbuoy.unroutable").await.expect("deleted");
    let settling = {
        let (broker, follows) = (broker.clone(), Outgoing::new(out.clone(), "follows"));
        tokio::spawn(async move { broker.settle(vec![lost, kept], vec![follows]).await })
    };
    operator.delete_queue("q").await.expect("deleted");
    eventually(PATIENCE, async || (!witness.is_ours()).then_some(())).await;
    topology().apply(&url(&node.url("v")), &options()).await.expect("bound");
    let settled = timeout(PATIENCE, settling).await.expect("in time").expect("a task");
    assert_eq!(settled, Err(BrokerError::Lost));
    let follows = next(&mut consumers.1).await;
    assert_eq!((&**follows.body(), follows.returns()), (&b"follows"[..], 0), "the other one is ended");
    broker.settle(vec![follows], Vec::new()).await.expect("settled");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_message_is_claimed_with_what_it_has() {
    let node = prepared().await;
    // Neither id nor headers, and not persistent; published as any client would.
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    for (id, timestamp, body) in
        [(None, None, &[255, 0][..]), (Some("not a uuid"), Some(1_700_000_000), &b"x"[..])]
    {
        operator.publish("bellbuoy.events", "push", id, timestamp, body).await.expect("published");
    }
    let broker = open(&node.url("v")).await;
    let mut consumer = broker.consume(&queues::events(), many());
    let bare = next(&mut consumer).await;
    assert_eq!((bare.body().as_ref(), bare.headers().is_empty(), bare.returns()), (&[255, 0][..], true, 0));
    let id = bare.id();
    let named = next(&mut consumer).await;
    assert_eq!(named.due(), std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    drop(bare);
    let again = next(&mut consumer).await;
    assert_eq!((again.id(), again.returns()), (id, 1));
    broker.settle(vec![named, again], Vec::new()).await.expect("settled");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_messages_that_have_one_name_are_told_apart_and_none_swallows_another() {
    let node = prepared().await;
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    for body in [b"x", b"y", b"x"] {
        operator.publish("bellbuoy.events", "push", Some("1"), None, body).await.expect("published");
    }
    let broker = open(&node.url("v")).await;
    let mut events = broker.consume(&queues::events(), many());
    let (x, y, again) = (next(&mut events).await, next(&mut events).await, next(&mut events).await);
    assert_eq!(again.id(), x.id(), "a producer that publishes one message twice");
    let mut ids = HashMap::from([(x.body().clone(), x.id()), (y.body().clone(), y.id())]);
    let dead = [&x, &y].map(|claim| Outgoing::dead_letter(claim, "undecodable", "not an event"));
    broker.settle(vec![x, y, again], dead.into()).await.expect("settled");
    let mut letters = broker.consume(&queues::dead(), many());
    for _ in 0..2 {
        let letter = next(&mut letters).await;
        assert_eq!(ids.remove(letter.body()), Some(letter.id()));
        assert!(ids.values().all(|id| *id != letter.id()), "the archive keeps one letter of an id");
        broker.settle(vec![letter], Vec::new()).await.expect("settled");
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_becomes_a_cut_dead_letter_and_what_is_settled_beside_it_does_not_come_back()
{
    // As RabbitMQ 3 is by itself.
    let node = Node::start_with("max_message_size = 134217728\n", &[]).await;
    node.add_vhosts(&["v"]).await;
    topology().apply(&url(&node.url("v")), &options()).await.expect("the topology");
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    let large = vec![b'x'; MAX_MESSAGE_BYTES + 1];
    for body in [&large[..], b"good"] {
        operator.publish("bellbuoy.events", "push", None, None, body).await.expect("published");
    }
    let broker = open(&node.url("v")).await;
    let mut events = broker.consume(&queues::events(), many());
    let (first, good) = (next(&mut events).await, next(&mut events).await);
    assert_eq!((first.body().len(), good.body().as_ref()), (large.len(), &b"good"[..]));
    let dead = Outgoing::dead_letter(&first, "undecodable", "not an event");
    broker.settle(vec![first, good], vec![dead, message("fanned out")]).await.expect("settled");
    let letter = next(&mut broker.consume(&queues::dead(), many())).await;
    assert_eq!(letter.body().as_ref(), &large[..MAX_MESSAGE_BYTES]);
    assert_eq!(letter.dead_detail(), Some("not an event; of its 16777217 bytes the first 16777216 are kept"));
    broker.settle(vec![letter], Vec::new()).await.expect("settled");
    let done = next(&mut broker.consume(&QueueName::new("q"), many())).await;
    assert_eq!((done.body().as_ref(), done.returns()), (&b"fanned out"[..], 0));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_spoken_to_over_tls_with_both_certificates() {
    let ours = Authority::new("ours").expect("an authority");
    let server = ours.server(&["127.0.0.1"]).expect("a certificate");
    let port = free_port();
    let node = Node::start_with_tls(port, &ours, &server).await;
    node.add_vhosts(&["v"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("written");
        path
    };
    let known = |identity: &Identity, name: &str| {
        (write(&format!("{name}.crt"), &identity.cert_pem), write(&format!("{name}.key"), &identity.key_pem))
    };
    let authority = write("ca.pem", &ours.pem());
    let us = known(&ours.client("bellbuoy").expect("a certificate"), "us");
    let stranger = Authority::new("strangers").expect("an authority").client("stranger");
    let stranger = known(&stranger.expect("a certificate"), "stranger");
    let at = url(&format!("amqps://guest:guest@127.0.0.1:{port}/v"));
    let with =
        |ca: Option<_>, identity: Option<_>| RabbitMqOptions { tls: Tls { ca, identity }, ..options() };

    let trusted = with(Some(authority.clone()), Some(us.clone()));
    topology().apply(&at, &trusted).await.expect("both are known to each other");
    let broker = Broker::open_rabbitmq(&at, &trusted).expect("a broker");
    connected(&broker).await;
    broker.publish(vec![message("over TLS")]).await.expect("published");
    assert_eq!(next(&mut broker.consume(&QueueName::new("q"), many())).await.body().as_ref(), b"over TLS");
    broker.close().await;

    let unknown_node = topology().check(&at, &with(None, Some(us))).await;
    assert!(matches!(unknown_node, Err(TopologyError::Broker(_))), "{unknown_node:?}");
    let unknown_client = topology().check(&at, &with(Some(authority.clone()), Some(stranger))).await;
    assert!(matches!(unknown_client, Err(TopologyError::Broker(_))), "{unknown_client:?}");
    let nobody = topology().check(&at, &with(Some(authority), None)).await;
    assert!(matches!(nobody, Err(TopologyError::Broker(_))), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_is_not_blamed_on_the_messages_that_it_meets_first() {
    let node = prepared().await;
    let live = async |suspects_after| {
        let wire = Relay::start(node.address()).await;
        let at = url(&format!("amqp://guest:guest@127.0.0.1:{}/v", wire.port()));
        let options = RabbitMqOptions { suspects_after, ..options() };
        let broker = Broker::open_rabbitmq(&at, &options).expect("a broker");
        connected(&broker).await;
        let consumer = broker.consume(&QueueName::new("q"), many());
        (wire, broker, consumer)
    };
    let (wire, broker, mut consumer) = live(Duration::ZERO).await;
    broker.publish(vec![message("innocent")]).await.expect("published");
    drop(next(&mut consumer).await);
    let claim = next(&mut consumer).await;
    wire.cut().await;
    drop((broker, consumer, claim));
    for _ in 0..5 {
        let (wire, broker, mut consumer) = live(Duration::from_secs(10)).await;
        let soon = timeout(Duration::from_millis(300), consumer.next()).await;
        assert!(soon.is_err(), "a suspect is in hand right after the start");
        wire.cut().await;
        drop((broker, consumer));
    }
    let (_wire, broker, mut consumer) = live(Duration::ZERO).await;
    let claim = next(&mut consumer).await;
    assert_eq!(claim.returns(), 2);
    broker.settle(vec![claim], Vec::new()).await.expect("settled");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_depths_say_what_stands_where() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let mut messages: Vec<_> = (0..7).map(message).collect();
    messages.extend((0..3).map(|number| message(number).after(Duration::from_hours(1))));
    broker.publish(messages).await.expect("published");
    let mut consumer = broker.consume(&QueueName::new("q"), NonZeroUsize::new(2).expect("not zero"));
    let claims = [next(&mut consumer).await, next(&mut consumer).await];
    eventually(PATIENCE, async || {
        let depths = broker.depths();
        let depth = |name: &str| depths.iter().find(|depth| depth.queue.as_str() == name);
        let (q, delays) = (depth("q")?, depth("bellbuoy.delay")?);
        ((q.ready, q.claimed, delays.delayed, depth("bellbuoy.unroutable")?.ready) == (7, 2, 3, 0))
            .then_some(())
    })
    .await;
    drop(claims);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_missing_has_no_depth_and_those_of_the_others_go_on() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let ready = |name: &str| {
        let depths = broker.depths();
        depths.into_iter().find(|depth| depth.queue.as_str() == name).map(|depth| depth.ready)
    };
    broker.publish((0..3).map(message).collect()).await.expect("published");
    eventually(PATIENCE, async || (ready("q") == Some(3) && ready("out") == Some(0)).then_some(())).await;
    let operator = Operator::connect(&node.url("v")).await.expect("an operator");
    operator.delete_queue("bellbuoy.events.due").await.expect("deleted");
    operator.delete_queue("out").await.expect("deleted");
    let mut consumer = broker.consume(&QueueName::new("q"), many());
    for _ in 0..3 {
        let claim = next(&mut consumer).await;
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    eventually(PATIENCE, async || (ready("q") == Some(0) && ready("out").is_none()).then_some(())).await;
    assert_eq!((ready("bellbuoy.events"), ready("bellbuoy.unroutable")), (None, Some(0)));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stood_on_an_embedded_broker_goes_on_here_with_its_returns_and_what_is_left_of_its_wait() {
    let node = prepared().await;
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = EmbeddedOptions { suspects_after: Duration::ZERO, ..EmbeddedOptions::default() };
    let old = Broker::open_embedded(directory.path(), &embedded).expect("a broker");
    let (mut fresh, suspect) = (message("fresh"), message("suspect"));
    fresh.headers.set("bellbuoy-accepted-ms", "17");
    let (due, waits) =
        (message("due").after(Duration::from_millis(1)), message("waits").after(Duration::from_secs(3)));
    let dead = Outgoing::quarantined("ingest.distribution", "undecodable", "no JSON", "dead");
    old.publish(vec![suspect.clone()]).await.expect("published");
    let q = QueueName::new("q");
    let mut consumer = old.consume(&q, NonZeroUsize::MIN);
    drop(next(&mut consumer).await);
    let again = next(&mut consumer).await;
    assert_eq!(again.returns(), 1);
    drop(again);
    old.publish(vec![fresh.clone(), due.clone(), waits.clone(), dead.clone()]).await.expect("published");
    let published = SystemTime::now();
    drop(consumer);
    old.close().await;

    let broker = open(&node.url("v")).await;
    let before = broker.count().await.expect("counted");
    assert!(before.iter().all(|count| (count.messages, count.consumers) == (0, 0)), "{before:?}");
    let mut removal = Removal::open(directory.path(), &embedded).expect("the old broker");
    let moved = removal.move_next(&broker).await.expect("moved");
    let total: u64 = moved.iter().map(|moved| moved.ready + moved.delayed).sum();
    assert_eq!(total, 5, "{moved:?}");
    assert_eq!(removal.move_next(&broker).await, Ok(Vec::new()));
    removal.close().await;
    eventually(PATIENCE, async || {
        let counts = broker.count().await.expect("counted");
        (counts.iter().map(|count| count.messages).sum::<u64>() == 5).then_some(())
    })
    .await;

    let mut consumer = broker.consume(&q, many());
    let mut claims = HashMap::new();
    while claims.len() < 4 {
        let claim = next(&mut consumer).await;
        assert!(SystemTime::now() >= claim.due(), "early");
        claims.insert(claim.id(), claim);
    }
    assert_eq!(claims[&fresh.id].headers(), &fresh.headers);
    assert_eq!([&fresh, &due, &waits, &suspect].map(|sent| claims[&sent.id].returns()), [0, 0, 0, 2]);
    let late =
        claims[&waits.id].due().duration_since(published).expect("later").abs_diff(Duration::from_secs(3));
    assert!(late < Duration::from_millis(500), "its time is {late:?} off");
    let letter = next(&mut broker.consume(&queues::dead(), many())).await;
    let told = (letter.id(), letter.dead_reason(), letter.dead_origin(), letter.dead_detail());
    assert_eq!(told, (dead.id, Some("undecodable"), Some("ingest.distribution"), Some("no JSON")));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_travels_in_one_pack_is_ended_singly_and_only_the_poisonous_one_dies() {
    let node = prepared().await;
    let broker = open(&node.url("v")).await;
    let told: Vec<_> = (0..7).map(|number| Outgoing::new(out(), format!("{number}"))).collect();
    let ids: HashMap<_, _> = told.iter().map(|told| (told.body.clone(), told.id)).collect();
    broker.publish(told).await.expect("published");
    let ready = async || broker.depths().iter().find(|depth| depth.queue == out()).map(|depth| depth.ready);
    eventually(PATIENCE, async || ready().await.filter(|ready| *ready == 1)).await;

    let (mut consumer, mut dead) = (broker.consume(&out(), many()), broker.consume(&queues::dead(), many()));
    let mut settled: HashMap<_, u32> = HashMap::new();
    let died = loop {
        tokio::select! {
            claim = next(&mut consumer) => {
                assert_eq!(claim.id(), ids[claim.body()], "each keeps its own id");
                if **claim.body() == *b"3" {
                    continue; // Dropped: returned.
                }
                *settled.entry(claim.id()).or_default() += 1;
                broker.settle(vec![claim], Vec::new()).await.expect("settled");
            }
            claim = next(&mut dead) => break claim,
        }
    };
    assert_eq!((&**died.body(), died.dead_reason()), (&b"3"[..], Some("poisoned")));
    assert_eq!(settled.len(), 6, "the others were settled");
    assert!(settled.values().all(|times| *times == 1), "what was settled came again: {settled:?}");
    broker.settle(vec![died], Vec::new()).await.expect("settled");
    for queue in [out(), queues::dead()] {
        let left = timeout(Duration::from_millis(300), broker.consume(&queue, many()).next()).await;
        assert!(left.is_err(), "{queue} is not empty");
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_together_is_taken_singly_when_its_time_has_come_and_a_return_is_its_own() {
    const HELD: usize = 200;
    let mut node = prepared().await;
    let broker = open(&node.url("v")).await;
    // Of several levels, so that a pack has to move on as one.
    let delay = Duration::from_millis(6500);
    let held: Vec<_> = (0..HELD).map(|number| message(number).after(delay).together()).collect();
    let ids: HashSet<_> = held.iter().map(|held| held.id).collect();
    let published = Instant::now();
    broker.publish(held).await.expect("published");
    let delayed = async || {
        let depths = broker.depths();
        depths.iter().find(|depth| depth.queue.as_str() == "bellbuoy.delay").map(|depth| depth.delayed)
    };
    let packs = eventually(PATIENCE, async || delayed().await.filter(|delayed| *delayed > 0)).await;
    assert!(packs < 10, "{HELD} messages wait as {packs}");
    node.kill_9();
    node.start_again().await;
    connected(&broker).await;

    let mut consumer = broker.consume(&QueueName::new("q"), many());
    let mut given_back = None;
    let mut settled = HashSet::new();
    while settled.len() < HELD {
        let claim = next(&mut consumer).await;
        assert!(published.elapsed() >= delay, "early, after {:?}", published.elapsed());
        if *given_back.get_or_insert(claim.id()) == claim.id() && claim.returns() == 0 {
            continue; // Dropped: returned.
        }
        assert_eq!(claim.returns(), u32::from(given_back == Some(claim.id())), "nobody else is to blame");
        assert!(settled.insert(claim.id()), "one came again that was settled");
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    assert_eq!(settled, ids);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_waiting_messages_outlive_the_node_and_none_comes_before_its_time() {
    const WAITING: usize = 100_000;
    const BATCH: usize = 2500;
    let mut node = prepared().await;
    let broker = open(&node.url("v")).await;
    let batch = |delay: Duration| {
        let due = SystemTime::now() + delay;
        let due = due.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
        let numbered = |number| Outgoing::new(QueueName::new("q"), format!("{due} {number}")).after(delay);
        (0..BATCH).map(numbered).collect::<Vec<_>>()
    };
    // How long all of them will take here, and so how long they have to wait to be killed while they do: the time of
    // one level, which is one hop for each.
    let began = Instant::now();
    broker.publish(batch(Duration::ZERO)).await.expect("published");
    let expected = began.elapsed() * u32::try_from(WAITING / BATCH).expect("a few");
    let delay = (0..9).map(|level| Duration::from_secs(8 << level)).find(|delay| *delay > expected * 3 / 2);
    let delay = delay.expect("a machine that publishes a message a second");

    let mut ids = HashSet::new();
    let began = Instant::now();
    for _ in 0..WAITING / BATCH {
        let messages = batch(delay);
        ids.extend(messages.iter().map(|message| message.id));
        broker.publish(messages).await.expect("published");
    }
    let published = began.elapsed();
    assert!(published < delay, "too many were due before the kill: {published:?} of {delay:?}");
    node.kill_9();
    node.start_again().await;
    connected(&broker).await;
    let back = began.elapsed();

    let mut consumer = broker.consume(&QueueName::new("q"), many());
    let (mut missing, mut repeated, mut early) = (ids.clone(), 0, 0);
    while !missing.is_empty() {
        let mut claims = vec![next(&mut consumer).await];
        claims.extend(std::iter::from_fn(|| consumer.try_next()));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
        for claim in claims.iter().filter(|claim| ids.contains(&claim.id())) {
            let text = std::str::from_utf8(claim.body()).expect("a text");
            let due: u128 = text.split(' ').next().and_then(|due| due.parse().ok()).expect("a time");
            early += usize::from(now < due);
            repeated += usize::from(!missing.remove(&claim.id()));
        }
        broker.settle(claims, Vec::new()).await.expect("settled");
    }
    println!(
        "{WAITING} messages published in {published:.1?} to wait {delay:?}; the node is back after {back:.1?}, all \
         have come after {:.1?}, {repeated} of them twice",
        began.elapsed()
    );
    assert_eq!(early, 0, "came before their time");
    assert!(repeated < WAITING / 100, "{repeated} came twice");
    broker.close().await;
}
