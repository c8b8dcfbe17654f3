//! The handle on the database: who may write, who reads, and how rows are written many at a time.

use std::{
    fs::File,
    sync::{Arc, atomic::AtomicI64},
};

use sqlx::{
    AssertSqlSafe, Sqlite, SqlitePool, pool::PoolConnection, query::Query, sqlite::SqliteArguments,
    sqlite::SqliteRow,
};
use tokio::sync::watch;

use crate::{
    StoreError,
    sql::{self, LARGEST, Many},
};

/// A statement with its values, so far.
pub(crate) type Statement = Query<'static, Sqlite, SqliteArguments>;

/// A large body is not put into one statement with many others: a prepared statement keeps its last values.
const STATEMENT_BYTES: usize = 1024 * 1024;

/// The database of one installation. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// One connection: writers queue for it in order of arrival, instead of failing on a locked file.
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    pub(crate) version: watch::Sender<i64>,
    pub(crate) sweeps: Sweeps,
    /// Last, so that it is let go after the connections.
    pub(crate) lock: File,
}

/// Up to which `seq` each sweep of retention has looked in its current round.
#[derive(Default)]
pub(crate) struct Sweeps {
    pub(crate) deliveries: AtomicI64,
    pub(crate) events: AtomicI64,
    pub(crate) dead_letters: AtomicI64,
    pub(crate) inbox: AtomicI64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store(..)")
    }
}

impl Store {
    /// Whether the database answers a reader and lets a writer begin.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it does not within some 5 seconds.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query(sql::PING).fetch_one(self.readers()).await?;
        self.write().await?.give_up().await
    }

    /// Waits until every connection is closed, so that the file can be copied or moved. Durability needs no closing.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// Changes of notifications made through this handle or its clones, as they happen: a hint to look. The version
    /// itself is [`Store::notifications_version`], which other processes move too.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.inner.version.subscribe()
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }

    /// Begins a transaction that may write.
    pub(crate) async fn write(&self) -> Result<Writing, StoreError> {
        let mut writing = Writing { connection: self.inner.writer.acquire().await?, finished: false };
        writing.run(sqlx::query(sql::BEGIN)).await?;
        Ok(writing)
    }
}

/// A transaction that holds the writer.
///
/// When it is dropped unfinished (an error, a cancelled call), its connection is closed, which rolls back for
/// certain. The driver's own transaction would send `ROLLBACK`; that fails when `SQLite` has rolled back by itself, as
/// it does on a full disk, and leaves the driver counting a transaction that is not there, so that no later one can
/// begin.
pub(crate) struct Writing {
    connection: PoolConnection<Sqlite>,
    finished: bool,
}

impl Writing {
    /// Runs one statement and says how many rows it changed.
    pub(crate) async fn run(&mut self, statement: Statement) -> Result<u64, StoreError> {
        Ok(statement.execute(&mut *self.connection).await?.rows_affected())
    }

    /// Runs one statement that gives back exactly one row.
    pub(crate) async fn one(&mut self, statement: Statement) -> Result<SqliteRow, StoreError> {
        Ok(statement.fetch_one(&mut *self.connection).await?)
    }

    /// Runs a statement over all `rows`, in few pieces, and says how many rows it changed.
    pub(crate) async fn run_many<T>(
        &mut self,
        many: &Many,
        rows: &[T],
        bytes: impl Fn(&T) -> usize,
        bind: impl Fn(Statement, &T) -> Statement,
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        for (exponent, piece) in pieces(rows, bytes) {
            let statement = sqlx::query(AssertSqlSafe(many.text(exponent)));
            changed += self.run(piece.iter().fold(statement, &bind)).await?;
        }
        Ok(changed)
    }

    /// Runs a query over all `rows`, in few pieces, and collects what it gives back.
    pub(crate) async fn fetch_many<T>(
        &mut self,
        many: &Many,
        rows: &[T],
        bind: impl Fn(Statement, &T) -> Statement,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let mut found = Vec::new();
        for (exponent, piece) in pieces(rows, |_| 0) {
            let statement = sqlx::query(AssertSqlSafe(many.text(exponent)));
            found.extend(piece.iter().fold(statement, &bind).fetch_all(&mut *self.connection).await?);
        }
        Ok(found)
    }

    /// Makes the transaction durable.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        self.run(sqlx::query(sql::COMMIT)).await?;
        self.finished = true;
        Ok(())
    }

    /// Ends the transaction without a trace, and keeps the connection.
    pub(crate) async fn give_up(mut self) -> Result<(), StoreError> {
        self.run(sqlx::query(sql::ROLLBACK)).await?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.finished {
            self.connection.close_on_drop();
        }
    }
}

/// Cuts `rows` into pieces of a power of two rows, each as large as its rows' bytes allow.
fn pieces<'a, T>(
    rows: &'a [T],
    bytes: impl Fn(&T) -> usize + 'a,
) -> impl Iterator<Item = (usize, &'a [T])> + 'a {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut room = STATEMENT_BYTES;
        let fitting = rest
            .iter()
            .take(1 << LARGEST)
            .take_while(|row| {
                let left = room.checked_sub(bytes(row));
                room = left.unwrap_or(0);
                left.is_some()
            })
            .count()
            .max(1)
            .min(rest.len());
        let exponent = fitting.checked_ilog2()? as usize;
        let (piece, after) = rest.split_at(1 << exponent);
        rest = after;
        Some((exponent, piece))
    })
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
    use crate::{DeadLetter, DeadLetterQuery, open::Tuning};

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
        let said: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(store.readers()).await.expect("checked");
        said == "ok"
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

    fn sizes(rows: &[usize]) -> Vec<usize> {
        pieces(rows, |bytes| *bytes)
            .map(|(exponent, piece)| {
                assert_eq!(piece.len(), 1 << exponent);
                piece.len()
            })
            .collect()
    }

    #[test]
    fn pieces_are_powers_of_two_and_leave_no_row_out() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[0; 1]), [1]);
        assert_eq!(sizes(&[0; 500]), [256, 128, 64, 32, 16, 4]);
    }

    #[test]
    fn large_rows_are_written_in_small_pieces() {
        assert_eq!(sizes(&[STATEMENT_BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(sizes(&[STATEMENT_BYTES * 2; 3]), [1, 1, 1]);
    }
}
