//! Docker Hub's callbacks: which are taken, which refused, and what their delivery's owner sees.

mod common;

use bellbuoy_api::ServerLimits;
use bellbuoy_domain::{
    Callback, CallbackState, DeliveryId, FannedOut, Kind, NotificationId, PlannedDelivery, Record,
    WIRE_VERSION,
};
use bellbuoy_store::AwaitedCallback;
use bellbuoy_telemetry::Counter;
use bellbuoy_testkit::http::Answer;
use common::{JSON, Rig, problem};
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use uuid::Uuid;

const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn delivery() -> DeliveryId {
    DeliveryId::derive("registry.example.com", "1", notification())
}

fn notification() -> NotificationId {
    Uuid::from_u128(1).into()
}

/// Awaits a callback by `token` about `repository`, for `seconds` from now, of a delivery that history has.
async fn awaited(rig: &Rig, token: &str, repository: &str, seconds: i64) {
    let now = Timestamp::now();
    let planned =
        PlannedDelivery { delivery: delivery(), notification: notification(), method: "webhook".into() };
    let fanned_out = FannedOut {
        source: "registry.example.com".into(),
        event: "1".into(),
        kind: Kind::RepoPush,
        subject: repository.into(),
        accepted_at: now,
        deliveries: vec![planned],
    };
    let record = Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None };
    rig.store.record(&[record], 20).await.expect("recorded");
    let awaited = AwaitedCallback {
        delivery: delivery(),
        first: delivery(),
        link: 0,
        notification: notification(),
        source: "registry.example.com".into(),
        event: "1".into(),
        subject: repository.into(),
        expires_at: now + SignedDuration::from_secs(seconds),
    };
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    rig.store.await_callback(&awaited, &hash).await.expect("awaited");
}

/// Calls back as a receiver does, without a credential of ours.
async fn call(rig: &Rig, path: &str, body: &Value) -> Answer {
    rig.raw("POST", path, &[("content-type", "application/json; charset=utf-8")], body.to_string()).await
}

fn path() -> String {
    format!("/u/acme/api/hook/{TOKEN}/")
}

fn jenkins(state: &str) -> Value {
    json!({
        "state": state, "description": "Build result SUCCESS", "context": "Jenkins",
        "target_url": "https://ci.example.com/job/api/7/",
    })
}

async fn shown(rig: &Rig) -> Value {
    rig.get(&format!("/v1/deliveries/{}", delivery())).await.json()["callback"].clone()
}

#[tokio::test]
async fn the_first_callback_counts_its_repetition_is_welcome_and_another_is_refused() {
    let rig = Rig::start().await;
    awaited(&rig, TOKEN, "acme/api", 60).await;
    assert_eq!(shown(&rig).await["state"], "pending");
    for _ in 0..2 {
        let taken = call(&rig, &path(), &jenkins("success")).await;
        assert_eq!((taken.status.as_u16(), taken.json()), (200, json!({"state": "success"})));
    }
    for other in [jenkins("failure"), json!({"state": "success"})] {
        let detail = problem(&call(&rig, &path(), &other).await, 409);
        assert!(detail.contains("success"), "{detail}");
    }
    assert_eq!(rig.counted(Counter::Callbacks, &["success"]), 1, "the first alone is counted");
    assert_eq!(rig.counted(Counter::Callbacks, &["failure"]), 0);
    let shown = shown(&rig).await;
    assert_eq!((&shown["state"], &shown["context"]), (&json!("success"), &json!("Jenkins")));
    assert_eq!(shown["description"], "Build result SUCCESS");
    assert_eq!(shown["target_url"], "https://ci.example.com/job/api/7/");
    assert!(shown["answered_at"].is_string() && shown["next"].is_null(), "{shown}");
}

#[tokio::test]
async fn of_two_at_the_same_moment_one_counts() {
    let rig = Rig::start().await;
    awaited(&rig, TOKEN, "acme/api", 60).await;
    let (path, success, failure) = (path(), jenkins("success"), jenkins("failure"));
    let (one, other) = tokio::join!(call(&rig, &path, &success), call(&rig, &path, &failure));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn failure_and_error_are_taken_and_shown() {
    for state in ["failure", "error"] {
        let rig = Rig::start().await;
        awaited(&rig, TOKEN, "acme/api", 60).await;
        assert_eq!(call(&rig, &path(), &json!({"state": state})).await.status, 200);
        assert_eq!(shown(&rig).await["state"], state);
        assert_eq!(rig.store.due_links(Timestamp::MAX, 10).await.expect("read"), [], "its chain ends");
    }
}

#[tokio::test]
async fn a_chain_that_waits_or_has_stopped_is_why_nothing_came_at_its_next_url() {
    let rig = Rig::start().await;
    let body = json!({
        "scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook", "format": "dockerhub",
        "config": {"url": "https://ci.example.com/1", "chain": ["https://ci.example.com/2", "https://ci.example.com/3"]},
    });
    let made = rig.post("/v1/notifications", &body).await.json();
    let id: NotificationId = made["id"].as_str().expect("an id").parse().expect("a UUID");
    let explained = async || rig.get(&format!("/v1/notifications/{id}/explain")).await.json();
    assert_eq!(explained().await["callbacks"], json!({"looked_at": 0, "states": {}}));
    let now = Timestamp::now();
    for (event, link, seconds, answer) in [
        ("failed", 1, 60, Some((CallbackState::Failure, Some("3 tests failed")))),
        ("broken", 0, 60, Some((CallbackState::Error, None))),
        ("silent", 0, -60, None),
        ("waits", 1, 60, None),
        ("done", 0, 60, Some((CallbackState::Success, None))),
        // Nothing comes after the last URL, whatever is said there.
        ("last", 2, 60, Some((CallbackState::Failure, None))),
    ] {
        let first = DeliveryId::derive("registry.example.com", event, id);
        let delivery = if link == 0 { first } else { DeliveryId::derive_for_link(first, link) };
        let awaited = AwaitedCallback {
            delivery,
            first,
            link,
            notification: id,
            source: "registry.example.com".into(),
            event: event.into(),
            subject: "acme/api".into(),
            expires_at: now + SignedDuration::from_secs(seconds),
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, event.as_bytes()).as_ref());
        rig.store.await_callback(&awaited, &hash).await.expect("awaited");
        if let Some((state, description)) = answer {
            let description = description.map(str::to_owned);
            let callback = Callback { state, description, context: None, target_url: None };
            assert!(rig.store.call_back(delivery, &callback, now).await.expect("taken"));
        }
    }
    let said = explained().await;
    let states = json!({"failure": 2, "error": 1, "expired": 1, "pending": 1, "success": 1});
    assert_eq!(said["callbacks"], json!({"looked_at": 6, "states": states}), "{said}");
    let why: Vec<&str> = said["why"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for sentence in [
        "1 of its newest chains wait for a callback, the last at URL 2 of 3",
        "1 of its newest chains ended because no callback came in time, the last at URL 1 of 3",
        "1 of its newest chains ended because a receiver called back `failure`, the last at URL 2 of 3: 3 tests failed",
        "1 of its newest chains ended because a receiver called back `error`, the last at URL 1 of 3: it did not say why",
    ] {
        assert_eq!(why.iter().filter(|said| said.starts_with(sentence)).count(), 1, "{sentence:?}: {why:#?}");
    }
    assert!(!why.iter().any(|said| said.contains("`success`,")), "{why:#?}");
}

#[tokio::test]
async fn what_comes_too_late_is_gone_unless_it_was_said_in_time() {
    let rig = Rig::start().await;
    awaited(&rig, TOKEN, "acme/api", -1).await;
    assert_eq!(shown(&rig).await["state"], "expired");
    let detail = problem(&call(&rig, &path(), &jenkins("success")).await, 410);
    assert!(detail.contains("awaited until"), "{detail}");
    // Sent again, it is awaited again, by the old URL too.
    awaited(&rig, &TOKEN.replace('A', "B"), "acme/api", 60).await;
    assert_eq!(call(&rig, &path(), &jenkins("success")).await.status, 200);
    awaited(&rig, &TOKEN.replace('A', "C"), "acme/api", -1).await;
    assert_eq!(call(&rig, &path(), &jenkins("success")).await.status, 200, "the same again");
}

#[tokio::test]
async fn a_body_that_is_no_callback_is_400_and_leaves_all_as_it_was() {
    let rig = Rig::start().await;
    awaited(&rig, TOKEN, "acme/api", 60).await;
    for (body, word) in [
        (json!({}), "state"),
        (json!([]), "JSON object"),
        (json!({"state": "done"}), "state"),
        (json!({"state": "success", "description": "x".repeat(256)}), "description"),
        (json!({"state": "success", "context": "x".repeat(101)}), "context"),
        (json!({"state": "success", "target_url": "javascript:1"}), "target_url"),
    ] {
        let detail = problem(&call(&rig, &path(), &body).await, 400);
        assert!(detail.contains(word), "{body}: {detail}");
    }
    problem(&call(&rig, &path(), &json!({"state": "success", "more": "x".repeat(20_000)})).await, 413);
    assert_eq!(shown(&rig).await["state"], "pending");
    assert_eq!(
        call(&rig, &path(), &json!({"state": "success", "description": "x".repeat(255)})).await.status,
        200
    );
}

#[tokio::test]
async fn only_the_whole_right_path_is_known_and_only_to_post() {
    let rig = Rig::start().await;
    awaited(&rig, TOKEN, "acme/api", 60).await;
    for wrong in [
        format!("/u/acme/api/hook/{}/", TOKEN.replace('A', "D")),
        format!("/u/acme/web/hook/{TOKEN}/"),
        format!("/u/acme/api/hook/{TOKEN}x/"),
        format!("/u/acme/api/hook/{}/", &TOKEN[1..]),
        format!("/u/acme/api/{TOKEN}/"),
        "/u/acme/api/hook//".to_owned(),
        "/u/".to_owned(),
    ] {
        problem(&call(&rig, &wrong, &jenkins("success")).await, 404);
    }
    for verb in ["GET", "PUT", "DELETE"] {
        assert_eq!(rig.raw(verb, &path(), &[JSON], "").await.status, 405, "{verb}");
    }
    assert_eq!(shown(&rig).await["state"], "pending");
    let without_slash = path();
    assert_eq!(call(&rig, without_slash.trim_end_matches('/'), &jenkins("success")).await.status, 200);
}

#[tokio::test]
async fn a_repository_without_a_namespace_is_called_back_as_docker_hubs_official_ones() {
    let rig = Rig::start().await;
    awaited(&rig, TOKEN, "api", 60).await;
    assert_eq!(call(&rig, &format!("/_/api/hook/{TOKEN}/"), &jenkins("success")).await.status, 200);
}

#[tokio::test]
async fn guessing_tokens_is_slow_and_the_token_itself_is_nowhere_in_the_store() {
    let rig = Rig::with(|api| api.limits.wrong_tokens = 3, ServerLimits::default()).await;
    awaited(&rig, TOKEN, "acme/api", 60).await;
    let mut statuses = Vec::new();
    for guess in 0..5 {
        let path = format!("/u/acme/api/hook/{guess}/");
        statuses.push(call(&rig, &path, &jenkins("success")).await.status.as_u16());
    }
    assert_eq!(statuses, [404, 404, 404, 429, 429]);
    assert_eq!(call(&rig, &path(), &jenkins("success")).await.status, 200, "whoever has it is let in");
    let row = rig.store.callback(delivery()).await.expect("read").expect("there");
    assert!(!format!("{row:?}").contains(TOKEN), "{row:?}");
}
