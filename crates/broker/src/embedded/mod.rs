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
use crate::{BrokerError, Headers, OpenError, Outgoing, QueueDepth, QueueName};

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

/// The broker in this process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Embedded {
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

impl Held {
    /// Whether it ever had to wait.
    pub(crate) fn is_delayed(&self) -> bool {
        self.key.is_delayed()
    }
}

/// A message in somebody's hands.
#[derive(Debug)]
pub(crate) struct Claimed {
    held: Option<Held>,
    returns_to: Returns,
    // Frees its place in the consumer's limit when the claim is gone.
    _permit: OwnedSemaphorePermit,
}

impl Claimed {
    pub(crate) fn held(&self) -> &Held {
        self.held.as_ref().expect("a claim holds its message until it is consumed")
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.returns_to.give_back(held);
        }
    }
}

/// Where an unsettled claim goes back to.
#[derive(Debug, Clone)]
pub(crate) struct Returns {
    ops: mpsc::UnboundedSender<Op>,
    quiet: Arc<AtomicBool>,
}

impl Returns {
    fn give_back(&self, held: Held) {
        let counts = !self.quiet.load(Ordering::Relaxed);
        // No writer any more: the message is on disk, and the next process will claim it.
        let _ = self.ops.send(Op::Return { held, counts });
    }
}

impl Embedded {
    /// Opens the broker's files in `directory`, which must exist, and counts what was claimed
    /// when they were last used.
    pub(crate) fn open(directory: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        Self::open_files(directory, options, true)
    }

    /// The same, but leaves what was claimed to be counted by whoever opens them next. For a broker that nobody
    /// consumes from.
    pub(crate) fn open_uncounted(directory: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        Self::open_files(directory, options, false)
    }

    fn open_files(directory: &Path, options: &EmbeddedOptions, counts: bool) -> Result<Self, OpenError> {
        let lock = lock(directory.join("broker.lock"))?;
        let path = directory.join("broker.db");
        create_private(&path)?;
        let disk = Disk::open(&path)?;
        let journal_path = directory.join("broker.claims");
        let wait = if journal_path.exists() { options.suspects_after } else { Duration::ZERO };
        let (journal, left_open) = Journal::open(&journal_path)
            .map_err(|source| OpenError::Io { path: journal_path.clone(), source })?;
        let journal = if counts { journal } else { journal.kept_as_found() };
        let queues = Arc::new(Queues::open(&disk, &path, journal, Instant::now() + wait)?);
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by its senders: each waits for its answer or gives back a claim"
        )]
        let (ops, incoming) = mpsc::unbounded_channel();
        let mut writer = Writer::new(disk, Arc::clone(&queues), options.delivery_limit, lock);
        if counts {
            writer
                .count_killed(&left_open)
                .map_err(|source| OpenError::Database { path: path.clone(), source })?;
        }
        let thread = std::thread::Builder::new()
            .name("bellbuoy-broker".into())
            .spawn(move || writer.run(incoming))
            .map_err(|source| OpenError::Io { path, source })?;
        let shared = Shared { ops, queues, writer: Mutex::new(Some(thread)) };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) async fn settle(
        &self,
        claims: Vec<Claimed>,
        outputs: Vec<Outgoing>,
    ) -> Result<(), BrokerError> {
        self.ask(|reply| Op::Settle { outputs, claims, reply }).await
    }

    /// The first messages in the file, whether or not they are due. For a broker that nobody consumes from: they are
    /// not claimed.
    pub(crate) async fn oldest(&self, limit: usize, limit_bytes: usize) -> Result<Vec<Held>, BrokerError> {
        let queues = Arc::clone(&self.shared.queues);
        let read = tokio::task::spawn_blocking(move || queues.oldest(limit, limit_bytes)).await;
        let read = read.map_err(|_| BrokerError::Closed)?;
        read.map_err(|error| BrokerError::Unavailable(error.to_string()))
    }

    /// Lets messages go that were read by [`Embedded::oldest`].
    pub(crate) async fn remove(&self, messages: Vec<Held>) -> Result<(), BrokerError> {
        self.ask(|reply| Op::Remove { messages, reply }).await
    }

    pub(crate) fn consume(&self, queue: &QueueName, prefetch: NonZeroUsize) -> Consumer {
        Consumer {
            queue: self.shared.queues.get(queue),
            limit: Arc::new(Semaphore::new(prefetch.get())),
            returns: Returns { ops: self.shared.ops.clone(), quiet: Arc::clone(&self.shared.queues.quiet) },
            queues: Arc::clone(&self.shared.queues),
        }
    }

    pub(crate) fn depths(&self) -> Vec<QueueDepth> {
        let now_ms = now_ms();
        self.shared.queues.all().iter().map(|queue| queue.depth(now_ms)).collect()
    }

    /// Writes to the disk, to learn whether it would take a message now.
    pub(crate) async fn ping(&self) -> Result<(), BrokerError> {
        self.ask(|reply| Op::Pulse { reply }).await
    }

    pub(crate) fn stop_counting_returns(&self) {
        self.shared.queues.quiet.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn close(&self) {
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
pub(crate) struct Consumer {
    queue: Arc<Queue>,
    queues: Arc<Queues>,
    limit: Arc<Semaphore>,
    returns: Returns,
}

impl Consumer {
    pub(crate) async fn next(&mut self) -> Result<Claimed, BrokerError> {
        let permit = self.permit().await?;
        let held = self.queue.claim(&self.queues).await?;
        Ok(Claimed { held: Some(held), returns_to: self.returns.clone(), _permit: permit })
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

    pub(crate) fn try_next(&mut self) -> Option<Claimed> {
        let permit = Arc::clone(&self.limit).try_acquire_owned().ok()?;
        let held = self.queue.try_claim(&self.queues)?;
        Some(Claimed { held: Some(held), returns_to: self.returns.clone(), _permit: permit })
    }
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
