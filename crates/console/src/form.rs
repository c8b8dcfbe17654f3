//! A notification as people write it in a form, and as the API takes it. Whether it will do is for the API to say.

use std::{str::FromStr, time::Duration};

use bellbuoy_domain::{Kind, MethodName, RetryPolicy};
use serde_json::{Map, Number, Value, json};
use url::form_urlencoded;

use crate::{
    fields::{Field, Shape, fields},
    shapes::{Notification, Scope, plain},
};

/// What was written in a form, in its order; a name may come several times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written(Vec<(String, String)>);

impl Written {
    /// The body of a form, or a query.
    pub(crate) fn read(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The first of this name, without the white space around it; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.whole(name).trim()
    }

    /// The same with it.
    pub(crate) fn whole(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.all(name).any(|known| known == value)
    }

    /// What is not empty of these names, as a query.
    pub(crate) fn query(&self, names: &[&str]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for name in names {
            let value = self.get(name);
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }

    fn put(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    // Browsers send line ends as CRLF.
    fn text(&self, name: &str) -> String {
        self.whole(name).replace("\r\n", "\n")
    }

    /// Whether `other` has the same in all fields of these names, or of names that begin so and a dot.
    fn agrees(&self, other: &Self, names: &[&str]) -> bool {
        let of = |written: &Self| -> Vec<(String, String)> {
            let is_one = |name: &str| {
                names.iter().any(|one| {
                    name.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
            };
            let fields = written.0.iter().filter(|(name, value)| is_one(name) && !value.is_empty());
            fields.map(|(name, value)| (name.clone(), value.replace("\r\n", "\n"))).collect()
        };
        of(self) == of(other)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = self.text(name);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
    }
}

/// The form of a notification that there is.
pub(crate) fn filled(notification: &Notification) -> Written {
    let mut written = Written::default();
    written.put("title", notification.title.clone().unwrap_or_default());
    written.put("method", notification.method.clone());
    written.put("format", notification.format.clone());
    for kind in &notification.kinds {
        written.put("kind", kind.name());
    }
    match &notification.scope {
        Scope::Repository(name) => written.place("repository", name),
        Scope::Namespace(name) => written.place("namespace", name),
        Scope::Registry(_) => written.place("registry", ""),
    }
    for field in notification.method.parse().map(fields).unwrap_or_default() {
        if let Some(value) = notification.config.get(field.name) {
            fill(&mut written, field, value);
        }
    }
    fill_filter(&mut written, &notification.filter);
    if let Some(retry) = notification.retry.as_ref().map(|retry| json!(retry)) {
        let seconds = |value: &Value| {
            Duration::from_millis(value.as_u64().unwrap_or_default()).as_secs_f64().to_string()
        };
        let steps: Vec<String> = retry["steps_ms"].as_array().into_iter().flatten().map(seconds).collect();
        written.put("retry.own", "true");
        written.put("retry.steps", steps.join(", "));
        written.put("retry.longest_hint", seconds(&retry["longest_hint_ms"]));
        written.put("retry.client_errors", plain(&retry["client_error_attempts"]));
    }
    written
}

impl Written {
    fn place(&mut self, scope: &str, name: &str) {
        self.put("scope", scope);
        self.put("place", name);
    }
}

fn fill(written: &mut Written, field: &Field, value: &Value) {
    let name = field.key();
    match (field.shape, value) {
        (_, Value::Null) => {}
        (Shape::Lines | Shape::Statuses, Value::Array(values)) => {
            written.put(&name, values.iter().map(plain).collect::<Vec<_>>().join("\n"));
        }
        (Shape::Any(_), Value::Array(values)) => {
            for value in values {
                written.put(&name, plain(value));
            }
        }
        (Shape::Headers, Value::Object(headers)) => {
            let lines = headers.iter().map(|(header, value)| format!("{header}: {}", plain(value)));
            written.put(&name, lines.collect::<Vec<_>>().join("\n"));
        }
        (Shape::Target, target) => {
            written.put("config.target.kind", plain(&target["kind"]));
            written.put("config.target.name", plain(&target["name"]));
        }
        (_, value) => written.put(&name, plain(value)),
    }
}

fn fill_filter(written: &mut Written, filter: &Map<String, Value>) {
    for name in ["ref-regex", "level", "days", "digest"] {
        written.put(&format!("filter.{name}"), filter.get(name).map(plain).unwrap_or_default());
    }
    let tags = match filter.get("tags") {
        Some(Value::Array(tags)) => tags.iter().map(plain).collect::<Vec<_>>().join("\n"),
        other => other.map(plain).unwrap_or_default(),
    };
    written.put("filter.tags", tags);
    let Some(condition) = filter.get("condition").and_then(Value::as_object) else { return };
    written.put("filter.condition.path", condition.get("path").map(plain).unwrap_or_default());
    for test in TESTS {
        if let Some(value) = condition.get(*test) {
            written.put("filter.condition.test", *test);
            let value = match value.as_array() {
                Some(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
                None => plain(value),
            };
            written.put("filter.condition.value", value);
        }
    }
}

/// What a condition can ask of a value.
pub(crate) const TESTS: &[&str] = &["equals", "in", "matches", "exists"];

/// What the API is sent: what is written, and of `kept` whatever was left as the form showed it or is not in a form at all. So
/// nothing changes but what somebody changed, in whatever other way it can be written.
pub(crate) fn draft(written: &Written, kept: Option<&Notification>) -> Result<Value, String> {
    let before = kept.map(filled).unwrap_or_default();
    let is_left = |names: &[&str]| kept.is_some() && written.agrees(&before, names);
    let method = written.get("method");
    let shown = method.parse::<MethodName>().map(fields).unwrap_or_default();
    let mut config =
        kept.filter(|kept| kept.method == method).map(|kept| kept.config.clone()).unwrap_or_default();
    for field in shown {
        if !is_left(&[&field.key()]) {
            put(&mut config, field.name, setting(written, field)?);
        }
    }
    let mut filter = kept.map(|kept| kept.filter.clone()).unwrap_or_default();
    for line in FILTER_LINES {
        if !is_left(&[&format!("filter.{line}")]) {
            put(&mut filter, line, filter_line(written, line));
        }
    }
    let kinds: Vec<&str> = written.all("kind").collect();
    let mut draft = json!({
        "title": some(written.get("title")),
        "scope": kept.map_or_else(|| scope(written), |kept| json!(kept.scope)),
        "kinds": kinds,
        "filter": filter,
        "method": method,
        "config": config,
    });
    if !written.get("format").is_empty() {
        draft["format"] = written.get("format").into();
    }
    let own = match kept {
        Some(kept) if is_left(&["retry"]) => kept.retry.as_ref().map(|retry| json!(retry)),
        _ => retry(written)?,
    };
    if let Some(own) = own {
        draft["retry"] = own;
    }
    Ok(draft)
}

/// Puts a value in, or takes the one that is there away.
fn put(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.shift_remove(name),
    };
}

fn scope(written: &Written) -> Value {
    match written.get("scope") {
        "registry" => json!({"registry": true}),
        "namespace" => json!({"namespace": written.get("place")}),
        _ => json!({"repository": written.get("place")}),
    }
}

fn setting(written: &Written, field: &Field) -> Result<Option<Value>, String> {
    let name = field.key();
    let value = match field.shape {
        Shape::Line | Shape::Choice(_) => some(written.get(&name)),
        Shape::Secret => some(written.whole(&name)),
        Shape::Text => some(&written.text(&name)),
        Shape::Number => some(written.get(&name)).map(|value| number(&value)),
        Shape::Switch => written.has(&name, "true").then_some(Value::Bool(true)),
        Shape::Lines => list(written.lines(&name).into_iter().map(Value::String)),
        Shape::Statuses => list(written.lines(&name).into_iter().map(|line| number(&line.into()))),
        Shape::Any(_) => list(written.all(&name).map(Value::from)),
        Shape::Headers => headers(&written.lines(&name), field.label)?,
        Shape::Target => Some(json!({
            "kind": written.get("config.target.kind"),
            "name": written.get("config.target.name"),
        })),
    };
    Ok(value)
}

fn some(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| text.into())
}

fn list(values: impl Iterator<Item = Value>) -> Option<Value> {
    let values: Vec<Value> = values.collect();
    (!values.is_empty()).then_some(Value::Array(values))
}

/// A number, or the text that is none, which the API refuses by its name.
fn number(text: &Value) -> Value {
    let number = text.as_str().and_then(|text| Number::from_str(text).ok());
    number.map_or_else(|| text.clone(), Value::Number)
}

fn headers(lines: &[String], label: &str) -> Result<Option<Value>, String> {
    let mut headers = Map::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("{label}: a line has no colon; write each header as `Name: value`"));
        };
        headers.insert(name.trim().to_owned(), value.trim().into());
    }
    Ok((!headers.is_empty()).then_some(Value::Object(headers)))
}

/// The lines of a filter that a form has.
const FILTER_LINES: &[&str] = &["ref-regex", "level", "days", "digest", "tags", "condition"];

fn filter_line(written: &Written, line: &str) -> Option<Value> {
    let name = format!("filter.{line}");
    match line {
        "ref-regex" => some(written.get(&name)),
        "tags" => list(written.lines(&name).into_iter().map(Value::String)),
        "condition" => condition(written),
        _ => some(written.get(&name)).map(|value| number(&value)),
    }
}

fn condition(written: &Written) -> Option<Value> {
    let path = written.get("filter.condition.path");
    if path.is_empty() {
        return None;
    }
    let (test, value) = (written.get("filter.condition.test"), written.get("filter.condition.value"));
    // What reads as JSON is meant as such: `true` and `3` are no texts.
    let one = |text: &str| match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::from(text),
    };
    let value = match test {
        "in" => value.split(',').map(str::trim).filter(|value| !value.is_empty()).map(one).collect(),
        "matches" => value.into(),
        "exists" if value.is_empty() => Value::Bool(true),
        _ => one(value),
    };
    Some(json!({"path": path, test: value}))
}

fn retry(written: &Written) -> Result<Option<Value>, String> {
    let steps = written.get("retry.steps");
    if steps.is_empty() && !written.has("retry.own", "true") {
        return Ok(None);
    }
    let steps: Vec<Value> = steps
        .split(',')
        .filter(|step| !step.trim().is_empty())
        .map(|step| milliseconds(step).map(Value::from))
        .collect::<Result<_, _>>()
        .map_err(|step| format!("Waits between attempts: `{step}` is no number of seconds"))?;
    let mut retry = json!(RetryPolicy::default());
    retry["steps_ms"] = steps.into();
    let hint = written.get("retry.longest_hint");
    if !hint.is_empty() {
        let hint = milliseconds(hint)
            .map_err(|hint| format!("Longest Retry-After: `{hint}` is no number of seconds"))?;
        retry["longest_hint_ms"] = hint.into();
    }
    let errors = written.get("retry.client_errors");
    if !errors.is_empty() {
        retry["client_error_attempts"] = number(&errors.into());
    }
    Ok(Some(retry))
}

/// Seconds, with a fraction or without, in milliseconds.
fn milliseconds(text: &str) -> Result<u64, &str> {
    let text = text.trim();
    let seconds = text.parse::<f64>().map_err(|_| text)?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| text)?;
    u64::try_from(duration.as_millis()).map_err(|_| text)
}

/// The kinds, for a form to choose from.
pub(crate) fn kinds() -> &'static [Kind] {
    Kind::ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(method: &str, config: &Value, filter: &Value, retry: &Value) -> Notification {
        let time = "2026-11-30T12:00:00Z";
        serde_json::from_value(json!({
            "id": "3b241101-e2bb-4255-8caf-4136c566a962", "title": "deploy", "scope": {"repository": "acme/api"},
            "kinds": ["repo_push", "tag_delete"], "filter": filter, "method": method, "config": config,
            "format": "quay", "retry": retry, "state": "active", "state_reason": null, "failures": 0,
            "created_at": time, "updated_at": time,
        }))
        .expect("a notification")
    }

    #[test]
    fn a_notification_that_is_saved_as_it_was_shown_stays_as_it_is() {
        for (method, config, filter, retry) in [
            (
                "webhook",
                json!({"url": "https://hooks.example.com/${tag}", "template": "a\nb", "http_method": "PUT",
                    "headers": {"X-One": "1: 2", "X-Two": "b"}, "secret_headers": {"X-Token": "********"},
                    "bearer_token": "********", "success_statuses": ["2xx", 302, "400-403"], "rate": 30,
                    "follow_redirects": true, "signatures": ["x-signature", "standard-webhooks"],
                    "chain": ["https://a.example.com/", "https://b.example.com/"], "version": 1, "odd": "********"}),
                json!({"tags": ["v*", "/^release$/"], "level": 1, "odd": 3,
                    "condition": {"path": "vulnerability.priority", "in": ["Critical", "High"]}}),
                json!({"steps_ms": [1000, 2500], "longest_hint_ms": 60_000, "client_error_attempts": 2}),
            ),
            (
                "quay_notification",
                json!({"target": {"kind": "team", "name": "platform"}}),
                json!({"condition": {"path": "robot", "exists": false}, "days": 3}),
                Value::Null,
            ),
            (
                "email",
                json!({"email": "kim@example.com", "subject": "x"}),
                json!({"ref-regex": "^main$"}),
                Value::Null,
            ),
            (
                "webhook",
                json!({"url": "https://x.example.com/", "http_method": "put", "signatures": [], "follow_redirects": false,
                    "template": " {}\n", "one_request_per": "", "rate": null}),
                json!({"tags": "v*", "days": "3", "condition": {"path": "tag", "in": ["1.0", "a,b", null]}}),
                json!({"steps_ms": [], "longest_hint_ms": 1500, "client_error_attempts": 1}),
            ),
            ("email", json!({}), json!({"condition": {"path": "tag", "equals": "7"}}), Value::Null),
            ("slack", json!({"url": "https://hooks.slack.com/services/****"}), json!({}), Value::Null),
            ("hipchat", json!({"room_id": "7", "notification_token": "********"}), json!({}), Value::Null),
            (
                "flowdock",
                json!({"flow_api_token": "********", "text": "x"}),
                json!({"digest": 300}),
                Value::Null,
            ),
        ] {
            let notification = notification(method, &config, &filter, &retry);
            // As a browser sends it.
            let sent =
                filled(&notification).0.into_iter().map(|(name, value)| (name, value.replace('\n', "\r\n")));
            let draft = draft(&Written(sent.collect()), Some(&notification)).expect("a draft");
            assert_eq!(draft["config"], json!(notification.config));
            assert_eq!(draft["filter"], json!(notification.filter));
            assert_eq!(draft.get("retry").cloned().unwrap_or_default(), json!(notification.retry));
            assert_eq!(draft["scope"], json!({"repository": "acme/api"}));
            assert_eq!(draft["kinds"], json!(["repo_push", "tag_delete"]));
            assert_eq!((&draft["title"], &draft["format"]), (&json!("deploy"), &json!("quay")));
        }
    }

    #[test]
    fn what_is_emptied_goes_and_one_attempt_is_a_schedule_of_its_own() {
        let kept = notification(
            "webhook",
            &json!({"url": "https://x.example.com/", "rate": 3, "signatures": ["x-signature"]}),
            &json!({"tags": ["v*"], "level": 1}),
            &Value::Null,
        );
        let written = Written::read(
            b"method=webhook&title=+&kind=repo_push&config.url=https%3A%2F%2Fy.example.com&config.password=+two+\
              &filter.level=2&retry.own=true&retry.steps=",
        );
        let draft = draft(&written, Some(&kept)).expect("a draft");
        assert_eq!(draft["config"], json!({"url": "https://y.example.com", "password": " two "}));
        assert_eq!((&draft["filter"], &draft["title"]), (&json!({"level": 2}), &Value::Null));
        assert_eq!(draft["retry"]["steps_ms"], json!([]));
    }

    #[test]
    fn what_is_left_empty_is_left_out_and_what_is_no_number_is_the_apis_to_refuse() {
        let written = Written::read(
            b"method=webhook&scope=namespace&place=acme&kind=repo_push&config.url=+https%3A%2F%2Fx+&config.rate=many\
              &config.headers=&filter.tags=%0D%0A&filter.condition.path=&filter.condition.test=equals&retry.steps=",
        );
        let draft = draft(&written, None).expect("a draft");
        assert_eq!(draft["config"], json!({"url": "https://x", "rate": "many"}));
        assert_eq!((&draft["filter"], &draft["scope"]), (&json!({}), &json!({"namespace": "acme"})));
        assert!(draft.get("retry").is_none() && draft.get("format").is_none());
    }

    #[test]
    fn a_header_without_a_colon_and_a_wait_that_is_no_number_are_named() {
        let refused = |form: &[u8]| draft(&Written::read(form), None).expect_err("a refusal");
        let headers = refused(b"method=webhook&config.secret_headers=s3cret");
        assert!(headers.starts_with("Secret headers") && !headers.contains("s3cret"), "{headers}");
        assert!(refused(b"method=email&retry.steps=1,+soon").contains("`soon`"));
    }
}
