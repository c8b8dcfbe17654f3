//! Harbor's payloads, as its version 2 sends them: `Default`, and the same data as a `CloudEvents` event.
//!
//! Harbor has no word for a tag that is deleted, nor for a repository's life; nor for a replication that begins.

use serde_json::{Map, Value, json};

use super::{
    Context, Format, Inexpressible,
    facts::{Facts, actor, integer, text},
};
use crate::{Event, Kind, Subject};

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

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let (name, _) = event_words(event);
    Ok(json!({
        "type": name,
        "occur_at": event.time.as_second(),
        "operator": actor(event),
        "event_data": event_data(event, Format::Harbor, context)?,
    }))
}

pub(super) fn cloud_event(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let (_, name) = event_words(event);
    let project = event.subject.namespace().unwrap_or_default();
    Ok(json!({
        "specversion": "1.0",
        "id": context.delivery,
        "source": format!("/projects/{project}/webhook/policies/{}", context.notification),
        "type": name,
        "datacontenttype": "application/json",
        "time": event.time.to_string(),
        "requestid": context.delivery,
        "operator": actor(event),
        "data": event_data(event, Format::HarborCloudEvents, context)?,
    }))
}

fn event_data(event: &Event, format: Format, context: &Context<'_>) -> Result<Value, Inexpressible> {
    if let Subject::Namespace(project) = &event.subject {
        return Ok(quota(event, project));
    }
    let facts = Facts::of(event, format)?;
    Ok(match event.kind {
        Kind::PushMirroring
        | Kind::PollMirroring
        | Kind::RepoMirrorSyncSuccess
        | Kind::RepoMirrorSyncFailed => json!({ "replication": replication(&facts, context) }),
        Kind::ScanCompleted | Kind::ScanFailed => {
            let mut resource = resource(&facts, context)?;
            resource["scan_overview"] = scan_overview(event);
            json!({
                "resources": [resource],
                "repository": repository(&facts),
                "scan": {"scan_type": "vulnerability"},
            })
        }
        _ => json!({ "resources": [resource(&facts, context)?], "repository": repository(&facts) }),
    })
}

/// Harbor names an artifact by its tag or, without one, puts the digest there.
fn resource(facts: &Facts<'_>, context: &Context<'_>) -> Result<Value, Inexpressible> {
    Ok(json!({
        "digest": facts.digest.unwrap_or_default(),
        "tag": facts.need_reference()?,
        "resource_url": facts.image(context.registry),
    }))
}

fn repository(facts: &Facts<'_>) -> Value {
    let name = facts.repository;
    json!({
        "name": name.short_name(),
        "namespace": name.namespace(),
        "repo_full_name": name,
        "repo_type": "private",
    })
}

fn quota(event: &Event, project: &str) -> Value {
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
    json!({
        "repository": {"name": "", "namespace": project, "repo_full_name": project, "repo_type": "private"},
        "custom_attributes": {"Details": details},
    })
}

/// A report in the form of the one scanner interface that Harbor has.
fn scan_overview(event: &Event) -> Value {
    let summary = event.data.get("scanSummary");
    let (critical, medium, low) =
        (integer(summary, "critical"), integer(summary, "major"), integer(summary, "minor"));
    let severity = match (critical, medium, low) {
        (1.., _, _) => "Critical",
        (_, 1.., _) => "Medium",
        (_, _, 1..) => "Low",
        _ => "None",
    };
    let mut by_severity = Map::new();
    for (word, count) in [("Critical", critical), ("Medium", medium), ("Low", low)] {
        if count > 0 {
            by_severity.insert(word.to_owned(), count.into());
        }
    }
    let ended = summary.and_then(|summary| summary.get("check_completed_at")).and_then(Value::as_str);
    let ended = ended.map_or_else(|| event.time.to_string(), str::to_owned);
    let status = match event.kind {
        Kind::ScanCompleted => "Success",
        _ if is_true(event, "stopped") => "Stopped",
        _ => "Error",
    };
    json!({"application/vnd.security.vulnerability.report; version=1.1": {
        "report_id": event.id,
        "scan_status": status,
        "severity": severity,
        "duration": 0,
        "summary": {"total": critical + medium + low, "fixable": 0, "summary": by_severity},
        "start_time": ended,
        "end_time": ended,
        "complete_percent": 100,
    }})
}

/// What is known of a replication; what only Harbor's own jobs know is empty or 0, of the same type.
fn replication(facts: &Facts<'_>, context: &Context<'_>) -> Value {
    let mirroring = facts.event.data.get("mirroring").and_then(Value::as_object);
    let remote = |member: &str| mirroring.and_then(|mirroring| text(mirroring, member)).unwrap_or_default();
    let (namespace, name) = remote("remoteRepository").rsplit_once('/').unwrap_or(("", ""));
    let side = |registry: &str, endpoint: &str, namespace: &str| {
        json!({
            "registry_name": registry, "registry_type": "docker-registry", "endpoint": endpoint,
            "provider": "", "namespace": namespace,
        })
    };
    let own = side("Local", context.registry.base(), facts.repository.namespace());
    let other = side("", "", namespace);
    let is_push = facts.event.kind == Kind::PushMirroring || is_true(facts.event, "outbound");
    let (source, destination) = if is_push { (own, other) } else { (other, own) };
    let (name, tag) = match (is_push, name.is_empty()) {
        (false, false) => (name, text_or(remote("remoteTag"), facts.tag)),
        _ => (facts.repository.short_name(), facts.tag.unwrap_or_default()),
    };
    let name_tag = if tag.is_empty() { name.to_owned() } else { format!("{name}:{tag}") };
    let has_failed = facts.event.kind == Kind::RepoMirrorSyncFailed;
    let status = if has_failed { "Error" } else { "Success" };
    let mut replication = json!({
        "harbor_hostname": context.registry.host(),
        "job_status": status,
        "description": "",
        "artifact_type": "image",
        "authentication_type": "basic",
        "override_mode": true,
        "trigger_type": "event_based",
        "policy_creator": facts.actor,
        "execution_timestamp": facts.event.time.as_second(),
        "execution_id": 0,
        "task_id": 0,
        "src_resource": source,
        "dest_resource": destination,
    });
    let mut artifact = json!({"type": "image", "status": status, "name_tag": name_tag});
    if has_failed {
        artifact["fail_reason"] = text(&facts.event.data, "message").unwrap_or_default().into();
    }
    let list = if has_failed { "failed_artifact" } else { "successful_artifact" };
    replication[list] = json!([artifact]);
    replication
}

fn text_or<'a>(text: &'a str, other: Option<&'a str>) -> &'a str {
    if text.is_empty() { other.unwrap_or_default() } else { text }
}
