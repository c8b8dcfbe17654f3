//! A worker's sign of life: idle, at work since when, waiting for what, or down and why.
//! Readiness reads it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
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
struct State {
    activity: Activity,
    /// Why what it depends on does not answer.
    waits: Option<String>,
}

#[derive(Debug, Default)]
enum Activity {
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
        self.state().activity = Activity::Working { since: Instant::now() };
    }

    /// The worker waits for work.
    pub fn idle(&self) {
        self.state().activity = Activity::Idle;
    }

    /// The worker ended and will be started again.
    pub fn down(&self, why: impl Into<String>) {
        *self.state() = State { activity: Activity::Down { why: why.into() }, waits: None };
    }

    /// The worker waits, with work in hand, for something that is out of reach. Says whether that
    /// is news.
    pub fn waits(&self, why: &str) -> bool {
        self.state().waits.replace(why.to_owned()).is_none()
    }

    /// Whatever it waited for answers. Says whether that is news.
    pub fn goes_on(&self) -> bool {
        let mut state = self.state();
        let waited = state.waits.take().is_some();
        if let Activity::Working { since } = &mut state.activity
            && waited
        {
            *since = Instant::now();
        }
        waited
    }

    /// Whether all is well.
    ///
    /// # Errors
    ///
    /// A sentence that says what is not: it is down, waits for something that is out of reach, or
    /// has made no progress for 90 s.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state();
        match (&state.activity, &state.waits) {
            (Activity::Down { why }, _) | (_, Some(why)) => Err(why.clone()),
            (Activity::Working { since }, None) if since.elapsed() >= STALLED_AFTER => {
                Err(format!("no progress for {} s", since.elapsed().as_secs()))
            }
            (Activity::Idle | Activity::Working { .. }, None) => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        vital.state().activity = Activity::Working { since: long_ago };
        assert!(vital.check().is_err());
        vital.idle();
        assert_eq!(vital.check(), Ok(()));
        vital.down("the store failed");
        assert_eq!(vital.check(), Err("the store failed".into()));
    }

    #[test]
    fn a_worker_that_waits_says_so_until_it_goes_on_and_tells_news_once() {
        let vital = Vital::default();
        vital.working();
        assert!(vital.waits("the store is unavailable"));
        assert!(!vital.waits("the store is still unavailable"));
        vital.idle();
        assert_eq!(vital.check(), Err("the store is still unavailable".into()), "others may idle meanwhile");
        assert!(vital.goes_on());
        assert!(!vital.goes_on());
        assert_eq!(vital.check(), Ok(()));
        vital.waits("the store is unavailable");
        vital.down("it panicked");
        vital.idle();
        assert_eq!(vital.check(), Ok(()), "a new start waits for nothing yet");
    }
}
