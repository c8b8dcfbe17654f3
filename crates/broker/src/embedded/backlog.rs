//! What of a queue is in memory: a bounded window on its oldest messages, and cursors that say
//! where on disk the window ends. No IO here; time is passed in.
//!
//! The rule: every message on disk at or before a cursor is in the window, claimed, or settled;
//! every message after it is on disk only. A message that is committed while the window is
//! complete joins it straight from memory, so a queue that keeps up is never read from disk.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> disk : committed
//!     [*] --> window : committed while the window is complete
//!     disk --> window : loaded, once due
//!     window --> claimed : claim
//!     claimed --> window : returned
//!     claimed --> [*] : settled
//! ```

use std::collections::{HashSet, VecDeque};

use super::{Held, disk::Key};

/// Most messages that the window takes from disk.
const WINDOW_MESSAGES: usize = 1024;

/// Most bytes of bodies that the window takes.
const WINDOW_BYTES: usize = 8 << 20;

/// From so many returns on, a message is suspected of killing its worker and is claimed alone:
/// then a further crash tells it from the innocent ones that were in flight beside it.
const SUSPECT_RETURNS: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    fresh: VecDeque<Held>,
    late: VecDeque<Held>,
    suspects: VecDeque<Held>,
    suspect_claimed: bool,
    late_turn: bool,
    bytes: usize,
    fresh_cursor: i64,
    due_cursor: (i64, i64),
    more_fresh: bool,
    next_due: Option<i64>,
    loading: Option<Loading>,
    // The disk shows a commit a moment before the writer tells of it. `told` is the last delayed
    // message that was told of, `early` those that a load saw first.
    told: u64,
    early: HashSet<Key>,
    claimed: u64,
    immediate_total: u64,
    delayed_total: u64,
    delayed_loaded: u64,
}

/// A look at the disk that has not ended.
#[derive(Debug)]
struct Loading {
    until_ms: i64,
    // Delayed messages committed meanwhile: the look may or may not have seen them.
    arrived: Vec<Held>,
}

/// What to read from disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) fresh_after: Option<i64>,
    pub(super) due_after: (i64, i64),
    pub(super) until_ms: i64,
    pub(super) limit: usize,
    pub(super) limit_bytes: usize,
}

/// What was read from disk.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) fresh: Vec<Held>,
    pub(super) more_fresh: bool,
    pub(super) late: Vec<Held>,
    pub(super) next_due: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) immediate: u64,
    pub(super) delayed: u64,
}

impl Backlog {
    /// A queue as it stands on disk, none of it in memory.
    pub(super) fn on_disk(totals: Totals, next_due: Option<i64>, last_delayed: u64) -> Self {
        Self {
            told: last_delayed,
            more_fresh: totals.immediate > 0,
            next_due,
            immediate_total: totals.immediate,
            delayed_total: totals.delayed,
            ..Self::default()
        }
    }

    /// A message was committed.
    pub(super) fn committed(&mut self, message: Held) {
        if message.key.is_delayed() {
            self.delayed_total += 1;
            self.delayed_committed(message);
        } else {
            self.immediate_total += 1;
            self.immediate_committed(message);
        }
    }

    fn immediate_committed(&mut self, message: Held) {
        if message.key.raw() <= self.fresh_cursor {
            return; // A load saw it first.
        }
        if self.more_fresh || self.loading.is_some() || !self.has_room() {
            self.more_fresh = true;
        } else {
            self.fresh_cursor = message.key.raw();
            self.push(message);
        }
    }

    fn delayed_committed(&mut self, message: Held) {
        self.told = self.told.max(message.key.sequence());
        if self.early.remove(&message.key) {
            return;
        }
        self.delayed_told(message);
    }

    fn delayed_told(&mut self, message: Held) {
        let position = (message.due_ms, message.key.raw());
        if let Some(loading) = self.loading.as_mut().filter(|loading| message.due_ms <= loading.until_ms) {
            loading.arrived.push(message);
        } else if position <= self.due_cursor {
            self.push_late(message);
        } else {
            self.expect_due(message.due_ms);
        }
    }

    fn expect_due(&mut self, due_ms: i64) {
        self.next_due = Some(self.next_due.map_or(due_ms, |next| next.min(due_ms)));
    }

    /// Takes the next message, if one is in the window.
    pub(super) fn claim(&mut self) -> Option<Held> {
        let message = self.next()?;
        self.bytes -= message.body.len();
        self.claimed += 1;
        Some(message)
    }

    // First attempts and messages whose delay has ended take turns, so that neither starves the other.
    fn next(&mut self) -> Option<Held> {
        if !self.suspect_claimed
            && let Some(suspect) = self.suspects.pop_front()
        {
            self.suspect_claimed = true;
            return Some(suspect);
        }
        self.late_turn = !self.late_turn;
        let (first, second) = if self.late_turn {
            (&mut self.late, &mut self.fresh)
        } else {
            (&mut self.fresh, &mut self.late)
        };
        first.pop_front().or_else(|| second.pop_front())
    }

    /// A claimed message is gone for good.
    pub(super) fn settled(&mut self, message: &Held) {
        self.unclaim(message);
        if message.key.is_delayed() {
            self.delayed_total = self.delayed_total.saturating_sub(1);
            self.delayed_loaded = self.delayed_loaded.saturating_sub(1);
        } else {
            self.immediate_total = self.immediate_total.saturating_sub(1);
        }
    }

    /// A claimed message is to be claimed again, by whoever comes first.
    pub(super) fn returned(&mut self, message: Held, was_suspect: bool) {
        self.claimed = self.claimed.saturating_sub(1);
        if was_suspect {
            self.suspect_claimed = false;
        }
        self.bytes += message.body.len();
        if is_suspect(&message) {
            self.suspects.push_back(message);
        } else {
            self.fresh.push_front(message);
        }
    }

    fn unclaim(&mut self, message: &Held) {
        self.claimed = self.claimed.saturating_sub(1);
        if is_suspect(message) {
            self.suspect_claimed = false;
        }
    }

    /// Says what should be read from disk now, if anything, and notes that it is being read.
    pub(super) fn start_load(&mut self, now_ms: i64) -> Option<Load> {
        let due = self.next_due.is_some_and(|due| due <= now_ms);
        if self.loading.is_some() || !(self.more_fresh || due) || !self.wants_more() {
            return None;
        }
        let fresh_after = self.more_fresh.then_some(self.fresh_cursor);
        // Both are found anew by the look, or set by what is committed meanwhile.
        self.more_fresh = false;
        self.next_due = None;
        self.loading = Some(Loading { until_ms: now_ms, arrived: Vec::new() });
        Some(Load {
            fresh_after,
            due_after: self.due_cursor,
            until_ms: now_ms,
            limit: WINDOW_MESSAGES / 2,
            limit_bytes: WINDOW_BYTES / 4,
        })
    }

    /// What [`Backlog::start_load`] asked for has been read.
    pub(super) fn finish_load(&mut self, loaded: Loaded) {
        let arrived = self.loading.take().map(|loading| loading.arrived).unwrap_or_default();
        self.more_fresh |= loaded.more_fresh;
        for message in loaded.fresh {
            self.fresh_cursor = message.key.raw();
            self.push(message);
        }
        let seen: HashSet<Key> = loaded.late.iter().map(|message| message.key).collect();
        for message in loaded.late {
            self.due_cursor = (message.due_ms, message.key.raw());
            if message.key.sequence() > self.told {
                self.early.insert(message.key);
            }
            self.push_late(message);
        }
        if let Some(due_ms) = loaded.next_due {
            self.expect_due(due_ms);
        }
        for message in arrived.into_iter().filter(|message| !seen.contains(&message.key)) {
            if (message.due_ms, message.key.raw()) <= self.due_cursor {
                self.push_late(message);
            } else {
                self.expect_due(message.due_ms);
            }
        }
    }

    /// What [`Backlog::start_load`] asked for could not be read.
    pub(super) fn abandon_load(&mut self, load: Load) {
        self.more_fresh |= load.fresh_after.is_some();
        let arrived = self.loading.take().map(|loading| loading.arrived).unwrap_or_default();
        for message in arrived {
            self.delayed_told(message);
        }
        self.expect_due(load.until_ms);
    }

    /// Whether a claim would find something now.
    pub(super) fn has_ready(&self) -> bool {
        !self.fresh.is_empty()
            || !self.late.is_empty()
            || (!self.suspects.is_empty() && !self.suspect_claimed)
    }

    /// When the next delayed message that is not in memory is due.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.next_due
    }

    pub(super) fn totals(&self) -> Totals {
        Totals { immediate: self.immediate_total, delayed: self.delayed_total }
    }

    pub(super) fn ready_total(&self) -> u64 {
        self.immediate_total + self.delayed_loaded
    }

    pub(super) fn delayed_total(&self) -> u64 {
        self.delayed_total.saturating_sub(self.delayed_loaded)
    }

    pub(super) fn claimed_total(&self) -> u64 {
        self.claimed
    }

    pub(super) fn oldest_ready_ms(&self) -> Option<i64> {
        [&self.fresh, &self.late, &self.suspects]
            .into_iter()
            .filter_map(|window| window.front().map(|message| message.due_ms))
            .min()
    }

    fn push_late(&mut self, message: Held) {
        self.delayed_loaded += 1;
        self.push(message);
    }

    fn push(&mut self, message: Held) {
        self.bytes += message.body.len();
        if is_suspect(&message) {
            self.suspects.push_back(message);
        } else if message.key.is_delayed() {
            self.late.push_back(message);
        } else {
            self.fresh.push_back(message);
        }
    }

    fn has_room(&self) -> bool {
        self.len() < WINDOW_MESSAGES && self.bytes < WINDOW_BYTES
    }

    fn wants_more(&self) -> bool {
        self.len() <= WINDOW_MESSAGES / 4 && self.bytes <= WINDOW_BYTES / 4
    }

    fn len(&self) -> usize {
        self.fresh.len() + self.late.len() + self.suspects.len()
    }
}

pub(super) fn is_suspect(message: &Held) -> bool {
    message.returns >= SUSPECT_RETURNS
}
