//! When a receiver that keeps failing is left alone, and when it is tried again.
//!
//! Nothing here reads a clock: a moment is the time since any fixed start.
//!
//! ```mermaid
//! stateDiagram-v2
//!     closed --> open : so many failures in a row
//!     open --> probing : the pause is over, one attempt goes
//!     probing --> closed : the probe was answered
//!     probing --> open : it was not, and the pause doubles
//!     open --> closed : a straggler was answered
//! ```
//!
//! In a fleet each process has one, and takes over what all know together ([`Health`]).

use std::{num::NonZeroU32, time::Duration};

use crate::Health;

/// The pause after a circuit opened; doubled for each probe that fails.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The pause after a probe that failed, when the one before it was `pause`.
pub(crate) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

/// Whether a receiver is worth an attempt now. One that never failed is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circuit {
    state: State,
    /// Failures since the last answer.
    failures: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Duration,
        pause: Duration,
    },
    Probing {
        pause: Duration,
    },
}

/// What a circuit says to one more attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go.
    Free,
    /// Go as the one attempt that finds out; then [`Circuit::probe`] has to be called.
    Probe,
    /// Not for so long, at least.
    Wait(Duration),
}

impl Circuit {
    /// What becomes of an attempt at `now`. Changes nothing.
    pub fn admits(&self, now: Duration) -> Admission {
        match self.state {
            State::Closed => Admission::Free,
            State::Open { until, .. } if until <= now => Admission::Probe,
            State::Open { until, .. } => Admission::Wait(until.saturating_sub(now)),
            State::Probing { .. } => Admission::Wait(FIRST_PAUSE),
        }
    }

    /// The attempt that finds out begins.
    pub fn probe(&mut self) {
        if let State::Open { pause, .. } = self.state {
            self.state = State::Probing { pause };
        }
    }

    /// The receiver answered an attempt, whatever it said.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// The receiver did not answer an attempt; `to_open` times in a row open the circuit. What was begun before
    /// it opened changes nothing more.
    pub fn failed(&mut self, now: Duration, was_probe: bool, to_open: NonZeroU32) {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed if self.failures >= to_open.get() => {
                self.state = State::Open { until: now.saturating_add(FIRST_PAUSE), pause: FIRST_PAUSE };
            }
            State::Probing { pause } if was_probe => {
                let pause = longer(pause);
                self.state = State::Open { until: now.saturating_add(pause), pause };
            }
            State::Closed | State::Open { .. } | State::Probing { .. } => {}
        }
    }

    /// The probe was cut off before it ended: another one may go at once.
    pub fn probe_cut_off(&mut self, now: Duration) {
        if let State::Probing { pause } = self.state {
            self.state = State::Open { until: now, pause };
        }
    }

    /// Takes over what a fleet knows of its receiver, with moments counted from `now`, and what this process has not
    /// told it yet: `untold` failures since. A probe of our own that is out goes on.
    pub fn adopt(&mut self, known: Health, untold: u32, now: Duration, to_open: NonZeroU32) {
        self.failures = known.failures.saturating_add(untold);
        match (known.open, self.state) {
            (Some(_), State::Probing { .. }) => {}
            (Some(open), _) => {
                self.state = State::Open { until: now.saturating_add(open.until), pause: open.pause };
            }
            // It has opened here, and that is not told yet.
            (None, State::Open { .. }) if untold > 0 && self.failures >= to_open.get() => {}
            (None, _) => self.state = State::Closed,
        }
    }

    /// Whether attempts are not free to go.
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether it remembers nothing.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Opened;

    const SECOND: Duration = Duration::from_secs(1);
    const TO_OPEN: NonZeroU32 = NonZeroU32::new(5).unwrap();

    fn open_at(now: Duration) -> Circuit {
        let mut circuit = Circuit::default();
        for _ in 0..TO_OPEN.get() {
            assert_eq!(circuit.admits(now), Admission::Free);
            circuit.failed(now, false, TO_OPEN);
        }
        circuit
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let mut circuit = Circuit::default();
        for _ in 0..3 {
            for _ in 1..TO_OPEN.get() {
                circuit.failed(SECOND, false, TO_OPEN);
            }
            circuit.answered();
        }
        assert_eq!(circuit.admits(SECOND), Admission::Free);
        assert_eq!(open_at(SECOND).admits(2 * SECOND), Admission::Wait(4 * SECOND));
    }

    #[test]
    fn after_the_pause_one_attempt_finds_out_and_nobody_else_goes() {
        let mut circuit = open_at(Duration::ZERO);
        assert_eq!(circuit.admits(FIRST_PAUSE), Admission::Probe);
        circuit.probe();
        assert!(matches!(circuit.admits(FIRST_PAUSE), Admission::Wait(_)));
        circuit.answered();
        assert_eq!(circuit.admits(FIRST_PAUSE), Admission::Free);
        assert!(circuit.is_new());
    }

    #[test]
    fn the_pause_doubles_with_each_probe_that_fails_up_to_a_minute() {
        let mut circuit = open_at(Duration::ZERO);
        let mut now = FIRST_PAUSE;
        for pause in [10, 20, 40, 60, 60] {
            assert_eq!(circuit.admits(now), Admission::Probe);
            circuit.probe();
            circuit.failed(now, true, TO_OPEN);
            assert_eq!(circuit.admits(now), Admission::Wait(pause * SECOND));
            now += pause * SECOND;
        }
    }

    #[test]
    fn stragglers_neither_lengthen_the_pause_nor_end_the_probe() {
        let mut circuit = open_at(Duration::ZERO);
        circuit.failed(4 * SECOND, false, TO_OPEN);
        assert_eq!(circuit.admits(4 * SECOND), Admission::Wait(SECOND));
        circuit.probe();
        circuit.failed(6 * SECOND, false, TO_OPEN);
        assert!(matches!(circuit.admits(6 * SECOND), Admission::Wait(_)), "the probe is still out");
        circuit.failed(7 * SECOND, true, TO_OPEN);
        assert_eq!(circuit.admits(7 * SECOND), Admission::Wait(10 * SECOND));
    }

    fn opened(until: Duration) -> Health {
        Health { failures: 5, open: Some(Opened { until, pause: FIRST_PAUSE }), ..Health::default() }
    }

    #[test]
    fn what_the_fleet_knows_opens_and_closes_it() {
        let mut circuit = Circuit::default();
        circuit.adopt(opened(3 * SECOND), 0, SECOND, TO_OPEN);
        assert_eq!(circuit.admits(2 * SECOND), Admission::Wait(2 * SECOND));
        assert_eq!(circuit.admits(4 * SECOND), Admission::Probe);
        circuit.adopt(Health::default(), 0, 2 * SECOND, TO_OPEN);
        assert_eq!(circuit.admits(2 * SECOND), Admission::Free);
        assert!(circuit.is_new());
    }

    #[test]
    fn what_others_failed_at_counts_and_what_it_has_not_told_is_not_forgotten() {
        let others = |failures| Health { failures, ..Health::default() };
        let mut circuit = Circuit::default();
        circuit.failed(SECOND, false, TO_OPEN);
        circuit.adopt(others(3), 1, SECOND, TO_OPEN);
        assert_eq!(circuit.admits(SECOND), Admission::Free);
        circuit.failed(SECOND, false, TO_OPEN);
        assert_eq!(circuit.admits(SECOND), Admission::Wait(FIRST_PAUSE), "the fifth in a row");
        circuit.adopt(others(3), 2, SECOND, TO_OPEN);
        assert_eq!(circuit.admits(SECOND), Admission::Wait(FIRST_PAUSE), "not told yet");
        circuit.adopt(Health::default(), 2, SECOND, TO_OPEN);
        assert_eq!(circuit.admits(SECOND), Admission::Free, "another was answered meanwhile");
    }

    #[test]
    fn a_probe_that_is_out_goes_on_whatever_is_heard() {
        let mut circuit = open_at(Duration::ZERO);
        circuit.probe();
        circuit.adopt(opened(Duration::ZERO), 0, 6 * SECOND, TO_OPEN);
        assert!(matches!(circuit.admits(6 * SECOND), Admission::Wait(_)));
        circuit.failed(7 * SECOND, true, TO_OPEN);
        assert_eq!(circuit.admits(7 * SECOND), Admission::Wait(10 * SECOND));
    }

    #[test]
    fn a_probe_that_was_cut_off_is_made_again_at_once() {
        let mut circuit = open_at(Duration::ZERO);
        circuit.probe();
        circuit.probe_cut_off(6 * SECOND);
        assert_eq!(circuit.admits(6 * SECOND), Admission::Probe);
    }
}
