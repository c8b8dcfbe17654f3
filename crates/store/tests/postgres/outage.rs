//! The server goes, comes back, is full or stands still.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bellbuoy_domain::DeliveryState;
use bellbuoy_store::{DeadLetter, DeadLetterQuery, Store, StoreError};
use bellbuoy_testkit::{postgres::Postgres, wait::eventually};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{WINDOW, at, delivery_id, ended, event, fanned_out, notification, notification_id, open};

/// For what comes back by itself.
const LIMIT: Duration = Duration::from_mins(1);

/// The limits of 5 s for a connection and for a lock, and time for a busy machine.
const BOUND: Duration = Duration::from_secs(13);

fn unavailable<T: std::fmt::Debug>(answer: &Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
}

/// Writes events and their ends, each until it is acknowledged, and gives back how many there were.
async fn write(store: Store, worker: u128, stop: Arc<AtomicBool>, done: Arc<AtomicU32>) -> u32 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{worker}/{count}");
        loop {
            match store.admit_events(&[event(&id, worker, 0)], WINDOW).await {
                Ok(_) => break,
                error => unavailable(&error),
            }
        }
        let records = [fanned_out(&id), ended(&id, DeliveryState::Dead)];
        loop {
            match store.record(&records, 3).await {
                Ok(_) => break,
                error => unavailable(&error),
            }
        }
        count += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_kills_of_the_server_and_calls_recover_by_themselves() {
    const WORKERS: u128 = 6;
    let mut server = Postgres::start().await;
    let url = server.database().await;
    let store = open(&url).await;
    store.create_notification(&notification(1)).await.expect("created");
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let work = write(store.clone(), worker, Arc::clone(&stop), Arc::clone(&done));
        workers.spawn(async move { (worker, work.await) });
    }
    for round in 0..4 {
        let before = done.load(Ordering::Relaxed);
        eventually(LIMIT, async || (done.load(Ordering::Relaxed) > before + 50).then_some(())).await;
        if round == 3 {
            server.stop().await;
        } else {
            server.kill_9();
        }
        server.start_again().await;
    }
    let before = done.load(Ordering::Relaxed);
    eventually(LIMIT, async || (done.load(Ordering::Relaxed) > before + 50).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for (worker, count) in workers.join_all().await {
        total += count;
        for id in (0..count).map(|number| format!("{worker}/{number}")) {
            let stored = store.event(None, &id).await.expect("read");
            assert!(stored.len() == 1 && stored[0].fanned_out, "event {id}");
            let detail = store.delivery(delivery_id(&id)).await.expect("read").expect("a delivery");
            assert_eq!((detail.delivery.state, detail.attempts.len()), (DeliveryState::Dead, 1), "{id}");
        }
    }
    let failures = store.notification(notification_id(1)).await.expect("read").expect("there").failures;
    assert_eq!(failures, total, "an unanswered commit that was repeated counts once");
}

#[tokio::test]
async fn calls_after_every_backend_was_terminated_do_not_notice() {
    let server = Postgres::start().await;
    let url = server.database().await;
    let store = open(&url).await;
    for round in 0..5 {
        // All connections of both pools are there, idle.
        let calls = (0..12).map(|i| {
            let store = store.clone();
            async move {
                store.admit_events(&[event(&format!("{round}/{i}"), 1, 0)], WINDOW).await.expect("admitted");
                store.event(None, "x").await.expect("read");
            }
        });
        calls.collect::<JoinSet<_>>().join_all().await;
        server
            .sql(
                "postgres",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bellbuoy'",
            )
            .await;
        store.notifications_version().await.expect("read by another connection");
        store.create_notification(&notification(round)).await.expect("written by another connection");
    }
}

#[tokio::test]
async fn while_every_connection_is_taken_calls_fail_in_bounded_time_and_then_recover() {
    let server = Postgres::start_with(&["max_connections=8", "superuser_reserved_connections=0"]).await;
    let url = server.database().await;
    let store = open(&url).await;
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(&url).await {
        taken.push(connection);
    }
    assert!(taken.len() >= 4, "{}", taken.len());
    let began = Instant::now();
    unavailable(&store.ping().await);
    unavailable(&store.admit_events(&[event("1", 1, 0)], WINDOW).await);
    assert!(began.elapsed() < 2 * BOUND, "{:?}", began.elapsed());
    drop(taken);
    eventually(LIMIT, async || store.ping().await.ok()).await;
    store.admit_events(&[event("1", 1, 0)], WINDOW).await.expect("admitted");
}

#[tokio::test]
async fn while_every_table_is_locked_calls_fail_in_bounded_time_and_then_recover() {
    let server = Postgres::start().await;
    let url = server.database().await;
    let store = open(&url).await;
    let mut other = PgConnection::connect(&url).await.expect("a connection");
    let mut locked = other.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE counters, notifications, events, deliveries, attempts, dead_letters, inbox")
        .execute(&mut *locked)
        .await
        .expect("locked");
    let began = Instant::now();
    let (ping, admitted, recorded, read) = tokio::join!(
        store.ping(),
        async { store.admit_events(&[event("1", 1, 0)], WINDOW).await },
        async { store.record(&[fanned_out("1")], 3).await },
        store.notification(notification_id(1)),
    );
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    unavailable(&ping);
    unavailable(&admitted);
    unavailable(&recorded);
    unavailable(&read);
    locked.rollback().await.expect("let go");
    store.ping().await.expect("free again");
    store.record(&[fanned_out("1")], 3).await.expect("free again");
}

#[tokio::test]
async fn a_server_that_stands_still_costs_a_call_bounded_time() {
    let server = Postgres::start().await;
    let store = open(&server.database().await).await;
    store.ping().await.expect("ready");
    server.freeze();
    // With the clock stopped, time passes as soon as nothing is left to do: nothing answers now.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    unavailable(&store.notifications_version().await);
    unavailable(&store.record(&[fanned_out("1")], 3).await);
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    tokio::time::resume();
    server.thaw();
    eventually(LIMIT, async || store.ping().await.ok()).await;
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_ready_but_can_be_read() {
    let server = Postgres::start().await;
    let url = server.database().await;
    let name = url.rsplit('/').next().expect("a name").to_owned();
    let store = open(&url).await;
    store.create_notification(&notification(1)).await.expect("created");
    // As on a standby: new connections get it, and the old ones are ended.
    let switch = async |to: &str| {
        server
            .sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = {to}"))
            .await;
        server
            .sql(
                "postgres",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bellbuoy'",
            )
            .await;
    };
    switch("on").await;
    unavailable(&store.ping().await);
    unavailable(&store.update_notification(&notification(1)).await);
    assert!(store.notification(notification_id(1)).await.expect("read").is_some());
    switch("off").await;
    store.ping().await.expect("ready");
    assert!(store.update_notification(&notification(1)).await.expect("changed"));
}

fn letter(number: u128) -> DeadLetter {
    DeadLetter {
        id: Uuid::from_u128(number),
        origin: "events".into(),
        reason: "undecodable".into(),
        detail: String::new(),
        delivery: None,
        notification: None,
        method: None,
        subject: None,
        attempts: 0,
        body: vec![b'x'; 700_000],
        died_at: at(0),
    }
}

#[tokio::test]
async fn a_call_cancelled_at_any_point_leaves_all_or_nothing_and_no_connection_is_lost() {
    let server = Postgres::start().await;
    let store = open(&server.database().await).await;
    let mut completed = 0;
    for number in 0..60_u32 {
        // Two statements, for each letter is too large to share one.
        let letters = [letter(u128::from(number) * 2), letter(u128::from(number) * 2 + 1)];
        let call = store.archive_dead_letters(&letters);
        completed +=
            usize::from(tokio::time::timeout(number * Duration::from_micros(400), call).await.is_ok());
    }
    store.archive_dead_letters(&[letter(1000), letter(1001)]).await.expect("a connection is left");
    let query = DeadLetterQuery { limit: 1000, ..DeadLetterQuery::default() };
    let count = store.dead_letters(&query).await.expect("a page").rows.len();
    assert!(count.is_multiple_of(2) && count >= (completed + 1) * 2, "{count} letters of {completed} calls");
}
