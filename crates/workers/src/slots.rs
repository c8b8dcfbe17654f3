//! Leases the gate's slots from the store, and gives them back; tells the other processes how receivers are, and hears it.
//!
//! One call at a time asks for all receivers that need it: at once for those that somebody waits for or that are to be left
//! alone from now on, and once a second for those whose leases are to be renewed, whose slots others ask for, or that are
//! used no more. While the store is out of reach leases go on to their ends, and then the gate holds what is for their
//! receivers; what is seen of them meanwhile counts here, and is told afterwards.

use std::{sync::Arc, time::Duration};

use bellbuoy_store::Store;
use bellbuoy_telemetry::{Counter, Gauge, Metrics};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use uuid::Uuid;

use crate::{
    Gate, Vital, WorkerError, clock,
    error::sentence,
    gate::{ROUND, Wishlist},
};

/// How long an answer is waited for: less than a lease is renewed before its end, with the default settings.
const PATIENCE: Duration = Duration::from_secs(5);

/// The worker that leases slots for the deliver workers of its process. Has nothing to do where the gate is alone.
pub struct Slots {
    /// Whose slots.
    pub gate: Arc<Gate>,
    /// Where from.
    pub store: Store,
    /// What the store knows this process by: new for each start of the program.
    pub process: Uuid,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Its sign of life.
    pub vital: Arc<Vital>,
}

impl Slots {
    /// Runs until `shutdown` is cancelled. The leases last on, for the attempts in flight.
    ///
    /// # Errors
    ///
    /// None; a store that does not answer is asked again.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut round = Instant::now();
        loop {
            self.vital.idle();
            let all = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = sleep_until(round) => true,
                () = self.gate.wanted() => false,
            };
            self.vital.working();
            if all {
                // Not all processes at the same time.
                round = Instant::now() + ROUND.mul_f64(0.75 + clock::jitter() / 2.0);
            }
            self.ask(&self.gate.wishlist(all)).await;
            self.show();
        }
    }

    /// Gives all slots back that are not in use, so that nobody has to wait for the ends of their leases. Called when
    /// the deliver workers have ended. What can't be given back now ends by itself.
    pub async fn give_back(&self) {
        self.ask(&self.gate.farewell()).await;
    }

    async fn ask(&self, wishlist: &Wishlist) {
        let Some(terms) = self.gate.terms().filter(|_| !wishlist.is_empty()) else { return };
        let call = wishlist.call();
        let sent = Instant::now();
        let failure = match timeout(PATIENCE, self.store.lease_slots(self.process, &call, terms)).await {
            Ok(Ok(answer)) => {
                self.gate.answered(wishlist, &answer, sent);
                self.metrics.count(Counter::SlotAsks, &["answered"], 1);
                if self.vital.goes_on() {
                    info!("slots are leased again: the store answers");
                }
                return;
            }
            Ok(Err(error)) => sentence(&error),
            Err(_) => format!("no slots from the store within {PATIENCE:?}"),
        };
        self.gate.not_answered(wishlist);
        self.metrics.count(Counter::SlotAsks, &["failed"], 1);
        self.metrics.count(Counter::WorkerWaits, &["slots"], 1);
        if self.vital.waits(&failure) {
            error!("no slots can be leased, deliveries are held when the leases have ended: {failure}");
        }
    }

    fn show(&self) {
        let holdings = self.gate.holdings();
        let set = |gauge, labels: &[&str], count| self.metrics.set(gauge, labels, f64::from(count));
        set(Gauge::SlotsLeased, &["notification"], holdings.notifications);
        set(Gauge::SlotsLeased, &["host"], holdings.hosts);
        set(Gauge::ReceiversShort, &[], u32::try_from(holdings.short).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroUsize,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use bellbuoy_domain::{Cause, CauseCode, Outcome, Pace};
    use bellbuoy_methods::{ChannelKey, Receiver};
    use bellbuoy_testkit::wait::eventually;
    use tempfile::TempDir;
    use tokio::{task::JoinSet, time::sleep};

    use super::*;
    use crate::{
        GateLimits, LeaseTerms,
        gate::{Entry, Pass, Visit},
    };

    const LONG: Duration = Duration::from_mins(1);

    /// Processes at one store, as far as slots go.
    struct Rig {
        store: Store,
        shutdown: CancellationToken,
        running: JoinSet<Result<(), WorkerError>>,
        _directory: TempDir,
    }

    impl Rig {
        async fn start() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let store = Store::open_sqlite(&directory.path().join("store.db")).await.expect("a store");
            Self { store, shutdown: CancellationToken::new(), running: JoinSet::new(), _directory: directory }
        }

        fn process(&mut self, cap: usize, spare: Duration) -> Arc<Slots> {
            let cap = NonZeroUsize::new(cap).expect("not zero");
            let limits = GateLimits { per_notification: cap, per_host: cap, ..GateLimits::default() };
            let terms = LeaseTerms { attempt: Duration::from_millis(100), spare };
            let slots = Arc::new(Slots {
                gate: Arc::new(Gate::in_fleet(limits, terms)),
                store: self.store.clone(),
                process: Uuid::new_v4(),
                metrics: Arc::default(),
                vital: Arc::default(),
            });
            self.running.spawn(Arc::clone(&slots).run(self.shutdown.clone()));
            slots
        }
    }

    async fn enter(slots: &Slots) -> Entry {
        let to = Receiver { host: Some("one:443".to_owned()), channel: None, pace: None };
        slots
            .gate
            .enter(&Visit {
                notification: Uuid::from_u128(1).into(),
                to: &to,
                on_probation: false,
                retry_of: None,
            })
            .await
    }

    async fn pass(slots: &Slots) -> Pass {
        let passing = async {
            loop {
                match enter(slots).await {
                    Entry::Pass(pass) => return pass,
                    Entry::Hold(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(LONG, passing).await.expect("a turn")
    }

    fn held(slots: &Slots) -> u32 {
        slots.gate.holdings().notifications
    }

    #[tokio::test]
    async fn the_processes_of_a_fleet_never_exceed_a_cap_and_each_has_its_turn_at_it() {
        for (cap, each) in [(5, 20), (1, 1)] {
            let mut rig = Rig::start().await;
            let in_flight = Arc::new(AtomicUsize::new(0));
            let mut tasks = JoinSet::new();
            for _ in 0..4 {
                let slots = rig.process(cap, Duration::from_secs(3));
                for _ in 0..each {
                    let (slots, in_flight) = (Arc::clone(&slots), Arc::clone(&in_flight));
                    tasks.spawn(async move {
                        let pass = pass(&slots).await;
                        assert!(in_flight.fetch_add(1, Ordering::SeqCst) < cap, "over the cap of {cap}");
                        sleep(Duration::from_millis(5)).await;
                        in_flight.fetch_sub(1, Ordering::SeqCst);
                        pass.end(&Outcome::Delivered);
                    });
                }
            }
            tasks.join_all().await;
        }
    }

    #[tokio::test]
    async fn one_that_holds_all_gives_others_their_share_as_its_attempts_end() {
        let mut rig = Rig::start().await;
        let first = rig.process(8, Duration::from_secs(3));
        let mut passes = Vec::new();
        for _ in 0..8 {
            passes.push(pass(&first).await);
        }
        let second = rig.process(8, Duration::from_secs(3));
        assert!(matches!(enter(&second).await, Entry::Hold(_)), "nothing is free");
        for pass in passes {
            pass.end(&Outcome::Delivered);
        }
        eventually(LONG, async || {
            drop(enter(&second).await);
            drop(enter(&first).await);
            (held(&second) > 0).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn who_stops_gives_its_slots_back_and_another_has_them_at_once() {
        let mut rig = Rig::start().await;
        let first = rig.process(1, LONG);
        pass(&first).await.end(&Outcome::Delivered);
        assert_eq!(held(&first), 1);
        first.give_back().await;
        let second = rig.process(1, LONG);
        pass(&second).await.end(&Outcome::Delivered);
        assert_eq!(first.gate.holdings().notifications, 0);
    }

    #[tokio::test]
    async fn the_processes_of_a_fleet_keep_one_pace_and_each_has_its_turn_at_it() {
        const EVERY: Duration = Duration::from_millis(200);
        let mut rig = Rig::start().await;
        let begun = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let (slots, begun) = (rig.process(8, Duration::from_secs(3)), Arc::clone(&begun));
            tasks.spawn(async move {
                // Each process has a notification of its own, all into one channel.
                let channel = Some(ChannelKey::of("https://chat.example.com/one"));
                let to = Receiver { host: None, channel, pace: Some(Pace::every(EVERY)) };
                let visit = Visit {
                    notification: Uuid::new_v4().into(),
                    to: &to,
                    on_probation: false,
                    retry_of: None,
                };
                let mut left = 4;
                while left > 0 {
                    match slots.gate.enter(&visit).await {
                        Entry::Pass(pass) => {
                            begun.lock().expect("no panic").push(pass.began);
                            pass.end(&Outcome::Delivered);
                            left -= 1;
                        }
                        Entry::Hold(_) => sleep(Duration::from_millis(20)).await,
                    }
                }
            });
        }
        timeout(LONG, tasks.join_all()).await.expect("each has its turns");
        let mut begun = begun.lock().expect("no panic").clone();
        begun.sort();
        let least = begun.windows(2).map(|pair| pair[1] - pair[0]).min().expect("many");
        assert!(least >= EVERY, "{least:?} between two");
        assert_eq!(begun.len(), 12);
    }

    fn deferred(code: CauseCode, hint: Option<Duration>) -> Outcome {
        Outcome::Deferred { cause: Cause::new(code, "seen in a test"), hint }
    }

    #[tokio::test]
    async fn a_peace_that_one_process_was_asked_for_all_others_keep_and_whoever_comes_later() {
        let mut rig = Rig::start().await;
        let (first, second) = (rig.process(16, LONG), rig.process(16, LONG));
        pass(&second).await.end(&Outcome::Delivered);
        pass(&first).await.end(&deferred(CauseCode::RateLimited, Some(LONG)));
        eventually(LONG, async || (second.gate.in_peace() == 1).then_some(())).await;
        let third = rig.process(16, LONG);
        for slots in [&first, &second, &third] {
            match enter(slots).await {
                Entry::Hold(hold) => assert_eq!(hold.code, CauseCode::RateLimited),
                Entry::Pass(_) => panic!("it wants peace"),
            }
        }
    }

    #[tokio::test]
    async fn failures_of_all_processes_open_a_circuit_for_all() {
        let mut rig = Rig::start().await;
        let processes = [rig.process(8, LONG), rig.process(8, LONG)];
        // As many as open it, but not those of one process alone.
        for number in 0..20 {
            pass(&processes[number % 2]).await.end(&deferred(CauseCode::Connect, None));
        }
        for slots in &processes {
            eventually(LONG, async || (slots.gate.open_circuits() == 2).then_some(())).await;
        }
    }

    #[tokio::test]
    async fn a_receiver_that_is_used_no_more_leaves_nothing_behind() {
        let mut rig = Rig::start().await;
        let slots = rig.process(8, Duration::from_millis(300));
        pass(&slots).await.end(&Outcome::Delivered);
        eventually(LONG, async || (slots.gate.holdings() == crate::Holdings::default()).then_some(())).await;
        pass(&slots).await.end(&Outcome::Delivered);
    }

    #[tokio::test]
    async fn an_ask_that_the_store_does_not_answer_is_a_wait_of_this_worker() {
        let mut rig = Rig::start().await;
        let slots = rig.process(1, LONG);
        rig.store.close().await;
        eventually(LONG, async || {
            drop(enter(&slots).await);
            (slots.metrics.counted(Counter::WorkerWaits, &["slots"]) > 0.5).then_some(())
        })
        .await;
    }
}
