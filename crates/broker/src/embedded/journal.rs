//! Which messages were claimed when the process died.
//!
//! A claim writes its message's key into a slot of a small file, and a settled or returned claim
//! clears it. Nothing is synced: the page cache outlives a killed process, and that is the only
//! death that a message can be to blame for. After a crash the keys found here have been in a
//! dying worker's hands once more.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::disk::Key;

const SLOT_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    free: Mutex<FreeSlots>,
    is_kept: bool,
}

#[derive(Debug, Default)]
struct FreeSlots {
    returned: Vec<u32>,
    next: u32,
}

impl Journal {
    /// Opens the journal, and reads which messages were claimed when it was last written.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Key>)> {
        let left_open = match std::fs::read(path) {
            Ok(bytes) => keys(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        Ok((Self { file, free: Mutex::default(), is_kept: false }, left_open))
    }

    /// The same, with what was found at opening kept for whoever opens it next. No claim is noted in it.
    pub(super) fn kept_as_found(self) -> Self {
        Self { is_kept: true, ..self }
    }

    /// Forgets what was found at opening, once it has been counted.
    pub(super) fn clear(&self) -> io::Result<()> {
        if self.is_kept { Ok(()) } else { self.file.set_len(0) }
    }

    /// Notes a claim. A claim that can't be noted is still a claim; it just would not be counted.
    pub(super) fn note(&self, key: Key) -> u32 {
        let slot = self.take_slot();
        let _ = self.file.write_all_at(&key.raw().to_le_bytes(), offset(slot));
        slot
    }

    /// Clears a claim's note.
    pub(super) fn erase(&self, slot: u32) {
        let _ = self.file.write_all_at(&[0; SLOT_BYTES], offset(slot));
        self.free.lock().unwrap_or_else(PoisonError::into_inner).returned.push(slot);
    }

    fn take_slot(&self) -> u32 {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.pop().unwrap_or_else(|| {
            free.next += 1;
            free.next - 1
        })
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64
}

fn keys(bytes: &[u8]) -> Vec<Key> {
    let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
    slots.iter().map(|slot| i64::from_le_bytes(*slot)).filter(|raw| *raw != 0).map(Key::from_raw).collect()
}
