//! The event as it came in: a structured `CloudEvents` 1.0 event in JSON, its canonical form.

use super::Payload;
use crate::Event;

/// The media type of a structured `CloudEvents` event in JSON ([JSON format 1.0.2, section 3]).
///
/// [JSON format 1.0.2, section 3]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
const CONTENT_TYPE: &str = "application/cloudevents+json";

pub(super) fn body(event: &Event) -> Payload {
    Payload { content_type: CONTENT_TYPE, body: event.to_json() }
}
