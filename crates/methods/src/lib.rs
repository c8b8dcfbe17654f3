#![doc = include_str!("../README.md")]

mod address;
mod attempt;
mod callback;
mod chat;
mod email;
pub mod http;
mod in_app;
mod outbound;
mod services;
mod signature;
mod smtp;
mod trace;
mod webhook;

pub use address::AddressRules;
pub use attempt::{Attempt, Methods, Receiver, Report};
pub use callback::Callbacks;
pub use chat::ChannelKey;
pub use outbound::{ClientIdentity, Outbound, SetupError};
pub use services::{Services, Smtp, SmtpSecurity};
pub use signature::{sign, sign_asymmetric, sign_body};
