//! Chaos: a fleet under load whose processes, database and broker are killed, and everything promised checked
//! when it is over.
//!
//! A seed draws a plan: which faults, together with which others, after which event, for how long. It does not fix
//! what they meet there. `CHAOS_SEEDS=7,8,20-29` runs these seeds instead of the few below, one after the other; a
//! failure prints its seed, what was done when, and the last lines of every process.

#![expect(clippy::print_stdout, reason = "what was measured, for whoever runs it with --no-capture")]

mod support;

#[path = "chaos/judge.rs"]
mod judge;
#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/plan.rs"]
mod plan;
#[path = "chaos/storm.rs"]
mod storm;
#[path = "chaos/timeline.rs"]
mod timeline;

use plan::{Fault, Plan, Target};
use storm::Storm;

/// Seeds of an ordinary run of the tests.
const SEEDS: &[u64] = &[7];
const CLUSTER_SEEDS: &[u64] = &[3];

/// Events per seed.
const EVENTS: usize = 800;

/// What strikes a fleet with one node of RabbitMQ, in an order that the seed draws.
const FAULTS: &[Fault] = &[
    Fault::Kill(Target::Api(0)),
    Fault::Kill(Target::Api(1)),
    Fault::Kill(Target::Fanout),
    Fault::Kill(Target::Fanout),
    Fault::Kill(Target::Deliver(0)),
    Fault::Kill(Target::Deliver(1)),
    Fault::Kill(Target::Deliver(1)),
    Fault::Kill(Target::Record),
    Fault::Kill(Target::Record),
    Fault::Kill(Target::Store),
    Fault::Kill(Target::Node(0)),
    Fault::CloseConnections,
    Fault::CloseConnections,
];

/// What strikes one with a cluster of three. Never two nodes together: without a majority there is no broker.
const CLUSTER_FAULTS: &[Fault] = &[
    Fault::Kill(Target::Node(0)),
    Fault::Kill(Target::Deliver(0)),
    Fault::Pause,
    Fault::Kill(Target::Fanout),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_all_that_was_acknowledged_ends_and_each_repeat_has_its_fault() {
    for seed in seeds(SEEDS) {
        let mut storm = Storm::on_a_node(seed).await;
        storm.weather(&Plan::draw(seed, FAULTS, EVENTS)).await;
        let judged = storm.judge().await;
        println!("{}{judged}", storm.timeline);
        storm.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_outlasts_the_death_of_a_node_and_the_silence_of_another() {
    for seed in seeds(CLUSTER_SEEDS) {
        let mut storm = Storm::on_a_cluster(seed).await;
        storm.weather(&Plan::draw(seed, CLUSTER_FAULTS, EVENTS)).await;
        let judged = storm.judge().await;
        println!("cluster, {}{judged}", storm.timeline);
        storm.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_told_to_stop_under_load_repeat_nothing() {
    let restarts = [Target::Deliver(0), Target::Fanout, Target::Api(0), Target::Record, Target::Deliver(1)];
    let mut storm = Storm::on_a_node(1).await;
    storm.weather(&Plan::draw(1, &restarts.map(Fault::Restart), EVENTS / 2)).await;
    let judged = storm.judge().await;
    println!("told to stop, {}{judged}", storm.timeline);
    assert_eq!(judged.repeats(), 0, "{judged}");
    storm.stop().await;
}

/// The seeds of the environment (`7,8,20-29`), or else `usual`.
fn seeds(usual: &[u64]) -> Vec<u64> {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests, not of the program")]
    let Ok(text) = std::env::var("CHAOS_SEEDS") else { return usual.to_vec() };
    let number = |text: &str| {
        text.parse::<u64>().unwrap_or_else(|_| panic!("CHAOS_SEEDS is `{text}`; write seeds as in 7,8,20-29"))
    };
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    text.split(',').flat_map(range).collect()
}
