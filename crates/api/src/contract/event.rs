//! The schema of events, which is a document of its own.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A structured `CloudEvents` event: see `deploy/schema/event.json`.
pub(crate) struct EventDocument;

impl JsonSchema for EventDocument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EventDocument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"$ref": "schema/event.json"})
    }
}
