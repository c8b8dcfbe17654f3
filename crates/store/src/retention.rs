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
    pub async fn prune_audit(
        &self,
        before: Timestamp,
        now: Timestamp,
        chunk: u32,
    ) -> Result<u64, StoreError> {
        let sweep = &self.inner.sweeps.audit;
        let seqs = self.sweep(sweep, sql_directory::SWEEP_AUDIT, span(before, now), chunk).await?;
        retried(|| self.remove_alone(&sql_directory::REMOVE_AUDIT, &seqs)).await
    }

    /// Removes what was accepted, died, was made or was told before `before`: at most `chunk` rows of each sort (attempts go
    /// with their deliveries), in short transactions. Call it again until it removes nothing.
    ///
    /// A delivery that is pending or waiting stays, and so does an event as long as one delivery of it is kept.
    pub async fn prune(&self, before: Timestamp, now: Timestamp, chunk: u32) -> Result<Pruned, StoreError> {
        let sweeps = &self.inner.sweeps;
        let kept = span(before, now);
        let mut pruned = Pruned::default();

        let seqs = self.sweep(&sweeps.deliveries, sql::SWEEP_DELIVERIES, kept, chunk).await?;
        (pruned.deliveries, pruned.attempts) = retried(|| self.remove_deliveries(&seqs)).await?;
        let seqs = self.sweep(&sweeps.events, sql::SWEEP_EVENTS, kept, chunk).await?;
        pruned.events = retried(|| self.remove_alone(&sql::REMOVE_EVENTS, &seqs)).await?;
        let seqs = self.sweep(&sweeps.dead_letters, sql::SWEEP_DEAD_LETTERS, kept, chunk).await?;
        pruned.dead_letters = retried(|| self.remove_alone(&sql::REMOVE_DEAD_LETTERS, &seqs)).await?;
        let seqs = self.sweep(&sweeps.inbox, sql::SWEEP_INBOX, kept, chunk).await?;
        pruned.inbox = retried(|| self.remove_alone(&sql::REMOVE_INBOX, &seqs)).await?;
        let seqs = self.sweep(&sweeps.callbacks, sql::SWEEP_CALLBACKS, kept, chunk).await?;
        pruned.callbacks = retried(|| self.remove_callbacks(&seqs)).await?;
        let most = i64::from(chunk.clamp(1, LARGEST_CHUNK));
        pruned.told = self.write_one(sql::FORGET_TOLD, &values![before.as_millisecond(), most]).await?;
        Ok(pruned)
    }

    /// Looks, without holding the writer, for the next rows that may go: on from where the last call stopped, and
    /// round to the beginning. Empty only after a whole round in vain.
    ///
    /// A round ends at a page in which every time is in the span that is kept. Rows come in nearly in the order of their
    /// times, so behind it nothing is old either; a straggler is found when its neighbours are old. Rows with a time
    /// that is yet to come were written while the clock was wrong, and say nothing of what is behind them.
    async fn sweep(
        &self,
        reached: &AtomicI64,
        select: &'static str,
        (before, now): (i64, i64),
        chunk: u32,
    ) -> Result<Vec<i64>, StoreError> {
        let mut from = reached.load(Ordering::Relaxed);
        let mut whole_round = from == 0;
        loop {
            let chunk = i64::from(chunk.clamp(1, LARGEST_CHUNK));
            let rows: Vec<Swept> = self.fetch(select, &values![from, chunk, before, now]).await?;
            let removable: Vec<i64> = rows.iter().filter(|row| row.removable).map(|row| row.seq).collect();
            let goes_on = rows.iter().any(|row| row.astray);
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

fn span(before: Timestamp, now: Timestamp) -> (i64, i64) {
    (before.as_millisecond(), now.as_millisecond())
}

async fn remove(writing: &mut Writing, many: &'static Many, seqs: &[i64]) -> Result<u64, StoreError> {
    writing.run_many(many, seqs, |_| 0, |seq| values![*seq]).await
}

#[derive(FromRow)]
struct Swept {
    seq: i64,
    astray: bool,
    removable: bool,
}
