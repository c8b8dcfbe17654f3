#![doc = include_str!("../README.md")]

mod embedded;
mod error;
mod message;
pub mod queues;

pub use embedded::{Broker, Consumer, EmbeddedOptions, MAX_DELAY, MAX_MESSAGE_BYTES};
pub use error::{BrokerError, OpenError};
pub use message::{Claim, Headers, Outgoing, QueueDepth, QueueName};
