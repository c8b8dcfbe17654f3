//! Whoever waits is woken when there is something for them, and nobody's turn never comes.

use std::{
    future::{Future, poll_fn},
    num::NonZeroUsize,
    pin::pin,
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

use bellbuoy_broker::{Broker, Claim, Consumer, EmbeddedOptions, Outgoing, QueueName, queues};
use tempfile::TempDir;
use tokio::time::timeout;

/// Long enough for a loaded machine; nothing waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn rig() -> (TempDir, Broker, QueueName) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::open_embedded(directory.path(), &EmbeddedOptions::default()).expect("a broker");
    (directory, broker, QueueName::new("q"))
}

fn many() -> NonZeroUsize {
    NonZeroUsize::new(2000).expect("not zero")
}

async fn next(consumer: &mut Consumer) -> Claim {
    timeout(PATIENCE, consumer.next()).await.expect("a message in time").expect("an open broker")
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<Claim> {
    let mut claims = Vec::new();
    while claims.len() < count {
        claims.push(next(consumer).await);
    }
    claims
}

async fn publish(broker: &Broker, queue: &QueueName, body: &'static str, count: usize) {
    let messages = (0..count).map(|_| Outgoing::new(queue.clone(), body));
    broker.publish(messages.collect()).await.expect("published");
}

/// Messages that were returned twice: claimed alone from now on.
async fn suspects(broker: &Broker, queue: &QueueName, count: usize) {
    publish(broker, queue, "suspect", count).await;
    let mut consumer = broker.consume(queue, many());
    for _ in 0..2 {
        drop(take(&mut consumer, count).await);
    }
    // A write that comes after the returns proves that they are through.
    broker.ping().await.expect("it writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_is_claimed_as_soon_as_the_one_before_it_is_settled() {
    let (_directory, broker, queue) = rig();
    suspects(&broker, &queue, 20).await;
    let started = Instant::now();
    let mut consumer = broker.consume(&queue, many());
    let mut claim = next(&mut consumer).await;
    for _ in 1..20 {
        let (following, settled) = tokio::join!(next(&mut consumer), async {
            tokio::task::yield_now().await;
            broker.settle(vec![claim], Vec::new()).await
        });
        settled.expect("settled");
        claim = following;
    }
    assert!(started.elapsed() < Duration::from_secs(10), "each waits for a timer: {:?}", started.elapsed());
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_is_claimed_as_soon_as_its_process_is_old_enough() {
    let (directory, broker, queue) = rig();
    suspects(&broker, &queue, 1).await;
    broker.close().await;
    let options = EmbeddedOptions { suspects_after: Duration::from_millis(50), ..EmbeddedOptions::default() };
    let started = Instant::now();
    for _ in 0..5 {
        let opened = Instant::now();
        let broker = Broker::open_embedded(directory.path(), &options).expect("a broker");
        let claim = next(&mut broker.consume(&queue, many())).await;
        assert!(opened.elapsed() >= options.suspects_after);
        broker.close().await;
        drop(claim);
    }
    assert!(started.elapsed() < Duration::from_millis(2500), "late: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspects_do_not_hold_up_the_innocent() {
    let (_directory, broker, queue) = rig();
    suspects(&broker, &queue, 300).await;
    let mut consumer = broker.consume(&queue, many());
    let suspect = next(&mut consumer).await;
    assert_eq!(suspect.returns(), 2);
    publish(&broker, &queue, "innocent", 1500).await;
    let innocent = take(&mut consumer, 1500).await;
    assert!(innocent.iter().all(|claim| claim.returns() == 0));
    broker.settle(innocent, Vec::new()).await.expect("settled");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_message_does_not_wait_behind_a_storm_of_fresh_ones() {
    let (_directory, broker, queue) = rig();
    publish(&broker, &queue, "fresh", 1000).await;
    broker
        .publish(vec![Outgoing::new(queue.clone(), "due").after(Duration::from_millis(1))])
        .await
        .expect("published");
    let mut consumer = broker.consume(&queue, NonZeroUsize::MIN);
    for before in 0.. {
        let claim = next(&mut consumer).await;
        let due = claim.body() == "due";
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
        if due {
            break;
        }
        assert!(before < 400, "the due message waits behind the storm");
    }
    broker.close().await;
}

/// Polls once, so that the future waits from now on.
async fn start<F: Future<Output: std::fmt::Debug>>(mut future: std::pin::Pin<&mut F>) {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(output) => panic!("nothing should be there yet: {output:?}"),
    })
    .await;
}

#[tokio::test]
async fn a_consumer_that_stops_waiting_does_not_take_the_timer_with_it() {
    let (_directory, broker, queue) = rig();
    let (mut first, mut second) = (broker.consume(&queue, many()), broker.consume(&queue, many()));
    let started = Instant::now();
    for _ in 0..5 {
        let mut stays = pin!(second.next());
        {
            let mut leaves = pin!(first.next());
            start(leaves.as_mut()).await;
            start(stays.as_mut()).await;
            let later = Outgoing::new(queue.clone(), "later").after(Duration::from_millis(50));
            broker.publish(vec![later]).await.expect("published");
            start(leaves.as_mut()).await;
        }
        let claim = timeout(PATIENCE, stays).await.expect("in time").expect("a claim");
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    assert!(started.elapsed() < Duration::from_millis(2500), "late: {:?}", started.elapsed());
    broker.close().await;
}

#[tokio::test]
async fn a_delay_is_not_cut_short_by_rounding() {
    let (_directory, broker, queue) = rig();
    let mut consumer = broker.consume(&queue, many());
    let delay = Duration::from_micros(1500);
    for _ in 0..50 {
        let published = SystemTime::now();
        broker.publish(vec![Outgoing::new(queue.clone(), "a").after(delay)]).await.expect("published");
        let claim = next(&mut consumer).await;
        assert!(claim.due() >= published + delay);
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    broker.close().await;
}

#[tokio::test]
async fn a_dead_letter_is_never_poisoned_and_keeps_why_it_died() {
    let (_directory, broker, queue) = rig();
    let quarantined = Outgoing::quarantined("ingest", "undecodable", "not JSON", "{");
    broker.publish(vec![quarantined]).await.expect("published");
    let mut dead = broker.consume(&queues::dead(), many());
    for returns in 0..8 {
        let claim = next(&mut dead).await;
        assert_eq!((claim.returns(), claim.dead_reason()), (returns, Some("undecodable")));
    }
    // Replayed and given up once more, it says why this time, once.
    let claim = next(&mut dead).await;
    let mut replayed = Outgoing::new(queue.clone(), claim.body().clone());
    replayed.headers = claim.headers().clone();
    broker.settle(vec![claim], vec![replayed]).await.expect("settled");
    let claim = next(&mut broker.consume(&queue, many())).await;
    let again = Outgoing::dead_letter(&claim, "rejected", "it answered 404");
    broker.settle(vec![claim], vec![again]).await.expect("settled");
    let claim = next(&mut dead).await;
    assert_eq!((claim.dead_reason(), claim.dead_origin()), (Some("rejected"), Some("q")));
    assert_eq!(claim.headers().iter().count(), 3);
    broker.settle(vec![claim], Vec::new()).await.expect("settled");
    broker.close().await;
}
