//! How fast attempts may follow one another: a bucket of tokens that fills with time.
//!
//! Nothing here reads a clock: a moment is the time since any fixed start.

use std::{num::NonZeroU32, time::Duration};

/// The most parts that a pace is divided into.
const MOST_PARTS: u32 = 16;

const MINUTE: Duration = Duration::from_mins(1);

/// A pace: a token every so often, and so many that are kept for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// The time between two tokens.
    pub interval: Duration,
    /// The most tokens that are kept, at least 1.
    pub burst: u32,
}

impl Pace {
    /// One after the other, never two within that time.
    pub fn every(interval: Duration) -> Self {
        Self { interval, burst: 1 }
    }

    /// So many a minute, where what a second brings may come at once.
    pub fn per_minute(count: NonZeroU32) -> Self {
        Self { interval: MINUTE / count.get(), burst: (count.get() / 60).max(1) }
    }

    /// How long an empty bucket takes to be full.
    pub fn filling(self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }

    /// Into how many parts it can be divided among processes, each of them with a token to keep.
    pub fn parts(self) -> NonZeroU32 {
        NonZeroU32::new(self.burst.min(MOST_PARTS)).unwrap_or(NonZeroU32::MIN)
    }

    /// What so many of its parts make; `None` for no part.
    pub fn share(self, parts: u32) -> Option<Self> {
        let all = self.parts().get();
        let parts = parts.min(all);
        if parts == 0 {
            return None;
        }
        let burst = u32::try_from(u64::from(self.burst) * u64::from(parts) / u64::from(all)).unwrap_or(1);
        Some(Self { interval: self.interval * all / parts, burst: burst.max(1) })
    }
}

/// The tokens of one who keeps to a pace. A new one is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full.
    full_at: Duration,
}

impl Bucket {
    /// Whether more time brings no more tokens.
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }

    /// How long until there is a token.
    pub fn wait(&self, now: Duration, pace: Pace) -> Duration {
        let kept = pace.interval.saturating_mul(pace.burst.saturating_sub(1));
        self.full_at.saturating_sub(kept).saturating_sub(now)
    }

    /// Takes a token.
    pub fn take(&mut self, now: Duration, pace: Pace) {
        self.full_at = self.full_at.max(now).saturating_add(pace.interval);
    }

    /// Takes all tokens: the next one comes after a whole interval.
    pub fn empty(&mut self, now: Duration, pace: Pace) {
        self.full_at = self.full_at.max(now.saturating_add(pace.filling()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn per_minute(count: u32) -> Pace {
        Pace::per_minute(NonZeroU32::new(count).expect("not zero"))
    }

    /// When the first so many tokens are there, for one who takes each as soon as it can.
    fn times(pace: Pace, mut bucket: Bucket, count: usize) -> Vec<u128> {
        let mut now = Duration::ZERO;
        let mut times = Vec::new();
        for _ in 0..count {
            now += bucket.wait(now, pace);
            bucket.take(now, pace);
            times.push(now.as_millis());
        }
        times
    }

    #[test]
    fn tokens_come_at_the_pace_and_those_of_a_second_are_kept() {
        assert_eq!(times(Pace::every(SECOND), Bucket::default(), 3), [0, 1000, 2000]);
        assert_eq!(times(per_minute(6), Bucket::default(), 3), [0, 10_000, 20_000]);
        assert_eq!(times(per_minute(120), Bucket::default(), 5), [0, 0, 500, 1000, 1500]);
    }

    #[test]
    fn an_emptied_bucket_makes_wait_for_a_whole_interval() {
        for pace in [Pace::every(SECOND), per_minute(180)] {
            let mut bucket = Bucket::default();
            bucket.empty(SECOND, pace);
            assert_eq!(bucket.wait(SECOND, pace), pace.interval);
        }
    }

    #[test]
    fn the_parts_of_a_pace_are_together_no_faster_and_no_part_is_nothing() {
        for pace in [Pace::every(SECOND), per_minute(1), per_minute(90), per_minute(600), per_minute(60_000)]
        {
            let all = pace.parts().get();
            assert_eq!(pace.share(all), Some(pace));
            assert_eq!(pace.share(0), None);
            for first in 1..all {
                let parts = [first, all - first].map(|parts| pace.share(parts).expect("a part"));
                let per_second: f64 = parts.iter().map(|part| 1.0 / part.interval.as_secs_f64()).sum();
                assert!(per_second <= 1.000_01 / pace.interval.as_secs_f64(), "{pace:?} as {parts:?}");
                assert!(
                    parts.iter().map(|part| part.burst).sum::<u32>() <= pace.burst,
                    "{pace:?} as {parts:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_kept_does_not_grow_without_end() {
        let pace = per_minute(180);
        let mut bucket = Bucket::default();
        let later = Duration::from_hours(1);
        for _ in 0..3 {
            assert_eq!(bucket.wait(later, pace), Duration::ZERO);
            bucket.take(later, pace);
        }
        assert!(bucket.wait(later, pace) > Duration::ZERO);
    }
}
