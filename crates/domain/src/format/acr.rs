//! Azure Container Registry's payload: one notice, much like a Distribution registry's, without an
//! envelope. It has no word for a tag that is deleted alone.

use serde_json::{Value, json};

use super::{
    Context, Format, Inexpressible,
    facts::{Facts, text},
};
use crate::{Event, Kind};

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

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let facts = Facts::of(event, Format::Acr)?;
    let target = match event.kind {
        Kind::ManifestDelete => json!({
            "mediaType": facts.media_type.unwrap_or(MANIFEST),
            "digest": facts.need_digest()?,
            "repository": facts.repository,
        }),
        Kind::ChartPush | Kind::ChartDelete => chart(&facts),
        Kind::RepoPush => with_tag(image(&facts), facts.need_tag()?),
        _ => {
            facts.need_digest()?;
            image(&facts)
        }
    };
    Ok(json!({
        "id": context.delivery,
        "timestamp": event.time.to_string(),
        "action": action(event.kind),
        "target": target,
        "request": {
            "id": context.delivery,
            "host": context.registry.host(),
            "method": if event.kind == Kind::ManifestDelete || event.kind == Kind::ChartDelete { "DELETE" } else { "PUT" },
            "useragent": Format::Acr.user_agent(),
        },
    }))
}

fn image(facts: &Facts<'_>) -> Value {
    json!({
        "mediaType": facts.media_type.unwrap_or(MANIFEST),
        "size": facts.size,
        "digest": facts.digest.unwrap_or_default(),
        "length": facts.size,
        "repository": facts.repository,
    })
}

fn with_tag(mut target: Value, tag: &str) -> Value {
    target["tag"] = tag.into();
    target
}

fn chart(facts: &Facts<'_>) -> Value {
    let data = &facts.event.data;
    let version = text(data, "version").unwrap_or_default();
    json!({
        "mediaType": CHART,
        "size": facts.size,
        "digest": facts.digest.unwrap_or_default(),
        "length": facts.size,
        "repository": facts.repository,
        "tag": version,
        "name": text(data, "chart").unwrap_or(facts.repository.short_name()),
        "version": version,
    })
}
