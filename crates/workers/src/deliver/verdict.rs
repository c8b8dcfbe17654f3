//! What an attempt, or a look at its notification, means for a delivery.

use std::time::Duration;

use bellbuoy_domain::{Cause, CauseCode, DeadReason, DeliveryMessage, DeliveryState};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{HELD, own_fault::Seldom};
use crate::{clock, gate};

/// Which holds by our own fault are logged. One fault can hold all deliveries.
static OWN_FAULTS: Seldom = Seldom::new();

/// How long a delivery's age may have it held.
const LONGEST_FOR_AGE: Duration = Duration::from_mins(5);

/// This share of its age, so that a thousand deliveries that are held for days cost little.
const SHARE_OF_AGE: u32 = 10;

/// How long a delivery of that `age` is held which `code` holds for `wait`: for a tenth of its age, up to 5 minutes, if
/// that is longer. But a turn at a receiver that answers is kept, however old the delivery is: those that wait there have
/// one after the other, and who missed his would make the receiver idle.
pub(super) fn held_for(code: CauseCode, wait: Duration, age: Duration) -> Duration {
    match code {
        CauseCode::RateLimited | CauseCode::ReceiverBusy | CauseCode::RetriesBusy => wait,
        _ => wait.max((age / SHARE_OF_AGE).min(LONGEST_FOR_AGE)),
    }
}

/// What follows for a delivery, as its record says it.
pub(super) struct Verdict {
    pub(super) outcome: &'static str,
    pub(super) cause: Option<Cause>,
    pub(super) status: Option<u16>,
    pub(super) state: DeliveryState,
    /// The next attempt's number and the wait before it.
    pub(super) again: Option<(u32, Duration)>,
    pub(super) dead: Option<DeadReason>,
    /// Whether it says whether its notification works again.
    pub(super) on_probation: bool,
}

impl Verdict {
    pub(super) fn dead(outcome: &'static str, cause: Cause, status: Option<u16>, reason: DeadReason) -> Self {
        let state = DeliveryState::Dead;
        Self {
            outcome,
            cause: Some(cause),
            status,
            state,
            again: None,
            dead: Some(reason),
            on_probation: false,
        }
    }

    pub(super) fn cancelled(detail: &str) -> Self {
        Self {
            outcome: "cancelled",
            cause: Some(Cause::new(CauseCode::NoRecipient, detail)),
            status: None,
            state: DeliveryState::Cancelled,
            again: None,
            dead: None,
            on_probation: false,
        }
    }

    pub(super) fn expired(hold: &gate::Hold, so_long: Duration) -> Self {
        let detail =
            format!("held for {} h, longer than its schedule: {}", so_long.as_secs() / 3600, hold.detail);
        Self {
            outcome: "cancelled",
            ..Self::dead("cancelled", Cause::new(hold.code, detail), None, DeadReason::Expired)
        }
    }

    // Not lost: as a dead letter it can be replayed when its receiver is back.
    pub(super) fn disabled(why: Option<&str>) -> Self {
        let detail = format!("its notification is disabled: {}", why.unwrap_or("by its owner"));
        let cause = Cause::new(CauseCode::Disabled, detail);
        Self {
            outcome: "cancelled",
            ..Self::dead("cancelled", cause, None, DeadReason::NotificationDisabled)
        }
    }

    /// Since when the delivery is held for its receiver's sake, which it was since `before`. What holds it for its owner's
    /// sake, or ours, is no time that it waits for its receiver.
    pub(super) fn held_since(&self, before: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        if self.outcome != HELD {
            return None;
        }
        match self.cause.as_ref().map(|cause| cause.code) {
            Some(CauseCode::Paused | CauseCode::Internal) | None => None,
            Some(CauseCode::RetriesBusy | CauseCode::OnProbation) => before,
            Some(_) => before.or(Some(now)),
        }
    }

    fn is_our_fault(&self) -> bool {
        self.outcome == HELD && self.cause.as_ref().is_some_and(|cause| cause.code.is_ours())
    }

    pub(super) fn log(&self, message: &DeliveryMessage) {
        let (delivery, attempt) = (message.delivery, message.attempt);
        let cause = self.cause.as_ref().map(ToString::to_string).unwrap_or_default();
        match (self.dead, self.again) {
            (Some(reason), _) => warn!(
                delivery.id = %delivery, notification.id = %message.notification, attempt,
                "gave up delivery {delivery} at attempt {attempt} ({}): {cause}", reason.name()
            ),
            (None, Some((_, wait))) if self.is_our_fault() && OWN_FAULTS.admits(Instant::now()) => warn!(
                delivery.id = %delivery, notification.id = %message.notification, attempt,
                wait_ms = clock::millis(wait),
                "held delivery {delivery} at attempt {attempt} for {wait:.1?} by a fault of ours: {cause}; \
                 others that are held so within a minute have no line"
            ),
            // Thousands of them may wait for one receiver: their history says why, and the gate's line that it is so.
            (None, Some((_, wait))) if self.outcome == HELD => tracing::debug!(
                delivery.id = %delivery, notification.id = %message.notification, attempt,
                wait_ms = clock::millis(wait),
                "held delivery {delivery} at attempt {attempt} for {wait:.1?}: {cause}"
            ),
            (None, Some((_, wait))) => info!(
                delivery.id = %delivery, notification.id = %message.notification, attempt,
                wait_ms = clock::millis(wait),
                "{} delivery {delivery} at attempt {attempt} for {wait:.1?}: {cause}", self.outcome
            ),
            (None, None) => tracing::debug!(
                delivery.id = %delivery, notification.id = %message.notification, attempt,
                "{} delivery {delivery} at attempt {attempt}", self.outcome
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_looked_at_less_often_but_keeps_its_turn_at_a_receiver_that_answers() {
        let (soon, hour) = (Duration::from_secs(7), Duration::from_hours(1));
        for (code, wait, age, held) in [
            (CauseCode::RateLimited, soon, 100 * hour, soon),
            (CauseCode::ReceiverBusy, soon, 100 * hour, soon),
            (CauseCode::RetriesBusy, soon, 100 * hour, soon),
            (CauseCode::Paused, soon, 100 * hour, Duration::from_mins(5)),
            (CauseCode::Internal, soon, hour / 2, Duration::from_mins(3)),
            (CauseCode::OnProbation, soon, hour / 2, Duration::from_mins(3)),
            (CauseCode::CircuitOpen, soon, hour / 2, Duration::from_mins(3)),
            (CauseCode::CircuitOpen, soon, Duration::from_mins(1), soon),
            (CauseCode::CircuitOpen, hour, 100 * hour, hour),
        ] {
            assert_eq!(held_for(code, wait, age), held, "{code:?} for {wait:?} at the age of {age:?}");
        }
    }

    #[test]
    fn the_time_that_a_delivery_is_held_for_its_receiver_counts_from_its_first_hold_to_its_next_attempt() {
        let (first, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(3600).expect("a time"));
        let since = |outcome, code| {
            let cause = Some(Cause::new(code, "why"));
            let verdict = Verdict { outcome, cause, ..Verdict::cancelled("") };
            (verdict.held_since(None, now), verdict.held_since(Some(first), now))
        };
        for (outcome, code, from_none, from_first) in [
            (HELD, CauseCode::CircuitOpen, Some(now), Some(first)),
            (HELD, CauseCode::ReceiverBusy, Some(now), Some(first)),
            (HELD, CauseCode::RetriesBusy, None, Some(first)),
            (HELD, CauseCode::OnProbation, None, Some(first)),
            (HELD, CauseCode::Paused, None, None),
            (HELD, CauseCode::Internal, None, None),
            ("deferred", CauseCode::Http5xx, None, None),
        ] {
            assert_eq!(since(outcome, code), (from_none, from_first), "{outcome} {code:?}");
        }
    }
}
