//! Expands each event into one delivery per notification that wants it.
//!
//! An event is admitted by the store first: a second message of the same event is dropped there,
//! and the first one can't be lost by that, because it stays with the broker until its deliveries
//! are durable. Deliveries and what the recorder is told go out in the same settle that ends the
//! event, so a crash anywhere repeats the expansion and loses none of it.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bellbuoy_broker::{Broker, Claim, Outgoing, queues};
use bellbuoy_domain::{
    DeadReason, DeliveryId, DeliveryMessage, Event, FannedOut, NotificationState, PlannedDelivery, Record,
    WIRE_VERSION,
};
use bellbuoy_store::{Admission, SeenEvent, Store};
use bellbuoy_telemetry::{Counter, Metrics};
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{Vital, Wish, Wishes, WorkerError, clock};

/// Header of an event's message: when our ingest took it, in Unix milliseconds.
const ACCEPTED_MS: &str = "bellbuoy-accepted-ms";

/// Most messages that one settle makes: an event with more goes out in several, and only the
/// last ends it.
const OUTPUTS_AT_ONCE: usize = 10_000;

/// How much the fan-out does at once.
#[derive(Debug, Clone, Copy)]
pub struct FanoutLimits {
    /// Most events in one batch.
    pub batch: NonZeroUsize,
    /// For how long a repeated event is recognised.
    pub repeat_window: Duration,
}

impl Default for FanoutLimits {
    /// 256 events; 24 hours.
    fn default() -> Self {
        Self {
            batch: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
            repeat_window: Duration::from_hours(24),
        }
    }
}

/// The fan-out worker.
pub struct Fanout {
    /// Where events come from and deliveries go.
    pub broker: Broker,
    /// Which events were seen.
    pub store: Store,
    /// Who wants to hear of what.
    pub wishes: Arc<Wishes>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Its sign of life.
    pub vital: Arc<Vital>,
    /// How much at once.
    pub limits: FanoutLimits,
}

/// An event and the claim that brought it.
struct Arrival {
    claim: Claim,
    event: Event,
    accepted_at: Timestamp,
}

impl Fanout {
    /// Runs until `shutdown` is cancelled. What is in hand then is finished.
    ///
    /// # Errors
    ///
    /// When the broker or the store fails. All claims are back in their queue.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut consumer = self.broker.consume(&queues::events(), self.limits.batch);
        loop {
            self.vital.idle();
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                claim = consumer.next() => claim?,
            };
            self.vital.working();
            let mut batch = vec![first];
            while batch.len() < self.limits.batch.get()
                && let Some(claim) = consumer.try_next()
            {
                batch.push(claim);
            }
            self.fan_out(batch).await?;
        }
    }

    async fn fan_out(&self, batch: Vec<Claim>) -> Result<(), WorkerError> {
        let mut done = Vec::with_capacity(batch.len());
        let mut outputs = Vec::new();
        let mut arrivals = Vec::with_capacity(batch.len());
        for claim in batch {
            match read(&claim) {
                Ok((event, accepted_at)) => arrivals.push(Arrival { claim, event, accepted_at }),
                Err(detail) => {
                    outputs.push(self.undecodable(&claim, &detail));
                    done.push(claim);
                }
            }
        }
        let seen: Vec<_> = arrivals.iter().map(Arrival::seen).collect();
        let admissions = self.store.admit_events(&seen, self.limits.repeat_window).await?;
        for ((arrival, seen), admission) in arrivals.into_iter().zip(seen).zip(admissions) {
            match admission {
                Admission::Repeat => self.metrics.count(Counter::EventsRepeated, &[seen.kind.name()], 1),
                Admission::New => self.expand(&arrival, &seen.body, &mut outputs).await?,
            }
            done.push(arrival.claim);
        }
        while outputs.len() > OUTPUTS_AT_ONCE {
            let rest = outputs.split_off(OUTPUTS_AT_ONCE);
            self.broker.publish(std::mem::replace(&mut outputs, rest)).await?;
        }
        self.broker.settle(done, outputs).await?;
        Ok(())
    }

    async fn expand(
        &self,
        arrival: &Arrival,
        body: &[u8],
        outputs: &mut Vec<Outgoing>,
    ) -> Result<(), WorkerError> {
        let event = &arrival.event;
        let Ok(raw) = String::from_utf8(body.to_vec())
            .map_err(drop)
            .and_then(|text| RawValue::from_string(text).map_err(drop))
        else {
            outputs.push(self.undecodable(&arrival.claim, "its canonical form is not JSON"));
            return Ok(());
        };
        let mut planned = Vec::new();
        for wish in self.wishes.covering(&event.subject).await?.iter() {
            if wants(wish, event) {
                let delivery = DeliveryId::derive(&event.source, &event.id, wish.notification.id);
                let message = DeliveryMessage {
                    v: WIRE_VERSION,
                    delivery,
                    notification: wish.notification.id,
                    attempt: 1,
                    spent: 0,
                    accepted_at: arrival.accepted_at,
                    due_at: clock::now(),
                    event: raw.clone(),
                };
                let method = &wish.notification.method;
                outputs.push(Outgoing::new(queues::deliver(method), message.to_json()));
                self.metrics.count(Counter::DeliveriesQueued, &[method], 1);
                planned.push(PlannedDelivery {
                    delivery,
                    notification: wish.notification.id,
                    method: method.clone(),
                });
            }
        }
        self.metrics.count(Counter::EventsFannedOut, &[event.kind.name()], 1);
        let record = Record { v: WIRE_VERSION, fanned_out: Some(arrival.fanned_out(planned)), attempt: None };
        outputs.push(Outgoing::new(queues::outcomes(), record.to_json()));
        Ok(())
    }

    fn undecodable(&self, claim: &Claim, detail: &str) -> Outgoing {
        let reason = DeadReason::Undecodable.name();
        warn!("a message on {} is not an event and becomes a dead letter: {detail}", claim.queue());
        self.metrics.count(Counter::DeadLetters, &[claim.queue().as_str(), reason], 1);
        Outgoing::dead_letter(claim, reason, detail)
    }
}

impl Arrival {
    fn seen(&self) -> SeenEvent {
        SeenEvent {
            source: self.event.source.clone(),
            id: self.event.id.clone(),
            kind: self.event.kind,
            subject: self.event.subject.name().unwrap_or_default().to_owned(),
            message: self.claim.id(),
            accepted_at: self.accepted_at,
            body: self.event.to_json(),
        }
    }

    fn fanned_out(&self, deliveries: Vec<PlannedDelivery>) -> FannedOut {
        FannedOut {
            source: self.event.source.clone(),
            event: self.event.id.clone(),
            kind: self.event.kind,
            subject: self.event.subject.name().unwrap_or_default().to_owned(),
            accepted_at: self.accepted_at,
            deliveries,
        }
    }
}

fn read(claim: &Claim) -> Result<(Event, Timestamp), String> {
    let now = clock::now();
    let accepted_at = claim
        .headers()
        .get(ACCEPTED_MS)
        .and_then(|text| text.parse().ok())
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(now);
    let event = Event::from_json(claim.body(), accepted_at).map_err(|error| error.to_string())?;
    Ok((event, accepted_at))
}

// A disabled notification gets nothing new; a paused one gets its deliveries, which are then held.
fn wants(wish: &Wish, event: &Event) -> bool {
    let served = wish.notification.state != NotificationState::Disabled;
    if !served || !wish.notification.listens_to(event) {
        return false;
    }
    match &wish.checked {
        Ok(checked) => checked
            .filter
            .allows(event)
            .inspect_err(|refusal| {
                debug!("notification {} does not want event {}: {refusal}", wish.notification.id, event.id);
            })
            .is_ok(),
        // Delivering decides what becomes of it, where its owner can see it.
        Err(_) => true,
    }
}
