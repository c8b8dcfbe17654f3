#![doc = include_str!("../README.md")]

mod address;
mod attempt;
pub mod http;
mod in_app;
mod outbound;
mod signature;
mod trace;
mod webhook;

pub use address::AddressRules;
pub use attempt::{Attempt, Methods, Receiver, Report};
pub use outbound::{ClientIdentity, Outbound, SetupError};
pub use signature::sign;
