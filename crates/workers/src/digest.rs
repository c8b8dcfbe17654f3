//! Sends what was collected once its time has come: as an event of its own, for the notification that collected it.
//!
//! Whoever takes a digest has it for [`LEASE`]. The event is durable in the store, and its delivery in the broker,
//! before what was collected is forgotten; whoever dies in between, or waits for the broker for longer than the lease,
//! has the same delivery made again by the next one.

use std::{sync::Arc, time::Duration};

use bellbuoy_broker::{Broker, Outgoing, Shards, queues};
use bellbuoy_domain::{
    DeliveryMessage, Digest, Event, FannedOut, Kind, PlannedDelivery, Record, RepositoryName, Subject,
    WIRE_VERSION,
};
use bellbuoy_store::{DueDigest, SeenEvent, Store};
use bellbuoy_telemetry::{Counter, Metrics};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    Vital, WorkerError, clock,
    error::{Halt, sentence},
    method_label,
    patience::{Patience, refuses_nothing_in_particular},
};

/// How often it is looked for digests that are due.
const EVERY: Duration = Duration::from_millis(500);

/// For how long a digest is one worker's. Far more than sending it takes.
const LEASE: Duration = Duration::from_secs(30);

/// Digests that are taken at once.
const AT_ONCE: u32 = 8;

/// The worker that sends digests.
pub struct Digests {
    /// Where deliveries go.
    pub broker: Broker,
    /// Where events are collected.
    pub store: Store,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Its sign of life.
    pub vital: Arc<Vital>,
    /// Over how many queues the deliveries of a method go.
    pub shards: Shards,
}

impl Digests {
    /// Runs until `shutdown` is cancelled. What is in hand then is finished, unless the store or the broker is out of reach.
    ///
    /// # Errors
    ///
    /// When the broker or the store refuses. What was in hand is sent when its lease is over.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        loop {
            self.vital.idle();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(halt) = self.send_due(&shutdown).await {
                return halt.into_result();
            }
        }
    }

    async fn send_due(&self, shutdown: &CancellationToken) -> Result<(), Halt> {
        let patience =
            Patience { role: "digest", vital: &self.vital, metrics: &self.metrics, stop: shutdown };
        while !shutdown.is_cancelled() {
            self.vital.working();
            let take = || {
                let now = clock::now();
                self.store.take_due_digests(now, clock::after(now, LEASE), AT_ONCE)
            };
            let due = patience.outlast(refuses_nothing_in_particular, take).await??;
            if due.is_empty() {
                break;
            }
            for digest in due {
                self.send(digest, &patience).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, due: DueDigest, patience: &Patience<'_>) -> Result<(), Halt> {
        let Some((digest, event)) = read(&due) else { return Ok(()) };
        if let Some(event) = event {
            let seen = seen(&due, &event);
            // By the same message each time, so that it is never a repeat; and kept like any event, so that the
            // delivery can be looked into and sent again.
            let admit = || self.store.admit_events(std::slice::from_ref(&seen), Duration::ZERO);
            patience.outlast(refuses_nothing_in_particular, admit).await??;
            let Some(messages) = messages(&due, &digest, &event, seen.body.clone(), self.shards) else {
                return Ok(());
            };
            patience.publish(&self.broker, &messages).await?;
            self.metrics.count(Counter::DeliveriesQueued, &[method_label(&due.method)], 1);
            info!(
                delivery.id = %digest.delivery(), notification.id = %due.notification,
                "{} findings in {} are told together in delivery {}", due.items.len(), due.subject, digest.delivery()
            );
        }
        let forget = || self.store.forget_digest(due.id, clock::now());
        patience.outlast(refuses_nothing_in_particular, forget).await??;
        Ok(())
    }
}

/// What a row is of, and the event that it becomes, if it holds any. `None` of one that is not understood: a later
/// version's, which may.
fn read(due: &DueDigest) -> Option<(Digest, Option<Event>)> {
    let refused = |what: &str, problem: String| {
        error!("digest {} can't be read here and waits for a worker that can: its {what}: {problem}", due.id);
    };
    let subject = match RepositoryName::parse(due.subject.as_str()) {
        Ok(name) => Subject::Repository(name),
        Err(problem) => {
            refused("subject", problem.to_string());
            return None;
        }
    };
    let events: Result<Vec<Event>, _> =
        due.items.iter().map(|body| Event::from_json(body, due.due_at)).collect();
    let events = events.inspect_err(|problem| refused("events", sentence(problem))).ok()?;
    let digest = Digest {
        id: due.id,
        notification: due.notification,
        source: due.source.clone(),
        subject,
        due_at: due.due_at,
    };
    let event = digest.event(&events);
    Some((digest, event))
}

fn seen(due: &DueDigest, event: &Event) -> SeenEvent {
    SeenEvent {
        source: event.source.clone(),
        id: event.id.clone(),
        kind: event.kind,
        subject: due.subject.clone(),
        message: due.id,
        accepted_at: due.due_at,
        body: event.to_json(),
    }
}

/// The delivery, and what the recorder is told of it.
fn messages(
    due: &DueDigest,
    digest: &Digest,
    event: &Event,
    body: Vec<u8>,
    shards: Shards,
) -> Option<Vec<Outgoing>> {
    let message = DeliveryMessage {
        v: WIRE_VERSION,
        delivery: digest.delivery(),
        notification: due.notification,
        attempt: 1,
        spent: 0,
        accepted_at: due.due_at,
        due_at: clock::now(),
        held_since: None,
        event: RawValue::from_string(String::from_utf8(body).ok()?).ok()?,
    };
    let planned = PlannedDelivery {
        delivery: digest.delivery(),
        notification: due.notification,
        method: due.method.clone(),
    };
    let fanned_out = FannedOut {
        source: event.source.clone(),
        event: event.id.clone(),
        kind: Kind::VulnerabilityFound,
        subject: due.subject.clone(),
        accepted_at: due.due_at,
        deliveries: vec![planned],
    };
    let record = Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None };
    let queue = shards.queue(&due.method, due.notification.as_uuid().as_u128());
    Some(vec![Outgoing::new(queue, message.to_json()), Outgoing::new(queues::outcomes(), record.to_json())])
}
