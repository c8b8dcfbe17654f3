//! What history says, that it says it once, and what becomes of what can't be recorded.

mod common;

use std::{num::NonZeroUsize, time::Duration};

use bellbuoy_broker::{Claim, Outgoing, queues};
use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeliveryState, Kind, MethodName, NotificationId, NotificationState,
    Record, WIRE_VERSION,
};
use bellbuoy_store::{AuditEntry, AuditQuery, Collected};
use bellbuoy_telemetry::Counter;
use bellbuoy_testkit::wait::eventually;
use bellbuoy_workers::Retention;
use common::{HOOK, PATIENCE, Rig, answers, delivery, id_of};
use jiff::{SignedDuration, Timestamp};

fn ended(event: &str, notification: NotificationId, state: DeliveryState, cause: CauseCode) -> Record {
    let now = Timestamp::now();
    let attempt = AttemptRecord {
        delivery: id_of(event, notification),
        notification,
        method: "webhook".into(),
        source: "registry.example.com".into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: now,
        attempt: 1,
        started_at: now,
        duration_ms: 5,
        outcome: "rejected".into(),
        cause: Some(Cause::new(cause, "as a test has it")),
        status: None,
        state,
        next_due_at: None,
        on_probation: false,
    };
    Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) }
}

async fn tell(rig: &Rig, records: &[Record]) {
    let messages = records.iter().map(|record| Outgoing::new(queues::outcomes(), record.to_json()));
    rig.broker.publish(messages.collect()).await.expect("published");
}

async fn disabled(rig: &Rig, id: NotificationId) -> String {
    eventually(PATIENCE, async || {
        let found = rig.notification(id).await;
        (found.state == NotificationState::Disabled).then_some(found.state_reason)
    })
    .await
    .expect("a reason")
}

/// Takes the only message of a method's queue as often as the broker lets a worker die of it.
async fn poison(rig: &Rig) {
    for _ in 0..5 {
        drop(rig.take(queues::deliver("webhook")).await);
    }
}

#[tokio::test]
async fn a_batch_whose_worker_died_between_writing_and_settling_is_recorded_once() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let records = ["1", "2"].map(|event| ended(event, to, DeliveryState::Dead, CauseCode::Http5xx));
    tell(&rig, &records).await;
    let mut consumer = rig.broker.consume(&queues::outcomes(), NonZeroUsize::new(2).expect("two"));
    let claims: Vec<Claim> =
        vec![consumer.next().await.expect("a claim"), consumer.next().await.expect("a claim")];
    rig.store.record(&records, 20).await.expect("recorded");
    drop(claims);
    let record = rig.record();
    rig.emptied(queues::outcomes()).await;
    record.stop().await;
    assert_eq!(rig.notification(to).await.failures, 2);
    let detail = rig.history(id_of("1", to), |_| true).await;
    assert_eq!(detail.attempts.len(), 1);
}

#[tokio::test]
async fn what_is_no_record_becomes_a_dead_letter_with_its_bytes_and_the_rest_is_recorded() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.publish(queues::outcomes(), &b"nonsense"[..]).await;
    tell(&rig, &[ended("1", to, DeliveryState::Dead, CauseCode::Http5xx)]).await;
    let workers = [rig.record(), rig.archive()];
    rig.row(id_of("1", to), |row| row.state == DeliveryState::Dead).await;
    let row = rig.dead_letters(1).await.remove(0);
    assert_eq!((&*row.reason, &*row.origin), ("undecodable", queues::outcomes().as_str()));
    let letter = rig.store.dead_letter(row.id).await.expect("read").expect("kept");
    assert_eq!(letter.body, b"nonsense");
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn the_records_of_one_message_are_all_written() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let records = ["1", "2", "3"].map(|event| ended(event, to, DeliveryState::Dead, CauseCode::Http5xx));
    rig.publish(queues::outcomes(), records.each_ref().map(Record::to_json).join(&b'\n')).await;
    let record = rig.record();
    rig.emptied(queues::outcomes()).await;
    for event in ["1", "2", "3"] {
        rig.row(id_of(event, to), |row| row.state == DeliveryState::Dead).await;
    }
    assert_eq!(rig.notification(to).await.failures, 3);
    record.stop().await;
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_put_aside_for_a_worker_that_reads_it() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let record = ended("1", to, DeliveryState::Dead, CauseCode::Http5xx);
    tell(&rig, &[Record { v: WIRE_VERSION + 1, ..record.clone() }, record]).await;
    let recorder = rig.record();
    rig.row(id_of("1", to), |row| row.state == DeliveryState::Dead).await;
    eventually(PATIENCE, async || {
        let depths = rig.broker.depths();
        let queue = depths.iter().find(|depth| depth.queue == queues::outcomes())?;
        ((queue.ready, queue.delayed) == (0, 1)).then_some(())
    })
    .await;
    recorder.stop().await;
    assert_eq!(rig.depth(&queues::dead()), 0);
}

#[tokio::test]
async fn dead_letters_in_a_row_disable_a_notification_with_its_reason_and_count_once() {
    let mut rig = Rig::start().await;
    rig.failures = 3;
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, answers(&[500]));
    let workers = [rig.deliver(MethodName::Webhook), rig.record()];
    for event in ["1", "2", "3"] {
        assert_eq!(rig.notification(to).await.state, NotificationState::Active);
        let id = rig.queue(event, to).await;
        rig.row(id, |row| row.state == DeliveryState::Dead).await;
    }
    assert_eq!(disabled(&rig, to).await, "3 deliveries in a row ended in dead letters");
    rig.emptied(queues::outcomes()).await;
    assert_eq!(rig.counted(Counter::NotificationsDisabled, &["webhook", "failing"]), 1);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn an_old_answer_of_410_does_not_disable_what_was_changed_since() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let old = ended("1", to, DeliveryState::Dead, CauseCode::Gone);
    let mut edited = rig.notification(to).await;
    edited.updated_at = Timestamp::now() + SignedDuration::from_secs(60);
    rig.store.update_notification(&edited).await.expect("updated");
    tell(&rig, &[old]).await;
    let record = rig.record();
    rig.emptied(queues::outcomes()).await;
    assert_eq!(rig.notification(to).await.state, NotificationState::Active);
    edited.updated_at = Timestamp::now() - SignedDuration::from_secs(60);
    rig.store.update_notification(&edited).await.expect("updated");
    tell(&rig, &[ended("2", to, DeliveryState::Dead, CauseCode::Gone)]).await;
    assert_eq!(disabled(&rig, to).await, "its receiver answered 410 Gone");
    record.stop().await;
}

#[tokio::test]
async fn a_delivery_that_kills_its_workers_ends_as_poisoned_and_history_says_so() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let id = rig.queue("1", to).await;
    poison(&rig).await;
    let archive = rig.archive();
    let detail = rig.history(id, |found| found.delivery.state == DeliveryState::Dead).await;
    let cause = detail.delivery.cause.expect("a cause");
    assert_eq!((cause.code, detail.delivery.attempts), (CauseCode::WorkerPanicked, 1));
    assert!(cause.detail.contains("5 times"), "{cause}");
    assert_eq!(detail.attempts.len(), 1);
    assert_eq!(rig.notification(to).await.failures, 0, "its receiver is not to blame");
    let letter = rig.dead_letters(1).await.remove(0);
    assert_eq!((&*letter.reason, letter.delivery), ("poisoned", Some(id)));
    rig.emptied(queues::dead()).await;
    archive.stop().await;
    let labels = [queues::deliver("webhook").as_str().to_owned(), "poisoned".to_owned()];
    assert_eq!(rig.counted(Counter::DeadLetters, &labels.each_ref().map(String::as_str)), 1);
}

#[tokio::test]
async fn a_poisoned_copy_of_an_attempt_that_is_recorded_changes_nothing() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let mut delivered = ended("1", to, DeliveryState::Delivered, CauseCode::Http5xx);
    if let Some(attempt) = &mut delivered.attempt {
        attempt.outcome = "delivered".into();
        attempt.cause = None;
    }
    rig.store.record(&[delivered], 20).await.expect("recorded");
    rig.queue("1", to).await;
    poison(&rig).await;
    let archive = rig.archive();
    rig.dead_letters(1).await;
    rig.emptied(queues::dead()).await;
    archive.stop().await;
    rig.row(id_of("1", to), |row| row.state == DeliveryState::Delivered).await;
}

#[tokio::test]
async fn a_delivery_whose_event_can_not_be_read_does_not_wait_for_ever_in_history() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let mut message = delivery("1", to);
    message.event = serde_json::value::RawValue::from_string("{}".into()).expect("JSON");
    let mut waiting = ended("1", to, DeliveryState::Waiting, CauseCode::Paused);
    if let Some(attempt) = &mut waiting.attempt {
        attempt.outcome = "held".into();
    }
    rig.store.record(&[waiting], 20).await.expect("recorded");
    rig.publish(queues::deliver("webhook"), message.to_json()).await;
    let workers = [rig.deliver(MethodName::Webhook), rig.archive()];
    let row = rig.row(message.delivery, |row| row.state == DeliveryState::Dead).await;
    assert_eq!((row.cause.map(|cause| cause.code), &*row.event), (Some(CauseCode::Internal), "1"));
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_stranger_s_bytes_that_look_like_a_delivery_end_no_delivery() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let message = delivery("1", to);
    let body = message.to_json();
    let quarantined = Outgoing::quarantined("ingest.distribution", "undecodable", "forged", body.clone());
    rig.broker.publish(vec![quarantined]).await.expect("published");
    rig.publish(queues::events(), body).await;
    let workers = [rig.fanout(), rig.archive()];
    let letters = rig.dead_letters(2).await;
    assert!(letters.iter().all(|letter| letter.delivery.is_none() && letter.method.is_none()), "{letters:?}");
    rig.emptied(queues::dead()).await;
    assert!(rig.store.delivery(message.delivery).await.expect("read").is_none());
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn the_recorders_outlast_an_outage_of_the_store() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let outage = rig.break_store().await;
    tell(&rig, &[ended("1", to, DeliveryState::Dead, CauseCode::Http5xx)]).await;
    rig.publish(queues::events(), "nonsense").await;
    let claim = rig.take(queues::events()).await;
    let dead = Outgoing::dead_letter(&claim, "undecodable", "nonsense");
    rig.broker.settle(vec![claim], vec![dead]).await.expect("settled");
    let workers = [rig.record(), rig.archive()];
    for worker in &workers {
        let why = eventually(PATIENCE, async || worker.vital.check().err()).await;
        assert!(why.contains("the store is unavailable"), "{why}");
    }
    outage.end();
    rig.row(id_of("1", to), |row| row.state == DeliveryState::Dead).await;
    rig.dead_letters(1).await;
    rig.emptied(queues::outcomes()).await;
    rig.emptied(queues::dead()).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(rig.counted(Counter::WorkerRestarts, &["record"]), 0);
    assert_eq!(rig.counted(Counter::WorkerRestarts, &["archive"]), 0);
    assert_eq!(rig.dead_letters(1).await.len(), 1);
}

#[tokio::test]
async fn what_is_old_is_deleted_and_counted() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.store.record(&[ended("1", to, DeliveryState::Dead, CauseCode::Http5xx)], 20).await.expect("recorded");
    let long_ago = Timestamp::UNIX_EPOCH;
    let collected = Collected {
        delivery: id_of("2", to),
        notification: to,
        method: "webhook".into(),
        source: "registry.example.com".into(),
        subject: "acme/api".into(),
        message: uuid::Uuid::nil(),
        due_at: long_ago,
        body: b"{}".to_vec(),
    };
    let told = rig.store.collect(&[collected]).await.expect("collected").remove(0);
    rig.store.forget_digest(told.id, long_ago).await.expect("forgotten");
    let every = Duration::from_millis(5);
    let retention =
        rig.retention(Retention { keep: Duration::ZERO, chunk: 10, every, ..Retention::default() });
    let gone = async || rig.store.delivery(id_of("1", to)).await.expect("read").is_none().then_some(());
    eventually(PATIENCE, gone).await;
    for table in ["deliveries", "told"] {
        let counted = async || (rig.counted(Counter::HistoryPruned, &[table]) == 1).then_some(());
        eventually(PATIENCE, counted).await;
    }
    retention.stop().await;
}

#[tokio::test]
async fn who_did_what_is_forgotten_after_its_own_time_and_not_before() {
    let rig = Rig::start().await;
    let entry = |number: u128, at: Timestamp| AuditEntry {
        id: uuid::Uuid::from_u128(number),
        at,
        actor: "ann".into(),
        address: None,
        action: "notification.create".into(),
        target: number.to_string(),
        place: "acme/api".into(),
        details: serde_json::Map::new(),
    };
    let hours_ago = |hours| Timestamp::now() - SignedDuration::from_hours(hours);
    for (number, hours) in [(1, 50), (2, 49), (3, 47), (4, 1)] {
        rig.store.note(entry(number, hours_ago(hours))).await.expect("noted");
    }
    let two_days = Duration::from_hours(48);
    let every = Duration::from_millis(5);
    let retention = Retention { keep: Duration::ZERO, keep_audit: two_days, chunk: 1, every };
    let retention = rig.retention(retention);
    let query = AuditQuery { actor: None, action: None, target: None, place: None, after: None, limit: 10 };
    eventually(PATIENCE, async || {
        let rows = rig.store.audit(&query).await.expect("a page").rows;
        let left: Vec<String> = rows.into_iter().map(|row| row.target).collect();
        (left == ["4", "3"]).then_some(())
    })
    .await;
    let counted = async || (rig.counted(Counter::HistoryPruned, &["audit"]) == 2).then_some(());
    eventually(PATIENCE, counted).await;
    retention.stop().await;
}
