//! Plain things to store.

use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeliveryId, DeliveryState, FannedOut, Kind, Notification,
    NotificationId, NotificationState, PlannedDelivery, Record, RepositoryName, Scope, WIRE_VERSION,
};
use bellbuoy_store::SeenEvent;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

pub(crate) const SOURCE: &str = "registry.example.com";

/// Text that some store somewhere has cut, changed or choked on.
pub(crate) const AWKWARD: &str = "a\0b\u{1}0'\"\\\u{202e}%_;--\u{1f514}\r\n";

/// So many seconds after the tests' beginning of time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::constant(1_790_000_000, 0) + SignedDuration::from_secs(seconds)
}

pub(crate) fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is not an object"),
    }
}

pub(crate) fn repository(name: &str) -> Scope {
    Scope::Repository(RepositoryName::parse(name).expect("a name"))
}

pub(crate) fn notification(number: u128) -> Notification {
    Notification {
        id: notification_id(number),
        title: None,
        scope: repository("acme/api"),
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

pub(crate) fn notification_id(number: u128) -> NotificationId {
    Uuid::from_u128(number).into()
}

pub(crate) fn seen(id: &str, message: u128, seconds: i64) -> SeenEvent {
    SeenEvent {
        source: SOURCE.into(),
        id: id.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::from_u128(message),
        accepted_at: at(seconds),
        body: format!("{{\"id\":\"{id}\"}}").into_bytes(),
    }
}

pub(crate) fn delivery_id(event: &str, notification: u128) -> DeliveryId {
    DeliveryId::derive(SOURCE, event, notification_id(notification))
}

/// The record of a fan-out of `event`, accepted at `seconds`, to these notifications.
pub(crate) fn fanned_out(event: &str, seconds: i64, notifications: &[u128]) -> Record {
    let planned = |number: &u128| PlannedDelivery {
        delivery: delivery_id(event, *number),
        notification: notification_id(*number),
        method: "webhook".into(),
    };
    let fanned_out = FannedOut {
        source: SOURCE.into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at(seconds),
        deliveries: notifications.iter().map(planned).collect(),
    };
    Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None }
}

/// What became of attempt `number` of the delivery of `event` for `notification`, ten seconds per attempt after the
/// event was accepted at 0.
pub(crate) fn attempt(event: &str, notification: u128, number: u32, state: DeliveryState) -> AttemptRecord {
    let failed = Cause::new(CauseCode::Http5xx, "answered 503");
    let (outcome, cause, status) = match state {
        DeliveryState::Delivered => ("delivered", None, Some(200)),
        DeliveryState::Waiting => ("deferred", Some(failed), Some(503)),
        DeliveryState::Dead => ("rejected", Some(failed), Some(503)),
        DeliveryState::Cancelled => ("cancelled", None, None),
        DeliveryState::Pending => ("held", None, None),
    };
    let started = i64::from(number) * 10;
    AttemptRecord {
        delivery: delivery_id(event, notification),
        notification: notification_id(notification),
        method: "webhook".into(),
        source: SOURCE.into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at(0),
        attempt: number,
        started_at: at(started),
        duration_ms: 250,
        outcome: outcome.into(),
        cause,
        status,
        state,
        next_due_at: (state == DeliveryState::Waiting).then(|| at(started + 10)),
        on_probation: false,
    }
}

/// Attempt `number` held back until `due`, without a try.
pub(crate) fn held(event: &str, notification: u128, number: u32, due: i64) -> AttemptRecord {
    AttemptRecord {
        outcome: "held".into(),
        cause: None,
        status: None,
        duration_ms: 0,
        started_at: at(due - 1),
        next_due_at: Some(at(due)),
        ..attempt(event, notification, number, DeliveryState::Waiting)
    }
}

pub(crate) fn record(attempt: AttemptRecord) -> Record {
    Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) }
}
