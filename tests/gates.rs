//! What a receiver is spared, through the real program: circuits, rates, and caps that hold for redirects too; and that
//! nobody else waits for it.

mod support;

use std::time::Duration;

use bellbuoy_testkit::{
    receiver::{Answer, Receiver, Reply},
    wait::eventually,
};
use http::Method;
use serde_json::{Value, json};
use support::{Client, Fleet, SOON, push};

async fn receiver() -> Receiver {
    Receiver::start().await.expect("a receiver")
}

/// Publishes a push to each of `repositories`, all in one request.
async fn publish_all(api: &Client, name: &str, repositories: impl IntoIterator<Item = String>) {
    let push = |(number, repository): (usize, String)| push(&format!("{name}-{number}"), &repository, "v1");
    let events: Vec<_> = repositories.into_iter().enumerate().map(push).collect();
    let body = serde_json::to_vec(&events).expect("JSON");
    let answer = api.send(Method::POST, "/v1/events", "application/cloudevents-batch+json", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

fn many(repository: &str, count: usize) -> impl Iterator<Item = String> {
    std::iter::repeat_n(repository.to_owned(), count)
}

fn hook(repository: &str, config: &Value) -> Value {
    json!({"scope": {"repository": repository}, "kinds": ["repo_push"], "method": "webhook", "config": config})
}

/// Those of `deliveries` that wait for this cause and have spent so many attempts.
fn held<'a>(deliveries: &'a [Value], cause: &str, attempts: u64) -> Vec<&'a Value> {
    let is_held = |row: &&Value| {
        row["state"] == "waiting" && row["cause"]["code"] == cause && row["attempt_count"] == attempts
    };
    deliveries.iter().filter(is_held).collect()
}

async fn holds(api: &Client, cause: &str) -> f64 {
    api.counted("bellbuoy_delivery_holds_total", &[&format!(r#"reason="{cause}""#)]).await
}

/// Waits until so many circuits are open.
async fn until_open(api: &Client, count: f64) {
    let is_so = async || {
        let open = api.counted("bellbuoy_circuits_open", &[]).await;
        ((open - count).abs() < 0.5).then_some(())
    };
    eventually(SOON, is_so).await;
}

#[tokio::test]
async fn a_circuit_opens_is_tried_by_one_attempt_and_closes_for_all_that_were_held() {
    const OTHERS: usize = 10;
    let settings = [
        ("BELLBUOY_LIMITS__CIRCUIT_FAILURES", "3"),
        ("BELLBUOY_RETRY__STEPS", "1s,1s"),
        ("BELLBUOY_OUTBOUND__DEADLINE_SECONDS", "120"),
    ];
    let fleet = Fleet::start(&settings).await;
    let (api, receiver) = (&fleet.api, receiver().await);
    let failure = || Answer::status(500);
    receiver.script("/hook", [failure(), failure(), failure(), Answer::OnRelease(Reply::new(200))]);
    api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    publish_all(api, "first", many("acme/api", 3)).await;
    receiver.wait_for(3, |_| true).await.expect("three attempts");
    until_open(api, 1.0).await;
    let said_once = async |what: &str| {
        eventually(SOON, async || (fleet.log().matches(what).count() == 1).then_some(())).await;
    };
    said_once("has stopped answering: its deliveries are held").await;

    publish_all(api, "other", many("acme/api", OTHERS)).await;
    receiver.wait_for(4, |_| true).await.expect("the one that finds out");
    // As long as it is out all others come to their turns, and none goes.
    let before = holds(api, "circuit_open").await;
    let others = OTHERS + 2;
    let least = before + f64::from(u32::try_from(others).expect("a few")) - 0.5;
    let looked = async || (holds(api, "circuit_open").await >= least).then_some(());
    eventually(SOON, looked).await;
    assert_eq!(receiver.requests().len(), 4);
    let rows = api.deliveries("").await;
    let (fresh, failed) = (held(&rows, "circuit_open", 0).len(), held(&rows, "circuit_open", 1).len());
    assert!(fresh >= OTHERS - 1 && fresh + failed >= others, "{fresh} and {failed} of {rows:?}");
    until_open(api, 1.0).await;

    receiver.release();
    let rows = api.until("", 3 + OTHERS, &["delivered"]).await;
    until_open(api, 0.0).await;
    said_once("has stopped answering").await;
    said_once("answers again, and its deliveries go on").await;
    let attempts: u64 = rows.iter().filter_map(|row| row["attempt_count"].as_u64()).sum();
    assert_eq!(attempts, 6 + OTHERS as u64, "no hold was an attempt");
    assert_eq!(receiver.requests().len(), 6 + OTHERS);
}

#[tokio::test]
async fn a_receiver_that_hangs_with_nine_tenths_of_the_traffic_keeps_no_other_delivery_waiting() {
    const HUNG: usize = 900;
    const FINE: usize = 100;
    const CAP: usize = 32;
    let fleet = Fleet::start(&[("BELLBUOY_OUTBOUND__DEADLINE_SECONDS", "300")]).await;
    let (api, receiver) = (&fleet.api, receiver().await);
    receiver.script("/hung", [Answer::OnRelease(Reply::new(200))]);
    for name in ["hung", "fine"] {
        api.webhook(&format!("acme/{name}"), "repo_push", &receiver.url(&format!("/{name}"))).await;
    }
    let one_in_ten = |number: usize| if number % 10 == 9 { "acme/fine" } else { "acme/hung" };
    publish_all(api, "mixed", (0..HUNG + FINE).map(|number| one_in_ten(number).to_owned())).await;
    api.until("subject=acme/fine", FINE, &["delivered"]).await;

    // All this while none of the others has ended, and as many hang as may.
    let hanging = receiver.wait_for(CAP, |request| request.path == "/hung").await.expect("the cap of it");
    assert_eq!(hanging.len(), CAP);
    let rows = api.until("subject=acme/hung", HUNG, &["pending", "waiting"]).await;
    assert!(rows.iter().all(|row| row["attempt_count"] == 0), "{rows:?}");

    receiver.release();
    api.until("subject=acme/hung", HUNG, &["delivered"]).await;
    assert_eq!(receiver.most_at_once(Some("/hung")), CAP);
}

/// Waits until one of `count` deliveries to `repository` is delivered and all others are held for a rate.
async fn one_goes(api: &Client, repository: &str, count: usize) {
    let query = format!("subject={repository}");
    let is_so = async || {
        let rows = api.deliveries(&query).await;
        let delivered = rows.iter().filter(|row| row["state"] == "delivered").count();
        (delivered == 1 && held(&rows, "rate_limited", 0).len() == count - 1).then_some(())
    };
    eventually(SOON, is_so).await;
}

#[tokio::test]
async fn what_is_over_a_webhooks_rate_or_the_operators_is_held_and_costs_no_attempt() {
    const EACH: usize = 5;
    let fleet = Fleet::start(&[("BELLBUOY_LIMITS__RATE", "1")]).await;
    let (api, receiver) = (&fleet.api, receiver().await);
    for (repository, rate) in [("acme/usual", None), ("acme/slow", Some(1)), ("acme/fast", Some(60_000))] {
        let mut config = json!({"url": receiver.url(&format!("/{repository}"))});
        if let Some(rate) = rate {
            config["rate"] = json!(rate);
        }
        api.wish(&hook(repository, &config)).await;
        publish_all(api, repository, many(repository, EACH)).await;
    }
    api.until("subject=acme/fast", EACH, &["delivered"]).await;
    for repository in ["acme/usual", "acme/slow"] {
        one_goes(api, repository, EACH).await;
    }
    assert_eq!(receiver.requests().len(), EACH + 2);
}

#[tokio::test]
async fn a_hosts_rate_is_one_for_all_of_its_notifications() {
    let fleet = Fleet::start(&[("BELLBUOY_LIMITS__RATE_PER_HOST", "1")]).await;
    let (api, one, other) = (&fleet.api, receiver().await, receiver().await);
    for (repository, receiver, paths) in
        [("acme/one", &one, &["/a", "/b", "/c"][..]), ("acme/other", &other, &["/a", "/b"][..])]
    {
        for path in paths {
            api.webhook(repository, "repo_push", &receiver.url(path)).await;
        }
        publish_all(api, repository, many(repository, 1)).await;
        one_goes(api, repository, paths.len()).await;
        assert_eq!(receiver.requests().len(), 1);
    }
}

#[tokio::test]
async fn hosts_that_all_redirect_to_one_other_load_it_with_no_more_than_its_cap() {
    const HOSTS: usize = 4;
    const EACH: usize = 10;
    let fleet = Fleet::start(&[("BELLBUOY_LIMITS__PER_HOST", "2")]).await;
    let (api, victim) = (&fleet.api, receiver().await);
    victim.answer_after(Duration::from_millis(100));
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        let host = receiver().await;
        host.script(
            "/hook",
            [Answer::status(307).with("location", &victim.url(&format!("/there/{number}")))],
        );
        let config = json!({"url": host.url("/hook"), "follow_redirects": true});
        api.wish(&hook("acme/api", &config)).await;
        hosts.push(host);
    }
    publish_all(api, "event", many("acme/api", EACH)).await;
    let rows = api.until("", HOSTS * EACH, &["delivered"]).await;
    assert_eq!(victim.requests().len(), HOSTS * EACH);
    assert_eq!(victim.most_at_once(None), 2, "as many as a host takes, and no more");
    for host in hosts {
        assert!(host.most_at_once(None) <= 2);
    }
    assert!(rows.iter().all(|row| row["attempt_count"] == 1), "what was held there was no attempt: {rows:?}");
    assert!(holds(api, "receiver_busy").await > 0.5, "some had to wait");
}
