//! What bodies have to look like, and what Quay's validator (jsonschema 3.2.0) says of one that
//! does not: the same first line, then which part of which body.

use std::borrow::Cow;

use bellbuoy_domain::RepositoryRole;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// What a body has to look like.
struct Form {
    /// Its members in Quay's order, and their types. What else it holds is ignored.
    members: &'static [(&'static str, &'static str)],
    required: &'static [&'static str],
}

const NOTIFICATION: Form = Form {
    members: &[
        ("event", "string"),
        ("method", "string"),
        ("config", "object"),
        ("eventConfig", "object"),
        ("title", "string"),
    ],
    required: &["event", "method", "config", "eventConfig"],
};

const SIGN_IN: Form =
    Form { members: &[("username", "string"), ("password", "string")], required: &["username", "password"] };

const REPOSITORY: Form = Form {
    members: &[
        ("repository", "string"),
        ("visibility", "string"),
        ("namespace", "string"),
        ("description", "string"),
        ("repo_kind", "string"),
    ],
    required: &["repository"],
};

const ROLE: Form = Form { members: &[("role", "string")], required: &["role"] };

const DISMISSED: Form = Form { members: &[("dismissed", "boolean")], required: &[] };

impl Form {
    fn schema(&self) -> Schema {
        let types = self.members.iter().map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind })));
        let mut schema = Schema::default();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("required".to_owned(), json!(self.required));
        schema.insert("properties".to_owned(), types.collect::<Map<_, _>>().into());
        schema
    }
}

/// What the contract says of these bodies.
macro_rules! form_schemas {
    ($($type:ident = $form:ident as $name:literal,)*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $form.schema()
            }
        })*
    };
}
form_schemas! {
    NotificationBody = NOTIFICATION as "QuayNotificationDraft",
    SignIn = SIGN_IN as "QuaySignIn",
    NewRepository = REPOSITORY as "QuayRepositoryDraft",
    RoleBody = ROLE as "QuayRole",
    DismissedBody = DISMISSED as "QuayDismissal",
}

/// Longest value that is repeated in a refusal, in characters.
const SHOWN: usize = 200;

/// A notification's body whose members have the right types. What else it holds is ignored.
#[derive(Debug)]
pub(super) struct NotificationBody {
    pub(super) event: String,
    pub(super) method: String,
    pub(super) config: Map<String, Value>,
    pub(super) event_config: Map<String, Value>,
    pub(super) title: Option<String>,
}

/// A name and a password.
pub(super) struct SignIn {
    pub(super) username: String,
    pub(super) password: String,
}

/// A repository to be made.
#[derive(Debug)]
pub(super) struct NewRepository {
    pub(super) repository: String,
    pub(super) namespace: Option<String>,
    pub(super) public: bool,
}

/// A role to be granted.
pub(super) struct RoleBody;

/// An in-app item to be put away or back.
pub(super) struct DismissedBody;

/// Checks a notification's body against the schema.
///
/// # Errors
///
/// The validator's text for the first fault: missing members before wrong types.
pub(super) fn read(body: Value) -> Result<NotificationBody, String> {
    let mut body = members(body, &NOTIFICATION)?;
    Ok(NotificationBody {
        event: text(&mut body, "event").unwrap_or_default(),
        method: text(&mut body, "method").unwrap_or_default(),
        config: object(&mut body, "config"),
        event_config: object(&mut body, "eventConfig"),
        title: text(&mut body, "title"),
    })
}

/// The same for what signs somebody in.
pub(super) fn sign_in(body: Value) -> Result<SignIn, String> {
    let mut body = members(body, &SIGN_IN).map_err(|fault| {
        // What was sent as a password is repeated to nobody.
        if fault.contains("['password']") { "'password' is not of type 'string'".to_owned() } else { fault }
    })?;
    let [username, password] = ["username", "password"].map(|name| text(&mut body, name).unwrap_or_default());
    Ok(SignIn { username, password })
}

/// The same for a repository to be made.
pub(super) fn new_repository(body: Value) -> Result<NewRepository, String> {
    let mut body = members(body, &REPOSITORY)?;
    let visibility = text(&mut body, "visibility");
    let public = match visibility.as_deref() {
        None | Some("private") => false,
        Some("public") => true,
        Some(other) => return Err(none_of(other, "['public', 'private']", "visibility")),
    };
    if let Some(kind) = text(&mut body, "repo_kind").filter(|kind| kind != "image") {
        return Err(none_of(&kind, "['image']", "repo_kind"));
    }
    let namespace = text(&mut body, "namespace");
    Ok(NewRepository { repository: text(&mut body, "repository").unwrap_or_default(), namespace, public })
}

/// The same for a role to be granted.
pub(super) fn role(body: &Value) -> Result<RepositoryRole, String> {
    let mut body = members(body.clone(), &ROLE)?;
    let role = text(&mut body, "role").unwrap_or_default();
    role.parse().map_err(|_| none_of(&role, "['read', 'write', 'admin']", "role"))
}

/// The same for an in-app item to be put away, or back without a word.
pub(super) fn dismissed(body: &Value) -> Result<bool, String> {
    let body = members(body.clone(), &DISMISSED)?;
    Ok(body.get("dismissed").and_then(Value::as_bool).unwrap_or_default())
}

fn members(body: Value, form: &Form) -> Result<Map<String, Value>, String> {
    let Value::Object(body) = body else { return Err(wrong_type(&body, "object", None)) };
    if let Some(name) = form.required.iter().find(|name| !body.contains_key(**name)) {
        return Err(format!("'{name}' is a required property\n\nFailed validating 'required' in schema"));
    }
    for (name, kind) in form.members {
        if let Some(value) = body.get(*name)
            && type_name(value) != *kind
        {
            return Err(wrong_type(value, kind, Some(name)));
        }
    }
    Ok(body)
}

fn none_of(value: &str, choices: &str, member: &str) -> String {
    let shown = python(&Value::from(value));
    format!(
        "{shown} is not one of {choices}\n\nFailed validating 'enum' in schema['properties']['{member}']\n\nOn instance['{member}']:\n    {shown}"
    )
}

fn text(body: &mut Map<String, Value>, name: &str) -> Option<String> {
    match body.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn object(body: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    match body.remove(name) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn wrong_type(value: &Value, kind: &str, member: Option<&str>) -> String {
    let (schema, instance) = match member {
        Some(name) => (format!("['properties']['{name}']"), format!("['{name}']")),
        None => (String::new(), String::new()),
    };
    let shown = python(value);
    format!(
        "{shown} is not of type '{kind}'\n\nFailed validating 'type' in schema{schema}\n\nOn instance{instance}:\n    {shown}"
    )
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value as Python shows it, cut at [`SHOWN`] characters.
fn python(value: &Value) -> String {
    let mut shown = String::new();
    write_python(&mut shown, value);
    match shown.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &shown[..end]),
        None => shown,
    }
}

fn write_python(out: &mut String, value: &Value) {
    if out.len() > 8 * SHOWN {
        return;
    }
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().take(SHOWN).enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_python(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().take(SHOWN).enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_text(out, name);
                out.push_str(": ");
                write_python(out, member);
            }
            out.push('}');
        }
    }
}

fn write_text(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for letter in text.chars().take(SHOWN) {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter == quote => out.extend(['\\', letter]),
            letter if letter.is_control() => out.extend(letter.escape_unicode()),
            letter => out.push(letter),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({"event": "repo_push", "method": "webhook", "config": {"url": "u"}, "eventConfig": {}})
    }

    #[test]
    fn the_first_line_is_the_validators() {
        let without = |name: &str| {
            let mut body = good();
            body.as_object_mut().expect("an object").remove(name);
            body
        };
        let with = |name: &str, value: Value| {
            let mut body = good();
            body[name] = value;
            body
        };
        let cases = [
            (without("event"), "'event' is a required property"),
            (without("method"), "'method' is a required property"),
            (without("config"), "'config' is a required property"),
            (without("eventConfig"), "'eventConfig' is a required property"),
            (json!({"config": 1}), "'event' is a required property"),
            (with("title", Value::Null), "None is not of type 'string'"),
            (with("event", json!(7)), "7 is not of type 'string'"),
            (with("method", json!(true)), "True is not of type 'string'"),
            (with("config", json!("it's")), "\"it's\" is not of type 'object'"),
            (with("config", json!([1, null])), "[1, None] is not of type 'object'"),
            (with("title", json!({"a": "b\n"})), "{'a': 'b\\n'} is not of type 'string'"),
            (json!([]), "[] is not of type 'object'"),
            (json!("x"), "'x' is not of type 'object'"),
        ];
        for (body, expected) in cases {
            let text = read(body.clone()).expect_err(expected);
            assert_eq!(text.lines().next(), Some(expected), "{body}");
        }
    }

    #[test]
    fn unknown_members_are_ignored_and_the_title_may_be_absent() {
        let mut body = good();
        body["event_config"] = json!({"level": 1});
        body["admin"] = json!(true);
        let read = read(body).expect("a body");
        assert_eq!((read.event.as_str(), read.title, read.event_config.len()), ("repo_push", None, 0));
    }

    #[test]
    fn a_huge_value_is_not_repeated_whole() {
        let huge =
            json!({"event": "x".repeat(100_000), "method": vec![0; 100_000], "config": 1, "eventConfig": 1});
        assert!(read(huge).expect_err("a wrong type").len() < 3 * SHOWN);
    }
}
