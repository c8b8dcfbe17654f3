#![doc = include_str!("../README.md")]

mod log;
mod metrics;

pub use log::{LogFilter, LogFilterError, LogFormat, init as init_log};
pub use metrics::{Counter, Gauge, Histogram, Metrics};
