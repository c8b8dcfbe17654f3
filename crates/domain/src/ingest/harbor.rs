//! Harbor's notices, in its `Default` format and as `CloudEvents`.
//!
//! | Harbor's type | Becomes |
//! |---|---|
//! | `PUSH_ARTIFACT` | `repo_push`; `manifest_push` where the tag is the digest |
//! | `PULL_ARTIFACT` | `tag_pull` or `manifest_pull`, likewise |
//! | `DELETE_ARTIFACT` | `manifest_delete`: Harbor tells of no tag that is deleted alone |
//! | `SCANNING_COMPLETED`, `_FAILED`, `_STOPPED` | `scan_completed`, or `scan_failed`, with `stopped` where it was |
//! | `QUOTA_WARNING`, `QUOTA_EXCEED` | `quota_warning`, `quota_error` of the project |
//! | `REPLICATION` | `push_mirroring`, `poll_mirroring`; `repo_mirror_sync_failed` where it failed |
//! | `UPLOAD_CHART`, `DOWNLOAD_CHART`, `DELETE_CHART` | `chart_push`, `chart_pull`, `chart_delete` |
//! | the same of an SBOM; `SCANNING_COMPLETED` without a report | nothing: they say of no vulnerability that it is there or not |
//! | `TAG_RETENTION` | nothing: what it deleted is told of by itself |
//!
//! The names of Harbor 1 (`pushImage` and so on) are known too. The `Default` format has no id: the
//! same bytes are the same event, since Harbor's retries send them again.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Dropped, Item,
    notice::{
        Found, Meaning, NoticeError, Origin, count, id_of, is_digest, items, json, known, lenient, needed,
        repeated, repository, text, time, within,
    },
};
use crate::{Kind, RepositoryName};

/// The registry, as errors name it.
const NAME: &str = "Harbor";

/// Reads one notice.
///
/// `registry` is the operator's name for the sender: the events' source. `now` stands in for a time
/// that is absent or can't be read.
///
/// # Errors
///
/// When it is no JSON object with a `type`, or when it names more than `most` artifacts.
pub fn classify(body: &[u8], registry: &str, most: usize, now: Timestamp) -> Result<Vec<Item>, NoticeError> {
    let notice = json(NAME, body)?;
    let Some(name) = lenient(Some(&notice), "type") else {
        return Err(NoticeError::Foreign { registry: NAME, why: "no object with a `type`".to_owned() });
    };
    let is_cloud_event = notice.get("specversion").is_some();
    let (data, at) = if is_cloud_event { ("data", "time") } else { ("event_data", "occur_at") };
    let data = notice.get(data).unwrap_or(&Value::Null);
    within(most, told(data), NAME)?;
    let id = repeated(Some(&notice), "id").filter(|_| is_cloud_event).map(str::to_owned);
    let own = repeated(Some(&notice), "source").filter(|_| is_cloud_event);
    let origin = Origin {
        member: "harbor",
        notice: &notice,
        id: id.unwrap_or_else(|| id_of(body)),
        source: Some(registry).filter(|name| !name.is_empty()).or(own).unwrap_or("harbor"),
        time: time(notice.get(at)).unwrap_or(now),
    };
    let operator = repeated(Some(&notice), "operator");
    Ok(items(&origin, meaning(name, data, operator, origin.time), now))
}

/// How many artifacts `event_data` names: each may become an event.
fn told(data: &Value) -> usize {
    let of = |lists: Option<&Value>, name: &str| {
        lists.and_then(|lists| lists.get(name)?.as_array()).map_or(0, Vec::len)
    };
    let replication = data.get("replication");
    of(Some(data), "resources") + of(replication, "successful_artifact") + of(replication, "failed_artifact")
}

fn meaning(name: &str, data: &Value, operator: Option<&str>, at: Timestamp) -> Result<Meaning, String> {
    let actor = operator.map(|name| json!({ "name": name }));
    match name {
        "PUSH_ARTIFACT" | "harbor.artifact.pushed" | "pushImage" => {
            artifacts(data, actor.as_ref(), Kind::RepoPush, Kind::ManifestPush)
        }
        "PULL_ARTIFACT" | "harbor.artifact.pulled" | "pullImage" => {
            artifacts(data, actor.as_ref(), Kind::TagPull, Kind::ManifestPull)
        }
        "DELETE_ARTIFACT" | "harbor.artifact.deleted" | "deleteImage" => {
            artifacts(data, actor.as_ref(), Kind::ManifestDelete, Kind::ManifestDelete)
        }
        "SCANNING_COMPLETED" | "harbor.scan.completed" | "scanningCompleted" => {
            scans(data, Scan::Completed, at)
        }
        "SCANNING_FAILED" | "harbor.scan.failed" | "scanningFailed" => scans(data, Scan::Failed, at),
        "SCANNING_STOPPED" | "harbor.scan.stopped" => scans(data, Scan::Stopped, at),
        "QUOTA_WARNING" | "harbor.quota.warned" => quota(data, Kind::QuotaWarning),
        "QUOTA_EXCEED" | "harbor.quota.exceeded" => quota(data, Kind::QuotaError),
        "REPLICATION" | "harbor.replication.status.changed" => replication(data),
        "UPLOAD_CHART" | "uploadChart" => charts(data, actor.as_ref(), Kind::ChartPush),
        "DOWNLOAD_CHART" | "downloadChart" => charts(data, actor.as_ref(), Kind::ChartPull),
        "DELETE_CHART" | "deleteChart" => charts(data, actor.as_ref(), Kind::ChartDelete),
        "TAG_RETENTION" | "harbor.tag_retention.finished" => Ok(Meaning::Nothing(Dropped::NoKind)),
        other => {
            let shown: String = other.chars().take(40).collect();
            Err(format!("`type` is {shown:?}, which is none of Harbor's"))
        }
    }
}

/// The repository of `event_data`.
fn subject(data: &Value) -> Result<RepositoryName, String> {
    let of = data.get("repository").ok_or("`event_data.repository` is missing")?;
    if let Some(whole) = text(of, "repo_full_name")? {
        return repository(whole);
    }
    repository(&format!("{}/{}", needed(of, "namespace")?, needed(of, "name")?))
}

/// The artifacts of `event_data`; at least one.
fn resources(data: &Value) -> Result<&[Value], String> {
    match data.get("resources").and_then(Value::as_array) {
        Some(resources) if !resources.is_empty() => Ok(resources),
        _ => Err("`event_data.resources` is missing".to_owned()),
    }
}

/// An artifact's tag and digest. Harbor puts the digest into `tag` where there is no tag.
fn named(resource: &Value) -> Result<(Option<&str>, Option<&str>), String> {
    let (tag, digest) = (text(resource, "tag")?, text(resource, "digest")?);
    let digest = digest.or_else(|| tag.filter(|tag| is_digest(tag)));
    Ok((tag.filter(|tag| !is_digest(tag)), digest))
}

fn artifacts(data: &Value, actor: Option<&Value>, tagged: Kind, untagged: Kind) -> Result<Meaning, String> {
    let repository = subject(data)?;
    let found = resources(data)?.iter().map(|resource| {
        let (tag, digest) = named(resource)?;
        if tag.is_none() && digest.is_none() {
            return Err("`event_data.resources` names neither a tag nor a digest".to_owned());
        }
        let kind = if tag.is_some() { tagged } else { untagged };
        let mut of = known(json!({ "digest": digest, "actor": actor }));
        match (kind, tag) {
            (Kind::RepoPush, _) => of["updated_tags"] = json!([tag]),
            (_, Some(tag)) => of["tag"] = tag.into(),
            _ => {}
        }
        if kind == Kind::ManifestDelete {
            of["certain"] = true.into();
        }
        Ok(Found::new(kind, &repository, of).by(resource))
    });
    found.collect::<Result<_, _>>().map(Meaning::Events)
}

fn charts(data: &Value, actor: Option<&Value>, kind: Kind) -> Result<Meaning, String> {
    let repository = subject(data)?;
    let found = resources(data)?.iter().map(|resource| {
        let chart = json!({
            "chart": repository.short_name(), "version": text(resource, "tag")?,
            "digest": text(resource, "digest")?, "actor": actor,
        });
        Ok(Found::new(kind, &repository, chart).by(resource))
    });
    found.collect::<Result<_, String>>().map(Meaning::Events)
}

/// How a scan ended.
#[derive(Clone, Copy)]
enum Scan {
    Completed,
    Failed,
    Stopped,
}

/// A scan for vulnerabilities: no other has a kind, nor has one that completed with no report to tell of.
fn scans(data: &Value, ended: Scan, at: Timestamp) -> Result<Meaning, String> {
    if lenient(data.get("scan"), "scan_type").is_some_and(|scanned_for| scanned_for != "vulnerability") {
        return Ok(Meaning::Nothing(Dropped::NoKind));
    }
    let repository = subject(data)?;
    let found = resources(data)?.iter().map(|resource| {
        let (tag, digest) = named(resource)?;
        let mut of = known(json!({ "tag": tag, "digest": digest }));
        let kind = match ended {
            Scan::Completed => {
                let Some(summary) = summary(resource, tag, at) else { return Ok(None) };
                of["scanSummary"] = summary;
                Kind::ScanCompleted
            }
            Scan::Failed => {
                of["error"] = "the scan failed".into();
                Kind::ScanFailed
            }
            Scan::Stopped => {
                of["error"] = "the scan was stopped".into();
                of["stopped"] = true.into();
                Kind::ScanFailed
            }
        };
        Ok(Some(Found::new(kind, &repository, of).by(resource)))
    });
    let found: Vec<_> = found.filter_map(Result::transpose).collect::<Result<_, String>>()?;
    Ok(if found.is_empty() { Meaning::Nothing(Dropped::NoKind) } else { Meaning::Events(found) })
}

/// What every report of the artifact found together: Harbor's severities in DTR's three classes.
/// `None` without a report, as Harbor ends some scans: that nothing was found is not what it says.
fn summary(resource: &Value, tag: Option<&str>, at: Timestamp) -> Option<Value> {
    let overview = resource.get("scan_overview")?.as_object()?;
    let has_findings = |report: &&Value| report.get("summary").is_some_and(Value::is_object);
    let reports: Vec<&Value> = overview.values().filter(has_findings).collect();
    if reports.is_empty() {
        return None;
    }
    let of = |words: &[&str]| -> u64 {
        let counts = reports.iter().filter_map(|report| report.get("summary")?.get("summary")?.as_object());
        let found = counts.flat_map(|counts| words.iter().filter_map(|word| count(counts.get(*word))));
        found.fold(0, u64::saturating_add)
    };
    let ended = reports.iter().find_map(|report| time(report.get("end_time"))).unwrap_or(at);
    Some(known(json!({
        "tag": tag,
        "critical": of(&["Critical", "High"]),
        "major": of(&["Medium"]),
        "minor": of(&["Low", "Negligible"]),
        "last_scan_status": 6,
        "check_completed_at": ended.to_string(),
        "should_rescan": false,
        "has_foreign_layers": false,
    })))
}

/// A project's quota. Its figures stand in a sentence, of which the percentage is read: of a warning, the
/// threshold that was reached.
fn quota(data: &Value, kind: Kind) -> Result<Meaning, String> {
    let of = data.get("repository").ok_or("`event_data.repository` is missing")?;
    let project = match text(of, "namespace")? {
        Some(namespace) => namespace,
        None => needed(of, "repo_full_name")?.split('/').next().unwrap_or_default(),
    };
    let details = lenient(data.get("custom_attributes"), "Details");
    let percent = details.and_then(percentage);
    let threshold = percent.filter(|_| kind == Kind::QuotaWarning);
    let told = json!({ "threshold_percent": threshold, "usage_percent": percent, "details": details });
    Ok(Meaning::Events(vec![Found::of_namespace(kind, &project.to_ascii_lowercase(), told)?]))
}

/// The number before the first `%`.
fn percentage(sentence: &str) -> Option<u64> {
    let before = sentence.split_once('%')?.0;
    let digits = before.bytes().rev().take_while(u8::is_ascii_digit).count();
    before[before.len() - digits..].parse().ok()
}

/// One that ended: an event for each artifact, in the repository of ours that it left or came to.
///
/// Whichever way it went, Harbor puts the local namespace on `dest_resource` and the remote one on
/// `src_resource`: on a push each stands beside the other's endpoint.
fn replication(data: &Value) -> Result<Meaning, String> {
    let told = data.get("replication").ok_or("`event_data.replication` is missing")?;
    let (source, destination) = (side(told, "src_resource"), side(told, "dest_resource"));
    let kind = if is_poll(source, destination, lenient(Some(told), "harbor_hostname").unwrap_or_default()) {
        Kind::PollMirroring
    } else {
        Kind::PushMirroring
    };
    let artifacts = |list: &str| told.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let of_artifact = |artifact: &Value| {
        let (name, tag) = name_tag(artifact)?;
        let local = repository(&joined(lenient(destination, "namespace"), name))?;
        let remote = joined(repeated(source, "namespace"), name);
        let mirroring = known(json!({ "remoteRepository": remote, "remoteTag": tag }));
        Ok::<_, String>((local, json!({ "tag": tag, "mirroring": mirroring })))
    };
    let mut found = Vec::new();
    for artifact in artifacts("successful_artifact") {
        let (local, of) = of_artifact(artifact)?;
        found.push(Found::new(kind, &local, of).by(artifact));
    }
    for artifact in artifacts("failed_artifact") {
        let (local, mut of) = of_artifact(artifact)?;
        of["message"] = lenient(Some(artifact), "fail_reason").unwrap_or("replication failed").into();
        of["outbound"] = (kind == Kind::PushMirroring).into();
        found.push(Found::new(Kind::RepoMirrorSyncFailed, &local, of).by(artifact));
    }
    // One that has only begun names no artifact.
    Ok(if found.is_empty() { Meaning::Nothing(Dropped::NoKind) } else { Meaning::Events(found) })
}

fn side<'a>(told: &'a Value, name: &str) -> Option<&'a Value> {
    told.get(name).filter(|side| side.is_object())
}

/// Whether it came here: its destination is local by its endpoint or, where that tells nothing of the
/// two, by having no name, which Harbor gives to remote registries alone.
fn is_poll(source: Option<&Value>, destination: Option<&Value>, host: &str) -> bool {
    match (is_local(source, host), is_local(destination, host)) {
        (from_here, to_here) if from_here != to_here => to_here,
        _ => {
            let is_named = |side| lenient(side, "registry_name").is_some();
            is_named(source) && !is_named(destination)
        }
    }
}

fn is_local(side: Option<&Value>, host: &str) -> bool {
    let endpoint = lenient(side, "endpoint").unwrap_or_default();
    let host = without_port(host);
    lenient(side, "registry_name") == Some("Local") || (!host.is_empty() && without_port(endpoint) == host)
}

/// The host of `https://harbor.example.net:8443/`: Harbor tells its own name without the port.
fn without_port(endpoint: &str) -> &str {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = authority.split_once('/').map_or(authority, |(authority, _)| authority);
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// The name and, where it stands there, the tag of `app:1.4.2`, `app:[1.4.2]` or `app [2 item(s) in total]`.
fn name_tag(artifact: &Value) -> Result<(&str, Option<&str>), String> {
    let whole = needed(artifact, "name_tag")?;
    let end = whole.find([':', ' ', '[', '@']).unwrap_or(whole.len());
    let (name, rest) = whole.split_at(end);
    let tag = rest
        .strip_prefix(':')
        .map(|tag| tag.trim_matches(['[', ']']))
        .filter(|tag| !tag.is_empty() && !tag.contains([',', ' ']));
    Ok((name, tag))
}

/// A name in a namespace, unless it stands in one already.
fn joined(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if !name.starts_with(&format!("{namespace}/")) => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replicated_artifacts_name_and_tag_are_found_in_every_spelling() {
        for (whole, expected) in [
            ("app:1.4.2", ("app", Some("1.4.2"))),
            ("app:[1.4.2]", ("app", Some("1.4.2"))),
            ("team/app:v1", ("team/app", Some("v1"))),
            ("app:[a,b]", ("app", None)),
            ("app [2 item(s) in total]", ("app", None)),
            ("app@sha256:6f", ("app", None)),
            ("app", ("app", None)),
        ] {
            assert_eq!(name_tag(&json!({ "name_tag": whole })), Ok(expected), "{whole}");
        }
    }

    #[test]
    fn a_quotas_percentage_is_read_out_of_its_sentence() {
        assert_eq!(percentage("quota usage reach 85%: resource storage used 8.5 GiB of 10 GiB"), Some(85));
        assert_eq!(percentage("will exceed the configured upper limit of 1 GiB"), None);
        assert_eq!(percentage("%"), None);
    }
}
