//! What an operator relies on: health, metrics, files and logs that give nothing away, and that what was promised
//! to one client holds while others do the same.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use bellbuoy_testkit::http::Http;
use bellbuoy_testkit::receiver::{Answer, Receiver};
use bellbuoy_testkit::wait::eventually;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use support::{Fleet, SOON, TOKEN, push};

async fn receiver() -> Receiver {
    Receiver::start().await.expect("a receiver")
}

#[tokio::test]
async fn health_is_for_everybody_readiness_names_each_part_and_metrics_want_a_token() {
    let fleet = Fleet::start(&[]).await;
    let stranger = Http::new();
    let ask = async |path: &str| stranger.get(&format!("{}{path}", fleet.api.url)).await.expect("an answer");
    let alive = ask("/healthz").await;
    assert_eq!((alive.status.as_u16(), alive.json()), (200, json!({"alive": true})));
    let ready = ask("/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["ready"]), (200, &json!(true)));
    for part in ["broker", "store", "fanout", "deliver_webhook", "record", "archive"] {
        assert_eq!(ready.json()["checks"][part], "ok", "{part}: {}", ready.text());
    }
    for path in ["/metrics", "/v1/notifications", "/v1/deliveries", "/v1/dead-letters", "/v1/events/x"] {
        assert_eq!(ask(path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_ours_by_name_and_hold_nothing_of_any_tenant() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "10ms")]).await;
    let receiver = receiver().await;
    receiver.script("/tenant-path", [Answer::status(200), Answer::status(500)]);
    let wish =
        fleet.api.webhook("tenant-space/tenant-name", "repo_push", &receiver.url("/tenant-path")).await;
    for number in 0..3 {
        fleet
            .api
            .publish(&push(&format!("tenant-event-{number}"), "tenant-space/tenant-name", "tenant-tag"))
            .await;
    }
    fleet.api.until_ended("", 3).await;
    let answer = fleet.api.send(Method::GET, "/metrics", "", "").await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        assert!(name.starts_with("bellbuoy_") || name.starts_with("process_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.insert(name), "twice: {line}");
    }
    let port = receiver.address().port().to_string();
    for word in ["tenant", "journeys", "127.0.0.1", &port, &wish.id, TOKEN, "whsec"] {
        assert!(!text.contains(word), "{word} is in the metrics");
    }
    for (name, labels, at_least) in [
        ("bellbuoy_events_accepted_total", &[r#"source="cloudevents""#, r#"kind="repo_push""#][..], 3.0),
        ("bellbuoy_delivery_attempts_total", &[r#"outcome="delivered""#, r#"method="webhook""#], 1.0),
        ("bellbuoy_delivery_attempts_total", &[r#"outcome="deferred""#, r#"cause="http_5xx""#], 4.0),
        ("bellbuoy_dead_letters_total", &[r#"reason="attempts_exhausted""#], 2.0),
        ("bellbuoy_delivery_lag_seconds_count", &[r#"method="webhook""#], 5.0),
        ("bellbuoy_build_info", &[], 1.0),
        ("process_resident_memory_bytes", &[], 1e6),
    ] {
        let counted = fleet.api.counted(name, labels).await;
        assert!(counted >= at_least, "{name} {labels:?} is {counted}");
    }
}

#[tokio::test]
async fn what_it_keeps_is_for_its_owner_only() {
    // Without a token in the settings, so that one is made.
    let fleet = Fleet::start(&[("BELLBUOY_AUTH__ADMIN_TOKEN", "")]).await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&fleet.data()), 0o700);
    let token = fleet.data().join("admin-token");
    assert_eq!(mode(&token), 0o600);
    for entry in std::fs::read_dir(fleet.data()).expect("the data directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path) & 0o077, 0, "{} is {:o}", path.display(), mode(&path));
    }
    let token = std::fs::read_to_string(token).expect("a token");
    assert!(token.trim().len() >= 32 && !fleet.log().contains(token.trim()));
}

#[tokio::test]
async fn what_githubs_signature_does_not_cover_is_seen_in_the_log() {
    let fleet = Fleet::start(&[("BELLBUOY_INGEST__GITHUB_SECRET", "the secret")]).await;
    let headers = [("content-type", "application/json"), ("x-hub-signature-256", "sha256=00")];
    let url = format!("{}/v1/ingest/ghcr", fleet.api.url);
    let answer = Http::new().send(Method::POST, &url, &headers, "{}").await.expect("an answer");
    assert_eq!(answer.status, 401);
    let line = fleet.process.wait_for_line("refused events from 127.0.0.1", SOON).await;
    assert!(line.contains("/v1/ingest/ghcr") && line.contains("a wrong credential"), "{line}");
}

#[tokio::test]
async fn no_secret_is_in_the_log_even_at_debug_level() {
    let fleet = Fleet::start(&[("BELLBUOY_LOG__FILTER", "debug"), ("BELLBUOY_RETRY__STEPS", "10ms")]).await;
    let receiver = receiver().await;
    let location =
        format!("http://user:hunter2-password@{}/hunter2-path?key=hunter2-query", receiver.address());
    receiver.script("/moved", [Answer::redirect(&location)]);
    receiver.script("/broken", [Answer::text(500, "hunter2-answer")]);
    receiver.script("/odd", [Answer::raw(b"hunter2-protocol\r\n\r\n")]);
    let mut secrets = vec![TOKEN.to_owned(), "hunter2".to_owned(), "whsec_".to_owned()];
    for path in ["fine", "moved", "broken", "odd"] {
        let url = receiver.url(&format!("/{path}?token=hunter2-{path}"));
        let wish = fleet.api.webhook(&format!("acme/{path}"), "repo_push", &url).await;
        secrets.push(wish.secret.trim_start_matches("whsec_").to_owned());
        fleet.api.publish(&push(path, &format!("acme/{path}"), "v1")).await;
    }
    let refused = json!({"event": "repo_push", "method": "webhook", "eventConfig": {},
        "config": {"url": "http://user:hunter2@ci.example.com/", "secret": "whsec_hunter2"}});
    assert_eq!(fleet.api.post("/api/v1/repository/acme/x/notification/", &refused).await.status, 400);
    fleet.api.post("/v1/events?access_token=hunter2", &json!({"hunter2": 1})).await;
    fleet.api.until_ended("", 4).await;
    for delivery in fleet.api.deliveries("").await {
        let shown = fleet.api.delivery(&delivery["id"]).await.to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    fleet.stop().await;
    let log = fleet.log();
    assert!(log.contains("DEBUG") && log.contains("gave up delivery"), "it was not at debug level:\n{log}");
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "{secret} is in the log: {line:?}");
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_never_again() {
    let fleet = Fleet::start(&[]).await;
    let wish = fleet.api.webhook("acme/api", "repo_push", "https://ci.example.com/hook").await;
    assert!(wish.secret.starts_with("whsec_"), "{}", wish.secret);
    for path in [
        format!("/v1/notifications/{}", wish.id),
        "/v1/notifications".to_owned(),
        "/api/v1/repository/acme/api/notification/".to_owned(),
        format!("/api/v1/repository/acme/api/notification/{}", wish.id),
    ] {
        let shown = fleet.api.get(&path).await.to_string();
        assert!(shown.contains("ci.example.com") && !shown.contains("whsec_"), "{path}: {shown}");
    }
}

#[tokio::test]
async fn an_event_published_right_after_its_notification_was_made_reaches_it() {
    const REPOSITORIES: usize = 40;
    const ROUNDS: usize = 5;
    let fleet = Fleet::start(&[]).await;
    let receiver = receiver().await;
    let mut expected = BTreeSet::new();
    let mut wishes = BTreeMap::<usize, Vec<String>>::new();
    // Five times in each repository, so that four times somebody has just looked who wants to hear of it.
    for round in 0..ROUNDS {
        for number in 0..REPOSITORIES {
            let repository = format!("acme/r{number}");
            let wish = fleet.api.webhook(&repository, "repo_push", &receiver.url("/hook")).await;
            let event = format!("{repository}-{round}");
            fleet.api.publish(&push(&event, &repository, "v1")).await;
            let all = wishes.entry(number).or_default();
            all.push(wish.id);
            expected.extend(all.iter().map(|id| (event.clone(), id.clone())));
        }
    }
    let rows = fleet.api.until("", expected.len(), &["delivered"]).await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let found: BTreeSet<_> =
        rows.iter().map(|row| (text(&row["event"]), text(&row["notification"]))).collect();
    assert_eq!(found, expected);
    assert_eq!(receiver.requests().len(), expected.len());
}

#[tokio::test]
async fn one_event_reaches_all_of_five_hundred_notifications_once() {
    const MANY: usize = 500;
    let fleet = Fleet::start(&[]).await;
    let receiver = receiver().await;
    for number in 0..MANY {
        fleet.api.webhook("acme/api", "repo_push", &receiver.url(&format!("/hook/{number}"))).await;
    }
    fleet.api.publish(&push("one", "acme/api", "v1")).await;
    fleet.api.until("event=one", MANY, &["delivered"]).await;
    let requests = receiver.requests();
    let paths: BTreeSet<_> = requests.iter().map(|request| request.path.clone()).collect();
    let ids: BTreeSet<_> = requests.iter().filter_map(|request| request.header("webhook-id")).collect();
    assert_eq!((requests.len(), paths.len(), ids.len()), (MANY, MANY, MANY));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_sent_by_fifty_connections_at_once_is_delivered_once() {
    const AT_ONCE: usize = 50;
    let fleet = Fleet::start(&[]).await;
    let receiver = receiver().await;
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let event = push("same", "acme/api", "v1");
    let senders = (0..AT_ONCE).map(|_| {
        let (api, event) = (fleet.api.apart(), event.clone());
        async move { api.publish(&event).await }
    });
    join_all(senders).await;
    let repeats = async || {
        let repeats = fleet.api.counted("bellbuoy_events_repeated_total", &[]).await;
        (repeats > 48.5).then_some(repeats)
    };
    assert!(eventually(SOON, repeats).await < 49.5);
    fleet.api.until("", 1, &["delivered"]).await;
    assert_eq!(receiver.requests().len(), 1);
}
