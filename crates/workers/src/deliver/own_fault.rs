//! What is told of faults that are ours: a panic is counted, and of many one is logged.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bellbuoy_domain::{CauseCode, MethodName};
use bellbuoy_telemetry::{Counter, Metrics};
use tokio::time::Instant;

/// The shortest time between two lines.
const BETWEEN_LINES: Duration = Duration::from_mins(1);

/// Counts one more hold by `worker_panicked` if a panic ends what it lives in: the broker gives that delivery out
/// again, and it costs no attempt.
pub(super) struct CountedPanic<'a> {
    pub(super) method: MethodName,
    pub(super) metrics: &'a Metrics,
}

impl Drop for CountedPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let labels = [self.method.name(), CauseCode::WorkerPanicked.name()];
            self.metrics.count(Counter::DeliveryHolds, &labels, 1);
        }
    }
}

/// Lets one line through in [`BETWEEN_LINES`].
pub(super) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.duration_since(last) >= BETWEEN_LINES);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn an_attempt_that_panics_is_counted_as_held_by_it_and_one_that_ends_is_not() {
        let metrics = Arc::new(Metrics::new());
        for (panics, counted) in [(false, 0.0), (true, 1.0)] {
            let in_task = Arc::clone(&metrics);
            let attempt = tokio::spawn(async move {
                let _counted = CountedPanic { method: MethodName::Webhook, metrics: &in_task };
                tokio::task::yield_now().await;
                assert!(!panics, "on purpose");
            });
            assert_eq!(attempt.await.is_err(), panics);
            let held = metrics.counted(Counter::DeliveryHolds, &["webhook", "worker_panicked"]);
            assert!((held - counted).abs() < 0.5, "{held}");
        }
    }

    #[test]
    fn of_many_faults_one_a_minute_is_logged() {
        let (seldom, first) = (Seldom::new(), Instant::now());
        let at = |seconds| first + Duration::from_secs(seconds);
        let admitted: Vec<_> = [0, 0, 59, 60, 61, 120].map(|second| seldom.admits(at(second))).into();
        assert_eq!(admitted, [true, false, false, true, false, true]);
    }
}
