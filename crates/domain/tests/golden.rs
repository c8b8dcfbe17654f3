//! Every byte form that leaves this crate, against files: what receivers are sent, and what our own
//! workers send each other. During a rolling upgrade each binary reads what the other wrote, so
//! a change here is a change of the wire: add a version, do not edit a file.
//!
//! `BELLBUOY_WRITE_GOLDEN=1 cargo test -p bellbuoy-domain --test golden` writes missing files.

use std::{env, fs, path::PathBuf, time::Duration};

use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, Context, DeadReason, DeliveryId, DeliveryMessage, DeliveryState, Event,
    FannedOut, Format, Grain, Kind, KindScope, Markup, Message, MethodConfig, MethodName, NotificationId,
    PlannedDelivery, Record, Registry, RepositoryName, Scope, Subject, Template, WIRE_VERSION, WireError,
    quay, webhook_payload,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json, value::RawValue};
use uuid::Uuid;

#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs this test, no setting")]
fn may_write() -> bool {
    env::var_os("BELLBUOY_WRITE_GOLDEN").is_some()
}

fn same_as_golden(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    if !path.exists() && may_write() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, format!("{text}\n")).expect("written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(golden.trim_end_matches('\n'), text, "{name}");
}

fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    fs::read_to_string(path).expect("a golden file").trim_end_matches('\n').to_owned()
}

fn registry() -> Registry {
    Registry { title: "Example".to_owned(), url: "https://registry.example.com/".to_owned() }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_772_356_811_000 + milliseconds).expect("a time")
}

fn sample(kind: Kind) -> Event {
    let subject = match kind.scope() {
        KindScope::Repository => Subject::Repository(RepositoryName::parse("acme/team/api").expect("a name")),
        KindScope::Namespace => Subject::Namespace("acme".to_owned()),
        KindScope::Registry => Subject::Registry,
    };
    let config = json!({"level": "1", "days": 7});
    Event::sample(kind, subject, config.as_object().expect("an object"), "registry.example.com", "42", at(0))
}

fn context(registry: &Registry) -> Context<'_> {
    Context {
        registry,
        delivery: delivery(),
        notification: notification(),
        callback_url: "https://notify.example.com/u/acme/team/api/hook/2141b5bi5i5b02bec211i4eeih0242eg11000a/",
        dtr_type: None,
    }
}

/// The first of the requests that the sample becomes.
fn told(kind: Kind, format: Format) -> Event {
    let event = sample(kind);
    let grain = if format.names_one_tag() { Grain::Tag } else { Grain::Event };
    let first = event.deliveries(notification(), grain).remove(0);
    event.part(first, notification()).into_owned()
}

#[test]
fn every_kind_has_its_body_in_every_format_that_has_a_word_for_it() {
    for kind in Kind::ALL {
        for format in Format::ALL.iter().filter(|format| format.expresses(*kind)) {
            let payload = webhook_payload(&told(*kind, *format), *format, None, &context(&registry()));
            same_as_golden(&format!("{format}/{kind}.json"), &payload.expect("a payload").body);
        }
    }
}

#[test]
fn every_canonical_event_is_read_back_and_written_the_same() {
    for kind in Kind::ALL {
        let bytes = golden(&format!("cloudevents/{kind}.json"));
        let event = Event::from_json(bytes.as_bytes(), at(0)).expect("an event");
        assert_eq!(event, sample(*kind));
        assert_eq!(String::from_utf8(event.to_json()).expect("UTF-8"), bytes);
    }
}

#[test]
fn every_kinds_summary_and_level_is_quays() {
    let lines: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| {
            let event = sample(*kind);
            let level = serde_json::to_value(quay::level(&event)).expect("a word");
            format!("{kind} | {} | {}", level.as_str().expect("a word"), quay::summary(&event))
        })
        .collect();
    same_as_golden("summaries.txt", lines.join("\n").as_bytes());
}

#[test]
fn every_kind_has_its_words_in_every_markup() {
    let markups = [
        ("html", Markup::Html),
        ("plain", Markup::Plain),
        ("slack", Markup::Slack),
        ("markdown", Markup::Markdown),
    ];
    for (name, markup) in markups {
        let words = |kind: &Kind| {
            let said = Message::of(&sample(*kind), &registry()).render(markup);
            format!("## {kind}\n{said}")
        };
        let all: Vec<String> = Kind::ALL.iter().map(words).collect();
        same_as_golden(&format!("words/{name}.txt"), all.join("\n\n").as_bytes());
    }
}

/// The settings of each chat service's channel.
fn channel(method: MethodName) -> Value {
    match method {
        MethodName::HipChat => json!({"room_id": "12", "notification_token": "tok"}),
        MethodName::Flowdock => json!({"flow_api_token": "tok"}),
        _ => json!({"url": "https://chat.example.com/hook"}),
    }
}

#[test]
fn every_kind_has_its_body_for_every_chat_service() {
    for method in MethodName::ALL.iter().filter(|method| method.chat_service().is_some()) {
        let config = channel(*method);
        let config = MethodConfig::parse(*method, config.as_object().expect("an object"), &Scope::Registry);
        let Ok(MethodConfig::Chat(config)) = config else { panic!("{method}: {config:?}") };
        let body = |kind: &Kind| {
            let sent = config.payload(&sample(*kind), Format::Quay, &registry(), "bells@example.com");
            let sent = sent.expect("a payload");
            assert_eq!(sent.content_type, "application/json");
            format!("{kind} {}", String::from_utf8(sent.body).expect("UTF-8"))
        };
        let all: Vec<String> = Kind::ALL.iter().map(body).collect();
        same_as_golden(&format!("chat/{method}.txt"), all.join("\n").as_bytes());
    }
}

#[test]
fn every_kind_has_its_mail() {
    let config = json!({"email": "kim@example.com"});
    let config = config.as_object().expect("an object");
    let Ok(MethodConfig::Email(config)) = MethodConfig::parse(MethodName::Email, config, &Scope::Registry)
    else {
        panic!("not understood")
    };
    let mail = |kind: &Kind| {
        let letter = config.letter(&sample(*kind), Format::Quay, &registry()).expect("a letter");
        format!("## {kind}\nSubject: {}\n\n{}\n\n{}", letter.subject, letter.text, letter.html)
    };
    let all: Vec<String> = Kind::ALL.iter().map(mail).collect();
    same_as_golden("words/mail.txt", all.join("\n\n").as_bytes());
}

#[test]
fn a_push_reads_as_quay_writes_it() {
    let mut event = sample(Kind::RepoPush);
    event.subject = Subject::Repository(RepositoryName::parse("acme/api").expect("a name"));
    event.data = json!({
        "name": "forged", "docker_url": "evil.example/x", "homepage": "https://evil.example/", "digest": "sha256:6f", "distribution": {"request": {"addr": "192.0.2.7"}},
        "request": {"host": "x"}, "instance": "06c7", "updated_tags": ["1.4.2", "é"],
    })
    .as_object()
    .expect("an object")
    .clone();
    let payload = webhook_payload(&event, Format::Quay, None, &context(&registry())).expect("a payload");
    assert_eq!(payload.content_type, "application/json");
    assert_eq!(
        String::from_utf8(payload.body).expect("UTF-8"),
        r#"{"repository": "acme/api", "namespace": "acme", "name": "api", "docker_url": "registry.example.com/acme/api", "homepage": "https://registry.example.com/repository/acme/api", "updated_tags": ["1.4.2", "\u00e9"], "digest": "sha256:6f"}"#
    );
}

#[test]
fn a_registry_without_namespaces_has_whole_links() {
    let mut event = sample(Kind::RepoPush);
    event.subject = Subject::Repository(RepositoryName::parse("api").expect("a name"));
    let registry = Registry { title: String::new(), url: "http://localhost:5000".to_owned() };
    let payload = quay::payload(&event, &registry);
    assert_eq!(payload["docker_url"], json!("localhost:5000/api"));
    assert_eq!(payload["homepage"], json!("http://localhost:5000/repository/api"));
    assert_eq!((&payload["namespace"], &payload["name"]), (&json!(""), &json!("api")));
}

#[test]
fn the_test_calls_payload_is_the_sample_events() {
    let subject = Subject::Namespace("acme".to_owned());
    let payload = quay::sample(Kind::QuotaError, &subject, &Map::new(), &registry(), at(0));
    assert_eq!(payload, quay::payload(&sample(Kind::QuotaError), &registry()));
}

#[test]
fn a_template_reads_the_formats_document_and_sends_plain_json() {
    let cases = [
        (
            Format::Quay,
            r#"{"text": "${repository}: ${updated_tags}"}"#,
            r#"{"text": "acme/team/api: latest,foo"}"#,
        ),
        (Format::CloudEvents, r#"["${type}", "${data.updated_tags[0]}"]"#, r#"["repo_push", "latest"]"#),
    ];
    for (format, template, body) in cases {
        let template = Template::parse(template).expect("a template");
        let payload =
            webhook_payload(&sample(Kind::RepoPush), format, Some(&template), &context(&registry()))
                .expect("a payload");
        assert_eq!((payload.content_type, payload.body), ("application/json", body.as_bytes().to_vec()));
    }
}

#[test]
fn a_vulnerabilitys_summary_and_level_follow_what_was_found() {
    let rows = [
        (
            json!({"vulnerability": {"priority": "Critical"}, "tags": ["a", "b"]}),
            "error",
            "Critical vulnerability detected in repository acme/team/api in 2 tags",
        ),
        (
            json!({"vulnerability": {"priority": "High"}, "tags": []}),
            "warning",
            "High vulnerability detected in repository acme/team/api in 0 tags",
        ),
        (
            json!({"vulnerability": {"priority": "MEDIUM"}}),
            "warning",
            "MEDIUM vulnerability detected in repository acme/team/api in 0 tags",
        ),
        (
            json!({"vulnerability": {"priority": "Low"}}),
            "info",
            "Low vulnerability detected in repository acme/team/api in 0 tags",
        ),
        (
            json!({"vulnerabilities": [{"priority": "High"}, {"priority": "High"}], "tags": ["a"]}),
            "warning",
            "2 High vulnerabilities were detected in repository acme/team/api in 1 tags",
        ),
        (
            json!({"vulnerabilities": [{"priority": "High"}, {"priority": "Low"}, {}], "tags": ["a"]}),
            "warning",
            "1 High and 2 more vulnerabilities were detected in repository acme/team/api in 1 tags",
        ),
        (json!({}), "info", "Unknown vulnerability detected in repository acme/team/api in 0 tags"),
    ];
    for (data, level, summary) in rows {
        let mut event = sample(Kind::VulnerabilityFound);
        event.data = data.as_object().expect("an object").clone();
        assert_eq!(json!(quay::level(&event)), json!(level), "{data}");
        assert_eq!(quay::summary(&event), summary);
    }
}

#[test]
fn no_summary_needs_any_member() {
    for kind in Kind::ALL {
        let mut event = sample(*kind);
        event.data = Map::new();
        assert!(!quay::summary(&event).is_empty(), "{kind}");
    }
}

fn delivery() -> DeliveryId {
    DeliveryId::derive("registry.example.com", "42", notification())
}

fn notification() -> NotificationId {
    NotificationId::from(Uuid::from_u128(0x0b6b_1f0e_6f0e_4d7b_9a3a_3d0c_9d8d_5a11))
}

fn message() -> DeliveryMessage {
    let event = String::from_utf8(sample(Kind::RepoPush).to_json()).expect("UTF-8");
    DeliveryMessage {
        v: WIRE_VERSION,
        delivery: delivery(),
        notification: notification(),
        attempt: 3,
        spent: 2,
        accepted_at: at(1),
        due_at: at(5_000),
        held_since: None,
        event: RawValue::from_string(event).expect("JSON"),
    }
}

fn attempt() -> AttemptRecord {
    AttemptRecord {
        delivery: delivery(),
        notification: notification(),
        method: "webhook".to_owned(),
        source: "registry.example.com".to_owned(),
        event: "42".to_owned(),
        kind: Kind::RepoPush,
        subject: "acme/api".to_owned(),
        accepted_at: at(1),
        attempt: 1,
        started_at: at(20),
        duration_ms: u64::try_from(Duration::from_millis(153).as_millis()).expect("small"),
        outcome: "deferred".to_owned(),
        cause: Some(Cause::new(CauseCode::Http5xx, "receiver answered 503")),
        status: Some(503),
        state: DeliveryState::Waiting,
        next_due_at: Some(at(5_173)),
        on_probation: false,
    }
}

/// Every form that a record takes, by its file.
fn records() -> [(&'static str, Record); 4] {
    let fanned_out = FannedOut {
        source: "registry.example.com".to_owned(),
        event: "42".to_owned(),
        kind: Kind::RepoPush,
        subject: "acme/api".to_owned(),
        accepted_at: at(1),
        deliveries: vec![PlannedDelivery {
            delivery: delivery(),
            notification: notification(),
            method: "webhook".to_owned(),
        }],
    };
    let delivered = AttemptRecord {
        attempt: 2,
        outcome: "delivered".to_owned(),
        cause: None,
        status: Some(204),
        state: DeliveryState::Delivered,
        next_due_at: None,
        ..attempt()
    };
    let cancelled = AttemptRecord {
        outcome: "cancelled".to_owned(),
        cause: None,
        status: None,
        state: DeliveryState::Cancelled,
        next_due_at: None,
        ..attempt()
    };
    let of = |attempt| Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) };
    [
        ("fanned_out", Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None }),
        ("deferred", of(attempt())),
        ("delivered", of(delivered)),
        ("cancelled", of(cancelled)),
    ]
}

#[test]
fn a_delivery_message_is_written_as_it_was_and_read_back_the_same() {
    let name = "wire/v1/delivery.json";
    same_as_golden(name, &message().to_json());
    let read = DeliveryMessage::from_json(golden(name).as_bytes()).expect("a message");
    same_as_golden(name, &read.to_json());
    assert_eq!((read.attempt, read.spent, read.due_at), (3, 2, at(5_000)));
    assert_eq!(Event::from_json(read.event.get().as_bytes(), at(0)), Ok(sample(Kind::RepoPush)));
}

#[test]
fn a_record_is_written_as_it_was_and_read_back_the_same() {
    for (name, record) in records() {
        let name = format!("wire/v1/record-{name}.json");
        same_as_golden(&name, &record.to_json());
        let read = Record::from_json(golden(&name).as_bytes()).expect("a record");
        assert_eq!(read, record);
        same_as_golden(&name, &read.to_json());
    }
}

#[test]
fn what_a_newer_binary_wrote_is_refused_with_the_remedy() {
    let mut newer: Value = serde_json::from_slice(&message().to_json()).expect("JSON");
    newer["v"] = json!(WIRE_VERSION + 1);
    let error = DeliveryMessage::from_json(newer.to_string().as_bytes()).expect_err("refused");
    assert!(matches!(error, WireError::Newer { version, .. } if version == WIRE_VERSION + 1), "{error}");
    assert!(error.to_string().contains("finish the upgrade"));
    assert!(matches!(Record::from_json(b"{}"), Err(WireError::Malformed { .. })));
}

#[test]
fn a_member_that_a_newer_minor_form_adds_is_passed_over() {
    let mut value: Value = serde_json::from_slice(&records()[1].1.to_json()).expect("JSON");
    value["attempt"]["of_tomorrow"] = json!({"x": 1});
    assert_eq!(Record::from_json(value.to_string().as_bytes()).expect("a record"), records()[1].1);
}

#[test]
fn every_word_of_the_wire_is_pinned() {
    let mut words: Vec<String> = vec![format!("version {WIRE_VERSION}")];
    words.extend(CauseCode::ALL.iter().map(|code| format!("cause {}", code.name())));
    words.extend(DeliveryState::ALL.iter().map(|state| format!("state {}", state.name())));
    words.extend(DeadReason::ALL.iter().map(|reason| format!("dead {}", reason.name())));
    same_as_golden("wire/v1/words.txt", words.join("\n").as_bytes());
    for code in CauseCode::ALL {
        assert_eq!(json!(code), json!(code.name()));
    }
    for state in DeliveryState::ALL {
        assert_eq!(json!(state), json!(state.name()));
    }
    for reason in DeadReason::ALL {
        assert_eq!(json!(reason), json!(reason.name()));
    }
}
