//! The way to one receiver: its cap, its circuit, its pace.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use bellbuoy_domain::{Admission, Bucket, CauseCode, Circuit, Granted, Health, Learnt, Pace, Sighting};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    Hold, LeaseTerms,
    lease::{Lease, Wish},
    news::News,
    pass::Step,
    place::{LEARNT, PACED, Sign, UNANSWERED},
};

/// What is said of an attempt that there is no room for.
type Busy = (CauseCode, &'static str);

/// A turn that is this near is waited for in memory: shorter than a way through the broker is worth.
pub(super) const SOON: Duration = Duration::from_millis(100);

/// The shortest hold: the broker's delays are half a second and more.
pub(super) const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// The shortest time between the turns of two that are held: what many held deliveries of one receiver cost
/// others is bounded by it.
pub(super) const BETWEEN_TURNS: Duration = Duration::from_millis(2);

/// The same where the receiver does not answer: until it does, whatever comes back is only held again.
pub(super) const BETWEEN_TURNS_OF_THE_SILENT: Duration = Duration::from_millis(8);

/// The longest hold: then it is looked again.
pub(super) const LONGEST_HOLD: Duration = Duration::from_mins(5);

/// For so long it is remembered that a receiver failed: who has deliveries held for it is here again after
/// [`LONGEST_HOLD`] and its probe.
pub(super) const REMEMBERED: Duration = Duration::from_mins(15);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) room: Arc<Semaphore>,
    /// The most that may be in flight, over all processes.
    cap: u32,
    /// The most that may be in flight here. What is in flight above that came before it fell.
    most: u32,
    /// How many permits there are, in the room and in hands.
    permits: u32,
    lease: Option<Lease>,
    pub(super) waiting: u32,
    /// When the attempts in flight began, by the number they got.
    begun: BTreeMap<u64, Instant>,
    next_number: u64,
    /// How long an attempt took of late.
    pace: Duration,
    pub(super) circuit: Circuit,
    /// When it was last seen or heard how the receiver is.
    seen: Option<Instant>,
    /// What the fleet has not heard yet of the receiver.
    news: News,
    /// Until then the receiver wants peace.
    peace_until: Option<Instant>,
    /// What is left of the pace that it keeps, if it does.
    bucket: Bucket,
    /// How fast the receiver lets itself be asked by this process, as far as it has refused any, and what is left of that.
    learnt: Learnt,
    tokens: Bucket,
    /// When the last of those that were held is likely to have its turn.
    last_turn: Option<Instant>,
}

impl Lane {
    /// With all of its cap or, under `terms`, with none before some is leased.
    pub(super) fn new(cap: NonZeroUsize, terms: Option<LeaseTerms>) -> Self {
        let cap = u32::try_from(cap.get()).unwrap_or(u32::MAX);
        let most = if terms.is_some() { 0 } else { cap };
        Self {
            room: Arc::new(Semaphore::new(most as usize)),
            cap,
            most,
            permits: most,
            lease: terms.map(Lease::new),
            waiting: 0,
            begun: BTreeMap::new(),
            next_number: 0,
            pace: Duration::ZERO,
            circuit: Circuit::default(),
            seen: None,
            news: News::default(),
            peace_until: None,
            bucket: Bucket::default(),
            learnt: Learnt::default(),
            tokens: Bucket::default(),
            last_turn: None,
        }
    }

    /// Whether no attempt is, was just or is about to be here, and the fleet has heard everything.
    pub(super) fn is_idle(&self, at: Duration) -> bool {
        self.begun.is_empty()
            && self.waiting == 0
            && self.bucket.is_full(at)
            && (self.lease.is_none() || self.news.is_told())
    }

    /// Whether the next attempt would go otherwise if the lane were forgotten: its receiver is left alone or in peace, has
    /// failed of late, or is asked more slowly.
    pub(super) fn is_remembered(&self, now: Instant, at: Duration) -> bool {
        let is_of_late = self.seen.is_some_and(|seen| now.duration_since(seen) < REMEMBERED);
        self.is_in_peace(now) || self.learnt.pace(at).is_some() || (is_of_late && !self.circuit.is_new())
    }

    pub(super) fn is_in_peace(&self, now: Instant) -> bool {
        self.peace_until.is_some_and(|until| until > now)
    }

    /// How many slots of its receiver this process has, if it leases them.
    pub(super) fn leased(&self) -> Option<u32> {
        self.lease.as_ref().map(|_| self.permits)
    }

    /// Whether there are fewer slots than this process could use.
    pub(super) fn is_short(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_short)
    }

    /// When its lease is over.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.lease.as_ref().and_then(Lease::ends)
    }

    /// One more would like to begin. Whether the store is to be asked for more slots at once. Of a pace everything is
    /// wanted.
    pub(super) fn is_wanted(&mut self, now: Instant, is_pace: bool) -> bool {
        let (permits, cap) = (self.permits, self.cap);
        let demand = if is_pace { cap } else { self.in_hands() + self.waiting + 1 };
        self.lease.as_mut().is_some_and(|lease| lease.is_wanted(now, demand, permits, cap))
    }

    /// Whether somebody waits for slots that nobody asked for yet.
    pub(super) fn is_urgent(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_urgent)
    }

    /// What is to be asked of the store, if anything.
    pub(super) fn wish(&mut self, now: Instant, at: Duration) -> Option<Wish> {
        // A pace is given back only when nobody who gets it then could be too early.
        let demand = self.in_hands() + self.waiting + u32::from(!self.bucket.is_full(at));
        let lease = self.lease.as_mut()?;
        if lease.is_over(now) {
            self.resize(0);
        }
        let lease = self.lease.as_mut()?;
        let wanted = lease.wanted(now, demand, self.cap);
        if !lease.is_due(now, self.permits, wanted) {
            return None;
        }
        lease.ask();
        if wanted < self.most {
            self.resize(wanted);
        }
        Some(Wish { cap: self.cap, held: self.permits, wanted })
    }

    /// The store has answered a wish that was sent at `sent`.
    pub(super) fn grant(&mut self, wish: &Wish, granted: Granted, sent: Instant) {
        if let Some(lease) = &mut self.lease {
            lease.grant(wish, granted, sent);
            self.resize(granted.held.min(granted.share));
        }
    }

    /// The same, of a pace: what another may have used up is not there yet.
    pub(super) fn grant_paced(
        &mut self,
        wish: &Wish,
        granted: Granted,
        sent: Instant,
        (at, pace): (Duration, Pace),
    ) {
        let before = self.most;
        self.grant(wish, granted, sent);
        let ended_long_ago = self.lease.as_ref().is_some_and(|lease| lease.outlasts(pace.filling()));
        if self.most > before
            && (granted.is_contended || self.most < self.cap || !ended_long_ago)
            && let Some(share) = pace.share(self.most)
        {
            self.bucket.empty(at, share);
        }
    }

    /// The store has not answered.
    pub(super) fn was_not_answered(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.was_not_answered();
        }
    }

    /// Gives up all slots that are not in use; of a pace, only what nobody could be too early with.
    pub(super) fn give_back(&mut self, at: Duration) -> Option<Wish> {
        self.lease.as_ref().filter(|_| self.bucket.is_full(at))?;
        self.resize(0);
        Some(Wish { cap: self.cap, held: self.permits, wanted: 0 })
    }

    fn in_hands(&self) -> u32 {
        self.permits.saturating_sub(u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX))
    }

    // What is in use above `most` goes as it ends.
    fn resize(&mut self, most: u32) {
        self.most = most;
        if most >= self.permits {
            self.room.add_permits((most - self.permits) as usize);
            self.permits = most;
        } else {
            let gone = self.room.forget_permits((self.permits - most) as usize);
            self.permits -= u32::try_from(gone).unwrap_or(u32::MAX);
        }
    }

    /// A slot is free again, or gone.
    pub(super) fn take_back(&mut self, room: OwnedSemaphorePermit) {
        if self.permits > self.most {
            room.forget();
            self.permits -= 1;
        }
    }

    /// Refuses an attempt whose turn is not near; `busy` is what is said then.
    pub(super) fn admits(&mut self, now: Instant, busy: Busy) -> Result<(), Hold> {
        if self.until_turn(now) > SOON {
            let (code, detail) = busy;
            return Err(Hold { code, detail, wait: self.turn(now, Duration::ZERO) });
        }
        Ok(())
    }

    /// Refuses an attempt that the pace does not allow soon.
    pub(super) fn admits_paced(&mut self, now: Instant, at: Duration, pace: Pace) -> Result<(), Hold> {
        match self.until_paced(at, pace) {
            Some(wait) if wait <= SOON => Ok(()),
            None if self.lease.as_ref().is_some_and(Lease::is_asked) => Ok(()),
            wait => Err(self.too_early(now, wait.unwrap_or(pace.interval), pace)),
        }
    }

    /// How long until the pace allows one more; `None` while other processes have all of it.
    pub(super) fn until_paced(&self, at: Duration, pace: Pace) -> Option<Duration> {
        Some(self.bucket.wait(at, pace.share(self.most)?))
    }

    /// Refuses an attempt that the pace does not allow at once.
    pub(super) fn lacks_token(&mut self, now: Instant, at: Duration, pace: Pace) -> Option<Hold> {
        match self.until_paced(at, pace) {
            Some(Duration::ZERO) => None,
            wait => Some(self.too_early(now, wait.unwrap_or(pace.interval), pace)),
        }
    }

    /// One begins that the pace allows.
    pub(super) fn take_token(&mut self, at: Duration, pace: Pace) {
        if let Some(share) = pace.share(self.most) {
            self.bucket.take(at, share);
        }
    }

    fn too_early(&mut self, now: Instant, wait: Duration, pace: Pace) -> Hold {
        let step = pace.share(self.most).unwrap_or(pace).interval;
        let wait = self.turn_after(now, wait, step);
        Hold { code: CauseCode::RateLimited, detail: PACED, wait }
    }

    /// How long until one more is no faster than what was learnt.
    pub(super) fn until_learnt(&self, at: Duration) -> Duration {
        self.learnt.pace(at).map(|pace| self.tokens.wait(at, pace)).unwrap_or_default()
    }

    /// Refuses an attempt that would be faster than what was learnt, by more than `near`.
    pub(super) fn is_too_fast(&mut self, now: Instant, at: Duration, near: Duration) -> Option<Hold> {
        let wait = self.until_learnt(at);
        if wait <= near {
            return None;
        }
        let step = self.learnt.pace(at).map(|pace| pace.interval).unwrap_or_default();
        Some(Hold { code: CauseCode::RateLimited, detail: LEARNT, wait: self.turn_after(now, wait, step) })
    }

    /// Why no attempt may begin, whatever room there is.
    pub(super) fn forbids(&mut self, now: Instant, at: Duration) -> Option<Hold> {
        if let Admission::Wait(wait) = self.circuit.admits(at) {
            let wait = self.turn(now, wait);
            return Some(Hold { code: CauseCode::CircuitOpen, detail: UNANSWERED, wait });
        }
        if let Some(left) = self.peace_until.and_then(|until| until.checked_duration_since(now)) {
            let detail = "the receiver asked for fewer requests";
            return Some(Hold { code: CauseCode::RateLimited, detail, wait: self.turn(now, left) });
        }
        None
    }

    /// Refuses an attempt whose receiver has stopped answering since it was queued up, and which is not the one of the
    /// fleet that finds out.
    pub(super) fn lacks_probe(&mut self, now: Instant, is_probed: bool) -> Option<Hold> {
        if is_probed || !self.circuit.is_open() {
            return None;
        }
        let wait = self.turn(now, Duration::ZERO);
        Some(Hold { code: CauseCode::CircuitOpen, detail: UNANSWERED, wait })
    }

    /// Refuses an attempt that could outlast the lease.
    pub(super) fn lacks_time(&mut self, now: Instant, (code, _): Busy) -> Option<Hold> {
        if self.lease.as_ref().is_none_or(|lease| lease.lasts(now)) {
            return None;
        }
        let detail = "this process has no slot of its receiver's now";
        Some(Hold { code, detail, wait: self.turn(now, Duration::ZERO) })
    }

    /// How long one more would wait for its turn.
    fn until_turn(&self, now: Instant) -> Duration {
        if self.waiting == 0 && self.room.available_permits() > 0 {
            return Duration::ZERO;
        }
        if self.lease.as_ref().is_some_and(Lease::is_asked) && self.waiting < self.cap {
            return Duration::ZERO;
        }
        if self.most == 0 {
            return LONGEST_HOLD;
        }
        self.slowness(now).mul_f64(f64::from(self.waiting + 1) / f64::from(self.most))
    }

    // What is in flight for longer than attempts took of late says more than they do.
    fn slowness(&self, now: Instant) -> Duration {
        let oldest = self.begun.values().next().map_or(Duration::ZERO, |began| now.duration_since(*began));
        self.pace.max(oldest)
    }

    /// When one that is held is likely to have its turn: after those held before it, as fast as they go.
    pub(super) fn turn(&mut self, now: Instant, at_least: Duration) -> Duration {
        let most = self.most.max(1);
        let silent = BETWEEN_TURNS_OF_THE_SILENT;
        let unanswered = if self.circuit.is_open() { silent } else { silent.min(self.slowness(now) / most) };
        self.turn_after(now, at_least, unanswered.max(self.pace / most))
    }

    fn turn_after(&mut self, now: Instant, at_least: Duration, step: Duration) -> Duration {
        let step = step.max(BETWEEN_TURNS);
        let first = now + at_least.max(SHORTEST_HOLD);
        let turn = self.last_turn.map_or(first, |last| (last + step).max(first)).min(now + LONGEST_HOLD);
        self.last_turn = Some(turn);
        turn - now
    }

    pub(super) fn begin(&mut self, now: Instant, at: Duration) -> (u64, bool) {
        let is_probe = self.circuit.admits(at) == Admission::Probe;
        if is_probe {
            self.circuit.probe();
        }
        if let Some(pace) = self.learnt.pace(at) {
            self.tokens.take(at, pace);
        }
        self.learnt.begun(at);
        let number = self.next_number;
        self.next_number += 1;
        self.begun.insert(number, now);
        (number, is_probe)
    }

    /// An attempt has ended. Whether the fleet is to hear of it at once.
    pub(super) fn end(
        &mut self,
        step: &Step,
        sign: Sign,
        took: Duration,
        now: Instant,
        (at, to_open): (Duration, NonZeroU32),
    ) -> bool {
        self.begun.remove(&step.number);
        self.seen = Some(now);
        // How fast it fails says nothing of how fast it answers.
        let answered = matches!(sign, Sign::Answered | Sign::Refused(_));
        self.pace = if !answered {
            self.pace
        } else if self.pace.is_zero() {
            took
        } else {
            self.pace.mul_f64(0.9) + took.mul_f64(0.1)
        };
        let was_open = self.circuit.is_open();
        match sign {
            Sign::Answered | Sign::Refused(_) => {
                self.circuit.answered();
                self.news.answered();
            }
            Sign::Failed | Sign::Overloaded(_) => {
                self.news.failed(step.is_probe && was_open);
                self.circuit.failed(at, step.is_probe, to_open);
            }
            Sign::None if step.is_probe => self.circuit.probe_cut_off(at),
            Sign::None => {}
        }
        match sign {
            Sign::Answered => self.learnt.answered(),
            Sign::Refused(_) => self.learnt.refused(at.saturating_sub(took), at),
            Sign::Failed | Sign::Overloaded(_) | Sign::None => {}
        }
        let peace = sign.peace();
        if let Some(wait) = peace {
            self.peace_until = self.peace_until.max(Some(now + wait));
            self.news.wants_peace(now + wait);
        }
        let has_probed = was_open && step.is_probe && sign != Sign::None;
        has_probed || was_open != self.circuit.is_open() || peace.is_some()
    }

    /// What the fleet is to hear now, if anything.
    pub(super) fn tell(&mut self, now: Instant) -> Option<Sighting> {
        self.news.tell(now)
    }

    /// Whether the fleet has heard what was told.
    pub(super) fn was_told(&mut self, heard: bool) {
        if heard { self.news.was_heard() } else { self.news.was_not_heard() }
    }

    /// Takes over what the fleet knows of the receiver, with moments counted from `now`.
    pub(super) fn hear(&mut self, health: Health, now: Instant, (at, to_open): (Duration, NonZeroU32)) {
        self.seen = Some(now);
        self.news.is_doubted(health.is_doubted());
        if !health.peace_until.is_zero() {
            self.peace_until = self.peace_until.max(Some(now + health.peace_until));
        }
        let fresh = self.news.fresh();
        // An answer that the fleet has not heard of yet counts for more.
        if !fresh.answered {
            self.circuit.adopt(health, fresh.failures, at, to_open);
        }
    }
}
