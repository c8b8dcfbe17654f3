//! Notices of a Distribution registry (`registry:2`, `registry:3`).

use jiff::Timestamp;

use crate::{Event, RepositoryName};

/// What one notice of an envelope is for us.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Something that notifications may be for.
    Event {
        /// The event.
        event: Event,
        /// What a pull may be merged by.
        pull: Option<Pull>,
    },
    /// Nothing that a notification is ever for.
    Dropped(Dropped),
    /// It can't be understood; keep `raw` for people.
    Undecodable {
        /// Its place in the envelope, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
        /// It, as JSON.
        raw: Vec<u8>,
    },
}

/// Why a notice is dropped. A closed set: safe as a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// A layer or a configuration was pushed or pulled.
    Blob,
    /// A layer was taken over from another repository.
    Mount,
    /// We ourselves, or a scanner, asked.
    OwnTraffic,
}

impl Dropped {
    /// Every reason.
    pub const ALL: &[Self] = &[Self::Blob, Self::Mount, Self::OwnTraffic];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Mount => "mount",
            Self::OwnTraffic => "own_traffic",
        }
    }
}

/// A pull, as one half of what a client does: it asks for a tag by HEAD, then fetches by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// What both halves share.
    pub key: PullKey,
    /// Which half it is.
    pub half: PullHalf,
}

/// What the two halves of one pull share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PullKey {
    /// The repository.
    pub repository: RepositoryName,
    /// The manifest's digest.
    pub digest: String,
    /// The client's `User-Agent`.
    pub user_agent: String,
}

/// A half of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullHalf {
    /// HEAD with a tag: stands for the whole pull.
    HeadWithTag,
    /// GET without a tag: follows a [`PullHalf::HeadWithTag`] within [`MERGE_WINDOW`], or stands alone.
    GetWithoutTag,
    /// Whole by itself.
    Whole,
}

/// How long after a HEAD with a tag a GET by digest counts as the same pull.
pub const MERGE_WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

/// Reads an envelope.
///
/// # Errors
///
/// When it is no envelope at all.
pub fn classify(_envelope: &[u8], _registry: &str, _now: Timestamp) -> Result<Vec<Item>, EnvelopeError> {
    Ok(Vec::new())
}

/// Bytes that are no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Distribution envelope: {why}")]
pub struct EnvelopeError {
    why: String,
}
