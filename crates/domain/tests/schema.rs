//! The published schemas against what is really taken and sent: `deploy/schema`.
//!
//! `BELLBUOY_WRITE_GOLDEN=1 cargo test -p bellbuoy-domain --test schema` writes them.

use std::{env, fs, path::PathBuf};

use bellbuoy_domain::{
    Event, Format, Kind, MethodConfig, MethodName, RepositoryName, Scope, Secrets, event_schema,
    format_schema, settings_schema,
};
use jiff::Timestamp;
use jsonschema::Validator;
use serde_json::{Value, json};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn golden(format: Format, kind: Kind) -> Value {
    read(&format!("crates/domain/tests/golden/{format}/{kind}.json"))
}

#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs this test, no setting")]
fn may_write() -> bool {
    env::var_os("BELLBUOY_WRITE_GOLDEN").is_some()
}

/// Holds that a published schema is the one that the types make.
#[track_caller]
fn is_published(name: &str, made: &Value) {
    let text = format!("{}\n", serde_json::to_string_pretty(made).expect("JSON"));
    if may_write() {
        fs::write(path(name), &text).expect("written");
    }
    let published = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let differs = text.lines().zip(published.lines()).find(|(made, published)| made != published);
    assert!(text == published, "{name} is not what the types make: {differs:?}");
}

#[test]
fn the_schema_of_events_is_the_types_own() {
    is_published("deploy/schema/event.json", &event_schema());
}

#[test]
fn the_schema_of_every_format_is_that_of_the_types_that_are_written() {
    for format in formats() {
        is_published(&format!("deploy/schema/formats/{format}.json"), &format_schema(format));
    }
}

/// Those that have a schema beside that of events.
fn formats() -> impl Iterator<Item = Format> {
    Format::ALL.iter().copied().filter(|format| *format != Format::CloudEvents)
}

#[test]
fn whatever_the_schema_of_events_takes_is_taken_and_nothing_else() {
    let validator = jsonschema::validator_for(&event_schema()).expect("a schema");
    let others = [
        json!(null),
        json!(true),
        json!("text"),
        json!(7),
        json!(-7),
        json!(1.5),
        json!([]),
        json!({}),
        json!(["x"]),
        json!([1]),
        json!({"x": 1}),
    ];
    let (mut taken, mut refused) = (0, 0);
    for kind in Kind::ALL {
        let event = golden(Format::CloudEvents, *kind);
        assert!(
            validator.is_valid(&event),
            "{kind}: {:?}",
            validator.iter_errors(&event).next().map(|e| e.to_string())
        );
        let members: Vec<String> = event["data"].as_object().expect("an object").keys().cloned().collect();
        for (member, other) in
            members.iter().flat_map(|member| others.iter().map(move |other| (member, other)))
        {
            let mut changed = event.clone();
            changed["data"][member] = other.clone();
            let is_event = Event::from_value(changed.clone(), Timestamp::UNIX_EPOCH).is_ok();
            assert_eq!(validator.is_valid(&changed), is_event, "{kind} {member} {other}");
            if is_event { taken += 1 } else { refused += 1 }
        }
        for attribute in ["specversion", "id", "source", "type", "data"] {
            for other in [json!(null), json!(""), json!(7), json!([]), json!("nonsense")] {
                let mut changed = event.clone();
                changed[attribute] = other.clone();
                let is_event = Event::from_value(changed.clone(), Timestamp::UNIX_EPOCH).is_ok();
                assert_eq!(validator.is_valid(&changed), is_event, "{kind} {attribute} {other}");
            }
        }
    }
    assert!(taken > 300 && refused > 300, "{taken} {refused}");
}

/// Settings of a method that are taken, to be changed member by member.
fn settings(method: MethodName) -> Vec<Value> {
    let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    match method {
        MethodName::Webhook => vec![
            json!({
                "version": 1, "url": "https://ci.example.com/hook", "template": null,
                "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "signing_key": null, "one_request_per": "tag",
                "http_method": "PUT", "headers": {"X-A": "b"}, "secret_headers": {"X-B": "c"}, "bearer_token": "t",
                "username": null, "password": null, "authorization": "", "hmac_secret": "s",
                "success_statuses": ["2xx", 302, "400-403"], "follow_redirects": true,
                "signatures": ["standard-webhooks", "standard-webhooks-v1a", "x-hub-signature-256", "x-signature"],
                "rate": 60, "dtr_type": "REPO_EVENT", "chain": ["https://next.example.com/"], "extra_ca": certificate,
                "client_certificate": "", "client_key": null, "skip_tls_verification": false,
            }),
            json!({"url": "HTTP://127.0.0.1:8080", "username": "ann", "password": "p", "of_ours": [1]}),
            json!({"url": "http://[::1]/?a=${tag}", "authorization": "Token t"}),
        ],
        MethodName::QuayNotification => vec![json!({"target": {"kind": "user", "name": "ann"}})],
        MethodName::Email => vec![json!({"email": "ann@example.com", "subject": null, "text": null})],
        MethodName::HipChat => vec![json!({"room_id": "7", "notification_token": "t", "text": null})],
        MethodName::Flowdock => vec![json!({"flow_api_token": "t", "text": null})],
        _ => vec![json!({"url": "https://chat.example.com/hook", "text": null})],
    }
}

fn is_taken(method: MethodName, settings: &Value) -> bool {
    // Only a namespace's mail may leave out to whom it goes.
    let is_blank = |value: &Value| value.is_null() || *value == "";
    let scope = if method == MethodName::Email && is_blank(&settings["email"]) {
        Scope::Namespace("acme".to_owned())
    } else {
        Scope::Repository(RepositoryName::parse("acme/api").expect("a name"))
    };
    let mut config = settings.as_object().expect("an object").clone();
    let is_kept = method != MethodName::Webhook || {
        // Any key of 32 bytes will do.
        Secrets::take(&mut config, &Secrets::default(), |seed| *seed).is_ok()
    };
    is_kept && MethodConfig::parse(method, &config, &scope).is_ok()
}

#[test]
fn whatever_the_schema_of_a_methods_settings_takes_is_taken_and_nothing_else() {
    let url = "https://ci.example.com/hook";
    let others = [
        json!(null),
        json!(true),
        json!(""),
        json!("text"),
        json!("a b"),
        json!("a\nb"),
        json!("é"),
        json!("PATCH"),
        json!("event"),
        json!("user"),
        json!("a:b"),
        json!(url),
        json!("ftp://ci.example.com/"),
        json!("https://a@b/"),
        json!("https:///x"),
        json!("https://ci.example.com/a b"),
        json!("a@b@c"),
        json!("x".repeat(5000)),
        json!(0),
        json!(1),
        json!(7),
        json!(-7),
        json!(302),
        json!(1.5),
        json!(99_999),
        json!([]),
        json!({}),
        json!(["x"]),
        json!([1]),
        json!([url]),
        json!(["2xx", "200 - 204", 418]),
        json!([99]),
        json!(["5xx"]),
        json!(vec![url; 10]),
        json!(vec![302; 21]),
        json!(["x-signature"]),
        json!({"x": 1}),
        json!({"x": "y"}),
        json!({"X-Ok": "a\tb"}),
        json!({"Host": "y"}),
        json!({"proxy-x": "y"}),
        json!({"Cookie": "y"}),
        json!({"AUTHORIZATION": "y"}),
        json!({"a b": "y"}),
        json!({"x": "é"}),
        json!({"kind": "team", "name": "dev"}),
        json!({"kind": "team"}),
    ];
    let (mut taken, mut refused) = (0, 0);
    for method in MethodName::ALL.iter().copied() {
        let validator = jsonschema::validator_for(&settings_schema(method)).expect("a schema");
        for good in settings(method) {
            let faults: Vec<_> = validator.iter_errors(&good).map(|error| error.to_string()).collect();
            assert!(faults.is_empty() && is_taken(method, &good), "{method}: {faults:?} in {good}");
            let members: Vec<&String> = good.as_object().expect("an object").keys().collect();
            for (member, other) in
                members.iter().flat_map(|member| others.iter().map(move |other| (member, other)))
            {
                // What a template is, a schema can't say.
                if other.is_string() && matches!(member.as_str(), "template" | "subject" | "text") {
                    continue;
                }
                let mut changed = good.clone();
                changed[member.as_str()] = other.clone();
                let is_taken = is_taken(method, &changed);
                assert_eq!(validator.is_valid(&changed), is_taken, "{method} {member} {other}");
                if is_taken { taken += 1 } else { refused += 1 }
            }
        }
    }
    assert!(taken > 100 && refused > 500, "{taken} {refused}");
}

/// The schema of a format's payload for one kind.
fn of_kind(schema: &Value, kind: Kind) -> Validator {
    let mut schema = schema.clone();
    assert!(schema["$defs"][kind.name()].is_object(), "{kind} is missing");
    schema.as_object_mut().expect("an object").remove("anyOf");
    schema["$ref"] = format!("#/$defs/{kind}").into();
    jsonschema::validator_for(&schema).expect("a schema")
}

#[test]
fn every_payload_is_what_its_formats_schema_says_to_the_last_member() {
    for format in formats() {
        let schema = format_schema(format);
        let whole = jsonschema::validator_for(&schema).expect("a schema");
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| format.expresses(*kind)).collect();
        assert_eq!(schema["$defs"].as_object().expect("an object").len(), kinds.len(), "{format}");
        for kind in kinds {
            let (payload, own) = (golden(format, kind), of_kind(&schema, kind));
            let faults: Vec<_> = own.iter_errors(&payload).map(|error| error.to_string()).collect();
            assert!(
                whole.is_valid(&payload) && faults.is_empty(),
                "{format} {kind}: {faults:?} in {payload}"
            );
            // Quay's form passes on whatever else a producer sent, and any of it may be absent.
            if format != Format::Quay {
                assert!(
                    closed(&schema, kind).is_valid(&payload),
                    "{format} {kind} does not name all of {payload}"
                );
                left_out(format, kind, &own, &payload);
            }
            let mut scalars = Vec::new();
            walk(&payload, String::new(), &mut scalars);
            let is_open =
                |at: &String| format == Format::Quay && OPEN.iter().any(|open| at.starts_with(open));
            for scalar in scalars.into_iter().filter(|at| !is_open(at)) {
                let mut changed = payload.clone();
                *changed.pointer_mut(&scalar).expect("a member") = json!([["of another type"]]);
                assert!(!own.is_valid(&changed), "{format} {kind} {scalar}");
            }
        }
    }
}

/// What Quay's form passes on as it came, whatever that is.
const OPEN: &[&str] = &[
    "/trigger_metadata/commit_info/author/",
    "/trigger_metadata/commit_info/committer/",
    "/trigger_metadata/commit_info/date",
    "/data/",
    "/deletedAt",
    "/lintedAt",
    "/mirroring/",
    "/promotion/",
    "/pulledAt",
    "/pushedAt",
    "/replicas/",
    "/scanSummary/tag",
];

/// The same with no room for members that it does not name.
fn closed(schema: &Value, kind: Kind) -> Validator {
    let mut schema = schema.clone();
    close(&mut schema["$defs"]);
    of_kind(&schema, kind)
}

fn close(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Members that are there where something is known, and else are not: the end of their object's path, and their name.
const OPTIONAL: &[(&str, &str)] = &[
    ("", "location"),
    ("/contents", "tag"),
    ("/contents/scanSummary", "layer_details"),
    ("/events/0/actor", "name"),
    ("/events/0/target", "digest"),
    ("/summary/summary", "Critical"),
    ("/summary/summary", "Medium"),
    ("/summary/summary", "Low"),
];

/// Holds that the schema notices when a member is left out.
#[track_caller]
fn left_out(format: Format, kind: Kind, schema: &Validator, payload: &Value) {
    let mut members = Vec::new();
    objects(payload, "", &mut members);
    for (object, member) in members {
        let mut changed = payload.clone();
        let there = changed.pointer_mut(&object).and_then(Value::as_object_mut).expect("an object");
        there.shift_remove(&member);
        let is_optional = OPTIONAL.iter().any(|(end, name)| object.ends_with(end) && member == *name);
        assert!(is_optional || !schema.is_valid(&changed), "{format} {kind} {object} {member}");
    }
}

/// The paths of all objects, each with the names of its members.
fn objects(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                found.push((path.to_owned(), name.clone()));
                objects(member, &format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(item, &format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The paths of all texts, numbers and truths.
fn walk(value: &Value, path: String, scalars: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                walk(member, format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), scalars);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, format!("{path}/{index}"), scalars);
            }
        }
        Value::Null => {}
        _ => scalars.push(path),
    }
}
