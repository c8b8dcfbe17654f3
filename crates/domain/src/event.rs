//! An event in its CloudEvents 1.0 envelope: how it is read from an outsider's bytes, checked
//! once, and written canonically.
//!
//! The canonical form (structured JSON, [`Event::to_json`]) is also the message body on the
//! events queue, so a producer on AMQP and our own ingest speak the same bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::{
    Kind, KindScope, NameError, RepositoryName, Subject, UnknownKind,
    name::parse_namespace,
    payload::{self, DataError},
};

/// Largest event that is taken, in bytes of its JSON. CloudEvents asks intermediaries for at
/// least 64 KiB; the rest is room for a scan's findings.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Deepest nesting of arrays and objects that is taken. `serde_json` itself stops at 128.
pub const MAX_DEPTH: usize = 64;

/// Longest `source` and `id`, in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 1024;

/// Something that happened in a registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Who says so: a URI reference of the registry.
    pub source: String,
    /// Unique within the source: the same id twice is the same event.
    pub id: String,
    /// What happened.
    pub kind: Kind,
    /// To what.
    pub subject: Subject,
    /// When, by the producer's clock.
    pub time: Timestamp,
    /// What else is known of it; unknown members are kept.
    pub data: Map<String, Value>,
    /// W3C `traceparent`, if the producer sent one.
    pub traceparent: Option<String>,
    /// Further CloudEvents attributes, kept as they came.
    pub extensions: BTreeMap<String, Value>,
}

impl Event {
    /// Reads one structured `CloudEvents` event. `now` stands in for an absent `time`.
    ///
    /// # Errors
    ///
    /// Names the first attribute that will not do.
    pub fn from_json(bytes: &[u8], now: Timestamp) -> Result<Self, EventError> {
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(EventError::TooLarge { bytes: bytes.len() });
        }
        let value = serde_json::from_slice(bytes).map_err(|error| EventError::NotJson(error.to_string()))?;
        Self::from_value(value, now)
    }

    /// Reads one structured `CloudEvents` event that is JSON already, as in a batch.
    ///
    /// # Errors
    ///
    /// Names the first attribute that will not do.
    pub fn from_value(value: Value, now: Timestamp) -> Result<Self, EventError> {
        let Value::Object(mut attributes) = value else {
            return Err(EventError::invalid("event", "should be a JSON object with CloudEvents attributes"));
        };
        match attributes.remove("specversion") {
            Some(Value::String(version)) if version == "1.0" => {}
            Some(other) => {
                return Err(EventError::invalid("specversion", format!("is {other}, but should be \"1.0\"")));
            }
            None => return Err(EventError::missing("specversion")),
        }
        let source = required(&mut attributes, "source")?;
        let id = required(&mut attributes, "id")?;
        let kind = required(&mut attributes, "type")?.parse::<Kind>()?;
        let time = match optional(&mut attributes, "time")? {
            None => now,
            Some(text) => text.parse().map_err(|_| {
                EventError::invalid(
                    "time",
                    format!("is {text:?}, but should be an RFC 3339 time such as 2026-11-20T12:00:00Z"),
                )
            })?,
        };
        check_content_type(&mut attributes)?;
        let data = match attributes.remove("data") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(data)) => data,
            Some(_) => return Err(EventError::invalid("data", "should be a JSON object")),
        };
        if attributes.contains_key("data_base64") {
            return Err(EventError::invalid(
                "data_base64",
                "is not taken; send the data as a JSON object in `data`",
            ));
        }
        if depth(&data) > MAX_DEPTH {
            return Err(EventError::invalid("data", format!("is nested deeper than {MAX_DEPTH} levels")));
        }
        payload::check(kind, &data)?;
        let subject = subject(kind, optional(&mut attributes, "subject")?, &data)?;
        let traceparent = optional(&mut attributes, "traceparent")?;
        let extensions = attributes.into_iter().collect();
        Ok(Self { source, id, kind, subject, time, data, traceparent, extensions })
    }

    /// A made-up event of `kind` about `subject`, to try a notification with.
    ///
    /// Its data is the kind's sample; where Quay's sample follows the notification's `event_config`
    /// (the severity of a vulnerability, the days until expiry), so does this one.
    pub fn sample(
        kind: Kind,
        subject: Subject,
        event_config: &Map<String, Value>,
        source: impl Into<String>,
        id: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            source: source.into(),
            id: id.into(),
            kind,
            subject,
            time: now,
            data: payload::sample(kind, event_config, now),
            traceparent: None,
            extensions: BTreeMap::new(),
        }
    }

    /// The canonical structured JSON.
    ///
    /// # Panics
    ///
    /// Never: every member has a JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&Canonical(self)).expect("plain data has a JSON form")
    }

    /// The canonical structured JSON as a value.
    ///
    /// # Panics
    ///
    /// Never: every member has a JSON form.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(Canonical(self)).expect("plain data has a JSON form")
    }
}

/// An event in the canonical order of its attributes.
struct Canonical<'a>(&'a Event);

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut attributes = serializer.serialize_map(None)?;
        attributes.serialize_entry("specversion", "1.0")?;
        attributes.serialize_entry("id", &event.id)?;
        attributes.serialize_entry("source", &event.source)?;
        attributes.serialize_entry("type", event.kind.name())?;
        if let Some(subject) = event.subject.name() {
            attributes.serialize_entry("subject", subject)?;
        }
        attributes.serialize_entry("time", &event.time)?;
        if let Some(traceparent) = &event.traceparent {
            attributes.serialize_entry("traceparent", traceparent)?;
        }
        for (name, extension) in &event.extensions {
            attributes.serialize_entry(name, extension)?;
        }
        attributes.serialize_entry("datacontenttype", "application/json")?;
        attributes.serialize_entry("data", &event.data)?;
        attributes.end()
    }
}

/// Finds what the event is about: the `subject` attribute or, without one, the member of the
/// data that names it. Where both stand they have to agree, since rights are judged by it.
fn subject(kind: Kind, attribute: Option<String>, data: &Map<String, Value>) -> Result<Subject, EventError> {
    let member = match kind.scope() {
        KindScope::Repository => "repository",
        KindScope::Namespace => "namespace",
        KindScope::Registry => return Ok(Subject::Registry),
    };
    let inside = match data.get(member) {
        None => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(EventError::invalid(member, "in the data should be a string")),
    };
    let name = match (attribute, inside) {
        (Some(attribute), Some(inside)) if attribute != inside => {
            return Err(EventError::invalid("subject", format!("names another {member} than the data does")));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err(EventError::missing("subject")),
    };
    match kind.scope() {
        KindScope::Repository => Ok(Subject::Repository(RepositoryName::parse(name)?)),
        _ => Ok(Subject::Namespace(parse_namespace(&name)?)),
    }
}

fn check_content_type(attributes: &mut Map<String, Value>) -> Result<(), EventError> {
    match optional(attributes, "datacontenttype")? {
        None => Ok(()),
        Some(text)
            if text
                .split(';')
                .next()
                .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) =>
        {
            Ok(())
        }
        Some(text) => Err(EventError::invalid(
            "datacontenttype",
            format!("is {text:?}, but should be application/json"),
        )),
    }
}

fn required(attributes: &mut Map<String, Value>, name: &'static str) -> Result<String, EventError> {
    optional(attributes, name)?.filter(|text| !text.is_empty()).ok_or(EventError::Missing { attribute: name })
}

fn optional(attributes: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, EventError> {
    match attributes.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > MAX_ATTRIBUTE_BYTES => {
            Err(EventError::invalid(name, format!("is longer than {MAX_ATTRIBUTE_BYTES} bytes")))
        }
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            Err(EventError::invalid(name, "holds control characters"))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(EventError::invalid(name, "should be a string")),
    }
}

fn depth(data: &Map<String, Value>) -> usize {
    1 + data.values().map(value_depth).max().unwrap_or(0)
}

fn value_depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(value_depth).max().unwrap_or(0),
        Value::Object(members) => depth(members),
        _ => 0,
    }
}

/// Why bytes are not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// More than [`MAX_EVENT_BYTES`].
    #[error("the event is {bytes} bytes long; at most {MAX_EVENT_BYTES} are taken")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON at all, or not UTF-8, or nested without end.
    #[error("the event is not JSON: {0}")]
    NotJson(String),
    /// A mandatory attribute is not there, or empty.
    #[error("attribute `{attribute}` is missing")]
    Missing {
        /// Its name.
        attribute: &'static str,
    },
    /// An attribute is there but will not do.
    #[error("`{attribute}` {problem}")]
    Invalid {
        /// Its name.
        attribute: &'static str,
        /// What is wrong and what it should be.
        problem: String,
    },
    /// The `type` is not in the catalogue.
    #[error("attribute `type`: {0}")]
    UnknownKind(#[from] UnknownKind),
    /// A member of the data is not what its kind carries.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The repository or namespace could not exist.
    #[error("attribute `subject`: {0}")]
    Name(#[from] NameError),
}

impl EventError {
    fn missing(attribute: &'static str) -> Self {
        Self::Missing { attribute }
    }

    fn invalid(attribute: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { attribute, problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn read(value: &Value) -> Result<Event, EventError> {
        Event::from_json(value.to_string().as_bytes(), received())
    }

    fn push() -> Value {
        json!({
            "specversion": "1.0", "id": "1", "source": "registry.example.com", "type": "repo_push",
            "subject": "acme/api", "time": "2026-11-20T12:00:00Z",
            "data": {"updated_tags": ["v1"], "unknown": {"kept": true}}, "partitionkey": "acme",
        })
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let event = read(&push()).expect("an event");
        assert_eq!(Event::from_json(&event.to_json(), received()), Ok(event));
    }

    #[test]
    fn the_data_may_name_the_subject_but_not_another_one() {
        let mut value = push();
        value["data"]["repository"] = json!("acme/api");
        assert!(read(&value).is_ok());
        value["data"]["repository"] = json!("acme/web");
        assert!(matches!(read(&value), Err(EventError::Invalid { attribute: "subject", .. })));
        value["subject"] = Value::Null;
        assert_eq!(read(&value).expect("an event").subject.name(), Some("acme/web"));
    }

    #[test]
    fn each_fault_is_named_with_its_attribute() {
        let faults = [
            ("specversion", json!("0.3")),
            ("specversion", Value::Null),
            ("source", json!("")),
            ("id", json!({"a": 1})),
            ("id", json!("x".repeat(100_000))),
            ("type", json!("nonsense")),
            ("type", json!(7)),
            ("subject", json!("../x")),
            ("time", json!("yesterday")),
            ("time", json!("99999-01-01T00:00:00Z")),
            ("data", json!([1])),
            ("datacontenttype", json!("text/xml")),
            ("source", json!("a\r\nb")),
        ];
        for (attribute, wrong) in faults {
            let mut value = push();
            value[attribute] = wrong;
            let error = read(&value).expect_err(attribute).to_string();
            assert!(error.contains(attribute), "{attribute}: {error}");
        }
    }

    #[test]
    fn data_of_another_type_than_its_kinds_is_refused() {
        let mut value = push();
        value["data"]["updated_tags"] = json!({"v1": "id"});
        let error = read(&value).expect_err("refused").to_string();
        assert!(error.starts_with("`data.updated_tags`: invalid type: map"), "{error}");
    }

    #[test]
    fn a_push_of_more_tags_than_become_requests_is_refused_so_that_none_is_lost() {
        let tags = |count: usize| {
            let mut value = push();
            value["data"]["updated_tags"] = (0..count).map(|n| n.to_string()).collect();
            read(&value)
        };
        assert!(tags(crate::MAX_TAGS).is_ok());
        let error = tags(crate::MAX_TAGS + 1).expect_err("refused").to_string();
        assert!(error.contains("`data.updated_tags`: holds 1001 tags, but may hold 1000"), "{error}");
    }

    #[test]
    fn bytes_that_are_not_json_are_refused_without_a_crash() {
        let deep = "[".repeat(100_000);
        for bytes in
            [&b""[..], b"{", b"[]", b"null", b"NaN", b"{\"a\":1e999}", b"\xff\xfe", b"'x'", deep.as_bytes()]
        {
            assert!(Event::from_json(bytes, received()).is_err());
        }
        let mut value = push();
        value["data"]["deep"] = (0..100).fold(Value::Null, |inner, _| json!([inner]));
        assert!(read(&value).is_err());
    }

    #[test]
    fn an_event_too_large_is_refused_before_it_is_parsed() {
        assert_eq!(
            Event::from_json(&vec![b' '; MAX_EVENT_BYTES + 1], received()),
            Err(EventError::TooLarge { bytes: MAX_EVENT_BYTES + 1 })
        );
    }
}
