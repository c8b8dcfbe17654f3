//! Forgetting what is old, a little at a time.

use jiff::Timestamp;

use crate::{Store, StoreError};

/// How much one call of [`Store::prune`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events.
    pub events: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Attempts, together with their deliveries.
    pub attempts: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Items of the in-app area.
    pub inbox: u64,
}

impl Pruned {
    /// Whether nothing was left to remove.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Store {
    /// Removes what was accepted, died or was made before `before`: at most `chunk` rows of each sort (attempts go
    /// with their deliveries), in short transactions. Call it again until it removes nothing.
    ///
    /// A delivery that is pending or waiting stays, and so does an event as long as one delivery of it is kept.
    pub async fn prune(&self, before: Timestamp, chunk: u32) -> Result<Pruned, StoreError> {
        todo!()
    }
}
