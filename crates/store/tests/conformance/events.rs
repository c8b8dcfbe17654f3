use std::time::Duration;

use bellbuoy_domain::{Kind, Scope};
use bellbuoy_store::{
    Admission::{self, New, Repeat},
    SeenEvent, Store, StoredEvent,
};
use tokio::task::JoinSet;

use crate::sample::{AWKWARD, SOURCE, at, fanned_out, repository, seen};

const WINDOW: Duration = Duration::from_secs(100);

async fn admit(store: &Store, seen: &[SeenEvent]) -> Vec<Admission> {
    store.admit_events(seen, WINDOW).await.expect("admitted")
}

pub(crate) async fn a_new_event_is_admitted_and_its_second_message_is_not(store: Store) {
    assert_eq!(admit(&store, &[]).await, []);
    assert_eq!(admit(&store, &[seen("1", 1, 0)]).await, [New]);
    assert_eq!(admit(&store, &[seen("1", 2, 1), seen("2", 3, 1)]).await, [Repeat, New]);
    assert_eq!(admit(&store, &[seen("1", 2, 100)]).await, [Repeat]);
}

pub(crate) async fn the_same_message_is_admitted_again_until_the_fan_out_is_recorded(store: Store) {
    for _ in 0..3 {
        assert_eq!(admit(&store, &[seen("1", 1, 0)]).await, [New]);
    }
    store.record(&[fanned_out("1", 0, &[])], 3).await.expect("recorded");
    assert_eq!(admit(&store, &[seen("1", 1, 0)]).await, [Repeat]);
}

pub(crate) async fn an_event_older_than_the_window_is_taken_over(store: Store) {
    admit(&store, &[seen("1", 1, 0)]).await;
    store.record(&[fanned_out("1", 0, &[])], 3).await.expect("recorded");
    let later = SeenEvent { body: b"later".to_vec(), ..seen("1", 2, 101) };
    assert_eq!(admit(&store, std::slice::from_ref(&later)).await, [New]);
    let stored = store.event(None, "1").await.expect("read").remove(0);
    assert_eq!((stored.accepted_at, stored.fanned_out, &*stored.body), (at(101), false, &b"later"[..]));
    assert_eq!(admit(&store, &[seen("1", 1, 0)]).await, [Repeat], "the first message has lost it");
    assert_eq!(admit(&store, &[later]).await, [New], "not recorded as fanned out yet");
}

pub(crate) async fn one_batch_is_judged_in_its_own_order(store: Store) {
    admit(&store, &[seen("old", 1, 0)]).await;
    let batch = [
        seen("a", 2, 200),
        seen("a", 3, 200),
        seen("a", 2, 200),
        seen("old", 4, 200),
        seen("old", 5, 200),
        seen("b", 6, 200),
        seen("a", 7, 301),
        seen("a", 2, 301),
    ];
    let expected = [New, Repeat, New, New, Repeat, New, New, Repeat];
    assert_eq!(admit(&store, &batch).await, expected);
}

pub(crate) async fn a_source_has_ids_of_its_own(store: Store) {
    let other = SeenEvent { source: "elsewhere".into(), ..seen("1", 2, 0) };
    assert_eq!(admit(&store, &[seen("1", 1, 0), other]).await, [New, New]);
    assert_eq!(store.event(None, "1").await.expect("read").len(), 2);
    let stored = store.event(Some("elsewhere"), "1").await.expect("read");
    assert_eq!(stored.iter().map(|event| event.source.as_str()).collect::<Vec<_>>(), ["elsewhere"]);
}

pub(crate) async fn of_fifty_tasks_with_one_event_one_is_admitted(store: Store) {
    let mut tasks = JoinSet::new();
    for message in 0..50 {
        let store = store.clone();
        tasks.spawn(async move { admit(&store, &[seen("1", message, 0)]).await });
    }
    let answers = tasks.join_all().await.concat();
    assert_eq!(answers.iter().filter(|answer| **answer == New).count(), 1);
    assert_eq!(answers.len(), 50);
}

pub(crate) async fn a_batch_of_any_size_is_admitted_once(store: Store) {
    for size in [1, 2, 3, 255, 256, 257, 500, 1000] {
        let batch: Vec<SeenEvent> = (0..size).map(|i| seen(&format!("{size}/{i}"), i, 0)).collect();
        assert_eq!(admit(&store, &batch).await, vec![New; batch.len()]);
        let mut again: Vec<SeenEvent> =
            (0..size).map(|i| seen(&format!("{size}/{i}"), i + 5000, 0)).collect();
        again.push(seen(&format!("{size}/new"), 1, 0));
        let answers = admit(&store, &again).await;
        assert_eq!(answers.iter().filter(|answer| **answer == New).count(), 1);
        assert_eq!(answers.last(), Some(&New));
    }
}

pub(crate) async fn an_event_is_read_back_by_id(store: Store) {
    let awkward = SeenEvent {
        id: AWKWARD.into(),
        subject: String::new(),
        body: [0, 0xff, b'\n', 0].repeat(100_000),
        ..seen("", 1, 5)
    };
    admit(&store, &[awkward.clone(), seen("plain", 2, 6)]).await;
    let expected = StoredEvent {
        source: SOURCE.into(),
        id: AWKWARD.into(),
        kind: awkward.kind,
        subject: String::new(),
        message: awkward.message,
        accepted_at: at(5),
        fanned_out: false,
        body: awkward.body,
    };
    assert_eq!(store.event(Some(SOURCE), AWKWARD).await.expect("read"), [expected]);
    assert_eq!(store.event(None, "a").await.expect("read"), [], "a text ends at its end, not at a NUL");
}

pub(crate) async fn the_newest_events_of_a_scope_are_found_and_no_others(store: Store) {
    let of = |id: &str, kind, subject: &str| SeenEvent { kind, subject: subject.into(), ..seen(id, 1, 0) };
    let events = [
        of("1", Kind::RepoPush, "acme/api"),
        of("2", Kind::TagDelete, "acme/api"),
        of("3", Kind::RepoPush, "acme/web"),
        of("4", Kind::QuotaError, "acme"),
        of("5", Kind::RepoPush, "acmeapi/x"),
        of("6", Kind::RepoPush, "acme"),
        of("7", Kind::ScannerUpdateCompleted, ""),
        of("8", Kind::RepoPush, "acme/api/nested"),
    ];
    store.admit_events(&events, WINDOW).await.expect("admitted");
    let ids = async |scope: Scope, most| {
        let found = store.recent_events(&scope, most).await.expect("read");
        found.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(repository("acme/api"), 10).await, ["2", "1"]);
    assert_eq!(ids(repository("acme"), 10).await, ["6"]);
    assert_eq!(ids(repository("acme/none"), 10).await, [""; 0]);
    assert_eq!(ids(Scope::Namespace("acme".into()), 10).await, ["8", "4", "3", "2", "1"]);
    assert_eq!(ids(Scope::Registry, 10).await, ["8", "7", "6", "5", "4", "3", "2", "1"]);
    assert_eq!(ids(Scope::Registry, 2).await, ["8", "7"]);

    let alike = [of("9", Kind::RepoPush, "my_org/x"), of("10", Kind::RepoPush, "my-org/x")];
    store.admit_events(&alike, WINDOW).await.expect("admitted");
    assert_eq!(ids(Scope::Namespace("my_org".into()), 1).await, ["9"], "no sign stands for another");
}

pub(crate) async fn events_since_a_time_come_newest_first_over_pages(store: Store) {
    let events: Vec<_> = (0..25)
        .map(|number| seen(&number.to_string(), number, i64::try_from(number).expect("few")))
        .collect();
    for event in events {
        store.admit_events(&[event], WINDOW).await.expect("admitted");
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.events_since(at(5), after.as_ref(), 10).await.expect("a page");
        found.extend(page.rows.into_iter().map(|event| event.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (5..25).rev().map(|number| number.to_string()).collect();
    assert_eq!(found, expected);
    let late = store.events_since(at(100_000), None, 10).await.expect("a page");
    assert!(late.rows.is_empty() && late.next.is_none(), "all is older by more than clocks are apart");
    let foreign = store.events_since(at(0), Some(&"x1".into()), 10).await;
    assert!(matches!(foreign, Err(bellbuoy_store::StoreError::BadCursor { .. })), "{foreign:?}");
}
