//! Writes down what happened: outcomes into the history.
//!
//! Batches are written before their messages are settled, and writing twice changes nothing, so a
//! crash anywhere repeats a batch and records no attempt twice.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};

use bellbuoy_broker::{Broker, BrokerError, Claim, Consumer, Outgoing, Shards, queues};
use bellbuoy_domain::{
    AttemptRecord, CauseCode, DeadReason, Disabling, Finding, NotificationId, NotificationState,
    Record as Told, WireError,
};
use bellbuoy_store::{Store, StoreError};
use bellbuoy_telemetry::{Counter, Histogram, Metrics};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    Retention, Vital, WorkerError,
    aside::{Why, put_aside},
    batch::Batch,
    clock,
    error::{Halt, sentence},
    method_label,
    patience::{Patience, refuses_nothing_in_particular},
};

/// How often it is looked whose pause is over.
const PAUSES_EVERY: Duration = Duration::from_secs(1);

/// Bytes from which on a batch takes nothing further, a thousand records: while more are written, who else writes would
/// wait for long.
const FULL_BYTES: usize = 512 << 10;

/// How much the recorder does at once.
#[derive(Debug, Clone, Copy)]
pub struct RecordLimits {
    /// Most messages in one batch, each of one record or more.
    pub batch: NonZeroUsize,
    /// How long a batch waits to fill.
    pub linger: Duration,
    /// Deliveries in a row that end in dead letters before their notification is disabled.
    pub failures: u32,
    /// How long after that it is set on probation by itself, if ever.
    pub back_after: Option<Duration>,
}

impl Default for RecordLimits {
    /// 500 messages; 20 ms; 20 dead letters in a row; never by itself.
    fn default() -> Self {
        Self {
            batch: NonZeroUsize::new(500).unwrap_or(NonZeroUsize::MIN),
            linger: Duration::from_millis(20),
            failures: 20,
            back_after: None,
        }
    }
}

/// The recorder. Its four loops are workers of their own; each wants its own `vital`.
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
    /// Over how many queues the deliveries of a method go.
    pub shards: Shards,
}

impl Record {
    /// Records outcomes until `shutdown` is cancelled. What is in hand then is finished, unless the
    /// store is out of reach: while it is, the worker waits with its claims, and gives them back if
    /// it has to stop.
    ///
    /// # Errors
    ///
    /// When the broker fails. All claims are back in their queue.
    pub async fn run_outcomes(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut consumer = self.broker.consume(&queues::outcomes(), self.limits.batch);
        loop {
            self.vital.idle();
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                claim = consumer.next() => claim?,
            };
            let batch = self.linger(first, &mut consumer).await?;
            let recorded = self.record(batch, &shutdown).await;
            if let Err(halt) = recorded.or_else(|halt| halt.outlived("record")) {
                return halt.into_result();
            }
        }
    }

    async fn linger(&self, first: Claim, consumer: &mut Consumer) -> Result<Vec<Claim>, BrokerError> {
        let mut batch = Batch::begin(first, self.limits.batch).full_at(FULL_BYTES);
        let over = tokio::time::sleep(self.limits.linger);
        tokio::pin!(over);
        loop {
            batch.fill(consumer);
            if batch.is_full() {
                return Ok(batch.into_claims());
            }
            tokio::select! {
                biased;
                () = &mut over => return Ok(batch.into_claims()),
                claim = consumer.next() => batch.push(claim?),
            }
        }
    }

    async fn record(&self, batch: Vec<Claim>, shutdown: &CancellationToken) -> Result<(), Halt> {
        self.vital.working();
        let started = Instant::now();
        let mut told = Vec::with_capacity(batch.len());
        let mut outputs = Vec::new();
        for claim in &batch {
            match Told::all_from_json(claim.body()) {
                Ok(records) => told.extend(records),
                Err(problem) => outputs.push(self.unreadable(claim, &problem)),
            }
        }
        match self.write(&told, shutdown).await {
            Ok(()) => {}
            Err(Halt::Failed(WorkerError::Store(error))) => {
                return self.record_alone(batch, &error, shutdown).await;
            }
            Err(halt) => return Err(halt),
        }
        let messages = batch.len() as u64;
        self.patience("record", shutdown).settle(&self.broker, batch, outputs).await?;
        self.metrics.count(Counter::OutcomesRecorded, &[], messages);
        self.metrics.observe(Histogram::RecordDuration, &[], started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn write(&self, told: &[Told], shutdown: &CancellationToken) -> Result<(), Halt> {
        let patience = self.patience("record", shutdown);
        let record = || self.store.record(told, self.limits.failures);
        let failing = patience.outlast(refuses_nothing_in_particular, record).await??;
        for id in failing {
            let reason = format!("{} deliveries in a row ended in dead letters", self.limits.failures);
            self.disable(&patience, (id, Timestamp::MAX), Disabling::Failing, &reason).await?;
        }
        for (id, (at, code)) in gone(told) {
            let reason = match code {
                CauseCode::Unwanted => "its receiver answered `webhook-delivery: disable`",
                CauseCode::ChannelGone => "its channel is no more, as the chat service says",
                _ => "its receiver answered 410 Gone",
            };
            self.disable(&patience, (id, at), Disabling::Unwanted(code), reason).await?;
        }
        for attempt in told.iter().filter_map(|record| record.attempt.as_ref()) {
            if attempt.on_probation {
                self.judge_probation(&patience, attempt).await?;
            }
        }
        Ok(())
    }

    // The store refuses one of them: the others need not suffer for it.
    async fn record_alone(
        &self,
        batch: Vec<Claim>,
        error: &StoreError,
        shutdown: &CancellationToken,
    ) -> Result<(), Halt> {
        if let [only] = &batch[..] {
            let outputs = taken_apart(only.body())
                .unwrap_or_else(|| vec![put_aside(only, Why::Refused, &sentence(error), &self.metrics)]);
            return Ok(self.patience("record", shutdown).settle(&self.broker, batch, outputs).await?);
        }
        for claim in batch {
            Box::pin(self.record(vec![claim], shutdown)).await?;
        }
        Ok(())
    }

    fn unreadable(&self, claim: &Claim, problem: &WireError) -> Outgoing {
        if matches!(problem, WireError::Newer { .. }) {
            return put_aside(claim, Why::Newer, &problem.to_string(), &self.metrics);
        }
        error!("a message on {} is not a record and becomes a dead letter: {problem}", claim.queue());
        let reason = DeadReason::Undecodable.name();
        self.metrics.count(Counter::DeadLetters, &[claim.queue().as_str(), reason], 1);
        Outgoing::dead_letter(claim, reason, &problem.to_string())
    }

    async fn judge_probation(&self, patience: &Patience<'_>, attempt: &AttemptRecord) -> Result<(), Halt> {
        let id = attempt.notification;
        match Finding::of(attempt) {
            Finding::Unclear => {}
            Finding::Well => {
                let end = || self.store.end_probation(id, attempt.started_at);
                if patience.outlast(refuses_nothing_in_particular, end).await?? {
                    info!(notification.id = %id, "notification {id} works again, and is active");
                }
            }
            Finding::Ill => {
                let cause = attempt.cause.as_ref().map(ToString::to_string).unwrap_or_default();
                let reason = format!("the first delivery after it had been disabled failed: {cause}");
                self.disable(patience, (id, attempt.started_at), Disabling::Probation, &reason).await?;
            }
        }
        Ok(())
    }

    /// Sets notifications on probation again whose pause is over, until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub async fn run_probation(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        loop {
            self.vital.idle();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSES_EVERY) => {}
            }
            self.vital.working();
            let patience = self.patience("probation", &shutdown);
            let now = clock::now();
            let end = patience.outlast(refuses_nothing_in_particular, || self.store.end_pauses(now)).await;
            match end {
                Ok(Ok(true)) => {
                    info!("notifications that were disabled are tried again, by one delivery each");
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(halt) => return halt.into_result(),
            }
        }
    }

    async fn disable(
        &self,
        patience: &Patience<'_>,
        (id, seen_at): (NotificationId, Timestamp),
        why: Disabling,
        reason: &str,
    ) -> Result<(), Halt> {
        let once = || self.disable_once((id, seen_at), why, reason);
        Ok(patience.outlast(refuses_nothing_in_particular, once).await??)
    }

    // Unless it is disabled already, or was changed by its owner or set on probation after what speaks against it.
    async fn disable_once(
        &self,
        (id, seen_at): (NotificationId, Timestamp),
        why: Disabling,
        reason: &str,
    ) -> Result<(), StoreError> {
        let Some(notification) = self.store.notification(id).await? else { return Ok(()) };
        let known = notification.state == NotificationState::Disabled;
        let now = clock::now();
        let back_at = why.back_after(self.limits.back_after).map(|pause| clock::after(now, pause));
        if known || notification.updated_at > seen_at {
            return Ok(());
        }
        let disabled = if why == Disabling::Probation {
            self.store.disable_on_probation(id, (reason, seen_at), now, back_at).await?
        } else {
            self.store.disable_notification_until(id, reason, now, back_at).await?
        };
        if !disabled {
            return Ok(());
        }
        warn!(notification.id = %id, "disabled notification {id}: {reason}");
        let method = method_label(&notification.method);
        self.metrics.count(Counter::NotificationsDisabled, &[method, why.word()], 1);
        Ok(())
    }

    pub(crate) fn patience<'a>(&'a self, role: &'static str, stop: &'a CancellationToken) -> Patience<'a> {
        Patience { role, vital: &self.vital, metrics: &self.metrics, stop }
    }
}

// A message's records, if there are several, as messages of their own.
fn taken_apart(body: &[u8]) -> Option<Vec<Outgoing>> {
    let records = Told::all_from_json(body).ok().filter(|records| records.len() > 1)?;
    Some(records.iter().map(|record| Outgoing::new(queues::outcomes(), record.to_json())).collect())
}

// Whose receivers want no more, when the latest attempt began that found it so, and how it did.
fn gone(told: &[Told]) -> BTreeMap<NotificationId, (Timestamp, CauseCode)> {
    let mut found = BTreeMap::new();
    for attempt in told.iter().filter_map(|record| record.attempt.as_ref()) {
        if let Some(code) =
            attempt.cause.as_ref().map(|cause| cause.code).filter(|code| code.ends_notification())
        {
            let seen = (attempt.started_at, code);
            let latest = found.entry(attempt.notification).or_insert(seen);
            if seen.0 > latest.0 {
                *latest = seen;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use bellbuoy_domain::WIRE_VERSION;

    use super::*;

    #[test]
    fn of_what_the_store_refuses_each_record_comes_again_by_itself() {
        let record = Told { v: WIRE_VERSION, fanned_out: None, attempt: None };
        let apart = taken_apart(&[record.to_json(), record.to_json()].concat()).expect("two");
        assert_eq!(apart.len(), 2);
        for message in apart {
            assert_eq!(Told::from_json(&message.body).expect("a record"), record);
            assert!(taken_apart(&message.body).is_none(), "it is put aside");
        }
    }
}
