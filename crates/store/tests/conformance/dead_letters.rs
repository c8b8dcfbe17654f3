use bellbuoy_store::{Cursor, DeadLetter, DeadLetterQuery, Store, StoreError};
use uuid::Uuid;

use crate::sample::{AWKWARD, at, delivery_id, notification_id};

fn letter(number: u128) -> DeadLetter {
    DeadLetter {
        id: Uuid::from_u128(number),
        origin: "deliver.webhook".into(),
        reason: "attempts_exhausted".into(),
        detail: "answered 503".into(),
        delivery: Some(delivery_id("1", number)),
        notification: Some(notification_id(number)),
        method: Some("webhook".into()),
        subject: Some("acme/api".into()),
        attempts: 10,
        body: b"{}".to_vec(),
        died_at: at(0),
    }
}

fn unreadable(number: u128) -> DeadLetter {
    DeadLetter {
        origin: AWKWARD.into(),
        reason: "undecodable".into(),
        detail: AWKWARD.into(),
        delivery: None,
        notification: None,
        method: None,
        subject: None,
        attempts: 0,
        body: vec![0, 0xff, 0xfe, 0],
        ..letter(number)
    }
}

async fn archive(store: &Store, letters: &[DeadLetter]) {
    store.archive_dead_letters(letters).await.expect("archived");
}

/// The numbers of one page's letters.
async fn numbers(store: &Store, query: &DeadLetterQuery) -> Vec<u128> {
    let page = store.dead_letters(query).await.expect("a page");
    page.rows.iter().map(|row| row.id.as_u128()).collect()
}

pub(crate) async fn a_letter_is_kept_once_and_read_back_with_its_bytes(store: Store) {
    archive(&store, &[]).await;
    archive(&store, &[letter(1), unreadable(2)]).await;
    let changed = DeadLetter { detail: "again".into(), ..letter(1) };
    archive(&store, &[changed, unreadable(2), letter(3), letter(3)]).await;
    for expected in [letter(1), unreadable(2), letter(3)] {
        assert_eq!(store.dead_letter(expected.id).await.expect("read"), Some(expected));
    }
    assert_eq!(store.dead_letter(Uuid::from_u128(4)).await.expect("read"), None);
    assert_eq!(numbers(&store, &DeadLetterQuery::default()).await, [3, 2, 1]);
}

pub(crate) async fn pages_are_newest_first_and_filtered(store: Store) {
    let letters: Vec<DeadLetter> =
        (0..10).map(|number| if number == 4 { unreadable(number) } else { letter(number) }).collect();
    archive(&store, &letters).await;
    let mut found = Vec::new();
    let mut query = DeadLetterQuery { limit: 3, ..DeadLetterQuery::default() };
    loop {
        let page = store.dead_letters(&query).await.expect("a page");
        found.extend(page.rows.iter().map(|row| row.id.as_u128()));
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    assert_eq!(found, (0..10).rev().collect::<Vec<_>>());
    let restricted = [
        (DeadLetterQuery { origin: Some(AWKWARD.into()), ..DeadLetterQuery::default() }, 1),
        (DeadLetterQuery { reason: Some("undecodable".into()), ..DeadLetterQuery::default() }, 1),
        (DeadLetterQuery { method: Some("webhook".into()), ..DeadLetterQuery::default() }, 9),
        (DeadLetterQuery { notification: Some(notification_id(7)), ..DeadLetterQuery::default() }, 1),
        (DeadLetterQuery { subject: Some("acme/api".into()), ..DeadLetterQuery::default() }, 9),
        (DeadLetterQuery { subject: Some(String::new()), ..DeadLetterQuery::default() }, 0),
    ];
    for (query, count) in restricted {
        assert_eq!(numbers(&store, &query).await.len(), count, "{query:?}");
    }
}

pub(crate) async fn a_discarded_letter_is_gone(store: Store) {
    archive(&store, &[letter(1), letter(2)]).await;
    assert!(store.discard_dead_letter(letter(1).id).await.expect("discarded"));
    assert!(!store.discard_dead_letter(letter(1).id).await.expect("answered"));
    assert_eq!(numbers(&store, &DeadLetterQuery::default()).await, [2]);
}

pub(crate) async fn large_bodies_are_kept_whole(store: Store) {
    let large =
        |number| DeadLetter { body: vec![u8::try_from(number).expect("small"); 700_000], ..letter(number) };
    let letters: Vec<DeadLetter> = (0..9).map(large).collect();
    archive(&store, &letters).await;
    for letter in letters {
        assert_eq!(store.dead_letter(letter.id).await.expect("read"), Some(letter));
    }
    let page = store.dead_letters(&DeadLetterQuery::default()).await.expect("a page");
    assert!(page.rows.iter().all(|row| row.body_bytes == 700_000));
}

pub(crate) async fn a_foreign_cursor_is_refused(store: Store) {
    let query = DeadLetterQuery { after: Some(Cursor::from("d1")), ..DeadLetterQuery::default() };
    assert!(matches!(store.dead_letters(&query).await, Err(StoreError::BadCursor { .. })));
}
