//! Amazon ECR's notices: events of `EventBridge`, sent by an API destination.
//!
//! | `detail-type` | Becomes |
//! |---|---|
//! | `ECR Image Action`, `PUSH` | `repo_push`, or `manifest_push` without a tag |
//! | `ECR Image Action`, `DELETE` | `tag_delete`, or `manifest_delete` without a tag |
//! | `ECR Image Scan` | `scan_completed`, `scan_failed` |
//! | `ECR Pull Through Cache Action` | `poll_mirroring`, `repo_mirror_sync_failed` |
//! | any other, or an action that failed | nothing |

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Dropped, Item,
    notice::{
        Found, Meaning, NoticeError, Origin, count, id_of, items, json, known, lenient, needed, repository,
        text, time,
    },
};
use crate::{Kind, RepositoryName};

/// The registry, as errors name it.
const NAME: &str = "Amazon ECR";

/// Reads one notice.
///
/// `registry` is the operator's name for the sender: the events' source. Without one it is the
/// registry's host, by the account and the region. `now` stands in for a time that is absent or
/// can't be read.
///
/// # Errors
///
/// When it is no JSON object with a `detail-type`.
pub fn classify(body: &[u8], registry: &str, now: Timestamp) -> Result<Vec<Item>, NoticeError> {
    let notice = json(NAME, body)?;
    let Some(kind) = lenient(Some(&notice), "detail-type") else {
        return Err(NoticeError::Foreign {
            registry: NAME,
            why: "no object with a `detail-type`".to_owned(),
        });
    };
    let host = host(&notice);
    let origin = Origin {
        member: "ecr",
        notice: &notice,
        id: lenient(Some(&notice), "id").map_or_else(|| id_of(body), str::to_owned),
        source: Some(registry).filter(|name| !name.is_empty()).or(host.as_deref()).unwrap_or("aws.ecr"),
        time: time(notice.get("time")).unwrap_or(now),
    };
    let read = meaning(kind, notice.get("detail").unwrap_or(&Value::Null), origin.time);
    Ok(items(&origin, read, now))
}

fn host(notice: &Value) -> Option<String> {
    let (account, region) = (lenient(Some(notice), "account")?, lenient(Some(notice), "region")?);
    Some(format!("{account}.dkr.ecr.{region}.amazonaws.com"))
}

fn meaning(kind: &str, detail: &Value, at: Timestamp) -> Result<Meaning, String> {
    match kind {
        "ECR Image Action" => image(detail),
        "ECR Image Scan" => scan(detail, at),
        "ECR Pull Through Cache Action" => pull_through(detail),
        _ => Ok(Meaning::Nothing(Dropped::NoKind)),
    }
}

fn subject(detail: &Value) -> Result<RepositoryName, String> {
    repository(needed(detail, "repository-name")?)
}

fn image(detail: &Value) -> Result<Meaning, String> {
    if lenient(Some(detail), "result").is_some_and(|result| result != "SUCCESS") {
        return Ok(Meaning::Nothing(Dropped::NoKind));
    }
    let (tag, digest) = (text(detail, "image-tag")?, text(detail, "image-digest")?);
    let mut data = known(json!({
        "digest": digest, "media_type": lenient(Some(detail), "manifest-media-type"),
        "size": count(detail.get("image-size-in-bytes")),
    }));
    let kind = match (needed(detail, "action-type")?, tag) {
        ("PUSH", Some(tag)) => {
            data["updated_tags"] = json!([tag]);
            Kind::RepoPush
        }
        ("PUSH", None) => Kind::ManifestPush,
        ("DELETE", Some(tag)) => {
            data["tag"] = tag.into();
            Kind::TagDelete
        }
        ("DELETE", None) => {
            data["certain"] = true.into();
            Kind::ManifestDelete
        }
        (other, _) => {
            let shown: String = other.chars().take(40).collect();
            return Err(format!("`action-type` is {shown:?}, but should be PUSH or DELETE"));
        }
    };
    if tag.is_none() && digest.is_none() {
        return Err("`image-digest` is missing".to_owned());
    }
    Ok(Meaning::Events(vec![Found::new(kind, &subject(detail)?, data)]))
}

fn scan(detail: &Value, at: Timestamp) -> Result<Meaning, String> {
    let tags = detail.get("image-tags").and_then(Value::as_array).into_iter().flatten();
    let tags: Vec<&str> = tags.filter_map(Value::as_str).filter(|tag| !tag.is_empty()).collect();
    let tag = tags.first().copied();
    let mut data = known(json!({ "tag": tag, "digest": text(detail, "image-digest")? }));
    if tags.len() > 1 {
        // A filter looks at each of them.
        data["tags"] = json!(tags);
    }
    let kind = match needed(detail, "scan-status")? {
        "COMPLETE" => {
            data["scanSummary"] = summary(detail.get("finding-severity-counts"), tag, at);
            Kind::ScanCompleted
        }
        "FAILED" => {
            data["error"] = "the scan failed".into();
            Kind::ScanFailed
        }
        // Of enhanced scanning: it goes on, or the image is no longer eligible.
        _ => return Ok(Meaning::Nothing(Dropped::NoKind)),
    };
    Ok(Meaning::Events(vec![Found::new(kind, &subject(detail)?, data)]))
}

/// Amazon's severities in DTR's three classes; it leaves out those without findings.
fn summary(counts: Option<&Value>, tag: Option<&str>, at: Timestamp) -> Value {
    let of = |name: &str| counts.and_then(|counts| count(counts.get(name))).unwrap_or(0);
    known(json!({
        "tag": tag,
        "critical": of("CRITICAL").saturating_add(of("HIGH")),
        "major": of("MEDIUM"),
        "minor": of("LOW").saturating_add(of("INFORMATIONAL")),
        "last_scan_status": 6,
        "check_completed_at": at.to_string(),
        "should_rescan": false,
        "has_foreign_layers": false,
    }))
}

fn pull_through(detail: &Value) -> Result<Meaning, String> {
    let subject = subject(detail)?;
    if lenient(Some(detail), "sync-status") == Some("SUCCESS") {
        let tag = text(detail, "image-tag")?;
        let mirroring = known(json!({
            "remoteRepository": lenient(Some(detail), "upstream-registry-url"), "remoteTag": tag,
        }));
        let data = json!({ "tag": tag, "digest": text(detail, "image-digest")?, "mirroring": mirroring });
        return Ok(Meaning::Events(vec![Found::new(Kind::PollMirroring, &subject, data)]));
    }
    let why = ["failure-reason", "failure-code"].iter().find_map(|name| lenient(Some(detail), name));
    let data = json!({ "message": why.unwrap_or("pull through failed") });
    Ok(Meaning::Events(vec![Found::new(Kind::RepoMirrorSyncFailed, &subject, data)]))
}
