//! The change feed of PostgreSQL: listens for hints that notifications have changed, and looks at the version itself
//! when one comes, when the connection was lost, and every second in any case.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::{sync::watch, task::JoinHandle, time};

use crate::sql;

/// A hint can be lost with its connection; then a change is seen after this.
const SWEEP: Duration = Duration::from_millis(900);

/// How long one look may take, before the connection counts as dead.
const LOOK: Duration = Duration::from_secs(5);

/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(500);

/// The task that follows the changes; it ends with this value.
pub(crate) struct Follower(JoinHandle<()>);

impl Follower {
    /// Raises `version` as other processes raise it in the database.
    pub(crate) fn start(options: PgConnectOptions, version: watch::Sender<i64>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                // A server out of reach is told of by whoever calls the store; here it only means to try again.
                drop(follow(&options, &version).await);
                time::sleep(AGAIN).await;
            }
        }))
    }

    /// Follows no longer.
    pub(crate) fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn follow(options: &PgConnectOptions, version: &watch::Sender<i64>) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(LOOK)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    bounded(listener.listen(sql::POSTGRES_CHANNEL)).await?;
    loop {
        while listener.next_buffered().is_some() {}
        let found = bounded(sqlx::query_scalar(sql::VERSION).fetch_one(&mut listener)).await?;
        raise(version, found);
        match time::timeout(SWEEP, listener.try_recv()).await {
            Ok(Ok(Some(_))) | Err(_) => {}
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        }
    }
}

/// Two commits can be seen in the other order.
pub(crate) fn raise(version: &watch::Sender<i64>, found: i64) {
    version.send_if_modified(|seen| {
        let newer = found > *seen;
        *seen = found.max(*seen);
        newer
    });
}

async fn bounded<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    time::timeout(LOOK, answer).await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut))
}
