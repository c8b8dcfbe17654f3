//! Findings of one scan told as one: a scanner that has learnt something new reports a thousand of them at once, and
//! nobody reads a thousand messages.
//!
//! A notification with a *digest* window collects the vulnerabilities found in one repository until the window that the
//! first of them opened is over. Then all of them are one event of its own, which goes on as any delivery does.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    AttemptRecord, Cause, CauseCode, DeliveryId, DeliveryState, Event, FilterError, Kind, Notification,
    NotificationId, Record, Subject, WIRE_VERSION,
    filter::{is_blank, shown_json, whole_number},
    format::quay::MOST_TAGS_OF_A_FINDING as MOST_TAGS,
    severity::Severity,
};

/// Longest window, in seconds: a day.
pub const LONGEST_WINDOW_SECONDS: u64 = 24 * 60 * 60;

/// Most events of one window. What comes after them opens another.
pub const MOST_COLLECTED: u32 = 2000;

/// Bytes of collected events from which on a window takes no more.
pub const MOST_COLLECTED_BYTES: u64 = 4 << 20;

/// Largest event that is collected, in bytes of its canonical JSON; a larger one is told by itself.
pub const LARGEST_COLLECTED: usize = 64 * 1024;

/// Bytes that the vulnerabilities of a digest may take, in JSON. The rest of what an event may have is for tags and
/// the envelope.
const MOST_BYTES: usize = 160 * 1024;

/// Longest tag that is listed, in bytes: what a registry takes.
const LONGEST_TAG: usize = 128;

/// What the id of a digest's event begins with.
const ID_PREFIX: &str = "digest-";

/// A window that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Names it.
    pub id: uuid::Uuid,
    /// Whose.
    pub notification: NotificationId,
    /// The source of the event that opened it.
    pub source: String,
    /// What all its events are about.
    pub subject: Subject,
    /// When it was over.
    pub due_at: Timestamp,
}

/// Reads the line `digest` of a notification's `event_config`: for how many seconds findings are collected. `None` is
/// for a notification that collects nothing.
pub(crate) fn window(
    event_config: &Map<String, Value>,
    kinds: &[Kind],
) -> Result<Option<Duration>, FilterError> {
    let written = event_config.get("digest").filter(|value| !is_blank(value));
    let Some(written) = written.filter(|_| kinds.iter().any(|kind| is_collected(*kind))) else {
        return Ok(None);
    };
    match whole_number(written) {
        Some(0) => Ok(None),
        Some(seconds) if seconds <= LONGEST_WINDOW_SECONDS => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(FilterError::new(
            "digest",
            format!(
                "is {}, but should be a whole number of seconds from 1 to {LONGEST_WINDOW_SECONDS}, or 0 for none",
                shown_json(written)
            ),
        )),
    }
}

/// Whether events of a kind are collected where a notification wants that.
pub fn is_collected(kind: Kind) -> bool {
    kind == Kind::VulnerabilityFound
}

/// The id of the event that a digest becomes.
pub fn event_id(digest: uuid::Uuid) -> String {
    format!("{ID_PREFIX}{}", digest.hyphenated())
}

/// Whether an event is what a digest became, by its id. It is for one notification alone.
pub fn is_one(event_id: &str) -> bool {
    event_id.strip_prefix(ID_PREFIX).is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

/// The end of a delivery whose event, which was accepted at `accepted_at`, is told with others in the delivery
/// `together`.
pub fn told_in(
    delivery: DeliveryId,
    notification: &Notification,
    (event, accepted_at): (&Event, Timestamp),
    together: DeliveryId,
    now: Timestamp,
) -> Record {
    let cause = Cause::new(CauseCode::Digested, format!("told together with others in delivery {together}"));
    let attempt = AttemptRecord {
        delivery,
        notification: notification.id,
        method: notification.method.clone(),
        source: event.source.clone(),
        event: event.id.clone(),
        kind: event.kind,
        subject: event.subject.name().unwrap_or_default().to_owned(),
        accepted_at,
        attempt: 1,
        started_at: now,
        duration_ms: 0,
        outcome: "cancelled".to_owned(),
        cause: Some(cause),
        status: None,
        state: DeliveryState::Cancelled,
        next_due_at: None,
        on_probation: false,
    };
    Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) }
}

impl Digest {
    /// The delivery that it becomes.
    pub fn delivery(&self) -> DeliveryId {
        DeliveryId::derive(&self.source, &event_id(self.id), self.notification)
    }

    /// What was collected, as one event; the same from the same events in any order. `None` of nothing.
    ///
    /// One event alone is told as it was. Several become Quay's form of several: `vulnerabilities`, each once and the
    /// worst first, and the `tags` of all, at most 100. Where they would not fit in an event they lose their
    /// descriptions, then all but what names them, and the least of them are only counted, as `omitted`.
    pub fn event(&self, collected: &[Event]) -> Option<Event> {
        let data = match collected {
            [] => return None,
            [only] => only.data.clone(),
            several => together(several),
        };
        Some(Event {
            source: self.source.clone(),
            id: event_id(self.id),
            kind: Kind::VulnerabilityFound,
            subject: self.subject.clone(),
            time: self.due_at,
            data,
            traceparent: None,
            extensions: BTreeMap::new(),
        })
    }
}

fn together(events: &[Event]) -> Map<String, Value> {
    let mut tags: Vec<&str> = events.iter().flat_map(tags).filter(|tag| tag.len() <= LONGEST_TAG).collect();
    tags.sort_unstable();
    tags.dedup();
    tags.truncate(MOST_TAGS);
    let mut found: Vec<&Value> = events.iter().flat_map(vulnerabilities).collect();
    // The text orders what is equally bad, so that the order of arrival changes nothing.
    found.sort_by_cached_key(|found| (severity(found), found.to_string()));
    found.dedup();
    let (found, omitted) = fitting(&found);
    let mut data = Map::new();
    data.insert("tags".to_owned(), json!(tags));
    data.insert("vulnerabilities".to_owned(), Value::Array(found));
    if omitted > 0 {
        data.insert("omitted".to_owned(), omitted.into());
    }
    data
}

fn tags(event: &Event) -> impl Iterator<Item = &str> {
    let tags = event.data.get("tags").and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str)
}

fn vulnerabilities(event: &Event) -> impl Iterator<Item = &Value> {
    let several = event.data.get("vulnerabilities").and_then(Value::as_array);
    let one = event.data.get("vulnerability").filter(|_| several.is_none_or(Vec::is_empty));
    several.into_iter().flatten().chain(one).filter(|found| found.is_object())
}

/// A vendor's word that says nothing to us comes last.
fn severity(found: &Value) -> (bool, Option<Severity>) {
    let word = found.get("priority").and_then(Value::as_str).unwrap_or("Unknown");
    let severity = Severity::from_word(word);
    (severity.is_none(), severity)
}

/// As much of each as fits for all, and how many had to be left out even so.
fn fitting(found: &[&Value]) -> (Vec<Value>, usize) {
    let size = |found: &[Value]| found.iter().map(|one| one.to_string().len() + 1).sum::<usize>();
    for members in [None, Some(&["id", "priority", "link", "has_fix"][..]), Some(&["id", "priority"])] {
        let told: Vec<Value> = found.iter().map(|one| only(one, members)).collect();
        if size(&told) <= MOST_BYTES {
            return (told, 0);
        }
    }
    let mut room = MOST_BYTES;
    let told = found.iter().map(|one| only(one, Some(&["id", "priority"]))).take_while(|one| {
        let left = room.checked_sub(one.to_string().len() + 1);
        room = left.unwrap_or(0);
        left.is_some()
    });
    let told: Vec<Value> = told.collect();
    let omitted = found.len() - told.len();
    (told, omitted)
}

fn only(found: &Value, members: Option<&[&str]>) -> Value {
    let (Some(members), Value::Object(all)) = (members, found) else { return found.clone() };
    let kept = members.iter().filter_map(|name| all.get_key_value(*name));
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{MAX_EVENT_BYTES, RepositoryName, quay};

    fn digest() -> Digest {
        Digest {
            id: Uuid::from_u128(7),
            notification: Uuid::from_u128(1).into(),
            source: "registry.example.com".to_owned(),
            subject: Subject::Repository(RepositoryName::parse("acme/api").expect("a name")),
            due_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn found(id: &str, data: &Value) -> Event {
        let event = json!({
            "specversion": "1.0", "id": id, "source": "registry.example.com", "type": "vulnerability_found",
            "subject": "acme/api", "data": data,
        });
        Event::from_value(event, Timestamp::UNIX_EPOCH).expect("an event")
    }

    fn one(id: &str, priority: &str, tags: &[&str]) -> Event {
        let vulnerability =
            json!({"id": id, "priority": priority, "description": "x", "link": "", "has_fix": true});
        found(id, &json!({"tags": tags, "vulnerability": vulnerability}))
    }

    #[test]
    fn the_line_is_a_number_of_seconds_up_to_a_day_and_off_without_one() {
        let read = |value: Value, kinds: &[Kind]| {
            let config = json!({"digest": value});
            window(config.as_object().expect("an object"), kinds).map_err(|error| error.to_string())
        };
        let found = [Kind::RepoPush, Kind::VulnerabilityFound];
        for (written, seconds) in [
            (json!(60), Some(60)),
            (json!("300"), Some(300)),
            (json!(86_400), Some(86_400)),
            (json!(0), None),
            (json!(null), None),
            (json!(""), None),
        ] {
            assert_eq!(read(written.clone(), &found), Ok(seconds.map(Duration::from_secs)), "{written}");
        }
        for wrong in [json!(86_401), json!(-1), json!(1.5), json!("soon"), json!(true), json!([60])] {
            let said = read(wrong.clone(), &found).expect_err("refused");
            assert!(said.contains("`digest`") && said.contains("from 1 to 86400"), "{wrong}: {said}");
            assert_eq!(read(wrong, &[Kind::RepoPush]), Ok(None), "a line for other kinds is passed over");
        }
    }

    #[test]
    fn one_alone_is_told_as_it_was() {
        let alone = one("CVE-1", "High", &["v1"]);
        let told = digest().event(std::slice::from_ref(&alone)).expect("an event");
        assert_eq!(
            (told.data, told.id.as_str()),
            (alone.data, "digest-00000000-0000-0000-0000-000000000007")
        );
        assert_eq!(digest().event(&[]), None);
    }

    #[test]
    fn several_are_told_each_once_worst_first_with_the_tags_of_all() {
        let mut events = vec![
            one("CVE-2", "Low", &["v2", "v1"]),
            one("CVE-1", "Critical", &["v1"]),
            one("CVE-3", "odd", &["v3"]),
            one("CVE-1", "Critical", &["v4"]),
            found(
                "several",
                &json!({"vulnerabilities": [{"id": "CVE-4", "priority": "Important"}, {"id": "CVE-5"}]}),
            ),
        ];
        let told = digest().event(&events).expect("an event");
        let ids: Vec<&str> = told.data["vulnerabilities"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|one| one["id"].as_str())
            .collect();
        assert_eq!(ids, ["CVE-1", "CVE-4", "CVE-2", "CVE-5", "CVE-3"]);
        assert_eq!(told.data["tags"], json!(["v1", "v2", "v3", "v4"]));
        assert_eq!(
            quay::summary(&told),
            "1 Critical and 4 more vulnerabilities were detected in repository acme/api in 4 tags"
        );
        events.reverse();
        assert_eq!(digest().event(&events), Some(told), "in any order");
    }

    #[test]
    fn a_digest_of_whatever_was_collected_is_an_event_that_can_be_taken() {
        let long = "x".repeat(2000);
        let many = |count: usize, id: &str, description: &str| -> Vec<Event> {
            let event = |n: usize| {
                let id = format!("{id}{n}");
                let tag = format!("{n:0>128}");
                let vulnerability =
                    json!({"id": id, "priority": "High", "description": description, "link": description});
                found(
                    &n.to_string(),
                    &json!({"tags": [tag, "v".repeat(9000)], "vulnerability": vulnerability}),
                )
            };
            (0..count).map(event).collect()
        };
        for (count, id, description, members, told_of) in [
            (10, "CVE-", long.as_str(), 4, 10),
            (1000, "CVE-", long.as_str(), 2, 1000),
            (1000, "CVE-", "short", 4, 1000),
            (2000, long.as_str(), "", 2, 80),
        ] {
            let told = digest().event(&many(count, id, description)).expect("an event");
            let bytes = told.to_json();
            assert!(bytes.len() <= MAX_EVENT_BYTES, "{count}: {}", bytes.len());
            assert_eq!(Event::from_json(&bytes, Timestamp::UNIX_EPOCH), Ok(told.clone()));
            let list = told.data["vulnerabilities"].as_array().expect("a list");
            let omitted = told.data.get("omitted").and_then(Value::as_u64).unwrap_or_default();
            assert_eq!(list.len() + usize::try_from(omitted).expect("few"), count, "each is told or counted");
            assert!(list.len() >= told_of && list[0].as_object().expect("one").len() == members, "{count}");
            assert!(told.data["tags"].as_array().expect("tags").len() <= MOST_TAGS);
        }
    }

    #[test]
    fn its_delivery_is_that_of_its_event() {
        let told = digest().event(&[one("CVE-1", "High", &[])]).expect("an event");
        assert_eq!(told.deliveries(digest().notification, crate::Grain::Tag), [digest().delivery()]);
        assert!(is_one(&told.id));
        for other in ["", "digest-", "digest-7", &told.id[1..], &format!("{}0", told.id)] {
            assert!(!is_one(other), "{other}");
        }
    }
}
