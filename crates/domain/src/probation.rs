//! When a notification is switched off, and how it comes back: on probation, where one delivery at a time finds out
//! whether its receiver is well, and all others are held.
//!
//! ```mermaid
//! stateDiagram-v2
//!     active --> disabled : gone, unwanted, or failing
//!     disabled --> probation : its owner resets it, or the pause is over
//!     probation --> active : a delivery succeeded
//!     probation --> disabled : a delivery failed
//! ```

use std::time::Duration;

use crate::{AttemptRecord, CauseCode};

/// Why a notification is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabling {
    /// So many deliveries in a row ended in dead letters.
    Failing,
    /// The delivery failed that was to find out whether it works again.
    Probation,
    /// Its receiver answered that it wants no more.
    Unwanted(CauseCode),
}

impl Disabling {
    /// The word for it in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Probation => "probation",
            Self::Unwanted(CauseCode::Unwanted) => "unwanted",
            Self::Unwanted(_) => "gone",
        }
    }

    /// After which pause it is tried again by itself, where `pause` is the operator's. A receiver that wants no more is
    /// not: its owner has to say so.
    pub fn back_after(self, pause: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Failing | Self::Probation => pause,
            Self::Unwanted(_) => None,
        }
    }
}

/// What an attempt for a notification on probation says of its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It is well: all may go.
    Well,
    /// It is not: the notification is disabled again.
    Ill,
    /// Nothing: the next delivery finds out.
    Unclear,
}

impl Finding {
    /// Reads it from an attempt's record.
    pub fn of(attempt: &AttemptRecord) -> Self {
        let code = attempt.cause.as_ref().map(|cause| cause.code);
        match (attempt.outcome.as_str(), code) {
            ("delivered", _) | (_, Some(CauseCode::Aborted)) => Self::Well,
            ("deferred", Some(CauseCode::RateLimited)) => Self::Unclear,
            (_, Some(code)) if code.is_ours() => Self::Unclear,
            ("deferred" | "rejected", _) => Self::Ill,
            _ => Self::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::{Cause, DeliveryId, DeliveryState, Kind, NotificationId};

    fn ended(outcome: &str, code: Option<CauseCode>) -> AttemptRecord {
        let notification = NotificationId::from(Uuid::nil());
        AttemptRecord {
            delivery: DeliveryId::derive("source", "event", notification),
            notification,
            method: "webhook".into(),
            source: "source".into(),
            event: "event".into(),
            kind: Kind::RepoPush,
            subject: "acme/api".into(),
            accepted_at: Timestamp::UNIX_EPOCH,
            attempt: 1,
            started_at: Timestamp::UNIX_EPOCH,
            duration_ms: 0,
            outcome: outcome.into(),
            cause: code.map(|code| Cause::new(code, "")),
            status: None,
            state: DeliveryState::Waiting,
            next_due_at: None,
            on_probation: true,
        }
    }

    #[test]
    fn each_end_of_an_attempt_says_well_ill_or_nothing() {
        for (outcome, code, finding) in [
            ("delivered", None, Finding::Well),
            ("delivered", Some(CauseCode::Unwanted), Finding::Well),
            ("rejected", Some(CauseCode::Aborted), Finding::Well),
            ("deferred", Some(CauseCode::Http5xx), Finding::Ill),
            ("deferred", Some(CauseCode::Connect), Finding::Ill),
            ("rejected", Some(CauseCode::Gone), Finding::Ill),
            ("deferred", Some(CauseCode::RateLimited), Finding::Unclear),
            ("deferred", Some(CauseCode::WorkerPanicked), Finding::Unclear),
            ("held", Some(CauseCode::OnProbation), Finding::Unclear),
            ("held", Some(CauseCode::Internal), Finding::Unclear),
            ("cancelled", Some(CauseCode::Disabled), Finding::Unclear),
        ] {
            assert_eq!(Finding::of(&ended(outcome, code)), finding, "{outcome} {code:?}");
        }
    }

    #[test]
    fn who_fails_comes_back_after_the_pause_and_who_wants_no_more_does_not() {
        let pause = Some(Duration::from_mins(1));
        for (why, word, back) in [
            (Disabling::Failing, "failing", pause),
            (Disabling::Probation, "probation", pause),
            (Disabling::Unwanted(CauseCode::Gone), "gone", None),
            (Disabling::Unwanted(CauseCode::Unwanted), "unwanted", None),
        ] {
            assert_eq!((why.word(), why.back_after(pause), why.back_after(None)), (word, back, None));
        }
    }
}
