//! The data of test events: Quay's samples for Quay's kinds, the constants of DTR's test call for
//! DTR's.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{Kind, python, severity::Severity};

/// DTR's sample image.
const DIGEST: &str = "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";

/// DTR's sample time.
const TIME: &str = "2015-01-02T15:04:05Z";

/// The data of a test event of `kind`, for a notification with this `event_config`.
///
/// A commit's date is `now`, as in Quay's.
pub fn sample(kind: Kind, event_config: &Map<String, Value>, now: Timestamp) -> Map<String, Value> {
    let data = match kind {
        Kind::RepoPush => json!({"updated_tags": ["latest", "foo"], "pruned_image_count": 3}),
        Kind::BuildQueued
        | Kind::BuildStart
        | Kind::BuildSuccess
        | Kind::BuildFailure
        | Kind::BuildCancelled => build(kind, now),
        Kind::VulnerabilityFound => json!({
            "tags": ["latest", "prod", "foo", "bar", "baz"],
            "image": "some-image-id",
            "vulnerability": {
                "id": "CVE-FAKE-CVE",
                "description": "A futurist vulnerability",
                "link": "https://security-tracker.debian.org/tracker/CVE-FAKE-CVE",
                "priority": priority(event_config),
            },
        }),
        Kind::RepoMirrorSyncStarted | Kind::RepoMirrorSyncSuccess | Kind::RepoMirrorSyncFailed => {
            json!({"message": "TEST NOTIFICATION"})
        }
        Kind::RepoImageExpiry => {
            let days = python::str(event_config.get("days").unwrap_or(&Value::Null));
            json!({"tags": ["latest", "v1"], "expiring_in": format!("{days} days")})
        }
        Kind::QuotaWarning => quota(80, 858_993_459, 80, "819.20 MB"),
        Kind::QuotaError => quota(100, 1_127_428_915, 105, "1.05 GB"),
        Kind::ManifestPush => image("pushedAt"),
        Kind::TagPull | Kind::ManifestPull => image("pulledAt"),
        Kind::TagDelete | Kind::ManifestDelete => image("deletedAt"),
        Kind::Promotion => with(
            image("pushedAt"),
            "promotion",
            json!({
                "promotionPolicyID": "", "sourceRepository": "foo/bar", "sourceTag": "latest",
            }),
        ),
        Kind::PushMirroring | Kind::PollMirroring => with(
            image("pushedAt"),
            "mirroring",
            json!({
                "mirroringPolicyID": "", "digest": DIGEST, "remoteRepository": "foo/bar", "remoteTag": "latest",
            }),
        ),
        Kind::ScanCompleted => json!({"tag": "latest", "scanSummary": {
            "tag": "latest", "critical": 5, "major": 3, "minor": 0, "last_scan_status": 6,
            "check_completed_at": TIME, "should_rescan": false, "has_foreign_layers": false,
        }}),
        Kind::ScanFailed => json!({"tag": "latest", "error": "This is a fake error message"}),
        Kind::RepoCreated => repository("REPO_CREATED"),
        Kind::RepoUpdated => repository("REPO_UPDATED"),
        Kind::RepoDeleted => json!({"event": "REPO_DELETED", "author": ""}),
        Kind::ScannerUpdateCompleted => json!({
            "scanner_version": "", "scanner_updated_at": TIME, "db_version": 1, "db_updated_at": TIME,
            "success": true, "replicas": {},
        }),
        Kind::ChartPush => chart("pushedAt"),
        Kind::ChartPull => chart("pulledAt"),
        Kind::ChartDelete => chart("deletedAt"),
        Kind::ChartLinted => chart("lintedAt"),
    };
    match data {
        Value::Object(data) => data,
        _ => Map::new(),
    }
}

/// The word for the `level` that the notification asks for; without one, as in Quay, `Unknown`.
fn priority(event_config: &Map<String, Value>) -> &'static str {
    let level = match event_config.get("level") {
        Some(Value::Number(level)) => level.as_u64(),
        Some(Value::String(level)) => level.trim().parse().ok(),
        _ => None,
    };
    level.and_then(Severity::at).unwrap_or(Severity::Unknown).word()
}

fn build(kind: Kind, now: Timestamp) -> Value {
    let mut metadata = json!({
        "default_branch": "master",
        "ref": "refs/heads/somebranch",
        "commit": "42d4a62c53350993ea41069e9f2cfdefb0df097d",
    });
    if matches!(kind, Kind::BuildQueued | Kind::BuildFailure) {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit 52 bits for ages")]
        let date = now.as_second() as f64;
        metadata = with(
            metadata,
            "commit_info",
            json!({
                "url": "http://path/to/the/commit",
                "message": "Some commit message",
                "date": date,
                "author": {
                    "username": "fakeauthor",
                    "url": "http://path/to/fake/author/in/scm",
                    "avatar_url": "http://www.gravatar.com/avatar/fakehash",
                },
            }),
        );
    }
    let build = json!({
        "build_id": "fake-build-id",
        "build_name": "some-fake-build",
        "docker_tags": ["latest", "foo", "bar"],
        "trigger_id": "1245634",
        "trigger_kind": "GitHub",
        "trigger_metadata": metadata,
    });
    match kind {
        Kind::BuildQueued => with(build, "is_manual", json!(false)),
        Kind::BuildSuccess | Kind::BuildCancelled => with(build, "image_id", json!("1245657346")),
        Kind::BuildFailure => with(build, "error_message", json!("This is a fake error message")),
        _ => build,
    }
}

fn quota(threshold: u64, usage: u64, percent: u64, formatted: &str) -> Value {
    json!({
        "threshold_percent": threshold,
        "usage_bytes": usage,
        "limit_bytes": 1_073_741_824,
        "usage_percent": percent,
        "usage_bytes_formatted": formatted,
        "limit_bytes_formatted": "1.00 GB",
    })
}

fn image(time: &str) -> Value {
    json!({
        "tag": "latest", "digest": DIGEST, "os": "linux", "architecture": "amd64", "author": "", time: TIME,
    })
}

fn repository(event: &str) -> Value {
    json!({"event": event, "author": "", "data": {
        "namespaceType": "organization", "shortDescription": "", "visibility": "public",
        "scanOnPush": false, "immutableTags": false, "enableManifestLists": false,
        "pulls": 0, "pushes": 0, "tagLimit": 0,
    }})
}

fn chart(time: &str) -> Value {
    json!({"chart": "bar", "version": "0.1.0", "author": "", time: TIME})
}

fn with(mut object: Value, name: &str, member: Value) -> Value {
    object[name] = member;
    object
}
