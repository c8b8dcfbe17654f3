//! A delivery on its way: the messages between our own workers.
//!
//! Every form here crosses a process boundary, so it carries [`WIRE_VERSION`] and is pinned by a
//! golden file: during a rolling upgrade the new binary reads what the old one wrote.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Cause, DeliveryId, Kind, NotificationId};

/// The version written into every message between our workers.
pub const WIRE_VERSION: u32 = 1;

/// A delivery that waits for its next attempt: the body on a method's queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryMessage {
    /// [`WIRE_VERSION`].
    pub v: u32,
    /// The delivery.
    pub delivery: DeliveryId,
    /// For which notification; looked up at sending, so that an edited URL serves waiting retries.
    pub notification: NotificationId,
    /// The number of the next attempt, from 1 over the delivery's whole life.
    pub attempt: u32,
    /// Attempts spent before this run of the schedule began: above 0 after a resend or replay.
    #[serde(default)]
    pub spent: u32,
    /// When the event was accepted.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub accepted_at: Timestamp,
    /// When the next attempt is due.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub due_at: Timestamp,
    /// Since when it has been held for its receiver's sake, without an attempt between: it may be so for so long.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::millisecond::optional"
    )]
    pub held_since: Option<Timestamp>,
    /// The event in its canonical JSON.
    pub event: Box<RawValue>,
}

/// What the recorder is told. A body on the outcomes queue is one of these or more ([`Record::all_from_json`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`WIRE_VERSION`].
    pub v: u32,
    /// An event was expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fanned_out: Option<FannedOut>,
    /// An attempt ended, or a delivery ended without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptRecord>,
}

/// An event's deliveries, durably queued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FannedOut {
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event: String,
    /// Its kind.
    pub kind: Kind,
    /// Its repository or namespace; empty for the registry.
    pub subject: String,
    /// When it was accepted.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub accepted_at: Timestamp,
    /// What it became.
    pub deliveries: Vec<PlannedDelivery>,
}

/// One delivery that was queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDelivery {
    /// Its id.
    pub delivery: DeliveryId,
    /// For which notification.
    pub notification: NotificationId,
    /// By which method.
    pub method: String,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Queued; no attempt has ended yet.
    Pending,
    /// An attempt failed, or it is held; it is due again later.
    Waiting,
    /// The receiver took it.
    Delivered,
    /// Given up.
    Dead,
    /// Ended without an attempt: its notification was deleted before it could be delivered, or it is told together with
    /// others in a delivery of their own.
    Cancelled,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Pending, Self::Waiting, Self::Delivered, Self::Dead, Self::Cancelled];

    /// The word for it in history and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How an attempt ended and what follows. Enough to write the delivery's whole row, because
/// records may arrive in any order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The delivery.
    pub delivery: DeliveryId,
    /// For which notification.
    pub notification: NotificationId,
    /// By which method.
    pub method: String,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event: String,
    /// Its kind.
    pub kind: Kind,
    /// Its repository or namespace; empty for the registry.
    pub subject: String,
    /// When the event was accepted.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub accepted_at: Timestamp,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// When it began.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// `delivered`, `deferred`, `rejected`; `held` or `cancelled` for a wait or an end that spent no attempt.
    pub outcome: String,
    /// Why not, unless it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The HTTP status of the answer, if one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Where the delivery stands now.
    pub state: DeliveryState,
    /// When it is next due, while waiting.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::millisecond::optional"
    )]
    pub next_due_at: Option<Timestamp>,
    /// Whether it was made to find out whether its notification works again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_probation: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Why a message is dead. A closed set: safe as a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// The schedule ran out.
    AttemptsExhausted,
    /// The receiver's answer was final.
    Rejected,
    /// It could not be read as what its queue holds.
    Undecodable,
    /// It kept killing its worker.
    Poisoned,
    /// Its notification was disabled while it waited.
    NotificationDisabled,
    /// It was held until its time was over.
    Expired,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::AttemptsExhausted,
        Self::Rejected,
        Self::Undecodable,
        Self::Poisoned,
        Self::NotificationDisabled,
        Self::Expired,
    ];

    /// The word for it in metrics and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
            Self::Poisoned => "poisoned",
            Self::NotificationDisabled => "notification_disabled",
            Self::Expired => "expired",
        }
    }
}

/// A message of ours that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not the JSON it should be.
    #[error("not a {what}: {source}")]
    Malformed {
        /// What it should have been.
        what: &'static str,
        /// Where the parser stopped.
        source: serde_json::Error,
    },
    /// Written by a newer binary.
    #[error("a {what} of version {version}, but this binary reads up to {WIRE_VERSION}; finish the upgrade")]
    Newer {
        /// What it is.
        what: &'static str,
        /// Its version.
        version: u32,
    },
}

/// The one member that every version has.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

// A newer version may have another shape: what its shape lacks must not hide that it is newer.
fn refused(what: &'static str, bytes: &[u8], source: Option<serde_json::Error>) -> WireError {
    let versioned = serde_json::Deserializer::from_slice(bytes).into_iter::<Versioned>().next();
    match (versioned, source) {
        (Some(Ok(Versioned { v })), Some(source)) if v <= WIRE_VERSION => {
            WireError::Malformed { what, source }
        }
        (Some(Ok(Versioned { v })), _) => WireError::Newer { what, version: v },
        (Some(Err(source)), _) | (None, Some(source)) => WireError::Malformed { what, source },
        (None, None) => WireError::Malformed { what, source: serde::de::Error::custom("it is empty") },
    }
}

macro_rules! wire {
    ($message:ident, $what:literal, $size:expr) => {
        impl $message {
            /// Reads a message body.
            ///
            /// # Errors
            ///
            /// When it is malformed or of a newer version.
            pub fn from_json(bytes: &[u8]) -> Result<Self, WireError> {
                match serde_json::from_slice::<Self>(bytes) {
                    Ok(message) if message.v <= WIRE_VERSION => Ok(message),
                    read => Err(refused($what, bytes, read.err())),
                }
            }

            /// The message body.
            ///
            /// # Panics
            ///
            /// Never: every member has a JSON form.
            pub fn to_json(&self) -> Vec<u8> {
                let size: fn(&Self) -> usize = $size;
                let mut json = Vec::with_capacity(size(self));
                serde_json::to_writer(&mut json, self).expect("plain data has a JSON form");
                json
            }
        }
    };
}

// Their usual size, so that one is written without growing, and holds little more than that while it waits in memory.
wire!(DeliveryMessage, "delivery", |message| message.event.get().len() + 320);
wire!(Record, "record", |_| 1024);

impl Record {
    /// Reads a message body of one record or more, one after the other with or without white space between them.
    ///
    /// # Errors
    ///
    /// When it is empty, or one of them is malformed or of a newer version.
    pub fn all_from_json(bytes: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Self>();
        let mut records = Vec::new();
        loop {
            let begin = stream.byte_offset();
            match stream.next() {
                Some(Ok(record)) if record.v <= WIRE_VERSION => records.push(record),
                None if !records.is_empty() => return Ok(records),
                read => {
                    let source = read.and_then(Result::err);
                    return Err(refused("record", &bytes[begin.min(bytes.len())..], source));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_called_newer_whatever_its_shape() {
        for newer in [r#"{"v": 2}"#, r#"{"v": 2, "attempt": "changed"}"#] {
            let refused = Record::from_json(newer.as_bytes()).expect_err("newer");
            assert!(matches!(refused, WireError::Newer { version: 2, .. }), "{refused}");
            let refused = DeliveryMessage::from_json(newer.as_bytes()).expect_err("newer");
            assert!(matches!(refused, WireError::Newer { version: 2, .. }), "{refused}");
        }
    }

    #[test]
    fn records_are_read_one_after_the_other_and_none_is_passed_over() {
        let one = Record { v: WIRE_VERSION, fanned_out: None, attempt: None }.to_json();
        let bodies = |between: &str, count: usize| vec![one.clone(); count].join(between.as_bytes());
        for (body, count) in
            [(bodies("", 1), 1), (bodies("\n", 3), 3), (bodies(" \n ", 2), 2), (bodies("", 2), 2)]
        {
            assert_eq!(Record::all_from_json(&body).expect("records").len(), count);
        }
        assert!(matches!(Record::all_from_json(b""), Err(WireError::Malformed { .. })));
        for (last, is_newer) in
            [("{}", false), ("{\"v\": 1", false), ("x", false), ("{\"v\": 2, \"attempt\": 3}", true)]
        {
            for before in [Vec::new(), bodies("\n", 2)] {
                let body = [&before[..], last.as_bytes()].concat();
                let refused = Record::all_from_json(&body).expect_err("refused");
                assert_eq!(matches!(refused, WireError::Newer { version: 2, .. }), is_newer, "{refused}");
            }
        }
    }

    #[test]
    fn what_is_not_a_message_is_malformed() {
        for wrong in ["", "{}", "[]", r#"{"v": 1}"#, r#"{"v": "2"}"#] {
            let refused = DeliveryMessage::from_json(wrong.as_bytes()).expect_err("malformed");
            assert!(matches!(refused, WireError::Malformed { .. }), "{wrong}: {refused}");
        }
    }
}
