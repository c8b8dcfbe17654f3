//! What can go wrong between us and the database, sorted by what a caller does about it.

use std::path::PathBuf;

use bellbuoy_domain::NotificationId;
use sqlx::{error::DatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is locked, full, overloaded or out of reach. The same call can succeed later: answer 503, or try
    /// again. Nothing of it was kept, unless a connection was lost just while it was made durable; so whatever is
    /// called can be called again.
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
    /// What is kept of a notification was sealed with a key that this process does not have.
    #[error(
        "notification {id} is sealed with key {key}, which `store.secret_key` does not hold; add that key behind the first"
    )]
    Sealed {
        /// Which notification.
        id: NotificationId,
        /// The name of the key.
        key: String,
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
    /// A place has as many notifications as it may have.
    #[error("{place} can have {most} notifications and has as many; delete one that is not needed any more")]
    Full {
        /// Which place.
        place: String,
        /// How many it may have.
        most: u32,
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
        "{place} has schema version {found}, but this binary knows up to {known}; start the newer version"
    )]
    NewerSchema {
        /// The file, or server and database.
        place: String,
        /// The version found.
        found: i64,
        /// The newest that this binary has.
        known: i64,
    },
    /// The schema is not the one that its version number stands for.
    #[error("{place} has a schema that no release made; restore it from a backup")]
    ForeignSchema {
        /// The file, or server and database.
        place: String,
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
    /// It is no URL of a store.
    #[error(
        "`store.url` {problem}, but should be sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    BadUrl {
        /// What is wrong with it, without the URL itself, which can hold a password.
        problem: String,
    },
    /// PostgreSQL does not answer, or is not ready, or has no connection left. Waiting can help.
    #[error("PostgreSQL at {place} is out of reach; start it, or correct `store.url`")]
    Unreachable {
        /// Server and database.
        place: String,
        /// What the system or driver said.
        #[source]
        source: sqlx::Error,
    },
    /// PostgreSQL does not let us in, or not far enough.
    #[error("PostgreSQL at {place} refuses user {user:?}; correct `store.url`, or what that user may do")]
    Denied {
        /// Server and database.
        place: String,
        /// The user.
        user: String,
        /// What the server said.
        #[source]
        source: sqlx::Error,
    },
    /// There is no such database.
    #[error(
        "there is no database {place}; create it (`CREATE DATABASE`, encoding UTF8), or correct `store.url`"
    )]
    NoDatabase {
        /// Server and database.
        place: String,
    },
    /// The server is older than what we are tested with.
    #[error("PostgreSQL at {place} is {found}; at least {least} is needed")]
    OldServer {
        /// Server and database.
        place: String,
        /// The server's version.
        found: String,
        /// The oldest that will do.
        least: i32,
    },
    /// The database can't hold every text.
    #[error("database {place} has encoding {found}; create one with encoding UTF8")]
    Encoding {
        /// Server and database.
        place: String,
        /// Its encoding.
        found: String,
    },
    /// Anything else.
    #[error("{place} can't be opened")]
    Other {
        /// The file, or server and database.
        place: String,
        /// What the system or driver said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// `SQLite`'s primary result code, if it was `SQLite` that spoke.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let spoken = error.as_database_error()?.try_downcast_ref::<SqliteError>()?;
    let extended: u32 = spoken.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// PostgreSQL's [code](https://www.postgresql.org/docs/current/errcodes-appendix.html), if it was PostgreSQL that
/// spoke.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    Some(error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.code())
}

/// Whether the connection was of no use from the start, so that another one can do better: closed meanwhile, or
/// holding statements prepared before the schema changed. Not one whose answer was waited for in vain.
pub(crate) fn is_stale(error: &sqlx::Error) -> bool {
    match (sqlstate(error), error) {
        // Ended by an operator or a crash, cached plan outdated, prepared statement gone.
        (Some(code), _) => ["57P01", "57P02", "57P05", "0A000", "26000"].contains(&code),
        (None, sqlx::Error::Io(source)) => source.kind() != std::io::ErrorKind::TimedOut,
        _ => false,
    }
}

/// Whether PostgreSQL gave the transaction up for the sake of another: a serialization failure or a deadlock.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| ["40001", "40P01"].contains(&code))
}

impl From<sqlx::Error> for StoreError {
    /// Sorts by `SQLite`'s [result code](https://www.sqlite.org/rescode.html) or PostgreSQL's: what may pass, what is
    /// damage, what is our mistake.
    fn from(source: sqlx::Error) -> Self {
        use sqlx::Error::{ColumnDecode, Decode, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
        match (sqlite_code(&source), sqlstate(&source), &source) {
            // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
            (Some(5..=10 | 13..=15), ..) => Self::Unavailable { source },
            (None, Some(code), _) if may_pass(code) => Self::Unavailable { source },
            // CORRUPT, NOTADB; a damaged page or index.
            (Some(11 | 26), ..) | (None, Some("XX001" | "XX002"), _) => Self::corrupt("page", source),
            (None, None, Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed) => {
                Self::Unavailable { source }
            }
            (None, None, ColumnDecode { .. } | Decode(_)) => Self::corrupt("row", source),
            _ => Self::Refused { source },
        }
    }
}

/// Whether the same statement can succeed once the server, or whoever looks after it, has done something: its state,
/// another transaction, room, rights.
fn may_pass(code: &str) -> bool {
    // Connection, rollback for another, resources, operator, system; authorization, which can be given back.
    const CLASSES: &[&str] = &["08", "40", "53", "57", "58", "28"];
    // Read only (a standby), idle for too long, lock not available, outdated plan, statement gone, no such database
    // (any more), no right.
    const CODES: &[&str] = &["25006", "25P03", "55P03", "0A000", "26000", "3D000", "42501"];
    CODES.contains(&code) || code.get(..2).is_some_and(|class| CLASSES.contains(&class))
}

impl StoreError {
    pub(crate) fn corrupt(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Corrupt { what, source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_or_time_puts_right_may_pass_and_our_mistakes_do_not() {
        // A full disk, no memory, all connections taken, starting up, ended, too slow, a lock, a deadlock, a standby,
        // a password changed, a right taken away.
        for code in [
            "53100", "53200", "53300", "57P03", "57P01", "57014", "55P03", "40P01", "25006", "28P01", "42501",
        ] {
            assert!(may_pass(code), "{code}");
        }
        // Unique violation, syntax, no such table, NUL in a text, index row too large, damage.
        for code in ["23505", "42601", "42P01", "22021", "54000", "XX001", ""] {
            assert!(!may_pass(code), "{code}");
        }
    }
}
