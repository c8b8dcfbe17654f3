//! Claims served side by side, each by a task of its own: at most so many, with a drain at the end.
//!
//! A task that panics drops its claim: the broker gives the message out again and counts, and the
//! other tasks go on.

use std::future::Future;

use bellbuoy_broker::Claim;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{DeliverLimits, WorkerError, intake::Intake};

/// Serves claims until `shutdown` is cancelled or a task fails, then waits up to `limits.drain`
/// for the tasks in flight and aborts the rest, whose claims go back to the queue.
///
/// `serve` gets a token that is cancelled when the drain begins, for whoever waits for something
/// that may take longer. `show` is told how many tasks there are whenever that may have changed.
///
/// # Errors
///
/// The first failure of a task, or of the broker to give a claim.
pub(crate) async fn serve_each<F>(
    mut intake: Intake,
    name: &str,
    limits: DeliverLimits,
    shutdown: &CancellationToken,
    show: impl Fn(usize),
    serve: impl Fn(Claim, CancellationToken) -> F,
) -> Result<(), WorkerError>
where
    F: Future<Output = Result<(), WorkerError>> + Send + 'static,
{
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    let mut result = Ok(());
    while result.is_ok() {
        show(tasks.len());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = tasks.join_next() => result = conclude(ended),
            claim = intake.next(), if tasks.len() < limits.in_flight.get() => match claim {
                Ok(claim) => drop(tasks.spawn(serve(claim, stop.clone()))),
                Err(error) => result = Err(error.into()),
            }
        }
    }
    drop(intake); // No new work while we drain.
    stop.cancel();
    let drain = async {
        while let Some(ended) = tasks.join_next().await {
            result = std::mem::replace(&mut result, Ok(())).and(conclude(ended));
        }
    };
    if tokio::time::timeout(limits.drain, drain).await.is_err() {
        warn!(
            "drain of {name} ran out after {:?}; {} attempts are cut off and will be made again",
            limits.drain,
            tasks.len()
        );
        tasks.shutdown().await; // Their claims are back when this returns.
    }
    show(0);
    result
}

fn conclude(ended: Result<Result<(), WorkerError>, JoinError>) -> Result<(), WorkerError> {
    ended.unwrap_or_else(|error| {
        error!("an attempt ended without a result, and its delivery goes back to the queue: {error}");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroUsize,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use bellbuoy_broker::{Broker, EmbeddedOptions, Outgoing, QueueName, queues};
    use tempfile::TempDir;
    use tokio::sync::Notify;

    use super::*;

    struct Rig {
        broker: Broker,
        queue: QueueName,
        shutdown: CancellationToken,
        _directory: TempDir,
    }

    impl Rig {
        async fn with(messages: &[&'static str]) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let options = EmbeddedOptions::default();
            let broker = Broker::open_embedded(directory.path(), &options).expect("a broker");
            let queue = queues::deliver("webhook");
            let messages = messages.iter().map(|body| Outgoing::new(queue.clone(), *body)).collect();
            broker.publish(messages).await.expect("published");
            Self { broker, queue, shutdown: CancellationToken::new(), _directory: directory }
        }

        async fn serve<F>(
            &self,
            limits: DeliverLimits,
            show: impl Fn(usize),
            serve: impl Fn(Claim, CancellationToken) -> F,
        ) -> Result<(), WorkerError>
        where
            F: Future<Output = Result<(), WorkerError>> + Send + 'static,
        {
            let intake = Intake::new(&self.broker, std::slice::from_ref(&self.queue), limits.in_flight);
            serve_each(intake, "webhook", limits, &self.shutdown, show, serve).await
        }

        async fn next(&self) -> Claim {
            self.broker.consume(&self.queue, NonZeroUsize::MIN).next().await.expect("an open broker")
        }

        fn waiting(&self, queue: &QueueName) -> u64 {
            self.broker.depths().iter().filter(|depth| depth.queue == *queue).map(|depth| depth.ready).sum()
        }
    }

    fn limits(in_flight: usize, drain: Duration) -> DeliverLimits {
        DeliverLimits { in_flight: NonZeroUsize::new(in_flight).expect("not zero"), drain }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_panicking_task_returns_its_claim_and_takes_no_other_down() {
        let rig = Arc::new(Rig::with(&["good 1", "bad", "good 2", "good 3"]).await);
        let served = Arc::new(Mutex::new(Vec::new()));
        let serve = |claim: Claim, _| {
            let (rig, served) = (Arc::clone(&rig), Arc::clone(&served));
            async move {
                let body = String::from_utf8_lossy(claim.body()).into_owned();
                assert_ne!(body, "bad", "on purpose");
                let done = {
                    let mut served = served.lock().expect("not poisoned");
                    served.push(body);
                    served.len() == 3
                };
                rig.broker.settle(vec![claim], Vec::new()).await?;
                if done {
                    // The bad one has been tried as often as the broker allows.
                    let dead = rig.broker.consume(&queues::dead(), NonZeroUsize::MIN).next().await?;
                    assert_eq!((&**dead.body(), dead.dead_reason()), (&b"bad"[..], Some("poisoned")));
                    rig.broker.settle(vec![dead], Vec::new()).await?;
                    rig.shutdown.cancel();
                }
                Ok(())
            }
        };
        rig.serve(limits(2, LONG), |_| {}, serve).await.expect("it ended in order");
        let mut served = served.lock().expect("not poisoned").clone();
        served.sort();
        assert_eq!(served, ["good 1", "good 2", "good 3"]);
        assert_eq!(rig.waiting(&rig.queue), 0);
    }

    #[tokio::test]
    async fn no_more_tasks_than_slots_are_in_flight() {
        let rig = Arc::new(Rig::with(&["1", "2", "3", "4", "5", "6", "7"]).await);
        let (most, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let running = Arc::new(AtomicUsize::new(0));
        let serve = |claim, _| {
            let (rig, served, most) = (Arc::clone(&rig), Arc::clone(&served), Arc::clone(&most));
            let running = Arc::clone(&running);
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                rig.broker.settle(vec![claim], Vec::new()).await?;
                running.fetch_sub(1, Ordering::SeqCst);
                if served.fetch_add(1, Ordering::SeqCst) == 6 {
                    rig.shutdown.cancel();
                }
                Ok(())
            }
        };
        let shown = AtomicUsize::new(9);
        rig.serve(limits(3, LONG), |count| shown.store(count, Ordering::SeqCst), serve)
            .await
            .expect("in order");
        assert_eq!((served.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (7, 3));
        assert_eq!(shown.load(Ordering::SeqCst), 0, "nothing is in flight at the end");
    }

    #[tokio::test]
    async fn a_task_that_waits_is_told_when_the_drain_begins() {
        let rig = Rig::with(&["1"]).await;
        let begun = Arc::new(Notify::new());
        let serve = |_claim, stop: CancellationToken| {
            let begun = Arc::clone(&begun);
            async move {
                begun.notify_one();
                stop.cancelled().await;
                Ok(())
            }
        };
        let told = async {
            begun.notified().await;
            rig.shutdown.cancel();
        };
        let (ended, ()) = tokio::join!(rig.serve(limits(1, LONG), |_| {}, serve), told);
        ended.expect("in order");
        assert_eq!(&**rig.next().await.body(), b"1", "it went back");
    }

    #[tokio::test]
    async fn a_failed_task_ends_the_worker_after_the_others_have_ended() {
        let rig = Arc::new(Rig::with(&["fails", "ends"]).await);
        let failed = Arc::new(Notify::new());
        let serve = |claim: Claim, _| {
            let (rig, failed) = (Arc::clone(&rig), Arc::clone(&failed));
            async move {
                if **claim.body() == *b"fails" {
                    failed.notify_one();
                    return Err(bellbuoy_broker::BrokerError::Closed.into());
                }
                failed.notified().await;
                Ok(rig.broker.settle(vec![claim], Vec::new()).await?)
            }
        };
        let ended = rig.serve(limits(2, LONG), |_| {}, serve).await;
        assert!(matches!(ended, Err(WorkerError::Broker(_))), "{ended:?}");
        assert_eq!(&**rig.next().await.body(), b"fails", "the other one was settled");
        assert_eq!(rig.waiting(&rig.queue), 1);
    }

    #[tokio::test]
    async fn what_outlasts_the_drain_is_cut_off_and_goes_back() {
        let rig = Rig::with(&["endless"]).await;
        let begun = Arc::new(Notify::new());
        let serve = |claim: Claim, _| {
            let begun = Arc::clone(&begun);
            async move {
                begun.notify_one();
                std::future::pending::<()>().await;
                drop(claim);
                Ok(())
            }
        };
        let told = async {
            begun.notified().await;
            rig.shutdown.cancel();
        };
        let limits = limits(1, Duration::from_millis(1));
        let (ended, ()) = tokio::join!(rig.serve(limits, |_| {}, serve), told);
        ended.expect("in order");
        let claim = rig.next().await;
        assert_eq!((&**claim.body(), claim.returns()), (&b"endless"[..], 1));
    }
}
