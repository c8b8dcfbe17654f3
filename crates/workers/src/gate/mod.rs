//! Who may begin an attempt now, so that one slow or dead receiver slows nobody else.
//!
//! Attempts pass two lanes: their notification's, and their host's; where a redirect leads them to another host, its lane as
//! well, before they go on. Notifications that go into one channel of a chat service share one lane, since the service
//! counts what comes into the channel. A lane has a cap, a circuit that opens when the receiver stops answering, the time
//! until which the receiver asked for peace, and what was learnt of how fast it may be asked when it refused what came too
//! fast. Where the notification, its service or its host has a pace, they pass a lane that keeps it; those that follow an
//! earlier attempt pass one more, which leaves places to
//! first attempts. An attempt that would have its turn soon waits here for it; any other one is held in the broker until its turn
//! is likely, where it takes nobody's place. What waits here is therefore bounded by what its receiver takes in that
//! time, and a receiver that hangs keeps no more than its cap. Where there are many lanes, those that are idle are forgotten;
//! a receiver that is left alone, in peace or asked more slowly stays so however many others there are, up to a bound.
//!
//! In a fleet the cap is that of all processes. Each leases slots of it from the store ([`Slots`](crate::Slots)), in
//! batches, for longer than an attempt takes, and begins no attempt that could outlast its lease: one that is stopped
//! or cut off from the store uses nothing that another one has by then. Paces are leased in parts likewise. What a process
//! learns of a receiver, its failures in a row and the peace that it asked for, it tells the others by the same calls: at
//! once when it has to be left alone or is back, and within a round, about a second, otherwise. Each of them hears it in its
//! next round. The attempt that finds out whether a receiver is back passes a lane of its own, with one slot for the whole
//! fleet. What is learnt of a receiver's speed, each process learns of its own share; the lane of retries is its own too.

mod lane;
mod lease;
mod news;
mod pass;
mod place;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bellbuoy_domain::{CauseCode, MethodName, NotificationId, Pace};
use bellbuoy_methods::Receiver;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

pub use self::lease::Holdings;
use self::{
    lane::{Lane, SHORTEST_HOLD, SOON},
    pass::Step,
    place::Paced,
};
pub(crate) use self::{
    lease::{ROUND, Wishlist},
    pass::Pass,
    place::Place,
};

/// The longest that a turn is waited for which was thought to be near.
const AT_MOST: Duration = Duration::from_millis(400);

/// So many lanes, and those that are idle and say nothing of their receivers are forgotten.
const MOST_LANES: usize = 20_000;

/// So many lanes, and all that are idle are forgotten.
const MOST_REMEMBERED: usize = 100_000;

/// What one receiver may take at a time, over all methods of a process or, with leases, of a fleet.
#[derive(Debug, Clone, Copy)]
pub struct GateLimits {
    /// Most attempts in flight for one notification.
    pub per_notification: NonZeroUsize,
    /// Most attempts in flight to one host and port.
    pub per_host: NonZeroUsize,
    /// Attempts in a row that a receiver leaves unanswered before it is tried by one at a time.
    pub circuit_failures: NonZeroU32,
    /// Most attempts in flight that follow an earlier one, by each method's worker of this process: what is left is for
    /// the first attempts of others.
    pub retries: NonZeroUsize,
    /// Most attempts a minute for a notification that says nothing of it.
    pub rate: Option<NonZeroU32>,
    /// Most attempts a minute to one host and port.
    pub rate_per_host: Option<NonZeroU32>,
}

impl GateLimits {
    /// The share of old retries in so many attempts in flight: three quarters, and at least one.
    pub fn retries_of(in_flight: NonZeroUsize) -> NonZeroUsize {
        NonZeroUsize::new(in_flight.get() - in_flight.get().div_ceil(4)).unwrap_or(NonZeroUsize::MIN)
    }
}

impl Default for GateLimits {
    /// 32, an eighth of a worker's slots; 64; 192 of 256; no rates; 20, which a receiver that fails every third request never has.
    fn default() -> Self {
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self {
            per_notification: count(32),
            per_host: count(64),
            circuit_failures: NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN),
            retries: count(192),
            rate: None,
            rate_per_host: None,
        }
    }
}

/// For how long slots are leased.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTerms {
    /// The most that an attempt takes.
    pub attempt: Duration,
    /// How much longer a lease lasts: so long a process may go without word from the store, and works on.
    pub spare: Duration,
}

impl LeaseTerms {
    /// From the ask to the end.
    pub fn lease(&self) -> Duration {
        self.attempt + self.spare
    }
}

/// The gate of one process.
#[derive(Debug)]
pub struct Gate {
    limits: GateLimits,
    start: Instant,
    lanes: Mutex<HashMap<Place, Lane>>,
    /// So many lanes, and it is worth a look whether some can be forgotten.
    many: AtomicUsize,
    fleet: Option<Fleet>,
}

/// What a gate has that shares its receivers with other processes.
#[derive(Debug)]
struct Fleet {
    terms: LeaseTerms,
    /// Whose slots are asked for next, and of whom the others are told.
    urgent: Mutex<Vec<Place>>,
    wake: Notify,
    /// Up to where this process has heard how receivers are.
    heard: AtomicI64,
}

/// Who asks for an attempt, and whom it would load.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    pub(crate) notification: NotificationId,
    pub(crate) to: &'a Receiver,
    /// Whether its notification is on probation.
    pub(crate) on_probation: bool,
    /// The method, if the attempt follows an earlier one.
    pub(crate) retry_of: Option<MethodName>,
}

/// The lanes that an attempt passes.
struct Way {
    /// Those that it is in until it ends.
    rooms: Vec<Place>,
    /// Those that count its begin.
    paces: Vec<(Place, Pace)>,
}

impl Way {
    fn all(&self) -> impl Iterator<Item = &Place> {
        self.rooms.iter().chain(self.paces.iter().map(|(whose, _)| whose))
    }
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

impl Gate {
    /// An open gate of a process that has its receivers to itself.
    pub fn new(limits: GateLimits) -> Self {
        let many = AtomicUsize::new(MOST_LANES);
        Self { limits, start: Instant::now(), lanes: Mutex::default(), many, fleet: None }
    }

    /// A gate of one process of a fleet: it stays shut until [`Slots`](crate::Slots) runs, and leases what is wanted.
    pub fn in_fleet(limits: GateLimits, terms: LeaseTerms) -> Self {
        let fleet =
            Fleet { terms, urgent: Mutex::default(), wake: Notify::new(), heard: AtomicI64::default() };
        Self { fleet: Some(fleet), ..Self::new(limits) }
    }

    /// How many receivers are left alone now because they stopped answering.
    pub fn open_circuits(&self) -> usize {
        self.lanes().values().filter(|lane| lane.circuit.is_open()).count()
    }

    /// How many receivers are left in peace now because they asked for it.
    pub fn in_peace(&self) -> usize {
        let now = Instant::now();
        self.lanes().values().filter(|lane| lane.is_in_peace(now)).count()
    }

    /// Asks for one attempt, and waits if its turn is near.
    pub(crate) async fn enter(self: &Arc<Self>, visit: &Visit<'_>) -> Entry {
        self.enter_by(self.way(visit)).await
    }

    /// The same, of an attempt that has begun and is led to another host (`name:port`).
    async fn enter_host(self: &Arc<Self>, host: &str) -> Entry {
        let paces = self.host_pace(host).into_iter().collect();
        self.enter_by(Way { rooms: vec![Place::Host(host.into())], paces }).await
    }

    async fn enter_by(self: &Arc<Self>, mut way: Way) -> Entry {
        let rooms = match self.queue_up(&mut way) {
            Ok(rooms) => rooms,
            Err(hold) => return Entry::Hold(hold),
        };
        let waiting = Waiting { gate: self, places: &way.rooms };
        let latest = Instant::now() + AT_MOST;
        let mut permits = Vec::with_capacity(rooms.len());
        for room in rooms {
            match timeout_at(latest, room.acquire_owned()).await {
                Ok(Ok(permit)) => permits.push(permit),
                _ => break,
            }
        }
        let entry = if let Some(full) = way.rooms.get(permits.len()) {
            Entry::Hold(self.busy(full))
        } else {
            sleep(self.until_paced(&way).min(SOON)).await;
            self.begin(&way, permits)
        };
        drop(waiting);
        entry
    }

    fn way(&self, visit: &Visit<'_>) -> Way {
        let mut rooms = Vec::with_capacity(3);
        rooms.extend(visit.on_probation.then_some(Place::Probation(visit.notification)));
        rooms.extend(visit.retry_of.map(Place::Retries));
        rooms.push(visit.to.channel.map_or(Place::Notification(visit.notification), Place::Channel));
        rooms.extend(visit.to.host.as_deref().map(|host| Place::Host(host.into())));
        let mut paces = Vec::with_capacity(2);
        let pace = visit.to.pace.or(self.limits.rate.map(Pace::per_minute));
        let whose = visit.to.channel.map_or(Paced::Notification(visit.notification), Paced::Channel);
        paces.extend(pace.map(|pace| (Place::Pace(whose, pace), pace)));
        paces.extend(visit.to.host.as_deref().and_then(|host| self.host_pace(host)));
        Way { rooms, paces }
    }

    fn host_pace(&self, host: &str) -> Option<(Place, Pace)> {
        let pace = Pace::per_minute(self.limits.rate_per_host?);
        Some((Place::Pace(Paced::Host(host.into()), pace), pace))
    }

    // Counts it among those that wait, if its turn is near.
    fn queue_up(&self, way: &mut Way) -> Result<Vec<Arc<Semaphore>>, Hold> {
        let now = Instant::now();
        let at = self.at(now);
        let mut lanes = self.lanes();
        self.forget(&mut lanes, now);
        self.find_out(way, &mut lanes, now)?;
        for place in way.all() {
            if self.lane(&mut lanes, place).is_wanted(now, place.pace().is_some()) {
                self.ask_soon(place);
            }
        }
        for place in &way.rooms {
            if let Some(lane) = lanes.get_mut(place) {
                lane.admits(now, place.busy()).map_err(|hold| place.worded(hold))?;
                if let Some(hold) = lane.is_too_fast(now, at, SOON) {
                    return Err(place.worded(hold));
                }
            }
        }
        for (whose, pace) in &way.paces {
            if let Some(lane) = lanes.get_mut(whose) {
                lane.admits_paced(now, at, *pace)?;
            }
        }
        let mut rooms = Vec::with_capacity(way.rooms.len());
        for place in &way.rooms {
            if let Some(lane) = lanes.get_mut(place) {
                lane.waiting += 1;
                rooms.push(Arc::clone(&lane.room));
            }
        }
        Ok(rooms)
    }

    // A look at all lanes is dear: the next one is due when there are a good many more.
    fn forget(&self, lanes: &mut HashMap<Place, Lane>, now: Instant) {
        if lanes.len() < self.many.load(Ordering::Relaxed) {
            return;
        }
        let at = self.at(now);
        lanes.retain(|_, lane| !lane.is_idle(at) || lane.is_remembered(now, at));
        if lanes.len() >= MOST_REMEMBERED {
            lanes.retain(|_, lane| !lane.is_idle(at));
        }
        self.many.store(MOST_LANES.max(lanes.len() + MOST_LANES / 4), Ordering::Relaxed);
    }

    // Refuses one whose receiver is left alone, before slots are asked for it; in a fleet one that is to find out whether
    // its receiver is back passes the lane of those that do.
    fn find_out(&self, way: &mut Way, lanes: &mut HashMap<Place, Lane>, now: Instant) -> Result<(), Hold> {
        let mut probes = Vec::new();
        for place in &way.rooms {
            let lane = self.lane(lanes, place);
            if let Some(hold) = lane.forbids(now, self.at(now)) {
                return Err(place.worded(hold));
            }
            if self.fleet.is_some() && lane.circuit.is_open() {
                probes.extend(place.probe());
            }
        }
        way.rooms.splice(0..0, probes);
        Ok(())
    }

    fn lane<'a>(&self, lanes: &'a mut HashMap<Place, Lane>, place: &Place) -> &'a mut Lane {
        let terms = self.fleet.as_ref().filter(|_| place.is_shared()).map(|fleet| fleet.terms);
        lanes.entry(place.clone()).or_insert_with(|| Lane::new(place.cap(self.limits), terms))
    }

    fn busy(&self, place: &Place) -> Hold {
        let now = Instant::now();
        let (code, detail) = place.busy();
        let wait = self.lanes().get_mut(place).map(|lane| lane.turn(now, Duration::ZERO));
        Hold { code, detail, wait: wait.unwrap_or(SHORTEST_HOLD) }
    }

    fn until_paced(&self, way: &Way) -> Duration {
        let at = self.at(Instant::now());
        let lanes = self.lanes();
        let paced = way.paces.iter().filter_map(|(whose, pace)| lanes.get(whose)?.until_paced(at, *pace));
        let learnt = way.rooms.iter().filter_map(|place| Some(lanes.get(place)?.until_learnt(at)));
        paced.chain(learnt).max().unwrap_or_default()
    }

    // Much may have happened while it waited.
    fn begin(self: &Arc<Self>, way: &Way, permits: Vec<OwnedSemaphorePermit>) -> Entry {
        let now = Instant::now();
        let at = self.at(now);
        let mut lanes = self.lanes();
        for place in way.all() {
            let is_probed =
                self.fleet.is_none() || place.probe().is_none_or(|probe| way.rooms.contains(&probe));
            let hold = lanes.get_mut(place).and_then(|lane| {
                let hold = lane.forbids(now, at).or_else(|| lane.lacks_probe(now, is_probed));
                let hold = hold.or_else(|| lane.lacks_time(now, place.busy()));
                hold.or_else(|| lane.is_too_fast(now, at, Duration::ZERO))
            });
            if let Some(hold) = hold {
                return Entry::Hold(place.worded(hold));
            }
        }
        for (whose, pace) in &way.paces {
            if let Some(hold) = lanes.get_mut(whose).and_then(|lane| lane.lacks_token(now, at, *pace)) {
                return Entry::Hold(hold);
            }
        }
        for (whose, pace) in &way.paces {
            if let Some(lane) = lanes.get_mut(whose) {
                lane.take_token(at, *pace);
            }
        }
        let ends = way.all().filter_map(|place| lanes.get(place)?.ends()).min();
        let steps = way.rooms.iter().zip(permits).filter_map(|(place, room)| {
            let (number, is_probe) = lanes.get_mut(place)?.begin(now, at);
            Some(Step { place: place.clone(), number, is_probe, room })
        });
        let steps = steps.collect();
        let gate = Arc::clone(self);
        Entry::Pass(Pass { gate, steps, began: now, ends, further: Mutex::default() })
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
