//! Keeps dead letters, and writes down the end of deliveries whose worker could not.
//!
//! A delivery that is given up is recorded by its worker. One whose message killed its workers, or
//! could not be read, is not: its letter is all that is left, so its end is recorded from that.

use std::sync::Arc;

use bellbuoy_broker::{Claim, queues};
use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeadReason, DeliveryMessage, DeliveryState, Event, Record as Told,
    WIRE_VERSION,
};
use bellbuoy_store::{DeadLetter, StoreError};
use bellbuoy_telemetry::Counter;
use tokio_util::sync::CancellationToken;

use crate::{
    Record, WorkerError,
    aside::{Why, put_aside},
    batch::Batch,
    clock,
    error::{Halt, sentence},
    patience::refuses_nothing_in_particular,
};

/// A dead letter with what its bytes still say.
struct Letter {
    kept: DeadLetter,
    message: Option<DeliveryMessage>,
    event: Option<Event>,
}

impl Record {
    /// Archives dead letters until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// As for [`Record::run_outcomes`].
    pub async fn run_dead_letters(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut consumer = self.broker.consume(&queues::dead(), self.limits.batch);
        loop {
            self.vital.idle();
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                claim = consumer.next() => claim?,
            };
            let mut batch = Batch::begin(first, self.limits.batch);
            batch.fill(&mut consumer);
            let archived = self.archive(batch.into_claims(), &shutdown).await;
            if let Err(halt) = archived.or_else(|halt| halt.outlived("archive")) {
                return halt.into_result();
            }
        }
    }

    async fn archive(&self, batch: Vec<Claim>, shutdown: &CancellationToken) -> Result<(), Halt> {
        self.vital.working();
        let letters: Vec<_> = batch.iter().map(Letter::read).collect();
        let patience = self.patience("archive", shutdown);
        let keep = || self.keep(&letters);
        if let Err(error) = patience.outlast(refuses_nothing_in_particular, keep).await? {
            return self.archive_alone(batch, &error, shutdown).await;
        }
        patience.settle(&self.broker, batch, Vec::new()).await?;
        for Letter { kept: letter, .. } in letters {
            // The broker makes these by itself, so nobody counted them before.
            if letter.reason == DeadReason::Poisoned.name() {
                self.metrics.count(Counter::DeadLetters, &[&letter.origin, &letter.reason], 1);
            }
        }
        Ok(())
    }

    // The store refuses one of them: the others need not suffer for it.
    async fn archive_alone(
        &self,
        batch: Vec<Claim>,
        error: &StoreError,
        shutdown: &CancellationToken,
    ) -> Result<(), Halt> {
        if let [only] = &batch[..] {
            let aside = put_aside(only, Why::Refused, &sentence(error), &self.metrics);
            return Ok(self.patience("archive", shutdown).settle(&self.broker, batch, vec![aside]).await?);
        }
        for claim in batch {
            Box::pin(self.archive(vec![claim], shutdown)).await?;
        }
        Ok(())
    }

    async fn keep(&self, letters: &[Letter]) -> Result<(), StoreError> {
        let kept: Vec<_> = letters.iter().map(|letter| letter.kept.clone()).collect();
        self.store.archive_dead_letters(&kept).await?;
        let mut ends = Vec::new();
        for letter in letters {
            if let Some(end) = self.unrecorded_end(letter).await? {
                ends.push(Told { v: WIRE_VERSION, fanned_out: None, attempt: Some(end) });
            }
        }
        // Their fault is ours, so none of them counts against its notification.
        self.store.record(&ends, self.limits.failures).await?;
        Ok(())
    }

    async fn unrecorded_end(&self, letter: &Letter) -> Result<Option<AttemptRecord>, StoreError> {
        let DeadLetter { reason, detail, died_at, .. } = &letter.kept;
        let code = match reason {
            word if word == DeadReason::Poisoned.name() => CauseCode::WorkerPanicked,
            word if word == DeadReason::Undecodable.name() => CauseCode::Internal,
            _ => return Ok(None),
        };
        let (Some(message), Some(method)) = (&letter.message, &letter.kept.method) else { return Ok(None) };
        let row = self.store.delivery(message.delivery).await?.map(|found| found.delivery);
        let (source, event, kind, subject) = match (row, &letter.event) {
            (Some(row), _) if row.attempts >= message.attempt => {
                return Ok(None); // It ended otherwise.
            }
            (Some(row), _) => (row.source, row.event, row.kind, row.subject),
            (None, Some(event)) => {
                let subject = event.subject.name().unwrap_or_default().to_owned();
                (event.source.clone(), event.id.clone(), event.kind, subject)
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(AttemptRecord {
            delivery: message.delivery,
            notification: message.notification,
            method: method.clone(),
            source,
            event,
            kind,
            subject,
            accepted_at: message.accepted_at,
            attempt: message.attempt,
            started_at: *died_at,
            duration_ms: 0,
            outcome: "deferred".to_owned(),
            cause: Some(Cause::new(code, detail.clone())),
            status: None,
            state: DeliveryState::Dead,
            next_due_at: None,
            on_probation: false,
        }))
    }
}

impl Letter {
    // As much as the bytes still say: a dead letter is kept even if they say nothing. What did not
    // die on a delivery queue is no delivery, whatever it looks like: anybody can send us bytes.
    fn read(claim: &Claim) -> Self {
        let origin = claim.dead_origin().unwrap_or_else(|| claim.queue().as_str()).to_owned();
        let method = queues::method_of(&origin).map(str::to_owned);
        let message = method.as_ref().and_then(|_| DeliveryMessage::from_json(claim.body()).ok());
        let died_at = clock::now();
        let event = match &message {
            Some(message) => Event::from_json(message.event.get().as_bytes(), died_at).ok(),
            None => Event::from_json(claim.body(), died_at).ok(),
        };
        let reason = claim.dead_reason().unwrap_or(DeadReason::Undecodable.name()).to_owned();
        let without_attempt = [DeadReason::NotificationDisabled, DeadReason::Expired];
        let unspent = u32::from(without_attempt.iter().any(|ended| reason == ended.name()));
        let kept = DeadLetter {
            id: claim.id(),
            detail: claim.dead_detail().unwrap_or_default().to_owned(),
            delivery: message.as_ref().map(|message| message.delivery),
            notification: message.as_ref().map(|message| message.notification),
            method,
            subject: event.as_ref().map(|event| event.subject.name().unwrap_or_default().to_owned()),
            attempts: message.as_ref().map_or(0, |message| message.attempt.saturating_sub(unspent)),
            body: claim.body().to_vec(),
            died_at,
            reason,
            origin,
        };
        Self { kept, message, event }
    }
}
