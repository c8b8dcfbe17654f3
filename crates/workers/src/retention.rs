//! Deletes what is older than it has to be, in chunks.

use std::{sync::Arc, time::Duration};

use bellbuoy_telemetry::Counter;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{Record, WorkerError, clock, error::Halt, patience::refuses_nothing_in_particular};

/// How long history is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Age beyond which ended deliveries, their events and dead letters are deleted.
    pub keep: Duration,
    /// Age beyond which it is forgotten who did what.
    pub keep_audit: Duration,
    /// Most rows of a table that one transaction deletes.
    pub chunk: u32,
    /// How often it is looked at.
    pub every: Duration,
}

impl Default for Retention {
    /// 30 days, a year; 500 rows; once a minute.
    fn default() -> Self {
        Self {
            keep: Duration::from_hours(30 * 24),
            keep_audit: Duration::from_hours(365 * 24),
            chunk: 500,
            every: Duration::from_mins(1),
        }
    }
}

impl Record {
    /// Deletes what is old until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub async fn run_retention(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        loop {
            self.vital.idle();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.retention.every) => {}
            }
            let now = clock::now();
            let Ok(before) = now.checked_sub(self.retention.keep) else { continue };
            if let Err(halt) = self.prune(before, now, &shutdown).await {
                return halt.into_result();
            }
            let Ok(before) = now.checked_sub(self.retention.keep_audit) else { continue };
            if let Err(halt) = self.prune_audit(before, now, &shutdown).await {
                return halt.into_result();
            }
        }
    }

    async fn prune_audit(
        &self,
        before: Timestamp,
        now: Timestamp,
        shutdown: &CancellationToken,
    ) -> Result<(), Halt> {
        let patience = self.patience("retention", shutdown);
        while !shutdown.is_cancelled() {
            self.vital.working();
            let chunk = || self.store.prune_audit(before, now, self.retention.chunk);
            let pruned = patience.outlast(refuses_nothing_in_particular, chunk).await??;
            self.metrics.count(Counter::HistoryPruned, &["audit"], pruned);
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn prune(
        &self,
        before: Timestamp,
        now: Timestamp,
        shutdown: &CancellationToken,
    ) -> Result<(), Halt> {
        let patience = self.patience("retention", shutdown);
        while !shutdown.is_cancelled() {
            self.vital.working();
            let chunk = || self.store.prune(before, now, self.retention.chunk);
            let pruned = patience.outlast(refuses_nothing_in_particular, chunk).await??;
            for (table, rows) in [
                ("events", pruned.events),
                ("deliveries", pruned.deliveries),
                ("attempts", pruned.attempts),
                ("dead_letters", pruned.dead_letters),
                ("inbox", pruned.inbox),
                ("callbacks", pruned.callbacks),
                ("told", pruned.told),
            ] {
                self.metrics.count(Counter::HistoryPruned, &[table], rows);
            }
            if pruned.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
