#![doc = include_str!("../README.md")]

mod broker;
mod embedded;
mod error;
mod message;
pub mod queues;
mod rabbitmq;
mod removal;
mod url;

pub use broker::{Broker, BrokerOptions, Consumer, MAX_DELAY, MAX_MESSAGE_BYTES};
pub use embedded::EmbeddedOptions;
pub use error::{BrokerError, OpenError};
pub use message::{Claim, Headers, Outgoing, QueueCount, QueueDepth, QueueName};
pub use queues::Shards;
pub use rabbitmq::{Comparison, Connections, RabbitMqOptions, Tls, Topology, TopologyError};
pub use removal::{Moved, Removal, RemovalError};
pub use url::{AmqpUrl, BrokerUrl, BrokerUrlError};
