//! The handle on the database.

use std::path::Path;

use tokio::sync::watch;

use crate::{OpenError, StoreError};

/// The database of one installation. Clones share it.
#[derive(Clone)]
pub struct Store {
    version: watch::Sender<i64>,
}

impl Store {
    /// Opens the `SQLite` file at `path`; makes it (mode 0600) and its schema if need be.
    ///
    /// # Errors
    ///
    /// One [`OpenError`] per thing that an operator can put right.
    pub async fn open_sqlite(path: &Path) -> Result<Self, OpenError> {
        let _ = path;
        todo!()
    }

    /// Whether the database answers, both for reading and for writing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// Closes every connection, so that the file can be copied or moved. Not needed for safety.
    pub async fn close(&self) {
        todo!()
    }

    /// Changes of notifications made through this handle or its clones, as they happen: a hint to look. The version
    /// itself is [`Store::notifications_version`], which other processes move too.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.version.subscribe()
    }
}
