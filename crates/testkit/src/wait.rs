//! Waiting for a state instead of for time to pass.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// Between two looks. Short against any limit worth setting, long against the cost of a look.
const INTERVAL: Duration = Duration::from_millis(10);

/// Asks `probe` again and again until it answers `Some`; `None` when `limit` has passed first.
///
/// A probe still busy when the limit passes is dropped where it stands.
pub async fn within<T>(limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    timeout_at(end, async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            sleep(INTERVAL).await;
        }
    })
    .await
    .ok()
}

/// Like [`within`], for a state that has to come.
///
/// # Panics
///
/// When `limit` has passed first; the text names the caller's line.
#[track_caller]
pub fn eventually<T>(limit: Duration, probe: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        within(limit, probe)
            .await
            .unwrap_or_else(|| panic!("what {caller} waits for did not come within {limit:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_state_that_comes_is_returned_and_asked_for_no_more() {
        let mut asked = 0;
        let found = eventually(Duration::from_secs(1), async || {
            asked += 1;
            (asked == 3).then_some("here")
        });
        assert_eq!(found.await, "here");
        assert_eq!(asked, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_never_answers_does_not_outlast_the_limit() {
        let began = Instant::now();
        assert_eq!(within(Duration::from_secs(1), std::future::pending::<Option<()>>).await, None);
        assert!(began.elapsed() < Duration::from_millis(1100), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "wait.rs")]
    async fn what_does_not_come_is_named_by_the_line_that_waits() {
        eventually(Duration::from_secs(1), async || None::<()>).await;
    }
}
