//! Expands each event into one delivery per notification that wants it; a push of several tags into one
//! for each tag where the notification's requests name one.
//!
//! An event is admitted by the store first: a second message of the same event is dropped there,
//! and the first one can't be lost by that, because it stays with the broker until its deliveries
//! are durable. Deliveries and what the recorder is told go out in the same settle that ends the
//! event, so a crash anywhere repeats the expansion and loses none of it.
//!
//! What a notification wants to hear of together with others is collected in the store instead, before anything goes
//! out; see [`Digests`](crate::Digests).
//!
//! The store knows a second message by its id. A producer on RabbitMQ chooses that itself, and gives what it publishes
//! again the same one; the worker's own memory of what it has fanned out tells those apart (`recent.rs`).
//!
//! A wide fan-out goes out in several pieces, so that it fits in memory. Then the order counts: an
//! event is recorded as fanned out only after all its deliveries, because once it is recorded, its
//! message is a repeat.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bellbuoy_broker::{Broker, Claim, Outgoing, Shards, queues};
use bellbuoy_domain::{
    DeadReason, DeliveryId, DeliveryMessage, Event, FannedOut, Grain, NotificationState, PlannedDelivery,
    Record, RepositoryName, Subject, WIRE_VERSION, digest,
};
use bellbuoy_store::{Admission, Collected, OpenDigest, SeenEvent, Store, StoreError};
use bellbuoy_telemetry::{Counter, Metrics};
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Vital, Wish, Wishes, WorkerError,
    aside::{Why, put_aside},
    batch::Batch,
    bundle::Bundles,
    clock,
    error::{Halt, sentence},
    method_label,
    patience::{Patience, refuses_nothing_in_particular},
    recent::Recent,
};

/// Header of an event's message: when our ingest took it, in Unix milliseconds.
const ACCEPTED_MS: &str = "bellbuoy-accepted-ms";

/// Bytes of bodies, and number of messages, from which on outputs go out in a piece of their own.
const PIECE_BYTES: usize = 4 << 20;
const PIECE_MESSAGES: usize = 4096;

/// Most deliveries that one record names, so that it stays far below what a broker takes.
const PLANNED_AT_ONCE: usize = 1000;

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
    /// Over how many queues the deliveries of a method go.
    pub shards: Shards,
    /// How much at once.
    pub limits: FanoutLimits,
}

/// An event and the claim that brought it.
struct Arrival {
    claim: Claim,
    event: Event,
    accepted_at: Timestamp,
}

/// The deliveries that are told together with others, and in which delivery each is.
type Digested = HashMap<DeliveryId, DeliveryId>;

/// What becomes of a batch.
#[derive(Default)]
struct Harvest {
    outputs: Vec<Outgoing>,
    told: Bundles,
    bytes: usize,
    done: Vec<Claim>,
    /// What is counted once it is durable.
    tally: Vec<(Counter, &'static str, u64)>,
}

impl Fanout {
    /// Runs until `shutdown` is cancelled. What is in hand then is finished, unless the store is out
    /// of reach: while it is, the worker waits with its claims, and gives them back if it has to stop.
    ///
    /// # Errors
    ///
    /// When the broker fails. All claims are back in their queue.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut consumer = self.broker.consume(&queues::events(), self.limits.batch);
        let recent = Mutex::new(Recent::default());
        loop {
            self.vital.idle();
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                claim = consumer.next() => claim?,
            };
            let mut batch = Batch::begin(first, self.limits.batch);
            batch.fill(&mut consumer);
            let fanned_out = self.fan_out(batch.into_claims(), &recent, &shutdown).await;
            if let Err(halt) = fanned_out.or_else(|halt| halt.outlived("fanout")) {
                return halt.into_result();
            }
        }
    }

    async fn fan_out(
        &self,
        batch: Vec<Claim>,
        recent: &Mutex<Recent>,
        shutdown: &CancellationToken,
    ) -> Result<(), Halt> {
        self.vital.working();
        let patience = self.patience(shutdown);
        let mut harvest = Harvest::default();
        let arrivals = self.read(batch, &mut harvest);
        let seen: Vec<_> = arrivals.iter().map(Arrival::seen).collect();
        let admit = || self.store.admit_events(&seen, self.limits.repeat_window);
        let admissions = match patience.outlast(refuses_nothing_in_particular, admit).await? {
            Ok(admissions) => admissions,
            Err(error) => return self.admit_alone(arrivals, harvest, &error, recent, shutdown).await,
        };
        let names = arrivals.iter().filter_map(Arrival::repository).collect();
        self.see_repositories(names, &patience).await?;
        let digests = self.collect(&arrivals, &seen, &admissions, recent, &patience).await?;
        let known = |event: &Recent, seen: &SeenEvent| event.knows(seen, self.limits.repeat_window);
        let mut done = Recent::default();
        for ((arrival, seen), admission) in arrivals.into_iter().zip(seen).zip(admissions) {
            let is_copy = known(&done, &seen) || known(&lock(recent), &seen);
            match admission {
                Admission::New if !is_copy => {
                    if self.expand(&arrival, &seen.body, &digests, &patience, &mut harvest).await? {
                        done.add(&seen);
                    }
                }
                Admission::New | Admission::Repeat => {
                    harvest.count(Counter::EventsRepeated, seen.kind.name());
                }
            }
            harvest.done.push(arrival.claim);
        }
        self.settle(harvest, &patience).await?;
        lock(recent).extend(done);
        Ok(())
    }

    /// The directory learns of repositories that nobody has entered.
    async fn see_repositories(
        &self,
        names: Vec<RepositoryName>,
        patience: &Patience<'_>,
    ) -> Result<(), Halt> {
        let see = || self.store.see_repositories(&names, clock::now());
        if let Err(error) = patience.outlast(refuses_nothing_in_particular, see).await? {
            // Deliveries need no directory.
            warn!("can't enter repositories in the directory: {error}");
        }
        Ok(())
    }

    /// Puts what is to be told together where it is collected, before anything of the batch goes out: once an event is
    /// recorded as fanned out, nobody would do it any more.
    async fn collect(
        &self,
        arrivals: &[Arrival],
        seen: &[SeenEvent],
        admissions: &[Admission],
        recent: &Mutex<Recent>,
        patience: &Patience<'_>,
    ) -> Result<Digested, Halt> {
        let mut collected = Vec::new();
        for ((arrival, seen), admission) in arrivals.iter().zip(seen).zip(admissions) {
            let is_one = digest::is_collected(seen.kind) && seen.body.len() <= digest::LARGEST_COLLECTED;
            let is_new = *admission == Admission::New;
            if !is_one || !is_new || lock(recent).knows(seen, self.limits.repeat_window) {
                continue;
            }
            let unavailable = |error: &StoreError| {
                matches!(error, StoreError::Unavailable { .. } | StoreError::Sealed { .. })
            };
            let covering = || self.wishes.covering(&arrival.event.subject);
            // What can't be read, the expansion puts aside.
            let Ok(wishes) = patience.outlast(unavailable, covering).await? else { continue };
            let wanted = wishes.iter().filter(|wish| !wanted(wish, &arrival.event).is_empty());
            collected.extend(wanted.filter_map(|wish| collected_of(wish, seen)));
        }
        let collect = || self.store.collect(&collected);
        match patience.outlast(refuses_nothing_in_particular, collect).await? {
            Ok(digests) => Ok(collected.iter().zip(digests).map(told_in).collect()),
            Err(error) => {
                warn!("can't collect what is to be told together, so each is told by itself: {error}");
                Ok(HashMap::new())
            }
        }
    }

    // The store refuses one of them: the others need not suffer for it.
    async fn admit_alone(
        &self,
        arrivals: Vec<Arrival>,
        mut harvest: Harvest,
        error: &StoreError,
        recent: &Mutex<Recent>,
        shutdown: &CancellationToken,
    ) -> Result<(), Halt> {
        let patience = self.patience(shutdown);
        if let [only] = &arrivals[..] {
            harvest.push(put_aside(&only.claim, Why::Refused, &sentence(error), &self.metrics));
            harvest.done.extend(arrivals.into_iter().map(|arrival| arrival.claim));
            return self.settle(harvest, &patience).await;
        }
        self.settle(harvest, &patience).await?;
        for arrival in arrivals {
            Box::pin(self.fan_out(vec![arrival.claim], recent, shutdown)).await?;
        }
        Ok(())
    }

    fn read(&self, batch: Vec<Claim>, harvest: &mut Harvest) -> Vec<Arrival> {
        let mut arrivals = Vec::with_capacity(batch.len());
        for claim in batch {
            match read(&claim) {
                Ok((event, accepted_at)) => arrivals.push(Arrival { claim, event, accepted_at }),
                Err(detail) => {
                    harvest.push(self.undecodable(&claim, &detail));
                    harvest.done.push(claim);
                }
            }
        }
        arrivals
    }

    // Whether it is fanned out once the harvest is settled.
    async fn expand(
        &self,
        arrival: &Arrival,
        canonical: &[u8],
        digests: &Digested,
        patience: &Patience<'_>,
        harvest: &mut Harvest,
    ) -> Result<bool, Halt> {
        let event = &arrival.event;
        let Some(canonical) = raw(canonical.to_vec()) else {
            harvest.push(self.undecodable(&arrival.claim, "its canonical form is not JSON"));
            return Ok(false);
        };
        // Without the key of a notification it waits for an operator as well.
        let unavailable =
            |error: &StoreError| matches!(error, StoreError::Unavailable { .. } | StoreError::Sealed { .. });
        let wishes = match patience.outlast(unavailable, || self.wishes.covering(&event.subject)).await? {
            Ok(wishes) => wishes,
            // A row of a newer version, perhaps: its worker, or a later one, understands it.
            Err(error) => {
                let aside = put_aside(&arrival.claim, Why::Refused, &sentence(&error), &self.metrics);
                harvest.push(aside);
                return Ok(false);
            }
        };
        // No more of each than its id and whose it is: there can be a million, and they are told after the last of them.
        let mut planned = Vec::new();
        for (number, wish) in wishes.iter().enumerate() {
            let notification = &wish.notification;
            for (delivery, tag) in wanted(wish, event) {
                planned.push((delivery, number));
                if let Some(together) = digests.get(&delivery) {
                    let event = (event, arrival.accepted_at);
                    harvest.tell(&digest::told_in(delivery, notification, event, *together, clock::now()));
                    continue;
                }
                let alone = tag.and_then(|tag| raw(event.with_tag_alone(tag).to_json()));
                let message = arrival.delivery(delivery, wish, alone.unwrap_or_else(|| canonical.clone()));
                let queue = self.shards.queue(&notification.method, notification.id.as_uuid().as_u128());
                harvest.push(Outgoing::new(queue, message.to_json()));
                harvest.count(Counter::DeliveriesQueued, method_label(&notification.method));
                self.send_piece(harvest, patience).await?;
            }
        }
        // Even without a delivery: then nothing but this says that the event is done.
        let (first, rest) = planned.split_at(planned.len().min(PLANNED_AT_ONCE));
        for some in std::iter::once(first).chain(rest.chunks(PLANNED_AT_ONCE)) {
            let some = some.iter().map(|(delivery, number)| planned_of(&wishes[*number], *delivery));
            harvest.tell(&arrival.fanned_out(some.collect()));
            self.send_piece(harvest, patience).await?;
        }
        harvest.count(Counter::EventsFannedOut, event.kind.name());
        Ok(true)
    }

    // The outputs so far, if they are many.
    async fn send_piece(&self, harvest: &mut Harvest, patience: &Patience<'_>) -> Result<(), Halt> {
        if harvest.bytes < PIECE_BYTES && harvest.outputs.len() < PIECE_MESSAGES {
            return Ok(());
        }
        let piece = harvest.take_outputs();
        patience.publish(&self.broker, &piece).await?;
        self.vital.working();
        Ok(())
    }

    async fn settle(&self, mut harvest: Harvest, patience: &Patience<'_>) -> Result<(), Halt> {
        let outputs = harvest.take_outputs();
        patience.settle(&self.broker, harvest.done, outputs).await?;
        for (counter, label, by) in harvest.tally {
            self.metrics.count(counter, &[label], by);
        }
        Ok(())
    }

    fn patience<'a>(&'a self, stop: &'a CancellationToken) -> Patience<'a> {
        Patience { role: "fanout", vital: &self.vital, metrics: &self.metrics, stop }
    }

    fn undecodable(&self, claim: &Claim, detail: &str) -> Outgoing {
        let reason = DeadReason::Undecodable.name();
        warn!("a message on {} is not an event and becomes a dead letter: {detail}", claim.queue());
        self.metrics.count(Counter::DeadLetters, &[claim.queue().as_str(), reason], 1);
        Outgoing::dead_letter(claim, reason, detail)
    }
}

fn raw(json: Vec<u8>) -> Option<Box<RawValue>> {
    String::from_utf8(json).ok().and_then(|text| RawValue::from_string(text).ok())
}

fn lock(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Harvest {
    fn push(&mut self, message: Outgoing) {
        self.bytes += message.body.len();
        self.outputs.push(message);
    }

    fn tell(&mut self, record: &Record) {
        let record = record.to_json();
        self.bytes += record.len();
        self.told.push_json(&record);
    }

    fn take_outputs(&mut self) -> Vec<Outgoing> {
        self.bytes = 0;
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.extend(std::mem::take(&mut self.told).into_messages());
        outputs
    }

    fn count(&mut self, counter: Counter, label: &'static str) {
        match self.tally.last_mut() {
            Some((last, known, count)) if *last == counter && *known == label => *count += 1,
            _ => self.tally.push((counter, label, 1)),
        }
    }
}

impl Arrival {
    fn repository(&self) -> Option<RepositoryName> {
        match &self.event.subject {
            Subject::Repository(name) => Some(name.clone()),
            Subject::Namespace(_) | Subject::Registry => None,
        }
    }

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

    fn delivery(&self, delivery: DeliveryId, wish: &Wish, event: Box<RawValue>) -> DeliveryMessage {
        DeliveryMessage {
            v: WIRE_VERSION,
            delivery,
            notification: wish.notification.id,
            attempt: 1,
            spent: 0,
            accepted_at: self.accepted_at,
            due_at: clock::now(),
            held_since: None,
            event,
        }
    }

    fn fanned_out(&self, deliveries: Vec<PlannedDelivery>) -> Record {
        let fanned_out = FannedOut {
            source: self.event.source.clone(),
            event: self.event.id.clone(),
            kind: self.event.kind,
            subject: self.event.subject.name().unwrap_or_default().to_owned(),
            accepted_at: self.accepted_at,
            deliveries,
        };
        Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None }
    }
}

fn planned_of(wish: &Wish, delivery: DeliveryId) -> PlannedDelivery {
    let notification = &wish.notification;
    PlannedDelivery { delivery, notification: notification.id, method: notification.method.clone() }
}

/// What is to be collected of an event for a notification that wants that.
fn collected_of(wish: &Wish, seen: &SeenEvent) -> Option<Collected> {
    let window = wish.checked.as_ref().ok()?.digest?;
    let notification = &wish.notification;
    Some(Collected {
        delivery: DeliveryId::derive(&seen.source, &seen.id, notification.id),
        notification: notification.id,
        method: notification.method.clone(),
        source: seen.source.clone(),
        subject: seen.subject.clone(),
        message: seen.message,
        due_at: clock::after(clock::now(), window),
        body: seen.body.clone(),
    })
}

/// Which delivery a collected event is told in.
fn told_in((collected, open): (&Collected, OpenDigest)) -> (DeliveryId, DeliveryId) {
    (collected.delivery, open.delivery(collected.notification))
}

// A time of acceptance in the future would make the event last for ever in history; it comes from
// a clock that was set back, or from a producer that writes our header itself.
fn read(claim: &Claim) -> Result<(Event, Timestamp), String> {
    let now = clock::now();
    let accepted_at = claim
        .headers()
        .get(ACCEPTED_MS)
        .and_then(|text| text.parse().ok())
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or(now, |accepted_at| accepted_at.min(now));
    let event = Event::from_json(claim.body(), accepted_at).map_err(|error| error.to_string())?;
    Ok((event, accepted_at))
}

/// The deliveries that an event becomes for a notification, each with its tag where it is of one of several; none if
/// the notification does not want it. A disabled one gets nothing new; a paused one gets its deliveries, which are then
/// held.
fn wanted<'e>(wish: &Wish, event: &'e Event) -> Vec<(DeliveryId, Option<&'e str>)> {
    let notification = &wish.notification;
    if notification.state == NotificationState::Disabled || !notification.listens_to(event) {
        return Vec::new();
    }
    match &wish.checked {
        Ok(checked) => checked.wanted(event, notification.id).unwrap_or_else(|refusal| {
            debug!("notification {} does not want event {}: {refusal}", notification.id, event.id);
            Vec::new()
        }),
        // Delivering decides what becomes of it, where its owner can see it.
        Err(_) => event.split(notification.id, Grain::Event),
    }
}
