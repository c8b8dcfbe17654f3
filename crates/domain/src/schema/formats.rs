//! What receivers are sent, format by format and kind by kind, made of the very types that are written.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::event_schema;
use crate::{
    Format, Kind,
    format::{acr, distribution, docker_hub, dtr, harbor, quay},
};

/// The schema of a format's payloads, draft 2020-12: a definition for each kind that it has a word for, by the kind's
/// name. That of [`Format::CloudEvents`] is [`event_schema`].
pub fn format_schema(format: Format) -> Value {
    if format == Format::CloudEvents {
        return event_schema();
    }
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings.with(|settings| settings.inline_subschemas = true).into_generator();
    let kinds = Kind::ALL.iter().copied().filter(|kind| format.expresses(*kind));
    let definitions: Map<String, Value> =
        kinds.map(|kind| (kind.to_string(), of_kind(format, kind, &mut generator).to_value())).collect();
    let any: Vec<Value> =
        definitions.keys().map(|kind| json!({ "$ref": format!("#/$defs/{kind}") })).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:bellbuoy:schema:v1:formats:{format}"),
        "title": format!("{}: payload of a webhook in format `{format}`", title(format)),
        "description": format!(
            "Sent as `{}`. One definition for each kind of event. Members may be added; none changes its type.",
            format.media_type(),
        ),
        "anyOf": any,
        "$defs": definitions,
    })
}

fn of_kind(format: Format, kind: Kind, generator: &mut SchemaGenerator) -> Schema {
    match format {
        Format::Quay | Format::CloudEvents => quay::schema(kind),
        Format::Dtr => dtr::schema(kind, generator),
        Format::DockerHub => docker_hub::schema(generator),
        Format::Harbor | Format::HarborCloudEvents => harbor::schema(kind, format, generator),
        Format::Acr => acr::schema(kind, generator),
        Format::Distribution => distribution::schema(kind, generator),
    }
}

fn title(format: Format) -> &'static str {
    match format {
        Format::Quay => "Quay",
        Format::CloudEvents => "CloudEvents 1.0",
        Format::Dtr => "Docker Trusted Registry, Mirantis Secure Registry 2 and 3",
        Format::DockerHub => "Docker Hub",
        Format::Harbor => "Harbor, Default",
        Format::HarborCloudEvents => "Harbor, CloudEvents",
        Format::Acr => "Azure Container Registry",
        Format::Distribution => "Distribution registry, envelope version 2",
    }
}
