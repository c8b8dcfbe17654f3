//! What only the PostgreSQL store has to do: let several processes share a database, and outlast the server.

mod feed;
mod open;
mod outage;
mod races;

use std::time::Duration;

use bellbuoy_domain::{
    AttemptRecord, DeliveryId, DeliveryState, FannedOut, Kind, Notification, NotificationId,
    NotificationState, PlannedDelivery, Record, Scope, WIRE_VERSION,
};
use bellbuoy_store::{SeenEvent, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::Map;
use uuid::Uuid;

const SOURCE: &str = "registry.example.com";
const WINDOW: Duration = Duration::from_secs(100);

async fn open(url: &str) -> Store {
    Store::open(url).await.expect("a store")
}

/// So many seconds after the tests' beginning of time.
fn at(seconds: i64) -> Timestamp {
    Timestamp::constant(1_790_000_000, 0) + SignedDuration::from_secs(seconds)
}

fn event(id: &str, message: u128, seconds: i64) -> SeenEvent {
    SeenEvent {
        source: SOURCE.into(),
        id: id.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::from_u128(message),
        accepted_at: at(seconds),
        body: b"{}".to_vec(),
    }
}

fn notification(number: u128) -> Notification {
    Notification {
        id: notification_id(number),
        title: None,
        scope: Scope::Registry,
        kinds: vec![Kind::RepoPush],
        event_config: Map::new(),
        method: "webhook".into(),
        config: Map::new(),
        secret: None,
        format: "quay".into(),
        retry: None,
        state: NotificationState::Active,
        state_reason: None,
        failures: 0,
        created_at: at(0),
        updated_at: at(0),
        author: None,
        succeeded_at: None,
    }
}

fn notification_id(number: u128) -> NotificationId {
    Uuid::from_u128(number).into()
}

fn delivery_id(event: &str) -> DeliveryId {
    DeliveryId::derive(SOURCE, event, notification_id(1))
}

/// The fan-out of an event to notification 1.
fn fanned_out(event: &str) -> Record {
    let planned = PlannedDelivery {
        delivery: delivery_id(event),
        notification: notification_id(1),
        method: "webhook".into(),
    };
    let fanned_out = FannedOut {
        source: SOURCE.into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at(0),
        deliveries: vec![planned],
    };
    Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None }
}

/// The end of that delivery at its first attempt.
fn ended(event: &str, state: DeliveryState) -> Record {
    let attempt = AttemptRecord {
        delivery: delivery_id(event),
        notification: notification_id(1),
        method: "webhook".into(),
        source: SOURCE.into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at(0),
        attempt: 1,
        started_at: at(1),
        duration_ms: 3,
        outcome: if state == DeliveryState::Dead { "rejected" } else { "delivered" }.into(),
        cause: None,
        status: Some(200),
        state,
        next_due_at: None,
        on_probation: false,
    };
    Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) }
}
