//! The change feed between processes.

use std::time::{Duration, Instant};

use bellbuoy_domain::RepositoryName;
use bellbuoy_store::Store;
use bellbuoy_testkit::postgres::Postgres;
use tokio::sync::watch::Receiver;

use crate::{at, notification, notification_id, open};

/// Far longer than a change may take to be seen.
const LIMIT: Duration = Duration::from_secs(20);

async fn see(changes: &mut Receiver<i64>, version: i64) {
    let seen = tokio::time::timeout(LIMIT, changes.wait_for(|seen| *seen >= version)).await;
    assert_eq!(*seen.expect("in time").expect("followed"), version);
}

/// Changes a notification through one store and waits until another has seen it.
async fn change_and_see(editor: &Store, changes: &mut Receiver<i64>) {
    assert!(editor.update_notification(&notification(1)).await.expect("changed"));
    see(changes, editor.notifications_version().await.expect("a version")).await;
}

async fn two() -> (Postgres, String, Store, Store) {
    let server = Postgres::start().await;
    let url = server.database().await;
    let (editor, other) = (open(&url).await, open(&url).await);
    editor.create_notification(&notification(1)).await.expect("created");
    (server, url, editor, other)
}

#[tokio::test]
async fn a_change_by_one_process_is_seen_by_another_at_once() {
    let (_server, _url, editor, other) = two().await;
    let mut changes = other.changes();
    change_and_see(&editor, &mut changes).await;
    let began = Instant::now();
    for _ in 0..30 {
        change_and_see(&editor, &mut changes).await;
    }
    // The sweep alone would take 27 s.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?} for 30 changes", began.elapsed());
    assert!(editor.delete_notification(notification_id(1)).await.expect("deleted"));
    see(&mut changes, editor.notifications_version().await.expect("a version")).await;
}

#[tokio::test]
async fn a_store_that_opens_late_knows_the_version() {
    let (_server, url, editor, _other) = two().await;
    let late = open(&url).await;
    let version = editor.notifications_version().await.expect("a version");
    assert_eq!(*late.changes().borrow(), version);
}

#[tokio::test]
async fn a_change_without_a_hint_is_seen_too() {
    let (server, url, editor, other) = two().await;
    let mut changes = other.changes();
    change_and_see(&editor, &mut changes).await;
    let name = url.rsplit('/').next().expect("a name");
    server.sql(name, "UPDATE counters SET value = 1000 WHERE name = 'notifications'").await;
    see(&mut changes, 1000).await;
}

#[tokio::test]
async fn the_feed_goes_on_after_its_connection_was_ended() {
    let (server, _url, editor, other) = two().await;
    let mut changes = other.changes();
    for _ in 0..3 {
        server
            .sql(
                "postgres",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
            )
            .await;
        change_and_see(&editor, &mut changes).await;
    }
}

#[tokio::test]
async fn the_feed_goes_on_after_the_server_was_killed() {
    let (mut server, _url, editor, other) = two().await;
    let mut changes = other.changes();
    server.kill_9();
    server.start_again().await;
    change_and_see(&editor, &mut changes).await;
}

#[tokio::test]
async fn nobody_listens_any_more_when_the_store_is_gone() {
    let (server, _url, editor, other) = two().await;
    let listeners = async || {
        server
            .sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bellbuoy'")
            .await
    };
    assert_ne!(listeners().await, "0");
    drop(editor);
    other.close().await;
    drop(other);
    bellbuoy_testkit::wait::eventually(LIMIT, async || (listeners().await == "0").then_some(())).await;
}

#[tokio::test]
async fn a_repository_that_another_process_deleted_enters_again_with_its_next_event() {
    let (_server, _url, editor, other) = two().await;
    let api = RepositoryName::parse("acme/api").expect("a name");
    let mut changes = other.changes();
    for round in 0..2 {
        other.see_repositories(std::slice::from_ref(&api), at(round)).await.expect("seen");
        assert!(editor.repository(&api).await.expect("read").is_some(), "in round {round}");
        assert!(editor.delete_repository(&api).await.expect("deleted"));
        see(&mut changes, editor.notifications_version().await.expect("a version")).await;
    }
}
