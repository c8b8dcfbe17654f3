//! Quay's payload: what its webhooks send, its templates read and its in-app area shows.
//!
//! The body names no event, no time and no delivery; those are in the request's headers.

use serde_json::{Map, Value};

use super::{Payload, Registry};
use crate::{Event, Kind, Level, Subject, python, severity::Severity};

/// Members that say what the event is about. They come from its subject, by which rights are
/// judged; a producer's own are passed over.
const IDENTITY: &[&str] = &["repository", "namespace", "name"];

/// Most tags that Quay lists of a vulnerability.
pub(crate) const MOST_TAGS_OF_A_FINDING: usize = 100;

/// Members that are the operator's matter, such as clients' addresses, and no receiver's: what a
/// registry sent, as it came.
const INTERNAL: &[&str] =
    &["distribution", "harbor", "zot", "acr", "dockerhub", "ecr", "ghcr", "request", "instance"];

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
    let mut common = Map::new();
    let mut put = |name: &str, text: String| common.insert(name.to_owned(), Value::String(text));
    match &event.subject {
        Subject::Repository(repository) => {
            put("repository", repository.to_string());
            put("namespace", repository.namespace().to_owned());
            put("name", repository.short_name().to_owned());
            put("docker_url", format!("{}/{repository}", registry.host()));
            put("homepage", format!("{base}/repository/{repository}{}", subpage(event)));
            if is_of_audit_log(event) {
                put("repo", repository.short_name().to_owned());
            }
        }
        Subject::Namespace(namespace) => {
            put("namespace", namespace.clone());
            put("homepage", format!("{base}/organization/{namespace}"));
        }
        Subject::Registry => {
            put("homepage", base.to_owned());
        }
    }
    common
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
    let percent = |member: &str| data.get(member).map_or("?".to_owned(), python::str);
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
        Kind::QuotaWarning => format!(
            "Namespace {name} storage usage has reached {}% of its quota limit",
            percent("threshold_percent")
        ),
        Kind::QuotaError => {
            format!(
                "Namespace {name} storage usage has exceeded its quota limit ({}%)",
                percent("usage_percent")
            )
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
