//! What a lane has of its receiver's slots where a fleet shares them: how many, until when, and when to ask again; and
//! what the processes tell each other of the receivers.
//!
//! Slots are given up here before the store is told, and are here only after it has said so: what is used is never
//! more than what it counts, whichever answer gets lost. The end of a lease is counted from before it was asked for.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use bellbuoy_domain::{Granted, Health, Sighting};
use bellbuoy_store::{SeenReceiver, SlotAnswer, SlotAsk, SlotCall, SlotTerms};
use tokio::time::Instant;

use super::{Fleet, Gate, LeaseTerms, Place, lane::Lane};

/// So many slots are leased at least, so that a receiver that is used little costs one ask.
const LEAST: u32 = 4;

/// How often the store is asked for slots that it did not have, and told of those that are given up.
pub(crate) const ROUND: Duration = Duration::from_secs(1);

/// How long a wish is known to the store without being repeated.
const WISH: Duration = Duration::from_secs(5);

/// After so long another process has its turn at slots that can't be divided.
const TURN: Duration = Duration::from_secs(10);

/// What is asked of the store for one lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) cap: u32,
    pub(super) held: u32,
    pub(super) wanted: u32,
}

/// Whether the store is being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    No,
    /// It is to be asked at once.
    Soon,
    Now,
}

#[derive(Debug)]
pub(super) struct Lease {
    terms: LeaseTerms,
    /// So many slots the store counts as ours.
    known: u32,
    ends: Option<Instant>,
    /// When the last ask that was answered was sent.
    answered: Option<Instant>,
    asking: Asking,
    /// There are fewer than all processes want, or the store does not answer.
    is_short: bool,
    /// The most that were in flight or wanted to be, at a time, since the last ask.
    peak: u32,
    used_at: Option<Instant>,
}

impl Lease {
    pub(super) fn new(terms: LeaseTerms) -> Self {
        Self {
            terms,
            known: 0,
            ends: None,
            answered: None,
            asking: Asking::No,
            is_short: false,
            peak: 0,
            used_at: None,
        }
    }

    /// Whether an answer of the store is on its way.
    pub(super) fn is_asked(&self) -> bool {
        self.asking != Asking::No
    }

    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Whether an attempt, which no lease ends before, takes longer than that.
    pub(super) fn outlasts(&self, span: Duration) -> bool {
        self.terms.attempt >= span
    }

    /// Whether an attempt that begins now is over before the lease is.
    pub(super) fn lasts(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now + self.terms.attempt <= ends)
    }

    /// One more would like to begin, which makes so many in all. Whether the store is to be asked at once.
    pub(super) fn is_wanted(&mut self, now: Instant, demand: u32, permits: u32, cap: u32) -> bool {
        self.used_at = Some(now);
        self.peak = self.peak.max(demand);
        let enough = demand <= permits || permits >= cap;
        let has_all = enough && self.lasts(now);
        let asks = !(self.is_asked() || self.is_short || has_all);
        if asks {
            self.asking = Asking::Soon;
        }
        asks
    }

    /// Whether the lease has ended; then nothing of it is left.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let over = self.ends.is_some_and(|ends| ends <= now);
        if over {
            (self.known, self.ends) = (0, None);
        }
        over
    }

    /// How many slots are worth having: twice what was in use of late, and none after a time without use. That is
    /// short while others wait.
    pub(super) fn wanted(&mut self, now: Instant, demand: u32, cap: u32) -> u32 {
        self.peak = self.peak.max(demand);
        let kept = if self.is_short { ROUND } else { self.terms.spare };
        let idle = self.used_at.is_none_or(|at| now.duration_since(at) >= kept);
        if idle && demand == 0 { 0 } else { self.peak.saturating_mul(2).max(LEAST).min(cap) }
    }

    /// Whether somebody waits for the answer to an ask that was not sent yet.
    pub(super) fn is_urgent(&self) -> bool {
        self.asking == Asking::Soon
    }

    /// Whether it is time to ask. An ask that is under way was dropped by who sent it: one at a time does.
    pub(super) fn is_due(&self, now: Instant, permits: u32, wanted: u32) -> bool {
        let stale = self.answered.is_none_or(|at| now.duration_since(at) >= self.terms.spare / 3);
        let has_any = self.known > 0 || permits > 0;
        let gives_up = has_any && (permits != self.known || wanted == 0);
        self.is_asked() || gives_up || (stale && has_any) || (self.is_short && (wanted > 0 || has_any))
    }

    pub(super) fn ask(&mut self) {
        self.asking = Asking::Now;
        self.peak = 0;
    }

    pub(super) fn grant(&mut self, wish: &Wish, granted: Granted, sent: Instant) {
        self.known = granted.held;
        self.ends = (granted.held > 0).then(|| sent + self.terms.lease());
        self.answered = Some(sent);
        self.asking = Asking::No;
        let has_less = granted.held.min(granted.share) < wish.wanted;
        self.is_short = wish.wanted > 0 && (granted.is_contended || has_less);
    }

    pub(super) fn was_not_answered(&mut self) {
        self.asking = Asking::No;
        self.is_short = true;
    }
}

/// What the store is asked for and told, lane by lane.
#[derive(Debug, Default)]
pub(crate) struct Wishlist {
    wishes: Vec<(Place, Wish)>,
    seen: Vec<(Place, Sighting, NonZeroU32)>,
    /// Whether the answer is wanted even if nothing is asked: for what others have told.
    listens: bool,
    heard: i64,
}

impl Wishlist {
    pub(crate) fn is_empty(&self) -> bool {
        self.wishes.is_empty() && self.seen.is_empty() && !self.listens
    }

    /// In the store's words.
    pub(crate) fn call(&self) -> SlotCall {
        let ask = |(place, wish): &(Place, Wish)| SlotAsk {
            receiver: place.name(),
            cap: wish.cap,
            held: wish.held,
            wanted: wish.wanted,
        };
        let seen = |(place, sighting, to_open): &(Place, Sighting, NonZeroU32)| SeenReceiver {
            receiver: place.name(),
            sighting: *sighting,
            to_open: *to_open,
        };
        SlotCall {
            asks: self.wishes.iter().map(ask).collect(),
            seen: self.seen.iter().map(seen).collect(),
            heard: self.heard,
        }
    }
}

/// How many slots this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Of notifications and channels.
    pub notifications: u32,
    /// Of hosts.
    pub hosts: u32,
    /// Receivers of which it could use more than it has.
    pub short: usize,
}

impl Fleet {
    fn urgent(&self) -> MutexGuard<'_, Vec<Place>> {
        self.urgent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the slots of a fleet come in and go out.
impl Gate {
    /// On what terms slots are leased, in the store's words; `None` for a process that is alone.
    pub(crate) fn terms(&self) -> Option<SlotTerms> {
        Some(SlotTerms { lease: self.fleet.as_ref()?.terms.lease(), wish: WISH, turn: TURN })
    }

    /// How many slots it has.
    pub fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::default();
        for (place, lane) in &*self.lanes() {
            let count = lane.leased().unwrap_or(0);
            match place {
                Place::Notification(_) | Place::Channel(_) => holdings.notifications += count,
                Place::Host(_) => holdings.hosts += count,
                Place::Probation(_) | Place::Probe(_) | Place::Pace(..) | Place::Retries(_) => {}
            }
            holdings.short += usize::from(lane.is_short());
        }
        holdings
    }

    /// Waits until somebody waits for slots.
    pub(crate) async fn wanted(&self) {
        match &self.fleet {
            Some(fleet) => fleet.wake.notified().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn ask_soon(&self, place: &Place) {
        if let Some(fleet) = &self.fleet {
            fleet.urgent().push(place.clone());
            fleet.wake.notify_one();
        }
    }

    /// What is to be asked and told now: for whom somebody waits, of whom the others are to hear at once, and if `all` are
    /// looked at, whose lease is to be renewed or given back, and who has failed.
    pub(crate) fn wishlist(&self, all: bool) -> Wishlist {
        let Some(fleet) = &self.fleet else { return Wishlist::default() };
        let now = Instant::now();
        let at = self.at(now);
        let mut lanes = self.lanes();
        let urgent: HashSet<Place> = std::mem::take(&mut *fleet.urgent()).into_iter().collect();
        let mut list = Wishlist {
            listens: all && !lanes.is_empty(),
            heard: fleet.heard.load(Ordering::Relaxed),
            ..Wishlist::default()
        };
        let mut add = |place: &Place, lane: &mut Lane| {
            if (all || lane.is_urgent())
                && let Some(wish) = lane.wish(now, at)
            {
                list.wishes.push((place.clone(), wish));
            }
            if let Some(sighting) = lane.tell(now) {
                list.seen.push((place.clone(), sighting, place.to_open(self.limits)));
            }
        };
        if all {
            for (place, lane) in &mut *lanes {
                add(place, lane);
            }
        } else {
            for place in &urgent {
                if let Some(lane) = lanes.get_mut(place) {
                    add(place, lane);
                }
            }
        }
        list
    }

    /// All that is not in use is to be given back, and all that was seen to be told.
    pub(crate) fn farewell(&self) -> Wishlist {
        let Some(fleet) = &self.fleet else { return Wishlist::default() };
        let now = Instant::now();
        let at = self.at(now);
        let mut list = Wishlist { heard: fleet.heard.load(Ordering::Relaxed), ..Wishlist::default() };
        for (place, lane) in &mut *self.lanes() {
            list.wishes.extend(lane.give_back(at).map(|wish| (place.clone(), wish)));
            let seen = lane.tell(now).map(|seen| (place.clone(), seen, place.to_open(self.limits)));
            list.seen.extend(seen);
        }
        list
    }

    /// The answer to a wishlist that was sent at `sent`.
    pub(crate) fn answered(&self, wishlist: &Wishlist, answer: &SlotAnswer, sent: Instant) {
        let now = Instant::now();
        let at = self.at(now);
        let mut lanes = self.lanes();
        for (place, ..) in &wishlist.seen {
            if let Some(lane) = lanes.get_mut(place) {
                lane.was_told(true);
            }
        }
        // Before what was granted: who has another's slot of a receiver knows how that one found it.
        self.hear(&mut lanes, answer, now);
        for ((place, wish), granted) in wishlist.wishes.iter().zip(&answer.granted) {
            match (lanes.get_mut(place), place.pace()) {
                (Some(lane), Some(pace)) => lane.grant_paced(wish, *granted, sent, (at, pace)),
                (Some(lane), None) => lane.grant(wish, *granted, sent),
                (None, _) => {}
            }
        }
    }

    fn hear(&self, lanes: &mut HashMap<Place, Lane>, answer: &SlotAnswer, now: Instant) {
        if let Some(fleet) = &self.fleet {
            fleet.heard.store(answer.heard, Ordering::Relaxed);
        }
        if answer.health.is_empty() {
            return;
        }
        let known: HashMap<&str, Health> =
            answer.health.iter().map(|known| (known.receiver.as_str(), known.health)).collect();
        for (place, lane) in lanes {
            if let Some(health) = known.get(place.name().as_str()) {
                lane.hear(*health, now, (self.at(now), place.to_open(self.limits)));
            }
        }
    }

    /// There was no answer.
    pub(crate) fn not_answered(&self, wishlist: &Wishlist) {
        let mut lanes = self.lanes();
        for (place, _) in &wishlist.wishes {
            if let Some(lane) = lanes.get_mut(place) {
                lane.was_not_answered();
            }
        }
        for (place, ..) in &wishlist.seen {
            if let Some(lane) = lanes.get_mut(place) {
                lane.was_told(false);
            }
        }
    }
}
