//! The handle on the database.

use std::sync::{Arc, atomic::AtomicI64};

use tokio::sync::watch;

use crate::{
    AuditEntry, SecretKeys, StoreError,
    call::{Call, Value},
    engine::{Engine, Fetched},
    repositories::KnownRepositories,
    sql,
    writing::{Writing, retried},
};

/// The database of one installation. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    /// What is written down with the next change.
    pub(crate) audit: Option<Arc<AuditEntry>>,
    /// What secrets are stored under.
    pub(crate) keys: SecretKeys,
}

pub(crate) struct Inner {
    pub(crate) version: watch::Sender<i64>,
    pub(crate) sweeps: Sweeps,
    pub(crate) known: KnownRepositories,
    pub(crate) engine: Engine,
}

/// Up to which `seq` each sweep of retention has looked in its current round.
#[derive(Default)]
pub(crate) struct Sweeps {
    pub(crate) deliveries: AtomicI64,
    pub(crate) events: AtomicI64,
    pub(crate) dead_letters: AtomicI64,
    pub(crate) inbox: AtomicI64,
    pub(crate) callbacks: AtomicI64,
    pub(crate) audit: AtomicI64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store(..)")
    }
}

impl Store {
    pub(crate) fn new(engine: Engine, version: watch::Sender<i64>) -> Self {
        Self {
            inner: Arc::new(Inner {
                version,
                sweeps: Sweeps::default(),
                known: KnownRepositories::default(),
                engine,
            }),
            audit: None,
            keys: SecretKeys::default(),
        }
    }

    /// The same store, which seals what is secret of notifications with the first of `keys`, and opens it with any.
    #[must_use]
    pub fn with_secret_keys(mut self, keys: SecretKeys) -> Self {
        self.keys = keys;
        self
    }

    /// What secrets are stored under.
    pub fn secret_keys(&self) -> &SecretKeys {
        &self.keys
    }

    /// Whether the database answers a reader and lets a writer begin.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it does not within some 5 seconds for each.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.fetch::<(i64,)>(sql::PING, &[]).await?;
        let mut writing = self.write().await?;
        writing.check_may_write().await?;
        writing.give_up().await
    }

    /// Waits until every connection is closed, so that a file can be copied or moved. Durability needs no closing.
    pub async fn close(&self) {
        self.inner.engine.close().await;
    }

    /// Changes of notifications, as they happen: at once those made through this handle or its clones, and on
    /// PostgreSQL those of other processes too, most of them at once and all within a second of the database being in
    /// reach. A hint to look; the version itself is [`Store::notifications_version`].
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.inner.version.subscribe()
    }

    /// Runs a query outside of any transaction.
    pub(crate) async fn fetch<T: Fetched>(
        &self,
        text: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        Ok(self.inner.engine.fetch(Call::one(text, values)).await?)
    }

    /// Runs a query that gives back one row or none.
    pub(crate) async fn fetch_one<T: Fetched>(
        &self,
        text: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<T>, StoreError> {
        Ok(self.fetch(text, values).await?.pop())
    }

    /// Runs one statement as a transaction, and says how many rows it changed.
    pub(crate) async fn write_one(
        &self,
        text: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            let changed = writing.run(text, values).await?;
            if changed > 0 {
                writing.commit().await?;
            } else {
                writing.give_up().await?;
            }
            Ok(changed)
        })
        .await
    }

    /// The database's time, in Unix milliseconds.
    pub(crate) async fn database_time(&self) -> Result<i64, StoreError> {
        let mut held = self.inner.engine.reader().await?;
        let now = if held.is_postgres() { sql::POSTGRES_NOW } else { sql::SQLITE_NOW };
        let rows: Vec<(i64,)> = held.fetch(Call::one(now, &[])).await?;
        held.give_back();
        Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.0)
    }

    /// Begins a transaction that may write.
    pub(crate) async fn write(&self) -> Result<Writing, StoreError> {
        Writing::begin(&self.inner.engine, self.audit.clone()).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        path::Path,
        pin::pin,
        task::{Context, Waker},
        time::Duration,
    };

    use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

    use super::*;
    use crate::{DeadLetter, DeadLetterQuery, open_sqlite::Tuning};

    fn letter(number: u128) -> DeadLetter {
        DeadLetter {
            id: uuid::Uuid::from_u128(number),
            origin: "events".into(),
            reason: "undecodable".into(),
            detail: String::new(),
            delivery: None,
            notification: None,
            method: None,
            subject: None,
            attempts: 0,
            body: vec![b'x'; 10_000],
            died_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    async fn open(directory: &Path, tuning: Tuning) -> Store {
        Store::open_tuned(&directory.join("store.db"), tuning).await.expect("a store")
    }

    async fn is_sound(store: &Store) -> bool {
        let said: Vec<(String,)> = store.fetch("PRAGMA integrity_check", &[]).await.expect("checked");
        said == [("ok".to_owned(),)]
    }

    async fn count(store: &Store) -> usize {
        let query = DeadLetterQuery { limit: 1000, ..DeadLetterQuery::default() };
        store.dead_letters(&query).await.expect("a page").rows.len()
    }

    #[tokio::test]
    async fn a_full_disk_makes_it_unavailable_and_room_makes_it_available_without_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let tuning = Tuning { patience: Duration::from_secs(5), max_pages: Some("200") };
        let store = open(directory.path(), tuning).await;
        let mut kept = 0;
        let refused = loop {
            match store.archive_dead_letters(&[letter(kept), letter(kept + 1)]).await {
                Ok(()) => kept += 2,
                Err(error) => break error,
            }
        };
        assert!(kept > 20 && matches!(refused, StoreError::Unavailable { .. }), "{refused:?} after {kept}");
        for _ in 0..3 {
            let again = store.archive_dead_letters(&[letter(kept), letter(kept + 1)]).await;
            assert!(matches!(again, Err(StoreError::Unavailable { .. })), "{again:?}");
        }
        assert_eq!(count(&store).await as u128, kept, "half a call leaves nothing");
        for number in 0..4 {
            assert!(store.discard_dead_letter(letter(number).id).await.expect("making room is possible"));
        }
        store.archive_dead_letters(&[letter(kept), letter(kept + 1)]).await.expect("there is room");
        assert!(is_sound(&store).await);
    }

    #[tokio::test]
    async fn a_lock_of_another_process_is_waited_for_and_then_unavailable() {
        let directory = tempfile::tempdir().expect("a directory");
        let tuning = Tuning { patience: Duration::from_millis(50), max_pages: None };
        let store = open(directory.path(), tuning).await;
        let options = SqliteConnectOptions::new().filename(directory.path().join("store.db"));
        let mut other = SqliteConnection::connect_with(&options).await.expect("a connection");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("the lock");
        let locked = store.archive_dead_letters(&[letter(1)]).await;
        assert!(matches!(locked, Err(StoreError::Unavailable { .. })), "{locked:?}");
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable { .. })));
        assert_eq!(count(&store).await, 0, "readers go on");
        sqlx::query("ROLLBACK").execute(&mut other).await.expect("let go");
        store.archive_dead_letters(&[letter(1)]).await.expect("free again");
        store.ping().await.expect("free again");
    }

    #[tokio::test]
    async fn a_call_cancelled_at_any_point_leaves_all_or_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let store =
            open(directory.path(), Tuning { patience: Duration::from_secs(5), max_pages: None }).await;
        let mut completed = 0;
        for number in 0..60 {
            let letters = [letter(number * 2), letter(number * 2 + 1)];
            let mut call = pin!(store.archive_dead_letters(&letters));
            for _ in 0..=number {
                if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    completed += 1;
                    break;
                }
                tokio::task::yield_now().await;
                std::thread::yield_now();
            }
        }
        store.ping().await.expect("the writer is free");
        let count = count(&store).await;
        assert!(count.is_multiple_of(2) && count >= completed * 2, "{count} letters of {completed} calls");
        assert!(is_sound(&store).await);
    }
}
