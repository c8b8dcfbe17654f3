//! One stream of claims from several queues of equal rank.

use std::num::NonZeroUsize;

use bellbuoy_broker::{Broker, BrokerError, Claim, Consumer, QueueName};
use futures_util::future::select_all;

/// Takes from several queues in turn, so that a long queue doesn't stand in front of a short one.
#[derive(Debug)]
pub(crate) struct Intake {
    consumers: Vec<Consumer>,
    turn: usize,
}

impl Intake {
    /// Takes part in the work of all `queues`, of which there is at least one, with `window` messages sent
    /// ahead of their time over all of them, but at least one from each.
    pub(crate) fn new(broker: &Broker, queues: &[QueueName], window: NonZeroUsize) -> Self {
        let share =
            NonZeroUsize::new(window.get().div_ceil(queues.len().max(1))).unwrap_or(NonZeroUsize::MIN);
        Self { consumers: queues.iter().map(|queue| broker.consume(queue, share)).collect(), turn: 0 }
    }

    /// The next message of whichever queue has one. Cancel safe.
    ///
    /// # Errors
    ///
    /// As for [`Consumer::next`], of any of the queues.
    pub(crate) async fn next(&mut self) -> Result<Claim, BrokerError> {
        let count = self.consumers.len();
        for step in 1..=count {
            let place = (self.turn + step) % count;
            if let Some(claim) = self.consumers[place].try_next() {
                self.turn = place;
                return Ok(claim);
            }
        }
        let waits = self.consumers.iter_mut().map(|consumer| Box::pin(consumer.next()));
        let (claim, place, _) = select_all(waits).await;
        self.turn = place;
        claim
    }
}

#[cfg(test)]
mod tests {
    use bellbuoy_broker::{EmbeddedOptions, Outgoing};

    use super::*;

    #[tokio::test]
    async fn queues_take_turns_and_an_empty_one_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let broker = Broker::open_embedded(directory.path(), &EmbeddedOptions::default()).expect("a broker");
        let queues = ["a", "b", "c"].map(QueueName::new);
        let send = |queue: &QueueName| broker.publish(vec![Outgoing::new(queue.clone(), "x")]);
        for queue in [&queues[0], &queues[0], &queues[0], &queues[1]] {
            send(queue).await.expect("published");
        }
        let mut intake = Intake::new(&broker, &queues, NonZeroUsize::new(12).expect("not zero"));
        let mut order = Vec::new();
        let mut held = Vec::new();
        for _ in 0..4 {
            let claim = intake.next().await.expect("a claim");
            order.push(claim.queue().as_str().to_owned());
            held.push(claim);
        }
        let place = order.iter().position(|name| name == "b").expect("it came");
        assert!(place <= 1, "behind one of the others at most: {order:?}");
        let (claim, published) = tokio::join!(intake.next(), send(&queues[2]));
        published.expect("published");
        assert_eq!(claim.expect("a claim").queue(), &queues[2]);
    }
}
