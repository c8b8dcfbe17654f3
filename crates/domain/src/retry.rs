//! When a failed delivery is tried again, and when it is given up.
//!
//! Nothing here reads a clock or draws a random number: the caller passes both in, so a
//! whole schedule can be checked in microseconds.

use std::{num::NonZeroU32, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cause, CauseCode, Outcome};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The longest wait that any message may have: the broker's own limit.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 24 * HOUR);

/// The shortest time after which a delivery is given up that was held all along.
const SHORTEST_LIFE: Duration = Duration::from_secs(24 * HOUR);

/// The most waits of a schedule.
const MOST_STEPS: usize = 100;

/// How long a hold caused by ourselves lasts.
const OWN_FAULT_HOLD: Duration = Duration::from_secs(5);

/// When to try again. Made by [`RetryPolicy::default`] or [`RetryPolicy::new`], which refuse
/// a schedule that could spin or wait for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Schedule", into = "Schedule")]
#[schemars(description = "When to try again.")]
pub struct RetryPolicy {
    steps: Vec<Duration>,
    longest_hint: Duration,
    client_error_attempts: NonZeroU32,
}

/// What follows an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it was delivered.
    Done,
    /// Another attempt, no earlier than this.
    RetryIn(Duration),
    /// The same attempt again: the fault was ours, so the receiver's attempts are not spent.
    HoldFor(Duration),
    /// No further attempt.
    DeadLetter(Cause),
}

impl Default for RetryPolicy {
    /// Ten attempts over some 75 hours, the schedule of Standard Webhooks 1.0.0, section
    /// "Deliverability and reliability"; hints up to a day; three attempts on a client error.
    fn default() -> Self {
        let steps =
            [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self {
            steps: steps.map(Duration::from_secs).to_vec(),
            longest_hint: Duration::from_secs(24 * HOUR),
            client_error_attempts: NonZeroU32::new(3).unwrap_or(NonZeroU32::MIN),
        }
    }
}

impl RetryPolicy {
    /// A policy of `steps.len() + 1` attempts, where `steps[n]` is the wait after attempt `n + 1`.
    ///
    /// # Errors
    ///
    /// When a step is under a millisecond or a step or hint over 30 days, or there are over 100.
    pub fn new(
        steps: Vec<Duration>,
        longest_hint: Duration,
        client_error_attempts: NonZeroU32,
    ) -> Result<Self, InvalidPolicy> {
        if steps.len() > MOST_STEPS {
            return Err(InvalidPolicy::TooManySteps(steps.len()));
        }
        let wrong = steps.iter().find(|step| **step < Duration::from_millis(1) || **step > LONGEST_WAIT);
        if let Some(step) = wrong {
            return Err(InvalidPolicy::Step(*step));
        }
        if longest_hint > LONGEST_WAIT {
            return Err(InvalidPolicy::Hint(longest_hint));
        }
        Ok(Self { steps, longest_hint, client_error_attempts })
    }

    /// How many attempts a delivery has at most.
    pub fn max_attempts(&self) -> u32 {
        u32::try_from(self.steps.len() + 1).unwrap_or(u32::MAX)
    }

    /// How long a delivery may be held for its receiver's sake before it is given up: as long as its schedule
    /// spans, and at least a day.
    pub fn longest_life(&self) -> Duration {
        self.steps.iter().sum::<Duration>().max(SHORTEST_LIFE)
    }

    /// Decides what follows attempt number `attempt` (the first is 1).
    ///
    /// `jitter` is a uniform draw from `0.0..1.0`. The wait lies between half the scheduled step
    /// and all of it, so that receivers which failed together are not called back together. A
    /// receiver's own hint can lengthen the wait, never past the longest hint, and never past
    /// the attempt limit.
    pub fn after(&self, attempt: NonZeroU32, outcome: Outcome, jitter: f64) -> Next {
        match outcome {
            Outcome::Delivered => Next::Done,
            Outcome::Rejected { cause } => Next::DeadLetter(cause),
            Outcome::Deferred { cause, .. } if cause.code.is_ours() => Next::HoldFor(OWN_FAULT_HOLD),
            Outcome::Deferred { cause, hint } => match self.wait(attempt, cause.code, jitter) {
                None => Next::DeadLetter(cause),
                Some(wait) => Next::RetryIn(wait.max(hint.unwrap_or_default().min(self.longest_hint))),
            },
        }
    }

    fn wait(&self, attempt: NonZeroU32, cause: CauseCode, jitter: f64) -> Option<Duration> {
        if cause == CauseCode::Http4xx && attempt >= self.client_error_attempts {
            return None;
        }
        let step = self.steps.get(usize::try_from(attempt.get() - 1).ok()?)?;
        Some(step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
    }
}

/// A schedule that can't be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A step outside a millisecond to 30 days.
    #[error("retry step {0:?} should be from 1 ms to 30 days")]
    Step(Duration),
    /// More steps than anyone means.
    #[error("{0} retry steps are too many; give at most {MOST_STEPS}")]
    TooManySteps(usize),
    /// A hint's cap over 30 days.
    #[error("longest retry hint {0:?} should be at most 30 days")]
    Hint(Duration),
}

/// [`RetryPolicy`] as it is written down, in milliseconds.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetryPolicy")]
struct Schedule {
    /// The waits after the first attempt, the second, and so on: there is one attempt more than waits.
    #[schemars(extend("maxItems" = MOST_STEPS), inner(range(min = 1, max = LONGEST_WAIT.as_secs() * 1000)))]
    steps_ms: Vec<u64>,
    /// The most by which a receiver's `Retry-After` lengthens a wait.
    #[schemars(range(max = LONGEST_WAIT.as_secs() * 1000))]
    longest_hint_ms: u64,
    /// Attempts that end in a client's error before the delivery is given up.
    client_error_attempts: NonZeroU32,
}

impl TryFrom<Schedule> for RetryPolicy {
    type Error = InvalidPolicy;

    fn try_from(written: Schedule) -> Result<Self, InvalidPolicy> {
        let steps = written.steps_ms.into_iter().map(Duration::from_millis).collect();
        Self::new(steps, Duration::from_millis(written.longest_hint_ms), written.client_error_attempts)
    }
}

impl From<RetryPolicy> for Schedule {
    fn from(policy: RetryPolicy) -> Self {
        let millis = |wait: &Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            steps_ms: policy.steps.iter().map(millis).collect(),
            longest_hint_ms: millis(&policy.longest_hint),
            client_error_attempts: policy.client_error_attempts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cause(code: CauseCode) -> Cause {
        Cause::new(code, "seen in a test")
    }

    fn deferred(code: CauseCode, hint: Option<Duration>) -> Outcome {
        Outcome::Deferred { cause: cause(code), hint }
    }

    fn three_tries() -> RetryPolicy {
        RetryPolicy::new(vec![10 * SECOND, 20 * SECOND], 60 * SECOND, NonZeroU32::MIN.saturating_add(1))
            .expect("a valid policy")
    }

    fn check(attempt: u32, outcome: Outcome, jitter: f64, expected: &Next) {
        let attempt = NonZeroU32::new(attempt).expect("attempts count from 1");
        assert_eq!(three_tries().after(attempt, outcome, jitter), *expected);
    }

    #[test]
    fn a_wait_lies_between_half_the_step_and_all_of_it() {
        check(1, deferred(CauseCode::Http5xx, None), 0.0, &Next::RetryIn(5 * SECOND));
        check(1, deferred(CauseCode::Http5xx, None), 1.0, &Next::RetryIn(10 * SECOND));
        check(2, deferred(CauseCode::Timeout, None), 0.5, &Next::RetryIn(15 * SECOND));
    }

    #[test]
    fn hint_lengthens_the_wait_but_not_past_the_longest() {
        check(1, deferred(CauseCode::Http5xx, Some(30 * SECOND)), 1.0, &Next::RetryIn(30 * SECOND));
        check(1, deferred(CauseCode::Http5xx, Some(SECOND)), 1.0, &Next::RetryIn(10 * SECOND));
        check(1, deferred(CauseCode::RateLimited, Some(3600 * SECOND)), 1.0, &Next::RetryIn(60 * SECOND));
    }

    #[test]
    fn the_last_attempt_ends_in_a_dead_letter_whatever_the_hint() {
        check(
            3,
            deferred(CauseCode::Http5xx, Some(SECOND)),
            0.0,
            &Next::DeadLetter(cause(CauseCode::Http5xx)),
        );
        check(9, deferred(CauseCode::Http5xx, None), 0.0, &Next::DeadLetter(cause(CauseCode::Http5xx)));
    }

    #[test]
    fn a_client_error_is_given_up_sooner_but_not_those_that_pass() {
        check(2, deferred(CauseCode::Http4xx, None), 0.0, &Next::DeadLetter(cause(CauseCode::Http4xx)));
        for code in [CauseCode::HttpRetryable, CauseCode::HttpAuth, CauseCode::RateLimited] {
            check(2, deferred(code, None), 1.0, &Next::RetryIn(20 * SECOND));
        }
    }

    #[test]
    fn our_own_fault_spends_no_attempt() {
        for code in [CauseCode::WorkerPanicked, CauseCode::Internal] {
            check(3, deferred(code, None), 1.0, &Next::HoldFor(OWN_FAULT_HOLD));
        }
    }

    #[test]
    fn a_rejection_is_final_and_a_delivery_done() {
        check(
            1,
            Outcome::Rejected { cause: cause(CauseCode::Gone) },
            0.0,
            &Next::DeadLetter(cause(CauseCode::Gone)),
        );
        check(3, Outcome::Delivered, 0.0, &Next::Done);
    }

    #[test]
    fn the_default_spans_some_75_hours_in_ten_attempts() {
        let policy = RetryPolicy::default();
        let waits = (1..policy.max_attempts()).map(|attempt| {
            match policy.after(
                NonZeroU32::new(attempt).expect("from 1"),
                deferred(CauseCode::Http5xx, None),
                1.0,
            ) {
                Next::RetryIn(wait) => wait,
                other => panic!("attempt {attempt} ended in {other:?}"),
            }
        });
        let total: Duration = waits.sum();
        assert_eq!((policy.max_attempts(), total), (10, Duration::from_secs(75 * HOUR + 35 * MINUTE + 5)));
    }

    #[test]
    fn what_is_held_lives_as_long_as_its_schedule_and_at_least_a_day() {
        assert_eq!(three_tries().longest_life(), Duration::from_secs(24 * HOUR));
        assert!(RetryPolicy::default().longest_life() > Duration::from_secs(75 * HOUR));
    }

    #[test]
    fn a_schedule_that_spins_or_waits_for_ever_is_refused() {
        let three = NonZeroU32::MIN;
        assert!(RetryPolicy::new(vec![Duration::ZERO], SECOND, three).is_err());
        assert!(RetryPolicy::new(vec![LONGEST_WAIT + SECOND], SECOND, three).is_err());
        assert!(RetryPolicy::new(vec![SECOND; 101], SECOND, three).is_err());
        assert!(RetryPolicy::new(vec![SECOND], LONGEST_WAIT + SECOND, three).is_err());
    }
}
