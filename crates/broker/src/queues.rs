//! The names of our queues: the same on every broker.

use std::num::NonZeroU16;

use crate::QueueName;

/// Prefix of everything we own on a shared broker.
const PREFIX: &str = "bellbuoy";

/// Events that wait for fan-out.
pub fn events() -> QueueName {
    QueueName::new(format!("{PREFIX}.events"))
}

/// Deliveries that wait for an attempt by one method.
pub fn deliver(method: &str) -> QueueName {
    QueueName::new(format!("{PREFIX}.deliver.{method}"))
}

/// What [`deliver`] and its shards begin with.
const DELIVER: &str = "bellbuoy.deliver.";

/// The method whose deliveries the queue of that name holds, be it a shard or the only one.
pub fn method_of(queue: &str) -> Option<&str> {
    queue.strip_prefix(DELIVER)?.split('.').next()
}

/// Over how many queues the deliveries of each method are spread, so that RabbitMQ can serve a method from
/// several queue leaders. A message may stand on any shard: which one only says who takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards(NonZeroU16);

impl Shards {
    /// One queue for each method, [`deliver`].
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// So many queues for each method. The first is [`deliver`] itself, so that the number can grow while
    /// messages wait.
    pub fn new(count: NonZeroU16) -> Self {
        Self(count)
    }

    /// How many.
    pub fn count(self) -> NonZeroU16 {
        self.0
    }

    /// The queue of a method for a key: always the same one, and another one for only as many keys as it has
    /// to be when the number grows.
    pub fn queue(self, method: &str, key: u128) -> QueueName {
        shard(method, jump(key, self.0))
    }

    /// The queue that a method would have besides, were there one shard more.
    pub(crate) fn next(self, method: &str) -> Option<(QueueName, Self)> {
        let more = self.0.checked_add(1)?;
        Some((shard(method, self.0.get()), Self(more)))
    }

    /// All queues of a method.
    pub fn queues(self, method: &str) -> Vec<QueueName> {
        (0..self.0.get()).map(|number| shard(method, number)).collect()
    }
}

fn shard(method: &str, number: u16) -> QueueName {
    if number == 0 { deliver(method) } else { QueueName::new(format!("{DELIVER}{method}.{number}")) }
}

// Jump consistent hash (Lamping and Veach, 2014): spreads keys evenly, and moves one in `buckets` of them
// when a bucket is added.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as the algorithm has it"
)]
fn jump(key: u128, buckets: NonZeroU16) -> u16 {
    let mut key = (key >> 64) as u64 ^ key as u64;
    let (mut bucket, mut next) = (0, 0_i64);
    while next < i64::from(buckets.get()) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let draw = ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * (f64::from(1_u32 << 31) / draw)) as i64;
    }
    bucket as u16
}

/// What the recorder is told.
pub fn outcomes() -> QueueName {
    QueueName::new(format!("{PREFIX}.outcomes"))
}

/// Messages given up, whatever they were.
pub fn dead() -> QueueName {
    QueueName::new(format!("{PREFIX}.dead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: u16) -> Shards {
        Shards::new(NonZeroU16::new(count).expect("not zero"))
    }

    // As random as a UUID, and the same in every run.
    fn keys() -> impl Iterator<Item = u128> {
        (1..=10_000_u128).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
    }

    #[test]
    fn the_first_shard_is_the_queue_that_stands_alone() {
        assert_eq!(Shards::ONE.queues("webhook"), [deliver("webhook")]);
        let names = ["bellbuoy.deliver.webhook", "bellbuoy.deliver.webhook.1"].map(QueueName::new);
        assert_eq!(shards(2).queues("webhook"), names);
    }

    #[test]
    fn every_shard_gets_its_share_of_keys() {
        for name in shards(8).queues("webhook") {
            let share = keys().filter(|key| shards(8).queue("webhook", *key) == name).count();
            assert!((1100..1400).contains(&share), "{name}: {share}");
        }
    }

    #[test]
    fn one_shard_more_takes_keys_from_all_and_moves_none_between_the_others() {
        let moved: Vec<_> = keys()
            .map(|key| (shards(4).queue("email", key), shards(5).queue("email", key)))
            .filter(|(before, after)| before != after)
            .collect();
        assert!((1800..2200).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|(_, after)| after.as_str() == "bellbuoy.deliver.email.4"));
    }

    #[test]
    fn a_queue_of_deliveries_says_its_method() {
        for (queue, method) in [
            ("bellbuoy.deliver.webhook", Some("webhook")),
            ("bellbuoy.deliver.quay_notification.12", Some("quay_notification")),
            ("bellbuoy.deliver.", Some("")),
            ("bellbuoy.events", None),
            ("ingest.distribution", None),
        ] {
            assert_eq!(method_of(queue), method, "{queue}");
        }
    }
}
