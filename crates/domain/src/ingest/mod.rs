//! How the notices of registries become events.
//!
//! Each registry has a module with one function, `classify`: bytes in, one [`Item`] out for each
//! thing that they tell of. None refuses a notice for what it can do without, and none takes one
//! for what it is not: where a part that a meaning hangs on has another type than it should, the
//! notice is kept for people.

pub mod acr;
pub mod distribution;
pub mod docker_hub;
pub mod ecr;
pub mod ghcr;
pub mod harbor;
mod notice;
pub mod zot;

pub use notice::NoticeError;

use crate::{Event, RepositoryName};

/// What one notice is for us.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Something that notifications may be for.
    Event {
        /// The event.
        event: Box<Event>,
        /// Of a pull from a Distribution registry: what its other half is known by.
        pull: Option<Pull>,
    },
    /// Nothing that a notification is ever for.
    Dropped(Dropped),
    /// It can't be understood; keep `raw` for people.
    Undecodable {
        /// Its place among the notices of the request, from 0.
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
    /// A client looked whether a manifest is there, by digest.
    Probe,
    /// We ourselves, or a registry's own job, pulled.
    OwnTraffic,
    /// The registry tries whether we are there.
    Ping,
    /// Something that no kind of event stands for, such as the end of a retention run.
    NoKind,
}

impl Dropped {
    /// Every reason.
    pub const ALL: &[Self] =
        &[Self::Blob, Self::Mount, Self::Probe, Self::OwnTraffic, Self::Ping, Self::NoKind];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Mount => "mount",
            Self::Probe => "probe",
            Self::OwnTraffic => "own_traffic",
            Self::Ping => "ping",
            Self::NoKind => "no_kind",
        }
    }
}

/// A pull as one half of what current clients do: they resolve a tag by HEAD, then fetch the
/// manifest by digest. A [`PullHalf::GetWithoutTag`] whose key was seen on a
/// [`PullHalf::HeadWithTag`] within [`distribution::MERGE_WINDOW`] before is the same pull and no
/// event of its own.
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

/// A half of a pull. A GET with a tag is whole by itself and has no [`Pull`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullHalf {
    /// The first: it stands for the whole pull.
    HeadWithTag,
    /// The second, if the first was seen; else a pull by digest.
    GetWithoutTag,
}
