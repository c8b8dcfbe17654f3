//! The queues in memory: who waits for which, and when each is filled from disk.

use std::{
    collections::HashMap,
    path::Path,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    Held,
    backlog::{Backlog, Load, Totals, is_suspect},
    disk::{Disk, Key},
    journal::Journal,
    now_ms,
};
use crate::{BrokerError, OpenError, QueueDepth, QueueName};

/// The longest sleep between two looks at the clock, so that a clock that was set forward is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How long after a failed read the disk is read again.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Queues {
    by_name: RwLock<HashMap<QueueName, Arc<Queue>>>,
    reader: Mutex<Disk>,
    pub(super) journal: Journal,
    suspects_from: Instant,
    pub(super) quiet: Arc<AtomicBool>,
    closing: AtomicBool,
    closed: Notify,
}

/// One queue in memory.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) number: u32,
    pub(super) name: QueueName,
    backlog: Mutex<Backlog>,
    /// The highest sequence given out, for immediate and for delayed messages; only the writer counts on.
    pub(super) sequences: Mutex<[u64; 2]>,
    ready: Notify,
}

impl Queues {
    /// Reads what stands on disk. No suspect is given out before `suspects_from`.
    pub(super) fn open(
        disk: &Disk,
        path: &Path,
        journal: Journal,
        suspects_from: Instant,
    ) -> Result<Self, OpenError> {
        let fail = |source| OpenError::Database { path: path.to_owned(), source };
        let reader = Disk::open_reader(path)?;
        let mut by_name = HashMap::new();
        for stored in disk.queues().map_err(fail)? {
            let totals = Totals { immediate: stored.immediate, delayed: stored.delayed };
            let next_due = disk.next_due(stored.number, (i64::MIN, 0)).map_err(fail)?;
            let sequences = [
                disk.last_sequence(stored.number, false).map_err(fail)?,
                disk.last_sequence(stored.number, true).map_err(fail)?,
            ];
            let queue = Queue {
                number: stored.number,
                name: stored.name.clone(),
                backlog: Mutex::new(Backlog::on_disk(totals, next_due)),
                sequences: Mutex::new(sequences),
                ready: Notify::new(),
            };
            by_name.insert(stored.name, Arc::new(queue));
        }
        Ok(Self {
            by_name: RwLock::new(by_name),
            reader: Mutex::new(reader),
            journal,
            suspects_from,
            quiet: Arc::default(),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
        })
    }

    /// The queue of that name; a new one if there was none.
    pub(super) fn get(&self, name: &QueueName) -> Arc<Queue> {
        if let Some(queue) = self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(queue);
        }
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let number = by_name.values().map(|queue| queue.number + 1).max().unwrap_or(1);
        let queue = by_name.entry(name.clone()).or_insert_with(|| {
            Arc::new(Queue {
                number,
                name: name.clone(),
                backlog: Mutex::default(),
                sequences: Mutex::default(),
                ready: Notify::new(),
            })
        });
        Arc::clone(queue)
    }

    pub(super) fn all(&self) -> Vec<Arc<Queue>> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let mut queues: Vec<_> = by_name.values().cloned().collect();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        queues
    }

    /// The first messages on disk, whichever queues they are of.
    pub(super) fn oldest(&self, limit: usize, limit_bytes: usize) -> rusqlite::Result<Vec<Held>> {
        let names: HashMap<u32, QueueName> =
            self.all().into_iter().map(|queue| (queue.number, queue.name.clone())).collect();
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.oldest(&names, limit, limit_bytes)
    }

    /// From now on nobody gets a message, and everybody who waits learns of it.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.closed.notify_waiters();
        for queue in self.all() {
            queue.ready.notify_waiters();
        }
    }

    /// How long until suspects may be claimed; the longest there is if they may already.
    fn until_suspects(&self) -> Duration {
        let wait = self.suspects_from.saturating_duration_since(Instant::now());
        if wait.is_zero() { Duration::MAX } else { wait }
    }

    /// Ends when the queues are closed.
    pub(super) async fn closed(&self) {
        let mut closed = pin!(self.closed.notified());
        closed.as_mut().enable();
        if !self.is_closing() {
            closed.await;
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}

impl Queue {
    /// Takes the next message as soon as there is one.
    pub(super) async fn claim(self: &Arc<Self>, queues: &Arc<Queues>) -> Result<Held, BrokerError> {
        loop {
            let mut ready = pin!(self.ready.notified());
            ready.as_mut().enable();
            if queues.is_closing() {
                return Err(BrokerError::Closed);
            }
            if let Some(held) = self.try_claim(queues) {
                return Ok(held);
            }
            let sleep = self.until_due().min(queues.until_suspects());
            tokio::select! {
                () = &mut ready => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    pub(super) fn try_claim(self: &Arc<Self>, queues: &Arc<Queues>) -> Option<Held> {
        let (claimed, more_ready, load) = {
            let mut backlog = self.backlog();
            if queues.is_closing() {
                return None; // What is in the windows may be another process's by now.
            }
            let is_early = Instant::now() < queues.suspects_from;
            let claimed = if is_early { backlog.claim_innocent() } else { backlog.claim() };
            (claimed, backlog.has_ready(), backlog.start_load(now_ms()))
        };
        if let Some(load) = load {
            self.load(queues, load);
        }
        let mut held = claimed?;
        if more_ready {
            self.ready.notify_one();
        }
        held.slot = Some(queues.journal.note(held.key));
        Some(held)
    }

    // On its own, so that a consumer which stops waiting doesn't leave a load half done.
    fn load(self: &Arc<Self>, queues: &Arc<Queues>, load: Load) {
        let (queue, queues) = (Arc::clone(self), Arc::clone(queues));
        tokio::spawn(async move {
            let (own, all) = (Arc::clone(&queue), Arc::clone(&queues));
            let read = tokio::task::spawn_blocking(move || {
                let reader = all.reader.lock().unwrap_or_else(PoisonError::into_inner);
                reader.load(&own.name, own.number, &load)
            });
            match read.await {
                Ok(Ok(loaded)) => queue.change(|backlog| backlog.finish_load(loaded, now_ms())),
                failed => {
                    if let Ok(Err(error)) = failed {
                        tracing::error!("the broker can't read queue {}: {error}", queue.name);
                    }
                    tokio::time::sleep(READ_AGAIN_AFTER).await;
                    queue.change(Backlog::abandon_load);
                }
            }
        });
    }

    fn until_due(&self) -> Duration {
        let Some(due_ms) = self.backlog().wakes_at() else { return LONGEST_SLEEP };
        // One millisecond more than the rounded-down difference, so as to wake after it.
        let wait_ms = (due_ms - now_ms()).max(0).unsigned_abs() + 1;
        Duration::from_millis(wait_ms).min(LONGEST_SLEEP)
    }

    /// Messages were committed to this queue.
    pub(super) fn committed(&self, messages: impl Iterator<Item = Held>) {
        let now_ms = now_ms();
        self.change(|backlog| messages.for_each(|message| backlog.committed(message, now_ms)));
    }

    pub(super) fn settled(&self, message: &Held) {
        self.backlog().settled(message);
        if is_suspect(message) {
            self.ready.notify_one(); // Another suspect may have waited for it.
        }
    }

    pub(super) fn returned(&self, message: Held, was_suspect: bool) {
        self.change(|backlog| backlog.returned(message, was_suspect));
    }

    // One consumer is enough for what is ready, as it wakes the next. But each has a timer of its
    // own for what becomes due, and the one that set it may go away.
    fn change(&self, change: impl FnOnce(&mut Backlog)) {
        let mut backlog = self.backlog();
        let before = backlog.wakes_at();
        change(&mut backlog);
        let sooner = backlog.wakes_at().is_some_and(|now| before.is_none_or(|before| now < before));
        drop(backlog);
        if sooner {
            self.ready.notify_waiters();
        } else {
            self.ready.notify_one();
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.backlog().totals()
    }

    pub(super) fn depth(&self, now_ms: i64) -> QueueDepth {
        let backlog = self.backlog();
        QueueDepth {
            queue: self.name.clone(),
            ready: backlog.ready_total(),
            delayed: backlog.delayed_total(),
            claimed: backlog.claimed_total(),
            oldest_ready: backlog
                .oldest_ready_ms()
                .map(|due| Duration::from_millis((now_ms - due).max(0).unsigned_abs())),
        }
    }

    pub(super) fn next_key(&self, delayed: bool) -> Key {
        let mut sequences = self.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = &mut sequences[usize::from(delayed)];
        *sequence += 1;
        Key::new(self.number, delayed, *sequence)
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
