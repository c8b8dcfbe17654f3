//! The backlog against a model of the disk: whatever the order of commits, looks, claims, settles
//! and returns, whichever way the clock goes, and wherever the process dies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Backlog, Held, Key, Limits, Load, Loaded, Totals, is_suspect, position};
use crate::{Headers, QueueName};

/// Small, so that a short run meets every limit.
const LIMITS: Limits = Limits { messages: 8, bytes: 64 };

/// The longest body.
const MAX_BODY: usize = 20;

/// Most claims at a time.
const PREFETCH: usize = 6;

/// What may happen next.
#[derive(Debug, Clone)]
enum Step {
    /// The writer commits messages: each its delay in milliseconds, if it has one, and its size.
    Commit(Vec<(Option<i64>, usize)>),
    /// The writer tells the backlog of so much of what it did and did not tell yet.
    Tell(usize),
    /// A consumer asks.
    Claim,
    /// A statement of the look that is running reads the disk as it is now.
    Read,
    /// The look ends; it can't before its statements ran.
    Finish,
    /// The look fails.
    Abandon,
    /// The writer commits the end of a claim.
    Settle(prop::sample::Index),
    /// The writer commits the return of a claim.
    Return(prop::sample::Index),
    /// The clock goes, or is set.
    Clock(i64),
    /// The process dies and another one starts.
    Kill,
}

/// Runs in which each thing is rare or frequent: what takes two rare ones together is met in some.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::array::uniform7(prop_oneof![Just(4_u32), Just(20), Just(100)])
        .prop_flat_map(|weights| prop::collection::vec(step(weights), 1..250))
}

fn step([commit, tell, read, finish, settle, give_back, clock]: [u32; 7]) -> impl Strategy<Value = Step> {
    let delay = prop::option::of(prop_oneof![1..5_i64, 1..200_i64]);
    let index = any::<prop::sample::Index>;
    prop_oneof![
        commit => prop::collection::vec((delay, 0..=MAX_BODY), 1..10).prop_map(Step::Commit),
        tell => (1..20_usize).prop_map(Step::Tell),
        60 => Just(Step::Claim),
        read => Just(Step::Read),
        finish => Just(Step::Finish),
        settle => index().prop_map(Step::Settle),
        give_back => index().prop_map(Step::Return),
        clock => (0..60_i64).prop_map(Step::Clock),
        10 => (-150..150_i64).prop_map(Step::Clock),
        3 => Just(Step::Abandon),
        2 => Just(Step::Kill),
    ]
}

/// A message on the model's disk.
#[derive(Debug, Clone)]
struct Stored {
    due_ms: i64,
    returns: u32,
    size: usize,
    /// The latest time that a clock showed since it was committed.
    latest_ms: i64,
}

/// What the writer has committed and not yet told.
#[derive(Debug)]
enum News {
    Committed(Held),
    Settled(Held),
    Returned { held: Held, was_suspect: bool },
}

/// A look at the disk, as far as it got.
#[derive(Debug)]
struct Looking {
    load: Load,
    statements: u32,
    loaded: Loaded,
}

#[derive(Debug)]
struct World {
    backlog: Backlog,
    now_ms: i64,
    disk: BTreeMap<Key, Stored>,
    sequences: [u64; 2],
    news: VecDeque<News>,
    looking: Option<Looking>,
    claimed: Vec<Held>,
    last_fresh: Option<Key>,
}

impl World {
    fn new() -> Self {
        Self {
            backlog: Backlog { limits: LIMITS, ..Backlog::default() },
            now_ms: 1_000_000,
            disk: BTreeMap::new(),
            sequences: [0; 2],
            news: VecDeque::new(),
            looking: None,
            claimed: Vec::new(),
            last_fresh: None,
        }
    }

    fn held(key: Key, stored: &Stored) -> Held {
        Held {
            key,
            queue: QueueName::new("q"),
            id: Uuid::nil(),
            due_ms: stored.due_ms,
            returns: stored.returns,
            headers: Headers::default(),
            body: Bytes::from(vec![0; stored.size]),
            slot: None,
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Commit(messages) => messages.into_iter().for_each(|message| self.commit(message)),
            Step::Tell(count) => (0..count.min(self.news.len())).for_each(|_| self.tell()),
            Step::Claim if self.claimed.len() < PREFETCH => drop(self.claim()),
            Step::Claim => {}
            Step::Read => self.read(),
            Step::Finish => self.finish(),
            Step::Abandon => {
                if self.looking.take().is_some() {
                    self.backlog.abandon_load();
                }
            }
            Step::Settle(which) => {
                if let Some(held) = self.pick(which) {
                    self.settle(held);
                }
            }
            Step::Return(which) => {
                if let Some(held) = self.pick(which) {
                    self.give_back(held);
                }
            }
            Step::Clock(by) => self.set_clock(self.now_ms + by),
            Step::Kill => self.kill(),
        }
        self.check();
    }

    fn commit(&mut self, (delay, size): (Option<i64>, usize)) {
        let sequence = &mut self.sequences[usize::from(delay.is_some())];
        *sequence += 1;
        let key = Key::new(1, delay.is_some(), *sequence);
        let due_ms = self.now_ms + delay.unwrap_or(0);
        let stored = Stored { due_ms, returns: 0, size, latest_ms: self.now_ms };
        self.news.push_back(News::Committed(Self::held(key, &stored)));
        self.disk.insert(key, stored);
    }

    fn tell(&mut self) {
        match self.news.pop_front() {
            Some(News::Committed(held)) => self.backlog.committed(held, self.now_ms),
            Some(News::Settled(held)) => self.backlog.settled(&held),
            Some(News::Returned { held, was_suspect }) => self.backlog.returned(held, was_suspect),
            None => {}
        }
    }

    // As `Queue::try_claim` does it.
    fn claim(&mut self) -> bool {
        let held = self.backlog.claim();
        if let Some(load) = self.backlog.start_load(self.now_ms) {
            assert!(self.looking.is_none(), "two looks at a time");
            self.looking = Some(Looking { load, statements: 0, loaded: Loaded::default() });
        }
        let Some(held) = held else {
            self.check_nothing_is_at_hand();
            return false;
        };
        let stored = self.disk.get(&held.key).expect("a message that was settled is claimed");
        assert!(self.claimed.iter().all(|other| other.key != held.key), "{:?} is in two hands", held.key);
        assert!(stored.due_ms <= stored.latest_ms, "{:?} is early", held.key);
        assert_eq!(stored.returns, held.returns);
        if is_suspect(&held) {
            assert!(!self.claimed.iter().any(is_suspect), "two suspects at a time");
        } else if !held.key.is_delayed() && held.returns == 0 {
            assert!(self.last_fresh < Some(held.key), "{:?} comes out of order", held.key);
            self.last_fresh = Some(held.key);
        }
        self.claimed.push(held);
        true
    }

    // Each statement sees the disk as it is then, not all of them the same.
    fn read(&mut self) {
        let Some(looking) = &mut self.looking else { return };
        let Load { fresh_after, due_after, until_ms, limit, limit_bytes } = looking.load;
        let mut bytes = 0;
        let mut fits = |held: &Held| {
            let fits = bytes < limit_bytes;
            bytes += held.body.len();
            fits
        };
        match (looking.statements, fresh_after, due_after) {
            (0, Some(after), _) => {
                let lane = self.disk.iter().filter(|(key, _)| !key.is_delayed() && key.raw() > after);
                let rows = lane.map(|(key, stored)| Self::held(*key, stored));
                looking.loaded.fresh = rows.take(limit).take_while(&mut fits).collect();
                looking.loaded.more_fresh = looking.loaded.fresh.len() == limit || bytes >= limit_bytes;
            }
            (1, _, Some(after)) => {
                looking.loaded.late = Self::late(&self.disk)
                    .into_iter()
                    .filter(|held| position(held) > after && held.due_ms <= until_ms)
                    .take(limit)
                    .take_while(&mut fits)
                    .collect();
            }
            (2, _, Some(after)) => {
                let end = looking.loaded.late.last().map_or(after, position);
                let next = Self::late(&self.disk).into_iter().find(|held| position(held) > end);
                looking.loaded.next_due = next.map(|held| held.due_ms);
            }
            _ => {}
        }
        looking.statements += 1;
    }

    fn late(disk: &BTreeMap<Key, Stored>) -> Vec<Held> {
        let delayed = disk.iter().filter(|(key, _)| key.is_delayed());
        let mut late: Vec<_> = delayed.map(|(key, stored)| Self::held(*key, stored)).collect();
        late.sort_by_key(position);
        late
    }

    fn finish(&mut self) {
        if let Some(looking) = self.looking.take_if(|looking| looking.statements > 2) {
            self.backlog.finish_load(looking.loaded, self.now_ms);
        }
    }

    fn pick(&mut self, which: prop::sample::Index) -> Option<Held> {
        (!self.claimed.is_empty()).then(|| self.claimed.remove(which.index(self.claimed.len())))
    }

    fn settle(&mut self, held: Held) {
        self.disk.remove(&held.key);
        self.news.push_back(News::Settled(held));
    }

    fn give_back(&mut self, mut held: Held) {
        let was_suspect = is_suspect(&held);
        held.returns += 1;
        self.disk.get_mut(&held.key).expect("it was claimed").returns = held.returns;
        self.news.push_back(News::Returned { held, was_suspect });
    }

    fn set_clock(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        for stored in self.disk.values_mut() {
            stored.latest_ms = stored.latest_ms.max(now_ms);
        }
    }

    fn kill(&mut self) {
        for held in std::mem::take(&mut self.claimed) {
            self.disk.get_mut(&held.key).expect("it was claimed").returns += 1;
        }
        let totals = self.totals();
        let next_due = Self::late(&self.disk).first().map(|held| held.due_ms);
        self.backlog = Backlog { limits: LIMITS, ..Backlog::on_disk(totals, next_due) };
        for delayed in [false, true] {
            let lane = self.disk.keys().filter(|key| key.is_delayed() == delayed);
            self.sequences[usize::from(delayed)] = lane.map(|key| key.sequence()).max().unwrap_or(0);
        }
        self.news.clear();
        self.looking = None;
        self.last_fresh = None;
    }

    fn totals(&self) -> Totals {
        let delayed = self.disk.keys().filter(|key| key.is_delayed()).count() as u64;
        Totals { immediate: self.disk.len() as u64 - delayed, delayed }
    }

    fn in_memory(&self) -> BTreeSet<Key> {
        let backlog = &self.backlog;
        let windows = [&backlog.fresh, &backlog.late, &backlog.suspects];
        windows.iter().flat_map(|window| window.messages.iter().map(|held| held.key)).collect()
    }

    fn check(&self) {
        let backlog = &self.backlog;
        let (mut all_messages, mut all_bytes) = (0, 0);
        for window in [&backlog.fresh, &backlog.late, &backlog.suspects] {
            let bytes: usize = window.messages.iter().map(|held| held.body.len()).sum();
            assert_eq!(bytes, window.bytes);
            all_messages += window.messages.len();
            all_bytes += bytes;
        }
        // Three full windows, what two loads may bring, and what was returned. How they are divided among the windows
        // is open: whatever is returned twice becomes a suspect.
        assert!(all_messages <= 4 * LIMITS.messages + 2 * PREFETCH, "unbounded messages: {all_messages}");
        assert!(
            all_bytes <= 4 * LIMITS.bytes + (4 + 2 * PREFETCH) * MAX_BODY,
            "unbounded bytes: {all_bytes}"
        );
        assert!(backlog.delayed_here.len() <= 4 * LIMITS.messages + 2 * PREFETCH, "unbounded keys");
        if self.news.is_empty() {
            assert_eq!(backlog.totals(), self.totals());
            assert_eq!(backlog.claimed_total(), self.claimed.len() as u64);
            self.check_nothing_is_forgotten();
        }
    }

    // Who found nothing has begun a look, or there is nothing.
    fn check_nothing_is_at_hand(&self) {
        if self.looking.is_some() || !self.news.is_empty() || !self.backlog.suspects.has_room(LIMITS) {
            return;
        }
        let here = self.in_memory();
        for (key, stored) in &self.disk {
            let here = here.contains(key) || self.claimed.iter().any(|held| held.key == *key);
            assert!(here || stored.due_ms > self.now_ms, "{key:?} is at hand and not looked for");
        }
    }

    // If nobody is to be woken by an event, then somebody is by the timer, in time.
    fn check_nothing_is_forgotten(&self) {
        let backlog = &self.backlog;
        let suspect_to_come = backlog.suspect_claimed && !backlog.suspects.has_room(LIMITS);
        if self.looking.is_some() || backlog.has_ready() || backlog.more_fresh || suspect_to_come {
            return;
        }
        let here = self.in_memory();
        for (key, stored) in &self.disk {
            let here = here.contains(key) || self.claimed.iter().any(|held| held.key == *key);
            if !here {
                let wakes_at = backlog.wakes_at();
                assert!(
                    wakes_at.is_some_and(|at| at <= stored.due_ms.max(self.now_ms)),
                    "{key:?} is forgotten: due {}, wakes at {wakes_at:?}, now {}",
                    stored.due_ms,
                    self.now_ms
                );
            }
        }
    }

    /// Everything that is left is claimed and settled, in bounded time.
    fn quiesce(&mut self) {
        self.set_clock(self.now_ms + 1_000_000);
        for held in std::mem::take(&mut self.claimed) {
            self.give_back(held);
        }
        let patience = 20 * (self.disk.len() + 2);
        for _ in 0..patience {
            while !self.news.is_empty() {
                self.tell();
            }
            if self.claim() {
                let held = self.claimed.pop().expect("just claimed");
                self.settle(held);
            }
            while self.looking.is_some() {
                self.read();
                self.finish();
            }
            self.check();
        }
        assert!(self.disk.is_empty(), "forgotten: {:?}", self.disk);
        assert!(self.backlog.delayed_here.is_empty() && !self.backlog.has_ready());
        assert_eq!(self.backlog.totals(), Totals { immediate: 0, delayed: 0 });
    }
}

fn run(steps: impl IntoIterator<Item = Step>) {
    let mut world = World::new();
    steps.into_iter().for_each(|step| world.apply(step));
    world.quiesce();
}

#[test]
fn a_message_that_a_look_saw_before_it_was_told_of_is_claimed_once() {
    let overflow = vec![(None, 0); LIMITS.messages + 1];
    let mut steps = vec![Step::Commit(overflow), Step::Tell(LIMITS.messages + 1)];
    steps.extend(vec![Step::Claim; PREFETCH]);
    steps.extend([Step::Commit(vec![(None, 0)]), Step::Read, Step::Read, Step::Read, Step::Finish]);
    steps.push(Step::Tell(1));
    run(steps);
}

// Where everything kills its worker, each message that was taken beside a suspect becomes one, and others come.
#[test]
fn what_arrives_while_suspects_pile_up_waits_on_disk() {
    for delay in [None, Some(1)] {
        let mut world = World::new();
        for _ in 0..20 {
            world.apply(Step::Commit(vec![(delay, 0); 4]));
            world.apply(Step::Clock(1));
            for _ in 0..12 {
                let look = [Step::Read, Step::Read, Step::Read, Step::Finish];
                [Step::Tell(20), Step::Claim].into_iter().chain(look).for_each(|step| world.apply(step));
                // The suspect stays in hand.
                if let Some(place) = world.claimed.iter().position(|held| !is_suspect(held)) {
                    let innocent = world.claimed.remove(place);
                    world.give_back(innocent);
                }
            }
        }
        assert!(!world.backlog.suspects.has_room(LIMITS), "suspects pile up");
        world.quiesce();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_is_claimed_once_until_returned_and_none_is_forgotten(
        steps in steps(),
    ) {
        run(steps);
    }
}
