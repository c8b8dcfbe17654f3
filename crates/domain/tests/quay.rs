//! Quay's payloads, kind by kind: which members of which type a receiver may count on, and what a test call says.

use bellbuoy_domain::{Event, Kind, Markup, Message, Registry, RepositoryName, Subject, quay};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const OF_REPOSITORY: [&str; 5] = ["repository", "namespace", "name", "docker_url", "homepage"];

fn registry() -> Registry {
    Registry { title: "Quay".to_owned(), url: "https://registry.example.com/".to_owned() }
}

fn event(kind: Kind, subject: &str, data: &Value) -> Event {
    let event = json!({"specversion": "1.0", "id": "1", "source": "registry", "type": kind, "subject": subject, "data": data});
    Event::from_value(event, Timestamp::UNIX_EPOCH).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

/// Members, and the types of their values.
type Members = &'static [(&'static str, char)];

const QUOTA: Members = &[
    ("threshold_percent", 'i'),
    ("usage_bytes", 'i'),
    ("limit_bytes", 'i'),
    ("usage_percent", 'i'),
    ("usage_bytes_formatted", 's'),
    ("limit_bytes_formatted", 's'),
];
const BUILD: Members = &[
    ("build_id", 's'),
    ("build_name", 's'),
    ("docker_tags", 'l'),
    ("trigger_id", 'n'),
    ("trigger_kind", 'n'),
    ("trigger_metadata", 'o'),
];
const STARTED: Members = &[("trigger_id", 's'), ("trigger_kind", 's'), ("trigger_metadata", 'o')];
const TRIGGERED: Members = &[
    ("build_id", 's'),
    ("docker_tags", 'l'),
    ("is_manual", 'b'),
    ("manual_user", 'n'),
    ("trigger_id", 's'),
    ("trigger_kind", 's'),
    ("trigger_metadata", 'o'),
    ("trigger_manual", 'b'),
];
const FAILED: Members = &[("error_message", 's'), ("image_id", 's'), ("manifest_digests", 'l')];

/// Everything that a trigger may know of a commit, as Quay's own schema of it has it.
fn trigger_metadata() -> Value {
    let person = |name: &str| {
        json!({
            "username": name, "url": format!("https://git.example.com/{name}"),
            "avatar_url": format!("https://git.example.com/{name}.png"),
        })
    };
    json!({
        "commit": "42d4a62c53350993ea41069e9f2cfdefb0df097d",
        "git_url": "git@git.example.com:acme/api.git",
        "ref": "refs/heads/feature/x",
        "default_branch": "main",
        "parsed_ref": {"branch": "feature/x"},
        "commit_info": {
            "message": "Build faster", "short_sha": "42d4a62", "url": "https://git.example.com/acme/api/42d4a62",
            "date": "2026-11-20T12:00:00Z", "author": person("ann"), "committer": person("bob"),
        },
    })
}

/// Data of a real event, and the types of its members in the payload: `s`tring, `i`nteger, `b`oolean, `o`bject,
/// `l`ist of strings, or `n`ull.
fn real() -> Vec<(Kind, Value, Members)> {
    let build = || {
        json!({
            "build_id": "8f3c2a71-0000-4000-8000-000000000000", "build_name": "b", "docker_tags": ["latest"], "trigger_id": null,
            "trigger_kind": null, "trigger_metadata": {},
        })
    };
    let triggered = || {
        let mut triggered = build();
        triggered["trigger_id"] = "0b6b1f0e".into();
        triggered["trigger_kind"] = "gitlab".into();
        triggered["trigger_metadata"] = trigger_metadata();
        triggered
    };
    let failed = {
        let mut failed = build();
        failed["error_message"] = "no space".into();
        failed["image_id"] = "1".into();
        failed["manifest_digests"] = json!(["sha256:00"]);
        failed
    };
    let quota = || {
        json!({
            "threshold_percent": 80, "usage_bytes": 9, "limit_bytes": 10, "usage_percent": 90,
            "usage_bytes_formatted": "9 bytes", "limit_bytes_formatted": "10 bytes",
        })
    };
    let mirror = || json!({"message": "'registry/x' with tag pattern 'v*'"});
    vec![
        (Kind::RepoPush, json!({"updated_tags": ["1.4.2"]}), &[("updated_tags", 'l')]),
        (
            Kind::BuildQueued,
            json!({"build_id": "8f3c", "docker_tags": ["latest"], "is_manual": true, "manual_user": "ann"}),
            &[("build_id", 's'), ("docker_tags", 'l'), ("is_manual", 'b'), ("manual_user", 's')],
        ),
        (
            Kind::BuildQueued,
            json!({
                "build_id": "8f3c", "docker_tags": ["latest"], "is_manual": false, "manual_user": null,
                "trigger_id": "0b6b1f0e", "trigger_kind": "github", "trigger_metadata": trigger_metadata(),
                "trigger_manual": true,
            }),
            TRIGGERED,
        ),
        (Kind::BuildStart, build(), BUILD),
        (Kind::BuildStart, triggered(), STARTED),
        (Kind::BuildSuccess, build(), BUILD),
        (Kind::BuildCancelled, build(), BUILD),
        (Kind::BuildFailure, failed, FAILED),
        (
            Kind::VulnerabilityFound,
            json!({
                "tags": ["latest"], "vulnerable_index_report_created": "true",
                "vulnerability": {"id": "CVE-1", "description": "d", "link": "https://a https://b", "priority": "HIGH", "has_fix": true},
            }),
            &[("tags", 'l'), ("vulnerability", 'o'), ("vulnerable_index_report_created", 's')],
        ),
        (Kind::RepoMirrorSyncStarted, mirror(), &[("message", 's')]),
        (Kind::RepoMirrorSyncSuccess, mirror(), &[("message", 's')]),
        (Kind::RepoMirrorSyncFailed, mirror(), &[("message", 's')]),
        (
            Kind::RepoImageExpiry,
            json!({"tags": ["v1"], "expiring_in": "7 days", "notification_uuid": "0b6b1f0e"}),
            &[("tags", 'l'), ("expiring_in", 's'), ("notification_uuid", 's')],
        ),
        (Kind::QuotaWarning, quota(), QUOTA),
        (Kind::QuotaError, quota(), QUOTA),
    ]
}

fn letter(value: &Value) -> char {
    match value {
        Value::String(_) => 's',
        Value::Number(number) if number.is_i64() => 'i',
        Value::Bool(_) => 'b',
        Value::Object(_) => 'o',
        Value::Array(items) if items.iter().all(Value::is_string) => 'l',
        Value::Null => 'n',
        _ => '?',
    }
}

#[test]
fn every_member_of_a_real_event_is_there_with_its_type() {
    for (kind, data, members) in real() {
        let is_quota = matches!(kind, Kind::QuotaWarning | Kind::QuotaError);
        let subject = if is_quota { "acme" } else { "acme/team/api" };
        let payload = quay::payload(&event(kind, subject, &data), &registry());
        for (name, kind_of_value) in members {
            let value = payload.get(*name).unwrap_or_else(|| panic!("{kind}: {name}"));
            assert_eq!(letter(value), *kind_of_value, "{kind}: {name}");
            assert_eq!(*value, data[*name], "{kind}: {name}");
        }
        let names: Vec<&str> = payload.keys().map(String::as_str).collect();
        let own = data.as_object().expect("an object").len();
        if is_quota {
            assert_eq!(&names[..2], ["namespace", "homepage"], "{kind}");
            assert_eq!(names.len(), 2 + own, "{kind}: no repository, nothing else");
        } else {
            let repo: &[&str] = if kind == Kind::BuildQueued { &["repo"] } else { &[] };
            let of_repository = [&OF_REPOSITORY, repo].concat();
            assert_eq!(&names[..of_repository.len()], of_repository, "{kind}");
            assert_eq!(names.len(), of_repository.len() + own, "{kind}: nothing else");
        }
        for envelope in ["event", "kind", "type", "time", "timestamp", "id", "actor", "performer_data"] {
            assert!(!payload.contains_key(envelope), "{kind}: {envelope}");
        }
    }
}

#[test]
fn what_an_event_is_about_is_said_the_same_way_by_each_kind() {
    for (kind, data, _) in real() {
        let of = |subject: &str| quay::payload(&event(kind, subject, &data), &registry());
        if matches!(kind, Kind::QuotaWarning | Kind::QuotaError) {
            let payload = of("acme");
            assert_eq!(payload["namespace"], "acme");
            assert_eq!(payload["homepage"], "https://registry.example.com/organization/acme");
            continue;
        }
        let payload = of("acme/team/api");
        let subpage = data
            .get("build_id")
            .map_or(String::new(), |id| format!("/build/{}", id.as_str().expect("an id")));
        let expected = [
            "acme/team/api",
            "acme",
            "team/api",
            "registry.example.com/acme/team/api",
            &format!("https://registry.example.com/repository/acme/team/api{subpage}"),
        ];
        for (name, value) in OF_REPOSITORY.iter().zip(expected) {
            assert_eq!(payload[*name], value, "{kind}: {name}");
        }
    }
}

#[test]
fn a_queued_build_says_its_repository_in_quays_two_ways_whatever_its_producer_says() {
    let data = json!({"build_id": "8f3c", "repo": "other/thing"});
    let payload = quay::payload(&event(Kind::BuildQueued, "acme/team/api", &data), &registry());
    assert_eq!(
        (&payload["repo"], &payload["name"], &payload["namespace"], &payload["repository"]),
        (&json!("team/api"), &json!("team/api"), &json!("acme"), &json!("acme/team/api"))
    );
    // Elsewhere it is a member like any other; a test call's queued build has none.
    let payload = quay::payload(&event(Kind::BuildStart, "acme/api", &data), &registry());
    assert_eq!(payload["repo"], "other/thing");
    assert_eq!(sample(Kind::BuildQueued, &json!({})).get("repo"), None);
}

#[test]
fn what_a_trigger_knows_of_a_commit_is_told_in_the_payload_and_in_words() {
    let data = json!({"build_id": "8f3c2a71", "docker_tags": ["v1"], "is_manual": false, "manual_user": null,
        "trigger_id": "0b6b1f0e", "trigger_kind": "github", "trigger_metadata": trigger_metadata(), "trigger_manual": false});
    let event = event(Kind::BuildQueued, "acme/api", &data);
    let payload = quay::payload(&event, &registry());
    let info = &payload["trigger_metadata"]["commit_info"];
    assert_eq!((&info["date"], &info["short_sha"]), (&json!("2026-11-20T12:00:00Z"), &json!("42d4a62")));
    assert_eq!(info["committer"]["username"], "bob");
    assert_eq!(payload["trigger_metadata"]["git_url"], "git@git.example.com:acme/api.git");
    assert_eq!(payload["trigger_metadata"]["parsed_ref"], json!({"branch": "feature/x"}));
    let told = Message::of(&event, &registry()).render(Markup::Plain);
    for word in ["queued", "42d4a62", "to branch", "feature/x", "ann"] {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
}

#[test]
fn members_of_a_trigger_of_another_type_are_refused_by_name() {
    for (member, value) in [
        ("git_url", json!(1)),
        ("parsed_ref", json!("refs/heads/main")),
        ("parsed_ref", json!({"branch": 1})),
        ("commit_info", json!({"short_sha": 7})),
        ("commit_info", json!({"committer": "bob"})),
    ] {
        let mut metadata = trigger_metadata();
        metadata[member] = value.clone();
        let event = json!({"specversion": "1.0", "id": "1", "source": "registry", "type": "build_queued",
            "subject": "acme/api", "data": {"build_id": "8f3c", "trigger_metadata": metadata}});
        let error = Event::from_value(event, Timestamp::UNIX_EPOCH).expect_err("refused").to_string();
        assert!(error.contains(&format!("data.trigger_metadata.{member}")), "{value}: {error}");
    }
}

fn sample(kind: Kind, event_config: &Value) -> Map<String, Value> {
    let config = event_config.as_object().expect("an object");
    let is_quota = matches!(kind, Kind::QuotaWarning | Kind::QuotaError);
    let repository = RepositoryName::parse("acme/api").expect("a name");
    let subject =
        if is_quota { Subject::Namespace("acme".to_owned()) } else { Subject::Repository(repository) };
    quay::sample(kind, &subject, config, &registry(), Timestamp::UNIX_EPOCH)
}

#[test]
fn a_test_call_s_build_is_quays() {
    for (kind, own) in [
        (Kind::BuildQueued, json!({"is_manual": false})),
        (Kind::BuildStart, json!({})),
        (Kind::BuildSuccess, json!({"image_id": "1245657346"})),
        (Kind::BuildCancelled, json!({"image_id": "1245657346"})),
        (Kind::BuildFailure, json!({"error_message": "This is a fake error message"})),
    ] {
        let payload = sample(kind, &json!({}));
        assert_eq!(payload["build_id"], "fake-build-id", "{kind}");
        assert_eq!(payload["build_name"], "some-fake-build", "{kind}");
        assert_eq!(payload["docker_tags"], json!(["latest", "foo", "bar"]), "{kind}");
        assert_eq!(
            (&payload["trigger_id"], &payload["trigger_kind"]),
            (&json!("1245634"), &json!("GitHub")),
            "{kind}"
        );
        assert!(
            payload["homepage"].as_str().is_some_and(|page| page.ends_with("/build/fake-build-id")),
            "{kind}"
        );
        let metadata = &payload["trigger_metadata"];
        assert_eq!(
            (&metadata["default_branch"], &metadata["ref"]),
            (&json!("master"), &json!("refs/heads/somebranch"))
        );
        let commit = metadata["commit"].as_str().expect("a commit");
        assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
        let told = matches!(kind, Kind::BuildQueued | Kind::BuildFailure);
        assert_eq!(metadata.get("commit_info").is_some(), told, "{kind}");
        if told {
            let info = &metadata["commit_info"];
            assert!(
                info["date"].is_f64() && info["url"].is_string() && info["message"].is_string(),
                "{info}"
            );
            for name in ["username", "url", "avatar_url"] {
                assert!(info["author"][name].is_string(), "{name}");
            }
        }
        for name in ["is_manual", "image_id", "error_message"] {
            assert_eq!(payload.get(name), own.get(name), "{kind}: {name}");
        }
    }
}

#[test]
fn a_test_call_of_every_other_kind_is_quays() {
    let rows = [
        (Kind::RepoPush, json!({}), json!({"updated_tags": ["latest", "foo"], "pruned_image_count": 3})),
        (Kind::RepoMirrorSyncStarted, json!({}), json!({"message": "TEST NOTIFICATION"})),
        (Kind::RepoMirrorSyncSuccess, json!({}), json!({"message": "TEST NOTIFICATION"})),
        (Kind::RepoMirrorSyncFailed, json!({}), json!({"message": "TEST NOTIFICATION"})),
        (
            Kind::RepoImageExpiry,
            json!({"days": 7}),
            json!({"tags": ["latest", "v1"], "expiring_in": "7 days"}),
        ),
        (Kind::RepoImageExpiry, json!({}), json!({"tags": ["latest", "v1"], "expiring_in": "None days"})),
        (
            Kind::QuotaWarning,
            json!({}),
            json!({
                "threshold_percent": 80, "usage_bytes": 858_993_459, "limit_bytes": 1_073_741_824, "usage_percent": 80,
                "usage_bytes_formatted": "819.20 MB", "limit_bytes_formatted": "1.00 GB",
            }),
        ),
        (
            Kind::QuotaError,
            json!({}),
            json!({
                "threshold_percent": 100, "usage_bytes": 1_127_428_915, "limit_bytes": 1_073_741_824, "usage_percent": 105,
                "usage_bytes_formatted": "1.05 GB", "limit_bytes_formatted": "1.00 GB",
            }),
        ),
    ];
    for (kind, config, own) in rows {
        let payload = sample(kind, &config);
        for (name, value) in own.as_object().expect("an object") {
            assert_eq!(payload[name], *value, "{kind}: {name}");
        }
    }
}

#[test]
fn a_test_call_s_vulnerability_has_the_severity_that_is_asked_for() {
    let names = ["Critical", "High", "Medium", "Low", "Negligible", "Unknown"];
    let mut rows: Vec<(Value, &str)> =
        names.iter().enumerate().map(|(level, name)| (json!({ "level": level }), *name)).collect();
    rows.push((json!({"level": "1"}), "High"));
    rows.push((json!({}), "Unknown"));
    for (config, priority) in rows {
        let payload = sample(Kind::VulnerabilityFound, &config);
        assert_eq!(payload["tags"], json!(["latest", "prod", "foo", "bar", "baz"]));
        assert_eq!(payload["image"], "some-image-id");
        let vulnerability = &payload["vulnerability"];
        assert_eq!(
            (&vulnerability["id"], &vulnerability["priority"]),
            (&json!("CVE-FAKE-CVE"), &json!(priority))
        );
        assert!(vulnerability["description"].is_string() && vulnerability["link"].is_string());
        assert_eq!(vulnerability.get("has_fix"), None);
    }
}

#[test]
fn a_vulnerability_lists_a_hundred_tags_at_most() {
    for (count, listed) in [(0, 0), (100, 100), (101, 100), (1000, 100)] {
        let tags: Vec<String> = (0..count).map(|number| format!("v{number}")).collect();
        let data = json!({"tags": tags, "vulnerability": {"id": "CVE-1"}});
        let payload = quay::payload(&event(Kind::VulnerabilityFound, "acme/api", &data), &registry());
        assert_eq!(payload["tags"].as_array().map(Vec::len), Some(listed), "of {count}");
        let push = quay::payload(
            &event(Kind::RepoPush, "acme/api", &json!({"updated_tags": tags, "tags": tags})),
            &registry(),
        );
        assert_eq!(push["updated_tags"].as_array().map(Vec::len), Some(count), "a push lists all of its own");
    }
}

#[test]
fn several_vulnerabilities_are_summed_up_by_the_first() {
    let of = |priorities: &[&str]| {
        let several: Vec<Value> = priorities.iter().map(|priority| json!({ "priority": priority })).collect();
        let data = json!({"tags": ["a", "b"], "vulnerabilities": several});
        quay::summary(&event(Kind::VulnerabilityFound, "acme/api", &data))
    };
    assert_eq!(
        of(&["High", "High"]),
        "2 High vulnerabilities were detected in repository acme/api in 2 tags"
    );
    assert_eq!(
        of(&["High", "Low", "High", "Low", "Low"]),
        "2 High and 3 more vulnerabilities were detected in repository acme/api in 2 tags"
    );
}

#[test]
fn letters_outside_ascii_are_escaped_and_separators_are_pythons() {
    let payload =
        quay::payload(&event(Kind::RepoPush, "acme/api", &json!({"updated_tags": ["ü", "✓"]})), &registry());
    let body = bellbuoy_domain::webhook_payload(
        &event(Kind::RepoPush, "acme/api", &json!({"updated_tags": ["ü", "✓"]})),
        bellbuoy_domain::Format::Quay,
        None,
        &bellbuoy_domain::Context {
            registry: &registry(),
            delivery: bellbuoy_domain::DeliveryId::from(uuid::Uuid::nil()),
            notification: bellbuoy_domain::NotificationId::from(uuid::Uuid::nil()),
            callback_url: "",
            dtr_type: None,
        },
    )
    .expect("a payload")
    .body;
    let text = String::from_utf8(body).expect("text");
    assert!(text.ends_with(r#""updated_tags": ["\u00fc", "\u2713"]}"#), "{text}");
    assert!(text.starts_with(r#"{"repository": "acme/api", "namespace": "acme", "#), "{text}");
    assert_eq!(serde_json::from_str::<Map<String, Value>>(&text).expect("JSON"), payload);
}
