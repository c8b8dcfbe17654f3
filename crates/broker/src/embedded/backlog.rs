//! What of a queue is in memory: bounded windows on its oldest messages, and cursors that say
//! where on disk the windows end. No IO here; time is passed in.
//!
//! The rule: every message on disk at or before a cursor is in a window, claimed, or settled;
//! every immediate message after it is on disk only. A message that is committed while its window
//! is complete joins it straight from memory, so a queue that keeps up is never read from disk. Whatever is returned
//! often becomes a suspect, so that nothing joins any window while the suspects' is full.
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

/// From so many returns on, a message is suspected of killing its worker and is claimed alone:
/// then a further crash tells it from the innocent ones that were in flight beside it.
const SUSPECT_RETURNS: u32 = 2;

/// How much one window takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages: 1024, bytes: 4 << 20 }
    }
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    limits: Limits,
    fresh: Window,
    late: Window,
    suspects: Window,
    suspect_claimed: bool,
    late_turn: bool,
    fresh_cursor: i64,
    due_cursor: Position,
    more_fresh: bool,
    next_due: Option<i64>,
    look: Option<Look>,
    // Delayed messages that are in a window or claimed. The disk shows a commit a moment before
    // the writer tells of it, and the cursor may go back: neither may bring one a second time.
    delayed_here: HashSet<Key>,
    claimed: u64,
    immediate_total: u64,
    delayed_total: u64,
}

/// Where a delayed message stands in its lane: when it is due, and its key.
type Position = (i64, i64);

/// Messages in memory, oldest first.
#[derive(Debug, Default)]
struct Window {
    messages: VecDeque<Held>,
    bytes: usize,
}

/// A look at the disk that has not ended.
#[derive(Debug)]
struct Look {
    load: Load,
    // The first delayed message that was committed meanwhile: the look may or may not see it.
    first_arrival: Option<Position>,
    // Delayed messages that were settled meanwhile: the look may still see them.
    settled: HashSet<Key>,
}

/// What to read from disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) fresh_after: Option<i64>,
    pub(super) due_after: Option<Position>,
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

impl Window {
    fn push_back(&mut self, message: Held) {
        self.bytes += message.body.len();
        self.messages.push_back(message);
    }

    fn push_front(&mut self, message: Held) {
        self.bytes += message.body.len();
        self.messages.push_front(message);
    }

    fn pop_front(&mut self) -> Option<Held> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.body.len();
        Some(message)
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn has_room(&self, limits: Limits) -> bool {
        self.messages.len() < limits.messages && self.bytes < limits.bytes
    }

    fn wants_more(&self, limits: Limits) -> bool {
        self.messages.len() <= limits.messages / 4 && self.bytes <= limits.bytes / 4
    }
}

impl Backlog {
    /// A queue as it stands on disk, none of it in memory.
    pub(super) fn on_disk(totals: Totals, next_due: Option<i64>) -> Self {
        Self {
            more_fresh: totals.immediate > 0,
            next_due,
            immediate_total: totals.immediate,
            delayed_total: totals.delayed,
            ..Self::default()
        }
    }

    /// A message was committed.
    pub(super) fn committed(&mut self, message: Held, now_ms: i64) {
        if message.key.is_delayed() {
            self.delayed_total += 1;
            self.delayed_committed(message, now_ms);
        } else {
            self.immediate_total += 1;
            self.immediate_committed(message);
        }
    }

    fn immediate_committed(&mut self, message: Held) {
        if message.key.raw() <= self.fresh_cursor {
            return; // A look saw it first.
        }
        let looking = self.look.as_ref().is_some_and(|look| look.load.fresh_after.is_some());
        if self.more_fresh || looking || !self.has_room_beside(&self.fresh) {
            self.more_fresh = true;
        } else {
            self.fresh_cursor = message.key.raw();
            self.fresh.push_back(message);
        }
    }

    fn delayed_committed(&mut self, message: Held, now_ms: i64) {
        if self.delayed_here.contains(&message.key) {
            return; // A look saw it first.
        }
        let position = position(&message);
        if let Some(look) = self.look.as_mut().filter(|look| look.load.due_after.is_some()) {
            look.first_arrival = Some(look.first_arrival.map_or(position, |first| first.min(position)));
        } else if position > self.due_cursor {
            self.expect_due(message.due_ms);
        } else if message.due_ms <= now_ms && self.has_room_beside(&self.late) {
            self.delayed_here.insert(message.key);
            self.late.push_back(message);
        } else {
            self.go_back(position);
        }
    }

    // What joins a window may become a suspect: while those are many, nothing further joins either.
    fn has_room_beside(&self, window: &Window) -> bool {
        window.has_room(self.limits) && self.suspects.has_room(self.limits)
    }

    // The cursor has passed a place where a message now stands that can't join the window: the
    // clock was set back, so that it is not due yet, or the windows are full.
    fn go_back(&mut self, (due_ms, key): Position) {
        self.due_cursor = (due_ms, key - 1);
        self.expect_due(due_ms);
    }

    fn expect_due(&mut self, due_ms: i64) {
        self.next_due = Some(self.next_due.map_or(due_ms, |next| next.min(due_ms)));
    }

    /// Takes the next message, if one is in a window: a suspect before all others.
    pub(super) fn claim(&mut self) -> Option<Held> {
        if !self.suspect_claimed
            && let Some(suspect) = self.suspects.pop_front()
        {
            self.suspect_claimed = true;
            self.claimed += 1;
            return Some(suspect);
        }
        self.claim_innocent()
    }

    /// Takes the next message that is no suspect. First attempts and messages whose delay has ended
    /// take turns, so that neither starves the other.
    pub(super) fn claim_innocent(&mut self) -> Option<Held> {
        self.late_turn = !self.late_turn;
        let (first, second) = if self.late_turn {
            (&mut self.late, &mut self.fresh)
        } else {
            (&mut self.fresh, &mut self.late)
        };
        let message = first.pop_front().or_else(|| second.pop_front())?;
        self.claimed += 1;
        Some(message)
    }

    /// A claimed message is gone for good.
    pub(super) fn settled(&mut self, message: &Held) {
        self.unclaim(is_suspect(message));
        if !message.key.is_delayed() {
            self.immediate_total = self.immediate_total.saturating_sub(1);
            return;
        }
        self.delayed_total = self.delayed_total.saturating_sub(1);
        self.delayed_here.remove(&message.key);
        if let Some(look) = &mut self.look {
            look.settled.insert(message.key);
        }
    }

    /// A claimed message is to be claimed again, by whoever comes first.
    pub(super) fn returned(&mut self, message: Held, was_suspect: bool) {
        self.unclaim(was_suspect);
        if is_suspect(&message) {
            self.suspects.push_back(message);
        } else {
            self.window(&message).push_front(message);
        }
    }

    fn unclaim(&mut self, was_suspect: bool) {
        self.claimed = self.claimed.saturating_sub(1);
        if was_suspect {
            self.suspect_claimed = false;
        }
    }

    /// Says what should be read from disk now, if anything, and notes that it is being read.
    pub(super) fn start_load(&mut self, now_ms: i64) -> Option<Load> {
        let fresh = self.more_fresh && self.fresh.wants_more(self.limits);
        let due = self.wakes_at().is_some_and(|due| due <= now_ms);
        if self.look.is_some() || !(fresh || due) || !self.suspects.has_room(self.limits) {
            return None;
        }
        let load = Load {
            fresh_after: fresh.then_some(self.fresh_cursor),
            due_after: due.then_some(self.due_cursor),
            until_ms: now_ms,
            limit: self.limits.messages / 2,
            limit_bytes: self.limits.bytes / 2,
        };
        // Both are found anew by the look, or set by what is committed meanwhile.
        self.more_fresh &= !fresh;
        self.next_due = self.next_due.filter(|_| !due);
        self.look = Some(Look { load, first_arrival: None, settled: HashSet::new() });
        Some(load)
    }

    /// What [`Backlog::start_load`] asked for has been read.
    pub(super) fn finish_load(&mut self, loaded: Loaded, now_ms: i64) {
        let Some(look) = self.look.take() else { return };
        self.more_fresh |= loaded.more_fresh;
        for message in loaded.fresh {
            self.fresh_cursor = message.key.raw();
            self.join(message);
        }
        for message in loaded.late {
            if message.due_ms > now_ms {
                self.expect_due(message.due_ms); // The clock was set back meanwhile.
                break;
            }
            self.due_cursor = position(&message);
            if !look.settled.contains(&message.key) && self.delayed_here.insert(message.key) {
                self.join(message);
            }
        }
        if let Some(due_ms) = loaded.next_due {
            self.expect_due(due_ms);
        }
        self.heed(look.first_arrival);
    }

    /// What [`Backlog::start_load`] asked for could not be read.
    pub(super) fn abandon_load(&mut self) {
        let Some(look) = self.look.take() else { return };
        self.more_fresh |= look.load.fresh_after.is_some();
        if let Some((due_ms, _)) = look.load.due_after {
            self.expect_due(due_ms);
        }
        self.heed(look.first_arrival);
    }

    fn heed(&mut self, first_arrival: Option<Position>) {
        match first_arrival {
            Some(position) if position <= self.due_cursor => self.go_back(position),
            Some((due_ms, _)) => self.expect_due(due_ms),
            None => {}
        }
    }

    /// Whether a claim would find something now.
    pub(super) fn has_ready(&self) -> bool {
        !self.fresh.is_empty()
            || !self.late.is_empty()
            || (!self.suspects.is_empty() && !self.suspect_claimed)
    }

    /// When to look at the disk for the next delayed message; `None` while another event, of which
    /// waiting consumers are told, has to come first.
    pub(super) fn wakes_at(&self) -> Option<i64> {
        let free =
            self.look.is_none() && self.late.wants_more(self.limits) && self.suspects.has_room(self.limits);
        self.next_due.filter(|_| free)
    }

    pub(super) fn totals(&self) -> Totals {
        Totals { immediate: self.immediate_total, delayed: self.delayed_total }
    }

    pub(super) fn ready_total(&self) -> u64 {
        self.immediate_total + self.delayed_here.len() as u64
    }

    pub(super) fn delayed_total(&self) -> u64 {
        self.delayed_total.saturating_sub(self.delayed_here.len() as u64)
    }

    pub(super) fn claimed_total(&self) -> u64 {
        self.claimed
    }

    pub(super) fn oldest_ready_ms(&self) -> Option<i64> {
        [&self.fresh, &self.late, &self.suspects]
            .into_iter()
            .filter_map(|window| window.messages.front().map(|message| message.due_ms))
            .min()
    }

    fn join(&mut self, message: Held) {
        self.window(&message).push_back(message);
    }

    fn window(&mut self, message: &Held) -> &mut Window {
        if is_suspect(message) {
            &mut self.suspects
        } else if message.key.is_delayed() {
            &mut self.late
        } else {
            &mut self.fresh
        }
    }
}

fn position(message: &Held) -> Position {
    (message.due_ms, message.key.raw())
}

pub(super) fn is_suspect(message: &Held) -> bool {
    message.returns >= SUSPECT_RETURNS
}

#[cfg(test)]
mod model;
