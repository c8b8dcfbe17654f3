//! How fast the embedded broker settles, beside what `SQLite` itself can do on the same disk in
//! the same run; and whether a million waiting messages cost memory or time.
//!
//! Run by `cargo xtask bench`; prints one JSON line per figure.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use bellbuoy_broker::{Broker, EmbeddedOptions, Outgoing, QueueName};
use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(4);

/// The body of every message.
const BODY: usize = 1024;

/// How many messages wait in the test of many.
const WAITING: usize = 1_000_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for workers in [64, 512] {
        let bare = runtime.block_on(bare_group_commit(workers));
        let settles = runtime.block_on(settles(workers));
        print(&format!(
            r#"{{"figure":"broker settle/s","workers":{workers},"value":{settles:.0},"bare_group_commit_inserts/s":{bare:.0},"ratio":{:.2}}}"#,
            settles / bare
        ));
    }
    runtime.block_on(many_waiting());
}

/// Every producer inserts a row and waits until it is durable; one thread commits whatever waits.
async fn bare_group_commit(producers: usize) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let inserts = bare_writer(directory.path());
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..producers {
        let (inserts, done) = (inserts.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            while started.elapsed() < SPAN {
                let (reply, answer) = oneshot::channel();
                inserts.send(reply).expect("the writer");
                answer.await.expect("durable");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    rate(&done, started)
}

fn bare_writer(directory: &Path) -> SyncSender<oneshot::Sender<()>> {
    let connection = Connection::open(directory.join("bare.db")).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE rows (key INTEGER PRIMARY KEY, due INTEGER NOT NULL, body BLOB NOT NULL);
             CREATE INDEX due ON rows (due);",
        )
        .expect("a table");
    let (inserts, incoming) = sync_channel::<oneshot::Sender<()>>(4096);
    std::thread::spawn(move || {
        let body = vec![7_u8; BODY];
        while let Ok(first) = incoming.recv() {
            let mut waiting = vec![first];
            waiting.extend(incoming.try_iter().take(1023));
            connection.execute_batch("BEGIN IMMEDIATE").expect("begun");
            for _ in &waiting {
                connection
                    .prepare_cached("INSERT INTO rows (due, body) VALUES (?1, ?2)")
                    .and_then(|mut insert| insert.execute(rusqlite::params![1_700_000_000_000_i64, body]))
                    .expect("inserted");
            }
            connection.execute_batch("COMMIT").expect("committed");
            for reply in waiting {
                let _ = reply.send(());
            }
        }
    });
    inserts
}

/// Every worker claims a message and settles it with one output, which is the next one's input.
async fn settles(workers: usize) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Broker::open_embedded(directory.path(), &EmbeddedOptions::default()).expect("a broker");
    let queue = QueueName::new("q");
    let body = Bytes::from(vec![7_u8; BODY]);
    let first = (0..workers).map(|_| Outgoing::new(queue.clone(), body.clone()));
    broker.publish(first.collect()).await.expect("published");
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (broker, queue, done, body) = (broker.clone(), queue.clone(), Arc::clone(&done), body.clone());
        let mut consumer = broker.consume(&queue, NonZeroUsize::MIN);
        tasks.spawn(async move {
            while started.elapsed() < SPAN {
                let claim = consumer.next().await.expect("a claim");
                let output = Outgoing::new(queue.clone(), body.clone());
                broker.settle(vec![claim], vec![output]).await.expect("settled");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    let settles = rate(&done, started);
    broker.close().await;
    settles
}

async fn many_waiting() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Broker::open_embedded(directory.path(), &EmbeddedOptions::default()).expect("a broker");
    let queue = QueueName::new("q");
    let lateness_empty = lateness(&broker, &queue).await;
    let memory_empty = resident_kib();
    let body = Bytes::from(vec![7_u8; BODY]);
    for _ in 0..WAITING / 1000 {
        let batch = (0..1000)
            .map(|n| Outgoing::new(queue.clone(), body.clone()).after(Duration::from_secs(3600 + n)));
        broker.publish(batch.collect()).await.expect("published");
    }
    let memory_full = resident_kib();
    let lateness_full = lateness(&broker, &queue).await;
    print(&format!(
        r#"{{"figure":"{WAITING} waiting","due_message_late_ms":{lateness_full:.2},"in_an_empty_broker_ms":{lateness_empty:.2},"resident_kib":{memory_full},"empty_kib":{memory_empty}}}"#
    ));
    broker.close().await;
    let started = Instant::now();
    let broker = Broker::open_embedded(directory.path(), &EmbeddedOptions::default()).expect("a broker");
    let open = started.elapsed();
    let late = lateness(&broker, &queue).await;
    print(&format!(
        r#"{{"figure":"{WAITING} waiting, opened again","open_ms":{:.1},"due_message_late_ms":{late:.2},"resident_kib":{}}}"#,
        open.as_secs_f64() * 1000.0,
        resident_kib()
    ));
    broker.close().await;
}

/// The median of how late a message with a delay of 50 ms is claimed, in milliseconds.
async fn lateness(broker: &Broker, queue: &QueueName) -> f64 {
    let mut consumer = broker.consume(queue, NonZeroUsize::MIN);
    let mut late = Vec::new();
    for _ in 0..21 {
        let delay = Duration::from_millis(50);
        broker.publish(vec![Outgoing::new(queue.clone(), "due").after(delay)]).await.expect("published");
        let published = Instant::now();
        let claim = consumer.next().await.expect("a claim");
        late.push((published.elapsed().as_secs_f64() - delay.as_secs_f64()) * 1000.0);
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    late.sort_by(f64::total_cmp);
    late[late.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "a count of seconds' work")]
fn rate(done: &AtomicU64, started: Instant) -> f64 {
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

#[expect(clippy::print_stdout, reason = "the result of the run")]
fn print(line: &str) {
    println!("{line}");
}
