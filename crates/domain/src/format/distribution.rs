//! A Distribution registry's envelope (version 2, as `registry:3` sends it) with one notice. What
//! the producer told of clients' addresses is no receiver's matter and is not in it.

use serde_json::{Map, Value, json};

use super::{Context, Format, Inexpressible, facts::Facts};
use crate::{Event, Kind};

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

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let facts = Facts::of(event, Format::Distribution)?;
    let (action, method) = action(event.kind).unwrap_or_default();
    let host = context.registry.host();
    Ok(json!({"events": [{
        "id": context.delivery,
        "timestamp": event.time.to_string(),
        "action": action,
        "target": target(&facts, context)?,
        "request": {"id": context.delivery, "addr": "", "host": host, "method": method, "useragent": ""},
        "actor": if facts.actor.is_empty() { json!({}) } else { json!({"name": facts.actor}) },
        "source": {"addr": host, "instanceID": ""},
    }]}))
}

/// By what stands in it a deletion tells what was deleted: a tag, a digest, or neither.
fn target(facts: &Facts<'_>, context: &Context<'_>) -> Result<Map<String, Value>, Inexpressible> {
    let mut target = Map::new();
    let mut put = |name: &str, value: Value| target.insert(name.to_owned(), value);
    let (repository, base) = (facts.repository, context.registry.base());
    let kind = facts.event.kind;
    let reference = match kind {
        Kind::RepoDeleted => None,
        Kind::RepoPush | Kind::TagPull | Kind::TagDelete => Some(facts.need_tag()?),
        _ => Some(facts.need_digest()?),
    };
    let is_deletion = matches!(kind, Kind::TagDelete | Kind::ManifestDelete | Kind::RepoDeleted);
    if !is_deletion {
        put(
            "mediaType",
            facts.media_type.unwrap_or("application/vnd.docker.distribution.manifest.v2+json").into(),
        );
        put("size", facts.size.into());
        put("length", facts.size.into());
    }
    if let Some(digest) = facts.digest.filter(|_| !matches!(kind, Kind::TagDelete | Kind::RepoDeleted)) {
        put("digest", digest.into());
    }
    put("repository", repository.as_str().into());
    if let Some(reference) = reference.filter(|_| !is_deletion) {
        let reference = facts.digest.unwrap_or(reference);
        put("url", format!("{base}/v2/{repository}/manifests/{reference}").into());
    }
    if matches!(kind, Kind::RepoPush | Kind::TagPull | Kind::TagDelete) {
        put("tag", facts.tag.into());
    }
    Ok(target)
}
