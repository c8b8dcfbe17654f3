//! What is done to a fleet, and when.

use std::fmt;
use std::time::Duration;

use crate::support::Dice;

/// A part of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// One of the processes that take events and answer the API.
    Api(usize),
    Fanout,
    Deliver(usize),
    Record,
    /// PostgreSQL.
    Store,
    /// A node of RabbitMQ.
    Node(usize),
}

/// What can be done to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `SIGKILL`, and a new start.
    Kill(Target),
    /// `SIGTERM`, its end in order, and a new start.
    Restart(Target),
    /// `SIGSTOP` for the node of RabbitMQ to which most connections lead, and `SIGCONT` once nobody waits for it.
    Pause,
    /// An operator closes all connections to RabbitMQ.
    CloseConnections,
}

/// Faults that begin together.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// After how many acknowledged events.
    pub(crate) after: usize,
    /// How many may be published before this is over.
    pub(crate) load: usize,
    pub(crate) faults: Vec<Fault>,
    /// How long what was killed stays down.
    pub(crate) lasting: Duration,
    /// Whether the next step waits until everything is ready again.
    pub(crate) heals: bool,
}

/// All that is done in one run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) events: usize,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// Draws each of `faults` once, in any order, among `events` events; one in three strikes together with the next.
    pub(crate) fn draw(seed: u64, faults: &[Fault], events: usize) -> Self {
        let mut dice = Dice(seed);
        let mut left = faults.to_vec();
        dice.shuffle(&mut left);
        let mut groups: Vec<Vec<Fault>> = Vec::new();
        for fault in left {
            match groups.last_mut() {
                Some(group) if group.len() == 1 && fault.can_join(group[0]) && dice.below(3) == 0 => {
                    group.push(fault);
                }
                _ => groups.push(vec![fault]),
            }
        }
        // Each somewhere in a stretch of its own, so that no seed lets all fall on the first events.
        let stretch = events * 9 / 10 / groups.len().max(1);
        let steps = groups.into_iter().enumerate().map(|(number, faults)| {
            // A silent node is left within seconds; then it stays silent for a while yet.
            let longest = if faults.contains(&Fault::Pause) { 5000 } else { 1500 };
            let after = number * stretch + 1 + dice.below(stretch.max(1));
            Step {
                after,
                load: events.min(after + stretch),
                lasting: Duration::from_millis((longest / 2 + dice.below(longest / 2)) as u64),
                heals: dice.below(4) > 0,
                faults,
            }
        });
        Self { events, steps: steps.collect() }
    }
}

impl Fault {
    // Two nodes of three are a majority, and one node can't be two things at once.
    fn can_join(self, other: Self) -> bool {
        self != other && !(self.hits_a_node() && other.hits_a_node())
    }

    fn hits_a_node(self) -> bool {
        matches!(self, Self::Kill(Target::Node(_)) | Self::Pause)
    }

    /// Whether it can end connections to RabbitMQ, and with them what was claimed by them.
    pub(crate) fn voids_claims(self) -> bool {
        self.hits_a_node() || self == Self::CloseConnections
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(target) => write!(f, "kill -9 {target:?}"),
            Self::Restart(target) => write!(f, "restart {target:?}"),
            Self::Pause => f.write_str("pause a node until all have left it"),
            Self::CloseConnections => f.write_str("close all connections"),
        }
    }
}

#[test]
fn a_seed_draws_the_same_plan_each_time_and_leaves_no_fault_out() {
    let faults =
        [Fault::Kill(Target::Fanout), Fault::Kill(Target::Node(0)), Fault::Pause, Fault::Kill(Target::Store)];
    for seed in 0..100 {
        let [one, two] = [(), ()].map(|()| Plan::draw(seed, &faults, 100));
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
        let drawn: Vec<_> = one.steps.iter().flat_map(|step| &step.faults).collect();
        assert!(drawn.len() == faults.len() && faults.iter().all(|fault| drawn.contains(&fault)), "{one:?}");
        assert!(one.steps.is_sorted_by_key(|step| step.after), "{one:?}");
        assert!(one.steps.iter().all(|step| (1..=100).contains(&step.after)), "{one:?}");
        let nodes = |step: &Step| step.faults.iter().filter(|fault| fault.hits_a_node()).count();
        assert!(one.steps.iter().all(|step| nodes(step) <= 1), "{one:?}");
    }
}
