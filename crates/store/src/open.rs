//! From a URL to a store.

use std::path::Path;

use crate::{OpenError, Store};

impl Store {
    /// Opens the store that `url` names, and makes or migrates its schema if need be.
    ///
    /// `sqlite:PATH` is [`Store::open_sqlite`]. `postgres://USER:PASSWORD@HOST:PORT/DATABASE` is a database of
    /// PostgreSQL 14 or later, shared by any number of processes; its parameters are those of libpq that sqlx knows,
    /// among them `sslmode` (`prefer` unless said; `verify-full` checks the server's name), `sslrootcert`, `sslcert`
    /// and `sslkey`. Special characters in user and password are percent-encoded.
    ///
    /// # Errors
    ///
    /// One [`OpenError`] per thing that an operator can put right; [`OpenError::Unreachable`] can pass by itself.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        match url.split_once(':') {
            Some(("sqlite", "")) => Err(OpenError::BadUrl { problem: "names no file".into() }),
            Some(("sqlite", path)) => Self::open_sqlite(Path::new(path)).await,
            Some(("postgres" | "postgresql", _)) => Self::open_postgres(url).await,
            Some((scheme, _)) => Err(OpenError::BadUrl { problem: format!("begins with {scheme:?}") }),
            None => Err(OpenError::BadUrl { problem: "has no scheme".into() }),
        }
    }
}
