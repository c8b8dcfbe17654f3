//! What follows each attempt: history, retries, holds and ends.

mod common;

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use bellbuoy_broker::queues;
use bellbuoy_domain::{
    AccountKind, AccountName, CauseCode, DeliveryMessage, DeliveryState, MethodName, NotificationState,
    Record, WIRE_VERSION,
};
use bellbuoy_store::Account;
use bellbuoy_telemetry::Counter;
use bellbuoy_testkit::{
    receiver::{Answer, Reply},
    wait::eventually,
};
use bellbuoy_workers::{DeliverLimits, Gate, GateLimits};
use common::{HOOK, PATIENCE, Rig, answers, delivery, retries};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const WEBHOOK: MethodName = MethodName::Webhook;

#[tokio::test]
async fn a_failed_delivery_is_tried_again_when_it_is_due_and_each_attempt_is_recorded() {
    let mut rig = Rig::start().await;
    rig.policy = retries(&[Duration::from_millis(300), Duration::from_millis(300)]);
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, answers(&[500, 503, 200]));
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let id = rig.queue("1", to).await;
    let detail = rig.history(id, |detail| detail.delivery.state == DeliveryState::Delivered).await;
    let told: Vec<_> = detail.attempts.iter().map(|one| (one.number, &*one.outcome, one.status)).collect();
    assert_eq!(told, [(1, "deferred", Some(500)), (2, "deferred", Some(503)), (3, "delivered", Some(200))]);
    assert_eq!((detail.delivery.attempts, detail.delivery.next_due_at), (3, None));
    let requests = rig.receiver.requests();
    for (number, pair) in (2..).zip(requests.windows(2)) {
        let [before, after] = pair else { panic!("a pair") };
        assert!(after.at - before.at >= Duration::from_millis(150), "half the step at least");
        assert_eq!(after.header("webhook-id"), before.header("webhook-id"));
        assert_eq!(after.header("bellbuoy-attempt"), Some(&*number.to_string()));
        assert_eq!(after.body, before.body);
    }
    assert_eq!(rig.counted(Counter::DeliveryAttempts, &["webhook", "deferred", "http_5xx"]), 2);
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(rig.depth(&queues::deliver("webhook")), 0);
}

#[tokio::test]
async fn while_it_waits_history_says_until_when() {
    let mut rig = Rig::start().await;
    rig.policy = retries(&[Duration::from_hours(1)]);
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, answers(&[500]));
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let id = rig.queue("1", to).await;
    let row = rig.row(id, |row| row.state == DeliveryState::Waiting).await;
    let due = row.next_due_at.expect("it is due again").duration_since(Timestamp::now());
    assert!(due > SignedDuration::from_mins(29) && due <= SignedDuration::from_mins(60), "{due}");
    assert_eq!((row.attempts, row.cause.map(|cause| cause.code)), (1, Some(CauseCode::Http5xx)));
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_schedule_that_ran_out_ends_in_a_dead_letter_with_its_reason() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, answers(&[500]));
    let workers = [rig.deliver(WEBHOOK), rig.record(), rig.archive()];
    let id = rig.queue("1", to).await;
    let row = rig.row(id, |row| row.state == DeliveryState::Dead).await;
    assert_eq!((row.attempts, row.status), (2, Some(500)));
    let letter = rig.dead_letters(1).await.remove(0);
    assert_eq!((&*letter.reason, letter.delivery, letter.attempts), ("attempts_exhausted", Some(id), 2));
    assert_eq!((letter.notification, letter.method.as_deref()), (Some(to), Some("webhook")));
    assert!(letter.detail.contains("500"), "{}", letter.detail);
    let labels = [queues::deliver("webhook").as_str().to_owned(), "attempts_exhausted".to_owned()];
    assert_eq!(rig.counted(Counter::DeadLetters, &labels.each_ref().map(String::as_str)), 1);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_notifications_own_schedule_is_the_one_that_counts() {
    let mut rig = Rig::start().await;
    rig.policy = retries(&[Duration::from_hours(1)]);
    let to = rig.notify(1, |own| own.retry = Some(retries(&[Duration::from_millis(1); 3]))).await;
    rig.receiver.script(HOOK, answers(&[500]));
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let id = rig.queue("1", to).await;
    let row = rig.row(id, |row| row.state == DeliveryState::Dead).await;
    assert_eq!(row.attempts, 4);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_delivery_sent_again_has_a_schedule_of_its_own_and_numbers_go_on() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, answers(&[500]));
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let message = DeliveryMessage { attempt: 7, spent: 6, ..delivery("1", to) };
    rig.publish(queues::deliver("webhook"), message.to_json()).await;
    let detail = rig.history(message.delivery, |found| found.delivery.state == DeliveryState::Dead).await;
    assert_eq!(detail.attempts.iter().map(|one| one.number).collect::<Vec<_>>(), [7, 8]);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn an_answer_of_410_is_final_and_disables_the_notification() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, answers(&[410]));
    let workers = [rig.deliver(WEBHOOK), rig.record(), rig.archive()];
    let ids = [rig.queue("1", to).await, rig.queue("2", to).await];
    for id in ids {
        rig.row(id, |row| row.state == DeliveryState::Dead).await;
    }
    eventually(PATIENCE, async || {
        (rig.notification(to).await.state == NotificationState::Disabled).then_some(())
    })
    .await;
    let found = rig.notification(to).await;
    assert_eq!(found.state_reason.as_deref(), Some("its receiver answered 410 Gone"));
    rig.emptied(queues::outcomes()).await;
    assert_eq!(rig.counted(Counter::NotificationsDisabled, &["webhook", "gone"]), 1, "counted once");
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn an_edited_address_serves_a_retry_that_waits() {
    let mut rig = Rig::start().await;
    rig.policy = retries(&[Duration::from_millis(600)]);
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, answers(&[500]));
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let id = rig.queue("1", to).await;
    rig.row(id, |row| row.state == DeliveryState::Waiting).await;
    let mut edited = rig.notification(to).await;
    edited.config.insert("url".into(), rig.receiver.url("/new").into());
    rig.store.update_notification(&edited).await.expect("updated");
    rig.row(id, |row| row.state == DeliveryState::Delivered).await;
    let paths: Vec<_> = rig.receiver.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, [HOOK, "/new"]);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_delivery_of_a_deleted_notification_is_cancelled_and_says_so() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.store.delete_notification(to).await.expect("deleted");
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let id = rig.queue("1", to).await;
    let detail = rig.history(id, |found| found.delivery.state == DeliveryState::Cancelled).await;
    assert_eq!((detail.delivery.attempts, detail.attempts.len()), (0, 0));
    assert!(detail.delivery.cause.is_some_and(|cause| cause.detail.contains("deleted")));
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(rig.receiver.requests().len(), 0);
    assert_eq!((rig.depth(&queues::deliver("webhook")), rig.depth(&queues::dead())), (0, 0));
}

#[tokio::test]
async fn a_delivery_whose_notification_was_disabled_meanwhile_becomes_a_dead_letter() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.store.disable_notification(to, "it kept failing", Timestamp::UNIX_EPOCH).await.expect("disabled");
    let workers = [rig.deliver(WEBHOOK), rig.record(), rig.archive()];
    let id = rig.queue("1", to).await;
    let row = rig.row(id, |row| row.state == DeliveryState::Dead).await;
    assert_eq!((row.attempts, row.cause.as_ref().map(|cause| cause.code)), (0, Some(CauseCode::Disabled)));
    let letter = rig.dead_letters(1).await.remove(0);
    assert_eq!((&*letter.reason, letter.attempts), ("notification_disabled", 0));
    assert!(letter.detail.contains("it kept failing"), "{}", letter.detail);
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(rig.receiver.requests().len(), 0);
}

#[tokio::test]
async fn a_delivery_of_a_paused_notification_is_held_without_spending_an_attempt() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |paused| paused.state = NotificationState::Paused).await;
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let id = rig.queue("1", to).await;
    let detail = rig.history(id, |found| found.delivery.state == DeliveryState::Waiting).await;
    assert_eq!((detail.delivery.attempts, detail.attempts.len()), (0, 0));
    assert_eq!(detail.delivery.cause.map(|cause| cause.code), Some(CauseCode::Paused));
    let due = detail.delivery.next_due_at.expect("it is looked at again").duration_since(Timestamp::now());
    assert!(due > SignedDuration::from_secs(50) && due <= SignedDuration::from_secs(60), "{due}");
    assert_eq!(rig.counted(Counter::DeliveryHolds, &["webhook", "paused"]), 1);
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!((rig.receiver.requests().len(), rig.depth(&queues::deliver("webhook"))), (0, 1));
}

#[tokio::test]
async fn what_is_held_for_long_is_looked_at_less_often_but_within_five_minutes() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |paused| paused.state = NotificationState::Paused).await;
    let mut message = delivery("1", to);
    message.accepted_at = Timestamp::now() - SignedDuration::from_hours(100);
    rig.publish(queues::deliver("webhook"), message.to_json()).await;
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let row = rig.row(message.delivery, |row| row.state == DeliveryState::Waiting).await;
    let due = row.next_due_at.expect("it is looked at again").duration_since(Timestamp::now());
    assert!(due > SignedDuration::from_secs(290) && due <= SignedDuration::from_secs(300), "{due}");
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_notification_that_is_not_understood_here_holds_its_deliveries() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |newer| newer.format = "yaml".into()).await;
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let id = rig.queue("1", to).await;
    let row = rig.row(id, |row| row.state == DeliveryState::Waiting).await;
    assert_eq!(row.attempts, 0);
    let cause = row.cause.expect("a cause");
    assert!(cause.code == CauseCode::Internal && cause.detail.contains("yaml"), "{cause}");
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
}

#[tokio::test]
async fn a_fault_of_our_own_holds_and_spends_nothing() {
    let rig = Rig::start().await;
    let in_app = |notification: &mut bellbuoy_domain::Notification| {
        notification.method = "quay_notification".into();
        let Value::Object(config) = json!({ "target": { "kind": "user", "name": "ada" } }) else { return };
        notification.config = config;
    };
    let ada = Account {
        name: AccountName::parse("ada").expect("a name"),
        id: uuid::Uuid::new_v4(),
        kind: AccountKind::User,
        email: None,
        email_verified: false,
        superuser: false,
        enabled: true,
        created_at: Timestamp::UNIX_EPOCH,
    };
    rig.store.put_account(&ada).await.expect("put");
    let to = rig.notify(1, in_app).await;
    let message = delivery("1", to);
    rig.publish(queues::deliver("quay_notification"), message.to_json()).await;
    let outage = rig.break_store().await; // Reading goes on, writing doesn't.
    let deliver = rig.deliver(MethodName::QuayNotification);
    let claim = rig.take(queues::outcomes()).await;
    let told = Record::from_json(claim.body()).expect("a record").attempt.expect("an attempt");
    assert_eq!((&*told.outcome, told.state, told.attempt), ("held", DeliveryState::Waiting, 1));
    assert_eq!(told.cause.map(|cause| cause.code), Some(CauseCode::Internal));
    assert_eq!(rig.counted(Counter::DeliveryHolds, &["quay_notification", "internal"]), 1);
    assert_eq!(rig.counted(Counter::DeliveryAttempts, &["quay_notification", "deferred", "internal"]), 0);
    outage.end();
    rig.emptied(queues::deliver("quay_notification")).await;
    deliver.stop().await;
    let inbox = rig.store.inbox("user", "ada", None, 10).await;
    assert_eq!(inbox.expect("read").rows.len(), 1);
}

#[tokio::test]
async fn a_store_that_can_not_be_read_is_waited_for_with_the_delivery_in_hand() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.queue("1", to).await;
    rig.store.close().await;
    let deliver = rig.deliver(WEBHOOK);
    let tried = async || (rig.counted(Counter::WorkerWaits, &["deliver_webhook"]) > 5).then_some(());
    eventually(PATIENCE, tried).await;
    assert!(deliver.vital.check().is_err());
    assert_eq!((rig.receiver.requests().len(), rig.depth(&queues::outcomes())), (0, 0), "no churn");
    rig.broker.stop_counting_returns(); // As the program does when it stops.
    let began = Instant::now();
    deliver.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "it does not use up the drain");
    assert_eq!(rig.take(queues::deliver("webhook")).await.returns(), 0);
}

#[tokio::test]
async fn what_is_no_delivery_becomes_a_dead_letter_with_its_bytes() {
    let rig = Rig::start().await;
    let workers = [rig.deliver(WEBHOOK), rig.archive()];
    rig.publish(queues::deliver("webhook"), &b"{\"v\":1}"[..]).await;
    let row = rig.dead_letters(1).await.remove(0);
    assert_eq!((&*row.reason, row.delivery), ("undecodable", None));
    let letter = rig.store.dead_letter(row.id).await.expect("read").expect("kept");
    assert_eq!(letter.body, b"{\"v\":1}");
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_delivery_of_a_newer_version_is_put_aside_for_a_worker_that_reads_it() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let newer = DeliveryMessage { v: WIRE_VERSION + 1, ..delivery("1", to) };
    rig.publish(queues::deliver("webhook"), newer.to_json()).await;
    let deliver = rig.deliver(WEBHOOK);
    let labels = [queues::deliver("webhook").as_str().to_owned(), "newer_version".to_owned()];
    let aside = async || {
        let labels = labels.each_ref().map(String::as_str);
        (rig.counted(Counter::MessagesPutAside, &labels) == 1).then_some(())
    };
    eventually(PATIENCE, aside).await;
    deliver.stop().await;
    let depths = rig.broker.depths();
    let queue = depths.iter().find(|depth| depth.queue == queues::deliver("webhook")).expect("it is there");
    assert_eq!((queue.ready, queue.delayed), (0, 1));
    assert_eq!(rig.depth(&queues::dead()), 0);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_hold_what_the_broker_gives() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    let mut message = delivery("1", to);
    message.due_at = Timestamp::now() + SignedDuration::from_hours(24 * 60);
    message.accepted_at = message.due_at;
    rig.publish(queues::deliver("webhook"), message.to_json()).await;
    let deliver = rig.deliver(WEBHOOK);
    rig.receiver.wait_for(1, |_| true).await.expect("it is delivered");
    deliver.stop().await;
}

#[tokio::test]
async fn a_stopped_worker_ends_what_is_in_flight_and_leaves_what_is_queued() {
    let mut rig = Rig::start().await;
    rig.limits = DeliverLimits { in_flight: NonZeroUsize::MIN, drain: PATIENCE };
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, [Answer::OnRelease(Reply::new(200))]);
    for event in ["1", "2", "3"] {
        rig.queue(event, to).await;
    }
    let deliver = rig.deliver(WEBHOOK);
    rig.receiver.wait_for(1, |_| true).await.expect("the first is under way");
    deliver.tell_to_stop();
    rig.receiver.release();
    deliver.stop().await;
    assert_eq!(rig.receiver.requests().len(), 1);
    assert_eq!((rig.depth(&queues::deliver("webhook")), rig.depth(&queues::outcomes())), (2, 1));
}

#[tokio::test]
async fn an_attempt_that_outlasts_the_drain_is_cut_off_and_made_again() {
    let mut rig = Rig::start().await;
    rig.limits = DeliverLimits { drain: Duration::from_millis(10), ..rig.limits };
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, [Answer::Never, Answer::status(200)]);
    let id = rig.queue("1", to).await;
    let deliver = rig.deliver(WEBHOOK);
    rig.receiver.wait_for(1, |_| true).await.expect("it is under way");
    deliver.stop().await;
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    let row = rig.row(id, |row| row.state == DeliveryState::Delivered).await;
    assert_eq!(row.attempts, 1, "the one that was cut off is made again under its number");
    assert_eq!(rig.receiver.requests().len(), 2);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_sent_while_the_broker_would_not_take_the_outcome() {
    let rig = Rig::start().await;
    let to = rig.notify(1, |_| {}).await;
    rig.queue("1", to).await;
    rig.broker.close().await;
    let deliver = rig.deliver(WEBHOOK);
    eventually(PATIENCE, async || {
        (rig.counted(Counter::WorkerRestarts, &["deliver_webhook"]) > 1).then_some(())
    })
    .await;
    deliver.stop().await;
    assert_eq!(rig.receiver.requests().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_hangs_takes_no_place_of_the_others_and_its_holds_cost_no_attempt() {
    let mut rig = Rig::start().await;
    rig.limits = DeliverLimits { in_flight: NonZeroUsize::new(8).expect("not zero"), ..rig.limits };
    let limits =
        GateLimits { per_notification: NonZeroUsize::new(3).expect("not zero"), ..GateLimits::default() };
    rig.gate = Arc::new(Gate::new(limits));
    let url = rig.receiver.url("/hangs");
    let hangs = rig.notify(1, |own| drop(own.config.insert("url".into(), url.into()))).await;
    let answers = rig.notify(2, |_| {}).await;
    rig.receiver.script("/hangs", [Answer::Never]);
    let mut held = Vec::new();
    for number in 0..40 {
        held.push(rig.queue(&format!("hangs {number}"), hangs).await);
    }
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    eventually(PATIENCE, async || {
        (rig.counted(Counter::DeliveryHolds, &["webhook", "receiver_busy"]) > 30).then_some(())
    })
    .await;
    for number in 0..40 {
        let id = rig.queue(&format!("answers {number}"), answers).await;
        rig.row(id, |row| row.state == DeliveryState::Delivered).await;
    }
    let requests = rig.receiver.requests();
    assert_eq!(requests.iter().filter(|request| request.path == "/hangs").count(), 3, "the cap, and no more");
    let mut waiting = 0;
    for id in held {
        let detail = rig.store.delivery(id).await.expect("read");
        let Some(row) = detail.map(|detail| detail.delivery) else { continue };
        waiting += u32::from(row.state == DeliveryState::Waiting && row.next_due_at.is_some());
        assert_eq!(row.attempts, 0, "{row:?}");
    }
    assert!(waiting > 20, "{waiting} say that they wait, and until when");
    for worker in workers {
        worker.tell_to_stop();
    }
}

#[tokio::test]
async fn what_was_held_for_longer_than_its_schedule_is_given_up_and_can_be_sent_again() {
    let mut rig = Rig::start().await;
    rig.policy = retries(&[Duration::from_hours(1)]);
    let to = rig.notify(1, |_| {}).await;
    rig.receiver.script(HOOK, answers(&[503]));
    let workers = [rig.deliver(WEBHOOK), rig.record(), rig.archive()];
    for number in 0..GateLimits::default().circuit_failures.get() {
        rig.queue(&number.to_string(), to).await;
    }
    eventually(PATIENCE, async || (rig.gate.open_circuits() == 1).then_some(())).await;
    let long_ago = Timestamp::now() - SignedDuration::from_hours(25);
    let old = DeliveryMessage { held_since: Some(long_ago), ..delivery("old", to) };
    // However long it was paused or stood in its queue before.
    let (paused, sent_again) = (delivery("paused", to), delivery("sent again", to));
    let paused = DeliveryMessage { accepted_at: long_ago, ..paused };
    let sent_again = DeliveryMessage { accepted_at: long_ago, attempt: 4, spent: 3, ..sent_again };
    for message in [&old, &paused, &sent_again] {
        rig.publish(queues::deliver("webhook"), message.to_json()).await;
    }
    let letter = rig.dead_letters(1).await.remove(0);
    assert_eq!((&*letter.reason, letter.delivery, letter.attempts), ("expired", Some(old.delivery), 0));
    assert!(letter.detail.contains("held for 25 h"), "{}", letter.detail);
    for held in [paused.delivery, sent_again.delivery] {
        rig.row(held, |row| row.state == DeliveryState::Waiting).await;
    }
    let row = rig.row(old.delivery, |row| row.state == DeliveryState::Dead).await;
    assert_eq!((row.attempts, row.cause.map(|cause| cause.code)), (0, Some(CauseCode::CircuitOpen)));
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_storm_of_retries_that_hang_leaves_places_to_first_attempts() {
    let mut rig = Rig::start().await;
    let in_flight = NonZeroUsize::new(8).expect("not zero");
    rig.limits = DeliverLimits { in_flight, ..rig.limits };
    let limits = GateLimits { retries: GateLimits::retries_of(in_flight), ..GateLimits::default() };
    rig.gate = Arc::new(Gate::new(limits));
    let url = rig.receiver.url("/hangs");
    let hangs = rig.notify(1, |own| drop(own.config.insert("url".into(), url.into()))).await;
    let answers = rig.notify(2, |_| {}).await;
    rig.receiver.script("/hangs", [Answer::Never]);
    for number in 0..40 {
        let retry = DeliveryMessage { attempt: 2, ..delivery(&format!("retry {number}"), hangs) };
        rig.publish(queues::deliver("webhook"), retry.to_json()).await;
    }
    let workers = [rig.deliver(WEBHOOK), rig.record()];
    eventually(PATIENCE, async || {
        (rig.counted(Counter::DeliveryHolds, &["webhook", "retries_busy"]) > 30).then_some(())
    })
    .await;
    for number in 0..40 {
        let id = rig.queue(&format!("first {number}"), answers).await;
        rig.row(id, |row| row.state == DeliveryState::Delivered).await;
    }
    let requests = rig.receiver.requests();
    assert_eq!(requests.iter().filter(|request| request.path == "/hangs").count(), 6, "three quarters");
    for worker in workers {
        worker.tell_to_stop();
    }
}
