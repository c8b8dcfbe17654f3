//! Which events become which deliveries, and that none is lost on the way.

mod common;

use std::num::NonZeroUsize;

use bellbuoy_broker::{Outgoing, queues};
use bellbuoy_domain::{
    DeliveryMessage, Event, Grain, Kind, MAX_TAGS, Notification, NotificationState, Record, RepositoryName,
    Scope,
};
use bellbuoy_store::{Repository, SeenEvent};
use bellbuoy_telemetry::Counter;
use bellbuoy_testkit::wait::eventually;
use common::{PATIENCE, Rig, id_of, push_event};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

#[tokio::test]
async fn an_event_that_comes_again_is_dropped_whether_at_once_or_later() {
    let rig = Rig::start().await;
    rig.notify(1, |_| {}).await;
    rig.push("1").await;
    rig.push("1").await;
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    rig.push("1").await;
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
    assert_eq!(rig.depth(&queues::outcomes()), 1);
    assert_eq!(rig.counted(Counter::EventsRepeated, &["repo_push"]), 2);
    assert_eq!(rig.counted(Counter::EventsFannedOut, &["repo_push"]), 1);
}

#[tokio::test]
async fn a_copy_under_the_id_of_the_first_message_is_dropped_whether_at_once_or_later() {
    let rig = Rig::start().await;
    rig.notify(1, |_| {}).await;
    // As a producer on RabbitMQ publishes again what was not confirmed. Nothing is recorded meanwhile.
    let message = Outgoing::new(queues::events(), push_event("1").to_string());
    rig.broker.publish(vec![message.clone(), message.clone()]).await.expect("published");
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    rig.broker.publish(vec![message]).await.expect("published");
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
    assert_eq!(rig.depth(&queues::outcomes()), 1);
    assert_eq!(rig.counted(Counter::EventsRepeated, &["repo_push"]), 2);
}

#[tokio::test]
async fn what_is_told_of_a_batch_goes_in_one_message() {
    let rig = Rig::start().await;
    rig.notify(1, |_| {}).await;
    let events = ["1", "2"].map(|id| Outgoing::new(queues::events(), push_event(id).to_string()));
    rig.broker.publish(events.into()).await.expect("published");
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    assert_eq!(rig.depth(&queues::outcomes()), 1);
    let told = Record::all_from_json(rig.take(queues::outcomes()).await.body()).expect("records");
    let events = told.into_iter().map(|record| record.fanned_out.expect("a fan-out").event);
    assert_eq!(events.collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test]
async fn of_two_workers_with_the_same_event_one_fans_it_out() {
    let rig = Rig::start().await;
    rig.notify(1, |_| {}).await;
    let workers = [rig.fanout(), rig.fanout()];
    for _ in 0..20 {
        rig.push("1").await;
    }
    rig.emptied(queues::events()).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
}

#[tokio::test]
async fn only_who_listens_and_whose_filter_allows_gets_a_delivery() {
    let rig = Rig::start().await;
    let build_of = |branch: &str, notification: &mut Notification| {
        notification.kinds = vec![Kind::BuildStart];
        notification.event_config.insert("ref-regex".into(), format!("refs/heads/{branch}").into());
    };
    let wanted = rig.notify(1, |main| build_of("main", main)).await;
    rig.notify(2, |other| build_of("other", other)).await;
    rig.notify(3, |pushes| pushes.kinds = vec![Kind::RepoPush]).await;
    rig.notify(4, |elsewhere| {
        elsewhere.kinds = vec![Kind::BuildStart];
        elsewhere.scope = Scope::Namespace("globex".into());
    })
    .await;
    let mut built = push_event("built");
    built["type"] = "build_start".into();
    built["data"] = json!({ "build_id": "1", "trigger_metadata": { "ref": "refs/heads/main" } });
    rig.publish(queues::events(), built.to_string()).await;
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    let record = Record::from_json(rig.take(queues::outcomes()).await.body()).expect("a record");
    let planned = record.fanned_out.expect("a fan-out").deliveries;
    assert_eq!(planned.iter().map(|one| one.notification).collect::<Vec<_>>(), [wanted]);
    assert_eq!(planned[0].delivery, id_of("built", wanted));
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
}

#[tokio::test]
async fn in_dtrs_format_a_push_by_tag_is_a_manifests_push_too_and_heard_once_by_one_notification() {
    let rig = Rig::start().await;
    let listen = |format: &'static str, kinds: &'static [Kind]| {
        move |wish: &mut Notification| {
            wish.format = format.into();
            wish.kinds = kinds.to_vec();
        }
    };
    let tags = rig.notify(1, listen("dtr", &[Kind::RepoPush])).await;
    let manifests = rig.notify(2, listen("dtr", &[Kind::ManifestPush])).await;
    let both = rig.notify(3, listen("dtr", &[Kind::ManifestPush, Kind::RepoPush])).await;
    let quay = rig.notify(4, listen("quay", &[Kind::ManifestPush])).await;
    let mut by_tag = push_event("tag");
    by_tag["data"]["digest"] = json!("sha256:6f");
    let mut by_digest = push_event("digest");
    by_digest["type"] = "manifest_push".into();
    by_digest["data"] = json!({"digest": "sha256:6f"});
    let fanout = rig.fanout();
    for (event, expected) in [
        (by_tag, &[tags, manifests, both][..]),
        (by_digest, &[manifests, both, quay]),
        // Of which no manifest is known.
        (push_event("bare"), &[tags, both]),
    ] {
        let id = event["id"].as_str().expect("an id").to_owned();
        rig.publish(queues::events(), event.to_string()).await;
        rig.emptied(queues::events()).await;
        let claim = rig.take(queues::outcomes()).await;
        let record = Record::from_json(claim.body()).expect("a record");
        rig.broker.settle(vec![claim], Vec::new()).await.expect("settled");
        let planned = record.fanned_out.expect("a fan-out").deliveries;
        let mut found: Vec<_> = planned.iter().map(|one| (one.notification, one.delivery)).collect();
        found.sort_unstable();
        let expected: Vec<_> = expected.iter().map(|wish| (*wish, id_of(&id, *wish))).collect();
        assert_eq!(found, expected, "{id}");
    }
    fanout.stop().await;
}

#[tokio::test]
async fn a_disabled_notification_gets_nothing_new_and_a_paused_one_does() {
    let rig = Rig::start().await;
    rig.notify(1, |off| off.state = NotificationState::Disabled).await;
    let fanout = rig.fanout();
    rig.push("1").await;
    rig.emptied(queues::events()).await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 0);
    rig.notify(2, |paused| paused.state = NotificationState::Paused).await;
    rig.push("2").await;
    rig.emptied(queues::events()).await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
    fanout.stop().await;
}

#[tokio::test]
async fn what_is_no_event_becomes_a_dead_letter_with_its_bytes_and_the_rest_goes_on() {
    let rig = Rig::start().await;
    rig.notify(1, |_| {}).await;
    rig.publish(queues::events(), &b"\xff{nonsense"[..]).await;
    rig.push("1").await;
    let workers = [rig.fanout(), rig.archive()];
    let row = rig.dead_letters(1).await.remove(0);
    assert_eq!((&*row.reason, &*row.origin), ("undecodable", queues::events().as_str()));
    let letter = rig.store.dead_letter(row.id).await.expect("read").expect("kept");
    assert_eq!(letter.body, b"\xff{nonsense");
    assert_eq!(rig.counted(Counter::DeadLetters, &[queues::events().as_str(), "undecodable"]), 1);
    rig.emptied(queues::events()).await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn an_event_whose_worker_died_after_admitting_it_is_fanned_out_by_the_next() {
    let rig = Rig::start().await;
    rig.notify(1, |_| {}).await;
    rig.push("1").await;
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
    rig.store.admit_events(&[seen], PATIENCE).await.expect("admitted");
    drop(claim);
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
    assert_eq!(rig.counted(Counter::EventsRepeated, &["repo_push"]), 0);
}

#[tokio::test]
async fn a_repository_is_entered_in_the_directory_when_it_is_first_heard_of_and_stays_as_it_is() {
    let rig = Rig::start().await;
    let api = RepositoryName::parse("acme/api").expect("a name");
    let found = async || rig.store.repository(&api).await.expect("read");
    assert_eq!(found().await, None);
    let fanout = rig.fanout();
    rig.push("1").await;
    rig.emptied(queues::events()).await;
    let first = found().await.expect("entered, though nobody listens");
    assert!(!first.public, "until somebody says otherwise");
    let public = Repository { public: true, ..first };
    rig.store.put_repository(&public).await.expect("put");
    rig.push("2").await;
    rig.emptied(queues::events()).await;
    assert_eq!(found().await, Some(public));
    assert!(rig.store.delete_repository(&api).await.expect("deleted"));
    rig.push("3").await;
    rig.emptied(queues::events()).await;
    assert!(found().await.is_some_and(|again| !again.public), "one that was deleted is a new one");
    fanout.stop().await;
}

#[tokio::test]
async fn a_worker_outlasts_an_outage_of_the_store_with_its_events_in_hand() {
    let rig = Rig::start().await;
    rig.notify(1, |_| {}).await;
    let outage = rig.break_store().await;
    let fanout = rig.fanout();
    for event in 0..20 {
        rig.push(&event.to_string()).await;
    }
    let why = eventually(PATIENCE, async || fanout.vital.check().err()).await;
    assert!(why.contains("the store is unavailable"), "{why}");
    outage.end();
    rig.emptied(queues::events()).await;
    assert_eq!(fanout.vital.check(), Ok(()));
    fanout.stop().await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 20);
    assert_eq!(rig.counted(Counter::WorkerRestarts, &["fanout"]), 0);
}

#[tokio::test]
async fn an_outage_costs_no_event_a_return_however_often_it_is_tried() {
    let rig = Rig::start().await;
    rig.push("1").await;
    rig.store.close().await;
    let fanout = rig.fanout();
    // More often than the broker lets a message be returned.
    let tried = async || (rig.counted(Counter::WorkerWaits, &["fanout"]) > 5).then_some(());
    eventually(PATIENCE, tried).await;
    assert_eq!(rig.counted(Counter::WorkerRestarts, &["fanout"]), 0);
    rig.broker.stop_counting_returns(); // As the program does when it stops.
    fanout.stop().await;
    let claim = rig.take(queues::events()).await;
    assert_eq!((&**claim.body(), claim.returns()), (push_event("1").to_string().as_bytes(), 0));
}

#[tokio::test]
async fn a_wide_fan_out_leaves_in_pieces_and_is_recorded_whole() {
    const WIDE: u128 = 2_500;
    let rig = Rig::start().await;
    for number in 0..WIDE {
        // More than one place may have.
        let scope = match number % 3 {
            0 => Some(Scope::Registry),
            1 => Some(Scope::Namespace("acme".into())),
            _ => None,
        };
        rig.notify(number, |one| one.scope = scope.unwrap_or_else(|| one.scope.clone())).await;
    }
    let mut event = push_event("wide");
    event["data"]["padding"] = "x".repeat(5_000).into();
    rig.publish(queues::events(), event.to_string()).await;
    let workers = [rig.fanout(), rig.record()];
    rig.emptied(queues::events()).await;
    rig.emptied(queues::outcomes()).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(u128::from(rig.depth(&queues::deliver("webhook"))), WIDE);
    let counts = rig.store.delivery_counts().await.expect("counted");
    assert_eq!(counts.iter().map(|row| u128::from(row.count)).sum::<u128>(), WIDE);
    let stored = rig.store.event(None, "wide").await.expect("read");
    assert!(stored[0].fanned_out);
    assert_eq!(u128::from(rig.counted(Counter::DeliveriesQueued, &["webhook"])), WIDE);
}

#[tokio::test]
async fn an_event_without_a_listener_is_recorded_as_done() {
    let rig = Rig::start().await;
    rig.push("1").await;
    let workers = [rig.fanout(), rig.record()];
    let done = async || {
        let stored = rig.store.event(None, "1").await.expect("read");
        stored.first().is_some_and(|event| event.fanned_out).then_some(())
    };
    eventually(PATIENCE, done).await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_time_of_acceptance_in_the_future_counts_as_now() {
    let rig = Rig::start().await;
    let future = Timestamp::now() + SignedDuration::from_hours(24 * 365);
    let mut message = Outgoing::new(queues::events(), push_event("1").to_string());
    message.headers.set("bellbuoy-accepted-ms", future.as_millisecond().to_string());
    rig.broker.publish(vec![message]).await.expect("published");
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    let stored = rig.store.event(None, "1").await.expect("read");
    assert!(stored[0].accepted_at <= Timestamp::now());
}

#[tokio::test]
async fn a_notification_of_a_method_unknown_here_waits_for_a_worker_that_knows_it() {
    let rig = Rig::start().await;
    rig.notify(1, |new| new.method = "carrier_pigeon".into()).await;
    rig.push("1").await;
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    assert_eq!(rig.depth(&queues::deliver("carrier_pigeon")), 1);
    assert_eq!(rig.counted(Counter::DeliveriesQueued, &["unknown"]), 1, "no label of its own");
    let mut consumer = rig.broker.consume(&queues::deliver("carrier_pigeon"), NonZeroUsize::MIN);
    assert!(consumer.try_next().is_some());
}

#[tokio::test]
async fn a_push_of_several_tags_is_a_delivery_for_each_where_requests_name_one() {
    let rig = Rig::start().await;
    let whole = rig.notify(1, |_| {}).await;
    let hub = rig.notify(2, |hub| hub.format = "dockerhub".into()).await;
    let mut pushed = push_event("1");
    pushed["data"]["updated_tags"] = json!(["v1", "latest"]);
    let event = Event::from_value(pushed.clone(), Timestamp::now()).expect("an event");
    rig.publish(queues::events(), pushed.to_string()).await;
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    // The same again, as after a crash, is the same deliveries.
    rig.publish(queues::events(), pushed.to_string()).await;
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    let record = Record::from_json(rig.take(queues::outcomes()).await.body()).expect("a record");
    let planned = record.fanned_out.expect("a fan-out").deliveries;
    let of = |wish| planned.iter().filter(move |one| one.notification == wish).map(|one| one.delivery);
    assert_eq!(of(whole).collect::<Vec<_>>(), [id_of("1", whole)]);
    let by_tag: Vec<_> = of(hub).collect();
    assert_eq!(by_tag, event.deliveries(hub, Grain::Tag));
    let tags: Vec<_> = by_tag.iter().map(|id| event.part(*id, hub).data["updated_tags"].clone()).collect();
    assert_eq!(tags, [json!(["v1"]), json!(["latest"])]);
    assert_eq!(rig.depth(&queues::deliver("webhook")), 3);
}

#[tokio::test]
async fn of_a_push_of_several_tags_the_filter_is_asked_about_each_where_requests_name_one() {
    let rig = Rig::start().await;
    let filter = json!({"tags": ["v*"]}).as_object().expect("an object").clone();
    let whole = rig.notify(1, |whole| whole.event_config = filter.clone()).await;
    let hub = rig
        .notify(2, |hub| {
            hub.format = "dockerhub".into();
            hub.event_config = filter.clone();
        })
        .await;
    let mut pushed = push_event("1");
    pushed["data"]["updated_tags"] = json!(["latest", "v1"]);
    let event = Event::from_value(pushed.clone(), Timestamp::now()).expect("an event");
    rig.publish(queues::events(), pushed.to_string()).await;
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    let record = Record::from_json(rig.take(queues::outcomes()).await.body()).expect("a record");
    let planned = record.fanned_out.expect("a fan-out").deliveries;
    let planned: Vec<_> = planned.iter().map(|one| (one.notification, one.delivery)).collect();
    assert_eq!(planned, [(whole, id_of("1", whole)), (hub, event.deliveries(hub, Grain::Tag)[1])]);
    assert_eq!(rig.depth(&queues::deliver("webhook")), 2);
}

#[tokio::test]
async fn the_message_of_each_of_many_tags_carries_its_own_tag_alone_and_none_is_left_out() {
    let rig = Rig::start().await;
    let hub = rig.notify(1, |hub| hub.format = "dockerhub".into()).await;
    let tags: Vec<String> = (0..MAX_TAGS).map(|number| format!("v{number}")).collect();
    let mut pushed = push_event("1");
    pushed["data"]["updated_tags"] = json!(tags);
    rig.publish(queues::events(), pushed.to_string()).await;
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    let mut consumer =
        rig.broker.consume(&queues::deliver("webhook"), NonZeroUsize::new(MAX_TAGS).expect("some"));
    let (mut carried, mut claims) = (Vec::new(), Vec::new());
    while let Some(claim) = consumer.try_next() {
        let message = DeliveryMessage::from_json(claim.body()).expect("a delivery");
        assert!(claim.body().len() < 1000, "{}", claim.body().len());
        let event = Event::from_json(message.event.get().as_bytes(), message.accepted_at).expect("an event");
        assert_eq!(event.id, "1", "its history is the event's");
        let part = event.part(message.delivery, hub);
        carried.push(part.data["updated_tags"][0].as_str().expect("a tag").to_owned());
        claims.push(claim);
    }
    assert_eq!(carried, tags);
}
