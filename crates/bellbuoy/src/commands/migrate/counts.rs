//! What was moved, compared with what RabbitMQ says it has: on top of the confirms, one of which each message has.

use std::collections::BTreeMap;

use bellbuoy_broker::{Moved, QueueCount, QueueName};

/// What was moved, by queue.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<QueueName, (u64, u64)>);

/// What comparing RabbitMQ's counts before and after gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was moved stands there.
    Same,
    /// It doesn't; one sentence for each difference.
    Differs(Vec<String>),
    /// Somebody takes from the queues, so that nothing follows from their lengths.
    InUse,
}

impl Tally {
    pub(super) fn add(&mut self, moved: Vec<Moved>) {
        for Moved { queue, ready, delayed } in moved {
            let (all_ready, all_delayed) = self.0.entry(queue).or_default();
            *all_ready += ready;
            *all_delayed += delayed;
        }
    }

    /// Queues, with the messages that were ready and those that wait on.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&QueueName, u64, u64)> {
        self.0.iter().map(|(queue, (ready, delayed))| (queue, *ready, *delayed))
    }

    fn of(&self, queue: &QueueName) -> (u64, u64) {
        self.0.get(queue).copied().unwrap_or_default()
    }

    fn total(&self) -> u64 {
        self.0.values().map(|(ready, delayed)| ready + delayed).sum()
    }

    /// Compares RabbitMQ's counts. Waiting messages stand under one name whichever their queue, and become ready
    /// meanwhile; so a queue may have grown by any part of them, and only the sum is exact.
    pub(super) fn compare(&self, before: &[QueueCount], after: &[QueueCount]) -> Verdict {
        let is_ours = |count: &&QueueCount| ![WAITING, LOST].contains(&count.queue.as_str());
        if before.iter().chain(after).any(|count| count.consumers > 0) {
            return Verdict::InUse;
        }
        let was = |queue: &QueueName| {
            before.iter().find(|count| count.queue == *queue).map_or(0, |count| count.messages)
        };
        let waited = was(&QueueName::new(WAITING));
        let mut differences = Vec::new();
        for count in after.iter().filter(is_ours) {
            let (ready, delayed) = self.of(&count.queue);
            let least = was(&count.queue) + ready;
            let most = least + delayed + waited;
            if !(least..=most).contains(&count.messages) {
                differences.push(format!(
                    "queue {} should hold {least} messages, or up to {most} if waits have ended, but holds {}",
                    count.queue, count.messages
                ));
            }
        }
        let lost = after.iter().find(|count| count.queue.as_str() == LOST).map_or(0, |count| count.messages);
        let lost = lost.saturating_sub(was(&QueueName::new(LOST)));
        if lost > 0 {
            differences.push(format!("{lost} messages had no way and stand in queue {LOST}"));
        }
        let sum = |counts: &[QueueCount]| counts.iter().map(|count| count.messages).sum::<u64>();
        let (expected, found) = (sum(before) + self.total(), sum(after));
        if expected != found {
            differences
                .push(format!("all queues together should hold {expected} messages, but hold {found}"));
        }
        if differences.is_empty() { Verdict::Same } else { Verdict::Differs(differences) }
    }
}

/// Where the broker says that messages wait, and that those stand which had no way.
const WAITING: &str = "bellbuoy.delay";
const LOST: &str = "bellbuoy.unroutable";

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(events: u64, deliver: u64, waiting: u64, lost: u64) -> Vec<QueueCount> {
        let count =
            |queue: &str, messages| QueueCount { queue: QueueName::new(queue), messages, consumers: 0 };
        vec![count("events", events), count("deliver", deliver), count(WAITING, waiting), count(LOST, lost)]
    }

    fn moved(events: u64, deliver: (u64, u64)) -> Tally {
        let mut tally = Tally::default();
        let one = |queue, ready, delayed| Moved { queue: QueueName::new(queue), ready, delayed };
        tally.add(vec![one("events", events, 0), one("deliver", deliver.0, 0)]);
        tally.add(vec![one("deliver", 0, deliver.1)]);
        tally
    }

    #[test]
    fn what_was_moved_stands_in_its_queue_or_waits() {
        let before = counts(1, 0, 2, 0);
        for after in [counts(4, 5, 9, 0), counts(4, 12, 2, 0), counts(4, 8, 6, 0), counts(6, 12, 0, 0)] {
            assert_eq!(moved(3, (5, 7)).compare(&before, &after), Verdict::Same, "{after:?}");
        }
        assert_eq!(Tally::default().compare(&before, &before), Verdict::Same);
    }

    #[test]
    fn each_difference_is_named() {
        let before = counts(1, 0, 2, 0);
        for (after, parts) in [
            (counts(3, 6, 9, 0), &["queue events should hold 4 messages"][..]),
            (counts(4, 5, 8, 0), &["should hold 18 messages, but hold 17"]),
            (counts(4, 5, 8, 1), &["1 messages had no way"]),
            (counts(4, 15, 9, 0), &["queue deliver should hold 5 messages, or up to 14", "hold 28"]),
        ] {
            let Verdict::Differs(found) = moved(3, (5, 7)).compare(&before, &after) else {
                panic!("no difference in {after:?}")
            };
            let found = found.join("; ");
            assert!(parts.iter().all(|part| found.contains(part)), "{found}");
        }
    }

    #[test]
    fn nothing_follows_from_queues_that_somebody_takes_from() {
        let mut after = counts(0, 0, 0, 0);
        after[1].consumers = 1;
        assert_eq!(moved(3, (5, 7)).compare(&counts(0, 0, 0, 0), &after), Verdict::InUse);
    }
}
