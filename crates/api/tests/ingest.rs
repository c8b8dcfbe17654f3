//! Events in: `CloudEvents` in three modes, and registries' notices.

mod common;

use bellbuoy_api::{Limits, ServerLimits};
use bellbuoy_broker::queues;
use bellbuoy_domain::{Event, Kind};
use bellbuoy_telemetry::Counter;
use common::{JSON, Rig, STRUCTURED, problem, push_event};
use jiff::Timestamp;
use serde_json::{Value, json};

const BATCHED: (&str, &str) = ("content-type", "application/cloudevents-batch+json");
const DISTRIBUTION: &str = "/v1/ingest/distribution";
const ENVELOPE: (&str, &str) = ("content-type", "application/vnd.docker.distribution.events.v1+json");

/// A real `registry:2.8.2` while skopeo worked with it, one request a line.
const CAPTURE: &str = include_str!("../../domain/tests/data/distribution-2.8.2-capture.jsonl");

type Headers = &'static [(&'static str, &'static str)];

fn event(value: &Value) -> Event {
    Event::from_json(value.to_string().as_bytes(), Timestamp::UNIX_EPOCH).expect("an event")
}

fn notice(id: &str, action: &str, method: &str, tag: Option<&str>) -> Value {
    let digest = "sha256:6f664262917ccf81c43c83531a1585726b1276cbc84eb5187ef075d5cad3badb";
    let mut target = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "repository": "acme/api",
    });
    if let Some(tag) = tag {
        target["tag"] = tag.into();
    }
    json!({
        "id": id, "timestamp": "2026-11-20T12:00:00Z", "action": action, "target": target,
        "request": {"method": method, "useragent": "containerd/2.0", "host": "registry.example.com"},
    })
}

fn envelope(notices: &[Value]) -> String {
    json!({ "events": notices }).to_string()
}

#[tokio::test]
async fn a_structured_event_is_durable_in_its_canonical_form_once_it_is_accepted() {
    let rig = Rig::start().await;
    let before = Timestamp::now().as_millisecond();
    let sent = push_event("42");
    for path in ["/v1/events", "/v1/events/"] {
        let answer = rig.send("POST", path, &[STRUCTURED], sent.to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"ids": ["42"]})));
    }
    // The same event again is taken too: fan-out drops the repeat.
    let messages = rig.drain(queues::events(), 2).await;
    for message in messages {
        assert_eq!(message.body, event(&sent).to_json());
        let accepted: i64 = message.accepted_ms.expect("a header").parse().expect("a number");
        assert!((before..=Timestamp::now().as_millisecond()).contains(&accepted));
    }
    assert_eq!(rig.counted(Counter::EventsAccepted, &["cloudevents", "repo_push"]), 2);
}

#[tokio::test]
async fn a_binary_event_is_its_headers_percent_decoded_and_its_body() {
    let rig = Rig::start().await;
    let headers = [
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "caf%C3%A9%2042"),
        ("CE-Source", "registry.example.com"),
        ("ce-type", "repo_push"),
        ("ce-subject", "acme%2Fapi"),
        ("ce-time", "2026-11-20T12:00:00Z"),
        ("ce-partitionkey", "\"acme \\\"inc\\\"\""),
    ];
    let answer = rig.send("POST", "/v1/events", &headers, r#"{"updated_tags":["v1"]}"#).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"ids": ["café 42"]})));
    let mut expected = push_event("café 42");
    expected["partitionkey"] = "acme \"inc\"".into();
    assert_eq!(rig.drain_events(1).await, [event(&expected)]);
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let rig = Rig::start().await;
    let good = json!([push_event("1"), push_event("2"), push_event("1")]).to_string();
    let answer = rig.send("POST", "/v1/events", &[BATCHED], good).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"ids": ["1", "2", "1"]})));
    let taken: Vec<String> = rig.drain_events(3).await.into_iter().map(|event| event.id).collect();
    assert_eq!(taken, ["1", "2", "1"]);
    assert_eq!(rig.send("POST", "/v1/events", &[BATCHED], "[]").await.json(), json!({"ids": []}));

    let mut bad = push_event("3");
    bad["type"] = "nonsense".into();
    let body = json!([push_event("1"), push_event("2"), bad]).to_string();
    let answer = rig.send("POST", "/v1/events", &[BATCHED], body).await;
    let detail = problem(&answer, 400);
    assert!(detail.contains("event 2") && detail.contains("nonsense"), "{detail}");
    assert_eq!((&answer.json()["index"], &answer.json()["attribute"]), (&json!(2), &json!("type")));
    assert_eq!(rig.depth(&queues::events()), 0);
}

#[tokio::test]
async fn a_batch_has_a_limit_in_events_and_in_bytes() {
    let limits = Limits { batch_events: 2, batch_bytes: 2000, ..Limits::default() };
    let rig = Rig::with(|api| api.limits = limits, ServerLimits::default()).await;
    let three = json!([push_event("1"), push_event("2"), push_event("3")]).to_string();
    let detail = problem(&rig.send("POST", "/v1/events", &[BATCHED], three).await, 413);
    assert!(detail.contains("at most 2"), "{detail}");
    let long = json!([push_event(&"x".repeat(2000))]).to_string();
    let detail = problem(&rig.send("POST", "/v1/events", &[BATCHED], long).await, 413);
    assert!(detail.contains("2000 bytes"), "{detail}");
    assert_eq!(rig.depth(&queues::events()), 0);
}

#[tokio::test]
async fn an_event_that_fan_out_could_not_read_back_is_not_accepted() {
    // Taken as sent, it is just within the limit; its canonical form, with the attributes that a
    // producer may leave out, is not.
    let rig = Rig::start().await;
    let mut sent = push_event("1");
    sent["data"]["filler"] = "".into();
    let room = bellbuoy_domain::MAX_EVENT_BYTES - sent.to_string().len();
    sent["data"]["filler"] = "x".repeat(room).into();
    assert_eq!(sent.to_string().len(), bellbuoy_domain::MAX_EVENT_BYTES);
    problem(&rig.send("POST", "/v1/events", &[STRUCTURED], sent.to_string()).await, 413);
    assert_eq!(rig.depth(&queues::events()), 0);
    assert_eq!(rig.counted(Counter::EventsRefused, &["cloudevents", "too_large"]), 1);
}

#[tokio::test]
async fn a_real_registrys_notices_become_events_and_blobs_are_dropped_and_counted() {
    let rig = Rig::start().await;
    let mut sent = Vec::new();
    for line in CAPTURE.lines() {
        let capture: Value = serde_json::from_str(line).expect("a line of JSON");
        let answer = rig.send("POST", DISTRIBUTION, &[ENVELOPE], capture["body"].to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0), "{line}");
        sent.push(capture["body"]["events"][0]["id"].as_str().expect("an id").to_owned());
    }
    let events = rig.drain_events(11).await;
    let kinds: Vec<(Kind, &str)> =
        events.iter().map(|event| (event.kind, event.subject.name().unwrap_or_default())).collect();
    assert_eq!(
        kinds,
        [
            (Kind::RepoPush, "acme/app"),
            (Kind::RepoPush, "acme/app"),
            (Kind::RepoPush, "acme/app"),
            (Kind::TagPull, "acme/app"),
            (Kind::RepoPush, "other/app"),
            // HEAD by tag; the GET by digest that followed it is the same pull.
            (Kind::TagPull, "acme/app"),
            (Kind::ManifestPush, "acme/app"),
            (Kind::ManifestDelete, "acme/app"),
            (Kind::TagDelete, "acme/app"),
            (Kind::TagDelete, "acme/app"),
            // A blob's deletion can't be told from a manifest's.
            (Kind::ManifestDelete, "acme/app"),
        ]
        .as_slice()
    );
    assert_eq!(events[0].data["updated_tags"], json!(["v1"]));
    for event in &events {
        assert_eq!(event.source, "registry.example.com");
        assert!(sent.contains(&event.id), "the id is the registry's, so that its retries are known");
    }
    let dropped = |reason| rig.counted(Counter::EventsDropped, &["distribution", reason]);
    assert_eq!([dropped("blob"), dropped("mount"), dropped("merged_pull")], [9, 2, 1]);
    assert_eq!(rig.depth(&queues::dead()), 0);
}

#[tokio::test]
async fn whatever_can_not_be_understood_is_a_dead_letter_and_never_an_error_to_the_registry() {
    let limits = Limits { batch_bytes: 1000, ..Limits::default() };
    let rig = Rig::with(|api| api.limits = limits, ServerLimits::default()).await;
    let unknown_action = envelope(&[notice("1", "rename", "PUT", Some("v1"))]);
    let bodies: &[(Headers, Vec<u8>)] = &[
        (&[], b"".to_vec()),
        (&[ENVELOPE], b"{".to_vec()),
        (&[ENVELOPE], b"null".to_vec()),
        (&[ENVELOPE], b"{\"events\": 7}".to_vec()),
        (&[("content-type", "text/plain")], b"\xff\xfe\x00 not JSON".to_vec()),
        (&[("content-type", "image/png; q=\"")], b"[]".to_vec()),
        (&[ENVELOPE, ("content-encoding", "gzip")], b"\x1f\x8b\x08 and so on".to_vec()),
        (&[JSON], vec![b'['; 900]),
        (&[ENVELOPE], b"{\"events\": [{}]}".to_vec()),
        (&[ENVELOPE], unknown_action.clone().into_bytes()),
        (&[ENVELOPE], vec![b'x'; 5000]),
    ];
    for (headers, body) in bodies {
        let answer = rig.send("POST", DISTRIBUTION, headers, body.clone()).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(body));
    }
    let letters = rig.drain(queues::dead(), bodies.len()).await;
    for letter in &letters {
        assert_eq!(letter.origin.as_deref(), Some("ingest.distribution"));
        assert_eq!(letter.reason.as_deref(), Some("undecodable"));
    }
    let kept = |index: usize| letters[index].body.as_ref();
    assert_eq!((kept(0), kept(1), kept(4)), (&b""[..], &b"{"[..], &bodies[4].1[..]));
    let detail = |index: usize| letters[index].detail.as_deref().unwrap_or_default();
    assert!(detail(9).contains("notice 0") && detail(9).contains("rename"), "{}", detail(9));
    assert!(serde_json::from_slice::<Value>(kept(9)).is_ok_and(|raw| raw["id"] == "1"));
    assert!(detail(10).contains("first 1000 bytes") && kept(10).len() == 1000, "{}", detail(10));
    assert_eq!(rig.depth(&queues::events()), 0);
    let count = u64::try_from(bodies.len()).expect("a small number");
    assert_eq!(rig.counted(Counter::EventsQuarantined, &["distribution", "undecodable"]), count);
}

#[tokio::test]
async fn a_request_that_tells_of_more_events_than_a_batch_holds_is_one_dead_letter() {
    let limits = Limits { batch_events: 2, ..Limits::default() };
    let rig = Rig::with(|api| api.limits = limits, ServerLimits::default()).await;
    let push = notice("1", "push", "PUT", Some("v1"));
    let images: Vec<Value> = ["v1", "v2", "v3"].map(|tag| json!({ "tag": tag })).into();
    let images = json!({"resources": images, "repository": {"repo_full_name": "acme/api"}});
    for (registry, body) in [
        ("distribution", json!({ "events": [push, push, push] })),
        ("gitlab", json!({ "events": [0, 0, 0] })),
        ("acr", json!({ "events": [0, 0, 0] })),
        ("harbor", json!({"type": "PUSH_ARTIFACT", "event_data": images})),
    ] {
        let body = body.to_string();
        let answer = rig.send("POST", &format!("/v1/ingest/{registry}"), &[JSON], body.clone()).await;
        assert_eq!(answer.status, 202, "{registry}");
        let letter = &rig.drain(queues::dead(), 1).await[0];
        assert_eq!((letter.body.as_ref(), letter.reason.as_deref()), (body.as_bytes(), Some("undecodable")));
        let detail = letter.detail.as_deref().unwrap_or_default();
        assert!(detail.contains("tells of 3 events at once, but at most 2"), "{detail}");
    }
    assert_eq!((rig.depth(&queues::events()), rig.depth(&queues::dead())), (0, 0));
}

#[tokio::test]
async fn a_bad_notice_does_not_keep_its_neighbours_out() {
    let rig = Rig::start().await;
    let notices = [
        notice("1", "push", "PUT", Some("v1")),
        notice("2", "explode", "PUT", Some("v1")),
        json!("nonsense"),
        notice("3", "delete", "DELETE", Some("v1")),
    ];
    let answer = rig.send("POST", DISTRIBUTION, &[ENVELOPE], envelope(&notices)).await;
    assert_eq!(answer.status, 202);
    let ids: Vec<String> = rig.drain_events(2).await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["1", "3"]);
    rig.drain(queues::dead(), 2).await;
}

#[tokio::test]
async fn a_pull_by_head_and_get_is_one_event_however_the_two_arrive() {
    let head = notice("1", "pull", "HEAD", Some("v1"));
    let get = notice("2", "pull", "GET", None);
    let mut stranger = notice("3", "pull", "GET", None);
    stranger["request"]["useragent"] = "curl/8".into();

    let rig = Rig::start().await;
    rig.send("POST", DISTRIBUTION, &[ENVELOPE], envelope(&[head.clone(), get.clone()])).await;
    assert_eq!(rig.drain_events(1).await[0].kind, Kind::TagPull);
    for one in [&get, &stranger] {
        rig.send("POST", DISTRIBUTION, &[ENVELOPE], envelope(std::slice::from_ref(one))).await;
    }
    let left = rig.drain_events(1).await;
    assert_eq!((left[0].id.as_str(), left[0].kind), ("3", Kind::ManifestPull));
}

#[tokio::test]
async fn the_query_may_name_the_source_and_a_mistake_in_it_blocks_nobody() {
    let rig = Rig::start().await;
    let long = format!("?source={}", "x".repeat(300));
    let cases = [
        ("", "registry.example.com"),
        ("/?source=eu.example.com%3A5000", "eu.example.com:5000"),
        ("?other=1&source=b", "b"),
        ("?source=", "registry.example.com"),
        ("?source=%0d%0aX", "registry.example.com"),
        ("?source=%ff", "registry.example.com"),
        (long.as_str(), "registry.example.com"),
    ];
    for (suffix, expected) in cases {
        let body = envelope(&[notice("1", "push", "PUT", Some("v1"))]);
        let answer = rig.send("POST", &format!("{DISTRIBUTION}{suffix}"), &[ENVELOPE], body).await;
        assert_eq!(answer.status, 202, "{suffix}");
        assert_eq!(rig.drain_events(1).await[0].source, expected, "{suffix}");
    }
}

/// One notice of each registry that is a push of `acme/api:v1`, and the headers that it comes with.
fn notices() -> Vec<(&'static str, Headers, Value)> {
    let digest = "sha256:6f664262917ccf81c43c83531a1585726b1276cbc84eb5187ef075d5cad3badb";
    let push = notice("1", "push", "PUT", Some("v1"));
    let harbor = json!({
        "resources": [{"digest": digest, "tag": "v1", "resource_url": "h/acme/api:v1"}],
        "repository": {"name": "api", "namespace": "acme", "repo_full_name": "acme/api"},
    });
    let package = json!({
        "name": "api", "namespace": "acme", "ecosystem": "CONTAINER",
        "package_version": {"container_metadata": {"tag": {"name": "v1", "digest": digest}}},
    });
    vec![
        ("distribution", &[ENVELOPE], json!({ "events": [push] })),
        ("gitlab", &[ENVELOPE], json!({ "events": [push] })),
        ("harbor", &[JSON], json!({"type": "PUSH_ARTIFACT", "occur_at": 1, "event_data": harbor})),
        (
            "zot",
            &[
                JSON,
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("ce-source", "zotregistry.dev"),
                ("ce-type", "zotregistry.image.updated"),
            ],
            json!({"name": "acme/api", "reference": "v1", "digest": digest}),
        ),
        ("acr", &[JSON, ("user-agent", "AzureContainerRegistry/1.0")], push.clone()),
        (
            "dockerhub",
            &[JSON],
            json!({"push_data": {"pushed_at": 1.4e9, "tag": "v1"}, "repository": {"repo_name": "acme/api"}}),
        ),
        (
            "ecr",
            &[JSON],
            json!({"id": "1", "detail-type": "ECR Image Action", "detail": {
                "result": "SUCCESS", "repository-name": "acme/api", "image-digest": digest,
                "action-type": "PUSH", "image-tag": "v1",
            }}),
        ),
        (
            "ghcr",
            &[JSON, ("x-github-event", "package"), ("x-github-delivery", "1")],
            json!({"action": "published", "package": package}),
        ),
    ]
}

#[tokio::test]
async fn every_registry_has_a_way_in_and_none_is_ever_answered_an_error_for_what_it_sends() {
    let rig = Rig::start().await;
    for (registry, headers, body) in notices() {
        let path = format!("/v1/ingest/{registry}");
        for path in [format!("{path}?source=eu"), format!("{path}/?source=eu")] {
            let answer = rig.send("POST", &path, headers, body.to_string()).await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0), "{registry}");
        }
        for event in rig.drain_events(2).await {
            assert_eq!((event.kind, event.subject.name()), (Kind::RepoPush, Some("acme/api")), "{registry}");
            assert_eq!(event.data["updated_tags"], json!(["v1"]), "{registry}");
            assert_eq!(event.source, "eu", "{registry}");
        }
        assert_eq!(rig.counted(Counter::EventsAccepted, &[registry, "repo_push"]), 2);

        for garbage in ["", "{", "[[[]]]", "null", "{\"type\": 7}", "\u{0}"] {
            let answer = rig.send("POST", &path, &[("content-type", "image/png")], garbage).await;
            assert_eq!(answer.status, 202, "{registry} {garbage:?}");
        }
        let kept = rig.counted(Counter::EventsQuarantined, &[registry, "undecodable"]);
        let dropped = rig.counted(Counter::EventsDropped, &[registry, "no_kind"]);
        assert_eq!(kept + dropped, 6, "{registry}");
        for letter in rig.drain(queues::dead(), usize::try_from(kept).expect("few")).await {
            assert_eq!(letter.origin, Some(format!("ingest.{registry}")));
        }
    }
}

#[tokio::test]
async fn githubs_form_encoded_notice_is_read_too() {
    let rig = Rig::start().await;
    let (_, _, notice) = notices().pop().expect("GitHub's");
    let encoded: String =
        notice.to_string().bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-github-event", "package")];
    let answer = rig.send("POST", "/v1/ingest/ghcr", &headers, format!("payload={encoded}")).await;
    assert_eq!(answer.status, 202);
    assert_eq!(rig.drain_events(1).await[0].data["updated_tags"], json!(["v1"]));
}
