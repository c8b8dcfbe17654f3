//! Findings that are told together: how many messages become one, what history says, and that no death between two
//! steps loses or splits anything.

mod common;

use std::collections::BTreeSet;

use bellbuoy_broker::queues;
use bellbuoy_domain::{
    CauseCode, DeliveryId, DeliveryState, Digest, Event, Kind, MethodName, Notification, NotificationId,
    RepositoryName, Subject, digest,
};
use bellbuoy_store::{Collected, SeenEvent};
use bellbuoy_telemetry::Counter;
use bellbuoy_testkit::{receiver::Recorded, wait::eventually};
use common::{PATIENCE, Rig, answers, id_of, retries};
use jiff::Timestamp;
use serde_json::{Value, json};

const WEBHOOK: MethodName = MethodName::Webhook;

/// Collects findings for a second.
fn collects(notification: &mut Notification) {
    notification.kinds = vec![Kind::VulnerabilityFound];
    notification.event_config.insert("digest".into(), json!(1));
}

fn finding(id: &str, repository: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "registry.example.com", "type": "vulnerability_found",
        "subject": repository, "time": "2026-11-20T12:00:00Z",
        "data": {"tags": ["v1"], "vulnerability": {"id": format!("CVE-{id}"), "priority": "High"}},
    })
}

async fn publish(rig: &Rig, ids: impl Iterator<Item = usize>) {
    for id in ids {
        rig.publish(queues::events(), finding(&id.to_string(), "acme/api").to_string()).await;
    }
}

/// The findings of a request, of one or several.
fn told(request: &Recorded) -> Vec<String> {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let several = body["vulnerabilities"].as_array().cloned().unwrap_or_default();
    let all = several.into_iter().chain(body.get("vulnerability").cloned());
    all.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect()
}

fn expected(ids: impl Iterator<Item = usize>) -> BTreeSet<String> {
    ids.map(|id| format!("CVE-{id}")).collect()
}

/// Waits until it is told that an event was collected, and gives the delivery that it is told in.
async fn digest_of(rig: &Rig, event: &str, to: NotificationId) -> DeliveryId {
    let row = rig.row(id_of(event, to), |row| row.state == DeliveryState::Cancelled).await;
    let cause = row.cause.expect("a cause");
    assert_eq!((cause.code, row.attempts), (CauseCode::Digested, 0));
    cause.detail.rsplit(' ').next().and_then(|id| id.parse().ok()).expect("names the delivery")
}

#[tokio::test]
async fn a_storm_is_one_message_and_each_event_says_in_which_delivery_it_is_told() {
    let rig = Rig::start().await;
    let to = rig.notify(1, collects).await;
    let plain = rig.notify(2, |notification| notification.kinds = vec![Kind::VulnerabilityFound]).await;
    publish(&rig, 0..300).await;
    let collecting = [rig.fanout(), rig.record()];
    let digest = digest_of(&rig, "0", to).await;
    for event in 1..300 {
        assert_eq!(digest_of(&rig, &event.to_string(), to).await, digest);
    }
    let sending = [rig.digests(), rig.deliver(WEBHOOK)];
    let row = rig.row(digest, |row| row.state == DeliveryState::Delivered).await;
    assert_eq!((row.kind, row.subject.as_str(), row.attempts), (Kind::VulnerabilityFound, "acme/api", 1));
    for event in 0..300 {
        rig.row(id_of(&event.to_string(), plain), |row| row.state == DeliveryState::Delivered).await;
    }
    let requests = rig.receiver.requests();
    let mine: Vec<_> = requests
        .iter()
        .filter(|request| request.header("webhook-id").is_some_and(|id| id == digest.to_string()))
        .collect();
    assert_eq!((mine.len(), requests.len()), (1, 301), "one for all, and one for each who wants each");
    assert_eq!(told(mine[0]).into_iter().collect::<BTreeSet<_>>(), expected(0..300));
    let stored = rig.store.event(Some(&row.source), &row.event).await.expect("read");
    assert_eq!(stored.len(), 1, "kept like any event, so that it can be sent again");
    for worker in collecting.into_iter().chain(sending) {
        worker.stop().await;
    }
}

#[tokio::test]
async fn each_repository_is_told_of_by_itself_and_other_kinds_at_once() {
    let rig = Rig::start().await;
    let to = rig
        .notify(1, |notification| {
            collects(notification);
            notification.kinds.push(Kind::RepoPush);
            notification.scope = bellbuoy_domain::Scope::Namespace("acme".into());
        })
        .await;
    for (id, repository) in [("1", "acme/api"), ("2", "acme/web"), ("3", "acme/api")] {
        rig.publish(queues::events(), finding(id, repository).to_string()).await;
    }
    rig.push("push").await;
    let running = [rig.fanout(), rig.record(), rig.deliver(WEBHOOK)];
    rig.row(id_of("push", to), |row| row.state == DeliveryState::Delivered).await;
    let (one, two, three) =
        (digest_of(&rig, "1", to).await, digest_of(&rig, "2", to).await, digest_of(&rig, "3", to).await);
    assert!(one == three && one != two);
    let sending = rig.digests();
    for digest in [one, two] {
        rig.row(digest, |row| row.state == DeliveryState::Delivered).await;
    }
    let alone = rig.receiver.requests();
    let alone =
        alone.iter().find(|request| request.header("webhook-id").is_some_and(|id| id == two.to_string()));
    let body: Value = serde_json::from_slice(&alone.expect("it came").body).expect("JSON");
    assert_eq!(
        (&body["vulnerability"]["id"], body.get("vulnerabilities")),
        (&json!("CVE-2"), None),
        "as it was"
    );
    sending.stop().await;
    for worker in running {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_digest_is_retried_like_any_delivery_and_goes_with_its_notification() {
    let mut rig = Rig::start().await;
    rig.policy = retries(&[std::time::Duration::from_millis(1); 3]);
    rig.receiver.script(common::HOOK, answers(&[503, 503, 200]));
    let (to, gone) = (rig.notify(1, collects).await, rig.notify(2, collects).await);
    publish(&rig, 0..2).await;
    let (fanout, record) = (rig.fanout(), rig.record());
    let (digest, cancelled) = (digest_of(&rig, "0", to).await, digest_of(&rig, "0", gone).await);
    rig.store.delete_notification(gone).await.expect("deleted");
    let running = [fanout, record, rig.digests(), rig.deliver(WEBHOOK)];
    let row = rig.row(digest, |row| row.state == DeliveryState::Delivered).await;
    assert_eq!(row.attempts, 3);
    let row = rig.row(cancelled, |row| row.state == DeliveryState::Cancelled).await;
    assert_eq!(row.cause.map(|cause| cause.code), Some(CauseCode::NoRecipient), "and says why");
    for worker in running {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_fan_out_that_died_after_collecting_collects_nothing_twice() {
    let rig = Rig::start().await;
    let to = rig.notify(1, collects).await;
    publish(&rig, 0..2).await;
    // What the dead one got to do: admit and collect the first event, and not settle it.
    let claim = rig.take(queues::events()).await;
    let event = Event::from_json(claim.body(), Timestamp::now()).expect("an event");
    let seen = SeenEvent {
        source: event.source.clone(),
        id: event.id.clone(),
        kind: event.kind,
        subject: "acme/api".into(),
        message: claim.id(),
        accepted_at: Timestamp::now(),
        body: event.to_json(),
    };
    let delivery = id_of(&event.id, to);
    let collected = Collected {
        delivery,
        notification: to,
        method: "webhook".into(),
        source: event.source.clone(),
        subject: "acme/api".into(),
        message: claim.id(),
        due_at: Timestamp::now(),
        body: event.to_json(),
    };
    rig.store.admit_events(&[seen], PATIENCE).await.expect("admitted");
    let open = rig.store.collect(&[collected]).await.expect("collected").remove(0);
    drop(claim);
    let running = [rig.fanout(), rig.record()];
    let own = DeliveryId::derive(&open.source, &digest::event_id(open.id), to);
    for event in ["0", "1"] {
        assert_eq!(digest_of(&rig, event, to).await, own);
    }
    let sending = [rig.digests(), rig.deliver(WEBHOOK)];
    rig.row(own, |row| row.state == DeliveryState::Delivered).await;
    let request = rig.receiver.requests().remove(0);
    assert_eq!(told(&request), ["CVE-0", "CVE-1"]);
    for worker in running.into_iter().chain(sending) {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_worker_that_died_before_or_after_sending_has_the_same_delivery_made_by_the_next() {
    let rig = Rig::start().await;
    let to = rig.notify(1, collects).await;
    publish(&rig, 0..3).await;
    let running = [rig.fanout(), rig.record()];
    let own = digest_of(&rig, "2", to).await;
    // One took it and died at once; its lease is over.
    let taken = eventually(PATIENCE, async || {
        let now = Timestamp::now();
        let taken = rig.store.take_due_digests(now, now, 10).await.expect("taken");
        taken.into_iter().next()
    })
    .await;
    // One sent it, and died before it could forget it.
    let events: Vec<Event> =
        taken.items.iter().map(|body| Event::from_json(body, taken.due_at).expect("an event")).collect();
    let known = Digest {
        id: taken.id,
        notification: to,
        source: taken.source.clone(),
        subject: Subject::Repository(RepositoryName::parse("acme/api").expect("a name")),
        due_at: taken.due_at,
    };
    assert_eq!(known.delivery(), own);
    let told_before = known.event(&events).expect("an event");
    let sending = [rig.digests(), rig.deliver(WEBHOOK)];
    let row = rig.row(own, |row| row.state == DeliveryState::Delivered).await;
    let stored = rig.store.event(Some(&row.source), &row.event).await.expect("read").remove(0);
    assert_eq!(stored.body, told_before.to_json(), "byte by byte what the dead one would have sent");
    eventually(PATIENCE, async || {
        let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
        rig.store.take_due_digests(later, later, 10).await.expect("taken").is_empty().then_some(())
    })
    .await;
    assert_eq!(rig.counted(Counter::DeliveriesQueued, &["webhook"]), 1);
    for worker in running.into_iter().chain(sending) {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_large_finding_is_told_by_itself() {
    let rig = Rig::start().await;
    let to = rig.notify(1, collects).await;
    let mut large = finding("large", "acme/api");
    large["data"]["vulnerability"]["description"] = "x".repeat(digest::LARGEST_COLLECTED).into();
    rig.publish(queues::events(), large.to_string()).await;
    let running = [rig.fanout(), rig.record(), rig.deliver(WEBHOOK)];
    rig.row(id_of("large", to), |row| row.state == DeliveryState::Delivered).await;
    for worker in running {
        worker.stop().await;
    }
}
