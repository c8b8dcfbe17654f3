//! Opening a database of PostgreSQL: every way in which that fails has its own answer.

use std::{str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    OpenError, Store,
    engine::{Engine, Pools},
    error::sqlstate,
    follow::Follower,
    sql,
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Where sqlx notes what it has migrated.
const NOTES: &str = "_sqlx_migrations";

const LEAST_SERVER: i32 = 14;

/// How long a call waits for a connection or a lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// With the listener, nine connections of the server's 100 (its default) at the most.
const WRITERS: u32 = 4;
const READERS: u32 = 4;

/// An unused connection is let go after this.
const IDLE: Duration = Duration::from_mins(1);

type Settings = &'static [(&'static str, &'static str)];

/// Every connection's settings.
///
/// Its limits, in milliseconds: a lock, a statement (past that, something is wrong), and a transaction whose process
/// has stopped in the middle of it, and would keep others waiting.
///
/// Its plans: every statement looks up few rows by an index, and has to from the start, when no statistics tell that
/// its tables will be large. None is worth a second process: a plan that starts one for each row takes minutes.
pub(crate) const SETTINGS: Settings = &[
    ("lock_timeout", "5000"),
    ("statement_timeout", "15000"),
    ("idle_in_transaction_session_timeout", "10000"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
];

/// What is wanted of a list decides which index leads to few rows.
pub(crate) const READERS_SETTINGS: Settings = &[("plan_cache_mode", "force_custom_plan")];

/// A migration may rewrite a large table, and one node waits while another does it.
const MIGRATION_SETTINGS: Settings = &[("lock_timeout", "600000"), ("statement_timeout", "0")];

impl Store {
    pub(crate) async fn open_postgres(url: &str) -> Result<Self, OpenError> {
        let server = Server::parse(url)?;
        let mut connection = server.connect(MIGRATION_SETTINGS).await?;
        server.check(&mut connection).await?;
        server.migrate(&mut connection).await?;
        let version = sqlx::query_scalar(sql::VERSION)
            .fetch_one(&mut connection)
            .await
            .map_err(|source| server.sorted(source))?;
        // It has told all there is to tell; the server notices when it is gone.
        drop(connection.close().await);
        let version = watch::Sender::new(version);
        let options = server.options(SETTINGS);
        let follower = Follower::start(options.clone(), version.clone());
        let pools = Pools {
            writers: pool(WRITERS, options.clone()),
            readers: pool(READERS, options.options(READERS_SETTINGS.iter().copied())),
        };
        Ok(Self::new(Engine::Postgres { pools, follower }, version))
    }
}

struct Server {
    options: PgConnectOptions,
    /// Host, port and database: what errors call it.
    place: String,
}

impl Server {
    fn parse(url: &str) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url).map_err(|error| OpenError::BadUrl {
            problem: format!("can't be read ({})", innermost(&error)),
        })?;
        let host = options
            .get_socket()
            .map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string());
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let place = format!("{host}:{}/{database}", options.get_port());
        let options = options.application_name("bellbuoy").disable_statement_logging();
        Ok(Self { options, place })
    }

    fn options(&self, settings: Settings) -> PgConnectOptions {
        self.options.clone().options(settings.iter().copied())
    }

    async fn connect(&self, settings: Settings) -> Result<PgConnection, OpenError> {
        match timeout(PATIENCE, PgConnection::connect_with(&self.options(settings))).await {
            Ok(connected) => connected.map_err(|source| self.sorted(source)),
            Err(_) => Err(self.sorted(sqlx::Error::PoolTimedOut)),
        }
    }

    async fn check(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        let (number, version, encoding): (i32, String, String) = sqlx::query_as(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('server_encoding')",
        )
        .fetch_one(connection)
        .await
        .map_err(|source| self.sorted(source))?;
        let place = self.place.clone();
        if is_old(number) {
            return Err(OpenError::OldServer { place, found: version, least: LEAST_SERVER });
        }
        if encoding != "UTF8" {
            return Err(OpenError::Encoding { place, found: encoding });
        }
        Ok(())
    }

    /// Brings the schema up to date. Of several nodes that start at once, one does it and the others wait: sqlx takes
    /// an advisory lock. Where nothing is to be done it takes neither the lock nor the right to make tables.
    async fn migrate(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let applied = self.applied(connection).await.map_err(|error| self.migration_fault(error, known))?;
        let newest = applied.iter().map(|(version, _)| *version).max().unwrap_or(0);
        if newest > known {
            return Err(OpenError::NewerSchema { place: self.place.clone(), found: newest, known });
        }
        let ours: Vec<(i64, &[u8])> = MIGRATIONS.iter().map(|one| (one.version, &*one.checksum)).collect();
        if applied.iter().map(|(version, sum)| (*version, &**sum)).eq(ours) {
            return Ok(());
        }
        // Not `run`, whose future can not be proved to be `Send`.
        MIGRATIONS
            .run_direct(None, connection, false)
            .await
            .map_err(|error| self.migration_fault(error, known))
    }

    /// Version and checksum of what was migrated, in order.
    async fn applied(&self, connection: &mut PgConnection) -> Result<Vec<(i64, Vec<u8>)>, MigrateError> {
        let found: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(NOTES)
            .fetch_one(&mut *connection)
            .await?;
        if !found {
            return Ok(Vec::new());
        }
        let applied = connection.list_applied_migrations(NOTES).await?;
        Ok(applied.into_iter().map(|one| (one.version, one.checksum.to_vec())).collect())
    }

    fn migration_fault(&self, error: MigrateError, known: i64) -> OpenError {
        match error {
            MigrateError::VersionMissing(found) => {
                OpenError::NewerSchema { place: self.place.clone(), found, known }
            }
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => self.sorted(source),
            source => OpenError::ForeignSchema { place: self.place.clone(), source },
        }
    }

    fn sorted(&self, source: sqlx::Error) -> OpenError {
        use sqlx::Error::{Io, PoolTimedOut, Protocol};
        let place = self.place.clone();
        match (sqlstate(&source), &source) {
            (Some("3D000"), _) => OpenError::NoDatabase { place },
            (Some("42501" | "25006"), _) => self.denied(source),
            (Some(code), _) if code.starts_with("28") => self.denied(source),
            (Some(code), _) if ["08", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)) => {
                OpenError::Unreachable { place, source }
            }
            (None, Io(_) | PoolTimedOut | Protocol(_)) => OpenError::Unreachable { place, source },
            _ => OpenError::Other { place, source: source.into() },
        }
    }

    fn denied(&self, source: sqlx::Error) -> OpenError {
        let user = self.options.get_username().to_owned();
        OpenError::Denied { place: self.place.clone(), user, source }
    }
}

/// By `server_version_num`: ten thousand times the major version, plus the minor one.
fn is_old(number: i32) -> bool {
    number / 10_000 < LEAST_SERVER
}

/// Connects when it is asked to.
fn pool(connections: u32, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(IDLE)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(keep_durable(connection)))
        .connect_lazy_with(options)
}

/// A server may be set up to answer before it has written anything down; what we answer has to be durable.
async fn keep_durable(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What went wrong in the first place; what is around it repeats it, or the URL with its password.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use bellbuoy_testkit::postgres::Postgres;

    use super::*;

    #[test]
    fn a_server_older_than_supported_is_told() {
        assert!(is_old(90_624) && is_old(130_022) && !is_old(140_000) && !is_old(150_018));
    }

    #[tokio::test]
    async fn what_is_answered_is_written_down_first_whatever_the_server_does_by_itself() {
        for (server, session) in [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")] {
            let node = Postgres::start_with(&[&format!("synchronous_commit={server}")]).await;
            let store = Store::open(&node.database().await).await.expect("a store");
            let mut writing = store.write().await.expect("begun");
            let (found,): (String,) =
                writing.one("SELECT current_setting('synchronous_commit')", &[]).await.expect("read");
            assert_eq!(found, session, "where the server says {server}");
        }
    }
}
