//! A storm of findings through the real program, whose processes are killed (`kill -9`) while they collect and send: few
//! messages, nothing missing, and every event says in which delivery it is told.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellbuoy_testkit::mail::{MailServer, Setup};
use bellbuoy_testkit::postgres::Postgres;
use bellbuoy_testkit::rabbitmq::Node;
use bellbuoy_testkit::receiver::{Answer, Receiver, Recorded};
use bellbuoy_testkit::wait::within;
use http::Method;
use serde_json::{Value, json};
use support::{Client, Deployment, Dice, Fleet, SOON, Wish};

/// Findings, in as many waves as there are kills.
const FINDINGS: usize = 200;
const KILLS: usize = 5;

fn finding(number: usize) -> Value {
    let vulnerability =
        json!({"id": format!("CVE-{number}"), "priority": "High", "description": "x", "has_fix": true});
    json!({"specversion": "1.0", "id": format!("finding-{number}"), "source": "journeys", "type": "vulnerability_found",
        "subject": "acme/api", "data": {"tags": ["v1", "latest"], "vulnerability": vulnerability}})
}

async fn wish(api: &Client, receiver: &Receiver) -> Wish {
    api.wish(
        &json!({"scope": {"repository": "acme/api"}, "kinds": ["vulnerability_found"], "method": "webhook",
        "config": {"url": receiver.url("/hook")}, "filter": {"digest": 1}}),
    )
    .await
}

/// Publishes a wave. A process that is just being killed refuses; it is asked again, as a producer does.
async fn publish(api: &Client, wave: usize) {
    for number in (0..FINDINGS).filter(|number| number % KILLS == wave) {
        let taken = within(SOON, async || {
            let answer = api.try_publish(&finding(number)).await.ok()?;
            (answer.status == 202).then_some(())
        });
        taken.await.expect("accepted");
    }
}

/// The delivery that history says an event is told in.
fn told_in(row: &Value) -> &str {
    row["cause"]["detail"].as_str().and_then(|detail| detail.rsplit(' ').next()).unwrap_or_default()
}

/// Waits until every event is told in a delivery that has arrived, and holds what arrived against what history says.
async fn judge(api: &Client, receiver: &Receiver, id: &str) {
    let all = within(SOON, async || {
        let rows = api.deliveries(&format!("notification={id}")).await;
        let (collected, sent): (Vec<Value>, Vec<Value>) = rows
            .into_iter()
            .partition(|row| row["event"].as_str().is_some_and(|id| id.starts_with("finding-")));
        // A digest is in history from when its window is over.
        let arrived: BTreeSet<&str> = sent
            .iter()
            .filter(|row| row["state"] == "delivered")
            .filter_map(|row| row["id"].as_str())
            .collect();
        let is_told = |row: &Value| row["state"] == "cancelled" && arrived.contains(told_in(row));
        let is_done =
            collected.len() == FINDINGS && collected.iter().all(is_told) && arrived.len() == sent.len();
        is_done.then_some((collected, sent))
    });
    let (collected, sent) = all.await.expect("every event collected and every digest delivered");
    // What each delivery told, whichever of its requests did: they are the same.
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for request in receiver.requests() {
        let id = request.header("webhook-id").expect("an id").to_owned();
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let several = body["vulnerabilities"].as_array().cloned().unwrap_or_default();
        let found: BTreeSet<String> = several
            .into_iter()
            .chain(body.get("vulnerability").cloned())
            .filter_map(|one| one["id"].as_str().map(str::to_owned))
            .collect();
        if let Some(before) = told.insert(id, found.clone()) {
            assert_eq!(before, found, "a digest that is sent again is the same");
        }
    }
    for row in &collected {
        let number = row["event"].as_str().and_then(|id| id.strip_prefix("finding-")).expect("a number");
        let cause = &row["cause"];
        assert_eq!(cause["code"], "digested", "{row}");
        let digest = told_in(row);
        assert!(told[digest].contains(&format!("CVE-{number}")), "{number} is not told in {digest}");
    }
    assert!(sent.len() < FINDINGS / 4, "{} messages for {FINDINGS} findings", sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_on_one_machine_that_is_killed_loses_nothing() {
    let mut fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", vec![Answer::FailSome { status: 503, one_in: 3, seed: 11 }]);
    let id = wish(&fleet.api, &receiver).await.id;
    let mut dice = Dice(20_261_121);
    for wave in 0..KILLS {
        publish(&fleet.api, wave).await;
        // Anywhere between collecting and sending.
        tokio::time::sleep(Duration::from_millis(dice.below(1500) as u64)).await;
        fleet.launch_again();
        fleet.until_up().await;
    }
    judge(&fleet.api, &receiver, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_on_a_fleet_whose_processes_are_killed_loses_nothing() {
    let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["digest"]).await;
    let fleet = Deployment::new(&node.url("digest"), &postgres.database().await, &[]);
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", vec![Answer::FailSome { status: 503, one_in: 3, seed: 12 }]);
    fleet.apply_topology().await;
    let api_member = fleet.role("api").await;
    let api = api_member.client().await;
    let mut killed =
        [fleet.member("one", "fanout"), fleet.member("two", "fanout"), fleet.member("deliver", "deliver")];
    let record = fleet.role("record").await;
    for member in &killed {
        member.until_ready().await;
    }
    let id = wish(&api, &receiver).await.id;
    let mut dice = Dice(20_261_122);
    for wave in 0..KILLS {
        publish(&api, wave).await;
        tokio::time::sleep(Duration::from_millis(dice.below(1500) as u64)).await;
        let member = dice.below(killed.len());
        killed[member].launch_again(&fleet);
    }
    judge(&api, &receiver, &id).await;
    for member in killed.iter().chain([&record, &api_member]) {
        member.stop().await;
    }
}

#[tokio::test]
async fn a_thousand_findings_on_one_image_are_one_message_for_each_notification() {
    const THOUSAND: usize = 1000;
    let (receiver, folder) =
        (Receiver::start().await.expect("a receiver"), tempfile::tempdir().expect("a folder"));
    let server = MailServer::start(folder.path(), &Setup::default()).await;
    let port = server.port().to_string();
    let fleet = Fleet::start(&[
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__PORT", &port),
        ("BELLBUOY_SMTP__SECURITY", "none"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
    ])
    .await;
    // Long against what collecting them takes.
    let wish = |scope: Value, method: &str, config: Value| {
        json!({"scope": scope, "kinds": ["vulnerability_found"], "method": method, "config": config,
            "filter": {"digest": 20}})
    };
    let repository = json!({"repository": "acme/api"});
    let ids = [
        fleet.api.wish(&wish(repository.clone(), "webhook", json!({"url": receiver.url("/hook")}))).await.id,
        fleet.api.wish(&wish(repository, "slack", json!({"url": receiver.url("/slack")}))).await.id,
        fleet
            .api
            .wish(&wish(json!({"registry": true}), "email", json!({"email": "kim@example.com"})))
            .await
            .id,
    ];
    let all: Vec<Value> = (0..THOUSAND).map(finding).collect();
    for batch in all.chunks(100) {
        let body = Value::from(batch).to_string();
        let kind = "application/cloudevents-batch+json";
        let answer = fleet.api.send(Method::POST, "/v1/events", kind, body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    for id in &ids {
        let told = within(SOON, async || {
            let sent = fleet.api.deliveries(&format!("notification={id}&state=delivered")).await;
            (!sent.is_empty()).then_some(sent)
        });
        assert_eq!(told.await.expect("a digest").len(), 1, "{id}");
        fleet.api.until(&format!("notification={id}&state=cancelled"), THOUSAND, &["cancelled"]).await;
    }
    let requests = receiver.requests();
    let of = |path: &str| {
        let body = |request: &Recorded| serde_json::from_slice::<Value>(&request.body).expect("JSON");
        let bodies: Vec<_> = requests.iter().filter(|request| request.path == path).map(body).collect();
        assert_eq!(bodies.len(), 1, "{path}");
        bodies.into_iter().next().expect("one")
    };
    let hook = of("/hook");
    let several = hook["vulnerabilities"].as_array().expect("several");
    let found: BTreeSet<&str> = several.iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!((several.len(), found.len()), (THOUSAND, THOUSAND), "each once");
    assert_eq!(hook["tags"], json!(["latest", "v1"]));
    let summary = "1000 High vulnerabilities were detected in repository acme/api in 2 tags";
    assert_eq!(of("/slack")["text"], summary);
    let mails = server.mails();
    assert_eq!((mails.len(), mails[0].field("Subject").as_deref()), (1, Some(summary)));
}
