//! Who may begin an attempt now, so that one slow or dead receiver slows nobody else.
//!
//! Attempts pass two lanes: their notification's, and their host's. A lane has a cap, a circuit that opens when the
//! receiver stops answering, and the times until which the receiver asked for peace or its service wants a pause. An
//! attempt that would have its turn soon waits here for it; any other one is held in the broker until its turn
//! is likely, where it takes nobody's place. What waits here is therefore bounded by what its receiver takes in that
//! time, and a receiver that hangs keeps no more than its cap.
//!
//! In a fleet the cap is that of all processes. Each leases slots of it from the store ([`Slots`](crate::Slots)), in
//! batches, for longer than an attempt takes, and begins no attempt that could outlast its lease: one that is stopped
//! or cut off from the store uses nothing that another one has by then. Circuits and pauses are each process's own.

mod lane;
mod lease;
mod pass;
mod place;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bellbuoy_domain::{CauseCode, NotificationId};
use bellbuoy_methods::Receiver;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

pub use self::lease::Holdings;
use self::{
    lane::{Lane, SHORTEST_HOLD},
    pass::Step,
};
pub(crate) use self::{
    lease::{ROUND, Wishlist},
    pass::Pass,
    place::Place,
};

/// The longest that a turn is waited for which was thought to be near.
const AT_MOST: Duration = Duration::from_millis(400);

/// So many lanes, and those that are idle are forgotten.
const MOST_LANES: usize = 20_000;

/// What one receiver may take at a time, over all methods of a process or, with leases, of a fleet.
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
    fleet: Option<Fleet>,
}

/// What a gate has that shares its receivers with other processes.
#[derive(Debug)]
struct Fleet {
    terms: LeaseTerms,
    /// Whose slots are asked for next.
    urgent: Mutex<Vec<Place>>,
    wake: Notify,
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

impl Hold {
    fn busy(wait: Duration) -> Self {
        let detail = "as many attempts as its receiver may have are in flight";
        Self { code: CauseCode::ReceiverBusy, detail, wait }
    }
}

impl Gate {
    /// An open gate of a process that has its receivers to itself.
    pub fn new(limits: GateLimits) -> Self {
        Self { limits, start: Instant::now(), lanes: Mutex::default(), fleet: None }
    }

    /// A gate of one process of a fleet: it stays shut until [`Slots`](crate::Slots) runs, and leases what is wanted.
    pub fn in_fleet(limits: GateLimits, terms: LeaseTerms) -> Self {
        let fleet = Fleet { terms, urgent: Mutex::default(), wake: Notify::new() };
        Self { fleet: Some(fleet), ..Self::new(limits) }
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
            let new = || Lane::new(place.cap(self.limits), self.fleet.as_ref().map(|fleet| fleet.terms));
            let lane = lanes.entry(place.clone()).or_insert_with(new);
            if lane.is_wanted(now) {
                self.ask_soon(place);
            }
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
            let hold = lanes
                .get_mut(place)
                .and_then(|lane| lane.forbids(now, self.at(now), pause).or_else(|| lane.lacks_time(now)));
            if let Some(hold) = hold {
                return Entry::Hold(hold);
            }
        }
        let ends = places.iter().filter_map(|place| lanes.get(place)?.ends()).min();
        let steps = places.iter().zip(permits).filter_map(|(place, room)| {
            let (number, is_probe) = lanes.get_mut(place)?.begin(now, self.at(now));
            Some(Step { place: place.clone(), number, is_probe, room })
        });
        let steps: Vec<_> = steps.collect();
        if let Some(lane) = steps.first().and_then(|step| lanes.get_mut(&step.place)) {
            lane.next_start = (!pause.is_zero()).then_some(now + pause);
        }
        Entry::Pass(Pass { gate: Arc::clone(self), steps, began: now, ends })
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
