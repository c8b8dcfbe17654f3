//! A fleet under load, and what is done to it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bellbuoy_testkit::postgres::Postgres;
use bellbuoy_testkit::rabbitmq::{Cluster, Node};
use bellbuoy_testkit::receiver::{Answer, Receiver};
use bellbuoy_testkit::wait::eventually;
use tokio::time::{Instant, sleep};

use crate::load::{Apis, Ledger, Wanted, publish};
use crate::plan::{Fault, Plan, Step, Target};
use crate::support::{Deployment, Member};
use crate::timeline::Timeline;

/// For a state that has to come, restarts of everything on a busy machine included.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// The virtual host of the fleet.
const VHOST: &str = "chaos";

/// How long the receiver thinks, so that there is something in flight.
const ANSWER_AFTER: Duration = Duration::from_millis(60);

const SETTINGS: &[(&str, &str)] = &[
    ("BELLBUOY_RETRY__STEPS", "100ms,200ms,400ms,800ms,1s,1s,1s,1s,1s,1s"),
    ("BELLBUOY_RETRY__CLIENT_ERROR_ATTEMPTS", "1"),
    ("BELLBUOY_LIMITS__IN_FLIGHT", "8"),
    ("BELLBUOY_LOG__FORMAT", "text"),
    // The receiver that rejects everything is not to be given up.
    ("BELLBUOY_LIMITS__FAILURES", "1000000"),
];

/// Where a node may fall silent: it is left after twice as long.
const IN_A_CLUSTER: &[(&str, &str)] = &[("BELLBUOY_BROKER__HEARTBEAT_SECONDS", "4")];

const MEMBERS: [(Target, &str, &str); 6] = [
    (Target::Api(0), "api-0", "api"),
    (Target::Api(1), "api-1", "api"),
    (Target::Fanout, "fanout", "fanout"),
    (Target::Deliver(0), "deliver-0", "deliver"),
    (Target::Deliver(1), "deliver-1", "deliver"),
    (Target::Record, "record", "record"),
];

/// Lines of each process that a failure shows.
const SHOWN: usize = 25;

/// A fleet and everything around it.
pub(crate) struct Storm {
    pub(crate) receiver: Receiver,
    pub(crate) timeline: Timeline,
    pub(crate) ledger: Arc<Ledger>,
    members: Vec<(Target, Member)>,
    deployment: Deployment,
    apis: Apis,
    postgres: Postgres,
    broker: Rabbit,
    paused: Option<usize>,
}

/// RabbitMQ, of one node or of three.
enum Rabbit {
    One(Node),
    Three(Cluster),
}

impl Rabbit {
    fn nodes(&self) -> &[Node] {
        match self {
            Self::One(node) => std::slice::from_ref(node),
            Self::Three(cluster) => &cluster.nodes,
        }
    }

    fn nodes_mut(&mut self) -> &mut [Node] {
        match self {
            Self::One(node) => std::slice::from_mut(node),
            Self::Three(cluster) => &mut cluster.nodes,
        }
    }

    fn url(&self) -> String {
        match self {
            Self::One(node) => node.url(VHOST),
            Self::Three(cluster) => cluster.url(VHOST),
        }
    }
}

impl Storm {
    /// A fleet on a single node of RabbitMQ.
    pub(crate) async fn on_a_node(seed: u64) -> Self {
        let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
        Self::start(seed, Rabbit::One(node), postgres).await
    }

    /// A fleet that knows the three nodes of a cluster.
    pub(crate) async fn on_a_cluster(seed: u64) -> Self {
        let (cluster, postgres) = tokio::join!(Cluster::start(), Postgres::start());
        Self::start(seed, Rabbit::Three(cluster), postgres).await
    }

    async fn start(seed: u64, broker: Rabbit, postgres: Postgres) -> Self {
        broker.nodes()[0].add_vhosts(&[VHOST]).await;
        let further = if broker.nodes().len() > 1 { IN_A_CLUSTER } else { &[] };
        let settings = [SETTINGS, further].concat();
        let deployment = Deployment::new(&broker.url(), &postgres.database().await, &settings);
        deployment.apply_topology().await;
        let receiver = Receiver::start().await.expect("a receiver");
        receiver.answer_after(ANSWER_AFTER);
        receiver.script(Wanted::Flaky.path(), [Answer::FailSome { status: 503, one_in: 4, seed }]);
        receiver.script(Wanted::Rejecting.path(), [Answer::status(400)]);
        let members = MEMBERS.map(|(target, name, role)| (target, deployment.member(name, role)));
        let storm = Self {
            receiver,
            timeline: Timeline::begin(seed),
            ledger: Arc::new(Ledger::new(0)),
            members: members.into(),
            deployment,
            apis: Apis::none_yet(2),
            postgres,
            broker,
            paused: None,
        };
        for (target, member) in &storm.members {
            storm.tell_where(*target, member);
            member.until_ready().await;
        }
        let api = storm.member(Target::Api(0)).client().await;
        for wanted in Wanted::ALL {
            api.wish(&wanted.json(&storm.receiver.url(wanted.path()))).await;
        }
        storm
    }

    /// Lets producers publish while the plan is carried out; all events are acknowledged when it returns, and
    /// everything is up.
    pub(crate) async fn weather(&mut self, plan: &Plan) {
        self.timeline = Timeline::begin(self.timeline.seed());
        self.ledger = Arc::new(Ledger::new(plan.events));
        let amqp = self.broker.nodes().iter().map(|node| node.url(VHOST)).collect();
        let publishing = publish(plan.events, Arc::clone(&self.ledger), self.apis.clone(), amqp);
        let ledger = Arc::clone(&self.ledger);
        let striking = async {
            let mut allowed = 0;
            for step in &plan.steps {
                ledger.allow(step.load - allowed);
                allowed = step.load;
                ledger.until_acknowledged(step.after).await;
                self.strike(step).await;
            }
            ledger.allow(plan.events - allowed);
        };
        tokio::join!(publishing, striking);
        self.until_ready().await;
    }

    async fn strike(&mut self, step: &Step) {
        let began = Instant::now();
        for fault in &step.faults {
            self.begin(*fault).await;
        }
        sleep(step.lasting).await;
        for fault in &step.faults {
            self.end(*fault).await;
        }
        for fault in &step.faults {
            self.timeline.add(*fault, began, Instant::now());
        }
        if step.heals {
            self.until_ready().await;
        }
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(Target::Store) => self.postgres.kill_9(),
            Fault::Kill(Target::Node(number)) => self.broker.nodes()[number].kill_9(),
            Fault::Kill(target) => self.member(target).kill_9(),
            Fault::Restart(target) => self.member(target).stop().await,
            Fault::Pause => self.pause_a_node().await,
            Fault::CloseConnections => {
                self.broker.nodes()[0].ctl(&["close_all_connections", "--global", "by the operator"]).await;
            }
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(Target::Store) => self.postgres.start_again().await,
            Fault::Kill(Target::Node(number)) => self.broker.nodes_mut()[number].start_again().await,
            Fault::Kill(target) | Fault::Restart(target) => self.launch_again(target),
            Fault::Pause => {
                let paused = self.paused.take().expect("one was paused");
                self.broker.nodes()[paused].resume();
            }
            Fault::CloseConnections => {}
        }
    }

    /// Stops the clock of the node to which most connections of ours lead, and waits until every process has given
    /// them up: those that a silent node holds up work on a living one. Who tries it again meanwhile is not in question.
    async fn pause_a_node(&mut self) {
        let held = |node: &Node| -> HashSet<u64> {
            let port = node.address().port();
            self.members.iter().flat_map(|(_, member)| member.process.connections_to(port)).collect()
        };
        let nodes = self.broker.nodes();
        let busiest = (0..nodes.len()).max_by_key(|number| held(&nodes[*number]).len()).expect("a node");
        nodes[busiest].pause();
        let before = held(&nodes[busiest]);
        assert!(!before.is_empty(), "nobody is connected to any node");
        eventually(PATIENCE, async || before.is_disjoint(&held(&nodes[busiest])).then_some(())).await;
        self.paused = Some(busiest);
    }

    fn launch_again(&mut self, wanted: Target) {
        let (target, member) =
            self.members.iter_mut().find(|(target, _)| *target == wanted).expect("one of the members");
        member.launch_again(&self.deployment);
        let target = *target;
        self.tell_where(target, self.member(target));
    }

    fn tell_where(&self, target: Target, member: &Member) {
        if let Target::Api(number) = target {
            self.apis.await_next(number, Arc::clone(&member.process));
        }
    }

    pub(crate) fn member(&self, wanted: Target) -> &Member {
        let (_, member) =
            self.members.iter().find(|(target, _)| *target == wanted).expect("one of the members");
        member
    }

    async fn until_ready(&self) {
        for (_, member) in &self.members {
            member.until_ready().await;
        }
    }

    /// How many messages stand in RabbitMQ's queues, of those that have any.
    pub(crate) async fn queued(&self) -> Vec<String> {
        let said = self.broker.nodes()[0].ctl(&["list_queues", "-p", VHOST, "name", "messages"]).await;
        let lines = said.lines().filter(|line| line.starts_with("bellbuoy.") && !line.ends_with("\t0"));
        lines.map(str::to_owned).collect()
    }

    /// Stops every member in order.
    pub(crate) async fn stop(&self) {
        for (_, member) in &self.members {
            member.stop().await;
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.timeline);
            for (_, member) in &self.members {
                let lines = member.process.lines();
                println!(
                    "{} said last:\n{}",
                    member.name,
                    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
                );
            }
        }
    }
}
