//! How the notices of registries become events.

pub mod distribution;
