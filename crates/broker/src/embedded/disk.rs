//! The broker's tables in `SQLite`, and every statement that touches them.
//!
//! A message's key says where it stands: 19 bits of lane, 44 bits of sequence. A queue has two
//! lanes, one for messages due at once and one for delayed ones, so that each is a contiguous
//! run of the table: taking the oldest message of a queue is one seek, however many wait in
//! others. Only delayed messages pay for an index by due time.

use std::{collections::HashMap, path::Path};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Rows, params};
use uuid::Uuid;

use super::{
    Held,
    backlog::{Load, Loaded},
};
use crate::{Headers, OpenError, QueueName};

/// Grows with each change of the tables.
const SCHEMA_VERSION: i64 = 1;

/// Bits of a key that number the messages within a lane: 17 trillion of them.
const SEQUENCE_BITS: u32 = 44;

const SCHEMA: &str = "
CREATE TABLE queues (
    number    INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    immediate INTEGER NOT NULL,
    delayed   INTEGER NOT NULL
);
CREATE TABLE messages (
    key     INTEGER PRIMARY KEY,
    id      BLOB NOT NULL,
    due     INTEGER NOT NULL,
    returns INTEGER NOT NULL,
    headers BLOB,
    body    BLOB NOT NULL
);
CREATE INDEX messages_delayed ON messages (key >> 44, due) WHERE (key >> 44) & 1;
CREATE TABLE pulse (at INTEGER NOT NULL);
INSERT INTO pulse VALUES (0);
";

const SELECT_IMMEDIATE: &str = "SELECT key, id, due, returns, headers, body FROM messages
    WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3";
const SELECT_DUE: &str = "SELECT key, id, due, returns, headers, body FROM messages
    WHERE (key >> 44) & 1 AND key >> 44 = ?1 AND (due, key) > (?2, ?3) AND due <= ?4
    ORDER BY due, key LIMIT ?5";
const SELECT_OLDEST: &str = "SELECT key, id, due, returns, headers, body FROM messages ORDER BY key LIMIT ?1";
const SELECT_NEXT_DUE: &str = "SELECT due FROM messages
    WHERE (key >> 44) & 1 AND key >> 44 = ?1 AND (due, key) > (?2, ?3) ORDER BY due, key LIMIT 1";
const INSERT_MESSAGE: &str =
    "INSERT INTO messages (key, id, due, returns, headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Where a message stands; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(i64);

impl Key {
    pub(super) fn new(queue: u32, delayed: bool, sequence: u64) -> Self {
        let lane = i64::from(queue) * 2 + i64::from(delayed);
        Self((lane << SEQUENCE_BITS) | i64::try_from(sequence).unwrap_or(0))
    }

    pub(super) fn from_raw(raw: i64) -> Self {
        Self(raw)
    }

    pub(super) fn raw(self) -> i64 {
        self.0
    }

    pub(super) fn queue(self) -> u32 {
        u32::try_from(self.0 >> (SEQUENCE_BITS + 1)).unwrap_or(u32::MAX)
    }

    pub(super) fn is_delayed(self) -> bool {
        (self.0 >> SEQUENCE_BITS) & 1 == 1
    }

    pub(super) fn sequence(self) -> u64 {
        (self.0 & ((1 << SEQUENCE_BITS) - 1)).unsigned_abs()
    }

    fn lane_start(queue: u32, delayed: bool) -> i64 {
        Self::new(queue, delayed, 0).0
    }
}

/// A queue as it is written down.
pub(super) struct StoredQueue {
    pub(super) number: u32,
    pub(super) name: QueueName,
    pub(super) immediate: u64,
    pub(super) delayed: u64,
}

/// A connection to the broker's file.
#[derive(Debug)]
pub(super) struct Disk {
    connection: Connection,
}

impl Disk {
    /// Opens the file for writing, and makes or checks its tables.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |source| OpenError::Database { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(fail)?;
        // Durable at every commit; the checkpoint is rare enough to be spread over many commits.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
                 PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;
                 PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;",
            )
            .map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(32);
        let mut disk = Self { connection };
        let found = disk.schema_version().map_err(fail)?;
        if found > SCHEMA_VERSION {
            return Err(OpenError::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION });
        }
        if found == 0 {
            disk.create_tables().map_err(fail)?;
        }
        Ok(disk)
    }

    /// Opens the file a second time, to read beside the writer.
    pub(super) fn open_reader(path: &Path) -> Result<Self, OpenError> {
        let fail = |source| OpenError::Database { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA cache_size = -2048;").map_err(fail)?;
        Ok(Self { connection })
    }

    /// Makes the disk as good as full: no more than so many pages.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        let limited = self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()));
        limited.expect("limited");
    }

    /// Makes the disk as good as read-only, or not.
    #[cfg(test)]
    pub(super) fn refuse_writes(&self, refuse: bool) {
        self.connection.pragma_update(None, "query_only", refuse).expect("set");
    }

    fn schema_version(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))
    }

    fn create_tables(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()
    }

    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    pub(super) fn commit(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// Undoes the open transaction. That there may be none any more is no error: `SQLite` itself
    /// rolls back on a full disk.
    pub(super) fn rollback(&self) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    pub(super) fn insert(&self, message: &Held) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(INSERT_MESSAGE)?
            .execute(params![
                message.key.0,
                message.id.as_bytes().as_slice(),
                message.due_ms,
                message.returns,
                encode_headers(&message.headers),
                message.body.as_ref(),
            ])
            .map(drop)
    }

    pub(super) fn delete(&self, key: Key) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM messages WHERE key = ?1")?.execute([key.0]).map(drop)
    }

    pub(super) fn set_returns(&self, key: Key, returns: u32) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE messages SET returns = ?2 WHERE key = ?1")?
            .execute(params![key.0, returns])
            .map(drop)
    }

    /// Reads one message, if it is still there.
    pub(super) fn message(&self, queue: &QueueName, key: Key) -> rusqlite::Result<Option<Held>> {
        self.connection
            .prepare_cached("SELECT key, id, due, returns, headers, body FROM messages WHERE key = ?1")?
            .query_row([key.0], |row| held(row, queue))
            .optional()
    }

    pub(super) fn write_queue(
        &self,
        number: u32,
        name: &QueueName,
        immediate: u64,
        delayed: u64,
    ) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO queues (number, name, immediate, delayed) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (number) DO UPDATE SET immediate = ?3, delayed = ?4",
            )?
            .execute(params![number, name.as_str(), count(immediate), count(delayed)])
            .map(drop)
    }

    /// Writes something of no meaning, to learn whether writing works.
    pub(super) fn pulse(&self, now_ms: i64) -> rusqlite::Result<()> {
        self.connection.prepare_cached("UPDATE pulse SET at = ?1")?.execute([now_ms]).map(drop)
    }

    pub(super) fn queues(&self) -> rusqlite::Result<Vec<StoredQueue>> {
        let mut statement = self.connection.prepare("SELECT number, name, immediate, delayed FROM queues")?;
        let rows = statement.query_map([], |row| {
            Ok(StoredQueue {
                number: row.get(0)?,
                name: QueueName::new(row.get::<_, String>(1)?),
                immediate: row.get::<_, i64>(2)?.unsigned_abs(),
                delayed: row.get::<_, i64>(3)?.unsigned_abs(),
            })
        })?;
        rows.collect()
    }

    /// The highest sequence number that a lane holds.
    pub(super) fn last_sequence(&self, queue: u32, delayed: bool) -> rusqlite::Result<u64> {
        let start = Key::lane_start(queue, delayed);
        let last: Option<i64> = self
            .connection
            .prepare_cached("SELECT max(key) FROM messages WHERE key >= ?1 AND key < ?2")?
            .query_row([start, start + (1 << SEQUENCE_BITS)], |row| row.get(0))?;
        Ok(last.map_or(0, |key| Key(key).sequence()))
    }

    /// Reads what a queue's window asks for.
    pub(super) fn load(&self, queue: &QueueName, number: u32, load: &Load) -> rusqlite::Result<Loaded> {
        let mut loaded = Loaded::default();
        if let Some(after) = load.fresh_after {
            let start = Key::lane_start(number, false);
            let mut statement = self.connection.prepare_cached(SELECT_IMMEDIATE)?;
            let rows = statement.query(params![
                after.max(start),
                start + (1 << SEQUENCE_BITS),
                limit_of(load.limit)
            ])?;
            loaded.fresh = take_rows(rows, queue, load.limit_bytes)?;
            loaded.more_fresh = is_full(&loaded.fresh, load);
        }
        if let Some(after) = load.due_after {
            self.load_due(queue, number, load, after, &mut loaded)?;
        }
        Ok(loaded)
    }

    fn load_due(
        &self,
        queue: &QueueName,
        number: u32,
        load: &Load,
        (due, key): (i64, i64),
        loaded: &mut Loaded,
    ) -> rusqlite::Result<()> {
        let lane = i64::from(number) * 2 + 1;
        let mut statement = self.connection.prepare_cached(SELECT_DUE)?;
        let rows = statement.query(params![lane, due, key, load.until_ms, limit_of(load.limit)])?;
        loaded.late = take_rows(rows, queue, load.limit_bytes)?;
        let end = loaded.late.last().map_or((due, key), |message| (message.due_ms, message.key.0));
        loaded.next_due = self.next_due(number, end)?;
        Ok(())
    }

    /// Reads the first messages by key, whatever their queues, which `names` tells by number: at least one, if there is
    /// one.
    pub(super) fn oldest(
        &self,
        names: &HashMap<u32, QueueName>,
        limit: usize,
        limit_bytes: usize,
    ) -> rusqlite::Result<Vec<Held>> {
        let mut statement = self.connection.prepare_cached(SELECT_OLDEST)?;
        let mut rows = statement.query([limit_of(limit)])?;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let number = Key(row.get(0)?).queue();
            // Written in one transaction with the queue's first message, so that there is a name.
            let name = names.get(&number).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            let message = held(row, name)?;
            bytes += message.body.len();
            if bytes > limit_bytes && !taken.is_empty() {
                break;
            }
            taken.push(message);
        }
        Ok(taken)
    }

    pub(super) fn next_due(&self, number: u32, after: (i64, i64)) -> rusqlite::Result<Option<i64>> {
        let lane = i64::from(number) * 2 + 1;
        self.connection
            .prepare_cached(SELECT_NEXT_DUE)?
            .query_row(params![lane, after.0, after.1], |row| row.get(0))
            .optional()
    }
}

fn take_rows(mut rows: Rows<'_>, queue: &QueueName, limit_bytes: usize) -> rusqlite::Result<Vec<Held>> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let message = held(row, queue)?;
        bytes += message.body.len();
        taken.push(message);
        if bytes >= limit_bytes {
            break;
        }
    }
    Ok(taken)
}

fn is_full(taken: &[Held], load: &Load) -> bool {
    let bytes: usize = taken.iter().map(|message| message.body.len()).sum();
    taken.len() >= load.limit || bytes >= load.limit_bytes
}

fn held(row: &Row<'_>, queue: &QueueName) -> rusqlite::Result<Held> {
    let id: Vec<u8> = row.get(1)?;
    Ok(Held {
        key: Key(row.get(0)?),
        queue: queue.clone(),
        id: Uuid::from_slice(&id).unwrap_or_default(),
        due_ms: row.get(2)?,
        returns: row.get(3)?,
        headers: decode_headers(row.get::<_, Option<Vec<u8>>>(4)?.as_deref()),
        body: Bytes::from(row.get::<_, Vec<u8>>(5)?),
        slot: None,
    })
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Each text as its length in four bytes and its bytes; `None` for no headers at all.
fn encode_headers(headers: &Headers) -> Option<Vec<u8>> {
    if headers.is_empty() {
        return None;
    }
    let mut encoded = Vec::new();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        encoded.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        encoded.extend(text.as_bytes());
    }
    Some(encoded)
}

fn decode_headers(encoded: Option<&[u8]>) -> Headers {
    let mut headers = Headers::default();
    let mut rest = encoded.unwrap_or_default();
    while let Some((name, after)) = decode_text(rest) {
        let Some((value, after)) = decode_text(after) else { break };
        headers.set(name, value);
        rest = after;
    }
    headers
}

fn decode_text(encoded: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = encoded.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_disk_whatever_they_hold() {
        let mut headers = Headers::default();
        headers.set("a", "");
        headers.set("", "\0\u{1f}é");
        headers.set("a", "x".repeat(70_000));
        assert_eq!(decode_headers(encode_headers(&headers).as_deref()), headers);
        assert_eq!(decode_headers(None), Headers::default());
    }

    #[test]
    fn damaged_headers_are_no_headers_not_a_crash() {
        assert_eq!(decode_headers(Some(&[255, 255, 255, 255, 1])), Headers::default());
    }

    #[test]
    fn lanes_do_not_overlap() {
        let last = Key::new(3, false, (1 << SEQUENCE_BITS) - 1);
        assert!(last < Key::new(3, true, 0) && !last.is_delayed());
        assert!(Key::new(3, true, 0).is_delayed());
        assert_eq!(Key::new(3, true, 77).sequence(), 77);
    }
}
