//! What was done to the fleet, when it began and when it was over.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::{Fault, Target};

/// How much later than its cause something is seen on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// After a broker's fault, how long until every process has a connection again that it can trust: one on which nothing
/// is confirmed is given up after 15 s.
const RECONNECTING: Duration = Duration::from_secs(20);

/// How long done work can take to be settled while the broker is well.
const SETTLING: Duration = Duration::from_secs(5);

/// A fault as it happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Struck {
    fault: Fault,
    began: Instant,
    ended: Instant,
}

/// All faults of a run.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    seed: u64,
    start: Instant,
    struck: Vec<Struck>,
}

impl Timeline {
    pub(crate) fn begin(seed: u64) -> Self {
        Self { seed, start: Instant::now(), struck: Vec::new() }
    }

    pub(crate) fn add(&mut self, fault: Fault, began: Instant, ended: Instant) {
        self.struck.push(Struck { fault, began, ended });
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn len(&self) -> usize {
        self.struck.len()
    }

    /// Whether what was done at that moment can have been confirmed by nobody, because RabbitMQ or a connection to it
    /// was hit then, or soon after.
    pub(crate) fn was_unconfirmed(&self, at: Instant) -> bool {
        self.has_broker_fault(at, at + SETTLING)
    }

    /// The same of something that was done between these two.
    pub(crate) fn can_be_unconfirmed(&self, from: Instant, to: Instant) -> bool {
        self.has_broker_fault(from, to)
    }

    /// Whether RabbitMQ, or a connection to it, was hit in the time between these two.
    fn has_broker_fault(&self, from: Instant, to: Instant) -> bool {
        let mut faults = self.struck.iter().filter(|struck| struck.fault.voids_claims());
        faults.any(|struck| struck.began <= to && from <= struck.ended + RECONNECTING)
    }

    /// Whether a fan-out was killed in the time between these two.
    pub(crate) fn has_fanout_kill(&self, from: Instant, to: Instant) -> bool {
        let mut kills = self.kills(|target| target == Target::Fanout);
        kills.any(|kill| kill.began <= to && from <= kill.began + SLACK)
    }

    /// Whether a request that was there at `at`, by a connection that ended at `ended`, was cut off by the kill of its
    /// sender: the connection died with it, and the outcome can't have been settled before.
    pub(crate) fn was_cut_off(&self, at: Instant, ended: Instant) -> bool {
        let mut kills = self.kills(|target| matches!(target, Target::Deliver(_)));
        kills.any(|kill| {
            let died = kill.began <= ended && ended <= kill.began + SLACK;
            let unsettled = kill.began <= at + SETTLING || self.has_broker_fault(at, kill.began);
            died && unsettled
        })
    }

    fn kills(&self, wanted: impl Fn(Target) -> bool) -> impl Iterator<Item = &Struck> {
        self.struck.iter().filter(move |struck| matches!(struck.fault, Fault::Kill(target) if wanted(target)))
    }

    /// A moment, counted from the start.
    pub(crate) fn second(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} faults:", self.seed, self.len())?;
        for Struck { fault, began, ended } in &self.struck {
            writeln!(f, "  {:7.2} s to {:7.2} s  {fault}", self.second(*began), self.second(*ended))?;
        }
        Ok(())
    }
}
