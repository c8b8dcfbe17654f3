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
    CONTRACT.operations(|_| true)
}

/// Those that take a credential which does not stand in their path.
pub(crate) fn guarded_operations() -> BTreeSet<String> {
    CONTRACT.operations(|operation| operation["security"] != json!([]))
}

/// The operation that a request asks for.
pub(crate) fn operation(verb: &str, path: &str) -> Option<String> {
    let template = CONTRACT.template(path.split('?').next().unwrap_or_default())?;
    Some(format!("{} {template}", verb.to_lowercase()))
}

/// Holds an answer, and the body that it was the answer to, against the document: the status has to be listed, and the
/// body has to be what is said of it, to the last member.
#[track_caller]
pub(crate) fn hold(verb: &str, path: &str, headers: &[(&str, &str)], sent: &[u8], answer: &Answer) {
    let path = path.split('?').next().unwrap_or_default();
    let verb = if verb == "HEAD" { "get".to_owned() } else { verb.to_lowercase() };
    let status = answer.status.as_u16();
    if status == 308 {
        assert!(CONTRACT.template(&format!("{path}/")).is_some(), "{path} leads to what is not described");
        return;
    }
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
    } else {
        let sent_as =
            headers.iter().find(|(name, _)| *name == "content-type").map_or("", |(_, value)| *value);
        CONTRACT.hold_answer(&format!("{verb} {template}"), operation, answer);
        CONTRACT.hold_request(&format!("{verb} {template}"), operation, (sent_as, sent), answer);
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

    fn operations(&self, wanted: impl Fn(&Value) -> bool) -> BTreeSet<String> {
        let mut operations = BTreeSet::new();
        for (template, verbs) in self.paths() {
            let verbs = verbs.as_object().expect("verbs").iter().filter(|(_, operation)| wanted(operation));
            operations.extend(verbs.map(|(verb, _)| format!("{verb} {template}")));
        }
        operations
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
        // What producers and receivers post is taken with a slash at the end and without.
        if path.starts_with("/u/") || path.starts_with("/_/") {
            return best(path).or_else(|| best(&format!("{path}/")));
        }
        let is_taken = path.starts_with("/v1/ingest/") || path == "/v1/events/";
        best(path).or_else(|| best(path.strip_suffix('/').filter(|_| is_taken)?))
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
    fn hold_request(&self, named: &str, operation: &Value, sent: (&str, &[u8]), answer: &Answer) {
        let media_type = sent.0.split(';').next().unwrap_or_default();
        let is_described = operation["requestBody"]["content"][media_type].is_object();
        let Ok(sent) = serde_json::from_slice::<Value>(sent.1) else { return };
        if is_described && answer.status.is_success() {
            let (verb, template) = named.split_once(' ').expect("two");
            let at = ["paths", template, verb, "requestBody", "content", media_type, "schema"];
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
    let escaped = |part: &&str| part.replace('~', "~0").replace('/', "~1");
    let parts: Vec<String> = parts.iter().map(escaped).collect();
    format!("/{}", parts.join("/"))
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

/// Whether a path is of a template, whose places take one letter or more; those of names take slashes between others as
/// well.
fn fits(template: &str, path: &str) -> bool {
    let Some((literal, rest)) = template.split_once('{') else { return template == path };
    let Some(path) = path.strip_prefix(literal) else { return false };
    let Some((place, rest)) = rest.split_once('}') else { return false };
    let ends = path.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let has_slashes = matches!(place, "repository" | "reponame" | "name" | "email");
    let is_name = |name: &str| !name.starts_with('/') && !name.ends_with('/');
    let mut ends = ends.filter(|end| {
        let name = &path[..*end];
        if has_slashes { is_name(name) } else { !name.contains('/') }
    });
    ends.any(|end| fits(rest, &path[end..]))
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
