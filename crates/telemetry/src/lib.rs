#![doc = include_str!("../README.md")]

mod log;
mod metrics;

pub use log::{LogFormat, init as init_log};
pub use metrics::{Counter, Gauge, Histogram, Metrics};
