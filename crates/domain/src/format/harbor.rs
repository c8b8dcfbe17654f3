//! Harbor's payloads, as its version 2 sends them: `Default`, and the same data as a `CloudEvents` event.
//!
//! Harbor has no word for a tag that is deleted, nor for a repository's life; nor for a replication that begins.

#![expect(clippy::struct_field_names, reason = "members are called as receivers know them")]

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Context, Format, Inexpressible,
    facts::{Facts, actor, integer, text},
};
use crate::{DeliveryId, Event, Kind, Subject};

/// Harbor's type and the `CloudEvents` type that it has beside it.
pub(super) fn event_type(kind: Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::RepoPush | Kind::ManifestPush => Some(("PUSH_ARTIFACT", "harbor.artifact.pushed")),
        Kind::TagPull | Kind::ManifestPull => Some(("PULL_ARTIFACT", "harbor.artifact.pulled")),
        Kind::ManifestDelete => Some(("DELETE_ARTIFACT", "harbor.artifact.deleted")),
        Kind::QuotaWarning => Some(("QUOTA_WARNING", "harbor.quota.warned")),
        Kind::QuotaError => Some(("QUOTA_EXCEED", "harbor.quota.exceeded")),
        Kind::ScanCompleted => Some(("SCANNING_COMPLETED", "harbor.scan.completed")),
        Kind::ScanFailed => Some(("SCANNING_FAILED", "harbor.scan.failed")),
        Kind::PushMirroring
        | Kind::PollMirroring
        | Kind::RepoMirrorSyncSuccess
        | Kind::RepoMirrorSyncFailed => Some(("REPLICATION", "harbor.replication.status.changed")),
        _ => None,
    }
}

/// The same of one event: a scan that somebody stopped has words of its own.
fn event_words(event: &Event) -> (&'static str, &'static str) {
    if event.kind == Kind::ScanFailed && is_true(event, "stopped") {
        return ("SCANNING_STOPPED", "harbor.scan.stopped");
    }
    event_type(event.kind).unwrap_or_default()
}

fn is_true(event: &Event, member: &str) -> bool {
    event.data.get(member).and_then(Value::as_bool).unwrap_or(false)
}

/// What happened, as `Default` tells it.
#[derive(Serialize, JsonSchema)]
struct Notice<'a, T> {
    r#type: &'static str,
    /// Seconds since 1970.
    occur_at: i64,
    operator: &'a str,
    event_data: T,
}

/// The same as an event.
#[derive(Serialize, JsonSchema)]
struct CloudEvent<'a, T> {
    specversion: &'static str,
    id: DeliveryId,
    source: String,
    r#type: &'static str,
    datacontenttype: &'static str,
    time: Timestamp,
    requestid: DeliveryId,
    operator: &'a str,
    data: T,
}

/// Of an artifact.
#[derive(Serialize, JsonSchema)]
struct Artifact<'a> {
    resources: [Resource<'a>; 1],
    repository: Repository<'a>,
}

/// Of a scan.
#[derive(Serialize, JsonSchema)]
struct Scan<'a> {
    resources: [ScannedResource<'a>; 1],
    repository: Repository<'a>,
    scan: ScanType,
}

/// Of a project's quota.
#[derive(Serialize, JsonSchema)]
struct Quota<'a> {
    repository: Repository<'a>,
    custom_attributes: Details,
}

/// Of a replication.
#[derive(Serialize, JsonSchema)]
struct Replicated<'a, T> {
    replication: Replication<'a, T>,
}

#[derive(Serialize, JsonSchema)]
struct Resource<'a> {
    digest: &'a str,
    tag: &'a str,
    resource_url: String,
}

#[derive(Serialize, JsonSchema)]
struct ScannedResource<'a> {
    #[serde(flatten)]
    resource: Resource<'a>,
    scan_overview: ScanOverview<'a>,
}

#[derive(Serialize, JsonSchema)]
struct Repository<'a> {
    name: &'a str,
    namespace: &'a str,
    repo_full_name: &'a str,
    repo_type: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct ScanType {
    scan_type: &'static str,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct Details {
    details: String,
}

/// A report in the form of the one scanner interface that Harbor has.
#[derive(Serialize, JsonSchema)]
struct ScanOverview<'a> {
    #[serde(rename = "application/vnd.security.vulnerability.report; version=1.1")]
    report: Report<'a>,
}

#[derive(Serialize, JsonSchema)]
struct Report<'a> {
    report_id: &'a str,
    scan_status: &'static str,
    severity: &'static str,
    duration: u64,
    summary: Summary,
    start_time: String,
    end_time: String,
    complete_percent: u64,
}

#[derive(Serialize, JsonSchema)]
struct Summary {
    total: u64,
    fixable: u64,
    summary: BySeverity,
}

/// How many findings there are of each; without those of which there are none.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct BySeverity {
    #[serde(skip_serializing_if = "Option::is_none")]
    critical: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    medium: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<u64>,
}

/// What is known of a replication; what only Harbor's own jobs know is empty or 0, of the same type.
#[derive(Serialize, JsonSchema)]
struct Replication<'a, T> {
    harbor_hostname: &'a str,
    job_status: &'static str,
    description: &'static str,
    artifact_type: &'static str,
    authentication_type: &'static str,
    override_mode: bool,
    trigger_type: &'static str,
    policy_creator: &'a str,
    /// Seconds since 1970.
    execution_timestamp: i64,
    execution_id: u64,
    task_id: u64,
    src_resource: Side<'a>,
    dest_resource: Side<'a>,
    #[serde(flatten)]
    artifacts: T,
}

/// Where a replication comes from, or goes to.
#[derive(Serialize, JsonSchema)]
struct Side<'a> {
    registry_name: &'static str,
    registry_type: &'static str,
    endpoint: &'a str,
    provider: &'static str,
    namespace: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct Succeeded {
    successful_artifact: [Done; 1],
}

#[derive(Serialize, JsonSchema)]
struct Failed<'a> {
    failed_artifact: [NotDone<'a>; 1],
}

#[derive(Serialize, JsonSchema)]
struct Done {
    r#type: &'static str,
    status: &'static str,
    name_tag: String,
}

#[derive(Serialize, JsonSchema)]
struct NotDone<'a> {
    #[serde(flatten)]
    artifact: Done,
    fail_reason: &'a str,
}

/// The schema of a payload of that kind, in `format`.
pub(crate) fn schema(kind: Kind, format: Format, generator: &mut SchemaGenerator) -> Schema {
    match kind {
        Kind::QuotaWarning | Kind::QuotaError => enveloped::<Quota<'_>>(format, generator),
        Kind::ScanCompleted | Kind::ScanFailed => enveloped::<Scan<'_>>(format, generator),
        Kind::RepoMirrorSyncFailed => enveloped::<Replicated<'_, Failed<'_>>>(format, generator),
        Kind::PushMirroring | Kind::PollMirroring | Kind::RepoMirrorSyncSuccess => {
            enveloped::<Replicated<'_, Succeeded>>(format, generator)
        }
        _ => enveloped::<Artifact<'_>>(format, generator),
    }
}

fn enveloped<T: JsonSchema>(format: Format, generator: &mut SchemaGenerator) -> Schema {
    match format {
        Format::HarborCloudEvents => generator.subschema_for::<CloudEvent<'_, T>>(),
        _ => generator.subschema_for::<Notice<'_, T>>(),
    }
}

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let (name, _) = event_words(event);
    Ok(json!(Notice {
        r#type: name,
        occur_at: event.time.as_second(),
        operator: actor(event),
        event_data: event_data(event, Format::Harbor, context)?,
    }))
}

pub(super) fn cloud_event(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let (_, name) = event_words(event);
    let project = event.subject.namespace().unwrap_or_default();
    Ok(json!(CloudEvent {
        specversion: "1.0",
        id: context.delivery,
        source: format!("/projects/{project}/webhook/policies/{}", context.notification),
        r#type: name,
        datacontenttype: "application/json",
        time: event.time,
        requestid: context.delivery,
        operator: actor(event),
        data: event_data(event, Format::HarborCloudEvents, context)?,
    }))
}

fn event_data(event: &Event, format: Format, context: &Context<'_>) -> Result<Value, Inexpressible> {
    if let Subject::Namespace(project) = &event.subject {
        return Ok(json!(quota(event, project)));
    }
    let facts = Facts::of(event, format)?;
    let repository = repository(&facts);
    Ok(match event.kind {
        Kind::RepoMirrorSyncFailed => {
            let fail_reason = text(&event.data, "message").unwrap_or_default();
            let failed = |artifact| Failed { failed_artifact: [NotDone { artifact, fail_reason }] };
            json!(Replicated { replication: replication(&facts, context, "Error", failed) })
        }
        Kind::PushMirroring | Kind::PollMirroring | Kind::RepoMirrorSyncSuccess => {
            let succeeded = |artifact| Succeeded { successful_artifact: [artifact] };
            json!(Replicated { replication: replication(&facts, context, "Success", succeeded) })
        }
        Kind::ScanCompleted | Kind::ScanFailed => {
            let resource = resource(&facts, context)?;
            let resources = [ScannedResource { resource, scan_overview: scan_overview(event) }];
            json!(Scan { resources, repository, scan: ScanType { scan_type: "vulnerability" } })
        }
        _ => json!(Artifact { resources: [resource(&facts, context)?], repository }),
    })
}

/// Harbor names an artifact by its tag or, without one, puts the digest there.
fn resource<'a>(facts: &Facts<'a>, context: &Context<'_>) -> Result<Resource<'a>, Inexpressible> {
    Ok(Resource {
        digest: facts.digest.unwrap_or_default(),
        tag: facts.need_reference()?,
        resource_url: facts.image(context.registry),
    })
}

fn repository<'a>(facts: &Facts<'a>) -> Repository<'a> {
    let name = facts.repository;
    Repository {
        name: name.short_name(),
        namespace: name.namespace(),
        repo_full_name: name.as_str(),
        repo_type: "private",
    }
}

fn quota<'a>(event: &Event, project: &'a str) -> Quota<'a> {
    let data = &event.data;
    let said = |member: &str| text(data, member).unwrap_or("?").to_owned();
    let details = text(data, "details").map_or_else(
        || {
            let percent = data.get("usage_percent").map_or("?".to_owned(), Value::to_string);
            let (used, limit) = (said("usage_bytes_formatted"), said("limit_bytes_formatted"));
            format!("quota usage reach {percent}%: resource storage used {used} of {limit}")
        },
        str::to_owned,
    );
    Quota {
        repository: Repository {
            name: "",
            namespace: project,
            repo_full_name: project,
            repo_type: "private",
        },
        custom_attributes: Details { details },
    }
}

fn scan_overview(event: &Event) -> ScanOverview<'_> {
    let summary = event.data.get("scanSummary");
    let (critical, medium, low) =
        (integer(summary, "critical"), integer(summary, "major"), integer(summary, "minor"));
    let severity = match (critical, medium, low) {
        (1.., _, _) => "Critical",
        (_, 1.., _) => "Medium",
        (_, _, 1..) => "Low",
        _ => "None",
    };
    let some = |count: u64| (count > 0).then_some(count);
    let ended = summary.and_then(|summary| summary.get("check_completed_at")).and_then(Value::as_str);
    let ended = ended.map_or_else(|| event.time.to_string(), str::to_owned);
    let report = Report {
        report_id: &event.id,
        scan_status: match event.kind {
            Kind::ScanCompleted => "Success",
            _ if is_true(event, "stopped") => "Stopped",
            _ => "Error",
        },
        severity,
        duration: 0,
        summary: Summary {
            total: critical.saturating_add(medium).saturating_add(low),
            fixable: 0,
            summary: BySeverity { critical: some(critical), medium: some(medium), low: some(low) },
        },
        start_time: ended.clone(),
        end_time: ended,
        complete_percent: 100,
    };
    ScanOverview { report }
}

fn replication<'a, T>(
    facts: &Facts<'a>,
    context: &Context<'a>,
    status: &'static str,
    artifacts: impl FnOnce(Done) -> T,
) -> Replication<'a, T> {
    let mirroring = facts.event.data.get("mirroring").and_then(Value::as_object);
    let remote = |member: &str| mirroring.and_then(|mirroring| text(mirroring, member)).unwrap_or_default();
    let (namespace, name) = remote("remoteRepository").rsplit_once('/').unwrap_or(("", ""));
    let side = |(registry_name, endpoint): (&'static str, &'a str), namespace: &'a str| Side {
        registry_name,
        registry_type: "docker-registry",
        endpoint,
        provider: "",
        namespace,
    };
    let is_push = facts.event.kind == Kind::PushMirroring || is_true(facts.event, "outbound");
    let (own, other) = (("Local", context.registry.base()), ("", ""));
    let (source, destination) = if is_push { (own, other) } else { (other, own) };
    // As Harbor has it: the local namespace stands on the destination, even of a push.
    let src_resource = side(source, namespace);
    let dest_resource = side(destination, facts.repository.namespace());
    let (name, tag) = match (is_push, name.is_empty()) {
        (false, false) => (name, text_or(remote("remoteTag"), facts.tag)),
        _ => (facts.repository.short_name(), facts.tag.unwrap_or_default()),
    };
    let name_tag = if tag.is_empty() { name.to_owned() } else { format!("{name}:{tag}") };
    Replication {
        harbor_hostname: context.registry.host(),
        job_status: status,
        description: "",
        artifact_type: "image",
        authentication_type: "basic",
        override_mode: true,
        trigger_type: "event_based",
        policy_creator: facts.actor,
        execution_timestamp: facts.event.time.as_second(),
        execution_id: 0,
        task_id: 0,
        src_resource,
        dest_resource,
        artifacts: artifacts(Done { r#type: "image", status, name_tag }),
    }
}

fn text_or<'a>(text: &'a str, other: Option<&'a str>) -> &'a str {
    if text.is_empty() { other.unwrap_or_default() } else { text }
}
