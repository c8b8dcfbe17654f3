//! Bad input is refused by a 4xx that names the fault, and leaves nothing behind.

mod common;

use bellbuoy_broker::queues;
use common::{JSON, Rig, STRUCTURED, problem, push_event, quay_problem};
use serde_json::{Value, json};

/// Bodies that are no JSON object of ours, whatever the route.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str| open.repeat(50_000).into_bytes();
    let keys: Vec<String> = (0..8_000).map(|n| format!("\"{n}\":0")).collect();
    vec![
        ("empty", b"".to_vec()),
        ("cut", b"{\"specversion\": \"1.0\"".to_vec()),
        ("trailing brace", b"{}}".to_vec()),
        ("array", b"[]".to_vec()),
        ("string", b"\"x\"".to_vec()),
        ("number", b"7".to_vec()),
        ("null", b"null".to_vec()),
        ("NaN", b"{\"a\": NaN}".to_vec()),
        ("too large a number", b"{\"a\": 1e999}".to_vec()),
        ("5000 digits", format!("{{\"a\": {}}}", "9".repeat(5000)).into_bytes()),
        ("single quotes", b"{'a': 1}".to_vec()),
        ("byte-order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("invalid UTF-8", b"{\"a\": \"\xff\xfe\"}".to_vec()),
        ("overlong UTF-8", b"{\"a\": \"\xc0\xaf\"}".to_vec()),
        ("UTF-16", b"\xff\xfe{\x00}\x00".to_vec()),
        ("lone surrogate", br#"{"a": "\ud800"}"#.to_vec()),
        ("NUL", b"{\"a\": \"\x00\"}".to_vec()),
        ("deep arrays", deep("[")),
        ("deep objects", deep("{\"a\":")),
        ("many keys", format!("{{{}}}", keys.join(",")).into_bytes()),
        ("prototype", br#"{"__proto__": {"admin": true}}"#.to_vec()),
        ("form", b"a=1&b=2".to_vec()),
        ("10 MB", vec![b' '; 10_000_000]),
    ]
}

#[tokio::test]
async fn every_body_that_makes_no_sense_is_refused_on_every_route_that_takes_one() {
    let rig = Rig::start().await;
    let made = rig.webhook("acme/api").await;
    let uuid = made["uuid"].as_str().expect("an id");
    let native = [
        ("POST", "/v1/events".to_owned(), STRUCTURED),
        ("POST", "/v1/events".to_owned(), ("content-type", "application/cloudevents-batch+json")),
        ("POST", "/v1/notifications".to_owned(), JSON),
        ("PUT", format!("/v1/notifications/{uuid}"), JSON),
        ("POST", format!("/v1/notifications/{uuid}/test"), JSON),
    ];
    for (name, body) in bodies() {
        for (verb, path, kind) in &native {
            let means_nothing =
                name == "empty" && path.ends_with("/test") || name == "array" && kind.1.contains("batch");
            if means_nothing {
                continue;
            }
            let answer = rig.send(verb, path, &[*kind], body.clone()).await;
            let expected = if name == "10 MB" { 413 } else { 400 };
            let detail = problem(&answer, expected);
            assert!(!detail.is_empty() && detail.len() < 2000, "{name} {path}: {detail}");
        }
        let answer =
            rig.send("POST", "/api/v1/repository/acme/api/notification/", &[JSON], body.clone()).await;
        let expected = if name == "10 MB" { 413 } else { 400 };
        quay_problem(&answer, expected, "invalid_request");
        let answer = rig.send("POST", "/v1/ingest/distribution", &[JSON], body).await;
        assert_eq!(answer.status, 202, "{name}");
        rig.drain(queues::dead(), 1).await;
    }
    assert_eq!(rig.depth(&queues::events()) + rig.depth(&queues::deliver("webhook")), 0);
}

#[tokio::test]
async fn a_fault_in_an_event_is_named_by_its_attribute() {
    let rig = Rig::start().await;
    let rows = [
        ("specversion", json!("0.3")),
        ("specversion", Value::Null),
        ("id", Value::Null),
        ("id", json!("")),
        ("id", json!({"a": 1})),
        ("id", json!("x".repeat(100_000))),
        ("source", Value::Null),
        ("type", Value::Null),
        ("type", json!(7)),
        ("type", json!("nonsense")),
        ("subject", Value::Null),
        ("subject", json!("../../etc/passwd")),
        ("subject", json!("acme/api\r\nX: y")),
        ("subject", json!("a".repeat(100_000))),
        ("subject", json!("<script>")),
        ("time", json!("99999-01-01T00:00:00Z")),
        ("time", json!(1e300)),
        ("data", json!([1])),
        ("data", json!({"updated_tags": "v1"})),
        ("data_base64", json!("AAAA")),
        ("datacontenttype", json!("text/xml")),
    ];
    for (attribute, wrong) in rows {
        let mut event = push_event("1");
        event[attribute] = wrong.clone();
        let answer = rig.send("POST", "/v1/events", &[STRUCTURED], event.to_string()).await;
        let detail = problem(&answer, 400);
        assert_eq!(answer.json()["attribute"], attribute, "{wrong:.60}: {detail}");
        assert!(detail.len() < 1000, "{detail}");

        // The same in binary mode, for what a header can hold.
        let (Value::String(text), "id" | "source" | "type" | "time" | "subject") = (&wrong, attribute) else {
            continue;
        };
        if text.len() > 50_000 {
            continue;
        }
        let encoded = text.replace('\r', "%0d").replace('\n', "%0a");
        let mut headers = vec![JSON, ("ce-specversion", "1.0"), ("ce-time", "2026-11-20T12:00:00Z")];
        headers.extend([
            ("ce-id", "1"),
            ("ce-source", "s"),
            ("ce-type", "repo_push"),
            ("ce-subject", "acme/api"),
        ]);
        let name = format!("ce-{attribute}");
        headers.retain(|(header, _)| *header != name);
        headers.push((&name, &encoded));
        let answer = rig.send("POST", "/v1/events", &headers, r#"{"updated_tags":["v1"]}"#).await;
        problem(&answer, 400);
        assert_eq!(answer.json()["attribute"], attribute);
    }
    assert_eq!(rig.depth(&queues::events()), 0);
}

#[tokio::test]
async fn bodies_in_another_type_or_encoding_are_415_and_never_inflated() {
    let rig = Rig::start().await;
    let event = push_event("1").to_string();
    for headers in [
        &[][..],
        &[("content-type", "application/json")],
        &[("content-type", "text/xml")],
        &[("content-type", "application/cloudevents+avro")],
        &[STRUCTURED, ("content-encoding", "gzip")],
        &[STRUCTURED, ("content-encoding", "br")],
        &[("content-type", "application/cloudevents+json; charset=utf-16")],
    ] {
        problem(&rig.send("POST", "/v1/events", headers, event.clone()).await, 415);
    }
    for path in ["/v1/notifications", "/v1/notifications/"] {
        let answer = rig.send("POST", path, &[("content-type", "text/plain")], "{}").await;
        problem(&answer, if path.ends_with('/') { 404 } else { 415 });
    }
    assert_eq!(rig.depth(&queues::events()), 0);
}

#[tokio::test]
async fn paths_and_queries_of_every_shape_are_answered() {
    let rig = Rig::start().await;
    let long = format!("/v1/notifications/{}", "x".repeat(20_000));
    for (path, status) in [
        ("/v1/notifications/%00", 404),
        ("/v1/notifications/%ff", 400),
        ("/v1/deliveries/..%2f..%2fetc", 404),
        ("/v1/events/%ff", 400),
        ("/v1/events/%00", 404),
        ("/v1/deliveries?state=%ff", 400),
        ("/v1/deliveries?subject=%00", 200),
        ("/v1/deliveries?subject=%27%3b%20DROP%20TABLE%20deliveries", 200),
        ("/v1/deliveries?limit=1&limit=2", 400),
        ("/v1/deliveries?=&&&", 400),
        ("/api/v1/repository/", 404),
        ("/api/v1/repository/%ff/notification/", 404),
        ("/api/v1/repository/acme/api/notification/%00", 404),
        ("/api/v1/repository//notification/", 400),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        (&long, 404),
    ] {
        let answer = rig.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path:.60}: {}", answer.text());
        assert!(answer.body.len() < 1000, "{path:.60}: {}", answer.text());
    }
}
