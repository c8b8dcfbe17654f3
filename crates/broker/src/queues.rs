//! The names of our queues: the same on every broker.

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

/// One part of them, of several that spread a method over RabbitMQ's nodes; the first is [`deliver`] itself.
pub fn deliver_shard(method: &str, shard: u16) -> QueueName {
    if shard == 0 { deliver(method) } else { QueueName::new(format!("{PREFIX}.deliver.{method}.{shard}")) }
}

/// What the recorder is told.
pub fn outcomes() -> QueueName {
    QueueName::new(format!("{PREFIX}.outcomes"))
}

/// Messages given up, whatever they were.
pub fn dead() -> QueueName {
    QueueName::new(format!("{PREFIX}.dead"))
}
