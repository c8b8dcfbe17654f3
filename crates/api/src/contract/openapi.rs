//! The document of every HTTP operation, in OpenAPI 3.1.

use std::collections::BTreeMap;

use bellbuoy_domain::{MethodName, settings_schema};
use http::StatusCode;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    Operation,
    operation::{Answer, Body, Content, Verb},
    shape::Shape,
};
use crate::{
    auth::{self, session},
    counts::Surface,
    dtr, ingest, problem, quay, routes,
};

/// The published contract of everything that is served over HTTP.
///
/// # Panics
///
/// When two types that are called alike look different; a test calls it.
pub fn openapi() -> Value {
    let mut document = Document::default();
    for operation in routes::routes().into_operations() {
        document.add(&operation);
    }
    document.finish()
}

/// What any request can meet, whatever it asks.
const ALWAYS: &[u16] = &[500, 503];

/// What one without a right credential meets, or after too many wrong ones.
const GUARDED: &[u16] = &[401, 403, 429];

/// What a query or a body can be refused with.
const WITH_QUERY: &[u16] = &[400];
const WITH_BODY: &[u16] = &[400, 408, 413];

/// What a place in a path can be refused with: it may be no text. To Quay's clients such a path is not there.
const WITH_PLACES: &[u16] = &[400];

/// Where the document keeps schemas that have a name, and refusals.
const SCHEMAS: &str = "/components/schemas";
const REFUSALS: &str = "/components/responses";

/// The document while it is written.
struct Document {
    paths: Map<String, Value>,
    refusals: BTreeMap<String, Value>,
    /// Of what is read: a member that has a default may be absent.
    read: SchemaGenerator,
    /// Of what is answered: every member is there that is not left out on purpose.
    written: SchemaGenerator,
}

impl Default for Document {
    fn default() -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = SCHEMAS.into());
        Self {
            paths: Map::new(),
            refusals: BTreeMap::new(),
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
        }
    }
}

impl Document {
    fn add(&mut self, operation: &Operation) {
        let template = operation.template();
        let described = self.described(operation, &template);
        let path = self.paths.entry(template).or_insert_with(|| json!({}));
        path[operation.verb.name()] = described;
    }

    fn described(&mut self, operation: &Operation, template: &str) -> Value {
        let mut described = json!({
            "operationId": operation_id(operation.verb, template),
            "tags": [tag(template)],
            "summary": operation.summary,
        });
        let parameters = self.parameters(operation, template);
        if !parameters.is_empty() {
            described["parameters"] = parameters.into();
        }
        if let Some(body) = &operation.body {
            described["requestBody"] = self.body(body);
        }
        described["responses"] = self.responses(operation, template).into();
        described["security"] = security(operation.verb, template);
        described
    }

    fn parameters(&mut self, operation: &Operation, template: &str) -> Vec<Value> {
        let in_path = template.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut parameters: Vec<Value> = in_path.map(path_parameter).collect();
        for query in &operation.queries {
            parameters.extend(query_parameters(query.make(&mut self.read)));
        }
        parameters
    }

    fn body(&mut self, body: &Body) -> Value {
        let contents = body.contents.iter().map(|content| {
            let schema = content.shape.make(&mut self.read);
            (content.media_type.to_owned(), json!({ "schema": schema }))
        });
        json!({ "required": body.is_required, "content": contents.collect::<Map<_, _>>() })
    }

    fn responses(&mut self, operation: &Operation, template: &str) -> Map<String, Value> {
        let mut responses: Vec<(u16, Value)> =
            operation.answers.iter().map(|answer| (answer.status, self.answer(answer))).collect();
        let refusals = refusals(operation, template);
        for status in refusals {
            if responses.iter().all(|(known, _)| *known != status) {
                responses.push((status, self.refusal(status, template)));
            }
        }
        responses.sort_by_key(|(status, _)| *status);
        responses.into_iter().map(|(status, response)| (status.to_string(), response)).collect()
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let mut response = json!({ "description": reason(answer.status) });
        if let Some(Content { media_type, shape }) = &answer.content {
            response["content"] = json!({ *media_type: { "schema": shape.make(&mut self.written) } });
        }
        response
    }

    fn refusal(&mut self, status: u16, template: &str) -> Value {
        let (form, media_type, shape) = match Surface::of(template) {
            Surface::Quay => ("quay", "application/json", Shape::of::<quay::ProblemView<'_>>()),
            Surface::Dtr => ("dtr", "application/json", Shape::of::<dtr::ErrorsView<'_>>()),
            _ => ("problem", "application/problem+json", Shape::of::<problem::ProblemView<'_>>()),
        };
        let name = format!("{form}-{status}");
        let reference = json!({ "$ref": format!("#{REFUSALS}/{name}") });
        let mut response = json!({
            "description": reason(status),
            "content": { media_type: { "schema": shape.make(&mut self.written) } },
        });
        if matches!(status, 429 | 503) {
            let seconds = json!({"type": "integer", "minimum": 1});
            let about = "Seconds after which to come back.";
            response["headers"] = json!({ "Retry-After": { "description": about, "schema": seconds } });
        }
        self.refusals.insert(name, response);
        reference
    }

    fn finish(mut self) -> Value {
        let mut schemas = self.read.take_definitions(true);
        for (name, schema) in self.written.take_definitions(true) {
            let known = schemas.insert(name.clone(), schema.clone());
            assert!(known.is_none_or(|known| known == schema), "{name} is the name of two different types");
        }
        for method in MethodName::ALL {
            schemas.insert(settings_name(*method), settings_schema(*method));
        }
        schemas.sort_keys();
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Bellbuoy",
                "version": "1",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
                "description": "Durable delivery of a container registry's events. Clients of Quay, of Docker Trusted \
                                Registry and of Docker Hub's callbacks meet their own APIs.",
            },
            "paths": self.paths,
            "components": { "securitySchemes": schemes(), "responses": self.refusals, "schemas": schemas },
        })
    }
}

/// What the settings of a method are called.
fn settings_name(method: MethodName) -> String {
    format!("settings-{method}")
}

/// Ties a notification's `config` to the settings of its `method`, for the schemas of what holds both.
pub(crate) fn tie_settings(schema: &mut Schema) {
    let cases: Vec<Value> = MethodName::ALL
        .iter()
        .map(|method| {
            json!({
                "if": {"properties": {"method": {"const": method.name()}}},
                "then": {"properties": {"config": {"$ref": format!("#{SCHEMAS}/{}", settings_name(*method))}}},
            })
        })
        .collect();
    schema.insert("allOf".to_owned(), cases.into());
}

fn refusals(operation: &Operation, template: &str) -> Vec<u16> {
    let mut statuses = operation.refusals.clone();
    statuses.extend(ALWAYS);
    if !auth::is_open(template) {
        statuses.extend(GUARDED);
    }
    if !operation.queries.is_empty() {
        statuses.extend(WITH_QUERY);
    }
    if operation.body.is_some() {
        statuses.extend(WITH_BODY);
    }
    if template.contains('{') && !quay::owns(template) {
        statuses.extend(WITH_PLACES);
    }
    statuses
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("An answer")
}

/// `get_v1_notifications_id`.
fn operation_id(verb: Verb, template: &str) -> String {
    let words = template.split(['/', '{', '}', '-']).filter(|word| !word.is_empty());
    [verb.name()].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

/// The part of the API that a path belongs to.
fn tag(template: &str) -> &str {
    match Surface::of(template) {
        Surface::Ingest => "ingest",
        Surface::Quay => "quay",
        Surface::Dtr => "dtr",
        Surface::Callback => "dockerhub",
        Surface::Native => template.split('/').nth(2).unwrap_or_default(),
        Surface::Other => "health",
    }
}

fn path_parameter(name: &str) -> Value {
    let mut schema = json!({"type": "string"});
    if matches!(name, "id" | "uuid") {
        schema["format"] = "uuid".into();
    }
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

/// The members of a query, each a parameter.
fn query_parameters(members: Schema) -> Vec<Value> {
    let members = members.to_value();
    let required = |name: &String| {
        members["required"].as_array().is_some_and(|required| required.iter().any(|one| one == name.as_str()))
    };
    let properties = members["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| {
            let mut schema = without_null(schema.clone());
            let about = schema.as_object_mut().and_then(|members| members.shift_remove("description"));
            let mut parameter = json!({ "name": name, "in": "query", "required": required(name) });
            if let Some(about) = about {
                parameter["description"] = about;
            }
            parameter["schema"] = schema;
            parameter
        })
        .collect()
}

/// A query has no way to say null: a member that may be null may be absent.
fn without_null(mut schema: Value) -> Value {
    let Some(members) = schema.as_object_mut() else { return schema };
    if members.get("default").is_some_and(Value::is_null) {
        members.shift_remove("default");
    }
    if let Some(kinds) = members.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_mut_slice() {
            let only = only.take();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [Value::Object(only)] = choices.as_mut_slice() {
            let only = std::mem::take(only);
            members.shift_remove("anyOf");
            members.extend(only);
        }
    }
    schema
}

/// The credentials that an operation takes: any one of them.
fn security(verb: Verb, template: &str) -> Value {
    if auth::is_open(template) {
        return json!([]);
    }
    let login = if verb == Verb::Get { json!({"session": []}) } else { json!({"session": [], "csrf": []}) };
    let mut any = vec![json!({"bearer": []}), json!({"basic": []}), login];
    if dtr::owns(template) {
        any.push(json!({"refresh_token": []}));
    }
    if template.starts_with(ingest::credentials::WITH_TOKEN) {
        any.push(json!({"token": []}));
    }
    if ingest::credentials::SIGNED.contains(&template) {
        any.push(json!({"signature": []}));
    }
    any.into()
}

fn schemes() -> Value {
    json!({
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic", "description": "The token as the password."},
        "session": {
            "type": "apiKey", "in": "cookie", "name": session::NAME,
            "description": "A login by /api/v1/signin.",
        },
        "csrf": {
            "type": "apiKey", "in": "header", "name": "X-CSRF-Token",
            "description": "The word that goes with the cookie: of /csrf_token, or of the answer to signing in.",
        },
        "refresh_token": {
            "type": "apiKey", "in": "query", "name": dtr::REFRESH_TOKEN,
            "description": "The token, as clients of Docker Trusted Registry send it.",
        },
        "token": {
            "type": "apiKey", "in": "query", "name": ingest::credentials::TOKEN,
            "description": "The token, for registries that can send no header.",
        },
        "signature": {
            "type": "apiKey", "in": "header", "name": ingest::credentials::SIGNATURE,
            "description": "GitHub's signature of the body, by the secret in `ingest.github_secret`.",
        },
    })
}
