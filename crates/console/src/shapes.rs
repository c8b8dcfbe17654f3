//! What the API answers, as far as the pages show it.

use std::{collections::BTreeMap, fmt};

use bellbuoy_domain::{CauseCode, DeadReason, DeliveryState, Kind, NotificationState, RetryPolicy};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::remedy::remedy;

/// A moment, for people and for browsers.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(crate) struct Time(Timestamp);

impl Time {
    /// As RFC 3339 has it.
    pub(crate) fn iso(self) -> String {
        self.0.to_string()
    }

    /// How far away it is, in the largest unit that fits.
    pub(crate) fn away(self) -> String {
        away(self.0, Timestamp::now())
    }
}

fn away(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let (amount, unit) = match seconds.unsigned_abs() {
        0..60 => (seconds.unsigned_abs(), "s"),
        s @ 60..3600 => (s / 60, "min"),
        s @ 3600..172_800 => (s / 3600, "h"),
        s => (s / 86_400, "days"),
    };
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("{amount} {unit} ago"),
        _ => format!("in {amount} {unit}"),
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").fmt(f)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Cause {
    pub(crate) code: CauseCode,
    pub(crate) detail: String,
}

impl Cause {
    /// What whoever can do something about it does.
    pub(crate) fn remedy(&self) -> &'static str {
        remedy(self.code)
    }

    /// What follows, of a delivery that is still going to be sent or of one that was given up.
    pub(crate) fn then(&self, is_open: bool) -> &'static str {
        match (is_open, self.code) {
            (true, CauseCode::Paused) => "",
            (true, _) => "It goes on by itself.",
            (false, _) => "Then send it again.",
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    Repository(String),
    Namespace(String),
    Registry(bool),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(name) => f.write_str(name),
            Self::Namespace(name) => write!(f, "all of {name}"),
            Self::Registry(_) => f.write_str("the whole registry"),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Notification {
    pub(crate) id: String,
    pub(crate) title: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) filter: Map<String, Value>,
    pub(crate) method: String,
    pub(crate) config: Map<String, Value>,
    pub(crate) format: String,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) state: NotificationState,
    pub(crate) state_reason: Option<String>,
    pub(crate) failures: u32,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
}

impl Notification {
    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        self.title.as_deref().filter(|title| !title.trim().is_empty()).unwrap_or("untitled")
    }

    /// Its state, as the API writes it.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            NotificationState::Active => "active",
            NotificationState::Paused => "paused",
            NotificationState::Probation => "probation",
            NotificationState::Disabled => "disabled",
        }
    }

    /// Where its deliveries go, as far as it may be shown.
    pub(crate) fn target(&self) -> String {
        let text = |name: &str| self.config.get(name).and_then(Value::as_str).unwrap_or_default();
        match self.method.as_str() {
            "email" => text("email").to_owned(),
            "quay_notification" => {
                let target = |name: &str| {
                    self.config.get("target").map_or("", |target| target[name].as_str().unwrap_or_default())
                };
                format!("{} {}", target("kind"), target("name"))
            }
            "hipchat" => format!("room {}", self.config.get("room_id").map(plain).unwrap_or_default()),
            _ => text("url").to_owned(),
        }
    }
}

/// A value as people write it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Notifications {
    pub(crate) notifications: Vec<Notification>,
    pub(crate) next: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) notification: String,
    pub(crate) method: String,
    pub(crate) source: String,
    pub(crate) event: String,
    pub(crate) kind: Kind,
    pub(crate) subject: Option<String>,
    pub(crate) accepted_at: Time,
    pub(crate) state: DeliveryState,
    pub(crate) attempt_count: u32,
    pub(crate) next_due_at: Option<Time>,
    pub(crate) cause: Option<Cause>,
    pub(crate) status: Option<u16>,
}

impl Delivery {
    /// Whether a cause says what is to be done about it: a cancelled one is nobody's to mend.
    pub(crate) fn is_given_up_or_open(&self) -> bool {
        self.is_open() || self.state == DeliveryState::Dead
    }

    /// Whether it is still going to be sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, DeliveryState::Pending | DeliveryState::Waiting)
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Deliveries {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DeliveryDetail {
    #[serde(flatten)]
    pub(crate) delivery: Delivery,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) callback: Option<Callback>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) started_at: Time,
    pub(crate) duration_ms: u64,
    pub(crate) outcome: String,
    pub(crate) cause: Option<Cause>,
    pub(crate) status: Option<u16>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Callback {
    pub(crate) state: String,
    pub(crate) description: Option<String>,
    pub(crate) expires_at: Time,
    pub(crate) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DeadLetter {
    pub(crate) id: String,
    pub(crate) origin: String,
    pub(crate) reason: DeadReason,
    pub(crate) detail: String,
    pub(crate) delivery: Option<String>,
    pub(crate) notification: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) attempt_count: u32,
    pub(crate) body_bytes: u64,
    pub(crate) died_at: Time,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DeadLetters {
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WholeDeadLetter {
    #[serde(flatten)]
    pub(crate) letter: DeadLetter,
    pub(crate) body: String,
    pub(crate) body_encoding: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Events {
    pub(crate) events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) subject: Option<String>,
    pub(crate) accepted_at: Time,
    pub(crate) fanned_out: bool,
    #[serde(rename = "event")]
    pub(crate) whole: Value,
    pub(crate) considered: Vec<Verdict>,
    pub(crate) considered_all: bool,
    pub(crate) next: Option<String>,
}

/// What an event was to a notification.
#[derive(Debug, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) notification: String,
    pub(crate) title: Option<String>,
    pub(crate) method: String,
    pub(crate) matches: bool,
    /// None, where it matches none.
    pub(crate) deliveries: Option<Vec<String>>,
    pub(crate) why_not: Option<String>,
    pub(crate) held: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Explanation {
    pub(crate) succeeded_at: Option<Time>,
    pub(crate) why: Vec<String>,
    pub(crate) unknown_filter_keys: Vec<String>,
    pub(crate) deliveries: ByState,
    pub(crate) events: Vec<Seen>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ByState {
    pub(crate) looked_at: u64,
    pub(crate) states: BTreeMap<String, u64>,
}

/// An event of a notification's scope.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) subject: Option<String>,
    pub(crate) accepted_at: Time,
    pub(crate) matches: bool,
    pub(crate) why_not: Option<String>,
    pub(crate) delivery: Option<String>,
    pub(crate) state: Option<DeliveryState>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Keys {
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Key {
    pub(crate) signature: String,
    pub(crate) sha256: Option<String>,
    #[serde(rename = "public_key")]
    pub(crate) public: Option<String>,
    pub(crate) until: Option<Time>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Inbox {
    pub(crate) items: Vec<InboxItem>,
    pub(crate) next: Option<String>,
    pub(crate) targets: Vec<String>,
}

impl Inbox {
    /// How many of them are not put away.
    pub(crate) fn unread(&self) -> usize {
        self.items.iter().filter(|item| !item.dismissed).count()
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct InboxItem {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) delivery: String,
    pub(crate) kind: String,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) created_at: Time,
    pub(crate) dismissed: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Audit {
    pub(crate) entries: Vec<AuditEntry>,
    pub(crate) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AuditEntry {
    pub(crate) at: Time,
    pub(crate) actor: String,
    pub(crate) address: Option<String>,
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) place: Option<String>,
    pub(crate) details: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) tokens: Vec<Token>,
    pub(crate) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) account: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) created_by: String,
    pub(crate) expires_at: Option<Time>,
    pub(crate) last_used_at: Option<Time>,
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn how_far_a_moment_is_away_is_said_in_its_largest_unit() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().expect("a time");
        for (seconds, said) in [
            (0, "now"),
            (-59, "59 s ago"),
            (-60, "1 min ago"),
            (90, "in 1 min"),
            (3600, "in 1 h"),
            (-172_799, "47 h ago"),
            (-172_800, "2 days ago"),
        ] {
            assert_eq!(away(now + i64::from(seconds).seconds(), now), said);
        }
        assert_eq!(Time(now).to_string(), "2026-11-30 12:00:00 UTC");
    }
}
