//! What the metrics say of the queues.

use std::{collections::HashSet, time::Duration};

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
            match oldest_ready(depth) {
                Some(oldest) => metrics.set(Gauge::QueueOldestReady, &[queue], oldest.as_secs_f64()),
                None => metrics.unset(Gauge::QueueOldestReady, &[queue]),
            }
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

/// No time where nothing waits, and nothing where something does of which the broker does not say how old it is.
fn oldest_ready(depth: &QueueDepth) -> Option<Duration> {
    let is_empty = depth.ready <= depth.claimed;
    depth.oldest_ready.or(is_empty.then_some(Duration::ZERO))
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

    #[test]
    fn of_what_waits_without_an_age_no_age_is_shown() {
        let (metrics, mut shown) = (Metrics::new(), ShownQueues::default());
        let mut age = |depth: QueueDepth| {
            shown.show(&[depth], &metrics);
            let shown = metrics.render();
            let line = shown.lines().find(|line| line.starts_with("bellbuoy_queue_oldest_ready_seconds{"))?;
            line.rsplit(' ').next().map(str::to_owned)
        };
        let ninety = Some(Duration::from_secs(90));
        assert_eq!(age(QueueDepth { oldest_ready: ninety, ..depth("one", 7) }).as_deref(), Some("90"));
        assert_eq!(age(depth("one", 7)), None);
        assert_eq!(age(depth("one", 0)).as_deref(), Some("0"));
        assert_eq!(age(QueueDepth { claimed: 7, ..depth("one", 7) }).as_deref(), Some("0"), "all in hand");
    }
}
