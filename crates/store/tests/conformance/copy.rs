//! What a copy from one store into another has to do, whichever they are.

use std::{cell::Cell, time::Duration};

use bellbuoy_domain::{Callback, CallbackState, DeliveryState, Kind, Notification, NotificationState};
use bellbuoy_store::{
    Admission, AwaitedCallback, Collected, Comparison, CopiedTable, DeadLetter, DeadLetterQuery,
    DeliveryQuery, InboxRow, Store,
};
use bellbuoy_testkit::postgres::Postgres;
use serde_json::json;
use uuid::Uuid;

use crate::sample::{
    AWKWARD, SOURCE, at, attempt, delivery_id, fanned_out, map, notification, notification_id, record, seen,
};

const DAY: Duration = Duration::from_hours(24);

/// One test for each check into each engine.
macro_rules! copies {
    ($($check:ident,)*) => {
        mod into_sqlite {
            $(#[tokio::test]
            async fn $check() {
                let (one, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
                let from = crate::sqlite_store(one.path()).await;
                super::$check(from, crate::sqlite_store(other.path()).await).await;
            })*
        }

        mod into_postgres {
            $(#[tokio::test]
            async fn $check() {
                let (directory, server) = (tempfile::tempdir().expect("one"), super::Postgres::start().await);
                let from = crate::sqlite_store(directory.path()).await;
                super::$check(from, crate::postgres_store(&server).await).await;
            })*
        }
    };
}

copies! {
    every_row_arrives_as_it_is_and_a_second_copy_adds_none,
    rows_of_its_own_stay_and_what_refers_to_a_row_refers_to_the_same_row,
    a_row_that_is_different_is_told_and_stays,
    a_copy_that_is_broken_off_goes_on,
    sealed_rows_are_copied_from_key_to_key,
}

async fn sealed_rows_are_copied_from_key_to_key(from: Store, to: Store) {
    use crate::sealing::{keys, with_secrets};
    let from = from.with_secret_keys(keys(&[1]));
    from.create_notification(&with_secrets(1)).await.expect("created");
    for to_keys in [keys(&[2]), keys(&[3, 2])] {
        let to = to.clone().with_secret_keys(to_keys);
        copy_all(&from, &to).await;
        let found = compare_all(&from, &to).await;
        assert!(found.iter().all(|(_, found)| found.is_same()), "{found:?}");
        assert_eq!(to.notification(notification_id(1)).await.expect("read"), Some(with_secrets(1)));
    }
    let keyless = CopiedTable::all().find(|table| table.name() == "notifications").expect("the table");
    assert!(
        keyless.copy(&from.with_secret_keys(keys(&[2])), &to, |_| ()).await.is_err(),
        "not without its key"
    );
}

fn awkward_notification() -> Notification {
    Notification {
        title: Some(AWKWARD.into()),
        event_config: map(json!({"ref-regex": AWKWARD})),
        secret: Some("whsec_x".into()),
        state: NotificationState::Paused,
        state_reason: Some(AWKWARD.into()),
        ..notification(1)
    }
}

fn letter(number: u128, body: Vec<u8>) -> DeadLetter {
    DeadLetter {
        id: Uuid::from_u128(number),
        origin: AWKWARD.into(),
        reason: "undecodable".into(),
        detail: AWKWARD.into(),
        delivery: None,
        notification: None,
        method: None,
        subject: None,
        attempts: 0,
        body,
        died_at: at(7),
    }
}

fn told(number: u128) -> InboxRow {
    InboxRow {
        delivery: delivery_id("1", number),
        target_kind: "user".into(),
        target: "ann".into(),
        kind: Kind::RepoPush.into(),
        metadata: map(json!({ AWKWARD: [AWKWARD] })),
        created_at: at(0),
    }
}

/// Something in every table: one delivery that waits, one of an event that is not known, one that ended.
async fn fill(store: &Store) {
    crate::directory::fill_every_table(store).await;
    store.create_notification(&awkward_notification()).await.expect("created");
    store.create_notification(&notification(2)).await.expect("created");
    let events = [seen("1", 1, 0), seen(AWKWARD, 2, 1), seen("3", 3, 2)];
    store.admit_events(&events, DAY).await.expect("admitted");
    let records = [
        fanned_out("1", 0, &[1, 2]),
        record(attempt("1", 1, 1, DeliveryState::Waiting)),
        record(attempt("1", 2, 1, DeliveryState::Waiting)),
        record(attempt("1", 2, 2, DeliveryState::Dead)),
        record(attempt("unknown", 1, 1, DeliveryState::Delivered)),
    ];
    store.record(&records, 100).await.expect("recorded");
    store.archive_dead_letters(&[letter(1, vec![0, 0xff, 0]), letter(2, vec![])]).await.expect("archived");
    store.add_to_inbox(&[told(1), told(2)]).await.expect("added");
    let collected = Collected {
        delivery: delivery_id("collected", 1),
        notification: notification_id(1),
        method: "webhook".into(),
        source: AWKWARD.into(),
        subject: "acme/api".into(),
        message: Uuid::from_u128(1),
        due_at: at(60),
        body: vec![b'x'],
    };
    let told = Collected { delivery: delivery_id("told", 1), due_at: at(1), ..collected.clone() };
    let digest = store.collect(&[told]).await.expect("collected").remove(0).id;
    assert_eq!(store.take_due_digests(at(1), at(2), 1).await.expect("taken").len(), 1);
    store.forget_digest(digest, at(1)).await.expect("forgotten");
    store.collect(&[collected]).await.expect("collected");
    await_callback(store).await;
    let item = store.inbox("user", "ann", None, 1).await.expect("a page").rows.remove(0);
    assert!(store.set_dismissed("user", "ann", item.id, true).await.expect("dismissed"));
}

async fn await_callback(store: &Store) {
    let awaited = AwaitedCallback {
        delivery: delivery_id("1", 1),
        first: delivery_id("1", 1),
        link: 0,
        notification: notification_id(1),
        source: SOURCE.into(),
        event: AWKWARD.into(),
        subject: "acme/api".into(),
        expires_at: at(60),
    };
    store.await_callback(&awaited, &[1; 32]).await.expect("awaited");
    let callback = Callback {
        state: CallbackState::Success,
        description: Some(AWKWARD.into()),
        context: None,
        target_url: None,
    };
    assert!(store.call_back(awaited.delivery, &callback, at(8)).await.expect("taken"));
}

async fn copy_all(from: &Store, to: &Store) -> u64 {
    let mut added = 0;
    for table in CopiedTable::all() {
        added += table.copy(from, to, |_| ()).await.expect("copied");
    }
    added
}

async fn compare_all(from: &Store, to: &Store) -> Vec<(&'static str, Comparison)> {
    let mut found = Vec::new();
    for table in CopiedTable::all() {
        found.push((table.name(), table.compare(from, to, |_| ()).await.expect("compared")));
    }
    found
}

async fn every_row_arrives_as_it_is_and_a_second_copy_adds_none(from: Store, to: Store) {
    fill(&from).await;
    let version = to.notifications_version().await.expect("a version");
    for (name, table) in compare_all(&from, &to).await {
        assert!(table.missing == table.rows && table.rows > 0, "{name}: {table:?}");
    }
    let mut rows = 0;
    for table in CopiedTable::all() {
        rows += table.count(&from).await.expect("counted");
    }
    assert_eq!(copy_all(&from, &to).await, rows);
    for (name, table) in compare_all(&from, &to).await {
        assert!(table.is_same() && table.rows > 0, "{name}: {table:?}");
    }
    assert!(to.notifications_version().await.expect("a version") > version, "caches are told");
    assert_eq!(copy_all(&from, &to).await, 0);

    for id in [1, 2].map(notification_id) {
        assert_eq!(to.notification(id).await.expect("read"), from.notification(id).await.expect("read"));
    }
    for id in [delivery_id("1", 1), delivery_id("1", 2), delivery_id("unknown", 1)] {
        let (there, here) = (to.delivery(id).await.expect("read"), from.delivery(id).await.expect("read"));
        assert!(there.is_some() && there == here, "{there:?} {here:?}");
    }
    let query = DeadLetterQuery { limit: 10, ..DeadLetterQuery::default() };
    let letters = async |store: &Store| store.dead_letters(&query).await.expect("a page").rows;
    assert_eq!(letters(&to).await, letters(&from).await, "in the same order");
    for number in [1, 2].map(Uuid::from_u128) {
        assert_eq!(
            to.dead_letter(number).await.expect("read"),
            from.dead_letter(number).await.expect("read")
        );
    }
    let inbox = async |store: &Store| store.inbox("user", "ann", None, 10).await.expect("a page").rows;
    assert_eq!(inbox(&to).await, inbox(&from).await, "in the same order, and what was put away still is");
    let due = async |store: &Store| store.take_due_digests(at(60), at(61), 9).await.expect("taken");
    assert_eq!(due(&to).await, due(&from).await, "and what was collected is told from there");
    let again = [seen("1", 9, 3), seen(AWKWARD, 9, 3), seen("3", 3, 3)];
    let admitted = to.admit_events(&again, DAY).await.expect("judged");
    let expected = [Admission::Repeat, Admission::Repeat, Admission::New];
    assert_eq!(admitted, expected, "as if they had been seen there; the third is the same message");
}

async fn rows_of_its_own_stay_and_what_refers_to_a_row_refers_to_the_same_row(from: Store, to: Store) {
    to.create_notification(&notification(3)).await.expect("created");
    to.admit_events(&[seen("own", 8, 0)], DAY).await.expect("admitted");
    let own = [fanned_out("own", 0, &[3]), record(attempt("own", 3, 1, DeliveryState::Delivered))];
    to.record(&own, 100).await.expect("recorded");
    let before = to.delivery(delivery_id("own", 3)).await.expect("read");
    fill(&from).await;
    copy_all(&from, &to).await;

    assert_eq!(to.delivery(delivery_id("own", 3)).await.expect("read"), before);
    for id in [delivery_id("1", 1), delivery_id("1", 2)] {
        let (there, here) = (to.delivery(id).await.expect("read"), from.delivery(id).await.expect("read"));
        let (there, here) = (there.expect("a delivery"), here.expect("a delivery"));
        assert!(!there.attempts.is_empty() && there.attempts == here.attempts, "{there:?} {here:?}");
    }
    for (event, count) in [("own", 1), ("1", 2), ("unknown", 1)] {
        let query = DeliveryQuery { event: Some(event.into()), limit: 10, ..DeliveryQuery::default() };
        let found = to.deliveries(&query).await.expect("a page").rows;
        assert_eq!(found.len(), count, "{event} of {SOURCE}: {found:?}");
    }
}

async fn a_row_that_is_different_is_told_and_stays(from: Store, to: Store) {
    fill(&from).await;
    let other = Notification { title: Some("another".into()), ..awkward_notification() };
    to.create_notification(&other).await.expect("created");
    let check = async || {
        let (name, notifications) = compare_all(&from, &to).await.remove(0);
        assert_eq!((name, notifications.rows, notifications.different), ("notifications", 2, 1));
        assert_eq!(notifications.first_different, Some(notification_id(1).to_string()));
        notifications.missing
    };
    assert_eq!(check().await, 1);
    copy_all(&from, &to).await;
    assert_eq!(check().await, 0);
    assert_eq!(to.notification(notification_id(1)).await.expect("read"), Some(other));
}

async fn a_copy_that_is_broken_off_goes_on(from: Store, to: Store) {
    const EVENTS: usize = 2500;
    let events: Vec<_> = (0..EVENTS).map(|number| seen(&number.to_string(), 1, 0)).collect();
    from.admit_events(&events, DAY).await.expect("admitted");
    let large = |number| letter(number, vec![7; 3 << 20]);
    from.archive_dead_letters(&[large(1), large(2), large(3)]).await.expect("archived");

    let table = CopiedTable::all().find(|table| table.name() == "events").expect("events");
    let dealt_with = Cell::new(0);
    let copy = table.copy(&from, &to, |rows| dealt_with.set(dealt_with.get() + rows));
    let until = std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if dealt_with.get() > 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    tokio::select! {
        biased;
        () = until => {}
        copied = copy => panic!("nothing was left to break off: {copied:?}"),
    }
    let there = table.count(&to).await.expect("counted");
    assert!(there >= dealt_with.get() && there < EVENTS as u64, "{there}");
    assert_eq!(copy_all(&from, &to).await, EVENTS as u64 - there + 3);
    assert!(compare_all(&from, &to).await.iter().all(|(_, table)| table.is_same()));
}
