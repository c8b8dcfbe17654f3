//! What reading a notice is made of, whichever registry sent it: lenient look-ups, and an event
//! checked as any other.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Dropped, Item};
use crate::{Event, EventError, Kind, MAX_EVENT_BYTES, RepositoryName, name::parse_namespace};

/// Longest text that every event of a notice may repeat, in bytes: a few kilobytes must not become gigabytes.
const MAX_REPEATED_BYTES: usize = 1024;

/// Why nothing of a request is taken for events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// No notice of the registry at all.
    #[error("not a notice of {registry}: {why}")]
    Foreign {
        /// The registry, by its name.
        registry: &'static str,
        /// What it is instead, or lacks.
        why: String,
    },
    /// More than one request may tell of. Nothing is made of it before it is counted.
    #[error("{registry} tells of {told} events at once, but at most {most} are taken from one request")]
    TooMany {
        /// The registry, by its name.
        registry: &'static str,
        /// Of how many events it tells.
        told: usize,
        /// How many it may tell of.
        most: usize,
    },
}

/// Refuses a request that tells of more events than one may.
pub(super) fn within(most: usize, told: usize, registry: &'static str) -> Result<(), NoticeError> {
    if told > most { Err(NoticeError::TooMany { registry, told, most }) } else { Ok(()) }
}

/// Reads a request's body as JSON.
pub(super) fn json(registry: &'static str, body: &[u8]) -> Result<Value, NoticeError> {
    serde_json::from_slice(body)
        .map_err(|error| NoticeError::Foreign { registry, why: format!("not JSON: {error}") })
}

/// What a notice means, found by its registry's module.
pub(super) enum Meaning {
    Events(Vec<Found>),
    Nothing(Dropped),
}

/// An event in the making.
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) subject: String,
    pub(super) data: Map<String, Value>,
    /// The part of the notice that tells of this event, where another part may tell of another.
    part: Option<Value>,
}

impl Found {
    /// Of a repository whose name is checked.
    pub(super) fn new(kind: Kind, repository: &RepositoryName, data: Value) -> Self {
        Self { kind, subject: repository.as_str().to_owned(), data: members(data), part: None }
    }

    /// Of a namespace, whose name is checked here.
    pub(super) fn of_namespace(kind: Kind, namespace: &str, data: Value) -> Result<Self, String> {
        let subject = parse_namespace(namespace).map_err(|error| error.to_string())?;
        Ok(Self { kind, subject, data: members(data), part: None })
    }

    /// The same, told of by this part of the notice.
    pub(super) fn by(self, part: &Value) -> Self {
        Self { part: Some(part.clone()), ..self }
    }
}

/// A notice's own: what its events share.
pub(super) struct Origin<'a> {
    /// The member of the data that keeps the notice as it came or, where it tells of several events, the
    /// event's own part of it.
    pub(super) member: &'static str,
    pub(super) notice: &'a Value,
    /// The same on each of the sender's retries.
    pub(super) id: String,
    pub(super) source: &'a str,
    pub(super) time: Timestamp,
}

/// The items of one notice. The ids of a second and further event get a number.
pub(super) fn items(origin: &Origin<'_>, read: Result<Meaning, String>, now: Timestamp) -> Vec<Item> {
    match read {
        Ok(Meaning::Nothing(dropped)) => vec![Item::Dropped(dropped)],
        Ok(Meaning::Events(found)) => {
            let is_whole = found.len() == 1;
            found
                .into_iter()
                .enumerate()
                .map(|(index, found)| origin.item(index, found, is_whole, now))
                .collect()
        }
        Err(why) => vec![undecodable(why, origin.notice)],
    }
}

fn undecodable(why: String, raw: &Value) -> Item {
    Item::Undecodable { index: 0, why, raw: raw.to_string().into_bytes() }
}

impl Origin<'_> {
    fn item(&self, index: usize, mut found: Found, is_whole: bool, now: Timestamp) -> Item {
        let part = found.part.take().filter(|_| !is_whole);
        let told_by = part.as_ref().unwrap_or(self.notice);
        match self.event(index, found, told_by, now) {
            Ok(event) => Item::Event { event: Box::new(event), pull: None },
            Err(error) => undecodable(error.to_string(), told_by),
        }
    }

    fn event(
        &self,
        index: usize,
        found: Found,
        told_by: &Value,
        now: Timestamp,
    ) -> Result<Event, EventError> {
        let id = if index == 0 { self.id.clone() } else { format!("{}-{index}", self.id) };
        let envelope = |data: &Map<String, Value>| {
            json!({
                "specversion": "1.0", "id": id, "source": self.source, "type": found.kind,
                "subject": found.subject, "time": self.time.to_string(), "data": data,
            })
        };
        whole_or_bare(found.data, self.member, told_by, envelope, now)
    }
}

/// The event with the notice that it came from in its data or, where it would grow too large or too
/// deep by that, without.
pub(super) fn whole_or_bare(
    mut data: Map<String, Value>,
    member: &str,
    notice: &Value,
    envelope: impl Fn(&Map<String, Value>) -> Value,
    now: Timestamp,
) -> Result<Event, EventError> {
    let bare = envelope(&data);
    data.insert(member.to_owned(), notice.clone());
    checked(envelope(&data), now).or_else(|_| checked(bare, now))
}

fn checked(envelope: Value, now: Timestamp) -> Result<Event, EventError> {
    let event = Event::from_value(envelope, now)?;
    let bytes = event.to_json().len();
    if bytes > MAX_EVENT_BYTES { Err(EventError::TooLarge { bytes }) } else { Ok(event) }
}

/// An id for a notice that has none: the same bytes are the same notice, as a retry sends them again.
pub(super) fn id_of(body: &[u8]) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, body).hyphenated().to_string()
}

/// A member that is a text; `None` if it is absent, null or empty.
pub(super) fn text<'a>(object: &'a Value, name: &str) -> Result<Option<&'a str>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("`{name}` should be a string")),
    }
}

/// A member that is a text, or nothing: for what no meaning hangs on.
pub(super) fn lenient<'a>(object: Option<&'a Value>, name: &str) -> Option<&'a str> {
    object.and_then(|object| text(object, name).ok().flatten())
}

/// A text that every event of a notice repeats, or nothing: none that is too long for that.
pub(super) fn repeated<'a>(object: Option<&'a Value>, name: &str) -> Option<&'a str> {
    lenient(object, name).filter(|text| text.len() <= MAX_REPEATED_BYTES)
}

/// A member that has to be there.
pub(super) fn needed<'a>(object: &'a Value, name: &str) -> Result<&'a str, String> {
    text(object, name)?.ok_or_else(|| format!("`{name}` is missing"))
}

/// A repository's name, in lower case as registries keep it.
pub(super) fn repository(name: &str) -> Result<RepositoryName, String> {
    RepositoryName::parse(name.to_ascii_lowercase()).map_err(|error| error.to_string())
}

/// A time as registries write it: Unix seconds as an integer, a float (`1.417566161e+09`) or either in
/// a text, or RFC 3339.
pub(super) fn time(value: Option<&Value>) -> Option<Timestamp> {
    match value? {
        Value::Number(number) => number.as_i64().map_or_else(|| seconds(number.as_f64()?), whole_seconds),
        Value::String(text) => match text.trim().parse::<Timestamp>() {
            Ok(time) => Some(time),
            Err(_) => text.trim().parse().ok().and_then(seconds),
        },
        _ => None,
    }
}

fn whole_seconds(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

fn seconds(seconds: f64) -> Option<Timestamp> {
    if !seconds.is_finite() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and a time that far is none")]
    let milliseconds = (seconds * 1000.0) as i64;
    Timestamp::from_millisecond(milliseconds).ok()
}

/// A count as registries write it: an integer, a float or either in a text.
pub(super) fn count(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?))
        }
        _ => None,
    }
}

fn whole(number: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range that is asked for"
    )]
    (0.0..9e15).contains(&number).then_some(number as u64)
}

/// Whether a text is a digest and not a tag: a tag has no colon.
pub(super) fn is_digest(reference: &str) -> bool {
    reference.contains(':')
}

/// An object of those members that are known.
pub(super) fn known(members: Value) -> Value {
    match members {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect())
        }
        other => other,
    }
}

fn members(data: Value) -> Map<String, Value> {
    match known(data) {
        Value::Object(data) => data,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_however_a_registry_writes_it() {
        for (value, expected) in [
            (json!(1_417_566_161), Some("2014-12-03T00:22:41Z")),
            (json!(1.417_566_161e9), Some("2014-12-03T00:22:41Z")),
            (json!("1417566161"), Some("2014-12-03T00:22:41Z")),
            (json!("1.417566161e+09"), Some("2014-12-03T00:22:41Z")),
            (json!(1_417_566_161.5), Some("2014-12-03T00:22:41.5Z")),
            (json!("2014-12-03T00:22:41Z"), Some("2014-12-03T00:22:41Z")),
            (json!("soon"), None),
            (json!("nan"), None),
            (json!(1e300), None),
            (json!(-1e300), None),
            (json!(null), None),
            (json!([]), None),
        ] {
            assert_eq!(time(Some(&value)).map(|time| time.to_string()).as_deref(), expected, "{value}");
        }
        assert_eq!(time(None), None);
    }

    #[test]
    fn a_count_is_read_however_a_registry_writes_it() {
        for (value, expected) in [
            (json!(7), Some(7)),
            (json!("7"), Some(7)),
            (json!(7.0), Some(7)),
            (json!("7e0"), Some(7)),
            (json!(-1), None),
            (json!("many"), None),
            (json!(1e300), None),
        ] {
            assert_eq!(count(Some(&value)), expected, "{value}");
        }
    }
}
