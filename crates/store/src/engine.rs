//! The two engines behind one handle: whose pools hand out connections, and how a call is run on one.

use std::time::Duration;

use sqlx::{
    Database, FromRow, Pool, Postgres, Sqlite, pool::PoolConnection, postgres::PgRow, sqlite::SqliteRow,
};
use tokio::time::timeout;

use crate::{
    call::Call,
    cell::{Cell, Cells},
    error::is_stale,
    follow::Follower,
    open_sqlite::FileLock,
    sql::{self, Column},
};

/// How long one statement may take on PostgreSQL before its connection counts as dead: longer than the server's own
/// limits, which end it with a better reason.
const LONGEST_STATEMENT: Duration = Duration::from_secs(20);

/// What can be read from a row of either engine.
pub(crate) trait Fetched:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Fetched for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

pub(crate) struct Pools<DB: Database> {
    /// Of `SQLite` one connection: writers queue for it in order of arrival, instead of failing on a locked file.
    pub(crate) writers: Pool<DB>,
    /// Apart, so that a slow reader keeps no writer waiting, nor the other way round.
    pub(crate) readers: Pool<DB>,
}

/// Which database it is.
pub(crate) enum Engine {
    /// The lock is let go after the connections.
    Sqlite {
        pools: Pools<Sqlite>,
        _lock: FileLock,
    },
    Postgres {
        pools: Pools<Postgres>,
        follower: Follower,
    },
}

impl Engine {
    /// Whether it is PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// A connection to read with.
    pub(crate) async fn reader(&self) -> Result<Held, sqlx::Error> {
        Ok(Held::new(match self {
            Self::Sqlite { pools, .. } => Connection::Sqlite(pools.readers.acquire().await?),
            Self::Postgres { pools, .. } => Connection::Postgres(pools.readers.acquire().await?),
        }))
    }

    /// A connection in a transaction that may write.
    pub(crate) async fn writer(&self) -> Result<Held, sqlx::Error> {
        let mut again = self.stale_ones();
        loop {
            let (mut held, begin) = match self {
                Self::Sqlite { pools, .. } => {
                    (Held::new(Connection::Sqlite(pools.writers.acquire().await?)), sql::SQLITE_BEGIN)
                }
                Self::Postgres { pools, .. } => {
                    (Held::new(Connection::Postgres(pools.writers.acquire().await?)), sql::POSTGRES_BEGIN)
                }
            };
            match held.execute(Call::one(begin, &[])).await {
                Ok(_) => return Ok(held),
                Err(error) if is_stale(&error) && again.next().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs a query on a connection of the readers.
    pub(crate) async fn fetch<T: Fetched>(&self, call: Call<'_>) -> Result<Vec<T>, sqlx::Error> {
        let mut again = self.stale_ones();
        loop {
            let mut held = self.reader().await?;
            match held.fetch(call).await {
                Ok(rows) => {
                    held.give_back();
                    return Ok(rows);
                }
                Err(error) if is_stale(&error) && again.next().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How often another connection is tried: a server that came back has made all idle ones stale. Asking each
    /// before its use would cost every call a round trip.
    fn stale_ones(&self) -> std::ops::Range<u32> {
        match self {
            Self::Sqlite { .. } => 0..0,
            Self::Postgres { pools, .. } => 0..pools.writers.options().get_max_connections(),
        }
    }

    /// Makes `SQLite` overwrite what is deleted from now on, or stop that; then what its log still holds goes too.
    /// PostgreSQL keeps old versions of rows until it vacuums, in files that are its own.
    pub(crate) async fn overwrite(&self, begins: bool) -> Result<(), sqlx::Error> {
        let Self::Sqlite { pools, .. } = self else { return Ok(()) };
        let mut writer = pools.writers.acquire().await?;
        if begins {
            sqlx::query(sql::SQLITE_OVERWRITE).execute(&mut *writer).await?;
        } else {
            sqlx::query(sql::SQLITE_OVERWRITE_NOT).execute(&mut *writer).await?;
            sqlx::query(sql::SQLITE_EMPTY_LOG).execute(&mut *writer).await?;
        }
        Ok(())
    }

    /// Waits until every connection is closed.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { pools, .. } => {
                pools.readers.close().await;
                pools.writers.close().await;
            }
            Self::Postgres { pools, follower } => {
                follower.stop();
                pools.readers.close().await;
                pools.writers.close().await;
            }
        }
    }
}

enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// A connection out of its pool.
///
/// When it is dropped without [`Held::give_back`] (an error, a cancelled call), it is closed, which rolls back for
/// certain. The driver's own transaction would send `ROLLBACK`; that fails when `SQLite` has rolled back by itself, as
/// it does on a full disk, and leaves the driver counting a transaction that is not there, so that no later one can
/// begin. To a PostgreSQL out of reach it would wait for an answer without end, and hold its place in the pool.
pub(crate) struct Held {
    connection: Connection,
    clean: bool,
}

impl Held {
    fn new(connection: Connection) -> Self {
        Self { connection, clean: false }
    }

    /// Whether it is one of PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.connection, Connection::Postgres(_))
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) async fn execute(&mut self, call: Call<'_>) -> Result<u64, sqlx::Error> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                Ok(call.sqlite().execute(&mut **connection).await?.rows_affected())
            }
            Connection::Postgres(connection) => {
                Ok(bounded(call.postgres().execute(&mut **connection)).await?.rows_affected())
            }
        }
    }

    /// Runs a query and reads all its rows.
    pub(crate) async fn fetch<T: Fetched>(&mut self, call: Call<'_>) -> Result<Vec<T>, sqlx::Error> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                call.sqlite().fetch_all(&mut **connection).await?.iter().map(T::from_row).collect()
            }
            Connection::Postgres(connection) => {
                let rows = bounded(call.postgres().fetch_all(&mut **connection)).await?;
                rows.iter().map(T::from_row).collect()
            }
        }
    }

    /// Runs a query and reads the first columns of all its rows, which are of these types.
    pub(crate) async fn cells(
        &mut self,
        call: Call<'_>,
        columns: &[Column],
    ) -> Result<Vec<Vec<Cell>>, sqlx::Error> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                let rows = call.sqlite().fetch_all(&mut **connection).await?;
                rows.iter().map(|row| row.cells(columns)).collect()
            }
            Connection::Postgres(connection) => {
                let rows = bounded(call.postgres().fetch_all(&mut **connection)).await?;
                rows.iter().map(|row| row.cells(columns)).collect()
            }
        }
    }

    /// Back into its pool, outside of any transaction.
    pub(crate) fn give_back(mut self) {
        self.clean = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.clean {
            match &mut self.connection {
                Connection::Sqlite(connection) => connection.close_on_drop(),
                Connection::Postgres(connection) => connection.close_on_drop(),
            }
        }
    }
}

async fn bounded<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(LONGEST_STATEMENT, answer)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}
