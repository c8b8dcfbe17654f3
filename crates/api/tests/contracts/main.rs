//! The published contracts against what is really served: `deploy/openapi.json`, `deploy/asyncapi.json`.
//!
//! Every other test of this crate holds what it is answered against the document as well: see `common::contract`.
//!
//! `BELLBUOY_WRITE_GOLDEN=1 cargo test -p bellbuoy-api --test contracts` writes the documents.

#[path = "../common/mod.rs"]
mod common;

mod walk;

use std::{env, fs, path::PathBuf};

use bellbuoy_broker::{Shards, Topology};
use bellbuoy_domain::Kind;
use common::{JSON, Rig};
use serde_json::{Value, json};
use uuid::Uuid;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs this test, no setting")]
fn may_write() -> bool {
    env::var_os("BELLBUOY_WRITE_GOLDEN").is_some()
}

/// Holds that a published document is the one that the code makes.
#[track_caller]
fn is_published(name: &str, made: &Value) {
    let text = format!("{}\n", serde_json::to_string_pretty(made).expect("JSON"));
    if may_write() {
        fs::write(path(name), &text).expect("written");
    }
    let published = fs::read_to_string(path(name)).expect("a document");
    let differs = text.lines().zip(published.lines()).find(|(made, published)| made != published);
    assert!(text == published, "deploy/{name} is not what the code makes: {differs:?}");
}

#[test]
fn the_published_document_of_every_operation_is_made_of_the_code_that_serves_it() {
    is_published("openapi.json", &bellbuoy_api::openapi());
}

#[test]
fn the_published_document_for_producers_is_made_of_the_code_that_takes_what_they_send() {
    is_published("asyncapi.json", &bellbuoy_api::asyncapi());
}

#[test]
fn producers_publish_to_the_exchange_that_topology_makes_by_a_key_for_each_kind() {
    let document = bellbuoy_api::asyncapi();
    let channel = &document["channels"]["events"];
    let exchange = &channel["bindings"]["amqp"]["exchange"];
    let definitions = Topology::new(&["webhook"], Shards::ONE).definitions("/");
    let made = definitions["exchanges"].as_array().expect("exchanges");
    let made = made.iter().find(|made| made["name"] == exchange["name"]).expect("the exchange");
    assert_eq!((&made["name"], &made["type"]), (&json!("bellbuoy.events"), &json!("topic")));
    assert_eq!((&made["type"], &made["durable"]), (&exchange["type"], &exchange["durable"]));
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(channel["parameters"]["kind"]["enum"], json!(kinds));
}

#[test]
fn every_schema_of_the_document_is_one() {
    let document = bellbuoy_api::openapi();
    let mut schemas = Vec::new();
    find(&document, "schema", &mut schemas);
    schemas.extend(document["components"]["schemas"].as_object().expect("schemas").values());
    assert!(schemas.len() > 200, "{}", schemas.len());
    for schema in schemas {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{schema}");
    }
    let mut references = Vec::new();
    find(&document, "$ref", &mut references);
    for reference in references.into_iter().filter_map(Value::as_str).filter(|at| *at != "schema/event.json")
    {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
}

/// Every member of that name.
fn find<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(name));
            members.values().for_each(|member| find(member, name, found));
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, name, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_operation_of_the_document_is_served() {
    let rig = Rig::start().await;
    let id = Uuid::from_u128(1).to_string();
    for operation in common::contract::operations() {
        let (verb, template) = operation.split_once(' ').expect("two");
        let path = template.replace("{id}", &id).replace("{uuid}", &id).replace("{type}", "not_found");
        let path = path.replace("{repository}", "acme/api").replace("{email}", "ann@example.com");
        let path = path.replace(['{', '}'], "");
        let answer = rig.send(&verb.to_uppercase(), &path, &[JSON], "{}").await;
        let detail = answer.text();
        assert_ne!(answer.status, 405, "{verb} {path}: {detail}");
        assert!(!detail.contains("there is nothing at this path"), "{verb} {path}: {detail}");
    }
}
