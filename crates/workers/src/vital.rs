//! A worker's sign of life: idle, at work since when, or down and why. Readiness reads it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long one piece of work may take before its worker counts as stalled. Longer than any
/// attempt's deadline and any commit.
const STALLED_AFTER: Duration = Duration::from_secs(90);

/// The sign of life of one worker, shared with whoever judges it.
#[derive(Debug, Default)]
pub struct Vital {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Working {
        since: Instant,
    },
    Down {
        why: String,
    },
}

impl Vital {
    /// The worker made progress and has more to do.
    pub fn working(&self) {
        self.set(State::Working { since: Instant::now() });
    }

    /// The worker waits for work.
    pub fn idle(&self) {
        self.set(State::Idle);
    }

    /// The worker ended and will be started again.
    pub fn down(&self, why: impl Into<String>) {
        self.set(State::Down { why: why.into() });
    }

    /// Whether all is well.
    ///
    /// # Errors
    ///
    /// A sentence that says what is not: it is down, or has made no progress for 90 s.
    pub fn check(&self) -> Result<(), String> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Idle => Ok(()),
            State::Working { since } if since.elapsed() < STALLED_AFTER => Ok(()),
            State::Working { since } => Err(format!("no progress for {} s", since.elapsed().as_secs())),
            State::Down { why } => Err(why.clone()),
        }
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_progress_has_stalled() {
        let vital = Vital::default();
        assert_eq!(vital.check(), Ok(()));
        vital.working();
        assert_eq!(vital.check(), Ok(()));
        let long_ago = Instant::now().checked_sub(STALLED_AFTER).expect("the machine is up for longer");
        vital.set(State::Working { since: long_ago });
        assert!(vital.check().is_err());
        vital.idle();
        assert_eq!(vital.check(), Ok(()));
        vital.down("the store failed");
        assert_eq!(vital.check(), Err("the store failed".into()));
    }
}
