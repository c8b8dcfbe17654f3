//! Random bytes at every way in: whatever they are, never a 5xx, and a registry is never refused.

mod common;

use bellbuoy_broker::queues;
use common::{Rig, push_event};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::json;

/// How often each property is tried. Each case costs a sync of the disk.
const CASES: u32 = 150;

/// Bytes that are random, or nearly what is expected: the interesting faults lie near the mark.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let near = prop::sample::select(vec![
        push_event("1").to_string(),
        json!([push_event("1")]).to_string(),
        json!({"events": [{"id": "1", "action": "push", "target": {"repository": "a/b", "tag": "v1"}}]})
            .to_string(),
        common::webhook_body().to_string(),
    ]);
    let mutated =
        (near, vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(|(text, changes)| {
            let mut bytes = text.into_bytes();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        });
    prop_oneof![vec(any::<u8>(), 0..300), "\\PC{0,200}".prop_map(String::into_bytes), mutated]
}

fn types() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/json",
        "application/vnd.docker.distribution.events.v2+json",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "[ -~]{0,40}"]
}

fn header_value() -> impl Strategy<Value = String> {
    prop_oneof!["[!-~]{0,40}", "(%[0-9a-fA-F]{2}){0,8}", "\"[ -~]{0,20}\""]
}

fn check<S: Strategy>(
    runtime: &tokio::runtime::Runtime,
    input: &S,
    case: impl AsyncFn(S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: Clone,
{
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    runner.run(input, |value| runtime.block_on(case(value))).expect("it holds for every input");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn arbitrary_events_are_taken_or_refused_by_the_clients_fault() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::start());
    check(&runtime, &(types(), bodies()), async |(content_type, body)| {
        let answer = rig.send("POST", "/v1/events", &[("content-type", &content_type)], body).await;
        prop_assert!(matches!(answer.status.as_u16(), 202 | 400 | 413 | 415), "{}", answer.text());
        Ok(())
    });
}

#[test]
fn arbitrary_binary_headers_are_taken_or_refused_by_the_clients_fault() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::start());
    let input = (header_value(), header_value(), header_value(), bodies());
    check(&runtime, &input, async |(id, subject, extension, body)| {
        let headers = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-type", "repo_push"),
            ("ce-source", "s"),
            ("ce-id", id.as_str()),
            ("ce-subject", subject.as_str()),
            ("ce-extension", extension.as_str()),
        ];
        let answer = rig.send("POST", "/v1/events", &headers, body).await;
        prop_assert!(matches!(answer.status.as_u16(), 202 | 400 | 413 | 415), "{}", answer.text());
        Ok(())
    });
}

#[test]
fn an_arbitrary_envelope_is_always_taken_and_what_it_was_is_kept() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::start());
    check(&runtime, &(types(), bodies()), async |(content_type, body)| {
        let held = || rig.depth(&queues::events()) + rig.depth(&queues::dead());
        let before = held();
        let is_envelope =
            serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|body| body["events"].is_array());
        let headers = [("content-type", content_type.as_str())];
        let answer = rig.send("POST", "/v1/ingest/distribution", &headers, body).await;
        prop_assert_eq!(answer.status.as_u16(), 202, "{}", answer.text());
        prop_assert!(is_envelope || held() == before + 1, "neither an event nor a dead letter");
        Ok(())
    });
}

#[test]
fn an_arbitrary_create_body_is_taken_or_refused_by_the_clients_fault() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::start());
    check(&runtime, &bodies(), async |body| {
        let json = ("content-type", "application/json");
        for path in ["/api/v1/repository/acme/api/notification/", "/v1/notifications"] {
            let answer = rig.send("POST", path, &[json], body.clone()).await;
            prop_assert!(matches!(answer.status.as_u16(), 201 | 400), "{}", answer.text());
        }
        Ok(())
    });
}
