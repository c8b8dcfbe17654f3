//! The embedded broker: the suite that every broker passes, and what only a broker on one disk
//! can be asked.

mod conformance;

use std::{num::NonZeroUsize, path::Path, time::Duration};

use bellbuoy_broker::{
    Broker, BrokerError, Claim, EmbeddedOptions, OpenError, Outgoing, QueueName, Removal, RemovalError,
};
use tempfile::TempDir;

struct Embedded {
    directory: TempDir,
}

impl Embedded {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }
}

impl conformance::Fixture for Embedded {
    async fn open(&self) -> Broker {
        let options = EmbeddedOptions { suspects_after: Duration::ZERO, ..EmbeddedOptions::default() };
        Broker::open_embedded(self.directory.path(), &options).expect("a broker")
    }

    async fn close(&self, broker: Broker) {
        broker.close().await;
    }

    // What a killed process leaves is its files. They are copied while it lives, so that nothing
    // which it does afterwards can reach them.
    async fn crash(&self, broker: Broker, claims: Vec<Claim>) {
        let left = tempfile::tempdir().expect("a temporary directory");
        copy(self.directory.path(), left.path());
        broker.close().await;
        drop(claims);
        for entry in std::fs::read_dir(self.directory.path()).expect("the directory") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("removed");
        }
        copy(left.path(), self.directory.path());
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the directory") {
        let entry = entry.expect("an entry");
        // The shared memory of the log is rebuilt, as it is after a crash.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

suite!(Embedded::new());

fn options() -> EmbeddedOptions {
    EmbeddedOptions::default()
}

#[tokio::test]
async fn a_second_process_on_the_same_files_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let first = Broker::open_embedded(directory.path(), &options()).expect("a broker");
    let second = Broker::open_embedded(directory.path(), &options());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    first.close().await;
}

#[tokio::test]
async fn files_that_can_not_be_used_are_refused_by_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = directory.path().join("missing");
    let refused = Broker::open_embedded(&missing, &options()).expect_err("no directory");
    assert!(refused.to_string().contains("missing"), "{refused}");
    std::fs::write(directory.path().join("broker.db"), b"this is no database at all".repeat(100))
        .expect("written");
    let refused = Broker::open_embedded(directory.path(), &options()).expect_err("no database");
    assert!(matches!(refused, OpenError::Database { .. }), "{refused}");
}

#[tokio::test]
async fn only_its_owner_can_read_its_files() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::open_embedded(directory.path(), &options()).expect("a broker");
    broker.publish(vec![Outgoing::new(QueueName::new("q"), "secret")]).await.expect("published");
    for entry in std::fs::read_dir(directory.path()).expect("the directory") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_depths_say_what_stands_where() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let queue = QueueName::new("q");
    let broker = Broker::open_embedded(directory.path(), &options()).expect("a broker");
    let hour = Duration::from_hours(1);
    let mut messages: Vec<_> = (0..7).map(|_| Outgoing::new(queue.clone(), "now")).collect();
    messages.extend((0..3).map(|_| Outgoing::new(queue.clone(), "later").after(hour)));
    broker.publish(messages).await.expect("published");
    let mut consumer = broker.consume(&queue, NonZeroUsize::new(2).expect("not zero"));
    let claims = [consumer.next().await.expect("a claim"), consumer.next().await.expect("a claim")];
    let depth = |broker: &Broker| {
        let depth = broker.depths().into_iter().find(|depth| depth.queue == queue).expect("the queue");
        (depth.ready, depth.delayed, depth.claimed, depth.oldest_ready.is_some())
    };
    assert_eq!(depth(&broker), (7, 3, 2, true));
    broker.settle(claims.into(), Vec::new()).await.expect("settled");
    assert_eq!(depth(&broker), (5, 3, 0, true));
    broker.close().await;
    let broker = Broker::open_embedded(directory.path(), &options()).expect("a broker");
    assert_eq!(depth(&broker), (5, 3, 0, false));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_memory_waits_on_disk_and_comes_in_order() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let queue = QueueName::new("q");
    let broker = Broker::open_embedded(directory.path(), &options()).expect("a broker");
    // 400 bodies of 200 kB are ten times the bytes that a window takes.
    for batch in 0..20_u32 {
        let bodies = (0..20).map(|number| {
            let mut body = vec![0; 200_000];
            body[..4].copy_from_slice(&(batch * 20 + number).to_be_bytes());
            Outgoing::new(queue.clone(), body)
        });
        broker.publish(bodies.collect()).await.expect("published");
    }
    let mut consumer = broker.consume(&queue, NonZeroUsize::MIN);
    for expected in 0..400_u32 {
        let claim = consumer.next().await.expect("a claim");
        assert_eq!(claim.body()[..4], expected.to_be_bytes());
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    broker.close().await;
}

#[tokio::test]
async fn a_crash_loop_is_not_blamed_on_the_messages_that_it_meets_first() {
    let fixture = Embedded::new();
    let queue = QueueName::new("q");
    let open = || Broker::open_embedded(fixture.directory.path(), &options()).expect("a broker");
    let one = NonZeroUsize::MIN;
    let broker = open();
    broker.publish(vec![Outgoing::new(queue.clone(), "innocent")]).await.expect("published");
    broker.close().await;
    for _ in 0..2 {
        let broker = open();
        let claim = broker.consume(&queue, one).next().await.expect("an open broker");
        conformance::Fixture::crash(&fixture, broker, vec![claim]).await;
    }
    for _ in 0..5 {
        let broker = open();
        let mut consumer = broker.consume(&queue, one);
        let soon = tokio::time::timeout(Duration::from_millis(50), consumer.next()).await;
        assert!(soon.is_err(), "a suspect is in hand right after the start");
        conformance::Fixture::crash(&fixture, broker, Vec::new()).await;
    }
    let broker = open();
    let claim = broker.consume(&queue, one).next().await.expect("an open broker");
    assert_eq!(claim.returns(), 2);
    broker.settle(vec![claim], Vec::new()).await.expect("settled");
    broker.close().await;
}

/// Moves everything from the files in `directory` to `to`, and gives back the sizes of the batches.
async fn move_out(directory: &Path, to: &Broker) -> Vec<u64> {
    let mut removal = Removal::open(directory, &options()).expect("the old broker");
    let mut sizes = Vec::new();
    loop {
        let moved = removal.move_next(to).await.expect("moved");
        if moved.is_empty() {
            break;
        }
        sizes.push(moved.iter().map(|moved| moved.ready + moved.delayed).sum());
    }
    assert!(removal.depths().iter().all(|depth| (depth.ready, depth.delayed) == (0, 0)));
    removal.close().await;
    sizes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_moves_out_in_batches_whatever_it_waits_for() {
    let (old, new) = (Embedded::new(), Embedded::new());
    let (one, two) = (QueueName::new("one"), QueueName::new("two"));
    let hour = Duration::from_hours(1);
    let broker = Broker::open_embedded(old.directory.path(), &options()).expect("a broker");
    let mut sent: Vec<_> = (0..1500).map(|number| Outgoing::new(one.clone(), number.to_string())).collect();
    sent.extend((0..800).map(|number| Outgoing::new(two.clone(), number.to_string()).after(hour)));
    sent[0].headers.set("bellbuoy-accepted-ms", "17");
    broker.publish(sent.clone()).await.expect("published");
    broker.close().await;

    let to = Broker::open_embedded(new.directory.path(), &options()).expect("a broker");
    assert_eq!(move_out(old.directory.path(), &to).await, [1024, 1024, 252]);
    let depths: Vec<_> =
        to.depths().into_iter().map(|depth| (depth.queue, depth.ready, depth.delayed)).collect();
    assert_eq!(depths, [(one.clone(), 1500, 0), (two, 0, 800)]);
    let claim = to.consume(&one, NonZeroUsize::MIN).next().await.expect("a claim");
    assert_eq!((claim.id(), claim.body()), (sent[0].id, &sent[0].body));
    assert_eq!(claim.headers(), &sent[0].headers);
    drop(claim);
    to.close().await;
    assert!(move_out(old.directory.path(), &to).await.is_empty(), "nothing is left, so nobody is asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_moves_is_bounded_by_its_bytes() {
    let (old, new) = (Embedded::new(), Embedded::new());
    let broker = Broker::open_embedded(old.directory.path(), &options()).expect("a broker");
    for megabytes in [1, 2, 3, 9, 1, 1] {
        let body = vec![7; megabytes << 20];
        broker.publish(vec![Outgoing::new(QueueName::new("q"), body)]).await.expect("published");
    }
    broker.close().await;
    let to = Broker::open_embedded(new.directory.path(), &options()).expect("a broker");
    assert_eq!(move_out(old.directory.path(), &to).await, [2, 1, 1, 2]);
    to.close().await;
}

#[tokio::test]
async fn what_is_not_taken_stays_and_nobody_else_has_the_files_meanwhile() {
    let old = Embedded::new();
    let broker = Broker::open_embedded(old.directory.path(), &options()).expect("a broker");
    broker.publish(vec![Outgoing::new(QueueName::new("q"), "1")]).await.expect("published");
    let refused = Removal::open(old.directory.path(), &options());
    assert!(matches!(refused, Err(OpenError::InUse { .. })), "{refused:?}");
    broker.close().await;
    let mut removal = Removal::open(old.directory.path(), &options()).expect("the old broker");
    let refused = removal.move_next(&broker).await;
    assert_eq!(refused, Err(RemovalError::To(BrokerError::Closed)));
    let left: Vec<_> = removal.depths().iter().map(|depth| depth.ready).collect();
    assert_eq!(left, [1]);
    let second = Broker::open_embedded(old.directory.path(), &options());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    removal.close().await;
    let broker = Broker::open_embedded(old.directory.path(), &options()).expect("a broker");
    let claim = broker.consume(&QueueName::new("q"), NonZeroUsize::MIN).next().await.expect("the message");
    assert_eq!(claim.returns(), 0);
    broker.close().await;
}

#[tokio::test]
async fn who_only_looks_at_what_is_to_move_leaves_the_count_of_returns_to_the_next() {
    let old = Embedded::new();
    let queue = QueueName::new("q");
    let broker = Broker::open_embedded(old.directory.path(), &options()).expect("a broker");
    broker.publish(vec![Outgoing::new(queue.clone(), "1")]).await.expect("published");
    let claim = broker.consume(&queue, NonZeroUsize::MIN).next().await.expect("the message");
    conformance::Fixture::crash(&old, broker, vec![claim]).await;
    for _ in 0..2 {
        let looked = Removal::look(old.directory.path(), &options()).expect("the old broker");
        let depths: Vec<_> = looked.depths().into_iter().map(|depth| (depth.queue, depth.ready)).collect();
        assert_eq!(depths, [(queue.clone(), 1)]);
        looked.close().await;
    }
    let broker = Broker::open_embedded(old.directory.path(), &options()).expect("a broker");
    let claim = broker.consume(&queue, NonZeroUsize::MIN).next().await.expect("the message");
    assert_eq!(claim.returns(), 1, "once, for the process that was killed");
    broker.settle(vec![claim], Vec::new()).await.expect("settled");
    broker.close().await;
}
