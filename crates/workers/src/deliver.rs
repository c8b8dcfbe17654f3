//! Takes deliveries of one method from their queue and makes their attempts.
//!
//! Each delivery is a task of its own, at most [`DeliverLimits::in_flight`] at a time. What
//! follows an attempt (the record, and the retry or the dead letter) goes out in the settle that
//! ends the claim, together with those of other attempts that ended meanwhile. A task that panics drops its claim: the broker gives it out again and counts.
//!
//! When a delivery is due is the broker's to say: it kept the delay, and our clock may have been
//! set meanwhile, or be another machine's.

mod own_fault;
mod reading;
mod verdict;

use std::{borrow::Cow, num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use bellbuoy_broker::{Broker, BrokerError, Claim, Outgoing, Shards};
use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, CheckedNotification, DeadReason, DeliveryMessage, DeliveryState,
    MethodName, Next, Notification, NotificationState, Outcome, Record, RetryPolicy, WIRE_VERSION,
};
use bellbuoy_methods::{Attempt, Methods, Receiver, Report, http::MayFollow};
use bellbuoy_store::StoreError;
use bellbuoy_telemetry::{Counter, Gauge, Histogram, Metrics};
use jiff::Timestamp;
use own_fault::CountedPanic;
use reading::{Delivery, LastEvent, Unreadable, read};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;
use verdict::{Verdict, held_for};

use crate::{
    Vital, Wish, Wishes, WorkerError,
    aside::{Why, put_aside},
    clock,
    error::{Halt, sentence},
    gate::{self, Entry, Gate, Pass, Visit},
    intake::Intake,
    patience::Patience,
    pool::{self, Served},
};

/// How long a delivery of a paused notification is held before it is looked at again, at least.
const PAUSED_HOLD: Duration = Duration::from_mins(1);

/// How long a delivery is held when its notification can't be understood, at least.
const UNCLEAR_HOLD: Duration = Duration::from_secs(5);

/// What a delivery says that was taken as the last one.
const LAST: &str = "taken, and the receiver said that it wants no more of this notification";

/// The outcome of a delivery that waits and has cost no attempt.
const HELD: &str = "held";

/// Why an attempt was dropped in the middle.
const STOOD_STILL: &str = "our process stood still in the middle of the attempt";

/// What the deliver worker of a method is called in metrics, logs and readiness.
pub fn deliver_role(method: MethodName) -> &'static str {
    match method {
        MethodName::Webhook => "deliver_webhook",
        MethodName::QuayNotification => "deliver_quay_notification",
        MethodName::Email => "deliver_email",
        MethodName::Slack => "deliver_slack",
        MethodName::Mattermost => "deliver_mattermost",
        MethodName::RocketChat => "deliver_rocketchat",
        MethodName::Teams => "deliver_teams",
        MethodName::Discord => "deliver_discord",
        MethodName::HipChat => "deliver_hipchat",
        MethodName::Flowdock => "deliver_flowdock",
    }
}

/// How much a deliver worker does at once.
#[derive(Debug, Clone, Copy)]
pub struct DeliverLimits {
    /// Most attempts in flight.
    pub in_flight: NonZeroUsize,
    /// How long attempts in flight may take to end after shutdown has begun.
    pub drain: Duration,
}

impl Default for DeliverLimits {
    /// 256 attempts; 20 s, enough for an attempt that began just before.
    fn default() -> Self {
        Self {
            in_flight: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
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
    /// Which of them may begin now; one for the whole process.
    pub gate: Arc<Gate>,
    /// When there is another one, unless the notification says otherwise.
    pub policy: RetryPolicy,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Its sign of life.
    pub vital: Arc<Vital>,
    /// Over how many queues the method's deliveries are spread.
    pub shards: Shards,
    /// How much at once.
    pub limits: DeliverLimits,
}

/// When its handling began.
#[derive(Clone, Copy)]
struct Begun {
    at: Timestamp,
    /// The same for spans, which a clock that is set must not bend.
    instant: Instant,
}

impl Begun {
    fn now() -> Self {
        Self { at: clock::now(), instant: Instant::now() }
    }
}

impl Deliver {
    /// Runs until `shutdown` is cancelled, then waits up to `limits.drain` for the attempts in
    /// flight. Delivers at least once: an attempt that outlives the drain is aborted and left
    /// unsettled, and the broker gives it to another worker.
    ///
    /// # Errors
    ///
    /// When the broker would not take an outcome now (then no attempt is begun; while it is only out of reach, this
    /// waits), or did not; the attempts in flight have ended or been aborted as above. The supervisor starts the
    /// worker again.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let method = self.method.name();
        // A full disk must not make a receiver get the same request at every restart.
        let passes = |error: &BrokerError| matches!(error, BrokerError::Unavailable(_));
        match self.patience(&shutdown).outlast(passes, || self.broker.ping()).await {
            Ok(answer) => answer?,
            Err(halt) => return halt.into_result(),
        }
        self.metrics.set(Gauge::DeliverySlots, &[method], slot_count(self.limits.in_flight.get()));
        let intake = Intake::new(&self.broker, &self.shards.queues(method), self.limits.in_flight);
        let show = |in_flight: usize| {
            self.metrics.set(Gauge::DeliveriesInFlight, &[method], slot_count(in_flight));
            if in_flight == 0 { self.vital.idle() } else { self.vital.working() }
        };
        let last = Arc::new(LastEvent::default());
        let serve = |claim, stop| Arc::clone(&self).serve(claim, Arc::clone(&last), stop);
        let settle = |claims, outputs| {
            let broker = self.broker.clone();
            async move { broker.settle(claims, outputs).await }
        };
        pool::serve_each(intake, method, self.limits, &shutdown, show, serve, settle).await
    }

    fn patience<'a>(&'a self, stop: &'a CancellationToken) -> Patience<'a> {
        Patience { role: deliver_role(self.method), vital: &self.vital, metrics: &self.metrics, stop }
    }

    async fn serve(
        self: Arc<Self>,
        claim: Claim,
        last: Arc<LastEvent>,
        stop: CancellationToken,
    ) -> pool::Ended {
        let _counted = CountedPanic { method: self.method, metrics: &self.metrics };
        let (outputs, record) = match read(&claim, &last) {
            Ok(delivery) => match self.deliver(&claim, &delivery, &stop).await {
                Ok((outputs, record)) => (outputs, Some(record)),
                Err(halt) => return halt.into_result().map(|()| None),
            },
            Err(Unreadable::Newer(detail)) => {
                (vec![put_aside(&claim, Why::Newer, &detail, &self.metrics)], None)
            }
            Err(Unreadable::Malformed(detail)) => {
                error!(
                    "a message on {} is not a delivery and becomes a dead letter: {detail}",
                    claim.queue()
                );
                (vec![self.dead_letter(&claim, DeadReason::Undecodable, &detail)], None)
            }
        };
        Ok(Some(Served { claim, outputs, record }))
    }

    async fn deliver(
        &self,
        claim: &Claim,
        delivery: &Delivery,
        stop: &CancellationToken,
    ) -> Result<(Vec<Outgoing>, Record), Halt> {
        let patience = self.patience(stop);
        let unavailable = |error: &StoreError| matches!(error, StoreError::Unavailable { .. });
        let look_up = || self.wishes.get(delivery.message.notification);
        let wish = patience.outlast(unavailable, look_up).await?;
        let mut began = Begun::now();
        let verdict = match wish {
            Ok(Some(wish)) => self.serve_wish(delivery, &wish, &mut began).await,
            Ok(None) => Verdict::cancelled("its notification was deleted"),
            Err(error) => {
                let detail = format!("its notification can't be read: {}", sentence(&error));
                self.hold(delivery, CauseCode::Internal, &detail, UNCLEAR_HOLD)
            }
        };
        Ok(self.follow(claim, delivery, began, &verdict))
    }

    async fn serve_wish(&self, delivery: &Delivery, wish: &Wish, began: &mut Begun) -> Verdict {
        let notification = &wish.notification;
        let policy = notification.retry.as_ref().unwrap_or(&self.policy);
        match notification.state {
            NotificationState::Paused => {
                return self.hold(delivery, CauseCode::Paused, "its notification is paused", PAUSED_HOLD);
            }
            NotificationState::Disabled => return Verdict::disabled(notification.state_reason.as_deref()),
            NotificationState::Active | NotificationState::Probation => {}
        }
        let checked = match &wish.checked {
            Ok(checked) => checked,
            // Stored by a newer version, perhaps; its owner sees why and can change it.
            Err(error) => {
                let detail = format!("its notification is not understood: {error}");
                return self.hold(delivery, CauseCode::Internal, &detail, UNCLEAR_HOLD);
            }
        };
        let link = delivery.event.place(delivery.message.delivery, notification.id).link;
        // Where the chain has become too short for it, the attempt says so.
        let at_link = checked.at_link(link).unwrap_or(Cow::Borrowed(checked));
        let checked = &*at_link;
        let pass = match self.methods.receiver(checked) {
            None => None,
            Some(receiver) => match self.gate.enter(&self.visit(delivery, notification, &receiver)).await {
                Entry::Pass(pass) => Some(pass),
                // No receiver's doing, so that nobody's time runs out for it.
                Entry::Hold(hold) if matches!(hold.code, CauseCode::RetriesBusy | CauseCode::OnProbation) => {
                    return self.hold(delivery, hold.code, hold.detail, hold.wait);
                }
                Entry::Hold(hold) => return self.hold_for_receiver(delivery, policy, &hold),
            },
        };
        *began = Begun::now();
        let report = {
            // Pinned here, because a future that is handed on is copied.
            let attempt = pin!(self.attempt(delivery, notification, checked, *began, pass.as_ref()));
            match &pass {
                None => Some(attempt.await),
                Some(pass) => pass.guard(attempt).await,
            }
        };
        let Some(report) = report else {
            return self.hold(delivery, CauseCode::Internal, STOOD_STILL, Duration::ZERO);
        };
        // Nobody's fault, and told to nobody's circuit: the host that a redirect leads to has as much as it may have.
        if let Some(hold) = pass.as_ref().and_then(Pass::refused) {
            return self.hold_for_receiver(delivery, policy, &hold);
        }
        if let Some(pass) = pass {
            pass.end(&report.outcome);
        }
        let on_probation = notification.state == NotificationState::Probation;
        Verdict { on_probation, ..self.judge(delivery, policy, report) }
    }

    fn visit<'a>(&self, delivery: &Delivery, to: &Notification, receiver: &'a Receiver) -> Visit<'a> {
        let message = &delivery.message;
        let is_retry = message.attempt > message.spent.saturating_add(1);
        Visit {
            notification: to.id,
            to: receiver,
            on_probation: to.state == NotificationState::Probation,
            retry_of: is_retry.then_some(self.method),
        }
    }

    async fn attempt(
        &self,
        delivery: &Delivery,
        notification: &Notification,
        checked: &CheckedNotification,
        began: Begun,
        pass: Option<&Pass>,
    ) -> Report {
        let message = &delivery.message;
        let lag = clock::since(message.due_at, began.at);
        self.metrics.observe(Histogram::DeliveryLag, &[self.method.name()], lag.as_secs_f64());
        let attempt = Attempt {
            delivery: message.delivery,
            number: message.attempt,
            event: &delivery.event,
            notification,
            checked,
            now: began.at,
        };
        let may_follow = pass.map(|pass| pass as &dyn MayFollow);
        let report = self.methods.attempt_where(attempt, may_follow).await;
        self.count(message, &report, began);
        report
    }

    // Not for ever: what waits for a receiver that stays away would wait longer than anybody wants it.
    fn hold_for_receiver(&self, delivery: &Delivery, policy: &RetryPolicy, hold: &gate::Hold) -> Verdict {
        let since = delivery.message.held_since.unwrap_or_else(clock::now);
        let so_long = clock::since(since, clock::now());
        if so_long > policy.longest_life() {
            return Verdict::expired(hold, so_long);
        }
        self.hold(delivery, hold.code, hold.detail, hold.wait)
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
                cause: report.was_last.then(|| Cause::new(CauseCode::Unwanted, LAST)),
                status,
                state: DeliveryState::Delivered,
                again: None,
                dead: None,
                on_probation: false,
            },
            Next::RetryIn(wait) => Verdict {
                outcome,
                cause,
                status,
                state: DeliveryState::Waiting,
                again: Some((message.attempt.saturating_add(1), wait)),
                dead: None,
                on_probation: false,
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
        let age = clock::since(delivery.message.accepted_at, clock::now());
        Verdict {
            outcome: HELD,
            cause: Some(Cause::new(code, detail)),
            status: None,
            state: DeliveryState::Waiting,
            again: Some((delivery.message.attempt, held_for(code, wait, age))),
            dead: None,
            on_probation: false,
        }
    }

    // A hold is counted as one, and not as an attempt that it isn't.
    fn count(&self, message: &DeliveryMessage, report: &Report, began: Begun) {
        let is_held = |code: CauseCode| code.is_ours() || code == CauseCode::ReceiverBusy;
        if report.outcome.cause().is_some_and(|cause| is_held(cause.code)) {
            return;
        }
        let (method, outcome) = (self.method.name(), report.outcome.name());
        let cause = report.outcome.cause().map_or("none", |cause| cause.code.name());
        self.metrics.count(Counter::DeliveryAttempts, &[method, outcome, cause], 1);
        let took = began.instant.elapsed();
        self.metrics.observe(Histogram::DeliveryDuration, &[method, outcome], took.as_secs_f64());
        if report.outcome == Outcome::Delivered {
            let total = clock::since(message.accepted_at, clock::now());
            self.metrics.observe(Histogram::DeliveryEndToEnd, &[method], total.as_secs_f64());
        }
    }

    // The retry or the dead letter, if there is one, and what the recorder is told.
    fn follow(
        &self,
        claim: &Claim,
        delivery: &Delivery,
        began: Begun,
        verdict: &Verdict,
    ) -> (Vec<Outgoing>, Record) {
        let message = &delivery.message;
        // In this order, so that no wait looks shorter than it is, and before the log, which can take its time.
        let took = began.instant.elapsed();
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
            started_at: began.at,
            duration_ms: clock::millis(took),
            outcome: verdict.outcome.to_owned(),
            status: verdict.status,
            state: verdict.state,
            next_due_at: verdict.again.map(|(_, wait)| clock::after(now, wait)),
            cause: verdict.cause.clone(),
            on_probation: verdict.on_probation,
        };
        let record = Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(record) };
        let mut outputs = Vec::new();
        if let Some((number, wait)) = verdict.again {
            let held_since = verdict.held_since(message.held_since, now);
            let again =
                self.again(DeliveryMessage { attempt: number, held_since, ..message.clone() }, now, wait);
            // An attempt's retry comes when it was said; of those that are held there can be very many.
            outputs.push(if verdict.outcome == HELD { again.together() } else { again });
        }
        if let Some(reason) = verdict.dead {
            let detail = verdict.cause.as_ref().map(ToString::to_string).unwrap_or_default();
            outputs.push(self.dead_letter(claim, reason, &detail));
        }
        (outputs, record)
    }

    fn again(&self, message: DeliveryMessage, now: Timestamp, wait: Duration) -> Outgoing {
        let next = DeliveryMessage { due_at: clock::after(now, wait), ..message };
        // Not to the shard it came from: there may be more of them now.
        let queue = self.shards.queue(self.method.name(), message.notification.as_uuid().as_u128());
        Outgoing::new(queue, next.to_json()).after(wait)
    }

    fn dead_letter(&self, claim: &Claim, reason: DeadReason, detail: &str) -> Outgoing {
        self.metrics.count(Counter::DeadLetters, &[claim.queue().as_str(), reason.name()], 1);
        Outgoing::dead_letter(claim, reason.name(), detail)
    }
}

#[expect(clippy::cast_precision_loss, reason = "slots are thousands at most")]
fn slot_count(count: usize) -> f64 {
    count as f64
}
