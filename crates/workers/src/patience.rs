//! What a worker does while the store or the broker is out of reach: it keeps its claims and asks
//! again.
//!
//! Giving the claims back instead would count them as if they had killed their worker, and an
//! outage would in the end dead-letter good messages as poisoned.

use std::{error::Error, future::Future, pin::pin, time::Duration};

use bellbuoy_broker::{Broker, BrokerError, Claim, Connections, Outgoing};
use bellbuoy_store::StoreError;
use bellbuoy_telemetry::{Counter, Metrics};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    Vital, clock,
    error::{Halt, sentence},
};

/// The wait before it is asked again; doubled for each further time.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait before it is asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often it is looked why the broker does not answer.
const LOOK: Duration = Duration::from_secs(5);

/// Whether an error of the store is not about what it was given: out of reach, full, locked, damaged.
/// Then it waits for an operator or for time; what was given is good.
pub(crate) fn refuses_nothing_in_particular(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. } | StoreError::Corrupt { .. } | StoreError::Sealed { .. })
}

/// The patience of one worker.
pub(crate) struct Patience<'a> {
    pub(crate) role: &'static str,
    pub(crate) vital: &'a Vital,
    pub(crate) metrics: &'a Metrics,
    pub(crate) stop: &'a CancellationToken,
}

impl Patience<'_> {
    /// Calls until there is an answer, or an error that `passes` says will not pass by waiting.
    /// The first failure of an outage is logged and shown by the worker's vital, and so is its end.
    ///
    /// # Errors
    ///
    /// [`Halt::Stopped`] when the worker is to stop first.
    pub(crate) async fn outlast<T, E, F>(
        &self,
        passes: impl Fn(&E) -> bool,
        call: impl Fn() -> F,
    ) -> Result<Result<T, E>, Halt>
    where
        E: Error,
        F: Future<Output = Result<T, E>>,
    {
        let mut wait = FIRST_WAIT;
        loop {
            let failure = match call().await {
                Err(error) if passes(&error) => sentence(&error),
                answer => {
                    self.goes_on();
                    return Ok(answer);
                }
            };
            self.waits(&failure);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Halt::Stopped),
                () = tokio::time::sleep(wait.mul_f64(0.5 + clock::jitter() / 2.0)) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Makes `messages` durable, however long the broker is out of reach.
    ///
    /// # Errors
    ///
    /// As for [`Patience::outlast`], and what the broker says that will not pass.
    pub(crate) async fn publish(&self, broker: &Broker, messages: &[Outgoing]) -> Result<(), Halt> {
        let passes = |error: &BrokerError| matches!(error, BrokerError::Unavailable(_));
        let publish = || self.attend(broker, broker.publish_patiently(messages.to_vec(), self.stop));
        Ok(self.outlast(passes, publish).await??)
    }

    /// [`Broker::settle`], which waits by itself for as long as the claims are ours, and is seen to.
    pub(crate) async fn settle(
        &self,
        broker: &Broker,
        claims: Vec<Claim>,
        outputs: Vec<Outgoing>,
    ) -> Result<(), BrokerError> {
        self.attend(broker, broker.settle(claims, outputs)).await
    }

    /// Waits for a `call` that outlasts an outage of the `broker` by itself, and shows meanwhile, as
    /// [`Patience::outlast`] does, that it is the broker which is waited for.
    async fn attend<T>(&self, broker: &Broker, call: impl Future<Output = T>) -> T {
        self.attend_while(|| broker.connections().and_then(trouble), call).await
    }

    async fn attend_while<T>(
        &self,
        trouble: impl Fn() -> Option<&'static str>,
        call: impl Future<Output = T>,
    ) -> T {
        let mut call = pin!(call);
        loop {
            if let Ok(answer) = tokio::time::timeout(LOOK, call.as_mut()).await {
                self.goes_on();
                return answer;
            }
            if let Some(why) = trouble() {
                self.waits(why);
            }
        }
    }

    fn waits(&self, why: &str) {
        self.metrics.count(Counter::WorkerWaits, &[self.role], 1);
        if self.vital.waits(why) {
            error!("worker {} waits, and keeps what it has in hand: {why}", self.role);
        }
    }

    fn goes_on(&self) {
        if self.vital.goes_on() {
            info!("worker {} goes on: what it waited for answers again", self.role);
        }
    }
}

/// Why nothing can be published now.
fn trouble(connections: Connections) -> Option<&'static str> {
    if !connections.publishing {
        Some("the broker is unavailable: there is no connection to RabbitMQ to publish")
    } else if connections.blocked {
        Some("the broker is unavailable: RabbitMQ takes no messages")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Rig {
        vital: Vital,
        metrics: Metrics,
        stop: CancellationToken,
    }

    impl Rig {
        fn new() -> Self {
            Self { vital: Vital::default(), metrics: Metrics::new(), stop: CancellationToken::new() }
        }

        fn patience(&self) -> Patience<'_> {
            Patience { role: "fanout", vital: &self.vital, metrics: &self.metrics, stop: &self.stop }
        }
    }

    fn full() -> BrokerError {
        BrokerError::Unavailable("disk full".into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_outlasted_however_long_and_shown_while_it_lasts() {
        let rig = Rig::new();
        let calls = AtomicU32::new(0);
        let seen = AtomicU32::new(0);
        let call = || async {
            if rig.vital.check().is_err_and(|why| why.contains("disk full")) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
            if calls.fetch_add(1, Ordering::Relaxed) < 50 { Err(full()) } else { Ok("here") }
        };
        let began = tokio::time::Instant::now();
        let answer = rig.patience().outlast(|_| true, call).await;
        assert!(matches!(answer, Ok(Ok("here"))));
        assert!(began.elapsed() > 30 * LONGEST_WAIT / 2, "{:?}", began.elapsed());
        assert_eq!(seen.load(Ordering::Relaxed), 50, "every call after the first failure");
        assert_eq!(rig.vital.check(), Ok(()));
        assert!((rig.metrics.counted(Counter::WorkerWaits, &["fanout"]) - 50.0).abs() < f64::EPSILON);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_broker_that_is_away_has_not_stalled_and_whoever_waits_in_vain_has() {
        let rig = Rig::new();
        rig.vital.working();
        let began = tokio::time::Instant::now();
        let away = || (began.elapsed() < Duration::from_mins(10)).then_some("no connection");
        let call = async {
            for _ in 0..59 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                assert!(rig.vital.gets_on(), "after {:?}", began.elapsed());
                assert_eq!(rig.vital.check(), Err("no connection".into()));
            }
            // It is back, and something else is wrong.
            tokio::time::sleep(Duration::from_mins(3)).await;
            assert!(!rig.vital.gets_on());
        };
        rig.patience().attend_while(away, call).await;
        assert_eq!((rig.vital.check(), rig.vital.gets_on()), (Ok(()), true));
    }

    #[test]
    fn a_broker_that_is_away_or_takes_nothing_is_said_so() {
        let well = Connections { publishing: true, consuming: true, blocked: false };
        assert_eq!(trouble(well), None);
        let away = trouble(Connections { publishing: false, ..well });
        assert!(away.is_some_and(|why| why.contains("no connection")), "{away:?}");
        let blocked = trouble(Connections { blocked: true, ..well });
        assert!(blocked.is_some_and(|why| why.contains("takes no messages")), "{blocked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_will_not_pass_is_answered_at_once() {
        let rig = Rig::new();
        let passes = |error: &BrokerError| *error != BrokerError::Closed;
        let answer = rig.patience().outlast(passes, || async { Err::<(), _>(BrokerError::Closed) }).await;
        assert!(matches!(answer, Ok(Err(BrokerError::Closed))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_waits_stops_when_it_is_told_to() {
        let rig = Rig::new();
        let call = || async {
            rig.stop.cancel();
            Err::<(), _>(full())
        };
        assert!(matches!(rig.patience().outlast(|_| true, call).await, Err(Halt::Stopped)));
    }
}
