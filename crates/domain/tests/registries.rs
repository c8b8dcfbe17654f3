//! What becomes of the notices of other registries, in every spelling that they have had, and that
//! any registry can feed any receiver.

mod strict;

use bellbuoy_domain::{
    Context, Event, Filter, Format, Grain, Kind, KindScope, MAX_EVENT_BYTES, Markup, Message, NotificationId,
    Registry, RepositoryName, Subject, event_schema,
    ingest::{Item, acr, distribution, docker_hub, ecr, ghcr, harbor, zot},
    quay, webhook_payload,
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

const DIGEST: &str = "sha256:6f664262917ccf81c43c83531a1585726b1276cbc84eb5187ef075d5cad3badb";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// What one request may tell of.
const MOST: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Distribution,
    Harbor,
    Zot(&'static str),
    Acr,
    DockerHub,
    Ecr,
    Ghcr,
}

fn items(from: From, notice: &Value) -> Vec<Item> {
    let (body, now) = (notice.to_string().into_bytes(), Timestamp::UNIX_EPOCH);
    let read = match from {
        From::Distribution => distribution::classify(&body, "registry.example.com", MOST, now),
        From::Harbor => harbor::classify(&body, "registry.example.com", MOST, now),
        From::Zot(name) => {
            let attributes = json!({
                "specversion": "1.0", "id": "z1", "source": "zotregistry.dev", "type": name,
                "time": "2026-03-01T09:20:11Z",
            });
            zot::classify(attributes.as_object().expect("an object"), &body, "registry.example.com", now)
        }
        From::Acr => acr::classify(&body, "registry.example.com", MOST, now),
        From::DockerHub => docker_hub::classify(&body, "registry.example.com", now),
        From::Ecr => ecr::classify(&body, "registry.example.com", now),
        From::Ghcr => {
            let headers = ghcr::Headers { event: Some("package"), delivery: Some("g1") };
            ghcr::classify(headers, &body, "registry.example.com", now)
        }
    };
    read.expect("a notice")
}

fn events(from: From, notice: &Value) -> Vec<Event> {
    let event = |item| match item {
        Item::Event { event, .. } => *event,
        other => panic!("{from:?} {notice} became {other:?}"),
    };
    items(from, notice).into_iter().map(event).collect()
}

/// In a word: kind, repository and tags of each event, or why there is none.
fn words(from: From, notice: &Value) -> String {
    let word = |item: &Item| match item {
        Item::Event { event, .. } => {
            let tag = event.data.get("tag").or_else(|| event.data.get("updated_tags")?.get(0));
            let subject = event.subject.name().unwrap_or_default();
            match tag.and_then(Value::as_str) {
                Some(tag) => format!("{} {subject}:{tag}", event.kind),
                None => format!("{} {subject}", event.kind),
            }
        }
        Item::Dropped(why) => format!("({})", why.name()),
        Item::Undecodable { why, .. } => format!("? {why}"),
    };
    items(from, notice).iter().map(word).collect::<Vec<_>>().join(", ")
}

fn harbor(name: &str, resources: &Value) -> Value {
    json!({
        "type": name, "occur_at": 1_772_356_811, "operator": "kim",
        "event_data": {"resources": resources, "repository": {
            "date_created": 1_770_000_000, "name": "app", "namespace": "acme", "repo_full_name": "acme/app",
            "repo_type": "private",
        }},
    })
}

fn harbor_image() -> Value {
    json!([{"digest": DIGEST, "tag": "1.4.2", "resource_url": "harbor.example.net/acme/app:1.4.2"}])
}

fn harbor_cloud_event(name: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": "h1", "source": "/projects/2/webhook/policies/15", "type": name,
        "datacontenttype": "application/json", "time": "2026-03-01T09:20:11Z", "requestid": "r",
        "operator": "kim", "data": data,
    })
}

fn harbor_quota(name: &str, details: &str) -> Value {
    json!({
        "type": name, "occur_at": 1_772_356_811, "operator": "kim",
        "event_data": {
            "repository": {"name": "app", "namespace": "acme", "repo_full_name": "acme/app", "repo_type": "private"},
            "custom_attributes": {"Details": details},
        },
    })
}

fn harbor_replication(source: &Value, destination: &Value, ended: &Value) -> Value {
    let mut replication = json!({
        "harbor_hostname": "harbor.example.net", "job_status": "Success", "artifact_type": "image",
        "src_resource": source, "dest_resource": destination,
    });
    for (name, value) in ended.as_object().expect("an object") {
        replication[name] = value.clone();
    }
    json!({
        "type": "REPLICATION", "occur_at": 1_772_356_811, "operator": "MANUAL",
        "event_data": {"replication": replication},
    })
}

fn azure(action: &str, target: &Value) -> Value {
    json!({
        "id": "a1", "timestamp": "2026-03-01T09:20:11.1234567Z", "action": action, "target": target,
        "request": {"id": "r", "host": "acme.azurecr.io", "method": "PUT", "useragent": "docker/28"},
    })
}

fn azure_image() -> Value {
    json!({"mediaType": OCI, "size": 439, "digest": DIGEST, "length": 439, "repository": "acme/app", "tag": "1.4.2"})
}

fn docker_hub() -> Value {
    json!({
        "callback_url": "https://registry.hub.docker.com/u/acme/app/hook/2141/",
        "push_data": {"images": [], "pushed_at": 1_772_356_811, "pusher": "kim", "tag": "1.4.2"},
        "repository": {
            "comment_count": 0, "date_created": 1_770_000_000, "description": "", "dockerfile": "",
            "full_description": "", "is_official": false, "is_private": true, "is_trusted": false,
            "name": "app", "namespace": "acme", "owner": "acme", "repo_name": "acme/app",
            "repo_url": "https://hub.docker.com/r/acme/app", "star_count": 0, "status": "Active",
        },
    })
}

fn amazon(kind: &str, detail: &Value) -> Value {
    json!({
        "version": "0", "id": "e1", "detail-type": kind, "source": "aws.ecr", "account": "123456789012",
        "time": "2026-03-01T09:20:11Z", "region": "eu-west-1", "resources": [], "detail": detail,
    })
}

fn amazon_image(action: &str, tag: &Value) -> Value {
    amazon(
        "ECR Image Action",
        &json!({
            "result": "SUCCESS", "repository-name": "acme/app", "image-digest": DIGEST, "action-type": action,
            "image-tag": tag, "manifest-media-type": OCI,
        }),
    )
}

fn github(action: &str, version: &Value) -> Value {
    json!({
        "action": action, "sender": {"login": "kim"}, "repository": {"full_name": "Acme/App"},
        "package": {
            "name": "App", "namespace": "Acme", "ecosystem": "CONTAINER", "package_type": "CONTAINER",
            "owner": {"login": "Acme"}, "updated_at": "2026-03-01T09:20:11Z", "package_version": version,
        },
    })
}

fn github_version(tag: &str) -> Value {
    json!({
        "version": DIGEST, "name": DIGEST, "body": {"repository": {}},
        "container_metadata": {"tag": {"name": tag, "digest": DIGEST}},
    })
}

fn notice(action: &str, target: &Value) -> Value {
    json!({"events": [{
        "id": "d1", "timestamp": "2026-03-01T09:20:11Z", "action": action, "target": target,
        "request": {"host": "registry.example.com", "method": "GET", "useragent": "x/1", "addr": "192.0.2.7:1"},
    }]})
}

const ZOT_UPDATED: From = From::Zot("zotregistry.image.updated");

fn zot_image(reference: &str) -> Value {
    json!({"name": "acme/app", "reference": reference, "digest": DIGEST, "mediaType": OCI, "manifest": "{}",
        "actor": {"name": "kim"}, "request": {"addr": "192.0.2.7", "method": "PUT", "useragent": "x/1"}})
}

/// One notice of each registry that is a push of `acme/app:1.4.2`.
fn pushes() -> Vec<(From, Value)> {
    vec![
        (From::Distribution, notice("push", &azure_image())),
        (From::Harbor, harbor("PUSH_ARTIFACT", &harbor_image())),
        (
            From::Harbor,
            harbor_cloud_event("harbor.artifact.pushed", &harbor("", &harbor_image())["event_data"]),
        ),
        (ZOT_UPDATED, zot_image("1.4.2")),
        (From::Acr, azure("push", &azure_image())),
        (From::DockerHub, docker_hub()),
        (From::Ecr, amazon_image("PUSH", &json!("1.4.2"))),
        (From::Ghcr, github("published", &github_version("1.4.2"))),
    ]
}

/// Every other notice that means something, and what.
fn others() -> Vec<(From, Value, &'static str)> {
    let untagged = json!([{"digest": DIGEST, "tag": DIGEST, "resource_url": "h/acme/app@sha256:6f"}]);
    let scanned = json!([{
        "digest": DIGEST, "tag": "1.4.2", "resource_url": "h/acme/app:1.4.2",
        "scan_overview": {"application/vnd.security.vulnerability.report; version=1.1": {
            "scan_status": "Success", "severity": "High", "end_time": "2026-03-01T09:20:10Z",
            "summary": {"total": 6, "fixable": 2, "summary": {"Critical": 1, "High": "2", "Medium": 2.0, "Low": 1}},
        }},
    }]);
    let side = |registry: Value, namespace: &str| {
        let mut side = registry;
        side["namespace"] = namespace.into();
        side
    };
    let own = json!({"registry_type": "harbor", "endpoint": "https://harbor.example.net"});
    let remote =
        json!({"registry_name": "hub", "registry_type": "docker-hub", "endpoint": "https://hub.docker.com"});
    // Whichever way it goes, the local namespace is the destination's.
    let out = (side(own.clone(), "library"), side(remote.clone(), "acme"));
    let back = (side(remote, "library"), side(own, "acme"));
    let went =
        json!({"successful_artifact": [{"type": "image", "status": "Success", "name_tag": "app:1.4.2"}]});
    let failed = json!({"job_status": "Error", "failed_artifact": [{"type": "image", "status": "Error", "name_tag": "app:1.4.2", "fail_reason": "denied"}]});
    let some_failed = json!({"failed_artifact": [{"type": "image", "status": "Failed", "name_tag": "app [1 item(s) in total]", "fail_reason": "denied"}]});
    let deleted = json!({"mediaType": OCI, "digest": DIGEST, "repository": "acme/app"});
    let chart = json!({"mediaType": "application/vnd.acr.helm.chart", "size": 9, "digest": DIGEST, "repository": "acme/app", "tag": "0.1.0", "name": "app", "version": "0.1.0"});
    let scan = json!({"scan-status": "COMPLETE", "repository-name": "acme/app", "finding-severity-counts": {"CRITICAL": 1, "MEDIUM": 2}, "image-digest": DIGEST, "image-tags": ["1.4.2"]});
    let cached = json!({"sync-status": "SUCCESS", "repository-name": "acme/app", "upstream-registry-url": "quay.io", "image-tag": "1.4.2", "image-digest": DIGEST});
    vec![
        (From::Distribution, notice("push", &deleted), "manifest_push acme/app"),
        (From::Distribution, notice("pull", &azure_image()), "tag_pull acme/app:1.4.2"),
        (From::Distribution, notice("pull", &deleted), "manifest_pull acme/app"),
        (From::Distribution, notice("delete", &deleted), "manifest_delete acme/app"),
        (
            From::Distribution,
            // As registry 3 writes a tag's deletion.
            notice(
                "delete",
                &json!({"mediaType": "", "digest": "", "size": 0, "repository": "acme/app", "tag": "1.4.2"}),
            ),
            "tag_delete acme/app:1.4.2",
        ),
        (From::Distribution, notice("delete", &json!({"repository": "acme/app"})), "repo_deleted acme/app"),
        (From::Harbor, harbor("PUSH_ARTIFACT", &untagged), "manifest_push acme/app"),
        (From::Harbor, harbor("PULL_ARTIFACT", &harbor_image()), "tag_pull acme/app:1.4.2"),
        (From::Harbor, harbor("PULL_ARTIFACT", &untagged), "manifest_pull acme/app"),
        (From::Harbor, harbor("DELETE_ARTIFACT", &harbor_image()), "manifest_delete acme/app:1.4.2"),
        (From::Harbor, harbor("SCANNING_COMPLETED", &scanned), "scan_completed acme/app:1.4.2"),
        (From::Harbor, harbor("SCANNING_FAILED", &scanned), "scan_failed acme/app:1.4.2"),
        (From::Harbor, harbor("SCANNING_STOPPED", &scanned), "scan_failed acme/app:1.4.2"),
        (From::Harbor, harbor_quota("QUOTA_WARNING", "quota usage reach 85%: ..."), "quota_warning acme"),
        (From::Harbor, harbor_quota("QUOTA_EXCEED", "will exceed the limit"), "quota_error acme"),
        (From::Harbor, harbor_replication(&out.0, &out.1, &went), "push_mirroring acme/app:1.4.2"),
        (From::Harbor, harbor_replication(&back.0, &back.1, &went), "poll_mirroring acme/app:1.4.2"),
        (From::Harbor, harbor_replication(&out.0, &out.1, &failed), "repo_mirror_sync_failed acme/app:1.4.2"),
        (
            From::Harbor,
            harbor_replication(&back.0, &back.1, &some_failed),
            "repo_mirror_sync_failed acme/app",
        ),
        (From::Harbor, harbor("UPLOAD_CHART", &json!([{"tag": "0.1.0"}])), "chart_push acme/app"),
        (From::Harbor, harbor("DOWNLOAD_CHART", &json!([{"tag": "0.1.0"}])), "chart_pull acme/app"),
        (From::Harbor, harbor("DELETE_CHART", &json!([{"tag": "0.1.0"}])), "chart_delete acme/app"),
        (ZOT_UPDATED, zot_image(DIGEST), "manifest_push acme/app"),
        (From::Zot("zotregistry.repository.created"), json!({"name": "acme/app"}), "repo_created acme/app"),
        (From::Zot("zotregistry.image.deleted"), zot_image("1.4.2"), "tag_delete acme/app:1.4.2"),
        (From::Zot("zotregistry.image.deleted"), zot_image(DIGEST), "manifest_delete acme/app"),
        (
            From::Zot("zotregistry.image.scanned"),
            json!({"name": "acme/app", "reference": "1.4.2", "digest": DIGEST, "summary": {"count": 4, "highCount": 1, "mediumCount": 3}}),
            "scan_completed acme/app:1.4.2",
        ),
        (From::Acr, azure("push", &deleted), "manifest_push acme/app"),
        (From::Acr, azure("delete", &deleted), "manifest_delete acme/app"),
        (From::Acr, azure("chart_push", &chart), "chart_push acme/app"),
        (From::Acr, azure("chart_delete", &chart), "chart_delete acme/app"),
        (From::Ecr, amazon_image("PUSH", &Value::Null), "manifest_push acme/app"),
        (From::Ecr, amazon_image("PUSH", &json!("")), "manifest_push acme/app"),
        (From::Ecr, amazon_image("DELETE", &json!("1.4.2")), "tag_delete acme/app:1.4.2"),
        (From::Ecr, amazon_image("DELETE", &Value::Null), "manifest_delete acme/app"),
        (From::Ecr, amazon("ECR Image Scan", &scan), "scan_completed acme/app:1.4.2"),
        (
            From::Ecr,
            amazon(
                "ECR Image Scan",
                &json!({"scan-status": "FAILED", "repository-name": "acme/app", "image-digest": DIGEST, "image-tags": []}),
            ),
            "scan_failed acme/app",
        ),
        (From::Ecr, amazon("ECR Pull Through Cache Action", &cached), "poll_mirroring acme/app:1.4.2"),
        (
            From::Ecr,
            amazon(
                "ECR Pull Through Cache Action",
                &json!({"sync-status": "FAILED", "repository-name": "acme/app", "failure-code": "X"}),
            ),
            "repo_mirror_sync_failed acme/app",
        ),
        (From::Ghcr, github("updated", &github_version("")), "manifest_push acme/app"),
    ]
}

#[test]
fn every_registrys_push_is_the_same_event() {
    for (from, notice) in pushes() {
        assert_eq!(words(from, &notice), "repo_push acme/app:1.4.2", "{from:?}");
        let event = events(from, &notice).remove(0);
        assert_eq!(event.source, "registry.example.com", "{from:?}");
        assert_eq!(event.time.as_second(), 1_772_356_811, "{from:?}");
        assert_eq!(event.data["updated_tags"], json!(["1.4.2"]));
        if from != From::DockerHub {
            assert_eq!(event.data["digest"], DIGEST, "{from:?}");
        }
        if !matches!(from, From::Distribution | From::Acr | From::Ecr) {
            assert_eq!(event.data["actor"], json!({"name": "kim"}), "{from:?}");
        }
    }
}

#[test]
fn every_other_notice_means_what_happened() {
    for (from, notice, expected) in others() {
        assert_eq!(words(from, &notice), expected, "{from:?} {notice}");
    }
}

#[test]
fn any_registry_feeds_any_receiver() {
    let registry = Registry { title: String::new(), url: "https://registry.example.com".to_owned() };
    let wish = NotificationId::from(Uuid::from_u128(1));
    let all = pushes().into_iter().chain(others().into_iter().map(|(from, notice, _)| (from, notice)));
    let schema = |format: &Format| {
        let path = format!("{}/../../deploy/schema/formats/{format}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        jsonschema::validator_for(&serde_json::from_str(&text).expect("JSON")).expect("a schema")
    };
    let schemas: Vec<_> = Format::ALL
        .iter()
        .map(|format| match format {
            Format::CloudEvents => jsonschema::validator_for(&event_schema()).expect("a schema"),
            format => schema(format),
        })
        .collect();
    let mut pairs = 0;
    for (from, notice) in all {
        for event in events(from, &notice) {
            for (format, schema) in Format::ALL.iter().zip(&schemas) {
                let delivery = event.deliveries(wish, Grain::Tag).remove(0);
                let context = Context {
                    registry: &registry,
                    delivery,
                    notification: wish,
                    callback_url: "",
                    dtr_type: None,
                };
                let payload = webhook_payload(&event, *format, None, &context);
                assert_eq!(
                    payload.is_ok(),
                    strict::word(*format, event.kind).is_some(),
                    "{from:?} {} {format} {payload:?}",
                    event.kind
                );
                let Ok(payload) = payload else { continue };
                let text = String::from_utf8(payload.body).expect("UTF-8");
                // Quay's writer puts a space after each colon.
                let told: Value = serde_json::from_str(&text).expect("JSON");
                strict::check(*format, &event, &told);
                assert!(schema.is_valid(&told), "{from:?} {format}: {text}");
                for word in event.subject.name().unwrap_or_default().split('/') {
                    assert!(told.to_string().contains(word), "{from:?} {format}: {text}");
                }
                if event.kind == Kind::RepoPush {
                    assert!(text.contains("1.4.2"), "{from:?} {format}: {text}");
                }
                if *format != Format::CloudEvents {
                    assert!(
                        !text.contains("192.0.2.7"),
                        "{from:?} {format} shows a client's address: {text}"
                    );
                }
                pairs += 1;
            }
        }
    }
    assert!(pairs > 200, "{pairs}");
}

#[test]
fn every_kinds_test_call_is_one_that_strict_receivers_take() {
    let registry = Registry { title: String::new(), url: "https://registry.example.com".to_owned() };
    let wish = NotificationId::from(Uuid::from_u128(1));
    let filter = json!({"level": "1", "days": 7});
    for kind in Kind::ALL {
        let subject = match kind.scope() {
            KindScope::Repository => Subject::Repository(RepositoryName::parse("acme/app").expect("a name")),
            KindScope::Namespace => Subject::Namespace("acme".to_owned()),
            KindScope::Registry => Subject::Registry,
        };
        let filter = filter.as_object().expect("an object");
        let event = Event::sample(*kind, subject, filter, "registry.example.com", "1", Timestamp::UNIX_EPOCH);
        for format in Format::ALL {
            assert_eq!(format.expresses(*kind), strict::word(*format, *kind).is_some(), "{format} {kind}");
            let grain = if format.names_one_tag() { Grain::Tag } else { Grain::Event };
            let delivery = event.deliveries(wish, grain).remove(0);
            let part = event.part(delivery, wish);
            let context = Context {
                registry: &registry,
                delivery,
                notification: wish,
                callback_url: "",
                dtr_type: None,
            };
            let Ok(payload) = webhook_payload(&part, *format, None, &context) else { continue };
            let told = serde_json::from_slice(&payload.body).expect("JSON");
            strict::check(*format, &part, &told);
        }
    }
}

#[test]
fn what_harbor_told_is_told_again_in_both_its_forms_with_nothing_lost() {
    let registry = Registry { title: String::new(), url: "https://harbor.example.net".to_owned() };
    let wish = NotificationId::from(Uuid::from_u128(1));
    for (from, notice, expected) in others().into_iter().filter(|(from, ..)| *from == From::Harbor) {
        let event = events(from, &notice).remove(0);
        for format in [Format::Harbor, Format::HarborCloudEvents] {
            let delivery = event.deliveries(wish, Grain::Tag).remove(0);
            let context = Context {
                registry: &registry,
                delivery,
                notification: wish,
                callback_url: "",
                dtr_type: None,
            };
            if event.kind.name().starts_with("chart_") {
                continue; // Harbor 2 has them no more.
            }
            let payload = webhook_payload(&event, format, None, &context).expect("a payload");
            let told: Value = serde_json::from_slice(&payload.body).expect("JSON");
            assert_eq!(words(from, &told), expected, "{format} {told}");
            let again = events(from, &told).remove(0);
            for member in ["tag", "digest", "message", "error", "stopped", "outbound"] {
                assert_eq!(again.data.get(member), event.data.get(member), "{format} {member}");
            }
        }
    }
}

#[test]
fn what_no_notification_is_for_is_dropped_with_its_reason() {
    for (from, notice, expected) in [
        (From::Harbor, harbor("TAG_RETENTION", &json!([])), "(no_kind)"),
        (
            From::Harbor,
            harbor_replication(&json!({}), &json!({}), &json!({"job_status": "InProgress"})),
            "(no_kind)",
        ),
        (From::Zot("zotregistry.image.lint_failed"), zot_image("1.4.2"), "(no_kind)"),
        (From::Acr, json!({"action": "ping", "id": "p"}), "(ping)"),
        (From::Acr, azure("quarantine", &azure_image()), "(no_kind)"),
        (From::Ecr, amazon("ECR Replication Action", &json!({})), "(no_kind)"),
        (
            From::Ecr,
            amazon("ECR Image Scan", &json!({"scan-status": "ACTIVE", "repository-name": "acme/app"})),
            "(no_kind)",
        ),
        (From::Ghcr, github("deleted", &github_version("1.4.2")), "(no_kind)"),
        (From::Ghcr, json!({"zen": "x", "hook_id": 1}), "(no_kind)"),
    ] {
        assert_eq!(words(from, &notice), expected, "{from:?} {notice}");
    }
    let mut failed = amazon_image("PUSH", &json!("v1"));
    failed["detail"]["result"] = json!("FAILURE");
    assert_eq!(words(From::Ecr, &failed), "(no_kind)");
    let mut npm = github("published", &github_version("1.4.2"));
    npm["package"]["ecosystem"] = json!("npm");
    npm["package"]["package_type"] = json!("npm");
    assert_eq!(words(From::Ghcr, &npm), "(no_kind)");
    let ping = ghcr::Headers { event: Some("ping"), delivery: None };
    assert!(matches!(
        ghcr::classify(ping, b"{}", "", Timestamp::UNIX_EPOCH).expect("read")[..],
        [Item::Dropped(_)]
    ));
}

#[test]
fn a_harbor_scan_without_a_report_of_vulnerabilities_is_not_told_as_one_that_found_none() {
    let report = |status: &str, summary: Value| {
        let report = json!({"scan_status": status, "severity": "", "summary": summary});
        json!({"application/vnd.security.vulnerability.report; version=1.1": report})
    };
    let none = || report("Success", json!({"total": 0, "fixable": 0, "summary": {}}));
    let sbom = || json!({"scan_type": "sbom"});
    for (name, scan, overview, expected) in [
        (
            "SCANNING_COMPLETED",
            json!({"scan_type": "vulnerability"}),
            none(),
            "scan_completed acme/app:1.4.2",
        ),
        ("SCANNING_COMPLETED", json!({"scan_type": ""}), none(), "scan_completed acme/app:1.4.2"),
        ("SCANNING_COMPLETED", sbom(), Value::Null, "(no_kind)"),
        ("SCANNING_COMPLETED", sbom(), none(), "(no_kind)"),
        ("SCANNING_FAILED", sbom(), Value::Null, "(no_kind)"),
        ("SCANNING_STOPPED", sbom(), Value::Null, "(no_kind)"),
        // https://github.com/goharbor/harbor/issues/22212
        ("SCANNING_COMPLETED", json!({}), Value::Null, "(no_kind)"),
        ("SCANNING_COMPLETED", json!({}), json!({}), "(no_kind)"),
        // https://github.com/goharbor/harbor/issues/14585
        ("SCANNING_COMPLETED", json!({}), report("Running", Value::Null), "(no_kind)"),
        ("SCANNING_FAILED", json!({}), report("Error", Value::Null), "scan_failed acme/app:1.4.2"),
        ("SCANNING_FAILED", json!({}), Value::Null, "scan_failed acme/app:1.4.2"),
    ] {
        let mut resources = harbor_image();
        resources[0]["scan_overview"] = overview;
        resources[0]["sbom_overview"] = json!({"scan_status": "Success"});
        let mut notice = harbor(name, &resources);
        notice["event_data"]["scan"] = scan;
        assert_eq!(words(From::Harbor, &notice), expected, "{notice}");
        let named = match name {
            "SCANNING_COMPLETED" => "harbor.scan.completed",
            "SCANNING_FAILED" => "harbor.scan.failed",
            _ => "harbor.scan.stopped",
        };
        let wrapped = harbor_cloud_event(named, &notice["event_data"]);
        assert_eq!(words(From::Harbor, &wrapped), expected, "{wrapped}");
    }
}

#[test]
fn a_scan_of_an_image_with_several_tags_is_of_its_first_and_a_filter_sees_each() {
    for (tags, named) in [
        (json!(["latest", "1.4.2"]), Some("latest")),
        (json!(["", "latest", null, "1.4.2"]), Some("latest")),
        (json!(["1.4.2"]), Some("1.4.2")),
        (json!([]), None),
        (Value::Null, None),
    ] {
        for (status, kind) in [("COMPLETE", Kind::ScanCompleted), ("FAILED", Kind::ScanFailed)] {
            let scan = json!({"scan-status": status, "repository-name": "acme/app", "image-tags": tags});
            let event = events(From::Ecr, &amazon("ECR Image Scan", &scan)).remove(0);
            assert_eq!(event.data.get("tag").and_then(Value::as_str), named, "{scan}");
            assert!(event_schema_takes(&event), "{scan}");
            for pattern in ["latest", "1.4.2", "v9"] {
                let config = json!({ "tags": [pattern] });
                let filter =
                    Filter::parse(config.as_object().expect("an object"), &[kind]).expect("a filter");
                let is_among = tags.as_array().is_some_and(|tags| tags.contains(&json!(pattern)));
                assert_eq!(filter.allows(&event).is_ok(), is_among, "{pattern} {scan}");
            }
        }
    }
}

fn event_schema_takes(event: &Event) -> bool {
    let schema = jsonschema::validator_for(&event_schema()).expect("a schema");
    schema.is_valid(&serde_json::from_slice(&event.to_json()).expect("JSON"))
}

#[test]
fn a_harbor_replication_is_of_the_local_repository_whichever_way_it_went() {
    let went = json!({"successful_artifact": [{"type": "image", "status": "Success", "name_tag": "app:v1"}]});
    let hub = |namespace: &str| json!({"registry_name": "hub", "endpoint": "https://hub.docker.com", "namespace": namespace});
    let own = |endpoint: &str, namespace: &str| json!({"endpoint": endpoint, "namespace": namespace});
    let twin = |namespace: &str| json!({"registry_name": "twin", "endpoint": "https://harbor.example.net:9443", "namespace": namespace});
    let (plain, port) = ("https://harbor.example.net", "http://harbor.example.net:8080/");
    let (pushed, polled) =
        ("push_mirroring acme/app:v1 library/app", "poll_mirroring acme/app:v1 library/app");
    for (source, destination, expected) in [
        (own(plain, "library"), hub("acme"), pushed),
        (hub("library"), own(plain, "acme"), polled),
        (own(port, "library"), hub("acme"), pushed),
        (hub("library"), own(port, "acme"), polled),
        // Told apart by the name alone: on one host, or under another name than its own.
        (own(port, "library"), twin("acme"), pushed),
        (twin("library"), own(port, "acme"), polled),
        (own("https://10.0.0.7", "library"), hub("acme"), pushed),
        (hub("library"), own("https://10.0.0.7", "acme"), polled),
        // With no namespace on the other side.
        (own(plain, ""), hub("acme"), "push_mirroring acme/app:v1 app"),
        (hub(""), own(plain, "acme"), "poll_mirroring acme/app:v1 app"),
    ] {
        let notice = harbor_replication(&source, &destination, &went);
        let remote = events(From::Harbor, &notice)[0].data["mirroring"]["remoteRepository"].clone();
        let told = format!("{} {}", words(From::Harbor, &notice), remote.as_str().expect("a name"));
        assert_eq!(told, expected, "{notice}");
    }
}

#[test]
fn docker_hubs_older_spellings_are_read() {
    let with = |path: &str, value: Value| {
        let mut notice = docker_hub();
        *notice.pointer_mut(path).expect("a member") = value;
        notice
    };
    for notice in [
        with("/push_data/pushed_at", json!(1.772_356_811e9)),
        with("/push_data/pushed_at", json!("1772356811")),
        with("/repository/comment_count", json!("0")),
        with("/repository/star_count", json!(1.0)),
        with("/repository/full_description", Value::Null),
        with("/repository/dockerfile", Value::Null),
        with("/repository/date_created", json!(1.417_566_161e9)),
        with(
            "/push_data/images",
            json!(["27d47432a69bca5f2700e4dff7de0388ed65f9d3fb1ec645e2bc24c223dc1cc3"]),
        ),
        with("/callback_url", Value::Null),
    ] {
        let event = events(From::DockerHub, &notice).remove(0);
        assert_eq!((event.kind, event.time.as_second()), (Kind::RepoPush, 1_772_356_811), "{notice}");
    }
    let mut old = docker_hub();
    for (of, name) in [("push_data", "tag"), ("push_data", "images"), ("repository", "dockerfile")] {
        old[of].as_object_mut().expect("an object").remove(name);
    }
    assert_eq!(words(From::DockerHub, &old), "manifest_push acme/app", "what has no tag is no push by tag");
    assert_eq!(events(From::DockerHub, &old)[0].data.get("updated_tags"), None);
    let mut official = docker_hub();
    official["repository"] = json!({"repo_name": "ubuntu", "is_official": true});
    assert_eq!(words(From::DockerHub, &official), "repo_push ubuntu:1.4.2");
    // Alibaba's copy of the form.
    let alibaba = json!({
        "push_data": {"digest": DIGEST, "pushed_at": "2026-03-01 09:20:11", "tag": "1.4.2"},
        "repository": {"date_created": "2026-01-01", "name": "app", "namespace": "acme", "repo_full_name": "acme/app"},
    });
    assert_eq!(words(From::DockerHub, &alibaba), "repo_push acme/app:1.4.2");
}

#[test]
fn harbor_1_and_numbers_as_floats_are_read() {
    let mut old = harbor("pushImage", &harbor_image());
    old["occur_at"] = json!(1.772_356_811e9);
    let event = events(From::Harbor, &old).remove(0);
    assert_eq!((event.kind, event.time.as_second()), (Kind::RepoPush, 1_772_356_811));
    for (name, expected) in
        [("pullImage", "tag_pull acme/app:1.4.2"), ("deleteImage", "manifest_delete acme/app:1.4.2")]
    {
        assert_eq!(words(From::Harbor, &harbor(name, &harbor_image())), expected);
    }
}

#[test]
fn githubs_other_form_is_read_too() {
    let notice = json!({
        "action": "published", "repository": {"full_name": "Acme/App"}, "sender": {"login": "kim"},
        "registry_package": {
            "name": "app", "package_type": "CONTAINER",
            "package_version": {"version": DIGEST, "body": "a text", "container_metadata": {"tag": {"name": "1.4.2"}}},
        },
    });
    assert_eq!(words(From::Ghcr, &notice), "repo_push acme/app:1.4.2");
    assert_eq!(events(From::Ghcr, &notice)[0].data["digest"], DIGEST);
}

#[test]
fn a_prefix_of_zots_types_is_an_operators_to_choose_and_a_structured_event_is_read() {
    assert_eq!(words(From::Zot("com.acme.image.updated"), &zot_image("v1")), "repo_push acme/app:v1");
    let whole = json!({
        "specversion": "1.0", "id": "9", "source": "zotregistry.dev", "type": "zotregistry.image.updated",
        "data": zot_image("v1"),
    });
    let items =
        zot::classify(&Map::new(), whole.to_string().as_bytes(), "", Timestamp::UNIX_EPOCH).expect("read");
    let [Item::Event { event, .. }] = &items[..] else { panic!("{items:?}") };
    assert_eq!((event.id.as_str(), event.source.as_str()), ("9", "zotregistry.dev"));
}

#[test]
fn findings_are_counted_in_dtrs_classes() {
    for (from, notice, counts) in [
        (From::Harbor, others()[10].1.clone(), (3, 2, 1)),
        (From::Zot("zotregistry.image.scanned"), others()[26].1.clone(), (1, 3, 0)),
        (From::Ecr, others()[35].1.clone(), (1, 2, 0)),
    ] {
        let event = events(from, &notice).remove(0);
        let summary = &event.data["scanSummary"];
        let found = ["critical", "major", "minor"].map(|name| summary[name].as_u64().expect("a count"));
        assert_eq!((found[0], found[1], found[2]), counts, "{from:?}");
        assert_eq!(summary["last_scan_status"], 6);
    }
    let quota = &events(From::Harbor, &harbor_quota("QUOTA_WARNING", "quota usage reach 85%: x"))[0];
    assert_eq!(
        (&quota.data["usage_percent"], &quota.data["details"]),
        (&json!(85), &json!("quota usage reach 85%: x"))
    );
}

#[test]
fn sums_of_findings_stop_at_the_greatest_count_and_do_not_overflow() {
    let most = u64::MAX;
    let by_severity = json!({"Critical": most, "High": most, "Medium": most, "Low": 1});
    let overview = json!({"report": {"summary": {"summary": by_severity}}});
    let harbors = json!([{"digest": DIGEST, "tag": "1.4.2", "scan_overview": overview}]);
    let zots = json!({"name": "acme/app", "reference": "1.4.2", "summary": {
        "criticalCount": most, "highCount": most, "mediumCount": most, "lowCount": 1,
    }});
    let amazons = json!({
        "scan-status": "COMPLETE", "repository-name": "acme/app", "image-tags": ["1.4.2"],
        "finding-severity-counts": {"CRITICAL": most, "HIGH": most, "MEDIUM": most, "LOW": 1},
    });
    let registry = Registry { title: String::new(), url: "https://registry.example.com".to_owned() };
    let wish = NotificationId::from(Uuid::from_u128(1));
    for (from, notice) in [
        (From::Harbor, harbor("SCANNING_COMPLETED", &harbors)),
        (From::Zot("zotregistry.image.scanned"), zots),
        (From::Ecr, amazon("ECR Image Scan", &amazons)),
    ] {
        let event = events(from, &notice).remove(0);
        assert_eq!(event.data["scanSummary"]["critical"], most, "{from:?}");
        let delivery = event.deliveries(wish, Grain::Event).remove(0);
        let context =
            Context { registry: &registry, delivery, notification: wish, callback_url: "", dtr_type: None };
        let payload = webhook_payload(&event, Format::Harbor, None, &context).expect("a payload");
        let told: Value = serde_json::from_slice(&payload.body).expect("JSON");
        let report = "/event_data/resources/0/scan_overview/application~1vnd.security.vulnerability.report; version=1.1";
        assert_eq!(told.pointer(&format!("{report}/summary/total")), Some(&json!(most)), "{told}");
    }
}

#[test]
fn people_read_of_a_harbor_quota_what_harbor_tells_and_no_question_mark() {
    let registry = Registry { title: String::new(), url: "https://registry.example.com".to_owned() };
    let warning = "quota usage reach 85%: resource storage used 8.5 GiB of 10 GiB";
    let exceeded = "adding 1.5 GiB of storage resource, which when updated to current usage of 9 GiB \
                    will exceed the configured upper limit of 10 GiB";
    for (name, details, summary) in [
        ("QUOTA_WARNING", warning, "Namespace acme storage usage has reached 85% of its quota limit"),
        ("QUOTA_EXCEED", exceeded, "Namespace acme storage usage has exceeded its quota limit"),
    ] {
        let event = events(From::Harbor, &harbor_quota(name, details)).remove(0);
        assert_eq!(quay::summary(&event), summary);
        let text = Message::of(&event, &registry).render(Markup::Plain);
        assert!(text.starts_with(summary) && text.ends_with(details), "{text}");
        assert!(!text.contains('?'), "{text}");
    }
}

#[test]
fn the_same_notice_is_the_same_event_and_another_is_another() {
    for (from, notice) in pushes() {
        assert_eq!(events(from, &notice)[0].id, events(from, &notice)[0].id);
    }
    let mut later = docker_hub();
    later["push_data"]["pushed_at"] = json!(1_772_356_812);
    assert_ne!(events(From::DockerHub, &docker_hub())[0].id, events(From::DockerHub, &later)[0].id);
    let two = json!([harbor_image()[0], {"digest": DIGEST, "tag": "latest"}]);
    let both = events(From::Harbor, &harbor("PUSH_ARTIFACT", &two));
    assert_eq!(both.len(), 2);
    assert_ne!(both[0].id, both[1].id);
}

#[test]
fn what_can_not_be_understood_is_kept_with_what_is_wrong() {
    let odd = |path: &str, from: From, mut notice: Value, value: Value| {
        *notice.pointer_mut(path).expect("a member") = value;
        (from, notice)
    };
    let image = harbor_image;
    for ((from, notice), why) in [
        ((From::Harbor, harbor("NOVELTY", &image())), "NOVELTY"),
        ((From::Harbor, harbor("PUSH_ARTIFACT", &json!([]))), "resources"),
        (
            odd(
                "/event_data/repository/repo_full_name",
                From::Harbor,
                harbor("PUSH_ARTIFACT", &image()),
                json!("../x"),
            ),
            "not valid",
        ),
        (
            odd("/event_data/resources/0/tag", From::Harbor, harbor("PUSH_ARTIFACT", &image()), json!(7)),
            "`tag` should be a string",
        ),
        ((From::Zot("zotregistry.image.eaten"), zot_image("v1")), "eaten"),
        ((ZOT_UPDATED, json!({"name": "acme/app"})), "`reference` is missing"),
        ((ZOT_UPDATED, json!({"reference": "v1"})), "`name` is missing"),
        ((From::Acr, json!({"action": "push"})), "`target` is missing"),
        (odd("/action", From::Acr, azure("push", &azure_image()), json!("eat")), "eat"),
        (odd("/push_data/tag", From::DockerHub, docker_hub(), json!(["v1"])), "`tag` should be a string"),
        (odd("/repository/repo_name", From::DockerHub, docker_hub(), json!("a b")), "not valid"),
        (odd("/detail/action-type", From::Ecr, amazon_image("PUSH", &json!("v1")), json!("EAT")), "EAT"),
        (
            odd("/detail/image-digest", From::Ecr, amazon_image("PUSH", &Value::Null), Value::Null),
            "`image-digest` is missing",
        ),
        ((From::Ghcr, github("published", &Value::Null)), "neither a tag nor a digest"),
    ] {
        let words = words(from, &notice);
        assert!(words.starts_with("? ") && words.contains(why), "{from:?} {notice}: {words}");
    }
}

/// A resource of Harbor's for each of these tags.
fn harbor_images(tags: impl IntoIterator<Item = usize>) -> Value {
    tags.into_iter().map(|tag| json!({"digest": DIGEST, "tag": tag.to_string()})).collect()
}

#[test]
fn an_event_keeps_the_notice_that_told_of_it_or_its_own_part_of_one_that_told_of_several() {
    let one = harbor("PUSH_ARTIFACT", &harbor_images([1]));
    assert_eq!(events(From::Harbor, &one)[0].data["harbor"], one);
    let images = harbor_images([1, 2]);
    for (index, event) in events(From::Harbor, &harbor("PUSH_ARTIFACT", &images)).into_iter().enumerate() {
        assert_eq!(event.data["harbor"], images[index]);
    }
}

#[test]
fn what_is_made_of_a_notice_grows_with_its_size_and_not_with_the_square_of_it() {
    let mut notice = harbor("PUSH_ARTIFACT", &harbor_images(0..100));
    notice["operator"] = "k".repeat(100_000).into();
    let made: usize = events(From::Harbor, &notice).iter().map(|event| event.to_json().len()).sum();
    assert!(made < 10 * notice.to_string().len(), "{made} bytes");
    // Nor where none of it can be taken.
    let untold = json!({"tag": "x".repeat(MAX_EVENT_BYTES)});
    notice["event_data"]["resources"] = vec![untold; 4].into();
    let kept = items(From::Harbor, &notice).into_iter().map(|item| match item {
        Item::Undecodable { raw, .. } => raw.len(),
        other => panic!("taken: {other:?}"),
    });
    assert!(kept.sum::<usize>() < 2 * notice.to_string().len());
}

#[test]
fn a_request_that_tells_of_too_many_events_is_refused_whole() {
    let now = Timestamp::UNIX_EPOCH;
    let many = json!({ "events": vec![0; 11] }).to_string();
    let images = harbor("PUSH_ARTIFACT", &harbor_images(0..11)).to_string();
    let replicated = json!({"type": "REPLICATION", "event_data": {"replication": {
        "successful_artifact": vec![0; 5], "failed_artifact": vec![0; 6],
    }}});
    for refused in [
        distribution::classify(many.as_bytes(), "", 10, now),
        acr::classify(many.as_bytes(), "", 10, now),
        harbor::classify(images.as_bytes(), "", 10, now),
        harbor::classify(replicated.to_string().as_bytes(), "", 10, now),
    ] {
        let error = refused.expect_err("refused").to_string();
        assert!(error.contains("tells of 11 events at once, but at most 10"), "{error}");
    }
    assert_eq!(distribution::classify(many.as_bytes(), "", 11, now).map(|items| items.len()), Ok(11));
    assert_eq!(harbor::classify(images.as_bytes(), "", 11, now).map(|items| items.len()), Ok(11));
}

#[test]
fn bytes_that_are_no_notice_are_refused_by_the_registrys_name() {
    let now = Timestamp::UNIX_EPOCH;
    for body in [&b""[..], b"{", b"[]", b"null", b"7", b"\xff", b"{}"] {
        let refusals = [
            harbor::classify(body, "", MOST, now),
            zot::classify(&Map::new(), body, "", now),
            acr::classify(body, "", MOST, now),
            docker_hub::classify(body, "", now),
            ecr::classify(body, "", now),
            distribution::classify(body, "", MOST, now),
        ];
        for (refused, name) in
            refusals.into_iter().zip(["Harbor", "zot", "Azure", "Docker Hub", "Amazon", "Distribution"])
        {
            let error = refused.expect_err("refused").to_string();
            assert!(error.starts_with("not a notice of ") && error.contains(name), "{error}");
        }
        let read = ghcr::classify(ghcr::Headers::default(), body, "", now);
        assert_eq!(read.is_ok(), body == b"{}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z:/@ ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_member_of_any_type_makes_a_reader_panic(which in 0..48_usize, at in any::<prop::sample::Index>(), value in any_json()) {
        let all: Vec<_> =
            pushes().into_iter().chain(others().into_iter().map(|(from, notice, _)| (from, notice))).collect();
        let (from, mut notice) = all[which % all.len()].clone();
        let mut paths = Vec::new();
        walk(&notice, String::new(), &mut paths);
        *notice.pointer_mut(at.get(&paths[..]).as_str()).expect("a path") = value;
        let body = notice.to_string();
        let now = Timestamp::UNIX_EPOCH;
        let read = match from {
            From::Harbor => harbor::classify(body.as_bytes(), "", MOST, now),
            From::Zot(_) => zot::classify(&Map::new(), body.as_bytes(), "", now),
            From::Acr => acr::classify(body.as_bytes(), "", MOST, now),
            From::DockerHub => docker_hub::classify(body.as_bytes(), "", now),
            From::Ecr => ecr::classify(body.as_bytes(), "", now),
            From::Ghcr => ghcr::classify(ghcr::Headers::default(), body.as_bytes(), "", now),
            From::Distribution => distribution::classify(body.as_bytes(), "", MOST, now),
        };
        for item in read.unwrap_or_default() {
            if let Item::Event { event, .. } = item {
                prop_assert_eq!(Event::from_json(&event.to_json(), now).expect("read back"), *event);
            }
        }
    }
}

fn walk(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                walk(member, format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), paths);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, format!("{path}/{index}"), paths);
            }
        }
        _ => {}
    }
    if !path.is_empty() {
        paths.push(path);
    }
}
