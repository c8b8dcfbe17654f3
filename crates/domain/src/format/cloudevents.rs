//! The event as it came in: a structured `CloudEvents` 1.0 event in JSON, its canonical form without what is no receiver's
//! matter.

use serde_json::Value;

use super::INTERNAL;
use crate::Event;

/// The media type of a structured `CloudEvents` event in JSON ([JSON format 1.0.2, section 3]).
///
/// [JSON format 1.0.2, section 3]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The event without those members of its data that are the operator's matter.
pub(super) fn payload(event: &Event) -> Value {
    let mut payload = event.to_value();
    if let Some(Value::Object(data)) = payload.get_mut("data") {
        data.retain(|name, _| !INTERNAL.contains(&name.as_str()));
    }
    payload
}
