//! The event as it came in: a structured `CloudEvents` 1.0 event in JSON, its canonical form.

/// The media type of a structured `CloudEvents` event in JSON ([JSON format 1.0.2, section 3]).
///
/// [JSON format 1.0.2, section 3]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";
