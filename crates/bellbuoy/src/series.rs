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
        for reason in [DeadReason::Undecodable, DeadReason::Poisoned] {
            metrics.count(Counter::DeadLetters, &[queue.as_str(), reason.name()], 0);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_that_nobody_can_work_on_is_a_step_from_zero_whatever_its_queue() {
        let metrics = Metrics::new();
        let shards = Shards::ONE;
        start_at_zero(&metrics, shards);
        let shown = metrics.render();
        let mut queues = vec![queues::events(), queues::outcomes()];
        queues.extend(shards.queues(MethodName::Webhook.name()));
        for queue in queues {
            for reason in ["poisoned", "undecodable"] {
                let series = format!(r#"bellbuoy_dead_letters_total{{queue="{queue}",reason="{reason}"}} 0"#);
                assert!(shown.contains(&series), "{series}");
            }
        }
    }

    #[test]
    fn a_fault_of_our_own_is_counted_as_a_hold_and_never_as_an_attempt() {
        let metrics = Metrics::new();
        start_at_zero(&metrics, Shards::ONE);
        let shown = metrics.render();
        for reason in ["internal", "worker_panicked"] {
            let held = format!(r#"bellbuoy_delivery_holds_total{{method="webhook",reason="{reason}"}} 0"#);
            assert!(shown.contains(&held), "{held}");
            assert!(!shown.contains(&format!(r#"cause="{reason}""#)), "{reason}");
        }
    }
}
