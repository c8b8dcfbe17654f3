//! A worker that fails is started again, later each time, until it is told to stop. One that stalls is told of: what
//! it has in hand would not be safer with another.

use std::{future::Future, sync::Arc, time::Duration};

use bellbuoy_telemetry::{Counter, Gauge, Metrics};
use tokio::{task::JoinError, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{Vital, WorkerError, clock, error::sentence};

/// The wait before the first restart; doubled for each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait before a restart.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// A worker that ran for so long has earned a short first wait again.
const HEALTHY_RUN: Duration = Duration::from_mins(1);

/// Between two looks at whether a worker gets on.
const LOOK: Duration = Duration::from_secs(1);

/// Runs `worker` until it ends in order, which it does when `shutdown` is cancelled. An error or
/// a panic is logged and counted once, shown in `vital`, and followed by a new start; a stall is logged once. The
/// gauge says within a second whether it runs and gets on.
pub async fn supervise<F>(
    role: &'static str,
    vital: Arc<Vital>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    worker: impl Fn() -> F,
) where
    F: Future<Output = Result<(), WorkerError>> + Send + 'static,
{
    let mut wait = FIRST_WAIT;
    while !shutdown.is_cancelled() {
        metrics.set(Gauge::WorkerUp, &[role], 1.0);
        let started = tokio::time::Instant::now();
        let why = match watched(role, &vital, &metrics, worker()).await {
            Ok(Ok(())) => break,
            Ok(Err(failure)) => sentence(&failure),
            Err(panic) => format!("it panicked: {panic}"),
        };
        if started.elapsed() > HEALTHY_RUN {
            wait = FIRST_WAIT;
        }
        if shutdown.is_cancelled() {
            warn!(role, "worker {role} did not end in order: {why}");
            break;
        }
        error!(role, "worker {role} failed and starts again in {wait:?}: {why}");
        metrics.count(Counter::WorkerRestarts, &[role], 1);
        metrics.set(Gauge::WorkerUp, &[role], 0.0);
        vital.down(why);
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep(wait.mul_f64(0.5 + clock::jitter() / 2.0)) => {}
        }
        vital.idle();
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    metrics.set(Gauge::WorkerUp, &[role], 0.0);
    info!(role, "worker {role} stopped");
}

/// One run of it.
async fn watched(
    role: &'static str,
    vital: &Vital,
    metrics: &Metrics,
    worker: impl Future<Output = Result<(), WorkerError>> + Send + 'static,
) -> Result<Result<(), WorkerError>, JoinError> {
    let mut running = tokio::spawn(worker);
    let mut stalled = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut running => return ended,
            () = sleep(LOOK) => {}
        }
        if vital.gets_on() != stalled {
            continue;
        }
        stalled = !stalled;
        metrics.set(Gauge::WorkerUp, &[role], if stalled { 0.0 } else { 1.0 });
        if stalled {
            let why = vital.check().err().unwrap_or_default();
            error!(role, "worker {role} has stalled, and keeps what it has in hand: {why}");
        } else {
            info!(role, "worker {role} gets on again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bellbuoy_broker::BrokerError;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_fails_or_panics_is_started_again_until_it_ends_in_order() {
        let runs = Arc::new(AtomicU32::new(0));
        let (vital, metrics) = (Arc::new(Vital::default()), Arc::new(Metrics::new()));
        let counted = Arc::clone(&runs);
        supervise("fanout", vital, Arc::clone(&metrics), CancellationToken::new(), move || {
            let run = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match run {
                    0 => Err(WorkerError::Broker(BrokerError::Closed)),
                    1 => panic!("on purpose"),
                    _ => Ok(()),
                }
            }
        })
        .await;
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        assert!((metrics.counted(Counter::WorkerRestarts, &["fanout"]) - 2.0).abs() < f64::EPSILON);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_worker_is_not_started_again_after_shutdown() {
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        supervise("fanout", Arc::default(), Arc::default(), shutdown, move || {
            stop.cancel();
            async { Err(WorkerError::Broker(BrokerError::Closed)) }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stalls_is_shown_as_down_until_it_gets_on() {
        let vital = Arc::new(Vital::stalled_after(Duration::from_secs(5)));
        let (metrics, shutdown) = (Arc::new(Metrics::new()), CancellationToken::new());
        let supervised = {
            let (vital, stop) = (Arc::clone(&vital), shutdown.clone());
            supervise("fanout", Arc::clone(&vital), Arc::clone(&metrics), shutdown.clone(), move || {
                let (vital, stop) = (Arc::clone(&vital), stop.clone());
                async move {
                    vital.working();
                    stop.cancelled().await;
                    Ok(())
                }
            })
        };
        let shows =
            |up: &str| metrics.render().contains(&format!("bellbuoy_worker_up{{role=\"fanout\"}} {up}\n"));
        let looking_on = async {
            sleep(Duration::from_secs(4)).await;
            assert!(shows("1"), "it may still be at work");
            sleep(Duration::from_secs(3)).await;
            assert!(shows("0"), "{}", metrics.render());
            vital.working();
            sleep(2 * LOOK).await;
            assert!(shows("1"), "{}", metrics.render());
            shutdown.cancel();
        };
        tokio::join!(supervised, looking_on);
        assert!(shows("0"), "it has ended");
        assert!(
            metrics.counted(Counter::WorkerRestarts, &["fanout"]) < f64::EPSILON,
            "a stall is no failure"
        );
    }
}
