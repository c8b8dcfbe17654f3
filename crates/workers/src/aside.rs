//! Putting a message aside that this process can't handle now but another one, or a later one,
//! may: one of a newer version during a rolling upgrade, or one that the store refuses.
//!
//! The same message, with its id, goes back to its queue with a delay, in the settle that ends the
//! claim. So it blocks nothing and does not count as one that kills its worker.

use std::time::Duration;

use bellbuoy_broker::{Claim, Outgoing, queues};
use bellbuoy_domain::DeadReason;
use bellbuoy_telemetry::{Counter, Metrics};
use jiff::Timestamp;
use tracing::warn;

use crate::clock;

/// Header of a message that was put aside: since when, in Unix milliseconds.
const SINCE: &str = "bellbuoy-aside-since-ms";

/// How long a message is put aside at a time.
const WAIT: Duration = Duration::from_mins(1);

/// For how long, all in all: long enough to finish or to undo an upgrade. After that it is a
/// dead letter, whose bytes can be replayed.
const AT_MOST: Duration = Duration::from_hours(24);

/// Why a message is put aside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Why {
    /// A newer version wrote it.
    Newer,
    /// The store refuses it, or what belongs to it.
    Refused,
}

impl Why {
    fn name(self) -> &'static str {
        match self {
            Self::Newer => "newer_version",
            Self::Refused => "store_refused",
        }
    }
}

/// The message for later or, after a day of that, as a dead letter. Give it as an output of
/// settling the claim.
pub(crate) fn put_aside(claim: &Claim, why: Why, detail: &str, metrics: &Metrics) -> Outgoing {
    let now = clock::now();
    let since = since(claim);
    let queue = claim.queue().as_str();
    // A dead letter has nowhere further to go.
    let over = since.is_some_and(|since| clock::since(since, now) >= AT_MOST);
    if over && *claim.queue() != queues::dead() {
        let reason = DeadReason::Undecodable.name();
        warn!(
            "message {} of {queue} was put aside for a day and becomes a dead letter: {detail}",
            claim.id()
        );
        metrics.count(Counter::DeadLetters, &[queue, reason], 1);
        return Outgoing::dead_letter(claim, reason, detail);
    }
    if since.is_none() {
        warn!("message {} of {queue} is put aside, to be looked at every minute: {detail}", claim.id());
    }
    metrics.count(Counter::MessagesPutAside, &[queue, why.name()], 1);
    let mut message = Outgoing::new(claim.queue().clone(), claim.body().clone()).after(WAIT);
    message.id = claim.id();
    message.headers = claim.headers().clone();
    if since.is_none() {
        message.headers.set(SINCE, now.as_millisecond().to_string());
    }
    message
}

fn since(claim: &Claim) -> Option<Timestamp> {
    Timestamp::from_millisecond(claim.headers().get(SINCE)?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use bellbuoy_broker::{Broker, EmbeddedOptions, QueueName};

    use super::*;

    async fn claim(broker: &Broker, queue: &QueueName, since: Option<Duration>) -> Claim {
        let mut message = Outgoing::new(queue.clone(), "from tomorrow");
        message.headers.set("kept", "yes");
        if let Some(ago) = since {
            let since = clock::now().as_millisecond() - i64::try_from(ago.as_millis()).expect("a span");
            message.headers.set(SINCE, since.to_string());
        }
        broker.publish(vec![message]).await.expect("published");
        broker.consume(queue, NonZeroUsize::MIN).next().await.expect("a claim")
    }

    #[tokio::test]
    async fn a_message_is_put_aside_for_a_day_with_its_id_and_then_becomes_a_dead_letter() {
        let directory = tempfile::tempdir().expect("a directory");
        let broker = Broker::open_embedded(directory.path(), &EmbeddedOptions::default()).expect("a broker");
        let metrics = Metrics::new();
        let queue = queues::outcomes();
        for since in [None, Some(AT_MOST / 2)] {
            let claim = claim(&broker, &queue, since).await;
            let aside = put_aside(&claim, Why::Newer, "written tomorrow", &metrics);
            assert_eq!((&aside.queue, aside.id, aside.delay), (&queue, claim.id(), WAIT));
            assert_eq!((&*aside.body, aside.headers.get("kept")), (&b"from tomorrow"[..], Some("yes")));
            let kept = claim.headers().get(SINCE);
            assert!(kept.is_none() || aside.headers.get(SINCE) == kept, "it goes on counting");
            assert!(aside.headers.get(SINCE).is_some());
            broker.settle(vec![claim], Vec::new()).await.expect("settled");
        }
        let old = claim(&broker, &queue, Some(AT_MOST)).await;
        let dead = put_aside(&old, Why::Newer, "written tomorrow", &metrics);
        assert_eq!((dead.queue, dead.id), (queues::dead(), old.id()));
        let buried = claim(&broker, &queues::dead(), Some(AT_MOST)).await;
        let aside = put_aside(&buried, Why::Refused, "refused", &metrics);
        assert_eq!((aside.queue, aside.delay), (queues::dead(), WAIT), "not a dead letter of a dead letter");
    }
}
