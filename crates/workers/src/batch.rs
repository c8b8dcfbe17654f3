//! Claims that are served together: bounded in number and in bytes.

use std::num::NonZeroUsize;

use bellbuoy_broker::{Claim, Consumer};

/// Bytes of bodies from which on a batch takes no further claim.
const FULL_BYTES: usize = 4 << 20;

/// A batch that grows.
pub(crate) struct Batch {
    claims: Vec<Claim>,
    bytes: usize,
    limit: NonZeroUsize,
    full_bytes: usize,
}

impl Batch {
    /// A batch of one, to have at most `limit`.
    pub(crate) fn begin(first: Claim, limit: NonZeroUsize) -> Self {
        Self { bytes: first.body().len(), claims: vec![first], limit, full_bytes: FULL_BYTES }
    }

    /// The same, which takes no further claim from so many bytes of bodies on.
    pub(crate) fn full_at(self, full_bytes: usize) -> Self {
        Self { full_bytes, ..self }
    }

    /// Adds one more.
    pub(crate) fn push(&mut self, claim: Claim) {
        self.bytes += claim.body().len();
        self.claims.push(claim);
    }

    /// Whether it should take no more.
    pub(crate) fn is_full(&self) -> bool {
        self.claims.len() >= self.limit.get() || self.bytes >= self.full_bytes
    }

    /// Adds what is at hand, as far as there is room.
    pub(crate) fn fill(&mut self, consumer: &mut Consumer) {
        while !self.is_full()
            && let Some(claim) = consumer.try_next()
        {
            self.push(claim);
        }
    }

    /// The claims.
    pub(crate) fn into_claims(self) -> Vec<Claim> {
        self.claims
    }
}
