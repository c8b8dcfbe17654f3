//! How long to wait between attempts to connect: the one use of the `backoff` crate.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff};

/// The first pause; each further one is twice as long, half more or less at random.
const FIRST: Duration = Duration::from_millis(200);

/// The longest pause: an operator who starts a broker waits no longer than this for us.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses without end.
#[derive(Debug)]
pub(super) struct Pauses(ExponentialBackoff);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(ExponentialBackoff {
            current_interval: FIRST,
            initial_interval: FIRST,
            randomization_factor: 0.5,
            multiplier: 2.0,
            max_interval: LONGEST,
            max_elapsed_time: None,
            ..Default::default()
        })
    }

    pub(super) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(LONGEST)
    }

    /// It went well; the next trouble starts with the shortest pause.
    pub(super) fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_never_end() {
        let mut pauses = Pauses::new();
        assert!((FIRST / 2..=FIRST * 3 / 2).contains(&pauses.next()));
        for _ in 0..1000 {
            assert!(pauses.next() <= LONGEST * 3 / 2);
        }
        assert!(pauses.next() >= LONGEST / 2);
        pauses.reset();
        assert!(pauses.next() <= FIRST * 3 / 2);
    }
}
