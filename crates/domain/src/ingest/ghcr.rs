//! GitHub's notices of packages in its container registry: webhooks for `package` and
//! `registry_package`.
//!
//! GitHub writes several members now as one type and now as another (`body` is a text or an object),
//! so nothing is asked of a member but what is read of it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Dropped, Item,
    notice::{
        Found, Meaning, NoticeError, Origin, id_of, is_digest, items, json, known, lenient, needed,
        repository, time,
    },
};
use crate::{Kind, RepositoryName};

/// The registry, as errors name it.
const NAME: &str = "GitHub";

/// What a request's headers say of its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// `X-GitHub-Event`.
    pub event: Option<&'a str>,
    /// `X-GitHub-Delivery`: the same when it is delivered again.
    pub delivery: Option<&'a str>,
}

/// Reads one notice.
///
/// `registry` is the operator's name for the sender: the events' source. `now` stands in for a time
/// that is absent or can't be read.
///
/// # Errors
///
/// When it is no JSON object.
pub fn classify(
    headers: Headers<'_>,
    body: &[u8],
    registry: &str,
    now: Timestamp,
) -> Result<Vec<Item>, NoticeError> {
    let notice = json(NAME, body)?;
    if !notice.is_object() {
        return Err(NoticeError::Foreign { registry: NAME, why: "not an object".to_owned() });
    }
    if headers.event == Some("ping") {
        return Ok(vec![Item::Dropped(Dropped::Ping)]);
    }
    let package = ["package", "registry_package"].iter().find_map(|name| notice.get(*name));
    let version = package.and_then(|package| package.get("package_version"));
    let at = [version, package].into_iter().flatten();
    let at = at.flat_map(|of| ["updated_at", "created_at"].map(|name| time(of.get(name)))).flatten().next();
    let origin = Origin {
        member: "ghcr",
        notice: &notice,
        id: headers.delivery.filter(|id| !id.is_empty()).map_or_else(|| id_of(body), str::to_owned),
        source: if registry.is_empty() { "ghcr.io" } else { registry },
        time: at.unwrap_or(now),
    };
    Ok(items(&origin, meaning(&notice, package, version), now))
}

fn meaning(notice: &Value, package: Option<&Value>, version: Option<&Value>) -> Result<Meaning, String> {
    let Some(package) = package else { return Ok(Meaning::Nothing(Dropped::NoKind)) };
    let types = ["ecosystem", "package_type"].iter().filter_map(|name| lenient(Some(package), name));
    let is_image =
        types.into_iter().any(|word| ["container", "docker"].contains(&word.to_ascii_lowercase().as_str()));
    let is_push = matches!(lenient(Some(notice), "action"), Some("published" | "updated"));
    if !is_image || !is_push {
        return Ok(Meaning::Nothing(Dropped::NoKind));
    }
    let tag = version.and_then(|version| version.get("container_metadata")?.get("tag"));
    let names = [lenient(tag, "digest"), lenient(version, "version"), lenient(version, "name")];
    let digest = names.into_iter().flatten().find(|name| is_digest(name));
    let mut data = known(json!({
        "digest": digest,
        "actor": lenient(notice.get("sender"), "login").map(|name| json!({ "name": name })),
    }));
    let kind = match lenient(tag, "name") {
        Some(tag) => {
            data["updated_tags"] = json!([tag]);
            Kind::RepoPush
        }
        None if digest.is_some() => Kind::ManifestPush,
        None => return Err("`package_version` names neither a tag nor a digest".to_owned()),
    };
    Ok(Meaning::Events(vec![Found::new(kind, &subject(notice, package)?, data)]))
}

/// `owner/name`: the owner stands in one of several places, and a name may hold slashes.
fn subject(notice: &Value, package: &Value) -> Result<RepositoryName, String> {
    let name = needed(package, "name")?;
    let of_repository =
        lenient(notice.get("repository"), "full_name").and_then(|name| Some(name.split_once('/')?.0));
    let owner = lenient(Some(package), "namespace")
        .map(|namespace| namespace.split('/').next().unwrap_or(namespace))
        .or_else(|| lenient(package.get("owner"), "login"))
        .or(of_repository)
        .ok_or("`owner.login` is missing")?;
    repository(&format!("{owner}/{name}"))
}
