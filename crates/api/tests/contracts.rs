//! The published contracts against what is really served: `deploy/openapi.json`, `deploy/asyncapi.json`.

mod common;

use std::time::Duration;

use bellbuoy_broker::{Shards, Topology};
use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeliveryId, DeliveryState, Event, FannedOut, Kind, PlannedDelivery,
    Record, WIRE_VERSION,
};
use bellbuoy_store::{DeadLetter, SeenEvent};
use common::{JSON, Rig, STRUCTURED, push_event};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

const OPENAPI: &str = include_str!("../../../deploy/openapi.json");
const ASYNCAPI: &str = include_str!("../../../deploy/asyncapi.json");
const EVENT: &str = include_str!("../../../deploy/schema/event.json");
const ROUTES: &str = include_str!("../src/routes.rs");

/// Surfaces that the document describes whole.
const DESCRIBED: &[&str] = &[
    "/v1/events",
    "/v1/notifications",
    "/v1/deliveries",
    "/v1/dead-letters",
    "/v1/tokens",
    "/v1/inbox",
    "/v1/audit",
    "/v1/directory",
    "/v1/secrets",
    "/api/v1/user",
    "/api/v1/organization",
    "/api/v1/entities",
    "/api/v1/sign",
    "/authrepoemail",
    "/csrf_token",
    "/api/v0/webhooks",
    "/api/v0/api_tokens",
];

fn openapi() -> Value {
    serde_json::from_str(OPENAPI).expect("JSON")
}

/// The document with the schema of events where it points at that.
fn bundled() -> Value {
    let mut event: Value = serde_json::from_str(EVENT).expect("JSON");
    let members = event.as_object_mut().expect("an object");
    // Its own pointers then lead from the root of whatever it stands in.
    members.remove("$id");
    let definitions = members.remove("$defs").expect("definitions");
    let mut whole = openapi();
    put_event(&mut whole, &event);
    whole["$defs"] = definitions;
    whole
}

fn put_event(value: &mut Value, event: &Value) {
    match value {
        Value::Object(members) if members.get("$ref").is_some_and(|at| at == "schema/event.json") => {
            *value = event.clone();
        }
        Value::Object(members) => members.values_mut().for_each(|member| put_event(member, event)),
        Value::Array(items) => items.iter_mut().for_each(|item| put_event(item, event)),
        _ => {}
    }
}

/// Checks an answer's body against what the document says of it.
#[track_caller]
fn check(document: &Value, path: &str, verb: &str, status: u16, body: &Value) {
    let response = &document["paths"][path][verb]["responses"][status.to_string()];
    let shared = response["$ref"].as_str().and_then(|at| document.pointer(at.trim_start_matches('#')));
    let content = &shared.unwrap_or(response)["content"];
    let (_, content) = content.as_object().and_then(|content| content.iter().next()).unwrap_or_else(|| {
        panic!("{verb} {path} {status} is not described");
    });
    let mut schema = content["schema"].clone();
    schema["components"] = document["components"].clone();
    schema["$defs"] = document["$defs"].clone();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let faults: Vec<String> = validator
        .iter_errors(body)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .take(3)
        .collect();
    assert!(faults.is_empty(), "{verb} {path} {status}: {faults:?} in {body}");
}

#[tokio::test]
async fn every_operation_of_the_document_is_served() {
    let rig = Rig::start().await;
    let id = Uuid::from_u128(1).to_string();
    for (template, verbs) in openapi()["paths"].as_object().expect("paths") {
        let registries = ["distribution", "gitlab", "harbor", "zot", "acr", "dockerhub", "ecr", "ghcr"];
        let path = template.replace("{id}", &id).replace("{uuid}", &id).replace("{type}", "not_found");
        let path = path.replace("{namespace}", "acme").replace("{name}", "api");
        let path = path.replace("{team}", "dev").replace("{member}", "ann").replace("{org}", "acme");
        let path = path.replace("{email}", "ann@example.com").replace("{prefix}", "ann");
        let path = path.replace("{token}", "none");
        let paths: Vec<String> = if path.contains("{registry}") {
            registries.iter().map(|registry| path.replace("{registry}", registry)).collect()
        } else {
            vec![path]
        };
        for (path, verb) in paths
            .iter()
            .flat_map(|path| verbs.as_object().expect("verbs").keys().map(move |verb| (path, verb)))
        {
            let answer = rig.send(&verb.to_uppercase(), path, &[JSON], "{}").await;
            assert_ne!(answer.status, 405, "{verb} {path}");
            let detail = answer.text();
            assert!(!detail.contains("there is nothing at this path"), "{verb} {path}: {detail}");
            let described = &verbs[verb]["responses"][answer.status.as_u16().to_string()];
            assert!(
                described.is_object(),
                "{verb} {template} answered {}, which is not described",
                answer.status
            );
        }
    }
}

#[test]
fn every_route_of_these_surfaces_is_in_the_document() {
    let document = openapi();
    let routes: Vec<&str> = ROUTES
        .split('"')
        .filter(|text| DESCRIBED.iter().any(|surface| text.starts_with(surface)) && !text.ends_with('/'))
        .collect();
    assert!(routes.len() > 10, "{routes:?}");
    for route in routes {
        // What can be done with a notification is told by name, and a redirect to the slash is not told.
        let route = route.replace("{*", "{").replace("{act}", "test");
        let is_there = |path: &str| document["paths"][path].is_object();
        assert!(
            is_there(&route) || is_there(&format!("{route}/")),
            "{route} is not in deploy/openapi.json: describe it there"
        );
    }
}

#[tokio::test]
async fn what_is_answered_is_what_the_document_says() {
    let (rig, document) = (Rig::start().await, bundled());
    let sent = push_event("42");
    let answer = rig.send("POST", "/v1/events", &[STRUCTURED], sent.to_string()).await;
    check(&document, "/v1/events", "post", 202, &answer.json());
    let answer = rig.send("POST", "/v1/events", &[STRUCTURED], "{}").await;
    check(&document, "/v1/events", "post", 400, &answer.json());

    let webhook = json!({
        "url": "https://ci.example.com/${name}", "one_request_per": "tag", "bearer_token": "t",
        "headers": {"X-A": "b"}, "success_statuses": ["2xx", 302], "signatures": ["x-signature"],
    });
    for draft in [
        json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook", "config": webhook}),
        json!({
            "title": "t", "scope": {"registry": true}, "kinds": ["repo_push", "quota_error"], "filter": {"tags": ["v*"]},
            "method": "webhook", "config": {"url": "https://ci.example.com"}, "format": "cloudevents",
        }),
    ] {
        let schema =
            json!({"$ref": "#/components/schemas/NotificationDraft", "components": document["components"]});
        assert!(jsonschema::is_valid(&schema, &draft), "{draft}");
        let answer = rig.send("POST", "/v1/notifications", &[JSON], draft.to_string()).await;
        check(&document, "/v1/notifications", "post", 201, &answer.json());
        let made = answer.json();
        let schema =
            json!({"$ref": "#/components/schemas/WebhookConfig", "components": document["components"]});
        assert!(jsonschema::is_valid(&schema, &made["config"]), "{made}");
        let answer = rig.get(&format!("/v1/notifications/{}", made["id"].as_str().expect("an id"))).await;
        check(&document, "/v1/notifications/{id}", "get", 200, &answer.json());
        let test = format!("/v1/notifications/{}/test", made["id"].as_str().expect("an id"));
        let answer = rig.send("POST", &test, &[JSON], "").await;
        check(&document, "/v1/notifications/{id}/test", "post", 202, &answer.json());
    }
    check(&document, "/v1/notifications", "get", 200, &rig.get("/v1/notifications").await.json());

    let made = rig.webhook("acme/api").await;
    let base = "/api/v1/repository/{namespace}/{name}/notification/";
    check(&document, base, "post", 201, &made);
    check(&document, base, "get", 200, &rig.get("/api/v1/repository/acme/api/notification/").await.json());
    let answer = rig.get("/api/v1/repository/acme/api/notification/nonsense").await;
    check(&document, "/api/v1/repository/{namespace}/{name}/notification/{uuid}", "get", 404, &answer.json());

    let delivery = history(&rig, &made).await;
    check(&document, "/v1/deliveries", "get", 200, &rig.get("/v1/deliveries").await.json());
    let answer = rig.get(&format!("/v1/deliveries/{delivery}")).await;
    check(&document, "/v1/deliveries/{id}", "get", 200, &answer.json());
    check(&document, "/v1/events/{id}", "get", 200, &rig.get("/v1/events/past").await.json());
    let letters = rig.get("/v1/dead-letters").await.json();
    check(&document, "/v1/dead-letters", "get", 200, &letters);
    let letter = letters["dead_letters"][0]["id"].as_str().expect("a letter");
    let answer = rig.get(&format!("/v1/dead-letters/{letter}")).await;
    check(&document, "/v1/dead-letters/{id}", "get", 200, &answer.json());
    people(&rig, &document).await;
    for path in ["/", "/healthz", "/readyz"] {
        check(&document, path, "get", 200, &rig.get(path).await.json());
    }
}

/// The directory, tokens, who did what.
async fn people(rig: &Rig, document: &Value) {
    let acme = json!({"version": 1, "users": [{"name": "ann", "email": "ann@example.com"}], "organizations": [
        {"name": "acme", "teams": [{"name": "dev", "members": ["ann"]}]},
    ], "repositories": [{"name": "acme/api", "permissions": [{"grantee": "acme/dev", "role": "write"}]}]});
    let schema =
        json!({"$ref": "#/components/schemas/DirectoryDocument", "components": document["components"]});
    assert!(jsonschema::is_valid(&schema, &acme), "{acme}");
    let answer = rig.send("POST", "/v1/directory/import", &[JSON], acme.to_string()).await;
    check(document, "/v1/directory/import", "post", 200, &answer.json());
    let team = "/v1/directory/organizations/{name}/teams";
    for (template, path) in [
        ("/v1/directory/accounts", "/v1/directory/accounts"),
        ("/v1/directory/accounts/{name}", "/v1/directory/accounts/ann"),
        (team, "/v1/directory/organizations/acme/teams"),
        (&format!("{team}/{{team}}/members"), "/v1/directory/organizations/acme/teams/dev/members"),
        ("/v1/directory/repositories", "/v1/directory/repositories"),
        ("/v1/directory/permissions", "/v1/directory/permissions?repository=acme/api"),
        ("/v1/audit", "/v1/audit"),
    ] {
        check(document, template, "get", 200, &rig.get(path).await.json());
    }
    let wanted = json!({"title": "ci", "scopes": ["events:publish"], "account": "ann"});
    let answer = rig.send("POST", "/v1/tokens", &[JSON], wanted.to_string()).await;
    check(document, "/v1/tokens", "post", 201, &answer.json());
    check(document, "/v1/tokens", "get", 200, &rig.get("/v1/tokens?account=ann").await.json());
    let answer = rig.send("PUT", "/v1/directory/accounts/bob", &[JSON], r#"{"kind": "user"}"#).await;
    check(document, "/v1/directory/accounts/{name}", "put", 201, &answer.json());
}

/// An event, its dead delivery with an attempt, and a dead letter.
async fn history(rig: &Rig, made: &Value) -> DeliveryId {
    let at = Timestamp::from_millisecond(1_700_000_000_000).expect("a time");
    let notification = made["uuid"].as_str().expect("an id").parse().expect("a UUID");
    let event = Event::from_value(push_event("past"), at).expect("an event");
    let delivery = DeliveryId::derive(&event.source, &event.id, notification);
    let seen = SeenEvent {
        source: event.source.clone(),
        id: event.id.clone(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::new_v4(),
        accepted_at: at,
        body: event.to_json(),
    };
    rig.store.admit_events(&[seen], Duration::from_mins(1)).await.expect("a store");
    let fanned_out = FannedOut {
        source: event.source.clone(),
        event: event.id.clone(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        deliveries: vec![PlannedDelivery { delivery, notification, method: "webhook".into() }],
    };
    let attempt = AttemptRecord {
        delivery,
        notification,
        method: "webhook".into(),
        source: event.source.clone(),
        event: event.id.clone(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        attempt: 1,
        started_at: at,
        duration_ms: 12,
        outcome: "deferred".into(),
        cause: Some(Cause::new(CauseCode::Http5xx, "seen in a test")),
        status: Some(503),
        state: DeliveryState::Waiting,
        next_due_at: Some(at),
        on_probation: false,
    };
    let records = [
        Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None },
        Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) },
    ];
    rig.store.record(&records, 3).await.expect("recorded");
    let letter = DeadLetter {
        id: Uuid::new_v4(),
        origin: "ingest.harbor".into(),
        reason: "undecodable".into(),
        detail: "not JSON".into(),
        delivery: None,
        notification: None,
        method: None,
        subject: None,
        attempts: 0,
        died_at: at,
        body: b"\xff{".to_vec(),
    };
    rig.store.archive_dead_letters(&[letter]).await.expect("archived");
    delivery
}

#[test]
fn producers_publish_to_the_exchange_that_topology_makes_by_a_key_for_each_kind() {
    let document: Value = serde_json::from_str(ASYNCAPI).expect("JSON");
    let channel = &document["channels"]["events"];
    let exchange = &channel["bindings"]["amqp"]["exchange"];
    let definitions = Topology::new(&["webhook"], Shards::ONE).definitions("/");
    let made = definitions["exchanges"].as_array().expect("exchanges");
    let made = made.iter().find(|made| made["name"] == exchange["name"]).expect("the exchange");
    assert_eq!((&made["type"], &made["durable"]), (&exchange["type"], &exchange["durable"]));
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(channel["parameters"]["kind"]["enum"], json!(kinds));
    assert_eq!(openapi()["components"]["schemas"]["Kind"]["enum"], json!(kinds));
}
