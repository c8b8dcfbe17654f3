//! The broker for one process, on `SQLite`.
//!
//! One thread writes (`writer`): it gathers what many callers want done, does it in one
//! transaction and answers them all after one sync. Queues are served from a bounded window in
//! memory (`backlog`), filled from disk by readers beside the writer. Which messages were claimed
//! when the process was killed is known from the `journal`.

mod backlog;
mod disk;
mod journal;
mod queue;
mod writer;

use std::{
    fs::{File, OpenOptions},
    num::{NonZeroU32, NonZeroUsize},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use self::{
    disk::{Disk, Key},
    journal::Journal,
    queue::{Queue, Queues},
    writer::{Op, Writer},
};
use crate::{BrokerError, Claim, Headers, OpenError, Outgoing, QueueDepth, QueueName};

/// The longest delay a message may have: 30 days.
pub const MAX_DELAY: Duration = Duration::from_hours(30 * 24);

/// The largest body a message may have: 16 MiB, the limit of `RabbitMQ` 4.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How the embedded broker behaves.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// How often a message may be returned unsettled or be in the hands of a killed process
    /// before it is dead-lettered as poisoned.
    pub delivery_limit: NonZeroU32,
    /// How long a process that opens used files has to live before it touches a message that died in
    /// others' hands twice. One that dies sooner has died of something else: without this wait the
    /// same innocent would be the first in hand each time, and take the blame for a crash loop.
    pub suspects_after: Duration,
}

impl Default for EmbeddedOptions {
    /// Five returns; 2 s.
    fn default() -> Self {
        Self {
            delivery_limit: NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN),
            suspects_after: Duration::from_secs(2),
        }
    }
}

/// A durable broker. Cheap to clone; the last clone that goes, with every consumer and claim,
/// closes it.
#[derive(Debug, Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ops: mpsc::UnboundedSender<Op>,
    queues: Arc<Queues>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A message in our hands: in a window, claimed, or on its way to disk.
#[derive(Debug)]
pub(crate) struct Held {
    key: Key,
    pub(crate) queue: QueueName,
    pub(crate) id: Uuid,
    pub(crate) due_ms: i64,
    pub(crate) returns: u32,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    slot: Option<u32>,
}

/// Where an unsettled claim goes back to.
#[derive(Debug, Clone)]
pub(crate) struct Returns {
    ops: mpsc::UnboundedSender<Op>,
    quiet: Arc<AtomicBool>,
}

impl Returns {
    pub(crate) fn give_back(&self, held: Held) {
        let counts = !self.quiet.load(Ordering::Relaxed);
        // No writer any more: the message is on disk, and the next process will claim it.
        let _ = self.ops.send(Op::Return { held, counts });
    }
}

impl Broker {
    /// Opens the broker's files in `directory`, which must exist, and counts what was claimed
    /// when they were last used. Needs a tokio runtime, now and in every call.
    ///
    /// # Errors
    ///
    /// When another process uses the files, a newer version wrote them, or they can't be used.
    pub fn open_embedded(directory: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let lock = lock(directory.join("broker.lock"))?;
        let path = directory.join("broker.db");
        create_private(&path)?;
        let disk = Disk::open(&path)?;
        let journal_path = directory.join("broker.claims");
        let wait = if journal_path.exists() { options.suspects_after } else { Duration::ZERO };
        let (journal, left_open) = Journal::open(&journal_path)
            .map_err(|source| OpenError::Io { path: journal_path.clone(), source })?;
        let queues = Arc::new(Queues::open(&disk, &path, journal, Instant::now() + wait)?);
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by its senders: each waits for its answer or gives back a claim"
        )]
        let (ops, incoming) = mpsc::unbounded_channel();
        let mut writer = Writer::new(disk, Arc::clone(&queues), options.delivery_limit, lock);
        writer
            .count_killed(&left_open)
            .map_err(|source| OpenError::Database { path: path.clone(), source })?;
        let thread = std::thread::Builder::new()
            .name("bellbuoy-broker".into())
            .spawn(move || writer.run(incoming))
            .map_err(|source| OpenError::Io { path, source })?;
        let shared = Shared { ops, queues, writer: Mutex::new(Some(thread)) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes messages durable: all of them, or on an error none.
    ///
    /// # Errors
    ///
    /// When the disk refuses, the broker is closed, or a message is too large or delayed too long.
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), BrokerError> {
        self.settle(Vec::new(), messages).await
    }

    /// The one operation of every worker: makes `outputs` durable and ends `claims`, in one
    /// transaction. On an error the claims are back in their queues, uncounted. A caller that
    /// stops waiting changes nothing: it happens or not, as a whole.
    ///
    /// # Errors
    ///
    /// As for [`Broker::publish`].
    pub async fn settle(&self, claims: Vec<Claim>, outputs: Vec<Outgoing>) -> Result<(), BrokerError> {
        check(&outputs)?;
        self.ask(|reply| Op::Settle { outputs, claims, reply }).await
    }

    /// Takes part in a queue's work, with at most `prefetch` claims at a time.
    pub fn consume(&self, queue: &QueueName, prefetch: NonZeroUsize) -> Consumer {
        Consumer {
            queue: self.shared.queues.get(queue),
            limit: Arc::new(Semaphore::new(prefetch.get())),
            returns: Returns { ops: self.shared.ops.clone(), quiet: Arc::clone(&self.shared.queues.quiet) },
            queues: Arc::clone(&self.shared.queues),
        }
    }

    /// How much stands in each queue that ever held a message or has a consumer.
    pub fn depths(&self) -> Vec<QueueDepth> {
        let now_ms = now_ms();
        self.shared.queues.all().iter().map(|queue| queue.depth(now_ms)).collect()
    }

    /// Writes to the disk, to learn whether the broker would take a message now.
    ///
    /// # Errors
    ///
    /// When it would not.
    pub async fn ping(&self) -> Result<(), BrokerError> {
        self.ask(|reply| Op::Pulse { reply }).await
    }

    /// From now on a returned claim does not count against its message: for a shutdown, where it is
    /// returned because there is no time, not because it did harm.
    pub fn stop_counting_returns(&self) {
        self.shared.queues.quiet.store(true, Ordering::Relaxed);
    }

    /// Closes the broker in order: consumers end, claims that are dropped from now on return
    /// uncounted, and what was asked before is done when this returns.
    pub async fn close(&self) {
        self.stop_counting_returns();
        self.shared.queues.close();
        let done = self.ask(|reply| Op::Close { reply }).await;
        let thread = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Ok(()), Some(thread)) = (done, thread) {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn ask(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<(), BrokerError>>) -> Op,
    ) -> Result<(), BrokerError> {
        let (reply, answer) = oneshot::channel();
        self.shared.ops.send(op(reply)).map_err(|_| BrokerError::Closed)?;
        answer.await.map_err(|_| BrokerError::Closed)?
    }
}

/// One worker's hold on a queue.
#[derive(Debug)]
pub struct Consumer {
    queue: Arc<Queue>,
    queues: Arc<Queues>,
    limit: Arc<Semaphore>,
    returns: Returns,
}

impl Consumer {
    /// The next message: due, and nobody else's until it is settled or returned. Waits for one,
    /// and while as many claims as the prefetch are open. Cancel safe: no message is lost when
    /// the caller stops waiting.
    ///
    /// # Errors
    ///
    /// When the broker is closed.
    pub async fn next(&mut self) -> Result<Claim, BrokerError> {
        let permit = self.permit().await?;
        let held = self.queue.claim(&self.queues).await?;
        Ok(Claim { held: Some(held), returns_to: self.returns.clone(), _permit: permit })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, BrokerError> {
        if let Ok(permit) = Arc::clone(&self.limit).try_acquire_owned() {
            return Ok(permit);
        }
        tokio::select! {
            () = self.queues.closed() => Err(BrokerError::Closed),
            permit = Arc::clone(&self.limit).acquire_owned() => permit.map_err(|_| BrokerError::Closed),
        }
    }

    /// The next message, if one is at hand and the prefetch allows it.
    pub fn try_next(&mut self) -> Option<Claim> {
        let permit = Arc::clone(&self.limit).try_acquire_owned().ok()?;
        let held = self.queue.try_claim(&self.queues)?;
        Some(Claim { held: Some(held), returns_to: self.returns.clone(), _permit: permit })
    }
}

fn check(outputs: &[Outgoing]) -> Result<(), BrokerError> {
    for message in outputs {
        let bytes = message.body.len();
        if bytes > MAX_MESSAGE_BYTES {
            return Err(BrokerError::TooLarge { bytes, max: MAX_MESSAGE_BYTES });
        }
        if message.delay > MAX_DELAY {
            return Err(BrokerError::DelayTooLong { delay: message.delay, max: MAX_DELAY });
        }
    }
    Ok(())
}

fn lock(path: PathBuf) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { path }),
        Err(errno) => Err(OpenError::Io { path, source: errno.into() }),
    }
}

// SQLite makes its other files with the mode of this one.
fn create_private(path: &Path) -> Result<(), OpenError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|source| OpenError::Io { path: path.to_owned(), source })
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
