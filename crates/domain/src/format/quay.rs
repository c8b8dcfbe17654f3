//! Quay's payload.

use serde_json::{Map, Value};

use super::{Payload, Registry};
use crate::{Event, Kind, Level, Subject};

/// Quay's `event_data` for the event.
pub fn payload(event: &Event, _registry: &Registry) -> Map<String, Value> {
    event.data.clone()
}

/// One line for people: a mail's subject, a chat message's fallback.
pub fn summary(event: &Event) -> String {
    event.kind.title().to_owned()
}

/// How much the event asks for attention.
pub fn level(event: &Event) -> Level {
    event.kind.usual_level()
}

/// What a test call sends.
pub fn sample(
    kind: Kind,
    subject: &Subject,
    event_config: &Map<String, Value>,
    registry: &Registry,
) -> Map<String, Value> {
    let now = jiff::Timestamp::UNIX_EPOCH;
    payload(&Event::sample(kind, subject.clone(), event_config, "sample", "sample", now), registry)
}

pub(super) fn body(value: &Value) -> Payload {
    Payload::json(value)
}
