use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeliveryState, FannedOut, Kind, Notification, NotificationId,
    NotificationState, PlannedDelivery, Record, WIRE_VERSION,
};
use bellbuoy_store::{Cursor, DeliveryDetail, DeliveryQuery, Store, StoreError};
use tokio::task::JoinSet;
use uuid::Uuid;

use DeliveryState::{Cancelled, Dead, Delivered, Pending, Waiting};

use crate::sample::{
    AWKWARD, SOURCE, at, attempt, delivery_id, fanned_out, held, notification, notification_id, record, seen,
};

const THRESHOLD: u32 = 3;

async fn write(store: &Store, records: &[Record]) -> Vec<NotificationId> {
    store.record(records, THRESHOLD).await.expect("recorded")
}

async fn detail(store: &Store, event: &str, notification: u128) -> DeliveryDetail {
    store.delivery(delivery_id(event, notification)).await.expect("read").expect("a delivery")
}

async fn failures(store: &Store, number: u128) -> u32 {
    store.notification(notification_id(number)).await.expect("read").expect("a notification").failures
}

/// The events of one page's deliveries.
async fn events(store: &Store, query: &DeliveryQuery) -> Vec<String> {
    let page = store.deliveries(query).await.expect("a page");
    page.rows.into_iter().map(|row| row.event).collect()
}

pub(crate) async fn a_fan_out_adds_pending_deliveries_and_marks_the_event(store: Store) {
    store.admit_events(&[seen("1", 1, 5)], std::time::Duration::ZERO).await.expect("admitted");
    write(&store, &[fanned_out("1", 5, &[1, 2])]).await;
    assert!(store.event(None, "1").await.expect("read")[0].fanned_out);
    let DeliveryDetail { delivery, attempts } = detail(&store, "1", 2).await;
    assert_eq!((delivery.id, delivery.notification), (delivery_id("1", 2), notification_id(2)));
    assert_eq!((&*delivery.method, &*delivery.source, &*delivery.event), ("webhook", SOURCE, "1"));
    assert_eq!((delivery.kind, &*delivery.subject), (Kind::RepoPush, "acme/api"));
    assert_eq!((delivery.accepted_at, delivery.updated_at), (at(5), at(5)));
    assert_eq!((delivery.state, delivery.attempts, delivery.next_due_at), (Pending, 0, None));
    assert_eq!(attempts, []);
    assert_eq!(store.delivery(delivery_id("1", 3)).await.expect("read"), None);
    let ids = [1, 2, 3].map(|number| delivery_id("1", number));
    assert_eq!(store.known_deliveries(&ids).await.expect("read"), ids[..2].iter().copied().collect());
}

pub(crate) async fn an_attempt_alone_writes_the_whole_row(store: Store) {
    write(&store, &[record(attempt("1", 1, 2, Waiting))]).await;
    let DeliveryDetail { delivery, attempts } = detail(&store, "1", 1).await;
    assert_eq!((&*delivery.method, &*delivery.event, &*delivery.subject), ("webhook", "1", "acme/api"));
    assert_eq!((delivery.state, delivery.attempts, delivery.next_due_at), (Waiting, 2, Some(at(30))));
    assert_eq!(delivery.updated_at, at(20) + jiff::SignedDuration::from_millis(250));
    assert_eq!(delivery.cause, Some(Cause::new(CauseCode::Http5xx, "answered 503")));
    assert_eq!(delivery.status, Some(503));
    assert_eq!(attempts.len(), 1);
    let only = &attempts[0];
    assert_eq!((only.number, only.started_at, only.duration_ms), (2, at(20), 250));
    assert_eq!((&*only.outcome, &only.cause, only.status), ("deferred", &delivery.cause, Some(503)));
}

/// Every order of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for next in 0..count {
        orders = orders
            .iter()
            .flat_map(|order| {
                (0..=order.len()).map(move |place| {
                    let mut longer: Vec<usize> = order.clone();
                    longer.insert(place, next);
                    longer
                })
            })
            .collect();
    }
    orders
}

/// The life of one event: one delivery fails, is held and delivered; the other dies.
fn life(event: &str, first: u128) -> [Record; 5] {
    [
        fanned_out(event, 0, &[first, first + 1]),
        record(attempt(event, first, 1, Waiting)),
        record(held(event, first, 2, 15)),
        record(attempt(event, first, 2, Delivered)),
        record(attempt(event, first + 1, 1, Dead)),
    ]
}

/// What is stored of [`life`], without the names that differ between two of them.
async fn outcome(store: &Store, event: &str, first: u128) -> String {
    let mut told = Vec::new();
    for number in [first, first + 1] {
        let DeliveryDetail { delivery, attempts } = detail(store, event, number).await;
        let standing = (delivery.state, delivery.attempts, delivery.next_due_at, delivery.updated_at);
        told.push(format!("{standing:?} {:?} {:?} {attempts:?}", delivery.cause, delivery.status));
        told.push(format!("{} failures", failures(store, number).await));
    }
    told.join("\n")
}

pub(crate) async fn records_end_the_same_in_any_order_and_however_often(store: Store) {
    let mut expected = None;
    for (place, order) in (0u32..).zip(orders(5)) {
        let (event, first) = (format!("{order:?}"), u128::from(place) * 2);
        for number in [first, first + 1] {
            store.create_notification(&notification(number)).await.expect("created");
        }
        let life = life(&event, first);
        let shuffled: Vec<Record> = order.iter().map(|index| life[*index].clone()).collect();
        // One by one, two at a time, all at once; then all of it again.
        let size = [1, 2, 5][place as usize % 3];
        for _ in 0..2 {
            for batch in shuffled.chunks(size) {
                write(&store, batch).await;
            }
            let outcome = outcome(&store, &event, first).await;
            assert_eq!(&outcome, expected.get_or_insert_with(|| outcome.clone()), "{order:?} by {size}");
        }
    }
    let expected = expected.expect("an outcome");
    for part in ["(Delivered, 2, None", "(Dead, 1, None", "0 failures", "1 failures"] {
        assert!(expected.contains(part), "{part} in {expected}");
    }
}

pub(crate) async fn a_terminal_state_wins_over_waiting_of_the_same_attempt(store: Store) {
    let late = AttemptRecord { started_at: at(500), ..attempt("1", 1, 1, Waiting) };
    write(&store, &[record(attempt("1", 1, 1, Delivered))]).await;
    write(&store, &[record(late)]).await;
    let DeliveryDetail { delivery, attempts } = detail(&store, "1", 1).await;
    assert_eq!((delivery.state, delivery.next_due_at, attempts.len()), (Delivered, None, 1));
}

pub(crate) async fn a_later_attempt_wins_over_the_end_of_an_earlier(store: Store) {
    write(&store, &[record(attempt("1", 1, 2, Dead))]).await;
    write(&store, &[record(attempt("1", 1, 3, Waiting)), record(attempt("1", 1, 2, Dead))]).await;
    let DeliveryDetail { delivery, attempts } = detail(&store, "1", 1).await;
    assert_eq!((delivery.state, delivery.attempts, attempts.len()), (Waiting, 3, 2));
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [2, 3]);
}

pub(crate) async fn waits_and_ends_without_a_try_make_no_attempt(store: Store) {
    write(&store, &[record(held("1", 1, 1, 30))]).await;
    let DeliveryDetail { delivery, attempts } = detail(&store, "1", 1).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.next_due_at), (Waiting, 0, Some(at(30))));
    assert_eq!(attempts, []);
    write(&store, &[record(attempt("1", 1, 1, Cancelled))]).await;
    let DeliveryDetail { delivery, attempts } = detail(&store, "1", 1).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.next_due_at), (Cancelled, 0, None));
    assert_eq!(attempts, []);
}

pub(crate) async fn dead_deliveries_in_a_row_are_counted_once_each(store: Store) {
    store.create_notification(&notification(1)).await.expect("created");
    let dead = |event: &str| record(attempt(event, 1, 1, Dead));
    for (event, counted) in [("a", 1), ("b", 2), ("a", 2), ("b", 2), ("c", 3), ("d", 4)] {
        let failing = write(&store, &[dead(event), dead(event)]).await;
        assert_eq!(failures(&store, 1).await, counted, "{event}");
        let expected: &[NotificationId] = if counted >= 3 { &[notification_id(1)] } else { &[] };
        assert_eq!(failing, expected, "{event}");
    }
    assert_eq!(write(&store, &[record(attempt("e", 2, 1, Dead))]).await, [], "it was deleted");
}

pub(crate) async fn a_delivered_one_sets_failures_back(store: Store) {
    store.create_notification(&Notification { failures: 2, ..notification(1) }).await.expect("created");
    let of = |event: &str, state| record(attempt(event, 1, 1, state));
    write(&store, &[of("a", Waiting)]).await;
    assert_eq!(failures(&store, 1).await, 2, "waiting is no end");
    write(&store, &[of("b", Delivered)]).await;
    assert_eq!(failures(&store, 1).await, 0);
    write(&store, &[of("c", Dead)]).await;
    write(&store, &[of("b", Delivered)]).await;
    assert_eq!(failures(&store, 1).await, 1, "a repeat sets nothing back");
    write(&store, &[of("d", Dead), of("e", Delivered), of("f", Dead), of("g", Dead)]).await;
    assert_eq!(failures(&store, 1).await, 2, "counted in the order given");
}

pub(crate) async fn the_last_success_is_noted_to_within_a_minute(store: Store) {
    store.create_notification(&notification(1)).await.expect("created");
    let noted = async || {
        let found = store.notification(notification_id(1)).await.expect("read").expect("there");
        found.succeeded_at.map(jiff::Timestamp::as_second)
    };
    let ends = async |event: &str, state, second| {
        let end = AttemptRecord { started_at: at(second), ..attempt(event, 1, 1, state) };
        store.record(&[record(end)], 3).await.expect("recorded");
    };
    ends("a", Dead, 0).await;
    assert_eq!(noted().await, None);
    for (event, second, expected) in [("b", 10, 10), ("c", 60, 10), ("d", 80, 80), ("e", 20, 80)] {
        ends(event, Delivered, second).await;
        assert_eq!(noted().await, Some(at(expected).as_second()), "{event}");
    }
}

pub(crate) async fn a_death_by_our_own_fault_counts_against_nobody(store: Store) {
    store.create_notification(&notification(1)).await.expect("created");
    for (event, code) in [("a", CauseCode::WorkerPanicked), ("b", CauseCode::Internal)] {
        let cause = Some(Cause::new(code, "our worker died"));
        let ours = record(AttemptRecord { cause, ..attempt(event, 1, 1, Dead) });
        assert_eq!(write(&store, &[ours]).await, []);
        assert_eq!(detail(&store, event, 1).await.delivery.state, Dead);
    }
    assert_eq!(failures(&store, 1).await, 0);
}

pub(crate) async fn failing_notifications_are_told_again_until_disabled(store: Store) {
    store.create_notification(&Notification { failures: 2, ..notification(1) }).await.expect("created");
    let last = [record(attempt("a", 1, 1, Dead))];
    assert_eq!(write(&store, &last).await, [notification_id(1)]);
    assert_eq!(write(&store, &last).await, [notification_id(1)], "the caller may have crashed");
    store.disable_notification(notification_id(1), "it keeps failing", at(0)).await.expect("disabled");
    assert_eq!(write(&store, &last).await, []);
    let found = store.notification(notification_id(1)).await.expect("read").expect("there");
    assert_eq!((found.failures, found.state), (3, NotificationState::Disabled));
}

pub(crate) async fn nothing_is_recorded_of_nothing(store: Store) {
    assert_eq!(write(&store, &[]).await, []);
    let empty = Record { v: WIRE_VERSION, fanned_out: None, attempt: None };
    assert_eq!(write(&store, &[empty]).await, []);
    assert_eq!(store.deliveries(&DeliveryQuery::default()).await.expect("a page").rows, []);
}

pub(crate) async fn large_batches_are_recorded_whole(store: Store) {
    let notifications: Vec<u128> = (0..1000).collect();
    let mut records = vec![fanned_out("wide", 0, &notifications)];
    records.extend(notifications.iter().map(|number| record(attempt("wide", *number, 1, Delivered))));
    records.extend((0..700).map(|i| fanned_out(&format!("narrow {i}"), 0, &[1])));
    write(&store, &records).await;
    let counts = store.delivery_counts().await.expect("counted");
    let counts: Vec<(DeliveryState, u64)> = counts.iter().map(|row| (row.state, row.count)).collect();
    assert_eq!(counts, [(Delivered, 1000), (Pending, 700)]);
    assert_eq!(detail(&store, "wide", 999).await.attempts.len(), 1);
}

pub(crate) async fn pages_are_newest_first_and_complete(store: Store) {
    let expected: Vec<String> = (0..25).rev().map(|i| i.to_string()).collect();
    for i in 0..25 {
        write(&store, &[fanned_out(&i.to_string(), i, &[1])]).await;
    }
    let mut found = Vec::new();
    let mut query = DeliveryQuery { limit: 4, ..DeliveryQuery::default() };
    loop {
        let page = store.deliveries(&query).await.expect("a page");
        found.extend(page.rows.into_iter().map(|row| row.event));
        // What comes in meanwhile does not move what is read.
        write(&store, &[fanned_out(&format!("new {}", found.len()), 99, &[1])]).await;
        let Some(next) = page.next else { break };
        assert_eq!(found.len() % 4, 0);
        query.after = Some(Cursor::from(next.to_string()));
    }
    assert_eq!(found, expected);
    let exact = DeliveryQuery { limit: 32, ..DeliveryQuery::default() };
    assert_eq!(store.deliveries(&exact).await.expect("a page").next, None, "no page follows a full last one");
}

pub(crate) async fn each_filter_restricts(store: Store) {
    let other = AttemptRecord {
        method: "email".into(),
        kind: Kind::BuildFailure,
        subject: "acme/web".into(),
        source: "elsewhere".into(),
        ..attempt("other", 2, 1, Dead)
    };
    store.admit_events(&[seen("seen", 1, 0)], std::time::Duration::ZERO).await.expect("admitted");
    write(&store, &[fanned_out("seen", 0, &[1]), fanned_out("unseen", 0, &[1]), record(other)]).await;
    let one = |change: fn(&mut DeliveryQuery)| {
        let mut query = DeliveryQuery::default();
        change(&mut query);
        query
    };
    let only_other = [
        one(|query| query.state = Some(Dead)),
        one(|query| query.method = Some("email".into())),
        one(|query| query.kind = Some(Kind::BuildFailure)),
        one(|query| query.notification = Some(notification_id(2))),
        one(|query| query.subject = Some("acme/web".into())),
        one(|query| query.source = Some("elsewhere".into())),
        one(|query| query.event = Some("other".into())),
        DeliveryQuery {
            state: Some(Dead),
            method: Some("email".into()),
            kind: Some(Kind::BuildFailure),
            notification: Some(notification_id(2)),
            subject: Some("acme/web".into()),
            source: Some("elsewhere".into()),
            event: Some("other".into()),
            ..DeliveryQuery::default()
        },
    ];
    for query in only_other {
        assert_eq!(events(&store, &query).await, ["other"], "{query:?}");
    }
    assert_eq!(events(&store, &DeliveryQuery::default()).await, ["other", "unseen", "seen"]);
    assert_eq!(events(&store, &one(|query| query.event = Some("seen".into()))).await, ["seen"]);
    assert_eq!(events(&store, &one(|query| query.event = Some("unseen".into()))).await, ["unseen"]);
    let none = [
        one(|query| query.state = Some(Waiting)),
        one(|query| (query.state, query.method) = (Some(Dead), Some("webhook".into()))),
        one(|query| (query.notification, query.state) = (Some(notification_id(1)), Some(Dead))),
        one(|query| (query.event, query.source) = (Some("other".into()), Some(SOURCE.into()))),
        one(|query| (query.event, query.notification) = (Some("seen".into()), Some(notification_id(2)))),
        one(|query| query.subject = Some("acme/%".into())),
    ];
    for query in none {
        assert_eq!(events(&store, &query).await, [""; 0], "{query:?}");
    }
}

pub(crate) async fn a_page_of_a_rare_thing_looks_at_a_bounded_stretch(store: Store) {
    let rare = FannedOut { subject: "rare".into(), ..crowd(0, 1) };
    let of = |fanned_out| Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None };
    write(&store, &[of(rare)]).await;
    for thousands in 0..5 {
        write(&store, &[of(crowd(1 + thousands * 21_000, 21_000))]).await;
    }
    let rare = || DeliveryQuery { subject: Some("rare".into()), ..DeliveryQuery::default() };
    let queries = [
        rare(),
        DeliveryQuery { state: Some(Pending), ..rare() },
        DeliveryQuery { notification: Some(notification_id(1)), ..rare() },
        DeliveryQuery { event: Some("crowd".into()), ..rare() },
    ];
    for mut query in queries {
        let first = store.deliveries(&query).await.expect("a page");
        assert_eq!(first.rows, [], "{query:?}");
        query.after = first.next;
        assert!(query.after.is_some(), "more follows {query:?}");
        let second = store.deliveries(&query).await.expect("a page");
        assert_eq!((second.rows.len(), second.next), (1, None), "{query:?}");
    }
}

/// A fan-out of one event, all of it to one notification: deliveries from the one of number `first` on.
fn crowd(first: u128, count: u128) -> FannedOut {
    let planned = |number: u128| PlannedDelivery {
        delivery: Uuid::from_u128(number).into(),
        notification: notification_id(1),
        method: "webhook".into(),
    };
    FannedOut {
        source: SOURCE.into(),
        event: "crowd".into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at(0),
        deliveries: (first..first + count).map(planned).collect(),
    }
}

pub(crate) async fn a_foreign_cursor_is_refused(store: Store) {
    let long = "d".repeat(10_000);
    for cursor in
        ["", "x", "d", "dg", "d-1", "d+1", "l5", "5", "d8000000000000000", "d 1", "d1\0", "é", &long]
    {
        let query = DeliveryQuery { after: Some(Cursor::from(cursor)), ..DeliveryQuery::default() };
        let answer = store.deliveries(&query).await;
        assert!(matches!(answer, Err(StoreError::BadCursor { .. })), "{cursor:?}: {answer:?}");
    }
}

pub(crate) async fn counts_are_by_method_and_state(store: Store) {
    let email =
        |event: &str, state| record(AttemptRecord { method: "email".into(), ..attempt(event, 2, 1, state) });
    write(&store, &[fanned_out("a", 0, &[1]), fanned_out("b", 0, &[1, 3]), email("a", Dead)]).await;
    write(&store, &[record(attempt("b", 3, 1, Delivered))]).await;
    let counts = store.delivery_counts().await.expect("counted");
    let counts: Vec<_> = counts.iter().map(|row| (&*row.method, row.state, row.count)).collect();
    assert_eq!(counts, [("email", Dead, 1), ("webhook", Delivered, 1), ("webhook", Pending, 2)]);
}

pub(crate) async fn records_from_many_tasks_add_up(store: Store) {
    store.create_notification(&notification(1)).await.expect("created");
    let mut tasks = JoinSet::new();
    for task in 0..40 {
        let store = store.clone();
        // Every event's records are written by four tasks.
        let event = (task / 4).to_string();
        tasks.spawn(async move {
            write(&store, &[fanned_out(&event, 0, &[1]), record(attempt(&event, 1, 1, Dead))]).await
        });
    }
    tasks.join_all().await;
    assert_eq!(failures(&store, 1).await, 10);
    assert_eq!(store.deliveries(&DeliveryQuery::default()).await.expect("a page").rows.len(), 10);
}

pub(crate) async fn text_of_any_sort_is_kept_whole(store: Store) {
    let cause = Cause::new(CauseCode::Protocol, AWKWARD.repeat(1000));
    let awkward = AttemptRecord {
        method: AWKWARD.into(),
        event: AWKWARD.into(),
        subject: AWKWARD.into(),
        cause: Some(cause.clone()),
        duration_ms: u64::MAX,
        attempt: u32::MAX,
        ..attempt("1", 1, 1, Dead)
    };
    write(&store, &[record(awkward)]).await;
    let DeliveryDetail { delivery, attempts } = detail(&store, "1", 1).await;
    assert_eq!((&*delivery.method, &*delivery.event, &*delivery.subject), (AWKWARD, AWKWARD, AWKWARD));
    assert_eq!((delivery.cause, delivery.attempts), (Some(cause), u32::MAX));
    assert_eq!(attempts[0].number, u32::MAX);
    let query = DeliveryQuery { event: Some(AWKWARD.into()), ..DeliveryQuery::default() };
    assert_eq!(events(&store, &query).await, [AWKWARD]);
}
