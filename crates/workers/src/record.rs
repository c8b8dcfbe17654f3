//! Writes down what happened: outcomes into the history, dead letters into their archive, and
//! deletes what is older than it has to be.
//!
//! Batches are written before their messages are settled, and writing twice changes nothing, so a
//! crash anywhere repeats a batch and records no attempt twice.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bellbuoy_broker::{Broker, Claim, Outgoing, queues};
use bellbuoy_domain::{CauseCode, DeadReason, DeliveryMessage, Event, NotificationId, Record as Told};
use bellbuoy_store::{DeadLetter, Store};
use bellbuoy_telemetry::{Counter, Histogram, Metrics};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{Vital, WorkerError, clock};

/// How much the recorder does at once.
#[derive(Debug, Clone, Copy)]
pub struct RecordLimits {
    /// Most messages in one batch.
    pub batch: NonZeroUsize,
    /// How long a batch waits to fill.
    pub linger: Duration,
    /// Deliveries in a row that end in dead letters before their notification is disabled.
    pub failures: u32,
}

impl Default for RecordLimits {
    /// 500 messages; 20 ms; 20 dead letters in a row.
    fn default() -> Self {
        Self {
            batch: NonZeroUsize::new(500).unwrap_or(NonZeroUsize::MIN),
            linger: Duration::from_millis(20),
            failures: 20,
        }
    }
}

/// How long history is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Age beyond which ended deliveries, their events and dead letters are deleted.
    pub keep: Duration,
    /// Most rows of a table that one transaction deletes.
    pub chunk: u32,
    /// How often it is looked at.
    pub every: Duration,
}

impl Default for Retention {
    /// 30 days; 500 rows; once a minute.
    fn default() -> Self {
        Self { keep: Duration::from_hours(30 * 24), chunk: 500, every: Duration::from_mins(1) }
    }
}

/// The recorder.
pub struct Record {
    /// Where outcomes and dead letters come from.
    pub broker: Broker,
    /// Where they are written.
    pub store: Store,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Its sign of life.
    pub vital: Arc<Vital>,
    /// How much at once.
    pub limits: RecordLimits,
    /// How long for.
    pub retention: Retention,
}

impl Record {
    /// Records outcomes until `shutdown` is cancelled. What is in hand then is finished.
    ///
    /// # Errors
    ///
    /// When the broker or the store fails. All claims are back in their queue.
    pub async fn run_outcomes(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut consumer = self.broker.consume(&queues::outcomes(), self.limits.batch);
        loop {
            self.vital.idle();
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                claim = consumer.next() => claim?,
            };
            self.vital.working();
            let mut batch = vec![first];
            let full_at = Instant::now() + self.limits.linger;
            while batch.len() < self.limits.batch.get() {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(full_at) => break,
                    claim = consumer.next() => batch.push(claim?),
                }
            }
            self.record(batch).await?;
        }
    }

    /// Archives dead letters until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// As for [`Record::run_outcomes`].
    pub async fn run_dead_letters(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut consumer = self.broker.consume(&queues::dead(), self.limits.batch);
        loop {
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                claim = consumer.next() => claim?,
            };
            let mut batch = vec![first];
            while batch.len() < self.limits.batch.get()
                && let Some(claim) = consumer.try_next()
            {
                batch.push(claim);
            }
            let letters: Vec<_> = batch.iter().map(dead_letter).collect();
            self.store.archive_dead_letters(&letters).await?;
            self.broker.settle(batch, Vec::new()).await?;
        }
    }

    /// Deletes what is old until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn run_retention(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.retention.every) => {}
            }
            let Ok(before) = clock::now().checked_sub(self.retention.keep) else { continue };
            while !shutdown.is_cancelled() {
                let pruned = self.store.prune(before, self.retention.chunk).await?;
                for (table, rows) in [
                    ("events", pruned.events),
                    ("deliveries", pruned.deliveries),
                    ("attempts", pruned.attempts),
                    ("dead_letters", pruned.dead_letters),
                ] {
                    self.metrics.count(Counter::HistoryPruned, &[table], rows);
                }
                if pruned.is_empty() {
                    break;
                }
            }
        }
    }

    async fn record(&self, batch: Vec<Claim>) -> Result<(), WorkerError> {
        let started = Instant::now();
        let mut told = Vec::with_capacity(batch.len());
        let mut outputs = Vec::new();
        for claim in &batch {
            match Told::from_json(claim.body()) {
                Ok(record) => told.push(record),
                Err(problem) => {
                    error!(
                        "a message on {} is not a record and becomes a dead letter: {problem}",
                        claim.queue()
                    );
                    let reason = DeadReason::Undecodable.name();
                    self.metrics.count(Counter::DeadLetters, &[claim.queue().as_str(), reason], 1);
                    outputs.push(Outgoing::dead_letter(claim, reason, &problem.to_string()));
                }
            }
        }
        let failing = self.store.record(&told, self.limits.failures).await?;
        for id in failing {
            let reason = format!("{} deliveries in a row ended in dead letters", self.limits.failures);
            self.disable(id, "failing", &reason).await?;
        }
        for id in gone(&told) {
            self.disable(id, "gone", "its receiver answered 410 Gone").await?;
        }
        self.broker.settle(batch, outputs).await?;
        self.metrics.observe(Histogram::RecordDuration, &[], started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn disable(&self, id: NotificationId, word: &str, reason: &str) -> Result<(), WorkerError> {
        let Some(notification) = self.store.notification(id).await? else { return Ok(()) };
        if self.store.disable_notification(id, reason).await? {
            warn!(notification.id = %id, "disabled notification {id}: {reason}");
            self.metrics.count(Counter::NotificationsDisabled, &[&notification.method, word], 1);
        }
        Ok(())
    }
}

fn gone(told: &[Told]) -> Vec<NotificationId> {
    let mut ids: Vec<_> = told
        .iter()
        .filter_map(|record| record.attempt.as_ref())
        .filter(|attempt| attempt.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::Gone))
        .map(|attempt| attempt.notification)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

// As much as the bytes still say: a dead letter is kept even if they say nothing.
fn dead_letter(claim: &Claim) -> DeadLetter {
    let origin = claim.dead_origin().unwrap_or_else(|| claim.queue().as_str()).to_owned();
    let delivery = DeliveryMessage::from_json(claim.body()).ok();
    let died_at = clock::now();
    let event = match &delivery {
        Some(message) => Event::from_json(message.event.get().as_bytes(), died_at).ok(),
        None => Event::from_json(claim.body(), died_at).ok(),
    };
    DeadLetter {
        id: claim.id(),
        reason: claim.dead_reason().unwrap_or(DeadReason::Undecodable.name()).to_owned(),
        detail: claim.dead_detail().unwrap_or_default().to_owned(),
        delivery: delivery.as_ref().map(|message| message.delivery),
        notification: delivery.as_ref().map(|message| message.notification),
        method: delivery.is_some().then(|| origin.rsplit('.').next().unwrap_or_default().to_owned()),
        subject: event.map(|event| event.subject.name().unwrap_or_default().to_owned()),
        attempts: delivery.as_ref().map_or(0, |message| message.attempt),
        body: claim.body().to_vec(),
        died_at,
        origin,
    }
}
