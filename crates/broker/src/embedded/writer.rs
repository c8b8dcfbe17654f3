//! The one thread that writes: many callers' wishes, one transaction, one sync, many answers.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    num::NonZeroU32,
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Claimed, Held,
    backlog::is_suspect,
    disk::{Disk, Key},
    now_ms,
    queue::{Queue, Queues},
};
use crate::{BrokerError, Outgoing, QueueName, queues};

/// Most wishes in one transaction: beyond this, waiting longer for the sync gains little.
const BATCH_OPS: usize = 1024;

/// Most bytes of bodies in one transaction, so that the log stays small and answers prompt.
const BATCH_BYTES: usize = 8 << 20;

type Reply = oneshot::Sender<Result<(), BrokerError>>;

/// What a caller wants done.
#[derive(Debug)]
pub(crate) enum Op {
    /// Outputs become durable, claims end.
    Settle { outputs: Vec<Outgoing>, claims: Vec<Claimed>, reply: Reply },
    /// Messages that nobody claimed are gone.
    Remove { messages: Vec<Held>, reply: Reply },
    /// A claim was dropped.
    Return { held: Held, counts: bool },
    /// A message was claimed when the process was killed; it is not in memory.
    Killed { held: Held },
    /// Does writing work?
    Pulse { reply: Reply },
    /// Nothing further.
    Close { reply: Reply },
}

pub(super) struct Writer {
    disk: Disk,
    queues: Arc<Queues>,
    delivery_limit: NonZeroU32,
    by_name: HashMap<QueueName, Arc<Queue>>,
    dead: QueueName,
    // Held for its lock on the files, which ends with it: after the last write, or when the process dies.
    _lock: File,
}

/// What one transaction does to the totals of each queue: messages for at once, delayed ones.
type Changes = BTreeMap<u32, (Arc<Queue>, i64, i64)>;

/// Messages that one transaction adds, in order.
type Arrivals = BTreeMap<u32, (Arc<Queue>, Vec<Held>)>;

impl Writer {
    pub(super) fn new(disk: Disk, queues: Arc<Queues>, delivery_limit: NonZeroU32, lock: File) -> Self {
        Self { disk, queues, delivery_limit, by_name: HashMap::new(), dead: queues::dead(), _lock: lock }
    }

    /// Counts the messages that a killed process had claimed, before anybody can claim them again.
    pub(super) fn count_killed(&mut self, keys: &[Key]) -> rusqlite::Result<()> {
        let mut killed = Vec::new();
        for queue in self.queues.all() {
            for key in keys.iter().filter(|key| key.queue() == queue.number) {
                killed.extend(self.disk.message(&queue.name, *key)?.map(|held| Op::Killed { held }));
            }
        }
        if !killed.is_empty() {
            let count = killed.len();
            self.write(killed);
            tracing::warn!(
                "{count} messages were claimed when the broker's process last ended; they will be claimed again"
            );
        }
        self.clear_journal();
        Ok(())
    }

    fn clear_journal(&self) {
        if let Err(error) = self.queues.journal.clear() {
            tracing::warn!("can't clear the broker's journal of claims: {error}");
        }
    }

    /// Serves until the broker is closed or forgotten.
    pub(super) fn run(mut self, mut ops: mpsc::UnboundedReceiver<Op>) {
        while let Some(first) = ops.blocking_recv() {
            let mut batch = gather(first, &mut ops);
            let close = match batch.pop() {
                Some(Op::Close { reply }) => Some(reply),
                Some(other) => {
                    batch.push(other);
                    None
                }
                None => None,
            };
            self.write(batch);
            if let Some(reply) = close {
                // Claims that are still open were in nobody's way: they don't count.
                self.clear_journal();
                let _ = reply.send(Ok(()));
                return;
            }
        }
    }

    fn write(&mut self, batch: Vec<Op>) {
        let (all, mut refused) = (batch.len(), Vec::new());
        self.write_what_fits(batch, &mut refused);
        if let Some(error) = refused.last() {
            tracing::error!(
                "the broker can't write; {} of {all} wishes were refused: {error}",
                refused.len()
            );
        }
    }

    /// In one transaction, or else by halves: a wish that fails, for want of room perhaps, must not keep those beside it
    /// from making some. `refused` takes why each failed that did.
    fn write_what_fits(&mut self, mut batch: Vec<Op>, refused: &mut Vec<rusqlite::Error>) {
        if batch.is_empty() {
            return;
        }
        let mut arrivals = Arrivals::new();
        let written = self.try_write(&batch, &mut arrivals);
        if written.is_err() {
            self.disk.rollback();
        }
        if written.is_err() && batch.len() > 1 {
            let rest = batch.split_off(batch.len() / 2);
            self.write_what_fits(batch, refused);
            return self.write_what_fits(rest, refused);
        }
        let result = written.as_ref().copied().map_err(|error| BrokerError::Unavailable(error.to_string()));
        if result.is_ok() {
            for (queue, messages) in arrivals.into_values() {
                queue.committed(messages.into_iter());
            }
        }
        for op in batch {
            self.conclude(op, &result);
        }
        refused.extend(written.err());
    }

    fn try_write(&mut self, batch: &[Op], arrivals: &mut Arrivals) -> rusqlite::Result<()> {
        let mut changes = Changes::new();
        self.disk.begin()?;
        for op in batch {
            self.apply(op, &mut changes, arrivals)?;
        }
        for (queue, immediate, delayed) in changes.into_values() {
            let totals = queue.totals();
            self.disk.write_queue(
                queue.number,
                &queue.name,
                totals.immediate.saturating_add_signed(immediate),
                totals.delayed.saturating_add_signed(delayed),
            )?;
        }
        self.disk.commit()
    }

    fn apply(&mut self, op: &Op, changes: &mut Changes, arrivals: &mut Arrivals) -> rusqlite::Result<()> {
        match op {
            Op::Settle { outputs, claims, .. } => {
                for output in outputs {
                    self.add(output, changes, arrivals)?;
                }
                claims
                    .iter()
                    .filter_map(|claim| claim.held.as_ref())
                    .try_for_each(|held| self.remove(held, changes))
            }
            Op::Remove { messages, .. } => messages.iter().try_for_each(|held| self.remove(held, changes)),
            Op::Return { held, counts: true } | Op::Killed { held } if self.is_poison(held) => {
                tracing::error!(
                    "message {} of queue {} was returned {} times and is dead-lettered as poisoned",
                    held.id,
                    held.queue,
                    held.returns + 1
                );
                self.add(&poisoned(held), changes, arrivals)?;
                self.remove(held, changes)
            }
            Op::Return { held, counts: true } | Op::Killed { held } => {
                self.disk.set_returns(held.key, held.returns + 1)
            }
            Op::Pulse { .. } => self.disk.pulse(now_ms()),
            Op::Return { counts: false, .. } | Op::Close { .. } => Ok(()),
        }
    }

    fn add(
        &mut self,
        output: &Outgoing,
        changes: &mut Changes,
        arrivals: &mut Arrivals,
    ) -> rusqlite::Result<()> {
        let queue = self.queue(&output.queue);
        let delayed = !output.delay.is_zero();
        // One more than the delay rounded up, because the clock was rounded down: late, never early.
        let delay_ms = i64::try_from(output.delay.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        let delay_ms = delay_ms.saturating_add(i64::from(delayed));
        let message = Held {
            key: queue.next_key(delayed),
            queue: queue.name.clone(),
            id: output.id,
            due_ms: now_ms().saturating_add(delay_ms),
            returns: 0,
            headers: output.headers.clone(),
            body: output.body.clone(),
            slot: None,
        };
        self.disk.insert(&message)?;
        count(changes, &queue, delayed, 1);
        arrivals.entry(queue.number).or_insert_with(|| (queue, Vec::new())).1.push(message);
        Ok(())
    }

    fn remove(&mut self, held: &Held, changes: &mut Changes) -> rusqlite::Result<()> {
        self.disk.delete(held.key)?;
        let queue = self.queue(&held.queue);
        count(changes, &queue, held.key.is_delayed(), -1);
        Ok(())
    }

    // The transaction is durable, or was undone: make memory agree, then answer.
    fn conclude(&mut self, op: Op, result: &Result<(), BrokerError>) {
        match op {
            Op::Settle { claims, reply, .. } => {
                for mut claim in claims {
                    if let Some(held) = claim.held.take() {
                        self.end_claim(held, result.is_ok(), false);
                    }
                }
                let _ = reply.send(result.clone());
            }
            Op::Remove { messages, reply } => {
                for held in messages.iter().filter(|_| result.is_ok()) {
                    self.queue(&held.queue).settled(held);
                }
                let _ = reply.send(result.clone());
            }
            Op::Return { held, counts } => {
                let counted = counts && result.is_ok();
                let dead = counted && self.is_poison(&held);
                self.end_claim(held, dead, counted);
            }
            Op::Killed { held } => {
                if result.is_ok() && self.is_poison(&held) {
                    self.queue(&held.queue).settled(&held);
                }
            }
            Op::Pulse { reply } | Op::Close { reply } => {
                let _ = reply.send(result.clone());
            }
        }
    }

    fn end_claim(&mut self, mut held: Held, gone: bool, counts: bool) {
        if let Some(slot) = held.slot.take() {
            self.queues.journal.erase(slot);
        }
        let queue = self.queue(&held.queue);
        if gone {
            queue.settled(&held);
        } else {
            let was_suspect = is_suspect(&held);
            held.returns += u32::from(counts);
            queue.returned(held, was_suspect);
        }
    }

    // A dead letter stays one, with the reason it came with, however often it is returned.
    fn is_poison(&self, held: &Held) -> bool {
        held.returns + 1 >= self.delivery_limit.get() && held.queue != self.dead
    }

    fn queue(&mut self, name: &QueueName) -> Arc<Queue> {
        if let Some(queue) = self.by_name.get(name) {
            return Arc::clone(queue);
        }
        let queue = self.queues.get(name);
        self.by_name.insert(name.clone(), Arc::clone(&queue));
        queue
    }
}

// However the writer ends: nobody waits for a message that could not be settled.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queues.close();
    }
}

// Ends with a `Close`, if one came.
fn gather(first: Op, ops: &mut mpsc::UnboundedReceiver<Op>) -> Vec<Op> {
    let mut bytes = first.bytes();
    let mut batch = vec![first];
    while batch.len() < BATCH_OPS && bytes < BATCH_BYTES && !matches!(batch.last(), Some(Op::Close { .. })) {
        let Ok(op) = ops.try_recv() else { break };
        bytes += op.bytes();
        batch.push(op);
    }
    batch
}

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Self::Settle { outputs, .. } => outputs.iter().map(|output| output.body.len()).sum(),
            Self::Remove { .. }
            | Self::Return { .. }
            | Self::Killed { .. }
            | Self::Pulse { .. }
            | Self::Close { .. } => 0,
        }
    }
}

fn count(changes: &mut Changes, queue: &Arc<Queue>, delayed: bool, by: i64) {
    let (_, immediate, later) = changes.entry(queue.number).or_insert_with(|| (Arc::clone(queue), 0, 0));
    *if delayed { later } else { immediate } += by;
}

fn poisoned(held: &Held) -> Outgoing {
    let detail = format!("it was taken {} times by a worker that then died", held.returns + 1);
    Outgoing::given_up(&held.queue, held.id, &held.headers, &held.body, ("poisoned", &detail))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tempfile::TempDir;

    use super::*;
    use crate::embedded::journal::Journal;

    fn writer() -> (TempDir, Writer) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("broker.db");
        let disk = Disk::open(&path).expect("a database");
        let (journal, _) = Journal::open(&directory.path().join("broker.claims")).expect("a journal");
        let queues = Queues::open(&disk, &path, journal, Instant::now()).expect("queues");
        let lock = File::create(directory.path().join("broker.lock")).expect("a file");
        let limit = NonZeroU32::new(5).expect("not zero");
        (directory, Writer::new(disk, Arc::new(queues), limit, lock))
    }

    fn publish(writer: &mut Writer, queue: &QueueName, sizes: &[usize]) -> Result<(), BrokerError> {
        publish_at_once(writer, queue, &[sizes]).remove(0)
    }

    /// Wishes in one batch, each of messages of these sizes.
    fn publish_at_once(
        writer: &mut Writer,
        queue: &QueueName,
        wishes: &[&[usize]],
    ) -> Vec<Result<(), BrokerError>> {
        let wish = |sizes: &&[usize]| {
            let outputs = sizes.iter().map(|size| Outgoing::new(queue.clone(), vec![7; *size]));
            let (reply, answer) = oneshot::channel();
            (Op::Settle { outputs: outputs.collect(), claims: Vec::new(), reply }, answer)
        };
        let (ops, answers): (Vec<_>, Vec<_>) = wishes.iter().map(wish).unzip();
        writer.write(ops);
        answers.into_iter().map(|mut answer| answer.try_recv().expect("an answer")).collect()
    }

    #[test]
    fn a_full_disk_refuses_whole_wishes_and_takes_them_again_once_there_is_room() {
        let (_directory, mut writer) = writer();
        let name = QueueName::new("q");
        publish(&mut writer, &name, &[1]).expect("room");
        writer.disk.limit_pages(20);
        let refused = publish(&mut writer, &name, &[2, 1_000_000]);
        assert!(
            matches!(&refused, Err(BrokerError::Unavailable(why)) if why.contains("full")),
            "{refused:?}"
        );
        publish(&mut writer, &name, &[3]).expect("room for a small one");
        writer.disk.limit_pages(u32::MAX - 1);
        publish(&mut writer, &name, &[1_000_000]).expect("room");
        let queue = writer.queues.get(&name);
        let claimed = std::iter::from_fn(|| queue.try_claim(&writer.queues));
        let sizes: Vec<_> = claimed.map(|held| held.body.len()).collect();
        assert_eq!(sizes, [1, 3, 1_000_000]);
        assert_eq!(queue.totals().immediate, 3);
    }

    #[test]
    fn what_does_not_fit_is_refused_alone_and_what_was_wished_beside_it_is_done_in_order() {
        let (_directory, mut writer) = writer();
        let name = QueueName::new("q");
        writer.disk.limit_pages(20);
        let wishes: &[&[usize]] = &[&[1], &[2, 1_000_000], &[3], &[4], &[1_000_000]];
        let done: Vec<_> = publish_at_once(&mut writer, &name, wishes).iter().map(Result::is_ok).collect();
        assert_eq!(done, [true, false, true, true, false]);
        let queue = writer.queues.get(&name);
        let claimed = std::iter::from_fn(|| queue.try_claim(&writer.queues));
        let sizes: Vec<_> = claimed.map(|held| held.body.len()).collect();
        assert_eq!(sizes, [1, 3, 4]);
        assert_eq!(queue.totals().immediate, 3);
    }

    #[test]
    fn a_claim_whose_return_can_not_be_written_is_returned_uncounted_and_its_slot_is_free() {
        let (_directory, mut writer) = writer();
        let name = QueueName::new("q");
        publish(&mut writer, &name, &[1]).expect("room");
        let queue = writer.queues.get(&name);
        let held = queue.try_claim(&writer.queues).expect("a message");
        let slot = held.slot;
        writer.disk.refuse_writes(true);
        writer.write(vec![Op::Return { held, counts: true }]);
        let held = queue.try_claim(&writer.queues).expect("the message again");
        assert_eq!((held.returns, held.slot), (0, slot));
        writer.disk.refuse_writes(false);
        writer.write(vec![Op::Return { held, counts: true }]);
        assert_eq!(queue.try_claim(&writer.queues).expect("the message again").returns, 1);
    }
}
