//! What can go wrong with a broker.

use std::{path::PathBuf, time::Duration};

/// A message could not be made durable, taken or settled. Nothing was acknowledged, and claims
/// that were to be settled are back in their queue, or go there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The disk refused (full, read-only, failing), or RabbitMQ is out of reach, takes nothing now or is not
    /// set up. It may pass.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// Of what was to be settled, some at least is somebody else's by now, or soon: it comes again.
    #[error("the connection on which the message was taken is lost; RabbitMQ gives it to somebody again")]
    Lost,
    /// The broker was shut down.
    #[error("the broker is closed")]
    Closed,
    /// A message that no broker of ours takes.
    #[error("a message of {bytes} bytes is too large for the broker; at most {max} are taken")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The most that is taken.
        max: usize,
    },
    /// A wait that no broker of ours keeps.
    #[error("a delay of {delay:?} is too long for the broker; at most {max:?} is kept")]
    DelayTooLong {
        /// What was asked.
        delay: Duration,
        /// The most that is kept.
        max: Duration,
    },
}

/// A file that the broker needs can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by another process; stop it, or give this one another data directory")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "{path} was written by a newer version (schema {found}, this one knows {known}); run that version"
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The schema version it has.
        found: i64,
        /// The newest schema version known here.
        known: i64,
    },
    /// The file system refused.
    #[error("can't open {path}; check that its directory exists and is writable")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `SQLite` refused.
    #[error("can't use {path} as the broker's database; move it away if it is not one")]
    Database {
        /// Which file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
}
