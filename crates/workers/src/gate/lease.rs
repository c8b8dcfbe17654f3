//! What a lane has of its receiver's slots where a fleet shares them: how many, until when, and when to ask again.
//!
//! Slots are given up here before the store is told, and are here only after it has said so: what is used is never
//! more than what it counts, whichever answer gets lost. The end of a lease is counted from before it was asked for.

use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use bellbuoy_domain::Granted;
use bellbuoy_store::{SlotAsk, SlotTerms};
use tokio::time::Instant;

use super::{Fleet, Gate, LeaseTerms, Place};

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

/// What the store is asked for, lane by lane.
#[derive(Debug, Default)]
pub(crate) struct Wishlist {
    wishes: Vec<(Place, Wish)>,
}

impl Wishlist {
    pub(crate) fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }

    /// In the store's words.
    pub(crate) fn asks(&self) -> Vec<SlotAsk> {
        let ask = |(place, wish): &(Place, Wish)| SlotAsk {
            receiver: place.name(),
            cap: wish.cap,
            held: wish.held,
            wanted: wish.wanted,
        };
        self.wishes.iter().map(ask).collect()
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
                Place::Probation(_) | Place::Pace(..) | Place::Retries(_) => {}
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

    /// What is to be asked now: for whom somebody waits and, if `all` are looked at, whose lease is to be renewed or
    /// given back.
    pub(crate) fn wishlist(&self, all: bool) -> Wishlist {
        let Some(fleet) = &self.fleet else { return Wishlist::default() };
        let now = Instant::now();
        let at = self.at(now);
        let mut lanes = self.lanes();
        let urgent = std::mem::take(&mut *fleet.urgent());
        let mut wishes = Vec::with_capacity(urgent.len());
        for place in urgent {
            let wish = lanes.get_mut(&place).filter(|lane| lane.is_urgent());
            if let Some(wish) = wish.and_then(|lane| lane.wish(now, at)) {
                wishes.push((place, wish));
            }
        }
        if all {
            // Those above are asked for already.
            let known: HashSet<Place> = wishes.iter().map(|(place, _)| place.clone()).collect();
            for (place, lane) in &mut *lanes {
                if !known.contains(place)
                    && let Some(wish) = lane.wish(now, at)
                {
                    wishes.push((place.clone(), wish));
                }
            }
        }
        Wishlist { wishes }
    }

    /// All that is not in use is to be given back.
    pub(crate) fn farewell(&self) -> Wishlist {
        let at = self.at(Instant::now());
        let mut lanes = self.lanes();
        let wishes = lanes.iter_mut().filter_map(|(place, lane)| Some((place.clone(), lane.give_back(at)?)));
        Wishlist { wishes: wishes.collect() }
    }

    /// The answers to a wishlist that was sent at `sent`.
    pub(crate) fn granted(&self, wishlist: &Wishlist, answers: &[Granted], sent: Instant) {
        let at = self.at(Instant::now());
        let mut lanes = self.lanes();
        for ((place, wish), granted) in wishlist.wishes.iter().zip(answers) {
            match (lanes.get_mut(place), place.pace()) {
                (Some(lane), Some(pace)) => lane.grant_paced(wish, *granted, sent, (at, pace)),
                (Some(lane), None) => lane.grant(wish, *granted, sent),
                (None, _) => {}
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
    }
}
