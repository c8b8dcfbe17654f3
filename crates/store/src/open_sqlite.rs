//! Opening the `SQLite` file: every way in which that fails has its own answer.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use crate::{
    OpenError, Store,
    engine::{Engine, Pools},
    error::sqlite_code,
    sql,
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The first `SQLite` without the WAL-reset bug, by which a checkpoint beside a write could corrupt the file:
/// <https://www.sqlite.org/wal.html#walresetbug>.
const LEAST_ENGINE: &str = "3.51.3";

/// What tests turn down.
#[derive(Clone, Copy)]
pub(crate) struct Tuning {
    /// How long a call waits for the writer, a reader, or another process's lock.
    pub(crate) patience: Duration,
    /// The most pages that the file may have; as many as the engine can count, if `None`.
    pub(crate) max_pages: Option<&'static str>,
}

const TUNING: Tuning = Tuning { patience: Duration::from_secs(5), max_pages: None };

const READERS: u32 = 4;

/// All pieces of all statements: nine sizes of some twenty, and the single ones.
const STATEMENTS: usize = 350;

const HEADER: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";

impl Store {
    /// Opens the `SQLite` file at `path`; makes it (mode 0600) and its schema if need be. Beside it lies
    /// `NAME.lock`, held as long as the store is open.
    ///
    /// # Errors
    ///
    /// One [`OpenError`] per thing that an operator can put right.
    pub async fn open_sqlite(path: &Path) -> Result<Self, OpenError> {
        Self::open_tuned(path, TUNING).await
    }

    pub(crate) async fn open_tuned(path: &Path, tuning: Tuning) -> Result<Self, OpenError> {
        let file = path.to_owned();
        let lock = tokio::task::spawn_blocking(move || prepare(&file)).await.map_err(|source| {
            OpenError::Other { place: path.display().to_string(), source: source.into() }
        })??;
        let writer = connect_writer(path, tuning).await?;
        check_engine(path, &writer).await?;
        migrate(path, &writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(tuning.patience)
            .test_before_acquire(false)
            .connect_with(options(path, tuning).read_only(true).pragma("cache_size", "-2048"))
            .await
            .map_err(|source| sorted(path, source))?;
        let version = sqlx::query_scalar(sql::VERSION)
            .fetch_one(&readers)
            .await
            .map_err(|source| sorted(path, source))?;
        let version = watch::Sender::new(version);
        let engine = Engine::Sqlite { pools: Pools { writers: writer, readers }, _lock: lock };
        Ok(Self::new(engine, version))
    }
}

fn options(path: &Path, tuning: Tuning) -> SqliteConnectOptions {
    use sqlx::ConnectOptions as _;
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(tuning.patience)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

async fn connect_writer(path: &Path, tuning: Tuning) -> Result<SqlitePool, OpenError> {
    let mut options = options(path, tuning)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Random pages change often; copying each back once per 32 MiB of log rather than per 4 halves the writing.
        .pragma("wal_autocheckpoint", "8192")
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-8192")
        .pragma("temp_store", "memory");
    if let Some(pages) = tuning.max_pages {
        options = options.pragma("max_page_count", pages);
    }
    SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(tuning.patience)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
        .map_err(|source| sorted(path, source))
}

async fn check_engine(path: &Path, pool: &SqlitePool) -> Result<(), OpenError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await
        .map_err(|source| sorted(path, source))?;
    if is_old(&found) { Err(OpenError::OldEngine { found, least: LEAST_ENGINE }) } else { Ok(()) }
}

fn is_old(found: &str) -> bool {
    let numbers =
        |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    numbers(found) < numbers(LEAST_ENGINE)
}

async fn migrate(path: &Path, pool: &SqlitePool) -> Result<(), OpenError> {
    let path = path.to_owned();
    match MIGRATIONS.run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => {
            let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
            Err(OpenError::NewerSchema { place: path.display().to_string(), found, known })
        }
        Err(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) => {
            Err(sorted(&path, source))
        }
        Err(source) => Err(OpenError::ForeignSchema { place: path.display().to_string(), source }),
    }
}

/// Checks directory, lock and file before the engine sees them, since its own errors tell less. Gives back the lock.
fn prepare(path: &Path) -> Result<FileLock, OpenError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(OpenError::NoDirectory { path: directory.to_owned() });
    }
    let lock = take_lock(path)?;
    let fault = |source| file_fault(path, source);
    if path.metadata().is_ok_and(|found| found.permissions().readonly()) {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    let file = private().open(path).map_err(fault)?;
    check_header(path, &file).map_err(fault)??;
    // The names of new files are durable too.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(fault)?;
    Ok(FileLock(lock))
}

/// Opens for reading and writing, and makes the file for its owner alone: it holds signing secrets.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn file_fault(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path },
        _ => OpenError::Other { place: path.display().to_string(), source: source.into() },
    }
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let fault = |source| file_fault(&name, source);
    let mut lock = private().open(&name).map_err(fault)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::InUse { path: path.to_owned(), holder: holder(&mut lock) });
        }
        Err(TryLockError::Error(source)) => return Err(fault(source)),
    }
    let pid = std::process::id().to_string();
    lock.set_len(0).and_then(|()| lock.write_all_at(pid.as_bytes(), 0)).map_err(fault)?;
    Ok(lock)
}

fn holder(lock: &mut File) -> String {
    let mut pid = String::new();
    let read = lock.seek(SeekFrom::Start(0)).and_then(|_| lock.take(20).read_to_string(&mut pid));
    match read {
        Ok(_) if pid.parse::<u32>().is_ok() => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

/// Tells a file that is no database, or one that lost its end, from one that the engine may open. The header's
/// layout: <https://www.sqlite.org/fileformat.html#the_database_header>.
fn check_header(path: &Path, file: &File) -> io::Result<Result<(), OpenError>> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Ok(()));
    }
    let mut header = [0; HEADER];
    if length < HEADER as u64 || file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(MAGIC) {
        return Ok(Err(OpenError::NotADatabase { path: path.to_owned() }));
    }
    let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65536,
        bytes => bytes,
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    let expected = page * pages;
    // With a log beside it the file may rightly be shorter: a crash can leave it half copied back.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    if length < expected && !has_log {
        let detail = format!("{length} bytes long instead of {expected}");
        return Ok(Err(OpenError::Damaged { path: path.to_owned(), detail }));
    }
    Ok(Ok(()))
}

/// Sorts what the engine says at opening, by its result codes: <https://www.sqlite.org/rescode.html>.
fn sorted(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match sqlite_code(&source) {
        Some(5 | 6) => OpenError::InUse { path, holder: "another process".to_owned() },
        Some(8 | 14) => OpenError::ReadOnly { path },
        Some(11) => OpenError::Damaged { path, detail: source.to_string() },
        Some(26) => OpenError::NotADatabase { path },
        _ => OpenError::Other { place: path.display().to_string(), source: source.into() },
    }
}

/// Keeps other processes out.
pub(crate) struct FileLock(File);

impl Drop for FileLock {
    /// Lets the next opener in even while the connections' own threads are still closing.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_older_than_the_fix_is_refused() {
        for old in ["3.51.2", "3.7.0", "3.40.1", "2.8.17", ""] {
            assert!(is_old(old), "{old}");
        }
        for good in ["3.51.3", "3.52.0", "4.0.0", "3.51.10"] {
            assert!(!is_old(good), "{good}");
        }
    }
}
