//! What can go wrong between us and the database, sorted by what a caller does about it.

use std::path::PathBuf;

use bellbuoy_domain::NotificationId;

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is locked, full, overloaded or out of reach. Nothing of the call was kept, and the same call
    /// can succeed later: answer 503, or try again.
    #[error("the store is unavailable")]
    Unavailable {
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds what no version of ours writes, or the file is damaged.
    #[error("the store holds a {what} that can't be read")]
    Corrupt {
        /// What was being read.
        what: &'static str,
        /// Why it can't be read.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cursor was not made by the list that it was given to.
    #[error("cursor {cursor:?} is not one of this list; pass `next` of the page before, or none")]
    BadCursor {
        /// The start of it.
        cursor: String,
    },
    /// There is a notification with that id.
    #[error("notification {id} exists already")]
    Exists {
        /// Its id.
        id: NotificationId,
    },
    /// The database refused a statement of ours: our mistake, and repeating the call will not help.
    #[error("the database refused a statement")]
    Refused {
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory that should hold the file is not there.
    #[error("there is no directory {path}; make it, or change `data_dir`")]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The file, its directory or its file system can't be written.
    #[error("{path} can't be written; give this user write access to it and to its directory")]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process, or another `Store` of this one, has it open.
    #[error("{path} is in use by {holder}; stop that first, or give this one another `data_dir`")]
    InUse {
        /// The file.
        path: PathBuf,
        /// `process 4711`, as far as it is known.
        holder: String,
    },
    /// It is some other kind of file.
    #[error("{path} is not a database; move it away, or restore it from a backup")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// It is a database, but part of it is missing or damaged.
    #[error("{path} is damaged ({detail}); restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
    /// A newer binary has changed the schema.
    #[error(
        "{path} has schema version {found}, but this binary knows up to {known}; start the newer version"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The newest that this binary has.
        known: i64,
    },
    /// The schema in the file is not the one that its version number stands for.
    #[error("{path} has a schema that no release made; restore it from a backup")]
    ForeignSchema {
        /// The file.
        path: PathBuf,
        /// What differs.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// This `SQLite` can corrupt a file in WAL mode.
    #[error("this binary holds SQLite {found}; at least {least} is needed, so build it with the bundled one")]
    OldEngine {
        /// The version found.
        found: String,
        /// The oldest that is safe.
        least: &'static str,
    },
    /// Anything else.
    #[error("{path} can't be opened")]
    Other {
        /// The file.
        path: PathBuf,
        /// What the system or driver said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The engine's primary result code, if it was the engine that spoke.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

impl From<sqlx::Error> for StoreError {
    /// Sorts by [result code](https://www.sqlite.org/rescode.html): what may pass, what is damage, what is our mistake.
    fn from(source: sqlx::Error) -> Self {
        use sqlx::Error::{ColumnDecode, Decode, Io, PoolClosed, PoolTimedOut, WorkerCrashed};
        match (sqlite_code(&source), &source) {
            // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
            (Some(5..=10 | 13..=15), _) | (None, Io(_) | PoolTimedOut | PoolClosed | WorkerCrashed) => {
                Self::Unavailable { source }
            }
            // CORRUPT, NOTADB.
            (Some(11 | 26), _) => Self::corrupt("page", source),
            (None, ColumnDecode { .. } | Decode(_)) => Self::corrupt("row", source),
            _ => Self::Refused { source },
        }
    }
}

impl StoreError {
    pub(crate) fn corrupt(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Corrupt { what, source: source.into() }
    }
}
