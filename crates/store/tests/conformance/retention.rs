use bellbuoy_domain::{AttemptRecord, DeliveryState, Kind, Record};
use bellbuoy_store::{AwaitedCallback, DeadLetter, DeadLetterQuery, DeliveryQuery, InboxRow, Pruned, Store};
use serde_json::Map;
use uuid::Uuid;

use crate::sample::{SOURCE, at, attempt, delivery_id, fanned_out, notification_id, record, seen};

/// What is accepted before this is old.
const BEFORE: i64 = 1000;

/// When it is looked at.
const NOW: i64 = 2000;

async fn admit(store: &Store, event: &str, seconds: i64) {
    store.admit_events(&[seen(event, 1, seconds)], std::time::Duration::ZERO).await.expect("admitted");
}

async fn write(store: &Store, records: &[Record]) {
    store.record(records, 3).await.expect("recorded");
}

/// An event with one delivery, of two attempts, that came to stand in `state` soon after `seconds`.
async fn one(store: &Store, event: &str, seconds: i64, state: DeliveryState) {
    admit(store, event, seconds).await;
    let try_at = |number: u32, state| {
        record(AttemptRecord {
            accepted_at: at(seconds),
            started_at: at(seconds + i64::from(number)),
            ..attempt(event, 1, number, state)
        })
    };
    write(store, &[fanned_out(event, seconds, &[1]), try_at(1, DeliveryState::Waiting), try_at(2, state)])
        .await;
}

async fn await_callback(store: &Store, event: &str, expires_at: i64) {
    let delivery = delivery_id(event, 1);
    let awaited = AwaitedCallback {
        delivery,
        first: delivery,
        link: 0,
        notification: notification_id(1),
        source: SOURCE.into(),
        event: event.into(),
        subject: "acme/api".into(),
        expires_at: at(expires_at),
    };
    let token = delivery.as_uuid().into_bytes().repeat(2).try_into().expect("32 bytes");
    store.await_callback(&awaited, &token).await.expect("awaited");
}

/// Prunes until nothing is left to, and adds up.
async fn prune(store: &Store, chunk: u32) -> (Pruned, usize) {
    let (mut all, mut calls) = (Pruned::default(), 0);
    loop {
        let pruned = store.prune(at(BEFORE), at(NOW), chunk).await.expect("pruned");
        if pruned.is_empty() {
            return (all, calls);
        }
        for removed in [pruned.events, pruned.deliveries, pruned.dead_letters, pruned.inbox] {
            assert!(removed <= u64::from(chunk), "{pruned:?}");
        }
        all.events += pruned.events;
        all.deliveries += pruned.deliveries;
        all.attempts += pruned.attempts;
        all.dead_letters += pruned.dead_letters;
        all.inbox += pruned.inbox;
        all.callbacks += pruned.callbacks;
        calls += 1;
    }
}

/// The events whose deliveries are left, oldest first.
async fn left(store: &Store) -> Vec<String> {
    let page = store.deliveries(&DeliveryQuery::default()).await.expect("a page");
    page.rows.into_iter().rev().map(|row| row.event).collect()
}

async fn has_event(store: &Store, event: &str) -> bool {
    !store.event(None, event).await.expect("read").is_empty()
}

pub(crate) async fn what_is_old_goes_in_chunks_and_what_is_new_stays(store: Store) {
    let states = [DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Cancelled];
    for (i, state) in (0..20).zip(states.into_iter().cycle()) {
        // Times need not rise strictly.
        one(&store, &format!("old {i}"), 100 + (i * 7) % 20, state).await;
    }
    admit(&store, "unheard", 110).await;
    let letter = |number, died_at| DeadLetter {
        id: Uuid::from_u128(number),
        origin: "events".into(),
        reason: "undecodable".into(),
        detail: String::new(),
        delivery: None,
        notification: None,
        method: None,
        subject: None,
        attempts: 0,
        body: vec![],
        died_at: at(died_at),
    };
    let letters: Vec<DeadLetter> = (0..9).map(|i| letter(i, 5)).chain([letter(9, BEFORE)]).collect();
    store.archive_dead_letters(&letters).await.expect("archived");
    let item = |number, created_at| InboxRow {
        delivery: delivery_id("1", number),
        target_kind: "user".into(),
        target: "ann".into(),
        kind: Kind::RepoPush.into(),
        metadata: Map::new(),
        created_at: at(created_at),
    };
    store.add_to_inbox(&[item(1, 0), item(2, 0), item(3, BEFORE)]).await.expect("added");
    for (event, expires_at) in [("old 1", BEFORE - 1), ("new", BEFORE)] {
        await_callback(&store, event, expires_at).await;
    }
    one(&store, "new", BEFORE, DeliveryState::Delivered).await;

    let (pruned, calls) = prune(&store, 4).await;
    let expected =
        Pruned { events: 21, deliveries: 20, attempts: 34, dead_letters: 9, inbox: 2, callbacks: 1, told: 0 };
    assert_eq!(pruned, expected);
    assert!(calls >= 6, "21 events by fours");
    assert_eq!(left(&store).await, ["new"]);
    assert!(has_event(&store, "new").await);
    assert!(!has_event(&store, "old 3").await && !has_event(&store, "unheard").await);
    assert_eq!(store.dead_letters(&DeadLetterQuery::default()).await.expect("a page").rows.len(), 1);
    assert_eq!(store.inbox("user", "ann", None, 10).await.expect("a page").rows.len(), 1);
}

pub(crate) async fn unfinished_deliveries_and_their_events_stay(store: Store) {
    one(&store, "waiting", 1, DeliveryState::Waiting).await;
    admit(&store, "pending", 2).await;
    write(&store, &[fanned_out("pending", 2, &[1, 2])]).await;
    write(
        &store,
        &[record(AttemptRecord { started_at: at(3), ..attempt("pending", 2, 1, DeliveryState::Dead) })],
    )
    .await;
    one(&store, "done", 4, DeliveryState::Delivered).await;
    let (pruned, _) = prune(&store, 1).await;
    assert_eq!((pruned.deliveries, pruned.events), (2, 1));
    assert_eq!(left(&store).await, ["waiting", "pending"]);
    assert!(has_event(&store, "waiting").await && has_event(&store, "pending").await);
    assert!(!has_event(&store, "done").await);
}

pub(crate) async fn a_delivery_that_ended_lately_stays_though_it_began_long_ago(store: Store) {
    admit(&store, "slow", 1).await;
    let late = AttemptRecord { started_at: at(BEFORE), ..attempt("slow", 1, 10, DeliveryState::Delivered) };
    write(&store, &[record(late)]).await;
    let (pruned, _) = prune(&store, 10).await;
    assert_eq!(pruned, Pruned::default());
    assert!(has_event(&store, "slow").await, "it can still be sent again");
}

pub(crate) async fn attempts_go_with_their_delivery_alone(store: Store) {
    one(&store, "waiting", 1, DeliveryState::Waiting).await;
    one(&store, "done", 2, DeliveryState::Delivered).await;
    let (pruned, _) = prune(&store, 10).await;
    assert_eq!((pruned.deliveries, pruned.attempts), (1, 2));
    let kept = store.delivery(delivery_id("waiting", 1)).await.expect("read").expect("kept");
    assert_eq!(kept.attempts.len(), 2);
    one(&store, "next", 3, DeliveryState::Waiting).await;
    let next = store.delivery(delivery_id("next", 1)).await.expect("read").expect("kept");
    assert_eq!(next.attempts.len(), 2, "no attempt of another delivery is taken for its own");
}

pub(crate) async fn kept_rows_at_the_beginning_do_not_hide_what_is_behind(store: Store) {
    for i in 0..30 {
        one(&store, &format!("waiting {i}"), i, DeliveryState::Waiting).await;
    }
    for i in 0..5 {
        one(&store, &format!("done {i}"), 50 + i, DeliveryState::Delivered).await;
    }
    one(&store, "new", BEFORE, DeliveryState::Delivered).await;
    let (pruned, _) = prune(&store, 3).await;
    assert_eq!((pruned.deliveries, pruned.events), (5, 5));
    assert_eq!(left(&store).await.len(), 31);
    // What was kept goes in a later round, once it is done.
    one(&store, "waiting 0", 0, DeliveryState::Delivered).await;
    write(
        &store,
        &[record(AttemptRecord { started_at: at(60), ..attempt("waiting 7", 1, 3, DeliveryState::Dead) })],
    )
    .await;
    let (pruned, _) = prune(&store, 3).await;
    assert_eq!((pruned.deliveries, pruned.events), (2, 2));
}

pub(crate) async fn rows_of_a_time_to_come_do_not_hide_what_is_behind(store: Store) {
    one(&store, "new", BEFORE, DeliveryState::Delivered).await;
    for i in 0..10 {
        let event = format!("of a wrong clock {i}");
        one(&store, &event, NOW + 1_000 + i, DeliveryState::Delivered).await;
        await_callback(&store, &event, NOW + 2_000 + i).await;
    }
    one(&store, "old", 1, DeliveryState::Delivered).await;
    await_callback(&store, "old", 1).await;
    let (pruned, _) = prune(&store, 3).await;
    assert_eq!((pruned.deliveries, pruned.events, pruned.callbacks), (1, 1, 1));
    assert!(!has_event(&store, "old").await);
    assert_eq!(left(&store).await.len(), 11);
}
