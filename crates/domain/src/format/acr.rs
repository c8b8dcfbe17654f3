//! Azure Container Registry's payload: one notice, much like a Distribution registry's, without an
//! envelope. It has no word for a tag that is deleted alone.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Context, Format, Inexpressible,
    facts::{Facts, text},
};
use crate::{DeliveryId, Event, Kind, RepositoryName};

/// What Azure calls it.
pub(super) fn action(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::RepoPush | Kind::ManifestPush => Some("push"),
        Kind::ManifestDelete => Some("delete"),
        Kind::ChartPush => Some("chart_push"),
        Kind::ChartDelete => Some("chart_delete"),
        _ => None,
    }
}

/// The media type of a chart in Azure's registry before charts were OCI artifacts.
const CHART: &str = "application/vnd.acr.helm.chart";

/// Of a manifest whose own type the producer did not tell.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What happened to what.
#[derive(Serialize, JsonSchema)]
struct Notice<'a, T> {
    id: DeliveryId,
    timestamp: Timestamp,
    action: &'static str,
    target: T,
    request: Request<'a>,
}

#[derive(Serialize, JsonSchema)]
struct Request<'a> {
    id: DeliveryId,
    host: &'a str,
    method: &'static str,
    useragent: &'static str,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Image<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a str,
    length: u64,
    repository: &'a RepositoryName,
}

#[derive(Serialize, JsonSchema)]
struct Tagged<'a> {
    #[serde(flatten)]
    image: Image<'a>,
    tag: &'a str,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    media_type: &'a str,
    digest: &'a str,
    repository: &'a RepositoryName,
}

#[derive(Serialize, JsonSchema)]
struct Chart<'a> {
    #[serde(flatten)]
    image: Image<'a>,
    tag: &'a str,
    name: &'a str,
    version: &'a str,
}

/// The schema of a payload of that kind.
pub(crate) fn schema(kind: Kind, generator: &mut SchemaGenerator) -> Schema {
    match kind {
        Kind::RepoPush => generator.subschema_for::<Notice<'_, Tagged<'_>>>(),
        Kind::ManifestDelete => generator.subschema_for::<Notice<'_, Deleted<'_>>>(),
        Kind::ChartPush | Kind::ChartDelete => generator.subschema_for::<Notice<'_, Chart<'_>>>(),
        _ => generator.subschema_for::<Notice<'_, Image<'_>>>(),
    }
}

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let facts = Facts::of(event, Format::Acr)?;
    Ok(match event.kind {
        Kind::ManifestDelete => {
            let target = Deleted {
                media_type: facts.media_type.unwrap_or(MANIFEST),
                digest: facts.need_digest()?,
                repository: facts.repository,
            };
            notice(event, context, target)
        }
        Kind::ChartPush | Kind::ChartDelete => notice(event, context, chart(&facts)?),
        Kind::RepoPush => {
            let tag = facts.need_tag()?;
            notice(event, context, Tagged { image: image(&facts, MANIFEST), tag })
        }
        _ => {
            facts.need_digest()?;
            notice(event, context, image(&facts, MANIFEST))
        }
    })
}

fn notice<T: Serialize>(event: &Event, context: &Context<'_>, target: T) -> Value {
    let is_deletion = matches!(event.kind, Kind::ManifestDelete | Kind::ChartDelete);
    json!(Notice {
        id: context.delivery,
        timestamp: event.time,
        action: action(event.kind).unwrap_or_default(),
        target,
        request: Request {
            id: context.delivery,
            host: context.registry.host(),
            method: if is_deletion { "DELETE" } else { "PUT" },
            useragent: Format::Acr.user_agent().unwrap_or_default(),
        },
    })
}

fn image<'a>(facts: &Facts<'a>, usual: &'a str) -> Image<'a> {
    Image {
        media_type: facts.media_type.unwrap_or(usual),
        size: facts.size,
        digest: facts.digest.unwrap_or_default(),
        length: facts.size,
        repository: facts.repository,
    }
}

fn chart<'a>(facts: &Facts<'a>) -> Result<Chart<'a>, Inexpressible> {
    let data = &facts.event.data;
    let version = text(data, "version").ok_or_else(|| facts.lacks("version"))?;
    Ok(Chart {
        image: Image { media_type: CHART, ..image(facts, CHART) },
        tag: version,
        name: text(data, "chart").unwrap_or(facts.repository.short_name()),
        version,
    })
}
