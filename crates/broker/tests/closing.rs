//! How the embedded broker ends: in order, or because everybody let go of it.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use bellbuoy_broker::{
    Broker, BrokerError, Claim, Consumer, EmbeddedOptions, OpenError, Outgoing, QueueName,
};
use tokio::time::timeout;

/// Long enough for a loaded machine; nothing waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn open(directory: &Path) -> Result<Broker, OpenError> {
    Broker::open_embedded(directory, &EmbeddedOptions::default())
}

fn queue() -> QueueName {
    QueueName::new("q")
}

async fn next(consumer: &mut Consumer) -> Claim {
    timeout(PATIENCE, consumer.next()).await.expect("a message in time").expect("an open broker")
}

#[tokio::test]
async fn a_closed_broker_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = open(directory.path()).expect("a broker");
    let mut consumer = broker.consume(&queue(), NonZeroUsize::MIN);
    broker.ping().await.expect("it writes");
    broker.close().await;
    assert!(consumer.next().await.is_err());
    assert!(broker.publish(vec![Outgoing::new(queue(), "a")]).await.is_err());
    assert!(broker.ping().await.is_err());
}

#[tokio::test]
async fn a_closed_broker_hands_out_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = open(directory.path()).expect("a broker");
    let mut consumer = broker.consume(&queue(), NonZeroUsize::MIN);
    broker.publish(vec![Outgoing::new(queue(), "a")]).await.expect("published");
    broker.close().await;
    assert!(consumer.try_next().is_none(), "the next process has it by now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_at_its_prefetch_learns_of_the_close_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = open(directory.path()).expect("a broker");
    let mut consumer = broker.consume(&queue(), NonZeroUsize::MIN);
    broker.publish(vec![Outgoing::new(queue(), "a")]).await.expect("published");
    let claim = next(&mut consumer).await;
    let waiting = tokio::spawn(async move { consumer.next().await.map(drop) });
    broker.close().await;
    let ended = timeout(PATIENCE, waiting).await.expect("an answer in time").expect("no panic");
    assert_eq!(ended, Err(BrokerError::Closed));
    drop(claim);
}

#[tokio::test]
async fn a_claim_that_is_open_when_the_broker_closes_does_not_count() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = open(directory.path()).expect("a broker");
    broker.publish(vec![Outgoing::new(queue(), "a")]).await.expect("published");
    let claim = next(&mut broker.consume(&queue(), NonZeroUsize::MIN)).await;
    broker.close().await;
    drop(claim);
    let broker = open(directory.path()).expect("a broker");
    let claim = next(&mut broker.consume(&queue(), NonZeroUsize::MIN)).await;
    assert_eq!(claim.returns(), 0);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_stay_locked_while_a_claim_is_open() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = open(directory.path()).expect("a broker");
    broker.publish(vec![Outgoing::new(queue(), "a")]).await.expect("published");
    let claim = next(&mut broker.consume(&queue(), NonZeroUsize::MIN)).await;
    drop(broker);
    let second = open(directory.path());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "the message would be in two hands");
    drop(claim);
    let opened = async {
        loop {
            match open(directory.path()) {
                Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                other => break other,
            }
        }
    };
    let broker = timeout(PATIENCE, opened).await.expect("released in time").expect("a broker");
    assert_eq!(next(&mut broker.consume(&queue(), NonZeroUsize::MIN)).await.returns(), 1);
    broker.close().await;
}
