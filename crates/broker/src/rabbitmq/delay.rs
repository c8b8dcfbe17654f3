//! How a wait of any length is made of queues with fixed ones. No IO and no clock here.
//!
//! A message waits in a *level*: a queue from which it is dead-lettered after 500 ms x 2^level. One that
//! comes out too early waits once more, in the level that fits what is left. A level that is a little too
//! long is taken when the excess is within the tolerance: that, and not the broker, is why a wait ends late.

use std::time::Duration;

/// How many levels there are: the longest keeps a message for 36.4 h.
pub(super) const LEVELS: u8 = 19;

/// How long the first level keeps a message; each further one keeps it twice as long.
const SHORTEST: Duration = Duration::from_millis(500);

/// So late a wait may always end: half of the second that is promised, the rest is for the broker's own work.
const FINE: Duration = Duration::from_millis(500);

/// Later than this no tolerance lets a wait end, however long it is: our alerts take for late what is begun 30 s
/// after it was due.
const LATEST: Duration = Duration::from_secs(20);

/// How late waits may end, as a share of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tolerance {
    percent: u8,
}

impl Tolerance {
    /// A second, or that share of a wait where it is more, up to 20 s.
    pub(super) const fn percent(percent: u8) -> Self {
        Self { percent }
    }

    /// How much later than asked the levels of a wait may let go of it: half of what is promised, and 20 s at most.
    pub(super) fn of(self, whole: Duration) -> Duration {
        FINE.max(whole * u32::from(self.percent) / 200).min(LATEST)
    }
}

/// How long a level keeps a message.
pub(super) fn wait_of(level: u8) -> Duration {
    SHORTEST * (1 << u32::from(level))
}

/// The level that fits a message with `remaining` to wait.
pub(super) fn level(remaining: Duration, tolerance: Duration) -> u8 {
    let top = LEVELS - 1;
    let Some(up) = (0..LEVELS).find(|level| wait_of(*level) >= remaining) else { return top };
    if up == 0 || wait_of(up) <= remaining + tolerance { up } else { up - 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    /// What is tolerated unless somebody says otherwise, and nothing at all.
    const USUAL: Tolerance = Tolerance::percent(1);
    const NONE: Tolerance = Tolerance::percent(0);

    /// When a message that has to wait `whole` comes out of its last level, and how many it saw.
    fn ends_after(whole: Duration, tolerance: Tolerance) -> (Duration, u32) {
        let (mut waited, mut levels) = (Duration::ZERO, 0);
        while waited < whole {
            waited += wait_of(level(whole.saturating_sub(waited), tolerance.of(whole)));
            levels += 1;
        }
        (waited, levels)
    }

    #[test]
    fn the_levels_reach_from_half_a_second_to_a_day_and_a_half() {
        assert_eq!(wait_of(0), Duration::from_millis(500));
        assert_eq!(wait_of(LEVELS - 1), Duration::from_secs(131_072));
    }

    #[test]
    fn a_wait_of_one_level_takes_one_hop() {
        for level in 0..LEVELS {
            for tolerance in [NONE, USUAL] {
                assert_eq!(ends_after(wait_of(level), tolerance), (wait_of(level), 1));
            }
        }
    }

    #[test]
    fn thirty_days_hold_to_the_second_where_nothing_is_tolerated() {
        for short in [0, 1, 499, 500, 501, 86_399_999] {
            let whole = (30 * DAY).saturating_sub(Duration::from_millis(short));
            let (waited, levels) = ends_after(whole, NONE);
            let late = waited.checked_sub(whole).expect("not early");
            assert!(late < Duration::from_secs(1) && levels <= 38, "{whole:?}: {late:?} late, {levels} hops");
        }
    }

    proptest! {
        #[test]
        fn no_wait_ends_early_and_none_later_than_promised(ms in 1..30 * 86_400_000_u64, percent in 0_u8..=10) {
            let whole = Duration::from_millis(ms);
            let (waited, levels) = ends_after(whole, Tolerance::percent(percent));
            prop_assert!(waited >= whole, "{whole:?} ends early");
            let late = waited.saturating_sub(whole);
            let promised = Duration::from_secs(1).max(whole * u32::from(percent) / 100);
            let is_kept = late < promised && late <= LATEST;
            prop_assert!(is_kept, "{whole:?} ends {late:?} late, {percent} % are tolerated");
            prop_assert!(levels <= 38, "{whole:?} takes {levels} hops");
        }

        #[test]
        fn by_default_a_wait_ends_within_a_second_up_to_two_minutes_and_within_a_hundredth_and_20_s_beyond(
            ms in 1..30 * 86_400_000_u64,
        ) {
            let whole = Duration::from_millis(ms);
            let (waited, levels) = ends_after(whole, USUAL);
            let late = waited.saturating_sub(whole);
            let promised = if whole <= Duration::from_mins(2) { Duration::from_secs(1) } else { whole / 100 };
            let is_kept = late < promised && late <= LATEST && levels <= 32;
            prop_assert!(is_kept, "{whole:?} ends {late:?} late after {levels} hops");
        }

        #[test]
        fn short_waits_too(ms in 1..600_000_u64) {
            let whole = Duration::from_millis(ms);
            let late = ends_after(whole, USUAL).0.saturating_sub(whole);
            prop_assert!(late <= USUAL.of(whole));
        }
    }
}
