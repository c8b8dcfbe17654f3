//! Quay's payload: what its webhooks send, its templates read and its in-app area shows.
//!
//! The body names no event, no time and no delivery; those are in the request's headers.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{INTERNAL, Payload, Registry};
use crate::{Event, Kind, KindScope, Level, RepositoryName, Subject, python, severity::Severity};

/// Members that say what the event is about, and where that is. They come from its subject, by which rights are
/// judged; a producer's own are passed over.
const IDENTITY: &[&str] = &["repository", "namespace", "name", "docker_url", "homepage"];

/// Most tags that Quay lists of a vulnerability.
pub(crate) const MOST_TAGS_OF_A_FINDING: usize = 100;

/// What is told of every event of a repository.
#[derive(Serialize, JsonSchema)]
struct OfRepository<'a> {
    repository: &'a RepositoryName,
    namespace: &'a str,
    name: &'a str,
    docker_url: String,
    homepage: String,
    /// Of a queued build.
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<&'a str>,
}

/// What is told of every event of a namespace.
#[derive(Serialize, JsonSchema)]
struct OfNamespace<'a> {
    namespace: &'a str,
    homepage: String,
}

/// What is told of every event of the registry.
#[derive(Serialize, JsonSchema)]
struct OfRegistry<'a> {
    homepage: &'a str,
}

/// The schema of a payload of that kind: what is common, and what a producer may send of it.
pub(crate) fn schema(kind: Kind) -> Schema {
    let inline = || SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut common = inline().for_serialize().into_generator();
    let mut schema = match kind.scope() {
        KindScope::Repository => common.subschema_for::<OfRepository<'_>>(),
        KindScope::Namespace => common.subschema_for::<OfNamespace<'_>>(),
        KindScope::Registry => common.subschema_for::<OfRegistry<'_>>(),
    };
    let data = crate::payload::schema(kind, &mut inline().into_generator());
    let more = |name: &str| data.get(name).cloned();
    if let (Some(Value::Object(known)), Some(Value::Object(more))) =
        (schema.get_mut("properties"), more("properties"))
    {
        known.extend(more);
    }
    if let (Some(Value::Array(known)), Some(Value::Array(more))) =
        (schema.get_mut("required"), more("required"))
    {
        known.extend(more);
    }
    schema.insert("description".to_owned(), more("description").unwrap_or_default());
    schema
}

/// Quay's `event_data`: common members, then the kind's own in Quay's order, then all others.
pub fn payload(event: &Event, registry: &Registry) -> Map<String, Value> {
    let mut payload = common(event, registry);
    let data = &event.data;
    let listed = members(event).iter().filter_map(|name| data.get_key_value(*name));
    for (name, value) in listed.chain(data) {
        if !says_what_it_is_about(event.kind, name) && !INTERNAL.contains(&name.as_str()) {
            payload.insert(name.clone(), value.clone());
        }
    }
    if let (Kind::VulnerabilityFound, Some(Value::Array(tags))) = (event.kind, payload.get_mut("tags")) {
        tags.truncate(MOST_TAGS_OF_A_FINDING);
    }
    payload
}

fn says_what_it_is_about(kind: Kind, member: &str) -> bool {
    IDENTITY.contains(&member) || (kind == Kind::BuildQueued && member == "repo")
}

/// Whether it is a queued build as Quay tells of one: by its audit log's record. A test call has the form of the other
/// builds, with a name.
fn is_of_audit_log(event: &Event) -> bool {
    event.kind == Kind::BuildQueued && !event.data.contains_key("build_name")
}

/// What the event is about and where to see it.
fn common(event: &Event, registry: &Registry) -> Map<String, Value> {
    let base = registry.base();
    let common = match &event.subject {
        Subject::Repository(repository) => json!(OfRepository {
            repository,
            namespace: repository.namespace(),
            name: repository.short_name(),
            docker_url: format!("{}/{repository}", registry.host()),
            homepage: format!("{base}/repository/{repository}{}", subpage(event)),
            repo: is_of_audit_log(event).then(|| repository.short_name()),
        }),
        Subject::Namespace(namespace) => {
            json!(OfNamespace { namespace, homepage: format!("{base}/organization/{namespace}") })
        }
        Subject::Registry => json!(OfRegistry { homepage: base }),
    };
    match common {
        Value::Object(common) => common,
        _ => Map::new(),
    }
}

/// A build has a page of its own.
fn subpage(event: &Event) -> String {
    let build = if event.kind.is_build() { text(&event.data, "build_id") } else { None };
    build.map_or(String::new(), |id| format!("/build/{id}"))
}

/// A kind's own members in the order in which Quay writes them.
fn members(event: &Event) -> &'static [&'static str] {
    match event.kind {
        Kind::RepoPush => &["updated_tags", "pruned_image_count"],
        Kind::BuildQueued if is_of_audit_log(event) => &[
            "build_id",
            "docker_tags",
            "is_manual",
            "manual_user",
            "trigger_id",
            "trigger_kind",
            "trigger_metadata",
            "trigger_manual",
        ],
        Kind::BuildQueued => &[
            "is_manual",
            "build_id",
            "build_name",
            "docker_tags",
            "trigger_id",
            "trigger_kind",
            "trigger_metadata",
        ],
        Kind::BuildStart | Kind::BuildSuccess | Kind::BuildFailure | Kind::BuildCancelled => &[
            "build_id",
            "build_name",
            "docker_tags",
            "trigger_id",
            "trigger_kind",
            "trigger_metadata",
            "image_id",
            "manifest_digests",
            "error_message",
        ],
        Kind::VulnerabilityFound => &["tags", "image", "vulnerability"],
        Kind::RepoMirrorSyncStarted | Kind::RepoMirrorSyncSuccess | Kind::RepoMirrorSyncFailed => {
            &["message"]
        }
        Kind::RepoImageExpiry => &["tags", "expiring_in", "notification_uuid"],
        Kind::QuotaWarning | Kind::QuotaError => &[
            "threshold_percent",
            "usage_bytes",
            "limit_bytes",
            "usage_percent",
            "usage_bytes_formatted",
            "limit_bytes_formatted",
        ],
        _ => &[],
    }
}

/// The payload of a test event: [`Event::sample`]'s.
pub fn sample(
    kind: Kind,
    subject: &Subject,
    event_config: &Map<String, Value>,
    registry: &Registry,
    now: jiff::Timestamp,
) -> Map<String, Value> {
    payload(&Event::sample(kind, subject.clone(), event_config, "sample", "sample", now), registry)
}

/// One line for people: a mail's subject, a chat message's fallback. Quay's words for Quay's
/// kinds; a member that the event lacks is passed over or shown as `?`.
pub fn summary(event: &Event) -> String {
    let data = &event.data;
    let name = event.subject.name().unwrap_or_default();
    let build = || {
        let id: String = text(data, "build_id").unwrap_or("?").chars().take(7).collect();
        format!("for repository {name} [{id}]")
    };
    let message = || text(data, "message").unwrap_or(name);
    match event.kind {
        Kind::RepoPush => format!("Repository {name} updated"),
        Kind::BuildQueued => format!("Build queued {}", build()),
        Kind::BuildStart => format!("Build started {}", build()),
        Kind::BuildSuccess => format!("Build succeeded {}", build()),
        Kind::BuildFailure => format!("Build failure {}", build()),
        Kind::BuildCancelled => format!("Build cancelled {}", build()),
        Kind::VulnerabilityFound => vulnerability_summary(data, name),
        Kind::RepoMirrorSyncStarted => format!("Repository Mirror started for {}", message()),
        Kind::RepoMirrorSyncSuccess => format!("Repository Mirror success for {}", message()),
        Kind::RepoMirrorSyncFailed => format!("Repository Mirror failed for {}", message()),
        Kind::RepoImageExpiry => format!("Repository {name} image(s) expiring"),
        Kind::QuotaWarning => {
            let threshold = data.get("threshold_percent").map_or("?".to_owned(), python::str);
            format!("Namespace {name} storage usage has reached {threshold}% of its quota limit")
        }
        Kind::QuotaError => {
            // Not every registry tells by how much.
            let used = data.get("usage_percent").map(|used| format!(" ({}%)", python::str(used)));
            format!("Namespace {name} storage usage has exceeded its quota limit{}", used.unwrap_or_default())
        }
        other => other_summary(other, data, name),
    }
}

fn vulnerability_summary(data: &Map<String, Value>, name: &str) -> String {
    let tags = data.get("tags").and_then(Value::as_array).map_or(0, Vec::len);
    let word = |vulnerability: &Value| {
        vulnerability.get("priority").and_then(Value::as_str).unwrap_or("Unknown").to_owned()
    };
    let several = data.get("vulnerabilities").and_then(Value::as_array);
    if let Some((all, first)) = several.and_then(|all| all.first().map(|first| (all, first))) {
        let top = word(first);
        let alike = all.iter().filter(|one| word(one) == top).count();
        let more = match all.len() - alike {
            0 => String::new(),
            rest => format!(" and {rest} more"),
        };
        return format!(
            "{alike} {top}{more} vulnerabilities were detected in repository {name} in {tags} tags"
        );
    }
    let priority = data.get("vulnerability").map_or("Unknown".to_owned(), word);
    format!("{priority} vulnerability detected in repository {name} in {tags} tags")
}

/// `Tag deleted: acme/api:v1`.
fn other_summary(kind: Kind, data: &Map<String, Value>, name: &str) -> String {
    let which = match (text(data, "tag"), text(data, "digest"), text(data, "chart")) {
        (Some(tag), _, _) => format!("{name}:{tag}"),
        (None, Some(digest), _) => format!("{name}@{digest}"),
        (None, None, Some(chart)) => format!("{chart} in {name}"),
        (None, None, None) => name.to_owned(),
    };
    let title = kind.title();
    if which.is_empty() { title.to_owned() } else { format!("{title}: {which}") }
}

/// How much the event asks for attention: a vulnerability by its severity, the worst of several.
pub fn level(event: &Event) -> Level {
    if event.kind != Kind::VulnerabilityFound {
        return event.kind.usual_level();
    }
    match severity(&event.data) {
        Some(Severity::Critical) => Level::Error,
        Some(Severity::High | Severity::Medium) => Level::Warning,
        _ => Level::Info,
    }
}

/// The worst severity that a `vulnerability_found` speaks of; `None` if of none that is known.
pub(crate) fn severity(data: &Map<String, Value>) -> Option<Severity> {
    let several = data.get("vulnerabilities").and_then(Value::as_array);
    let one = data.get("vulnerability").filter(|one| one.is_object());
    several
        .into_iter()
        .flatten()
        .chain(one)
        .filter_map(|found| {
            Severity::from_word(found.get("priority").and_then(Value::as_str).unwrap_or("Unknown"))
        })
        .min()
}

pub(crate) fn text<'a>(data: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    data.get(member).and_then(Value::as_str).filter(|text| !text.is_empty())
}

pub(crate) fn body(value: &Value) -> Payload {
    Payload { content_type: "application/json", body: python::to_json(value).into_bytes() }
}
