//! `/v1/notifications/{id}/catch-up`: what a notification missed, in the messages that the fan-out would have made.

mod common;

use std::{collections::BTreeSet, num::NonZeroUsize, time::Duration};

use bellbuoy_broker::{QueueName, queues};
use bellbuoy_domain::{
    CauseCode, DeliveryMessage, Event, FannedOut, NotificationId, Record, WIRE_VERSION, digest,
};
use bellbuoy_store::SeenEvent;
use bytes::Bytes;
use common::{Rig, problem};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

const ACCEPTED: Timestamp = Timestamp::constant(1_790_000_000, 0);

fn event(id: &str, kind: &str, data: &Value) -> Event {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "registry.example.com", "type": kind,
        "subject": "acme/api", "time": "2026-11-20T12:00:00Z", "data": data,
    });
    Event::from_value(event, ACCEPTED).expect("an event")
}

fn finding(id: &str) -> Event {
    event(
        id,
        "vulnerability_found",
        &json!({"tags": ["v1"], "vulnerability": {"id": id, "priority": "High"}}),
    )
}

/// Stores an event as one that was fanned out when nobody listened.
async fn miss(rig: &Rig, event: &Event) {
    let subject = event.subject.name().unwrap_or_default().to_owned();
    let seen = SeenEvent {
        source: event.source.clone(),
        id: event.id.clone(),
        kind: event.kind,
        subject: subject.clone(),
        message: Uuid::new_v4(),
        accepted_at: ACCEPTED,
        body: event.to_json(),
    };
    rig.store.admit_events(&[seen], Duration::ZERO).await.expect("admitted");
    let fanned_out = FannedOut {
        source: event.source.clone(),
        event: event.id.clone(),
        kind: event.kind,
        subject,
        accepted_at: ACCEPTED,
        deliveries: Vec::new(),
    };
    let record = Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None };
    rig.store.record(&[record], 3).await.expect("recorded");
}

async fn create(rig: &Rig, kind: &str, settings: &[(&str, Value)]) -> NotificationId {
    let mut body = json!({
        "scope": {"repository": "acme/api"}, "kinds": [kind], "method": "webhook",
        "config": {"url": "https://ci.example.com/hook"},
    });
    for (pointer, value) in settings {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        body.pointer_mut(parent).expect("a parent")[name] = value.clone();
    }
    let answer = rig.post("/v1/notifications", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").parse().expect("a UUID")
}

/// What a call says that it sent, and knew.
async fn catch_up(rig: &Rig, id: NotificationId) -> (u64, u64) {
    let path = format!("/v1/notifications/{id}/catch-up");
    let answer = rig.post(&path, &json!({"since": "2026-01-01T00:00:00Z"})).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let said = answer.json();
    (said["sent"].as_u64().expect("a number"), said["known"].as_u64().expect("a number"))
}

/// The bodies of all messages in a queue, which are settled.
async fn drain(rig: &Rig, queue: QueueName) -> Vec<Bytes> {
    let waiting = usize::try_from(rig.depth(&queue)).expect("few");
    let mut consumer = rig.broker.consume(&queue, NonZeroUsize::new(waiting).expect("some"));
    let (mut claims, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..waiting {
        let claim = consumer.next().await.expect("an open broker");
        bodies.push(claim.body().clone());
        claims.push(claim);
    }
    rig.broker.settle(claims, Vec::new()).await.expect("settled");
    bodies
}

/// Has the store told what the recorder would tell it.
async fn record(rig: &Rig) -> Vec<Record> {
    let bodies = drain(rig, queues::outcomes()).await;
    let records: Vec<Record> =
        bodies.iter().flat_map(|body| Record::all_from_json(body).expect("records")).collect();
    rig.store.record(&records, 3).await.expect("recorded");
    records
}

#[tokio::test]
async fn a_missed_push_of_many_tags_is_sent_with_each_tag_alone() {
    const TAGS: usize = 400;
    let rig = Rig::start().await;
    let tags: Vec<String> = (0..TAGS).map(|tag| format!("{tag:0>100}")).collect();
    let (mut bytes, mut wanted) = (0, BTreeSet::new());
    for number in 0..3 {
        let push = event(&number.to_string(), "repo_push", &json!({"updated_tags": tags}));
        bytes += push.to_json().len();
        wanted.extend(tags.iter().map(|tag| (push.id.clone(), tag.clone())));
        miss(&rig, &push).await;
    }
    let id = create(&rig, "repo_push", &[("/config/one_request_per", json!("tag"))]).await;
    assert_eq!(catch_up(&rig, id).await, (3 * TAGS as u64, 0));

    let messages = drain(&rig, queues::deliver("webhook")).await;
    let sent: usize = messages.iter().map(Bytes::len).sum();
    assert!(sent < 10 * bytes, "{sent} bytes for events of {bytes}");
    let told = messages.iter().map(|message| {
        let message = DeliveryMessage::from_json(message).expect("a delivery");
        let told = Event::from_json(message.event.get().as_bytes(), ACCEPTED).expect("an event");
        let [tag] = &told.data["updated_tags"].as_array().expect("tags")[..] else { panic!("{told:?}") };
        (told.id.clone(), tag.as_str().expect("a tag").to_owned())
    });
    assert_eq!(told.collect::<BTreeSet<_>>(), wanted);
    assert_eq!(messages.len(), wanted.len());

    record(&rig).await;
    assert_eq!(catch_up(&rig, id).await, (0, 3 * TAGS as u64), "nothing twice");
    assert_eq!(rig.depth(&queues::deliver("webhook")), 0);
}

#[tokio::test]
async fn the_same_call_before_history_tells_of_the_first_sends_nothing() {
    let rig = Rig::start().await;
    miss(&rig, &event("1", "repo_push", &json!({"updated_tags": ["v1"]}))).await;
    let id = create(&rig, "repo_push", &[]).await;
    let (path, body) = (format!("/v1/notifications/{id}/catch-up"), json!({"since": "2026-01-01T00:00:00Z"}));
    let answers = join_all((0..5).map(|_| rig.post(&path, &body))).await;
    let taken = answers.iter().filter(|answer| answer.status == 202).count();
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        assert!(problem(refused, 409).contains("try again in a minute"));
    }
    assert_eq!((taken, drain(&rig, queues::deliver("webhook")).await.len()), (1, 1));
    record(&rig).await;
    assert_eq!(catch_up(&rig, id).await, (0, 1));
}

#[tokio::test]
async fn of_a_missed_push_the_tags_that_the_filter_takes_are_sent() {
    let rig = Rig::start().await;
    miss(&rig, &event("1", "repo_push", &json!({"updated_tags": ["v1", "latest"]}))).await;
    let settings = [("/config/one_request_per", json!("tag")), ("/filter", json!({"tags": ["v*"]}))];
    let id = create(&rig, "repo_push", &settings).await;
    assert_eq!(catch_up(&rig, id).await, (1, 0));
    let messages = drain(&rig, queues::deliver("webhook")).await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    let message = DeliveryMessage::from_json(message).expect("a delivery");
    let told = Event::from_json(message.event.get().as_bytes(), ACCEPTED).expect("an event");
    assert_eq!(told.data["updated_tags"], json!(["v1"]));
}

#[tokio::test]
async fn missed_findings_are_told_together_where_that_is_wanted() {
    let rig = Rig::start().await;
    for id in ["CVE-1", "CVE-2", "CVE-3"] {
        miss(&rig, &finding(id)).await;
    }
    let id = create(&rig, "vulnerability_found", &[("/filter", json!({"digest": 300}))]).await;
    assert_eq!(catch_up(&rig, id).await, (3, 0));
    assert_eq!(rig.depth(&queues::deliver("webhook")), 0, "none is told by itself");
    let collecting = rig.store.collecting(id, 10).await.expect("read");
    assert_eq!(collecting.iter().map(|one| one.events).collect::<Vec<_>>(), [3]);
    let records = record(&rig).await;
    let causes = records.iter().filter_map(|record| record.attempt.as_ref()?.cause.as_ref());
    assert_eq!(causes.map(|cause| cause.code).collect::<Vec<_>>(), [CauseCode::Digested; 3]);
    assert_eq!(catch_up(&rig, id).await, (0, 3), "nothing twice");
}

#[tokio::test]
async fn what_was_told_together_for_one_notification_is_no_event_for_another() {
    let rig = Rig::start().await;
    miss(&rig, &finding(&digest::event_id(Uuid::from_u128(7)))).await;
    let id = create(&rig, "vulnerability_found", &[]).await;
    assert_eq!(catch_up(&rig, id).await, (0, 0));
}
