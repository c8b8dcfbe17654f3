//! What the processes of a fleet learn of a receiver together: four that deliver, RabbitMQ between them, PostgreSQL below.

mod support;

use std::time::Duration;

use bellbuoy_testkit::{
    postgres::Postgres,
    rabbitmq::Node,
    receiver::{Answer, Receiver, Reply},
    wait::eventually,
};
use http::Method;
use support::{Client, Deployment, Member, SOON, push};

const DELIVERERS: [&str; 4] = ["deliver-0", "deliver-1", "deliver-2", "deliver-3"];

/// A fleet whose four deliverers have each delivered to the one receiver at `/hook`.
struct Rig {
    api: Client,
    clients: Vec<Client>,
    receiver: Receiver,
    published: usize,
    _members: Vec<Member>,
    _grounds: (Node, Postgres, Deployment),
}

impl Rig {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
        node.add_vhosts(&["fleet"]).await;
        let fleet = Deployment::new(&node.url("fleet"), &postgres.database().await, settings);
        fleet.apply_topology().await;
        let (api, fanout, record) =
            tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("record"));
        let receiver = Receiver::start().await.expect("a receiver");
        receiver.answer_after(Duration::from_millis(50));
        let client = api.client().await;
        client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
        let mut members = vec![api, fanout, record];
        let mut clients = Vec::new();
        for name in DELIVERERS {
            let member = fleet.member(name, "deliver");
            member.until_ready().await;
            clients.push(member.client().await);
            members.push(member);
        }
        let mut rig = Self {
            api: client,
            clients,
            receiver,
            published: 0,
            _members: members,
            _grounds: (node, postgres, fleet),
        };
        rig.until_each_has_delivered().await;
        rig
    }

    async fn until_each_has_delivered(&mut self) {
        for client in self.clients.clone() {
            eventually(SOON, async || {
                self.publish(20).await;
                let labels = [r#"outcome="delivered""#];
                (client.counted("bellbuoy_delivery_attempts_total", &labels).await > 0.5).then_some(())
            })
            .await;
        }
        self.api.until("", self.published, &["delivered"]).await;
        self.a_round().await;
        self.receiver.clear();
    }

    /// Waits until every deliverer has told what it has seen: it does so in each of its calls to the store, or the next.
    async fn a_round(&self) {
        for client in &self.clients {
            let calls = async || client.counted("bellbuoy_slot_asks_total", &[]).await;
            let before = calls().await;
            eventually(SOON, async || (calls().await > before + 1.5).then_some(())).await;
        }
    }

    async fn publish(&mut self, count: usize) {
        let first = self.published;
        self.published += count;
        let events: Vec<_> = (first..self.published)
            .map(|number| push(&format!("event-{number}"), "acme/api", "v1"))
            .collect();
        let body = serde_json::to_vec(&events).expect("JSON");
        let answer =
            self.api.send(Method::POST, "/v1/events", "application/cloudevents-batch+json", body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    /// Waits until every deliverer says so of its `gauge`.
    async fn until_all_know(&self, gauge: &str, is_so: impl Fn(f64) -> bool) {
        for client in &self.clients {
            eventually(SOON, async || is_so(client.counted(gauge, &[]).await).then_some(())).await;
        }
    }

    async fn holds(&self, cause: &str) -> f64 {
        let mut all = 0.0;
        for client in &self.clients {
            all += client.counted("bellbuoy_delivery_holds_total", &[&format!(r#"reason="{cause}""#)]).await;
        }
        all
    }
}

#[tokio::test]
async fn what_asked_one_process_for_peace_has_it_of_all() {
    const PEACE: Duration = Duration::from_secs(20);
    const BACKLOG: usize = 40;
    let mut rig = Rig::start(&[]).await;
    rig.receiver.script("/hook", [Answer::status(429).with("retry-after", "20"), Answer::status(200)]);
    rig.publish(1).await;
    rig.receiver.wait_for(1, |_| true).await.expect("the one that is refused");
    rig.until_all_know("bellbuoy_receivers_in_peace", |count| count > 0.5).await;
    rig.publish(BACKLOG).await;
    rig.api.until("", rig.published, &["delivered"]).await;
    let requests = rig.receiver.requests();
    assert_eq!(requests.len(), 2 + BACKLOG, "one attempt was spent for it, and no other");
    for request in &requests[1..] {
        assert!(request.at - requests[0].at >= PEACE, "{:?} is too early", request.at - requests[0].at);
    }
    assert!(rig.holds("rate_limited").await > 0.5);
    rig.until_all_know("bellbuoy_receivers_in_peace", |count| count < 0.5).await;
}

#[tokio::test]
async fn a_circuit_opens_for_all_is_tried_by_one_attempt_of_the_fleet_at_a_time_and_closes_for_all() {
    const BACKLOG: usize = 40;
    let mut rig = Rig::start(&[
        ("BELLBUOY_LIMITS__CIRCUIT_FAILURES", "3"),
        ("BELLBUOY_OUTBOUND__DEADLINE_SECONDS", "120"),
        // Those that failed are not tried again within the test.
        ("BELLBUOY_RETRY__STEPS", "1h"),
    ])
    .await;
    let failures = std::iter::repeat_n(Answer::status(500), 3);
    rig.receiver.script("/hook", failures.chain([Answer::OnRelease(Reply::new(200))]));
    rig.publish(3).await;
    rig.receiver.wait_for(3, |_| true).await.expect("three that fail");
    rig.until_all_know("bellbuoy_circuits_open", |count| count > 0.5).await;

    rig.publish(BACKLOG).await;
    rig.receiver.wait_for(4, |_| true).await.expect("the one that finds out");
    // As long as it is out, each of the others comes to its turn once more, in one process or another.
    let before = rig.holds("circuit_open").await;
    let least = before + f64::from(u32::try_from(BACKLOG).expect("a few"));
    eventually(SOON, async || (rig.holds("circuit_open").await > least).then_some(())).await;
    assert_eq!(rig.receiver.requests().len(), 4, "one at a time over all");

    rig.receiver.release();
    let delivered = async || {
        let rows = rig.api.deliveries("state=delivered").await;
        (rows.len() == rig.published - 3).then_some(rows)
    };
    let rows = eventually(SOON, delivered).await;
    assert!(rows.iter().all(|row| row["attempt_count"] == 1), "no hold was an attempt: {rows:?}");
    assert_eq!(rig.receiver.requests().len(), 3 + BACKLOG);
    rig.until_all_know("bellbuoy_circuits_open", |count| count < 0.5).await;
}
