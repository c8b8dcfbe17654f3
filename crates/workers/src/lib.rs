#![doc = include_str!("../README.md")]

use bellbuoy_domain::MethodName;

mod archive;
mod aside;
mod batch;
mod bundle;
mod chain;
mod clock;
mod deliver;
mod digest;
mod error;
mod fanout;
mod gate;
mod intake;
mod patience;
mod pool;
mod recent;
mod record;
mod retention;
mod slots;
mod supervise;
mod vital;
mod wishes;

pub use deliver::{Deliver, DeliverLimits, deliver_role};
pub use digest::Digests;
pub use error::WorkerError;
pub use fanout::{Fanout, FanoutLimits};
pub use gate::{Gate, GateLimits, Holdings, LeaseTerms};
pub use record::{Record, RecordLimits};
pub use retention::Retention;
pub use slots::Slots;
pub use supervise::supervise;
pub use vital::Vital;
pub use wishes::{Wish, Wishes};

/// A method as a metric's label: what a newer version stored must not make labels without end.
fn method_label(method: &str) -> &'static str {
    method.parse::<MethodName>().map_or("unknown", MethodName::name)
}
