//! What the metrics say of the queues.

use std::collections::HashSet;

use bellbuoy_broker::{QueueDepth, QueueName};
use bellbuoy_telemetry::{Gauge, Metrics};

/// What a message in a queue can be.
const STATES: [&str; 3] = ["ready", "delayed", "claimed"];

/// The queues whose series stand.
#[derive(Debug, Default)]
pub(crate) struct ShownQueues(HashSet<QueueName>);

impl ShownQueues {
    /// Shows what is known now. The series of a queue of which nothing is known any more go: an alert can tell one that is
    /// absent from one that does not grow.
    #[expect(clippy::cast_precision_loss, reason = "a gauge of more than 2^53 messages may be a little off")]
    pub(crate) fn show(&mut self, depths: &[QueueDepth], metrics: &Metrics) {
        for depth in depths {
            let queue = depth.queue.as_str();
            for (state, messages) in STATES.into_iter().zip([depth.ready, depth.delayed, depth.claimed]) {
                metrics.set(Gauge::QueueMessages, &[queue, state], messages as f64);
            }
            let oldest = depth.oldest_ready.unwrap_or_default().as_secs_f64();
            metrics.set(Gauge::QueueOldestReady, &[queue], oldest);
        }
        let known = depths.iter().map(|depth| depth.queue.clone()).collect();
        for gone in std::mem::replace(&mut self.0, known).difference(&self.0) {
            for state in STATES {
                metrics.unset(Gauge::QueueMessages, &[gone.as_str(), state]);
            }
            metrics.unset(Gauge::QueueOldestReady, &[gone.as_str()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(queue: &str, ready: u64) -> QueueDepth {
        QueueDepth { queue: QueueName::new(queue), ready, delayed: 0, claimed: 0, oldest_ready: None }
    }

    #[test]
    fn the_series_of_a_queue_of_which_nothing_is_known_any_more_go() {
        let (metrics, mut shown) = (Metrics::new(), ShownQueues::default());
        shown.show(&[depth("one", 7), depth("two", 0)], &metrics);
        assert!(metrics.render().contains(r#"bellbuoy_queue_messages{queue="one",state="ready"} 7"#));
        shown.show(&[depth("two", 3)], &metrics);
        let text = metrics.render();
        assert!(!text.contains(r#"queue="one""#), "{text}");
        assert!(text.contains(r#"bellbuoy_queue_messages{queue="two",state="ready"} 3"#), "{text}");
        shown.show(&[], &metrics);
        assert!(!metrics.render().contains("queue="));
    }
}
