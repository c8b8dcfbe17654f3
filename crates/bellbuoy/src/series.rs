//! Every labelled series stands at zero from the start: `increase()` sees nothing of a series'
//! first step if the series begins with it, and an alert on a first dead letter would stay silent.

use bellbuoy_broker::{Shards, queues};
use bellbuoy_domain::{CallbackState, CauseCode, DeadReason, Kind, MethodName};
use bellbuoy_telemetry::{Counter, Metrics};

pub(crate) fn start_at_zero(metrics: &Metrics, shards: Shards) {
    for kind in Kind::ALL {
        metrics.count(Counter::EventsFannedOut, &[kind.name()], 0);
        metrics.count(Counter::EventsRepeated, &[kind.name()], 0);
    }
    for method in MethodName::ALL {
        start_method(metrics, method.name(), shards);
    }
    metrics.count(Counter::OutcomesRecorded, &[], 0);
    for outcome in ["answered", "failed"] {
        metrics.count(Counter::SlotAsks, &[outcome], 0);
    }
    for outcome in CallbackState::ALL.iter().map(|state| state.name()).chain(["expired"]) {
        metrics.count(Counter::Callbacks, &[outcome], 0);
    }
    for queue in [queues::events(), queues::outcomes()] {
        metrics.count(Counter::DeadLetters, &[queue.as_str(), DeadReason::Undecodable.name()], 0);
    }
}

/// The series of one worker.
pub(crate) fn start_worker(metrics: &Metrics, role: &str) {
    metrics.count(Counter::WorkerRestarts, &[role], 0);
    metrics.count(Counter::WorkerWaits, &[role], 0);
}

/// Why a delivery can be held.
const HOLDS: [CauseCode; 8] = [
    CauseCode::Internal,
    CauseCode::WorkerPanicked,
    CauseCode::Paused,
    CauseCode::ReceiverBusy,
    CauseCode::RetriesBusy,
    CauseCode::OnProbation,
    CauseCode::CircuitOpen,
    CauseCode::RateLimited,
];

fn start_method(metrics: &Metrics, method: &str, shards: Shards) {
    metrics.count(Counter::DeliveriesQueued, &[method], 0);
    metrics.count(Counter::DeliveryAttempts, &[method, "delivered", "none"], 0);
    // What is our own fault is a hold.
    for cause in CauseCode::ALL.iter().filter(|cause| !cause.is_ours()) {
        for outcome in ["deferred", "rejected"] {
            metrics.count(Counter::DeliveryAttempts, &[method, outcome, cause.name()], 0);
        }
    }
    for queue in shards.queues(method) {
        for reason in DeadReason::ALL {
            metrics.count(Counter::DeadLetters, &[queue.as_str(), reason.name()], 0);
        }
    }
    for reason in HOLDS {
        metrics.count(Counter::DeliveryHolds, &[method, reason.name()], 0);
    }
    for reason in ["failing", "gone", "unwanted", "probation"] {
        metrics.count(Counter::NotificationsDisabled, &[method, reason], 0);
    }
}
