//! One pull, two notices: current clients ask for a tag by HEAD, then fetch the manifest by digest.
//!
//! The HEAD stands for the pull and the GET that follows it is dropped. What is remembered lives in
//! this process: where several take a registry's notices, a pull may show as both.

use std::{
    collections::HashMap,
    mem::take,
    sync::{Mutex, PoisonError},
};

use bellbuoy_domain::ingest::{PullKey, distribution::MERGE_WINDOW};
use tokio::time::Instant;

/// HEADs remembered in one generation: 1600 pulls a second over [`MERGE_WINDOW`].
const REMEMBERED: usize = 16 * 1024;

/// HEADs with a tag of the last [`MERGE_WINDOW`].
#[derive(Debug, Default)]
pub(crate) struct Pulls(Mutex<Heads>);

/// Two generations, so that forgetting costs nothing: when the younger is a window old, every
/// entry of the elder is older than that.
#[derive(Debug, Default)]
struct Heads {
    since: Option<Instant>,
    younger: HashMap<PullKey, Instant>,
    elder: HashMap<PullKey, Instant>,
}

impl Pulls {
    /// Remembers a HEAD that was taken. When too many are remembered it is not, and its GET shows
    /// as a pull of its own: one notice too many instead of one too few.
    pub(crate) fn remember(&self, head: PullKey, now: Instant) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.since.is_none_or(|since| !is_recent(since, now)) {
            heads.elder = take(&mut heads.younger);
            heads.since = Some(now);
        }
        if heads.younger.len() < REMEMBERED {
            heads.younger.insert(head, now);
        }
    }

    /// Whether a GET follows a HEAD that stands for it. The HEAD stays remembered, because the
    /// registry sends the GET again if we can't take its envelope.
    pub(crate) fn stands_for(&self, get: &PullKey, now: Instant) -> bool {
        let heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = heads.younger.get(get).or_else(|| heads.elder.get(get));
        at.is_some_and(|at| is_recent(*at, now))
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= MERGE_WINDOW
}

#[cfg(test)]
mod tests {
    use bellbuoy_domain::RepositoryName;

    use super::*;

    fn key(digest: u32) -> PullKey {
        PullKey {
            repository: RepositoryName::parse("acme/api").expect("a name"),
            digest: format!("sha256:{digest:064x}"),
            user_agent: "containerd/2.0".to_owned(),
        }
    }

    #[test]
    fn a_get_is_merged_into_the_head_of_the_same_client_and_digest_within_the_window() {
        let (pulls, now) = (Pulls::default(), Instant::now());
        assert!(!pulls.stands_for(&key(1), now));
        pulls.remember(key(1), now);
        assert!(pulls.stands_for(&key(1), now + MERGE_WINDOW));
        assert!(!pulls.stands_for(&key(1), now + MERGE_WINDOW + MERGE_WINDOW / 10));
        assert!(!pulls.stands_for(&key(2), now));
        let another = PullKey { user_agent: "docker/28".to_owned(), ..key(1) };
        assert!(!pulls.stands_for(&another, now));
    }

    #[test]
    fn a_head_outlives_the_change_of_generations() {
        let (pulls, now) = (Pulls::default(), Instant::now());
        pulls.remember(key(1), now);
        pulls.remember(key(2), now + MERGE_WINDOW);
        let later = now + MERGE_WINDOW + MERGE_WINDOW / 2;
        pulls.remember(key(3), later);
        assert!(pulls.stands_for(&key(2), later) && pulls.stands_for(&key(3), later));
        assert!(!pulls.stands_for(&key(1), later));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_makes_room_as_it_ages() {
        let (pulls, now) = (Pulls::default(), Instant::now());
        let flood = 3 * u32::try_from(REMEMBERED).expect("a small number");
        for digest in 0..flood {
            pulls.remember(key(digest), now);
        }
        assert_eq!(pulls.0.lock().expect("no panic").younger.len(), REMEMBERED);
        let later = now + MERGE_WINDOW * 2;
        pulls.remember(key(flood), later);
        assert!(pulls.stands_for(&key(flood), later));
    }
}
