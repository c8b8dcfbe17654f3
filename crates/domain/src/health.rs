//! What the processes of a fleet know together of one receiver: its failures in a row, its circuit, and the peace that it
//! asked for.
//!
//! Each process tells what it has seen ([`Sighting`]), and one place keeps what follows for all of them ([`Health`]).
//! Nothing here reads a clock: a moment is the time since any fixed start, which is the same for all.

use std::{num::NonZeroU32, time::Duration};

use crate::circuit::{FIRST_PAUSE, longer};

/// How a receiver is, as a fleet sees it. The default is that of one without any trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Attempts in a row that it left unanswered, whoever made them.
    pub failures: u32,
    /// Its circuit, if it is open.
    pub open: Option<Opened>,
    /// Until then it is left in peace.
    pub peace_until: Duration,
}

/// An open circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// From then on one attempt may find out whether the receiver is back.
    pub until: Duration,
    /// How long it is left alone between two such attempts.
    pub pause: Duration,
}

/// What one process has seen of a receiver since it last told. The default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sighting {
    /// Whether the receiver answered.
    pub answered: bool,
    /// Attempts in a row that it left unanswered, after its last answer if there was one.
    pub failures: u32,
    /// Whether one of them was to find out whether it is back.
    pub probe_failed: bool,
    /// For so long it wants peace from now on; zero if it did not ask for any.
    pub peace: Duration,
}

impl Sighting {
    /// These, and then `later` ones.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        let before = if later.answered { Self::default() } else { self };
        Self {
            answered: self.answered || later.answered,
            failures: before.failures.saturating_add(later.failures),
            probe_failed: before.probe_failed || later.probe_failed,
            peace: self.peace.max(later.peace),
        }
    }
}

impl Health {
    /// Takes in what a process tells at `now`; `to_open` failures in a row open the circuit. Failures of attempts that
    /// were begun before it opened change nothing more.
    pub fn hear(&mut self, seen: Sighting, now: Duration, to_open: NonZeroU32) {
        if seen.answered {
            (self.failures, self.open) = (0, None);
        }
        self.failures = self.failures.saturating_add(seen.failures);
        if seen.peace > Duration::ZERO {
            self.peace_until = self.peace_until.max(now.saturating_add(seen.peace));
        }
        let pause = match self.open {
            // Who probed knew of a circuit that was open, even where it is forgotten here.
            open if seen.probe_failed => open.map_or(FIRST_PAUSE, |open| longer(open.pause)),
            None if self.failures >= to_open.get() => FIRST_PAUSE,
            _ => return,
        };
        self.open = Some(Opened { until: now.saturating_add(pause), pause });
    }

    /// Whether an answer of the receiver would change it.
    pub fn is_doubted(&self) -> bool {
        self.failures > 0 || self.open.is_some()
    }

    /// The same with moments counted from `now`; what is past is at zero.
    #[must_use]
    pub fn from(self, now: Duration) -> Self {
        let left = |until: Duration| until.saturating_sub(now);
        Self {
            open: self.open.map(|open| Opened { until: left(open.until), ..open }),
            peace_until: left(self.peace_until),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Duration = Duration::from_secs(100);
    const TO_OPEN: NonZeroU32 = NonZeroU32::new(5).unwrap();

    fn failures(failures: u32) -> Sighting {
        Sighting { failures, ..Sighting::default() }
    }

    fn answered_then(later: u32) -> Sighting {
        Sighting { answered: true, ..failures(later) }
    }

    fn probe_failed() -> Sighting {
        Sighting { probe_failed: true, ..failures(1) }
    }

    fn after(all: &[Sighting]) -> Health {
        let mut health = Health::default();
        for seen in all {
            health.hear(*seen, NOW, TO_OPEN);
        }
        health
    }

    /// How long the circuit's pause is, if it is open.
    fn pause(health: Health) -> Option<u64> {
        health.open.map(|open| {
            assert_eq!(open.until, NOW + open.pause);
            open.pause.as_secs()
        })
    }

    #[test]
    fn failures_in_a_row_open_it_whichever_processes_had_them_and_an_answer_closes_it() {
        for (seen, opens) in [
            (&[failures(4)][..], None),
            (&[failures(5)], Some(5)),
            (&[failures(2), failures(2), failures(1)], Some(5)),
            (&[failures(4), answered_then(0), failures(4)], None),
            (&[failures(4), answered_then(1), failures(4)], Some(5)),
            (&[failures(5), failures(3)], Some(5)),
            (&[failures(5), answered_then(0)], None),
            (&[failures(5), answered_then(5)], Some(5)),
        ] {
            assert_eq!(pause(after(seen)), opens, "{seen:?}");
        }
    }

    #[test]
    fn each_probe_that_fails_doubles_the_pause_up_to_a_minute() {
        let mut all = vec![failures(5)];
        for expected in [10, 20, 40, 60, 60] {
            all.push(probe_failed());
            assert_eq!(pause(after(&all)), Some(expected));
        }
        assert_eq!(pause(after(&[probe_failed()])), Some(5), "one that is forgotten here is known there");
    }

    #[test]
    fn peace_lasts_as_long_as_the_longest_wish_for_it_and_an_answer_does_not_end_it() {
        let wish = |seconds: u64| Sighting {
            answered: true,
            peace: Duration::from_secs(seconds),
            ..Sighting::default()
        };
        let health = after(&[wish(3), wish(7), wish(2), answered_then(0)]);
        assert_eq!(health.peace_until, NOW + 7 * SECOND);
        assert_eq!(health.from(NOW + 5 * SECOND).peace_until, 2 * SECOND);
        assert_eq!(health.from(NOW + 9 * SECOND).peace_until, Duration::ZERO);
    }

    #[test]
    fn told_together_or_one_after_the_other_sightings_come_to_the_same() {
        let peace = Sighting { answered: true, peace: SECOND, ..Sighting::default() };
        let some = [Sighting::default(), failures(1), failures(5), answered_then(0), answered_then(2), peace];
        for first in some {
            for second in some {
                for third in some {
                    let apart = after(&[first, second, third]);
                    let together = after(&[first.and(second).and(third)]);
                    assert_eq!(
                        (apart.failures, apart.open.is_some(), apart.peace_until),
                        (together.failures, together.open.is_some(), together.peace_until),
                        "{first:?}, {second:?}, {third:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn moments_are_counted_from_any_other() {
        let open = after(&[failures(5)]);
        let left = open.from(NOW + SECOND).open.expect("open");
        assert_eq!((left.until, left.pause), (4 * SECOND, 5 * SECOND));
        assert!(open.is_doubted() && after(&[failures(1)]).is_doubted());
        assert!(!after(&[failures(1), answered_then(0)]).is_doubted());
    }
}
