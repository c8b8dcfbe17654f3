//! Forgetting what is old, a little at a time.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use sqlx::FromRow;

use crate::{
    Store, StoreError,
    call::values,
    sql::{self, Many},
    sql_directory,
    writing::{Writing, retried},
};

/// A chunk larger than this would hold the writer for long.
const LARGEST_CHUNK: u32 = 10_000;

/// How much one call of [`Store::prune`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events.
    pub events: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Attempts, together with their deliveries.
    pub attempts: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Items of the in-app area.
    pub inbox: u64,
    /// Callbacks that are no longer awaited, together with their tokens.
    pub callbacks: u64,
    /// What was kept of events that were told in digests.
    pub told: u64,
}

impl Pruned {
    /// Whether nothing was left to remove.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Store {
    /// Removes what was written down of who did what before `before`: at most `chunk` entries, and says how many.
    pub async fn prune_audit(&self, before: Timestamp, chunk: u32) -> Result<u64, StoreError> {
        let sweep = &self.inner.sweeps.audit;
        let seqs = self.sweep(sweep, sql_directory::SWEEP_AUDIT, before.as_millisecond(), chunk).await?;
        retried(|| self.remove_alone(&sql_directory::REMOVE_AUDIT, &seqs)).await
    }

    /// Removes what was accepted, died, was made or was told before `before`: at most `chunk` rows of each sort (attempts go
    /// with their deliveries), in short transactions. Call it again until it removes nothing.
    ///
    /// A delivery that is pending or waiting stays, and so does an event as long as one delivery of it is kept.
    pub async fn prune(&self, before: Timestamp, chunk: u32) -> Result<Pruned, StoreError> {
        let sweeps = &self.inner.sweeps;
        let before = before.as_millisecond();
        let mut pruned = Pruned::default();

        let seqs = self.sweep(&sweeps.deliveries, sql::SWEEP_DELIVERIES, before, chunk).await?;
        (pruned.deliveries, pruned.attempts) = retried(|| self.remove_deliveries(&seqs)).await?;
        let seqs = self.sweep(&sweeps.events, sql::SWEEP_EVENTS, before, chunk).await?;
        pruned.events = retried(|| self.remove_alone(&sql::REMOVE_EVENTS, &seqs)).await?;
        let seqs = self.sweep(&sweeps.dead_letters, sql::SWEEP_DEAD_LETTERS, before, chunk).await?;
        pruned.dead_letters = retried(|| self.remove_alone(&sql::REMOVE_DEAD_LETTERS, &seqs)).await?;
        let seqs = self.sweep(&sweeps.inbox, sql::SWEEP_INBOX, before, chunk).await?;
        pruned.inbox = retried(|| self.remove_alone(&sql::REMOVE_INBOX, &seqs)).await?;
        let seqs = self.sweep(&sweeps.callbacks, sql::SWEEP_CALLBACKS, before, chunk).await?;
        pruned.callbacks = retried(|| self.remove_callbacks(&seqs)).await?;
        let most = i64::from(chunk.clamp(1, LARGEST_CHUNK));
        pruned.told = self.write_one(sql::FORGET_TOLD, &values![before, most]).await?;
        Ok(pruned)
    }

    /// Looks, without holding the writer, for the next rows that may go: on from where the last call stopped, and
    /// round to the beginning. Empty only after a whole round in vain.
    ///
    /// A round ends at a page in which nothing is old. Rows come in nearly in the order of their times, so behind it
    /// nothing is old either; a straggler is found when its neighbours are old.
    async fn sweep(
        &self,
        reached: &AtomicI64,
        select: &'static str,
        before: i64,
        chunk: u32,
    ) -> Result<Vec<i64>, StoreError> {
        let mut from = reached.load(Ordering::Relaxed);
        let mut whole_round = from == 0;
        loop {
            let chunk = i64::from(chunk.clamp(1, LARGEST_CHUNK));
            let rows: Vec<Swept> = self.fetch(select, &values![from, chunk, before]).await?;
            let removable: Vec<i64> = rows.iter().filter(|row| row.removable).map(|row| row.seq).collect();
            let goes_on = rows.iter().any(|row| row.old);
            from = rows.last().filter(|_| goes_on).map_or(0, |row| row.seq);
            reached.store(from, Ordering::Relaxed);
            if !removable.is_empty() || (!goes_on && whole_round) {
                return Ok(removable);
            }
            whole_round |= !goes_on;
        }
    }

    /// Deliveries, and the attempts of those that went.
    async fn remove_deliveries(&self, seqs: &[i64]) -> Result<(u64, u64), StoreError> {
        if seqs.is_empty() {
            return Ok((0, 0));
        }
        let mut writing = self.write().await?;
        let deliveries = remove(&mut writing, &sql::REMOVE_DELIVERIES, seqs).await?;
        let attempts = remove(&mut writing, &sql::REMOVE_ATTEMPTS, seqs).await?;
        writing.commit().await?;
        Ok((deliveries, attempts))
    }

    /// Callbacks, and the tokens of those that went.
    async fn remove_callbacks(&self, seqs: &[i64]) -> Result<u64, StoreError> {
        if seqs.is_empty() {
            return Ok(0);
        }
        let mut writing = self.write().await?;
        let callbacks = remove(&mut writing, &sql::REMOVE_CALLBACKS, seqs).await?;
        remove(&mut writing, &sql::REMOVE_CALLBACK_TOKENS, seqs).await?;
        writing.commit().await?;
        Ok(callbacks)
    }

    async fn remove_alone(&self, many: &'static Many, seqs: &[i64]) -> Result<u64, StoreError> {
        if seqs.is_empty() {
            return Ok(0);
        }
        let mut writing = self.write().await?;
        let removed = remove(&mut writing, many, seqs).await?;
        writing.commit().await?;
        Ok(removed)
    }
}

async fn remove(writing: &mut Writing, many: &'static Many, seqs: &[i64]) -> Result<u64, StoreError> {
    writing.run_many(many, seqs, |_| 0, |seq| values![*seq]).await
}

#[derive(FromRow)]
struct Swept {
    seq: i64,
    old: bool,
    removable: bool,
}
