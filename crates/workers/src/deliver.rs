//! Takes deliveries of one method from their queue and makes their attempts.
//!
//! Each delivery is a task of its own, at most [`DeliverLimits::in_flight`] at a time. What
//! follows an attempt (the record, and the retry or the dead letter) goes out in the settle that
//! ends the claim. A task that panics drops its claim: the broker gives it out again and counts.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bellbuoy_broker::{Broker, Claim, Outgoing, queues};
use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeadReason, DeliveryMessage, DeliveryState, Event, MethodName, Next,
    NotificationState, Outcome, Record, RetryPolicy, WIRE_VERSION,
};
use bellbuoy_methods::{Attempt, Methods, Report};
use bellbuoy_telemetry::{Counter, Gauge, Histogram, Metrics};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{Vital, Wish, Wishes, WorkerError, clock};

/// How long a delivery of a paused notification is put aside before it is looked at again.
const PAUSED_HOLD: Duration = Duration::from_mins(1);

/// How long a delivery is put aside when its notification can't be looked up.
const LOOKUP_HOLD: Duration = Duration::from_secs(5);

/// How much a deliver worker does at once.
#[derive(Debug, Clone, Copy)]
pub struct DeliverLimits {
    /// Most attempts in flight.
    pub in_flight: NonZeroUsize,
    /// How long attempts in flight may take to end after shutdown has begun.
    pub drain: Duration,
}

impl Default for DeliverLimits {
    /// 128 attempts; 20 s, enough for an attempt that began just before.
    fn default() -> Self {
        Self {
            in_flight: NonZeroUsize::new(128).unwrap_or(NonZeroUsize::MIN),
            drain: Duration::from_secs(20),
        }
    }
}

/// The deliver worker of one method.
pub struct Deliver {
    /// Which method.
    pub method: MethodName,
    /// Where deliveries come from and what follows goes.
    pub broker: Broker,
    /// The notifications.
    pub wishes: Arc<Wishes>,
    /// How attempts are made.
    pub methods: Arc<Methods>,
    /// When there is another one, unless the notification says otherwise.
    pub policy: RetryPolicy,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Its sign of life.
    pub vital: Arc<Vital>,
    /// How much at once.
    pub limits: DeliverLimits,
}

/// A delivery at hand.
struct Delivery {
    message: DeliveryMessage,
    event: Event,
}

/// What follows for a delivery, as its record says it.
struct Verdict {
    outcome: &'static str,
    cause: Option<Cause>,
    status: Option<u16>,
    state: DeliveryState,
    /// The next attempt's number and the wait before it.
    again: Option<(u32, Duration)>,
    dead: Option<DeadReason>,
}

impl Deliver {
    /// Runs until `shutdown` is cancelled, then waits up to `limits.drain` for the attempts in
    /// flight. Delivers at least once: an attempt that outlives the drain is aborted and left
    /// unsettled, and the broker gives it to another worker.
    ///
    /// # Errors
    ///
    /// When an outcome can't be settled; the attempts in flight have ended or been aborted as above.
    /// The supervisor starts the worker again.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let queue = queues::deliver(self.method.name());
        let slots = self.limits.in_flight;
        self.metrics.set(Gauge::DeliverySlots, &[self.method.name()], slot_count(slots.get()));
        let mut consumer = self.broker.consume(&queue, slots);
        let mut tasks = JoinSet::new();
        let mut result = Ok(());
        while result.is_ok() {
            self.show_life(&tasks);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = tasks.join_next() => result = conclude(ended),
                claim = consumer.next(), if tasks.len() < slots.get() => match claim {
                    Ok(claim) => drop(tasks.spawn(Arc::clone(&self).serve(claim))),
                    Err(error) => result = Err(error.into()),
                }
            }
        }
        drop(consumer); // No new work while we drain.
        let drain = async {
            while let Some(ended) = tasks.join_next().await {
                result = std::mem::replace(&mut result, Ok(())).and(conclude(ended));
            }
        };
        if tokio::time::timeout(self.limits.drain, drain).await.is_err() {
            warn!(
                "drain of {} ran out after {:?}; the rest will be redelivered",
                self.method, self.limits.drain
            );
        }
        result
    }

    fn show_life(&self, tasks: &JoinSet<Result<(), WorkerError>>) {
        self.metrics.set(Gauge::DeliveriesInFlight, &[self.method.name()], slot_count(tasks.len()));
        if tasks.is_empty() { self.vital.idle() } else { self.vital.working() }
    }

    async fn serve(self: Arc<Self>, claim: Claim) -> Result<(), WorkerError> {
        let outputs = match read(&claim) {
            Ok(delivery) => self.deliver(&claim, &delivery).await,
            Err(detail) => {
                error!(
                    "a message on {} is not a delivery and becomes a dead letter: {detail}",
                    claim.queue()
                );
                vec![self.dead_letter(&claim, DeadReason::Undecodable, &detail)]
            }
        };
        self.broker.settle(vec![claim], outputs).await?;
        Ok(())
    }

    async fn deliver(&self, claim: &Claim, delivery: &Delivery) -> Vec<Outgoing> {
        let started_at = clock::now();
        if started_at < delivery.message.due_at {
            // The broker's clock was ahead of ours.
            let wait = clock::since(started_at, delivery.message.due_at);
            return vec![again(claim, &delivery.message, delivery.message.attempt, started_at, wait)];
        }
        let verdict = match self.wishes.get(delivery.message.notification).await {
            Ok(Some(wish)) => self.serve_wish(delivery, &wish, started_at).await,
            Ok(None) => Verdict::cancelled("its notification was deleted"),
            Err(error) => {
                warn!("can't look up notification {}: {error}", delivery.message.notification);
                self.hold(
                    delivery,
                    CauseCode::Internal,
                    "its notification could not be looked up",
                    LOOKUP_HOLD,
                )
            }
        };
        self.follow(claim, delivery, started_at, &verdict)
    }

    async fn serve_wish(&self, delivery: &Delivery, wish: &Wish, started_at: Timestamp) -> Verdict {
        let notification = &wish.notification;
        match notification.state {
            NotificationState::Paused => {
                return self.hold(delivery, CauseCode::Paused, "its notification is paused", PAUSED_HOLD);
            }
            NotificationState::Disabled => return Verdict::disabled(notification.state_reason.as_deref()),
            NotificationState::Active => {}
        }
        let checked = match &wish.checked {
            Ok(checked) => checked,
            Err(error) => {
                let cause =
                    Cause::new(CauseCode::Internal, format!("its notification is not understood: {error}"));
                return Verdict::dead("rejected", cause, None, DeadReason::Rejected);
            }
        };
        let message = &delivery.message;
        let lag = clock::since(message.due_at, started_at);
        self.metrics.observe(Histogram::DeliveryLag, &[self.method.name()], lag.as_secs_f64());
        let attempt = Attempt {
            delivery: message.delivery,
            number: message.attempt,
            event: &delivery.event,
            notification,
            checked,
            now: started_at,
        };
        let report = self.methods.attempt(attempt).await;
        self.count(message, &report, started_at);
        let policy = notification.retry.as_ref().unwrap_or(&self.policy);
        self.judge(delivery, policy, report)
    }

    fn judge(&self, delivery: &Delivery, policy: &RetryPolicy, report: Report) -> Verdict {
        let message = &delivery.message;
        let run = std::num::NonZeroU32::new(message.attempt.saturating_sub(message.spent))
            .unwrap_or(std::num::NonZeroU32::MIN);
        let (outcome, status) = (report.outcome.name(), report.status);
        let cause = report.outcome.cause().cloned();
        let rejected = matches!(report.outcome, Outcome::Rejected { .. });
        match policy.after(run, report.outcome, clock::jitter()) {
            Next::Done => Verdict {
                outcome,
                cause: None,
                status,
                state: DeliveryState::Delivered,
                again: None,
                dead: None,
            },
            Next::RetryIn(wait) => Verdict {
                outcome,
                cause,
                status,
                state: DeliveryState::Waiting,
                again: Some((message.attempt + 1, wait)),
                dead: None,
            },
            Next::HoldFor(wait) => {
                let cause = cause.unwrap_or_else(|| Cause::new(CauseCode::Internal, "our own fault"));
                self.hold(delivery, cause.code, &cause.detail, wait)
            }
            Next::DeadLetter(cause) => {
                let reason = if rejected { DeadReason::Rejected } else { DeadReason::AttemptsExhausted };
                Verdict::dead(outcome, cause, status, reason)
            }
        }
    }

    fn hold(&self, delivery: &Delivery, code: CauseCode, detail: &str, wait: Duration) -> Verdict {
        self.metrics.count(Counter::DeliveryHolds, &[self.method.name(), code.name()], 1);
        Verdict {
            outcome: "held",
            cause: Some(Cause::new(code, detail)),
            status: None,
            state: DeliveryState::Waiting,
            again: Some((delivery.message.attempt, wait)),
            dead: None,
        }
    }

    fn count(&self, message: &DeliveryMessage, report: &Report, started_at: Timestamp) {
        let (method, outcome) = (self.method.name(), report.outcome.name());
        let cause = report.outcome.cause().map_or("none", |cause| cause.code.name());
        let now = clock::now();
        self.metrics.count(Counter::DeliveryAttempts, &[method, outcome, cause], 1);
        let took = clock::since(started_at, now);
        self.metrics.observe(Histogram::DeliveryDuration, &[method, outcome], took.as_secs_f64());
        if report.outcome == Outcome::Delivered {
            let total = clock::since(message.accepted_at, now);
            self.metrics.observe(Histogram::DeliveryEndToEnd, &[method], total.as_secs_f64());
        }
    }

    fn follow(
        &self,
        claim: &Claim,
        delivery: &Delivery,
        started_at: Timestamp,
        verdict: &Verdict,
    ) -> Vec<Outgoing> {
        let message = &delivery.message;
        let now = clock::now();
        verdict.log(message);
        let record = AttemptRecord {
            delivery: message.delivery,
            notification: message.notification,
            method: self.method.name().to_owned(),
            source: delivery.event.source.clone(),
            event: delivery.event.id.clone(),
            kind: delivery.event.kind,
            subject: delivery.event.subject.name().unwrap_or_default().to_owned(),
            accepted_at: message.accepted_at,
            attempt: message.attempt,
            started_at,
            duration_ms: clock::millis(clock::since(started_at, now)),
            outcome: verdict.outcome.to_owned(),
            status: verdict.status,
            state: verdict.state,
            next_due_at: verdict.again.map(|(_, wait)| clock::after(now, wait)),
            cause: verdict.cause.clone(),
        };
        let record = Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(record) };
        let mut outputs = vec![Outgoing::new(queues::outcomes(), record.to_json())];
        if let Some((number, wait)) = verdict.again {
            outputs.push(again(claim, message, number, now, wait));
        }
        if let Some(reason) = verdict.dead {
            let detail = verdict.cause.as_ref().map(ToString::to_string).unwrap_or_default();
            outputs.push(self.dead_letter(claim, reason, &detail));
        }
        outputs
    }

    fn dead_letter(&self, claim: &Claim, reason: DeadReason, detail: &str) -> Outgoing {
        self.metrics.count(Counter::DeadLetters, &[claim.queue().as_str(), reason.name()], 1);
        Outgoing::dead_letter(claim, reason.name(), detail)
    }
}

impl Verdict {
    fn dead(outcome: &'static str, cause: Cause, status: Option<u16>, reason: DeadReason) -> Self {
        let state = DeliveryState::Dead;
        Self { outcome, cause: Some(cause), status, state, again: None, dead: Some(reason) }
    }

    fn cancelled(detail: &str) -> Self {
        Self {
            outcome: "cancelled",
            cause: Some(Cause::new(CauseCode::NoRecipient, detail)),
            status: None,
            state: DeliveryState::Cancelled,
            again: None,
            dead: None,
        }
    }

    // Not lost: as a dead letter it can be replayed when its receiver is back.
    fn disabled(why: Option<&str>) -> Self {
        let detail = format!("its notification is disabled: {}", why.unwrap_or("by its owner"));
        let cause = Cause::new(CauseCode::Disabled, detail);
        Self {
            outcome: "cancelled",
            ..Self::dead("cancelled", cause, None, DeadReason::NotificationDisabled)
        }
    }

    fn log(&self, message: &DeliveryMessage) {
        let (delivery, attempt) = (message.delivery, message.attempt);
        let cause = self.cause.as_ref().map(ToString::to_string).unwrap_or_default();
        match (self.dead, self.again) {
            (Some(reason), _) => warn!(
                delivery.id = %delivery, notification.id = %message.notification, attempt,
                "gave up delivery {delivery} at attempt {attempt} ({}): {cause}", reason.name()
            ),
            (None, Some((_, wait))) => info!(
                delivery.id = %delivery, notification.id = %message.notification, attempt,
                wait_ms = clock::millis(wait),
                "{} delivery {delivery} at attempt {attempt} for {wait:.1?}: {cause}", self.outcome
            ),
            (None, None) => tracing::debug!(
                delivery.id = %delivery, notification.id = %message.notification, attempt,
                "{} delivery {delivery} at attempt {attempt}", self.outcome
            ),
        }
    }
}

fn read(claim: &Claim) -> Result<Delivery, String> {
    let message = DeliveryMessage::from_json(claim.body()).map_err(|error| error.to_string())?;
    let event = Event::from_json(message.event.get().as_bytes(), message.accepted_at)
        .map_err(|error| format!("its event: {error}"))?;
    Ok(Delivery { message, event })
}

fn again(claim: &Claim, message: &DeliveryMessage, number: u32, now: Timestamp, wait: Duration) -> Outgoing {
    let next = DeliveryMessage { attempt: number, due_at: clock::after(now, wait), ..message.clone() };
    Outgoing::new(claim.queue().clone(), next.to_json()).after(wait)
}

fn conclude(ended: Result<Result<(), WorkerError>, tokio::task::JoinError>) -> Result<(), WorkerError> {
    ended.unwrap_or_else(|error| {
        error!("an attempt ended without a result, and its delivery goes back to the queue: {error}");
        Ok(())
    })
}

#[expect(clippy::cast_precision_loss, reason = "slots are thousands at most")]
fn slot_count(count: usize) -> f64 {
    count as f64
}
