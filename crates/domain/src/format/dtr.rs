//! Docker Trusted Registry's payload, which Mirantis Secure Registry 2 and 3 send as well.
//!
//! All texts are there, if empty. `imageName` begins with the registry's host; a parser that was
//! widely used splits it at the first `:`, so a host with a port confuses it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Context, Format, Inexpressible, Registry,
    facts::{Facts, integer, text},
};
use crate::{DeliveryId, Event, Kind, NotificationId, RepositoryName, Subject};

/// A subscription to all three events of a repository's life.
pub const REPO_EVENT: &str = "REPO_EVENT";

const LIFE: [Kind; 3] = [Kind::RepoCreated, Kind::RepoUpdated, Kind::RepoDeleted];

/// The kinds that a subscription to a DTR type is for. `None` for what is no type.
pub fn kinds(name: &str) -> Option<Vec<Kind>> {
    if name == REPO_EVENT {
        return Some(LIFE.to_vec());
    }
    Kind::ALL.iter().copied().find(|kind| kind.dtr_type() == Some(name)).map(|kind| vec![kind])
}

/// What DTR would call a subscription to these kinds: by the first for which it has a type. One to kinds that DTR has
/// no word for is called by the first one's own name, in DTR's spelling.
pub fn type_name(kinds: &[Kind]) -> String {
    if LIFE.iter().all(|kind| kinds.contains(kind)) && kinds.len() == LIFE.len() {
        return REPO_EVENT.to_owned();
    }
    let own = || kinds.first().map(|kind| kind.name().to_ascii_uppercase());
    kinds.iter().find_map(|kind| kind.dtr_type()).map(str::to_owned).or_else(own).unwrap_or_default()
}

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let is_life = LIFE.contains(&event.kind);
    let subscribed = context.dtr_type.filter(|_| is_life);
    let mut payload = Map::new();
    payload.insert("type".to_owned(), subscribed.or(event.kind.dtr_type()).into());
    payload.insert("createdAt".to_owned(), event.time.to_string().into());
    payload.insert("contents".to_owned(), contents(event, context)?.into());
    if let Some(location) = location(event)? {
        payload.insert("location".to_owned(), location.into());
    }
    Ok(payload.into())
}

/// The payload of DTR's test call: constant for each kind but for `createdAt`, which is `now`.
/// `None` for a kind that DTR has no word for.
pub fn test_payload(kind: Kind, registry: &Registry, now: Timestamp) -> Option<Value> {
    let context = Context {
        registry,
        delivery: DeliveryId::from(uuid::Uuid::nil()),
        notification: NotificationId::from(uuid::Uuid::nil()),
        callback_url: "",
        dtr_type: None,
    };
    payload(&test_event(kind, now)?, &context).ok()
}

/// The event that DTR's test call tells of. `None` for a kind that DTR has no word for.
pub fn test_event(kind: Kind, now: Timestamp) -> Option<Event> {
    kind.dtr_type()?;
    let subject = match kind {
        Kind::ScannerUpdateCompleted => Subject::Registry,
        _ => Subject::Repository(RepositoryName::parse("foo/bar").ok()?),
    };
    let mut event = Event::sample(kind, subject, &Map::new(), "bellbuoy", "test", now);
    if kind == Kind::RepoPush {
        // Quay's sample names two tags; DTR's is the one of a pushed manifest.
        event.data = crate::payload::sample(Kind::ManifestPush, &Map::new(), now);
        event.data.insert("updated_tags".to_owned(), json!(["latest"]));
    }
    Some(event)
}

fn contents(event: &Event, context: &Context<'_>) -> Result<Map<String, Value>, Inexpressible> {
    if event.kind == Kind::ScannerUpdateCompleted {
        return Ok(scanner(event));
    }
    let facts = Facts::of(event, Format::Dtr)?;
    match event.kind {
        Kind::RepoPush | Kind::TagPull | Kind::TagDelete => {
            facts.need_tag()?;
            Ok(image(&facts, context))
        }
        Kind::ManifestPush | Kind::ManifestPull | Kind::ManifestDelete => {
            facts.need_digest()?;
            Ok(image(&facts, context))
        }
        Kind::ScanCompleted | Kind::ScanFailed => Ok(scan(&facts, context)),
        Kind::RepoCreated | Kind::RepoUpdated | Kind::RepoDeleted => Ok(life(&facts)),
        Kind::ChartPush | Kind::ChartPull | Kind::ChartDelete | Kind::ChartLinted => Ok(chart(&facts)),
        _ => Ok(moved(&facts, context)),
    }
}

fn location(event: &Event) -> Result<Option<String>, Inexpressible> {
    let Subject::Repository(name) = &event.subject else { return Ok(None) };
    let facts = Facts::of(event, Format::Dtr)?;
    Ok(Some(match (facts.tag, facts.digest) {
        (Some(tag), _) => format!("/repositories/{name}/tags/{tag}"),
        (None, Some(digest)) => format!("/repositories/{name}/manifests/{digest}"),
        (None, None) => format!("/repositories/{name}"),
    }))
}

fn named(facts: &Facts<'_>) -> Map<String, Value> {
    let mut contents = Map::new();
    contents.insert("namespace".to_owned(), facts.repository.namespace().into());
    contents.insert("repository".to_owned(), facts.repository.short_name().into());
    contents
}

/// A tag or manifest that was pushed, pulled or deleted. Docs leave `tag` out where a manifest is
/// meant; what was captured has it if there is one.
fn image(facts: &Facts<'_>, context: &Context<'_>) -> Map<String, Value> {
    let data = &facts.event.data;
    let time = match facts.event.kind {
        Kind::TagPull | Kind::ManifestPull => "pulledAt",
        Kind::TagDelete | Kind::ManifestDelete => "deletedAt",
        _ => "pushedAt",
    };
    let mut contents = named(facts);
    let mut put = |name: &str, text: &str| contents.insert(name.to_owned(), text.into());
    if let Some(tag) = facts.tag {
        put("tag", tag);
    }
    put("digest", facts.digest.unwrap_or_default());
    put("imageName", &image_name(facts, context));
    put("os", text(data, "os").unwrap_or_default());
    put("architecture", text(data, "architecture").unwrap_or_default());
    put("author", facts.actor);
    put(time, &when(facts, time));
    contents
}

fn image_name(facts: &Facts<'_>, context: &Context<'_>) -> String {
    let known = text(&facts.event.data, "imageName").map(str::to_owned);
    known.unwrap_or_else(|| facts.image(context.registry))
}

fn when(facts: &Facts<'_>, member: &str) -> String {
    text(&facts.event.data, member).map_or_else(|| facts.event.time.to_string(), str::to_owned)
}

/// An image that was promoted or mirrored: not documented, so the fields of a push and the API's
/// own object beside them.
fn moved(facts: &Facts<'_>, context: &Context<'_>) -> Map<String, Value> {
    let mut contents = image(facts, context);
    let (name, members) = match facts.event.kind {
        Kind::Promotion => ("promotion", ["promotionPolicyID", "sourceRepository", "sourceTag", "string"]),
        _ => ("mirroring", ["mirroringPolicyID", "digest", "remoteRepository", "remoteTag"]),
    };
    let known = facts.event.data.get(name).and_then(Value::as_object);
    let member = |member: &str| {
        let text = known.and_then(|known| text(known, member)).unwrap_or_default();
        (member.to_owned(), Value::from(text))
    };
    contents.insert(name.to_owned(), Value::Object(members.into_iter().map(member).collect()));
    contents
}

fn scan(facts: &Facts<'_>, context: &Context<'_>) -> Map<String, Value> {
    let mut contents = named(facts);
    let tag = facts.tag.unwrap_or_default();
    contents.insert("tag".to_owned(), tag.into());
    contents.insert("imageName".to_owned(), image_name(facts, context).into());
    if facts.event.kind == Kind::ScanFailed {
        contents.insert("error".to_owned(), text(&facts.event.data, "error").unwrap_or_default().into());
        return contents;
    }
    let found = facts.event.data.get("scanSummary");
    let flag = |member: &str| found.and_then(|found| found.get(member)?.as_bool()).unwrap_or(false);
    let checked = found.and_then(|found| found.get("check_completed_at")?.as_str());
    let status = if found.is_some_and(|found| found.get("last_scan_status").is_some_and(Value::is_u64)) {
        integer(found, "last_scan_status")
    } else {
        COMPLETED
    };
    // Swagger and what was captured say `reponame`, the prose says `repository`.
    let mut summary = json!({
        "namespace": facts.repository.namespace(),
        "reponame": facts.repository.short_name(),
        "repository": facts.repository.short_name(),
        "tag": tag,
        "critical": integer(found, "critical"),
        "major": integer(found, "major"),
        "minor": integer(found, "minor"),
        "last_scan_status": status,
        "check_completed_at": checked.map_or_else(|| facts.event.time.to_string(), str::to_owned),
        "should_rescan": flag("should_rescan"),
        "has_foreign_layers": flag("has_foreign_layers"),
    });
    if let Some(layers) =
        found.and_then(|found| found.get("layer_details")).filter(|layers| layers.is_array())
    {
        summary["layer_details"] = layers.clone();
    }
    contents.insert("scanSummary".to_owned(), summary);
    contents
}

/// DTR's `last_scan_status` of a scan that came to its end.
const COMPLETED: u64 = 6;

fn life(facts: &Facts<'_>) -> Map<String, Value> {
    let event = facts.event;
    let mut contents = named(facts);
    contents.insert("event".to_owned(), event.kind.dtr_type().into());
    contents.insert("author".to_owned(), facts.actor.into());
    if event.kind != Kind::RepoDeleted {
        contents.insert("data".to_owned(), settings(facts));
    }
    contents
}

/// A repository's settings; what the producer does not tell has DTR's own default.
fn settings(facts: &Facts<'_>) -> Value {
    let known = facts.event.data.get("data").and_then(Value::as_object);
    let word = |member: &str, default: &str| {
        known.and_then(|known| text(known, member)).unwrap_or(default).to_owned()
    };
    let flag = |member: &str| known.and_then(|known| known.get(member)?.as_bool()).unwrap_or(false);
    let count = |member: &str| known.and_then(|known| known.get(member)?.as_u64()).unwrap_or(0);
    json!({
        "id": word("id", ""),
        "namespace": facts.repository.namespace(),
        "namespaceType": word("namespaceType", "organization"),
        "name": facts.repository.short_name(),
        "shortDescription": word("shortDescription", ""),
        "longDescription": word("longDescription", ""),
        "visibility": word("visibility", "private"),
        "scanOnPush": flag("scanOnPush"),
        "immutableTags": flag("immutableTags"),
        "enableManifestLists": flag("enableManifestLists"),
        "pulls": count("pulls"),
        "pushes": count("pushes"),
        "tagLimit": count("tagLimit"),
    })
}

/// Not documented; the names are DTR's of an image's.
fn chart(facts: &Facts<'_>) -> Map<String, Value> {
    let data = &facts.event.data;
    let time = match facts.event.kind {
        Kind::ChartPull => "pulledAt",
        Kind::ChartDelete => "deletedAt",
        Kind::ChartLinted => "lintedAt",
        _ => "pushedAt",
    };
    let mut contents = named(facts);
    let mut put = |name: &str, text: &str| contents.insert(name.to_owned(), text.into());
    put("chart", text(data, "chart").unwrap_or_default());
    put("version", text(data, "version").unwrap_or_default());
    put("author", facts.actor);
    put(time, &when(facts, time));
    contents
}

fn scanner(event: &Event) -> Map<String, Value> {
    let data = &event.data;
    let when = |member: &str| text(data, member).map_or_else(|| event.time.to_string(), str::to_owned);
    let mut contents = Map::new();
    let mut put = |name: &str, value: Value| contents.insert(name.to_owned(), value);
    put("scanner_version", text(data, "scanner_version").unwrap_or_default().into());
    put("scanner_updated_at", when("scanner_updated_at").into());
    put("db_version", data.get("db_version").and_then(Value::as_u64).unwrap_or(0).into());
    put("db_updated_at", when("db_updated_at").into());
    put("success", data.get("success").and_then(Value::as_bool).unwrap_or(true).into());
    put(
        "replicas",
        data.get("replicas").filter(|replicas| replicas.is_object()).cloned().unwrap_or_else(|| json!({})),
    );
    contents
}
