//! How many connections there may be to one host and port.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hosts that are remembered before those without a connection are forgotten.
const MANY: usize = 1024;

/// The room for connections, by host and port. Clones share it.
#[derive(Clone)]
pub(crate) struct Rooms {
    most: usize,
    known: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// A place for one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is held for its drop")] OwnedSemaphorePermit);

impl Rooms {
    /// Room for `most` connections to each; at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.clamp(1, Semaphore::MAX_PERMITS), known: Arc::default() }
    }

    /// Waits for a place; the caller sets a limit.
    pub(crate) async fn enter(&self, authority: &str) -> Option<Place> {
        let room = self.room(authority);
        room.acquire_owned().await.ok().map(Place)
    }

    fn room(&self, authority: &str) -> Arc<Semaphore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY && !known.contains_key(authority) {
            // Whoever waits for a place or has one holds the semaphore too.
            known.retain(|_, room| Arc::strong_count(room) > 1);
        }
        Arc::clone(known.entry(authority.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.most))))
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_host_makes_the_next_wait_until_one_leaves_and_no_other_host() {
        let rooms = Rooms::new(2);
        let one = rooms.enter("a:1").await.expect("a place");
        let two = rooms.enter("a:1").await.expect("a place");
        let moment = Duration::from_secs(1);
        assert!(timeout(moment, rooms.enter("a:1")).await.is_err());
        assert!(timeout(moment, rooms.enter("b:1")).await.is_ok());
        drop(one);
        assert!(timeout(moment, rooms.enter("a:1")).await.is_ok());
        drop(two);
    }

    #[tokio::test]
    async fn hosts_without_a_connection_are_forgotten_and_those_with_one_are_not() {
        let rooms = Rooms::new(1);
        let kept = rooms.enter("kept:1").await.expect("a place");
        for number in 0..3 * MANY {
            drop(rooms.enter(&format!("host{number}:1")).await);
        }
        assert!(rooms.known.lock().expect("no panic").len() <= MANY);
        assert!(rooms.room("kept:1").try_acquire().is_err());
        drop(kept);
        assert!(rooms.room("kept:1").try_acquire().is_ok());
    }
}
