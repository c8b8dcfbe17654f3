//! How fast a receiver lets itself be asked, learnt from its refusals: halved by each, and a little more again with each
//! answer.
//!
//! Nothing here reads a clock: a moment is the time since any fixed start.

use std::time::Duration;

use crate::Pace;

/// The slowest that is learnt, in attempts a second: one a minute.
const SLOWEST: f64 = 1.0 / 60.0;

/// The fastest: whoever takes more is not held back.
const FASTEST: f64 = 1000.0;

/// What an answer adds, as a part of the rate that was refused: half of it in 32 answers.
const ADDED: f64 = 1.0 / 64.0;

/// After so long without a refusal nothing is known any more.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// Over how long it is counted how fast attempts were.
const WINDOW: Duration = Duration::from_secs(10);

/// What one who makes attempts has learnt of their receiver. A new one knows of no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learnt {
    limit: Option<Limit>,
    /// When the attempts began to be counted that `count` are of; `before` were in the window before.
    window: Duration,
    count: u32,
    before: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    /// Attempts a second.
    rate: f64,
    /// The rate that was refused last, and when.
    refused: f64,
    at: Duration,
}

impl Learnt {
    /// How fast attempts may follow one another at `now`, if that is limited.
    pub fn pace(&self, now: Duration) -> Option<Pace> {
        let limit = self.limit.filter(|limit| now < limit.at + FORGOTTEN)?;
        let interval = Duration::from_secs_f64(1.0 / limit.rate);
        let burst = Duration::from_secs(1).as_nanos() / interval.as_nanos().max(1);
        Some(Pace { interval, burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1) })
    }

    /// An attempt begins.
    pub fn begun(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.window);
        if passed >= WINDOW {
            self.before = if passed < 2 * WINDOW { self.count } else { 0 };
            (self.window, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
    }

    /// An attempt that had begun at `began` was refused because there were too many. Those that were under way when the
    /// rate was halved count for nothing more.
    pub fn refused(&mut self, began: Duration, now: Duration) {
        let limit = self.limit.filter(|limit| now < limit.at + FORGOTTEN);
        if limit.is_some_and(|limit| began < limit.at) {
            return;
        }
        let refused = limit.map_or_else(|| self.seen(now), |limit| limit.rate).clamp(SLOWEST, FASTEST);
        self.limit = Some(Limit { rate: (refused / 2.0).max(SLOWEST), refused, at: now });
    }

    /// An attempt was answered. What is taken at twice the rate that was refused has no limit any more.
    pub fn answered(&mut self) {
        if let Some(limit) = &mut self.limit {
            limit.rate += limit.refused * ADDED;
            if limit.rate > FASTEST || limit.rate >= 2.0 * limit.refused {
                self.limit = None;
            }
        }
    }

    /// How many attempts a second began of late.
    fn seen(&self, now: Duration) -> f64 {
        let whole = if self.before > 0 { WINDOW } else { Duration::ZERO };
        let over = (whole + now.saturating_sub(self.window)).max(Duration::from_secs(1));
        f64::from(self.count.saturating_add(self.before)) / over.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One to whom so many attempts a second were made for half a minute, and the time then.
    fn asked(a_second: u32) -> (Learnt, Duration) {
        let mut learnt = Learnt::default();
        let mut now = Duration::ZERO;
        for _ in 0..30 * a_second {
            learnt.begun(now);
            now += SECOND / a_second;
        }
        (learnt, now)
    }

    fn a_second(learnt: &Learnt, now: Duration) -> Option<f64> {
        learnt.pace(now).map(|pace| 1.0 / pace.interval.as_secs_f64())
    }

    #[track_caller]
    fn assert_near(learnt: &Learnt, now: Duration, expected: f64) {
        let rate = a_second(learnt, now).expect("a limit");
        assert!((rate / expected - 1.0).abs() < 0.15, "{rate} a second, not {expected}");
    }

    #[test]
    fn a_refusal_halves_the_rate_that_was_refused_within_bounds() {
        for (rate, after_one, after_three) in [(1, 0.5, 0.125), (10, 5.0, 1.25), (400, 200.0, 50.0)] {
            let (mut learnt, mut now) = asked(rate);
            assert_eq!(learnt.pace(now), None);
            learnt.refused(now, now);
            assert_near(&learnt, now, after_one);
            for _ in 0..2 {
                now += SECOND;
                learnt.refused(now, now);
            }
            assert_near(&learnt, now, after_three);
            for _ in 0..20 {
                now += SECOND;
                learnt.refused(now, now);
            }
            assert_near(&learnt, now, SLOWEST);
        }
    }

    #[test]
    fn what_was_under_way_when_it_was_halved_halves_it_no_more() {
        let (mut learnt, now) = asked(10);
        for _ in 0..32 {
            learnt.refused(now, now + SECOND);
        }
        assert_near(&learnt, now + SECOND, 5.0);
    }

    #[test]
    fn answers_add_it_back_and_at_twice_what_was_refused_it_is_no_limit() {
        let (mut learnt, now) = asked(10);
        learnt.refused(now, now);
        for (answers, expected) in [(32, 10.0), (32, 15.0)] {
            for _ in 0..answers {
                learnt.answered();
            }
            assert_near(&learnt, now, expected);
        }
        for _ in 0..40 {
            learnt.answered();
        }
        assert_eq!(learnt.pace(now), None);
    }

    #[test]
    fn it_is_forgotten_in_time() {
        let (mut learnt, now) = asked(10);
        learnt.refused(now, now);
        assert!(learnt.pace(now + FORGOTTEN.saturating_sub(SECOND)).is_some());
        assert_eq!(learnt.pace(now + FORGOTTEN), None);
        let later = now + FORGOTTEN;
        learnt.begun(later);
        learnt.refused(later, later);
        assert_near(&learnt, later, 0.5);
    }

    #[test]
    fn a_single_attempt_and_a_burst_have_a_rate_too() {
        let mut one = Learnt::default();
        one.begun(SECOND);
        one.refused(SECOND, SECOND);
        assert_near(&one, SECOND, 0.5);
        let mut burst = Learnt::default();
        for _ in 0..32 {
            burst.begun(SECOND);
        }
        burst.refused(SECOND, SECOND);
        assert_near(&burst, SECOND, 16.0);
        assert_eq!(burst.pace(SECOND).expect("a limit").burst, 16);
    }
}
