//! Docker Trusted Registry's payload, which Mirantis Secure Registry 2 and 3 send as well.
//!
//! All texts are there, if empty. `imageName` begins with the registry's host; a parser that was
//! widely used splits it at the first `:`, so a host with a port confuses it.

#![expect(clippy::struct_field_names, reason = "members are called as receivers know them")]

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
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

/// What is told of an event.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Notice<'a, T> {
    r#type: &'a str,
    created_at: Timestamp,
    contents: T,
    /// The path of what it is about; absent for the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
}

/// A tag or manifest, and when something was done to it. Docs leave `tag` out where a manifest is meant; what was
/// captured has it if there is one.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Image<'a, T> {
    namespace: &'a str,
    repository: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    digest: &'a str,
    image_name: String,
    os: &'a str,
    architecture: &'a str,
    author: &'a str,
    #[serde(flatten)]
    time: T,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Pushed {
    pushed_at: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Pulled {
    pulled_at: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Deleted {
    deleted_at: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Linted {
    linted_at: String,
}

/// An image that was promoted: not documented, so the fields of a push and the API's own object beside them.
#[derive(Serialize, JsonSchema)]
struct Promoted<'a> {
    #[serde(flatten)]
    image: Image<'a, Pushed>,
    promotion: Promotion<'a>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Promotion<'a> {
    #[serde(rename = "promotionPolicyID")]
    policy: &'a str,
    source_repository: &'a str,
    source_tag: &'a str,
    string: &'a str,
}

/// Likewise for one that was mirrored.
#[derive(Serialize, JsonSchema)]
struct Mirrored<'a> {
    #[serde(flatten)]
    image: Image<'a, Pushed>,
    mirroring: Mirroring<'a>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Mirroring<'a> {
    #[serde(rename = "mirroringPolicyID")]
    policy: &'a str,
    digest: &'a str,
    remote_repository: &'a str,
    remote_tag: &'a str,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Scanned<'a, T> {
    namespace: &'a str,
    repository: &'a str,
    tag: &'a str,
    image_name: String,
    #[serde(flatten)]
    outcome: T,
}

#[derive(Serialize, JsonSchema)]
struct Failed<'a> {
    error: &'a str,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    scan_summary: ScanSummary<'a>,
}

#[derive(Serialize, JsonSchema)]
struct ScanSummary<'a> {
    namespace: &'a str,
    /// Swagger and what was captured say so, the prose says `repository`.
    reponame: &'a str,
    repository: &'a str,
    tag: &'a str,
    critical: u64,
    major: u64,
    minor: u64,
    last_scan_status: u64,
    check_completed_at: String,
    should_rescan: bool,
    has_foreign_layers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_details: Option<&'a Vec<Value>>,
}

/// The end of a repository's life.
#[derive(Serialize, JsonSchema)]
struct Ended<'a> {
    namespace: &'a str,
    repository: &'a str,
    event: &'a str,
    author: &'a str,
}

/// Its beginning and its changes.
#[derive(Serialize, JsonSchema)]
struct Lives<'a> {
    #[serde(flatten)]
    named: Ended<'a>,
    data: Settings<'a>,
}

/// A repository's settings; what the producer does not tell has DTR's own default.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    id: &'a str,
    namespace: &'a str,
    namespace_type: &'a str,
    name: &'a str,
    short_description: &'a str,
    long_description: &'a str,
    visibility: &'a str,
    scan_on_push: bool,
    immutable_tags: bool,
    enable_manifest_lists: bool,
    pulls: u64,
    pushes: u64,
    tag_limit: u64,
}

/// Not documented; the names are DTR's of an image's.
#[derive(Serialize, JsonSchema)]
struct Chart<'a, T> {
    namespace: &'a str,
    repository: &'a str,
    chart: &'a str,
    version: &'a str,
    author: &'a str,
    #[serde(flatten)]
    time: T,
}

#[derive(Serialize, JsonSchema)]
struct Scanner<'a> {
    scanner_version: &'a str,
    scanner_updated_at: String,
    db_version: u64,
    db_updated_at: String,
    success: bool,
    replicas: Map<String, Value>,
}

/// The schema of a payload of that kind.
pub(crate) fn schema(kind: Kind, generator: &mut SchemaGenerator) -> Schema {
    match kind {
        Kind::RepoPush | Kind::ManifestPush => generator.subschema_for::<Notice<'_, Image<'_, Pushed>>>(),
        Kind::TagPull | Kind::ManifestPull => generator.subschema_for::<Notice<'_, Image<'_, Pulled>>>(),
        Kind::TagDelete | Kind::ManifestDelete => generator.subschema_for::<Notice<'_, Image<'_, Deleted>>>(),
        Kind::ScanCompleted => generator.subschema_for::<Notice<'_, Scanned<'_, Found<'_>>>>(),
        Kind::ScanFailed => generator.subschema_for::<Notice<'_, Scanned<'_, Failed<'_>>>>(),
        Kind::RepoCreated | Kind::RepoUpdated => generator.subschema_for::<Notice<'_, Lives<'_>>>(),
        Kind::RepoDeleted => generator.subschema_for::<Notice<'_, Ended<'_>>>(),
        Kind::ChartPush => generator.subschema_for::<Notice<'_, Chart<'_, Pushed>>>(),
        Kind::ChartPull => generator.subschema_for::<Notice<'_, Chart<'_, Pulled>>>(),
        Kind::ChartDelete => generator.subschema_for::<Notice<'_, Chart<'_, Deleted>>>(),
        Kind::ChartLinted => generator.subschema_for::<Notice<'_, Chart<'_, Linted>>>(),
        Kind::ScannerUpdateCompleted => generator.subschema_for::<Notice<'_, Scanner<'_>>>(),
        Kind::Promotion => generator.subschema_for::<Notice<'_, Promoted<'_>>>(),
        _ => generator.subschema_for::<Notice<'_, Mirrored<'_>>>(),
    }
}

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    if event.kind == Kind::ScannerUpdateCompleted {
        return notice(event, context, scanner(event));
    }
    let facts = Facts::of(event, Format::Dtr)?;
    match event.kind {
        Kind::RepoPush | Kind::TagPull | Kind::TagDelete => {
            facts.need_tag()?;
        }
        Kind::ManifestPush | Kind::ManifestPull | Kind::ManifestDelete => {
            facts.need_digest()?;
        }
        _ => {}
    }
    let pushed = || Pushed { pushed_at: when(&facts, "pushedAt") };
    let pulled = || Pulled { pulled_at: when(&facts, "pulledAt") };
    let deleted = || Deleted { deleted_at: when(&facts, "deletedAt") };
    match event.kind {
        Kind::TagPull | Kind::ManifestPull => notice(event, context, image(&facts, context, pulled())),
        Kind::TagDelete | Kind::ManifestDelete => notice(event, context, image(&facts, context, deleted())),
        Kind::ScanCompleted => {
            let scan_summary = scan_summary(&facts);
            notice(event, context, scanned(&facts, context, Found { scan_summary }))
        }
        Kind::ScanFailed => {
            let error = text(&event.data, "error").unwrap_or_default();
            notice(event, context, scanned(&facts, context, Failed { error }))
        }
        Kind::RepoDeleted => notice(event, context, named(&facts)),
        Kind::RepoCreated | Kind::RepoUpdated => {
            notice(event, context, Lives { named: named(&facts), data: settings(&facts) })
        }
        Kind::ChartPush => notice(event, context, chart(&facts, pushed())),
        Kind::ChartPull => notice(event, context, chart(&facts, pulled())),
        Kind::ChartDelete => notice(event, context, chart(&facts, deleted())),
        Kind::ChartLinted => {
            notice(event, context, chart(&facts, Linted { linted_at: when(&facts, "lintedAt") }))
        }
        Kind::Promotion => {
            let image = image(&facts, context, pushed());
            notice(event, context, Promoted { image, promotion: promotion(&facts) })
        }
        Kind::PushMirroring | Kind::PollMirroring => {
            let image = image(&facts, context, pushed());
            notice(event, context, Mirrored { image, mirroring: mirroring(&facts) })
        }
        _ => notice(event, context, image(&facts, context, pushed())),
    }
}

fn notice<T: Serialize>(event: &Event, context: &Context<'_>, contents: T) -> Result<Value, Inexpressible> {
    let subscribed = context.dtr_type.filter(|_| LIFE.contains(&event.kind));
    Ok(json!(Notice {
        r#type: subscribed.or(event.kind.dtr_type()).unwrap_or_default(),
        created_at: event.time,
        contents,
        location: location(event)?,
    }))
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

fn location(event: &Event) -> Result<Option<String>, Inexpressible> {
    let Subject::Repository(name) = &event.subject else { return Ok(None) };
    let facts = Facts::of(event, Format::Dtr)?;
    Ok(Some(match (facts.tag, facts.digest) {
        (Some(tag), _) => format!("/repositories/{name}/tags/{tag}"),
        (None, Some(digest)) => format!("/repositories/{name}/manifests/{digest}"),
        (None, None) => format!("/repositories/{name}"),
    }))
}

fn image<'a, T>(facts: &Facts<'a>, context: &Context<'_>, time: T) -> Image<'a, T> {
    let data = &facts.event.data;
    Image {
        namespace: facts.repository.namespace(),
        repository: facts.repository.short_name(),
        tag: facts.tag,
        digest: facts.digest.unwrap_or_default(),
        image_name: image_name(facts, context),
        os: text(data, "os").unwrap_or_default(),
        architecture: text(data, "architecture").unwrap_or_default(),
        author: facts.actor,
        time,
    }
}

fn image_name(facts: &Facts<'_>, context: &Context<'_>) -> String {
    let known = text(&facts.event.data, "imageName").map(str::to_owned);
    known.unwrap_or_else(|| facts.image(context.registry))
}

fn when(facts: &Facts<'_>, member: &str) -> String {
    text(&facts.event.data, member).map_or_else(|| facts.event.time.to_string(), str::to_owned)
}

/// A member of an object in the event's data; empty where there is none.
fn within<'a>(facts: &Facts<'a>, object: &str, member: &str) -> &'a str {
    let known = facts.event.data.get(object).and_then(Value::as_object);
    known.and_then(|known| text(known, member)).unwrap_or_default()
}

fn promotion<'a>(facts: &Facts<'a>) -> Promotion<'a> {
    let of = |member| within(facts, "promotion", member);
    Promotion {
        policy: of("promotionPolicyID"),
        source_repository: of("sourceRepository"),
        source_tag: of("sourceTag"),
        string: of("string"),
    }
}

fn mirroring<'a>(facts: &Facts<'a>) -> Mirroring<'a> {
    let of = |member| within(facts, "mirroring", member);
    Mirroring {
        policy: of("mirroringPolicyID"),
        digest: of("digest"),
        remote_repository: of("remoteRepository"),
        remote_tag: of("remoteTag"),
    }
}

fn scanned<'a, T>(facts: &Facts<'a>, context: &Context<'_>, outcome: T) -> Scanned<'a, T> {
    Scanned {
        namespace: facts.repository.namespace(),
        repository: facts.repository.short_name(),
        tag: facts.tag.unwrap_or_default(),
        image_name: image_name(facts, context),
        outcome,
    }
}

fn scan_summary<'a>(facts: &Facts<'a>) -> ScanSummary<'a> {
    let found = facts.event.data.get("scanSummary");
    let flag = |member: &str| found.and_then(|found| found.get(member)?.as_bool()).unwrap_or(false);
    let checked = found.and_then(|found| found.get("check_completed_at")?.as_str());
    let has_status = found.is_some_and(|found| found.get("last_scan_status").is_some_and(Value::is_u64));
    ScanSummary {
        namespace: facts.repository.namespace(),
        reponame: facts.repository.short_name(),
        repository: facts.repository.short_name(),
        tag: facts.tag.unwrap_or_default(),
        critical: integer(found, "critical"),
        major: integer(found, "major"),
        minor: integer(found, "minor"),
        last_scan_status: if has_status { integer(found, "last_scan_status") } else { COMPLETED },
        check_completed_at: checked.map_or_else(|| facts.event.time.to_string(), str::to_owned),
        should_rescan: flag("should_rescan"),
        has_foreign_layers: flag("has_foreign_layers"),
        layer_details: found.and_then(|found| found.get("layer_details")?.as_array()),
    }
}

/// DTR's `last_scan_status` of a scan that came to its end.
const COMPLETED: u64 = 6;

fn named<'a>(facts: &Facts<'a>) -> Ended<'a> {
    Ended {
        namespace: facts.repository.namespace(),
        repository: facts.repository.short_name(),
        event: facts.event.kind.dtr_type().unwrap_or_default(),
        author: facts.actor,
    }
}

fn settings<'a>(facts: &Facts<'a>) -> Settings<'a> {
    let known = facts.event.data.get("data").and_then(Value::as_object);
    let word = |member: &str, default: &'static str| -> &'a str {
        known.and_then(|known| text(known, member)).unwrap_or(default)
    };
    let flag = |member: &str| known.and_then(|known| known.get(member)?.as_bool()).unwrap_or(false);
    let count = |member: &str| known.and_then(|known| known.get(member)?.as_u64()).unwrap_or(0);
    Settings {
        id: word("id", ""),
        namespace: facts.repository.namespace(),
        namespace_type: word("namespaceType", "organization"),
        name: facts.repository.short_name(),
        short_description: word("shortDescription", ""),
        long_description: word("longDescription", ""),
        visibility: word("visibility", "private"),
        scan_on_push: flag("scanOnPush"),
        immutable_tags: flag("immutableTags"),
        enable_manifest_lists: flag("enableManifestLists"),
        pulls: count("pulls"),
        pushes: count("pushes"),
        tag_limit: count("tagLimit"),
    }
}

fn chart<'a, T>(facts: &Facts<'a>, time: T) -> Chart<'a, T> {
    let data = &facts.event.data;
    Chart {
        namespace: facts.repository.namespace(),
        repository: facts.repository.short_name(),
        chart: text(data, "chart").unwrap_or_default(),
        version: text(data, "version").unwrap_or_default(),
        author: facts.actor,
        time,
    }
}

fn scanner(event: &Event) -> Scanner<'_> {
    let data = &event.data;
    let when = |member: &str| text(data, member).map_or_else(|| event.time.to_string(), str::to_owned);
    Scanner {
        scanner_version: text(data, "scanner_version").unwrap_or_default(),
        scanner_updated_at: when("scanner_updated_at"),
        db_version: data.get("db_version").and_then(Value::as_u64).unwrap_or(0),
        db_updated_at: when("db_updated_at"),
        success: data.get("success").and_then(Value::as_bool).unwrap_or(true),
        replicas: data.get("replicas").and_then(Value::as_object).cloned().unwrap_or_default(),
    }
}
