//! The contract of events.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{Kind, payload};

/// The schema of a structured `CloudEvents` event, draft 2020-12: the attributes, and the data of each kind.
///
/// It says less than what is checked: of the names of repositories and namespaces, of control characters
/// and of depth it says nothing.
pub fn event_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let kinds: Vec<Value> = Kind::ALL.iter().map(|kind| of_kind(*kind, &mut generator)).collect();
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let text = json!({"type": "string", "minLength": 1, "maxLength": 1024});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:bellbuoy:schema:v1:event",
        "title": "An event of a registry: CloudEvents 1.0, structured",
        "type": "object",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text,
            "source": text,
            "type": {"enum": names},
            "subject": {
                "type": ["string", "null"],
                "description": "The repository or namespace; the data may name it instead, as `repository` or `namespace`.",
            },
            "time": {"type": ["string", "null"], "format": "date-time"},
            "datacontenttype": {"type": ["string", "null"]},
            "traceparent": {"type": ["string", "null"]},
            "data": {"type": ["object", "null"]},
        },
        "allOf": kinds,
        "$defs": generator.take_definitions(true),
    })
}

fn of_kind(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    let data = payload::schema(kind, generator);
    let then = if kind == Kind::RepoPush {
        json!({"required": ["data"], "properties": {"data": data}})
    } else {
        json!({"properties": {"data": {"anyOf": [data, {"type": "null"}]}}})
    };
    json!({
        "if": {"required": ["type"], "properties": {"type": {"const": kind.name()}}},
        "then": then,
    })
}
