use bellbuoy_domain::{Callback, CallbackState, DeliveryId};
use bellbuoy_store::{AwaitedCallback, CallbackRow, Pruned, Store};

use crate::sample::{AWKWARD, SOURCE, at, delivery_id, notification_id};

fn awaited(event: &str, link: u32, expires: i64) -> AwaitedCallback {
    let first = delivery_id(event, 1);
    let delivery = if link == 0 { first } else { DeliveryId::derive_for_link(first, link) };
    AwaitedCallback {
        delivery,
        first,
        link,
        notification: notification_id(1),
        source: SOURCE.into(),
        event: event.into(),
        subject: "acme/api".into(),
        expires_at: at(expires),
    }
}

fn says(state: CallbackState) -> Callback {
    Callback {
        state,
        description: Some(AWKWARD.into()),
        context: None,
        target_url: Some("https://ci.example.com/7".into()),
    }
}

async fn expect(store: &Store, awaited: &AwaitedCallback, token: u8) {
    store.await_callback(awaited, &[token; 32]).await.expect("awaited");
}

async fn by_token(store: &Store, token: u8) -> Option<CallbackRow> {
    store.callback_by_token(&[token; 32]).await.expect("read")
}

pub(crate) async fn a_callback_is_found_by_the_tokens_of_all_attempts_and_by_no_other(store: Store) {
    expect(&store, &awaited("a", 0, 10), 1).await;
    expect(&store, &awaited("b", 1, 10), 2).await;
    // The next attempt has a token of its own, and puts the end off.
    expect(&store, &awaited("a", 0, 20), 3).await;
    let row = |awaited| CallbackRow { awaited, callback: None, answered_at: None, due_at: None };
    assert_eq!(by_token(&store, 1).await, Some(row(awaited("a", 0, 20))));
    assert_eq!(by_token(&store, 3).await, by_token(&store, 1).await);
    assert_eq!(by_token(&store, 2).await, Some(row(awaited("b", 1, 10))));
    assert_eq!(by_token(&store, 4).await, None);
    let found = store.callback(awaited("b", 1, 10).delivery).await.expect("read");
    assert_eq!(found, by_token(&store, 2).await);
    assert_eq!(store.callback(delivery_id("b", 1)).await.expect("read"), None, "the first is another");
}

pub(crate) async fn a_notifications_callbacks_are_listed_the_newest_first(store: Store) {
    for (event, link) in [("a", 0), ("b", 0), ("a", 1)] {
        expect(&store, &awaited(event, link, 10), u8::try_from(link).expect("few") + event.as_bytes()[0])
            .await;
    }
    let other = AwaitedCallback { notification: notification_id(2), ..awaited("c", 0, 10) };
    expect(&store, &other, 9).await;
    let of = async |notification, most| {
        let rows = store.callbacks_of(notification_id(notification), most).await.expect("read");
        rows.into_iter().map(|row| (row.awaited.event, row.awaited.link)).collect::<Vec<_>>()
    };
    assert_eq!(of(1, 10).await, [("a".to_owned(), 1), ("b".to_owned(), 0), ("a".to_owned(), 0)]);
    assert_eq!(of(1, 1).await, [("a".to_owned(), 1)]);
    assert_eq!(of(2, 10).await, [("c".to_owned(), 0)]);
    assert_eq!(of(3, 10).await, []);
}

pub(crate) async fn what_was_not_called_back_in_time_is_counted_once_each_time_that_it_was_awaited(
    store: Store,
) {
    for (token, (event, expires)) in (1..).zip([("a", 10), ("b", 10), ("c", 20), ("d", 10)]) {
        expect(&store, &awaited(event, 0, expires), token).await;
    }
    let answered = store.call_back(delivery_id("d", 1), &says(CallbackState::Failure), at(5)).await;
    assert!(answered.expect("taken"));
    let expired = async |now, most| store.expire_callbacks(at(now), most).await.expect("counted");
    assert_eq!(expired(9, 10).await, 0);
    assert_eq!((expired(10, 1).await, expired(10, 10).await, expired(10, 10).await), (1, 1, 0));
    // Sent again, it is awaited again. Too late is too late, and still no second one.
    expect(&store, &awaited("a", 0, 30), 5).await;
    assert_eq!((expired(29, 10).await, expired(30, 10).await, expired(99, 10).await), (1, 1, 0));
}

pub(crate) async fn what_is_called_back_first_stands(store: Store) {
    let one = awaited("a", 0, 10);
    assert!(!store.call_back(one.delivery, &says(CallbackState::Error), at(1)).await.expect("answered"));
    expect(&store, &one, 1).await;
    assert!(store.call_back(one.delivery, &says(CallbackState::Failure), at(1)).await.expect("taken"));
    for state in [CallbackState::Success, CallbackState::Failure] {
        assert!(!store.call_back(one.delivery, &says(state), at(2)).await.expect("answered"));
    }
    // Sent again, it is still answered.
    expect(&store, &awaited("a", 0, 30), 2).await;
    let expected = CallbackRow {
        awaited: awaited("a", 0, 30),
        callback: Some(says(CallbackState::Failure)),
        answered_at: Some(at(1)),
        due_at: None,
    };
    assert_eq!(by_token(&store, 1).await, Some(expected));
    assert_eq!(store.due_links(at(100), 10).await.expect("read"), []);
}

pub(crate) async fn after_a_success_the_next_link_is_due_until_one_process_has_queued_it(store: Store) {
    for (event, second) in [("b", 2), ("a", 1), ("c", 9)] {
        expect(&store, &awaited(event, 0, 10), event.as_bytes()[0]).await;
        let taken = store.call_back(delivery_id(event, 1), &says(CallbackState::Success), at(second)).await;
        assert!(taken.expect("taken"));
    }
    let due = store.due_links(at(8), 10).await.expect("read");
    let events = |rows: &[CallbackRow]| rows.iter().map(|row| row.awaited.event.clone()).collect::<Vec<_>>();
    assert_eq!(events(&due), ["a", "b"]);
    assert_eq!(events(&store.due_links(at(8), 1).await.expect("read")), ["a"]);
    assert!(store.take_link(&due[0], at(38)).await.expect("mine"));
    assert!(!store.take_link(&due[0], at(38)).await.expect("no longer"));
    assert_eq!(events(&store.due_links(at(8), 10).await.expect("read")), ["b"]);
    // Whoever took it died: it is due again.
    let again = store.due_links(at(40), 10).await.expect("read");
    assert_eq!(events(&again), ["b", "c", "a"]);
    store.link_queued(delivery_id("a", 1)).await.expect("told");
    store.link_queued(delivery_id("b", 1)).await.expect("told");
    assert!(!store.take_link(&again[0], at(99)).await.expect("queued by another"));
    assert_eq!(events(&store.due_links(at(1000), 10).await.expect("read")), ["c"]);
}

pub(crate) async fn what_is_long_over_is_forgotten_with_its_tokens_unless_a_link_is_due(store: Store) {
    for (token, (event, expires)) in (1..).zip([("a", 10), ("b", 10), ("c", 100)]) {
        expect(&store, &awaited(event, 0, expires), token).await;
    }
    let due = store.call_back(delivery_id("b", 1), &says(CallbackState::Success), at(1)).await;
    assert!(due.expect("taken"));
    let gone = Pruned { callbacks: 1, ..Pruned::default() };
    assert_eq!(store.prune(at(50), at(50), 10).await.expect("pruned"), gone);
    assert_eq!(store.prune(at(50), at(50), 10).await.expect("pruned"), Pruned::default());
    let left = [by_token(&store, 1).await, by_token(&store, 2).await, by_token(&store, 3).await];
    assert_eq!(left.map(|row| row.map(|row| row.awaited.event)), [None, Some("b".into()), Some("c".into())]);
    expect(&store, &awaited("d", 0, 100), 4).await;
    assert_eq!(by_token(&store, 1).await, None);
}
