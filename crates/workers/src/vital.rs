//! A worker's sign of life: idle, at work since when, waiting for what, or down and why.
//! Readiness and the supervisor, who shows it in the metrics, read it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long one piece of work may take before its worker counts as stalled, unless it is told otherwise. Longer
/// than an attempt's usual deadline and any commit.
const STALLED_AFTER: Duration = Duration::from_secs(90);

/// The sign of life of one worker, shared with whoever judges it.
#[derive(Debug)]
pub struct Vital {
    state: Mutex<State>,
    stalled_after: Duration,
}

#[derive(Debug, Default)]
struct State {
    activity: Activity,
    waits: Option<Waits>,
}

/// What it depends on does not answer.
#[derive(Debug)]
struct Waits {
    why: String,
    /// When it was last asked in vain.
    asked: Instant,
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

impl Default for Vital {
    /// One piece of work may take 90 s.
    fn default() -> Self {
        Self::stalled_after(STALLED_AFTER)
    }
}

impl Vital {
    /// The sign of life of a worker whose work makes progress at least once in that time.
    pub fn stalled_after(limit: Duration) -> Self {
        Self { state: Mutex::default(), stalled_after: limit }
    }

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
        self.state().waits.replace(Waits { why: why.to_owned(), asked: Instant::now() }).is_none()
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
    /// has made no progress for too long.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state();
        match (&state.activity, &state.waits) {
            (Activity::Down { why }, _) | (_, Some(Waits { why, .. })) => Err(why.clone()),
            (Activity::Idle | Activity::Working { .. }, None) => match state.stands_still() {
                Some(long) if long >= self.stalled_after => {
                    Err(format!("no progress for {} s", long.as_secs()))
                }
                _ => Ok(()),
            },
        }
    }

    /// Whether the worker runs and gets on. One that waits does, for as long as it goes on asking: an outage is
    /// told elsewhere, and is no reason to look for what is wrong with the worker.
    pub fn gets_on(&self) -> bool {
        let state = self.state();
        let down = matches!(state.activity, Activity::Down { .. });
        !down && state.stands_still().is_none_or(|long| long < self.stalled_after)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// For how long a piece of work has made no progress, and nothing was asked for it either.
    fn stands_still(&self) -> Option<Duration> {
        let Activity::Working { since } = self.activity else { return None };
        Some(self.waits.as_ref().map_or(since, |waits| waits.asked.max(since)).elapsed())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_without_progress_has_stalled() {
        let vital = Vital::default();
        assert_eq!(vital.check(), Ok(()));
        vital.working();
        assert_eq!((vital.check(), vital.gets_on()), (Ok(()), true));
        advance(STALLED_AFTER).await;
        assert_eq!((vital.check(), vital.gets_on()), (Err("no progress for 90 s".into()), false));
        vital.idle();
        advance(STALLED_AFTER).await;
        assert_eq!((vital.check(), vital.gets_on()), (Ok(()), true), "nothing to do is no stall");
        vital.down("the store failed");
        assert_eq!((vital.check(), vital.gets_on()), (Err("the store failed".into()), false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_asks_in_vain_gets_on_until_it_asks_no_more() {
        let vital = Vital::stalled_after(Duration::from_secs(3));
        vital.working();
        for _ in 0..5 {
            advance(Duration::from_secs(2)).await;
            vital.waits("the store is unavailable");
            assert!(vital.gets_on() && vital.check().is_err());
        }
        advance(Duration::from_secs(3)).await;
        assert!(!vital.gets_on(), "its last question was never answered");
        vital.goes_on();
        assert!(vital.gets_on());
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
