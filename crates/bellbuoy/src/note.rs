//! The note that a migration leaves in the directory it leaves: where to, and how far it got.
//!
//! As long as it lies there, `serve` doesn't run on the directory: its messages may be elsewhere.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The file's name.
const NAME: &str = "migration.json";

/// Grows with each change that an older binary can't read.
const VERSION: u32 = 1;

/// How far a migration got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    v: u32,
    /// Where to.
    pub(crate) to: Destination,
    /// When it was begun.
    pub(crate) began_at: Timestamp,
    /// When every row had been copied and found there again; only then messages are moved.
    pub(crate) copied_at: Option<Timestamp>,
    /// When no message was left.
    pub(crate) finished_at: Option<Timestamp>,
}

/// A broker and a store, without their passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    /// Hosts and virtual host.
    pub(crate) broker: String,
    /// Host, port and database.
    pub(crate) store: String,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RabbitMQ at {} and PostgreSQL at {}", self.broker, self.store)
    }
}

impl Note {
    /// Of a migration that begins.
    pub(crate) fn new(to: Destination, now: Timestamp) -> Self {
        Self { v: VERSION, to, began_at: now, copied_at: None, finished_at: None }
    }

    /// The note in `directory`, if there is one.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        let note: Self = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is not a note of a migration; move it away if nobody migrated here", path.display())
        })?;
        if note.v > VERSION {
            bail!("{} was written by a newer version of Bellbuoy; use that one", path.display());
        }
        Ok(Some(note))
    }

    /// Puts the note into `directory`, durably and in place of an earlier one.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join(NAME);
        let write = || {
            let new = directory.join(format!("{NAME}.new"));
            let mut options = OpenOptions::new();
            let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            writeln!(file, "{}", serde_json::to_string_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(directory)?.sync_all()
        };
        write().with_context(|| format!("can't write {}", path.display()))
    }

    /// Refuses to run on a directory whose state is, or will be, elsewhere.
    pub(crate) fn refuse(directory: &Path) -> anyhow::Result<()> {
        let Some(note) = Self::read(directory)? else { return Ok(()) };
        let (shown, file) = (directory.display(), directory.join(NAME));
        match note.finished_at {
            Some(at) => bail!(
                "{shown} was migrated to {} at {at}: set `broker.url` and `store.url` to those. What is left here has \
                 no messages; to run on it all the same, delete {}",
                note.to,
                file.display()
            ),
            None => bail!(
                "a migration of {shown} to {} was begun at {} and has not ended: run `bellbuoy migrate --from {shown}` \
                 again. To give it up{}, delete {}",
                note.to,
                note.began_at,
                if note.copied_at.is_some() {
                    ", and leave behind the messages that are there already"
                } else {
                    ""
                },
                file.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        let to = Destination { broker: "mq:5672/bellbuoy".into(), store: "db:5432/bellbuoy".into() };
        Note::new(to, "2026-11-21T12:00:00Z".parse().expect("a time"))
    }

    // A later version has to read what this one wrote.
    #[test]
    fn what_is_written_is_pinned_and_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Note::read(directory.path()).expect("nothing to read"), None);
        let note = Note { copied_at: Some("2026-11-21T12:01:00Z".parse().expect("a time")), ..note() };
        note.write(directory.path()).expect("written");
        let text = fs::read_to_string(directory.path().join("migration.json")).expect("the file");
        let expected = r#"{
  "v": 1,
  "to": {
    "broker": "mq:5672/bellbuoy",
    "store": "db:5432/bellbuoy"
  },
  "began_at": "2026-11-21T12:00:00Z",
  "copied_at": "2026-11-21T12:01:00Z",
  "finished_at": null
}
"#;
        assert_eq!(text, expected);
        assert_eq!(Note::read(directory.path()).expect("a note"), Some(note));
    }

    #[test]
    fn a_directory_that_was_left_or_is_being_left_is_refused_with_the_way_out() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(Note::refuse(directory.path()).is_ok());
        assert!(Note::refuse(&directory.path().join("not there yet")).is_ok());
        let at = Some(note().began_at);
        for (note, parts) in [
            (note(), &["has not ended", "bellbuoy migrate --from", "To give it up, delete"][..]),
            (Note { copied_at: at, ..note() }, &["leave behind the messages"]),
            (
                Note { copied_at: at, finished_at: at, ..note() },
                &["was migrated to RabbitMQ at mq:5672/bellbuoy", "`store.url`"],
            ),
        ] {
            note.write(directory.path()).expect("written");
            let refused = format!("{:#}", Note::refuse(directory.path()).expect_err("refused"));
            assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
            assert!(refused.contains("migration.json"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_note_or_a_newer_one_is_not_guessed_at() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("migration.json");
        fs::write(&path, "{}").expect("written");
        assert!(Note::read(directory.path()).is_err());
        let newer = serde_json::to_string(&Note { v: VERSION + 1, ..note() }).expect("a text");
        fs::write(&path, newer).expect("written");
        let refused = format!("{:#}", Note::read(directory.path()).expect_err("refused"));
        assert!(refused.contains("newer version"), "{refused}");
    }
}
