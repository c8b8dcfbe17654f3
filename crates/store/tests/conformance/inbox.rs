use bellbuoy_domain::Kind;
use bellbuoy_store::{Cursor, InboxRow, Store, StoreError};
use serde_json::json;
use uuid::Uuid;

use crate::sample::{AWKWARD, at, delivery_id, map};

fn row(number: u128, target: &str) -> InboxRow {
    InboxRow {
        delivery: delivery_id("1", number),
        target_kind: "user".into(),
        target: target.into(),
        kind: Kind::RepoPush,
        metadata: map(json!({"number": number.to_string(), AWKWARD: [AWKWARD]})),
        created_at: at(0),
    }
}

async fn add(store: &Store, rows: &[InboxRow]) {
    store.add_to_inbox(rows).await.expect("added");
}

pub(crate) async fn a_delivery_tells_a_target_once(store: Store) {
    let team = InboxRow { target_kind: "team".into(), ..row(1, "ann") };
    add(&store, &[]).await;
    add(&store, &[row(1, "ann"), row(1, "ann"), row(1, "bob"), team]).await;
    let item = store.inbox("user", "ann", None, 10).await.expect("a page").rows.remove(0);
    assert!(store.set_dismissed("user", "ann", item.id, true).await.expect("dismissed"));
    add(&store, &[InboxRow { created_at: at(9), ..row(1, "ann") }]).await;
    let again = store.inbox("user", "ann", None, 10).await.expect("a page");
    assert_eq!(again.rows.len(), 1);
    assert_eq!((again.rows[0].id, again.rows[0].dismissed), (item.id, true), "still put away");
    assert_eq!((item.delivery, item.kind, item.created_at), (delivery_id("1", 1), Kind::RepoPush, at(0)));
    assert_eq!((&item.metadata, item.dismissed), (&row(1, "ann").metadata, false));
    for (kind, target) in [("user", "bob"), ("team", "ann")] {
        assert_eq!(store.inbox(kind, target, None, 10).await.expect("a page").rows.len(), 1);
    }
}

pub(crate) async fn a_target_sees_its_own_newest_first(store: Store) {
    for number in 0..7 {
        add(&store, &[row(number, "ann"), row(number + 100, "bob")]).await;
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.inbox("user", "ann", after.as_ref(), 3).await.expect("a page");
        found.extend(page.rows.into_iter().map(|item| item.metadata["number"].to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["\"6\"", "\"5\"", "\"4\"", "\"3\"", "\"2\"", "\"1\"", "\"0\""]);
    assert_eq!(store.inbox("user", "nobody", None, 10).await.expect("a page").rows, []);
}

pub(crate) async fn only_the_target_itself_dismisses(store: Store) {
    add(&store, &[row(1, "ann")]).await;
    let id = store.inbox("user", "ann", None, 10).await.expect("a page").rows[0].id;
    for (kind, target, id) in [("user", "bob", id), ("team", "ann", id), ("user", "ann", Uuid::nil())] {
        assert!(!store.set_dismissed(kind, target, id, true).await.expect("answered"));
    }
    assert!(store.set_dismissed("user", "ann", id, true).await.expect("dismissed"));
    assert!(store.set_dismissed("user", "ann", id, false).await.expect("back"));
    assert!(!store.inbox("user", "ann", None, 10).await.expect("a page").rows[0].dismissed);
}

pub(crate) async fn a_foreign_cursor_is_refused(store: Store) {
    let answer = store.inbox("user", "ann", Some(&Cursor::from("d1")), 10).await;
    assert!(matches!(answer, Err(StoreError::BadCursor { .. })));
}
