//! The settings of each method, made of the limits and closed sets that check them.

use serde_json::{Value, json};

use crate::{
    ChatService, EmailAddress, Grain, HttpMethod, KeyKind, MASK, MAX_CHAIN, MethodName, SignatureStyle,
    TargetKind, WEBHOOK_VERSION, dtr,
    method::MAX_URL_BYTES,
    pem,
    secret::{self, HEADERS},
    webhook::{MAX_HEADER_NAME, MAX_HEADER_VALUE, MAX_HEADERS, MAX_RATE, RESERVED},
};

/// The schema of a method's settings as they are written, draft 2020-12. It lets further members be, which mean nothing:
/// Quay's surface keeps them, and ours refuses to take them.
///
/// It says less than what is checked: of templates and places in URLs, of what is in certificates, of what depends on
/// the notification's format or scope, and of who there is it says nothing. Words have one spelling here, and are
/// taken in any case.
pub fn settings_schema(method: MethodName) -> Value {
    let url = json!({
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_URL_BYTES,
        "pattern": r"^[hH][tT][tT][pP][sS]?://[^@/?# \\\x00-\x1f]+(?:[/?#][^ \\\x00-\x1f]*)?$",
    });
    match (method, method.chat_service()) {
        (MethodName::Webhook, _) => webhook(&url),
        (MethodName::QuayNotification, _) => in_app(),
        (MethodName::Email, _) => email(),
        (_, Some(ChatService::HipChat)) => {
            let room = [("notification_token", given()), ("room_id", given()), ("text", words())];
            object(room, &["notification_token", "room_id"])
        }
        (_, Some(ChatService::Flowdock)) => {
            object([("flow_api_token", given()), ("text", words())], &["flow_api_token"])
        }
        _ => object([("url", url), ("text", words())], &["url"]),
    }
}

fn object<const N: usize>(members: [(&str, Value); N], required: &[&str]) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": serde_json::Map::from_iter(members.map(|(name, schema)| (name.to_owned(), schema))),
    })
}

/// A text, or a number as some clients send ids.
fn given() -> Value {
    json!({"anyOf": [{"type": "string", "minLength": 1}, {"type": "number"}]})
}

/// The owner's own words, if there are any.
fn words() -> Value {
    json!({"type": ["string", "null"]})
}

/// A setting that counts as absent where it is null or empty.
#[expect(clippy::needless_pass_by_value, reason = "whoever calls it makes it there")]
fn or_blank(schema: Value) -> Value {
    json!({"anyOf": [schema, {"enum": [null, ""]}]})
}

#[expect(clippy::needless_pass_by_value, reason = "whoever calls it makes it there")]
fn or_null(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn email() -> Value {
    let address = json!({
        "type": "string",
        "maxLength": EmailAddress::MAX_BYTES,
        "pattern": r"^[^@\s]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$",
    });
    // A namespace's mail goes to whom the namespace belongs if it does not say to whom.
    object([("email", or_blank(address)), ("subject", words()), ("text", words())], &[])
}

fn in_app() -> Value {
    let kinds: Vec<&str> = TargetKind::ALL.iter().map(|kind| kind.name()).collect();
    let name = json!({"type": "string", "minLength": 1});
    object(
        [("target", object([("kind", json!({"enum": kinds})), ("name", name)], &["kind", "name"]))],
        &["target"],
    )
}

fn webhook(url: &Value) -> Value {
    let grains: Vec<&str> = Grain::ALL.iter().map(|grain| grain.name()).collect();
    let methods: Vec<&str> = HttpMethod::ALL.iter().map(|method| method.name()).collect();
    let styles: Vec<&str> = SignatureStyle::ALL.iter().map(|style| style.name()).collect();
    let flag = json!({"type": ["boolean", "null"]});
    let mut schema = object(
        [
            ("version", json!({"enum": [WEBHOOK_VERSION, null]})),
            ("url", url.clone()),
            ("template", words()),
            (KeyKind::Secret.name(), key("The key of `v1`, made if it is absent; shown once.", "whsec_")),
            (
                KeyKind::SigningKey.name(),
                key("The key of `v1a`; never shown, its public half always.", "whsk_"),
            ),
            ("one_request_per", or_blank(json!({"enum": grains}))),
            ("http_method", or_blank(json!({"enum": methods}))),
            ("headers", headers(&["authorization", "cookie"])),
            (HEADERS, headers(&["authorization"])),
            (
                "username",
                or_blank(
                    json!({"type": "string", "pattern": "^[\\t -9;-~]*$", "maxLength": MAX_HEADER_VALUE}),
                ),
            ),
            (
                "success_statuses",
                or_null(json!({
                    "type": "array", "minItems": 1, "maxItems": MAX_HEADERS, "items": status(),
                })),
            ),
            ("follow_redirects", flag.clone()),
            ("signatures", or_null(json!({"type": "array", "items": {"enum": styles}}))),
            (
                "rate",
                or_null(json!({
                    "type": "integer", "minimum": 1, "maximum": MAX_RATE, "description": "Attempts a minute.",
                })),
            ),
            ("dtr_type", or_blank(json!({"const": dtr::REPO_EVENT}))),
            ("chain", or_null(json!({"type": "array", "maxItems": MAX_CHAIN, "items": url}))),
            ("extra_ca", or_blank(pem("CERTIFICATE"))),
            ("client_certificate", or_blank(pem("CERTIFICATE"))),
            ("skip_tls_verification", flag),
        ],
        &["url"],
    );
    for name in secret::NAMES {
        let value = if *name == secret::CLIENT_KEY { pem("PRIVATE KEY") } else { header_value() };
        let mut kept = or_blank(json!({"anyOf": [value, {"const": MASK}]}));
        kept["description"] = "Shown as a mask, which keeps it where it is written back.".into();
        schema["properties"][*name] = kept;
    }
    schema["allOf"] = dependencies();
    schema
}

/// What goes with what, and what does not.
fn dependencies() -> Value {
    let pair = |one: &str, other: &str| json!({"if": is_given(one), "then": is_given(other)});
    let never = |one: &str, other: &str| json!({"not": {"allOf": [is_given(one), is_given(other)]}});
    json!([
        pair("username", "password"),
        pair("password", "username"),
        pair("client_certificate", "client_key"),
        pair("client_key", "client_certificate"),
        never("bearer_token", "username"),
        never("bearer_token", "authorization"),
        never("username", "authorization"),
    ])
}

fn is_given(name: &str) -> Value {
    json!({"required": [name], "properties": {name: {"type": "string", "minLength": 1}}})
}

fn key(about: &str, prefix: &str) -> Value {
    json!({"type": ["string", "null"], "pattern": format!("^(?:{prefix}[A-Za-z0-9+/]+=*)?$"), "description": about})
}

fn pem(label: &str) -> Value {
    let pattern = format!("-----BEGIN (?:[A-Z]+ )?{label}-----");
    json!({"type": "string", "maxLength": pem::MAX_BYTES, "pattern": pattern})
}

fn status() -> Value {
    json!({"anyOf": [
        {"type": "integer", "minimum": 200, "maximum": 499},
        {"type": "string", "pattern": "^(?:[234]xx| *[234][0-9]{2} *(?:- *[234][0-9]{2} *)?)$"},
    ]})
}

fn header_value() -> Value {
    json!({"type": "string", "pattern": "^[\\t -~]*$", "maxLength": MAX_HEADER_VALUE})
}

/// Names of headers and their values; `refused` have a place of their own.
fn headers(refused: &[&str]) -> Value {
    let names: Vec<String> = RESERVED.iter().chain(refused).map(|name| in_any_case(name)).collect();
    or_null(json!({
        "type": "object",
        "maxProperties": MAX_HEADERS,
        "propertyNames": {
            "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
            "maxLength": MAX_HEADER_NAME,
            "not": {"pattern": format!("^(?:{})$", names.join("|"))},
        },
        "additionalProperties": header_value(),
    }))
}

/// An expression for a name in any case, and for what begins with one that ends in `-`.
fn in_any_case(name: &str) -> String {
    let letter = |letter: char| match letter {
        'a'..='z' => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        other => other.to_string(),
    };
    let rest = if name.ends_with('-') { ".*" } else { "" };
    name.chars().map(letter).chain([rest.to_owned()]).collect()
}
