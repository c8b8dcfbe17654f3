//! The published document, held against every request that a test's rig sends and every answer that it gets.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock, Mutex},
};

use bellbuoy_testkit::http::Answer;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

const OPENAPI: &str = include_str!("../../../../deploy/openapi.json");
const EVENT: &str = include_str!("../../../../deploy/schema/event.json");

static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);

/// The operations, as `verb template`, of which an answer of 2xx was held against the document in this process.
pub(crate) fn seen() -> BTreeSet<String> {
    CONTRACT.seen.lock().expect("the operations").clone()
}

/// Every operation, likewise.
pub(crate) fn operations() -> BTreeSet<String> {
    let of = |(template, verbs): (&String, &Value)| {
        let verbs = verbs.as_object().expect("verbs").keys();
        verbs.map(|verb| format!("{verb} {template}")).collect::<Vec<_>>()
    };
    CONTRACT.paths().iter().flat_map(of).collect()
}

/// Holds an answer, and the body that it was the answer to, against the document: the status has to be listed, and the
/// body has to be what is said of it, to the last member.
#[track_caller]
pub(crate) fn hold(verb: &str, path: &str, sent: &[u8], answer: &Answer) {
    let path = path.split('?').next().unwrap_or_default();
    let verb = if verb == "HEAD" { "get".to_owned() } else { verb.to_lowercase() };
    let status = answer.status.as_u16();
    let Some(template) = CONTRACT.template(path) else {
        assert!((400..=503).contains(&status), "{verb} {path} is not described, and is answered {status}");
        return;
    };
    let operation = &CONTRACT.paths()[template][&verb];
    if operation.is_null() {
        assert!(
            (400..=503).contains(&status),
            "{verb} {template} is not described, and is answered {status}"
        );
    } else if status == 308 {
        assert!(CONTRACT.template(&format!("{path}/")).is_some(), "{path} leads to what is not described");
    } else {
        CONTRACT.hold_answer(&format!("{verb} {template}"), operation, answer);
        CONTRACT.hold_request(&format!("{verb} {template}"), operation, sent, answer);
    }
}

struct Contract {
    /// As published, but for references to other documents.
    open: Value,
    /// The same with no room for members that it does not name.
    closed: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
    seen: Mutex<BTreeSet<String>>,
}

impl Contract {
    fn read() -> Self {
        let mut open: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let mut event: Value = serde_json::from_str(EVENT).expect("JSON");
        let members = event.as_object_mut().expect("an object");
        // Its own pointers then lead from the root of whatever it stands in.
        members.remove("$id");
        let definitions = members.remove("$defs").expect("definitions");
        put_event(&mut open, &json!({"$ref": "#/components/event"}));
        open["components"]["event"] = event;
        open["$defs"] = definitions;
        let mut closed = open.clone();
        for (name, schema) in closed["components"]["schemas"].as_object_mut().expect("schemas") {
            if !name.starts_with("settings-") {
                close(schema);
            }
        }
        for verbs in closed["paths"].as_object_mut().expect("paths").values_mut() {
            verbs.as_object_mut().expect("verbs").values_mut().for_each(|verb| close(&mut verb["responses"]));
        }
        close(&mut closed["components"]["responses"]);
        Self { open, closed, validators: Mutex::default(), seen: Mutex::default() }
    }

    fn paths(&self) -> &Map<String, Value> {
        self.open["paths"].as_object().expect("paths")
    }

    /// The template that a path is of: the one that says most of it. Names of repositories hold slashes.
    fn template(&self, path: &str) -> Option<&str> {
        let best = |path: &str| {
            let fitting = self.paths().keys().filter(|template| fits(template, path));
            fitting.max_by_key(|template| said(template)).map(String::as_str)
        };
        // What is posted is taken with a slash at the end as well.
        best(path).or_else(|| best(path.strip_suffix('/')?))
    }

    #[track_caller]
    fn hold_answer(&self, named: &str, operation: &Value, answer: &Answer) {
        let status = answer.status.as_u16().to_string();
        let (verb, template) = named.split_once(' ').expect("two");
        let response = &operation["responses"][&status];
        assert!(
            response.is_object(),
            "{named} is answered {status}, which is not described: {}",
            answer.text()
        );
        // A refusal is described once for all.
        let shared = response["$ref"].as_str().map(|at| at.trim_start_matches('#'));
        let at =
            shared.map_or_else(|| pointer(&["paths", template, verb, "responses", &status]), str::to_owned);
        let response = self.open.pointer(&at).expect("a response");
        let content = response["content"].as_object().and_then(|content| content.iter().next());
        if let Some((media_type, _)) = content.filter(|_| !answer.body.is_empty()) {
            assert_eq!(answer.headers["content-type"], media_type.as_str(), "{named} {status}");
            if media_type.ends_with("json") {
                let at = format!("{at}{}", pointer(&["content", media_type, "schema"]));
                self.hold(named, &self.closed, &at, &answer.json());
            }
        } else {
            assert!(answer.body.is_empty(), "{named} {status} has no body: {}", answer.text());
        }
        if answer.status.is_success() {
            self.seen.lock().expect("the operations").insert(named.to_owned());
        }
    }

    /// What was taken has to be what the document says that is taken.
    #[track_caller]
    fn hold_request(&self, named: &str, operation: &Value, sent: &[u8], answer: &Answer) {
        let is_described = operation["requestBody"]["content"]["application/json"].is_object();
        let Ok(sent) = serde_json::from_slice::<Value>(sent) else { return };
        if is_described && answer.status.is_success() {
            let (verb, template) = named.split_once(' ').expect("two");
            let at = ["paths", template, verb, "requestBody", "content", "application/json", "schema"];
            self.hold(named, &self.open, &pointer(&at), &sent);
        }
    }

    /// Holds a body against the schema at that pointer.
    #[track_caller]
    fn hold(&self, named: &str, document: &Value, at: &str, body: &Value) {
        let mut validators = self.validators.lock().expect("validators");
        let validator = Arc::clone(validators.entry(at.to_owned()).or_insert_with(|| {
            let mut schema = document.pointer(at).unwrap_or_else(|| panic!("{at}")).clone();
            schema["components"] = document["components"].clone();
            schema["$defs"] = document["$defs"].clone();
            let options = jsonschema::options().should_validate_formats(true).build(&schema);
            Arc::new(options.unwrap_or_else(|error| panic!("{at}: {error}")))
        }));
        // A test that fails must not fail those beside it.
        drop(validators);
        let faults: Vec<String> = validator
            .iter_errors(body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .take(3)
            .collect();
        assert!(faults.is_empty(), "{named}: {faults:?} in {body}");
    }
}

fn pointer(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
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

/// Leaves no room for members without a name. What only says more of an object has its members named elsewhere.
fn close(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("type").is_some_and(|kind| *kind == "object")
                && members.contains_key("properties")
                && !members.contains_key("additionalProperties")
            {
                members.insert("additionalProperties".to_owned(), false.into());
            }
            let inner = members.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "allOf" | "not"));
            inner.for_each(|(_, member)| close(member));
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Whether a path is of a template, whose places take one letter or more.
fn fits(template: &str, path: &str) -> bool {
    let Some((literal, rest)) = template.split_once('{') else { return template == path };
    let Some(path) = path.strip_prefix(literal) else { return false };
    let rest = rest.split_once('}').map_or("", |(_, rest)| rest);
    path.char_indices().map(|(at, letter)| at + letter.len_utf8()).any(|end| fits(rest, &path[end..]))
}

/// How much of a path a template says: its letters outside places.
fn said(template: &str) -> usize {
    let mut inside = false;
    let outside = template.chars().filter(|letter| {
        inside = (inside || *letter == '{') && *letter != '}';
        !inside && *letter != '}'
    });
    outside.count()
}
