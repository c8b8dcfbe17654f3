//! Who may begin an attempt now, so that one slow or dead receiver slows nobody else.
//!
//! Attempts pass two lanes: their notification's, and their host's. A lane has a cap, a circuit that opens when the
//! receiver stops answering, and the times until which the receiver asked for peace or its service wants a pause. An
//! attempt that would have its turn [`SOON`] waits here for it; any other one is held in the broker until its turn
//! is likely, where it takes nobody's place. What waits here is therefore bounded by what its receiver takes in that
//! time, and a receiver that hangs keeps no more than its cap.

use std::{
    collections::{BTreeMap, HashMap},
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bellbuoy_domain::{Admission, CauseCode, Circuit, NotificationId, Outcome};
use bellbuoy_methods::Receiver;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

/// A turn that is this near is waited for in memory: shorter than a way through the broker is worth.
const SOON: Duration = Duration::from_millis(100);

/// The longest that a turn is waited for which was thought to be near.
const AT_MOST: Duration = Duration::from_millis(400);

/// The shortest hold: the broker's delays are half a second and more.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// The shortest time between the turns of two that are held: what many held deliveries of one receiver cost
/// others is bounded by it.
const BETWEEN_TURNS: Duration = Duration::from_millis(2);

/// The longest hold: then it is looked again.
const LONGEST_HOLD: Duration = Duration::from_mins(5);

/// How long a receiver is left in peace that asked for less and did not say for how long.
const PEACE: Duration = Duration::from_secs(1);

/// The longest that a receiver's wish for peace is heeded here; longer ones its own deliveries wait out.
const LONGEST_PEACE: Duration = Duration::from_hours(1);

/// So many lanes, and those that are idle are forgotten.
const MOST_LANES: usize = 20_000;

/// What one receiver may take at a time, over all methods of a process.
#[derive(Debug, Clone, Copy)]
pub struct GateLimits {
    /// Most attempts in flight for one notification.
    pub per_notification: NonZeroUsize,
    /// Most attempts in flight to one host and port.
    pub per_host: NonZeroUsize,
    /// Attempts in a row that a receiver leaves unanswered before it is tried by one at a time.
    pub circuit_failures: NonZeroU32,
}

impl Default for GateLimits {
    /// 32, a quarter of a worker's slots; 64; 20, which a receiver that fails every third request never has.
    fn default() -> Self {
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self {
            per_notification: count(32),
            per_host: count(64),
            circuit_failures: NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// The gate of one process.
#[derive(Debug)]
pub struct Gate {
    limits: GateLimits,
    start: Instant,
    lanes: Mutex<HashMap<Place, Lane>>,
}

/// Whose lane it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Notification(NotificationId),
    Host(Arc<str>),
}

#[derive(Debug)]
struct Lane {
    room: Arc<Semaphore>,
    cap: u32,
    waiting: u32,
    /// When the attempts in flight began, by the number they got.
    begun: BTreeMap<u64, Instant>,
    next_number: u64,
    /// How long an attempt took of late.
    pace: Duration,
    circuit: Circuit,
    /// Until then the receiver wants peace.
    peace_until: Option<Instant>,
    /// From when on the service takes the next one.
    next_start: Option<Instant>,
    /// When the last of those that were held is likely to have its turn.
    last_turn: Option<Instant>,
}

/// What the gate says.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The attempt may begin.
    Pass(Pass),
    /// It may not, and is to be looked at again after so long.
    Hold(Hold),
}

/// Why an attempt may not begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) code: CauseCode,
    pub(crate) detail: &'static str,
    pub(crate) wait: Duration,
}

/// An attempt that may begin. Whoever drops it before it has ended tells the circuits nothing.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    steps: Vec<Step>,
    began: Instant,
}

/// A pass through one lane.
#[derive(Debug)]
struct Step {
    place: Place,
    number: u64,
    is_probe: bool,
    _room: OwnedSemaphorePermit,
}

/// What an attempt says of a lane's receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Answered,
    Failed,
    WantsPeace(Duration),
    /// Nothing.
    None,
}

impl Gate {
    /// An open gate.
    pub fn new(limits: GateLimits) -> Self {
        Self { limits, start: Instant::now(), lanes: Mutex::default() }
    }

    /// How many receivers are left alone now because they stopped answering.
    pub fn open_circuits(&self) -> usize {
        self.lanes().values().filter(|lane| lane.circuit.is_open()).count()
    }

    /// Asks for one attempt, and waits if its turn is near.
    pub(crate) async fn enter(self: &Arc<Self>, notification: NotificationId, to: &Receiver) -> Entry {
        let mut places = vec![Place::Notification(notification)];
        places.extend(to.host.as_deref().map(|host| Place::Host(host.into())));
        let (rooms, start) = match self.queue_up(&places, to.pause) {
            Ok(found) => found,
            Err(hold) => return Entry::Hold(hold),
        };
        let waiting = Waiting { gate: self, places: &places };
        let latest = Instant::now() + AT_MOST;
        let mut permits = Vec::with_capacity(rooms.len());
        for room in rooms {
            match timeout_at(latest, room.acquire_owned()).await {
                Ok(Ok(permit)) => permits.push(permit),
                _ => break,
            }
        }
        if let Some(wait) = start.map(|start| start.saturating_duration_since(Instant::now())) {
            sleep(wait).await;
        }
        let entry = if permits.len() < places.len() {
            Entry::Hold(self.busy(&places))
        } else {
            self.begin(&places, permits, to.pause)
        };
        drop(waiting);
        entry
    }

    // Counts it among those that wait, if its turn is near.
    fn queue_up(
        &self,
        places: &[Place],
        pause: Duration,
    ) -> Result<(Vec<Arc<Semaphore>>, Option<Instant>), Hold> {
        let now = Instant::now();
        let mut lanes = self.lanes();
        if lanes.len() >= MOST_LANES {
            lanes.retain(|_, lane| !lane.is_idle());
        }
        for place in places {
            lanes.entry(place.clone()).or_insert_with(|| Lane::new(place.cap(self.limits)));
        }
        for place in places {
            if let Some(lane) = lanes.get_mut(place) {
                lane.admits(now, self.at(now), pause)?;
            }
        }
        let start = lanes.get(&places[0]).and_then(|lane| lane.next_start);
        let mut rooms = Vec::with_capacity(places.len());
        for place in places {
            if let Some(lane) = lanes.get_mut(place) {
                lane.waiting += 1;
                rooms.push(Arc::clone(&lane.room));
            }
        }
        Ok((rooms, start))
    }

    fn busy(&self, places: &[Place]) -> Hold {
        let now = Instant::now();
        let mut lanes = self.lanes();
        let waits = places.iter().filter_map(|place| Some(lanes.get_mut(place)?.turn(now, Duration::ZERO)));
        Hold::busy(waits.max().unwrap_or(SHORTEST_HOLD))
    }

    // Much may have happened while it waited.
    fn begin(
        self: &Arc<Self>,
        places: &[Place],
        permits: Vec<OwnedSemaphorePermit>,
        pause: Duration,
    ) -> Entry {
        let now = Instant::now();
        let mut lanes = self.lanes();
        for place in places {
            if let Some(hold) = lanes.get_mut(place).and_then(|lane| lane.forbids(now, self.at(now), pause)) {
                return Entry::Hold(hold);
            }
        }
        let steps = places.iter().zip(permits).filter_map(|(place, room)| {
            let (number, is_probe) = lanes.get_mut(place)?.begin(now, self.at(now));
            Some(Step { place: place.clone(), number, is_probe, _room: room })
        });
        let steps: Vec<_> = steps.collect();
        if let Some(lane) = steps.first().and_then(|step| lanes.get_mut(&step.place)) {
            lane.next_start = (!pause.is_zero()).then_some(now + pause);
        }
        Entry::Pass(Pass { gate: Arc::clone(self), steps, began: now })
    }

    fn at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Place, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one that waits, until it does no more.
struct Waiting<'a> {
    gate: &'a Gate,
    places: &'a [Place],
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut lanes = self.gate.lanes();
        for place in self.places {
            if let Some(lane) = lanes.get_mut(place) {
                lane.waiting = lane.waiting.saturating_sub(1);
            }
        }
    }
}

impl Place {
    fn cap(&self, limits: GateLimits) -> NonZeroUsize {
        match self {
            Self::Notification(_) => limits.per_notification,
            Self::Host(_) => limits.per_host,
        }
    }

    /// What an attempt's outcome says of this receiver: a host answers even when it answers 503, or that one of
    /// its channels has had enough.
    fn sign(&self, outcome: &Outcome) -> Sign {
        let Outcome::Deferred { cause, hint } = outcome else { return Sign::Answered };
        let is_host = matches!(self, Self::Host(_));
        match cause.code {
            CauseCode::Dns | CauseCode::Connect | CauseCode::Tls => Sign::Failed,
            // Of a host that many share, one address that hangs says nothing about the others.
            CauseCode::Timeout if is_host => Sign::None,
            CauseCode::Timeout
            | CauseCode::Reset
            | CauseCode::Http5xx
            | CauseCode::Protocol
            | CauseCode::ResponseTooLarge
                if !is_host =>
            {
                Sign::Failed
            }
            CauseCode::RateLimited if !is_host => {
                Sign::WantsPeace(hint.unwrap_or(PEACE).clamp(PEACE, LONGEST_PEACE))
            }
            code if code.is_ours() => Sign::None,
            _ => Sign::Answered,
        }
    }
}

impl Lane {
    fn new(cap: NonZeroUsize) -> Self {
        let cap = u32::try_from(cap.get()).unwrap_or(u32::MAX);
        Self {
            room: Arc::new(Semaphore::new(cap as usize)),
            cap,
            waiting: 0,
            begun: BTreeMap::new(),
            next_number: 0,
            pace: Duration::ZERO,
            circuit: Circuit::default(),
            peace_until: None,
            next_start: None,
            last_turn: None,
        }
    }

    fn is_idle(&self) -> bool {
        self.begun.is_empty() && self.waiting == 0
    }

    /// Refuses an attempt whose turn is not near.
    fn admits(&mut self, now: Instant, at: Duration, pause: Duration) -> Result<(), Hold> {
        if let Some(hold) = self.forbids(now, at, pause) {
            return Err(hold);
        }
        let alone = pause.is_zero() || self.waiting == 0;
        if !alone || self.until_turn(now) > SOON {
            Err(Hold::busy(self.turn(now, Duration::ZERO)))
        } else {
            Ok(())
        }
    }

    /// Why no attempt may begin, whatever room there is.
    fn forbids(&mut self, now: Instant, at: Duration, pause: Duration) -> Option<Hold> {
        if let Admission::Wait(wait) = self.circuit.admits(at) {
            let wait = self.turn(now, wait);
            return Some(Hold {
                code: CauseCode::CircuitOpen,
                detail: "the receiver has stopped answering, and is tried by one attempt at a time",
                wait,
            });
        }
        if let Some(left) = self.peace_until.and_then(|until| until.checked_duration_since(now)) {
            let detail = "the receiver asked for fewer requests";
            return Some(Hold { code: CauseCode::RateLimited, detail, wait: self.turn(now, left) });
        }
        let left = self.next_start.and_then(|start| start.checked_duration_since(now)).unwrap_or_default();
        if left > SOON {
            let detail = "its service takes one at a time, with a pause between";
            return Some(Hold {
                code: CauseCode::RateLimited,
                detail,
                wait: self.turn(now, left.max(pause)),
            });
        }
        None
    }

    /// How long one more would wait for its turn.
    fn until_turn(&self, now: Instant) -> Duration {
        if self.waiting == 0 && self.room.available_permits() > 0 {
            return Duration::ZERO;
        }
        self.slowness(now).mul_f64(f64::from(self.waiting + 1) / f64::from(self.cap))
    }

    // What is in flight for longer than attempts took of late says more than they do.
    fn slowness(&self, now: Instant) -> Duration {
        let oldest = self.begun.values().next().map_or(Duration::ZERO, |began| now.duration_since(*began));
        self.pace.max(oldest)
    }

    /// When one that is held is likely to have its turn: after those held before it, as fast as they go.
    fn turn(&mut self, now: Instant, at_least: Duration) -> Duration {
        let step = (self.pace / self.cap).max(BETWEEN_TURNS);
        let first = now + at_least.max(SHORTEST_HOLD);
        let turn = self.last_turn.map_or(first, |last| (last + step).max(first)).min(now + LONGEST_HOLD);
        self.last_turn = Some(turn);
        turn - now
    }

    fn begin(&mut self, now: Instant, at: Duration) -> (u64, bool) {
        let is_probe = self.circuit.admits(at) == Admission::Probe;
        if is_probe {
            self.circuit.probe();
        }
        let number = self.next_number;
        self.next_number += 1;
        self.begun.insert(number, now);
        (number, is_probe)
    }

    fn end(
        &mut self,
        step: &Step,
        sign: Sign,
        took: Duration,
        now: Instant,
        (at, to_open): (Duration, NonZeroU32),
    ) {
        self.begun.remove(&step.number);
        // How fast it fails says nothing of how fast it answers.
        let answered = matches!(sign, Sign::Answered | Sign::WantsPeace(_));
        self.pace = if !answered {
            self.pace
        } else if self.pace.is_zero() {
            took
        } else {
            self.pace.mul_f64(0.9) + took.mul_f64(0.1)
        };
        match sign {
            Sign::Answered => self.circuit.answered(),
            Sign::Failed => self.circuit.failed(at, step.is_probe, to_open),
            Sign::WantsPeace(wait) => {
                self.circuit.answered();
                self.peace_until = self.peace_until.max(Some(now + wait));
            }
            Sign::None if step.is_probe => self.circuit.probe_cut_off(at),
            Sign::None => {}
        }
    }
}

impl Hold {
    fn busy(wait: Duration) -> Self {
        let detail = "as many attempts as its receiver may have are in flight";
        Self { code: CauseCode::ReceiverBusy, detail, wait }
    }
}

impl Pass {
    /// The attempt has ended so.
    pub(crate) fn end(mut self, outcome: &Outcome) {
        self.leave(|place| place.sign(outcome));
    }

    fn leave(&mut self, sign: impl Fn(&Place) -> Sign) {
        let now = Instant::now();
        let (at, took) = (self.gate.at(now), now - self.began);
        let mut lanes = self.gate.lanes();
        for step in self.steps.drain(..) {
            if let Some(lane) = lanes.get_mut(&step.place) {
                let sign = sign(&step.place);
                lane.end(&step, sign, took, now, (at, self.gate.limits.circuit_failures));
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.leave(|_| Sign::None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bellbuoy_domain::Cause;
    use uuid::Uuid;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gate(per_notification: usize, per_host: usize) -> Arc<Gate> {
        let count = |count| NonZeroUsize::new(count).expect("not zero");
        Arc::new(Gate::new(GateLimits {
            per_notification: count(per_notification),
            per_host: count(per_host),
            circuit_failures: NonZeroU32::new(5).expect("not zero"),
        }))
    }

    fn notification(number: u128) -> NotificationId {
        Uuid::from_u128(number).into()
    }

    fn to(host: &str) -> Receiver {
        Receiver { host: Some(host.to_owned()), pause: Duration::ZERO }
    }

    fn deferred(code: CauseCode, hint: Option<Duration>) -> Outcome {
        Outcome::Deferred { cause: Cause::new(code, "seen in a test"), hint }
    }

    async fn pass(gate: &Arc<Gate>, number: u128, host: &str) -> Pass {
        match gate.enter(notification(number), &to(host)).await {
            Entry::Pass(pass) => pass,
            Entry::Hold(hold) => panic!("held: {hold:?}"),
        }
    }

    async fn hold(gate: &Arc<Gate>, number: u128, host: &str) -> Hold {
        match gate.enter(notification(number), &to(host)).await {
            Entry::Pass(_) => panic!("it may begin"),
            Entry::Hold(hold) => hold,
        }
    }

    async fn fail(gate: &Arc<Gate>, times: u32, number: u128, host: &str, code: CauseCode) {
        for _ in 0..times {
            pass(gate, number, host).await.end(&deferred(code, None));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_are_in_flight_than_the_caps_and_who_has_a_near_turn_waits_for_it() {
        let gate = gate(3, 4);
        let (notified, hosted) =
            (Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]), Arc::new(AtomicUsize::new(0)));
        let done = Arc::new(AtomicUsize::new(0));
        let attempts = (0..60_usize).map(|number| {
            let (gate, notified) = (Arc::clone(&gate), Arc::clone(&notified));
            let (hosted, done) = (Arc::clone(&hosted), Arc::clone(&done));
            tokio::spawn(async move {
                let which = number % 2;
                let pass = pass(&gate, which as u128, "one:443").await;
                assert!(notified[which].fetch_add(1, Ordering::SeqCst) < 3);
                assert!(hosted.fetch_add(1, Ordering::SeqCst) < 4);
                sleep(Duration::from_millis(2)).await;
                notified[which].fetch_sub(1, Ordering::SeqCst);
                hosted.fetch_sub(1, Ordering::SeqCst);
                pass.end(&Outcome::Delivered);
                done.fetch_add(1, Ordering::SeqCst);
            })
        });
        for attempt in attempts.collect::<Vec<_>>() {
            attempt.await.expect("no panic");
        }
        assert_eq!(done.load(Ordering::SeqCst), 60);
        assert!(gate.lanes().values().all(Lane::is_idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_hangs_keeps_its_cap_and_what_is_over_is_held_and_waits_nowhere() {
        let gate = gate(2, 64);
        let hanging = [pass(&gate, 1, "slow:443").await, pass(&gate, 1, "slow:443").await];
        sleep(SECOND).await;
        let began = Instant::now();
        let first = hold(&gate, 1, "slow:443").await;
        let second = hold(&gate, 1, "slow:443").await;
        assert_eq!(first.code, CauseCode::ReceiverBusy);
        assert!(first.wait >= SHORTEST_HOLD && second.wait > first.wait, "{first:?} {second:?}");
        assert_eq!(began.elapsed(), Duration::ZERO);
        pass(&gate, 2, "slow:443").await.end(&Outcome::Delivered);
        for attempt in hanging {
            attempt.end(&Outcome::Delivered);
        }
        pass(&gate, 1, "slow:443").await.end(&Outcome::Delivered);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_although_it_was_near_ends_in_a_hold() {
        let gate = gate(1, 1);
        let hangs = pass(&gate, 1, "slow:443").await;
        let began = Instant::now();
        assert_eq!(hold(&gate, 1, "slow:443").await.code, CauseCode::ReceiverBusy);
        assert_eq!(began.elapsed(), AT_MOST);
        hangs.end(&Outcome::Delivered);
    }

    #[tokio::test(start_paused = true)]
    async fn a_notification_that_keeps_failing_is_left_alone_but_its_host_is_not() {
        let gate = gate(8, 8);
        fail(&gate, 5, 1, "shared:443", CauseCode::Http5xx).await;
        let held = hold(&gate, 1, "shared:443").await;
        assert_eq!(held.code, CauseCode::CircuitOpen);
        assert!(held.wait >= 4 * SECOND, "{held:?}");
        pass(&gate, 2, "shared:443").await.end(&Outcome::Delivered);
        assert_eq!(gate.open_circuits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_can_not_be_reached_is_left_alone_for_all_and_one_probe_finds_it_back() {
        let gate = gate(8, 8);
        for number in 0..5 {
            fail(&gate, 1, number, "gone:443", CauseCode::Connect).await;
        }
        assert_eq!(hold(&gate, 9, "gone:443").await.code, CauseCode::CircuitOpen);
        pass(&gate, 9, "other:443").await.end(&Outcome::Delivered);
        sleep(6 * SECOND).await;
        let probe = pass(&gate, 9, "gone:443").await;
        assert_eq!(hold(&gate, 8, "gone:443").await.code, CauseCode::CircuitOpen, "one at a time");
        probe.end(&Outcome::Delivered);
        pass(&gate, 8, "gone:443").await.end(&Outcome::Delivered);
        assert_eq!(gate.open_circuits(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_cut_off_leaves_the_way_to_the_next_one() {
        let gate = gate(8, 8);
        fail(&gate, 5, 1, "gone:443", CauseCode::Connect).await;
        sleep(6 * SECOND).await;
        drop(pass(&gate, 1, "gone:443").await);
        pass(&gate, 1, "gone:443").await.end(&Outcome::Delivered);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_asked_for_less_is_left_in_peace_for_as_long_as_it_asked() {
        let gate = gate(8, 8);
        let wish = Some(30 * SECOND);
        pass(&gate, 1, "busy:443").await.end(&deferred(CauseCode::RateLimited, wish));
        let held = hold(&gate, 1, "busy:443").await;
        assert_eq!(held.code, CauseCode::RateLimited);
        assert!(held.wait >= 29 * SECOND && held.wait < 32 * SECOND, "{held:?}");
        pass(&gate, 2, "busy:443").await.end(&Outcome::Delivered);
        sleep(31 * SECOND).await;
        pass(&gate, 1, "busy:443").await.end(&Outcome::Delivered);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_wants_a_pause_gets_it_between_two_requests_of_one_notification() {
        let gate = gate(8, 8);
        let chat = Receiver { host: Some("chat:443".into()), pause: SECOND };
        let mut begun = Vec::new();
        while begun.len() < 5 {
            match gate.enter(notification(1), &chat).await {
                Entry::Pass(pass) => {
                    begun.push(Instant::now());
                    pass.end(&Outcome::Delivered);
                }
                Entry::Hold(hold) => {
                    assert_eq!(hold.code, CauseCode::RateLimited);
                    sleep(hold.wait).await;
                }
            }
        }
        assert!(begun.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{begun:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_turns_of_what_is_held_are_spread_and_none_is_put_off_for_ever() {
        let gate = gate(1, 1);
        let hangs = pass(&gate, 1, "slow:443").await;
        sleep(SECOND).await;
        let mut waits = Vec::new();
        for _ in 0..200_000 {
            waits.push(hold(&gate, 1, "slow:443").await.wait);
        }
        assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]));
        assert_eq!(waits[1], waits[0] + BETWEEN_TURNS);
        assert_eq!(waits.last(), Some(&LONGEST_HOLD));
        hangs.end(&Outcome::Delivered);
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_that_are_idle_are_forgotten_when_there_are_many() {
        let gate = gate(8, 8);
        let kept = pass(&gate, u128::MAX, "kept:443").await;
        for number in 0..MOST_LANES as u128 {
            pass(&gate, number, &format!("{number}:443")).await.end(&Outcome::Delivered);
        }
        assert!(gate.lanes().len() <= MOST_LANES + 2);
        assert!(gate.lanes().contains_key(&Place::Notification(notification(u128::MAX))));
        kept.end(&Outcome::Delivered);
    }
}
