//! A Distribution registry's envelope (version 2, as `registry:3` sends it) with one notice. What
//! the producer told of clients' addresses is no receiver's matter and is not in it.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, Format, Inexpressible, facts::Facts};
use crate::{DeliveryId, Event, Kind, RepositoryName};

/// What `registry:3` calls it.
pub(super) const CONTENT_TYPE: &str = "application/vnd.docker.distribution.events.v2+json";

/// What the registry calls it, and by which request a client does it.
pub(super) fn action(kind: Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::RepoPush | Kind::ManifestPush => Some(("push", "PUT")),
        Kind::TagPull | Kind::ManifestPull => Some(("pull", "GET")),
        Kind::TagDelete | Kind::ManifestDelete | Kind::RepoDeleted => Some(("delete", "DELETE")),
        _ => None,
    }
}

#[derive(Serialize, JsonSchema)]
struct Envelope<'a, T> {
    events: [Notice<'a, T>; 1],
}

/// What happened to what.
#[derive(Serialize, JsonSchema)]
struct Notice<'a, T> {
    id: DeliveryId,
    timestamp: Timestamp,
    action: &'static str,
    target: T,
    request: Request<'a>,
    actor: Actor<'a>,
    source: Source<'a>,
}

#[derive(Serialize, JsonSchema)]
struct Request<'a> {
    id: DeliveryId,
    /// Always empty.
    addr: &'static str,
    host: &'a str,
    method: &'static str,
    /// Always empty.
    useragent: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Actor<'a> {
    /// Absent for an anonymous client.
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct Source<'a> {
    addr: &'a str,
    /// Always empty.
    #[serde(rename = "instanceID")]
    instance_id: &'static str,
}

/// A manifest that was pushed or pulled by its digest.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ByDigest<'a> {
    media_type: &'a str,
    size: u64,
    length: u64,
    digest: &'a str,
    repository: &'a RepositoryName,
    url: String,
}

/// A manifest that was pushed or pulled by a tag.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ByTag<'a> {
    media_type: &'a str,
    size: u64,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    repository: &'a RepositoryName,
    url: String,
    tag: &'a str,
}

// By what stands in it a deletion tells what was deleted: a tag, a digest, or neither.

#[derive(Serialize, JsonSchema)]
struct TagDeleted<'a> {
    repository: &'a RepositoryName,
    tag: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct ManifestDeleted<'a> {
    digest: &'a str,
    repository: &'a RepositoryName,
}

#[derive(Serialize, JsonSchema)]
struct RepositoryDeleted<'a> {
    repository: &'a RepositoryName,
}

/// The schema of a payload of that kind.
pub(crate) fn schema(kind: Kind, generator: &mut SchemaGenerator) -> Schema {
    match kind {
        Kind::RepoPush | Kind::TagPull => generator.subschema_for::<Envelope<'_, ByTag<'_>>>(),
        Kind::TagDelete => generator.subschema_for::<Envelope<'_, TagDeleted<'_>>>(),
        Kind::ManifestDelete => generator.subschema_for::<Envelope<'_, ManifestDeleted<'_>>>(),
        Kind::RepoDeleted => generator.subschema_for::<Envelope<'_, RepositoryDeleted<'_>>>(),
        _ => generator.subschema_for::<Envelope<'_, ByDigest<'_>>>(),
    }
}

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let facts = Facts::of(event, Format::Distribution)?;
    let repository = facts.repository;
    let url = |reference: &str| format!("{}/v2/{repository}/manifests/{reference}", context.registry.base());
    let media_type = facts.media_type.unwrap_or("application/vnd.docker.distribution.manifest.v2+json");
    let (size, length) = (facts.size, facts.size);
    Ok(match event.kind {
        Kind::RepoPush | Kind::TagPull => {
            let (tag, digest) = (facts.need_tag()?, facts.digest);
            let url = url(digest.unwrap_or(tag));
            envelope(&facts, context, ByTag { media_type, size, length, digest, repository, url, tag })
        }
        Kind::TagDelete => envelope(&facts, context, TagDeleted { repository, tag: facts.need_tag()? }),
        Kind::ManifestDelete => {
            envelope(&facts, context, ManifestDeleted { digest: facts.need_digest()?, repository })
        }
        Kind::RepoDeleted => envelope(&facts, context, RepositoryDeleted { repository }),
        _ => {
            let digest = facts.need_digest()?;
            let url = url(digest);
            envelope(&facts, context, ByDigest { media_type, size, length, digest, repository, url })
        }
    })
}

fn envelope<T: Serialize>(facts: &Facts<'_>, context: &Context<'_>, target: T) -> Value {
    let (action, method) = action(facts.event.kind).unwrap_or_default();
    let host = context.registry.host();
    let notice = Notice {
        id: context.delivery,
        timestamp: facts.event.time,
        action,
        target,
        request: Request { id: context.delivery, addr: "", host, method, useragent: "" },
        actor: Actor { name: facts.actor },
        source: Source { addr: host, instance_id: "" },
    };
    json!(Envelope { events: [notice] })
}
