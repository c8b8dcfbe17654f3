//! What every broker of ours promises, as tests that know nothing of how it is kept. A broker
//! passes by running [`suite`] on a fixture that can open it, close it, and end it as a crash does.

use std::{
    collections::HashSet,
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use bellbuoy_broker::{Broker, BrokerError, Claim, Consumer, Outgoing, QueueName, queues};
use bellbuoy_testkit::wait::eventually;
use tokio::time::timeout;

/// How a broker under test is opened and ended. Its delivery limit is 5.
pub(crate) trait Fixture {
    /// Opens the broker on what the last one left.
    fn open(&self) -> impl Future<Output = Broker>;
    /// Ends it in order.
    fn close(&self, broker: Broker) -> impl Future<Output = ()>;
    /// Ends it as `kill -9` does: claims are neither settled nor returned.
    fn crash(&self, broker: Broker, claims: Vec<Claim>) -> impl Future<Output = ()>;
}

/// Long enough for a loaded machine; nothing waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn many() -> NonZeroUsize {
    NonZeroUsize::new(1000).expect("not zero")
}

fn message(queue: &QueueName, body: impl std::fmt::Display) -> Outgoing {
    Outgoing::new(queue.clone(), format!("{body}"))
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

fn text(claim: &Claim) -> String {
    String::from_utf8(claim.body().to_vec()).expect("text")
}

async fn is_empty(broker: &Broker, queue: &QueueName) -> bool {
    // A message that was settled after another one proves that everything before it was seen.
    let mut consumer = broker.consume(queue, many());
    broker.publish(vec![message(queue, "the last")]).await.expect("published");
    let claim = next(&mut consumer).await;
    let last = text(&claim) == "the last";
    broker.settle(vec![claim], Vec::new()).await.expect("settled");
    last
}

pub(crate) async fn a_published_message_is_claimed_with_its_id_body_and_headers(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    let mut sent = message(&queue, "hello");
    sent.headers.set("traceparent", "00-abc");
    broker.publish(vec![sent.clone()]).await.expect("published");
    let claim = next(&mut broker.consume(&queue, many())).await;
    assert_eq!((claim.id(), text(&claim), claim.returns()), (sent.id, "hello".into(), 0));
    assert_eq!(claim.headers().get("traceparent"), Some("00-abc"));
    assert_eq!(claim.queue(), &queue);
    broker.settle(vec![claim], Vec::new()).await.expect("settled");
    assert!(is_empty(&broker, &queue).await);
    fixture.close(broker).await;
}

pub(crate) async fn what_was_published_survives_a_crash(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    let bodies: HashSet<String> = (0..2500).map(|number| number.to_string()).collect();
    broker.publish(bodies.iter().map(|body| message(&queue, body)).collect()).await.expect("published");
    fixture.crash(broker, Vec::new()).await;
    let broker = fixture.open().await;
    let mut consumer = broker.consume(&queue, NonZeroUsize::new(3000).expect("not zero"));
    let claims = take(&mut consumer, bodies.len()).await;
    assert_eq!(claims.iter().map(text).collect::<HashSet<_>>(), bodies);
    broker.settle(claims, Vec::new()).await.expect("settled");
    assert!(is_empty(&broker, &queue).await);
    fixture.close(broker).await;
}

pub(crate) async fn a_claimed_message_is_claimed_again_after_a_crash_and_a_settled_one_is_not(
    fixture: &impl Fixture,
) {
    let broker = fixture.open().await;
    let (queue, out) = (QueueName::new("q"), QueueName::new("out"));
    broker.publish(vec![message(&queue, "a"), message(&queue, "b")]).await.expect("published");
    let mut claims = take(&mut broker.consume(&queue, many()), 2).await;
    let open = claims.pop().expect("two claims");
    let open_body = text(&open);
    broker.settle(claims, vec![message(&out, "from a")]).await.expect("settled");
    fixture.crash(broker, vec![open]).await;
    let broker = fixture.open().await;
    let again = next(&mut broker.consume(&queue, many())).await;
    assert_eq!(text(&again), open_body);
    broker.settle(vec![again], Vec::new()).await.expect("settled");
    assert!(is_empty(&broker, &queue).await);
    let output = next(&mut broker.consume(&out, many())).await;
    assert_eq!(text(&output), "from a");
    broker.settle(vec![output], Vec::new()).await.expect("settled");
    fixture.close(broker).await;
}

pub(crate) async fn no_message_is_in_two_hands(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    broker.publish((0..3000).map(|number| message(&queue, number)).collect()).await.expect("published");
    let mut workers = tokio::task::JoinSet::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..4 {
        let mut consumer = broker.consume(&queue, NonZeroUsize::new(50).expect("not zero"));
        let (broker, seen) = (broker.clone(), Arc::clone(&seen));
        workers.spawn(async move {
            while let Ok(claim) = consumer.next().await {
                seen.lock().expect("no panic").push(text(&claim));
                broker.settle(vec![claim], Vec::new()).await.expect("settled");
            }
        });
    }
    eventually(PATIENCE, async || (seen.lock().expect("no panic").len() >= 3000).then_some(())).await;
    workers.shutdown().await;
    assert!(is_empty(&broker, &queue).await);
    let seen = seen.lock().expect("no panic").clone();
    assert_eq!(seen.len(), 3000);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 3000);
    fixture.close(broker).await;
}

pub(crate) async fn the_prefetch_bounds_what_one_consumer_holds(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    broker.publish((0..5).map(|number| message(&queue, number)).collect()).await.expect("published");
    let mut consumer = broker.consume(&queue, NonZeroUsize::new(2).expect("not zero"));
    let mut claims = take(&mut consumer, 2).await;
    assert!(consumer.try_next().is_none());
    assert!(timeout(Duration::from_millis(100), consumer.next()).await.is_err());
    let first = claims.remove(0);
    broker.settle(vec![first], Vec::new()).await.expect("settled");
    claims.push(next(&mut consumer).await);
    broker.settle(claims, Vec::new()).await.expect("settled");
    fixture.close(broker).await;
}

pub(crate) async fn a_dropped_claim_comes_again_and_counts(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    broker.publish(vec![message(&queue, "a")]).await.expect("published");
    let mut consumer = broker.consume(&queue, many());
    for returns in 0..4 {
        let claim = next(&mut consumer).await;
        assert_eq!(claim.returns(), returns);
        drop(claim);
    }
    let claim = next(&mut consumer).await;
    broker.settle(vec![claim], Vec::new()).await.expect("settled");
    assert!(is_empty(&broker, &queue).await);
    fixture.close(broker).await;
}

pub(crate) async fn a_message_that_is_returned_five_times_is_dead_lettered_with_its_bytes_and_reason(
    fixture: &impl Fixture,
) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    let mut poison = message(&queue, "poison");
    poison.headers.set("kept", "yes");
    let id = poison.id;
    broker.publish(vec![poison, message(&queue, "good")]).await.expect("published");
    let mut consumer = broker.consume(&queue, many());
    let mut dead = broker.consume(&queues::dead(), many());
    let dead = loop {
        tokio::select! {
            claim = next(&mut consumer) => {
                if text(&claim) == "good" {
                    broker.settle(vec![claim], Vec::new()).await.expect("settled");
                }
            }
            claim = next(&mut dead) => break claim,
        }
    };
    assert_eq!((dead.id(), text(&dead)), (id, "poison".into()));
    assert_eq!((dead.dead_reason(), dead.dead_origin()), (Some("poisoned"), Some("q")));
    assert_eq!(dead.headers().get("kept"), Some("yes"));
    broker.settle(vec![dead], Vec::new()).await.expect("settled");
    assert!(is_empty(&broker, &queue).await);
    fixture.close(broker).await;
}

pub(crate) async fn a_dead_letter_stays_one_however_often_it_is_returned(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    broker
        .publish(vec![Outgoing::quarantined("a test", "undecodable", "no JSON", "bytes")])
        .await
        .expect("published");
    let mut consumer = broker.consume(&queues::dead(), many());
    for returns in 0..8 {
        let claim = next(&mut consumer).await;
        assert_eq!((claim.returns(), claim.dead_reason()), (returns, Some("undecodable")));
    }
    let claim = next(&mut consumer).await;
    assert_eq!((claim.dead_origin(), claim.dead_detail()), (Some("a test"), Some("no JSON")));
    broker.settle(vec![claim], Vec::new()).await.expect("settled");
    fixture.close(broker).await;
}

pub(crate) async fn a_message_that_kills_its_process_five_times_is_dead_lettered_and_the_innocent_are_not(
    fixture: &impl Fixture,
) {
    let queue = QueueName::new("q");
    let broker = fixture.open().await;
    let mut messages: Vec<_> = (0..20).map(|number| message(&queue, format!("good {number}"))).collect();
    messages.insert(7, message(&queue, "poison"));
    broker.publish(messages).await.expect("published");
    fixture.close(broker).await;
    let mut good = 0;
    let mut crashes = 0;
    // However long RabbitMQ takes to hand the next ones over: each round ends with what has come by then.
    while (good, crashes) < (20, 5) {
        let broker = fixture.open().await;
        let mut consumer = broker.consume(&queue, many());
        let mut in_flight = Vec::new();
        let poisoned = loop {
            match timeout(Duration::from_millis(300), consumer.next()).await {
                Ok(claim) => in_flight.push(claim.expect("an open broker")),
                Err(_) => break in_flight.iter().any(|claim| text(claim) == "poison"),
            }
            if in_flight.iter().any(|claim| text(claim) == "poison") && in_flight.len() > 2 {
                break true;
            }
        };
        if poisoned {
            crashes += 1;
            fixture.crash(broker, in_flight).await;
            continue;
        }
        good += in_flight.len();
        broker.settle(in_flight, Vec::new()).await.expect("settled");
        fixture.close(broker).await;
    }
    assert_eq!((good, crashes), (20, 5));
    let broker = fixture.open().await;
    let dead = next(&mut broker.consume(&queues::dead(), many())).await;
    assert_eq!((text(&dead).as_str(), dead.dead_reason()), ("poison", Some("poisoned")));
    broker.settle(vec![dead], Vec::new()).await.expect("settled");
    fixture.close(broker).await;
}

pub(crate) async fn a_delayed_message_is_never_early_and_not_a_second_late(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    let delays = [0, 1, 20, 300, 700, 1000, 1500, 2500].map(Duration::from_millis);
    let published = Instant::now();
    let messages = delays.iter().map(|delay| message(&queue, delay.as_millis()).after(*delay));
    broker.publish(messages.collect()).await.expect("published");
    let mut consumer = broker.consume(&queue, many());
    for delay in delays {
        let claim = next(&mut consumer).await;
        let waited = published.elapsed();
        assert_eq!(text(&claim), delay.as_millis().to_string());
        assert!(waited >= delay, "{delay:?} was over after {waited:?}");
        assert!(SystemTime::now() >= claim.due());
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
    }
    fixture.close(broker).await;
}

pub(crate) async fn a_delay_outlives_the_process(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    let published = Instant::now();
    let delay = Duration::from_secs(2);
    broker
        .publish(vec![message(&queue, "later").after(delay), message(&queue, "now")])
        .await
        .expect("published");
    fixture.crash(broker, Vec::new()).await;
    let broker = fixture.open().await;
    let mut consumer = broker.consume(&queue, many());
    let first = next(&mut consumer).await;
    assert_eq!(text(&first), "now");
    let second = next(&mut consumer).await;
    assert_eq!(text(&second), "later");
    assert!(published.elapsed() >= delay);
    broker.settle(vec![first, second], Vec::new()).await.expect("settled");
    fixture.close(broker).await;
}

pub(crate) async fn a_settle_makes_its_outputs_and_ends_its_claims_together(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let (queue, out) = (QueueName::new("q"), QueueName::new("out"));
    broker.publish((0..200).map(|number| message(&queue, number)).collect()).await.expect("published");
    let claims = take(&mut broker.consume(&queue, many()), 200).await;
    let outputs = claims.iter().flat_map(|claim| [message(&out, text(claim)), message(&out, text(claim))]);
    let outputs = outputs.collect();
    broker.settle(claims, outputs).await.expect("settled");
    let outputs = take(&mut broker.consume(&out, many()), 400).await;
    assert_eq!(outputs.iter().map(text).collect::<HashSet<_>>().len(), 200);
    broker.settle(outputs, Vec::new()).await.expect("settled");
    assert!(is_empty(&broker, &queue).await);
    fixture.close(broker).await;
}

pub(crate) async fn what_no_broker_takes_is_refused_whole(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    let month = Duration::from_hours(30 * 24);
    broker.publish(vec![message(&queue, "kept 30 days").after(month)]).await.expect("published");
    let too_long = message(&queue, "b").after(month + Duration::from_secs(1));
    let refused = broker.publish(vec![message(&queue, "a"), too_long]).await;
    assert!(matches!(refused, Err(BrokerError::DelayTooLong { .. })), "{refused:?}");
    let too_large = Outgoing::new(queue.clone(), vec![0; (16 << 20) + 1]);
    let refused = broker.publish(vec![message(&queue, "a"), too_large]).await;
    assert!(matches!(refused, Err(BrokerError::TooLarge { .. })), "{refused:?}");
    assert!(is_empty(&broker, &queue).await);
    fixture.close(broker).await;
}

pub(crate) async fn a_settle_that_is_refused_leaves_its_claims_claimable(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    broker.publish(vec![message(&queue, "a")]).await.expect("published");
    let mut consumer = broker.consume(&queue, many());
    let claim = next(&mut consumer).await;
    let too_long = message(&queue, "b").after(Duration::from_hours(31 * 24));
    assert!(broker.settle(vec![claim], vec![too_long]).await.is_err());
    let again = next(&mut consumer).await;
    assert_eq!(text(&again), "a");
    broker.settle(vec![again], Vec::new()).await.expect("settled");
    fixture.close(broker).await;
}

pub(crate) async fn fresh_messages_do_not_wait_behind_a_storm_of_due_ones(fixture: &impl Fixture) {
    let broker = fixture.open().await;
    let queue = QueueName::new("q");
    let due = Duration::from_millis(1);
    broker
        .publish((0..5000).map(|number| message(&queue, number).after(due)).collect())
        .await
        .expect("published");
    let mut consumer = broker.consume(&queue, NonZeroUsize::MIN);
    let stormed = next(&mut consumer).await;
    broker.publish(vec![message(&queue, "fresh")]).await.expect("published");
    broker.settle(vec![stormed], Vec::new()).await.expect("settled");
    let mut before = 0;
    loop {
        let claim = next(&mut consumer).await;
        let fresh = text(&claim) == "fresh";
        broker.settle(vec![claim], Vec::new()).await.expect("settled");
        if fresh {
            break;
        }
        before += 1;
        assert!(before < 2500, "the fresh message waits behind the storm");
    }
    fixture.close(broker).await;
}

/// Hands the names of all promises to the macro `$then`, after `$with`.
#[macro_export]
macro_rules! promises {
    ($then:ident $with:tt) => {
        $then! { $with
            a_published_message_is_claimed_with_its_id_body_and_headers
            what_was_published_survives_a_crash
            a_claimed_message_is_claimed_again_after_a_crash_and_a_settled_one_is_not
            no_message_is_in_two_hands
            the_prefetch_bounds_what_one_consumer_holds
            a_dropped_claim_comes_again_and_counts
            a_message_that_is_returned_five_times_is_dead_lettered_with_its_bytes_and_reason
            a_dead_letter_stays_one_however_often_it_is_returned
            a_message_that_kills_its_process_five_times_is_dead_lettered_and_the_innocent_are_not
            a_delayed_message_is_never_early_and_not_a_second_late
            a_delay_outlives_the_process
            a_settle_makes_its_outputs_and_ends_its_claims_together
            what_no_broker_takes_is_refused_whole
            a_settle_that_is_refused_leaves_its_claims_claimable
            fresh_messages_do_not_wait_behind_a_storm_of_due_ones
        }
    };
}

/// One test for each promise, on a fresh fixture.
#[macro_export]
macro_rules! suite {
    ($fixture:expr) => {
        $crate::promises! { one_test_each ($fixture) }
    };
}

/// See [`suite`].
#[macro_export]
macro_rules! one_test_each {
    (($fixture:expr) $($test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                conformance::$test(&$fixture).await;
            }
        )*
    };
}
