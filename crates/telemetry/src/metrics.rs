//! Every metric: its name, what it says, its labels. A name stands nowhere else, so dashboards
//! and alerts can be checked against this list.

use prometheus::{
    CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder, core::Collector,
    process_collector::ProcessCollector,
};

/// Buckets for how long an attempt takes, in seconds; the last is the default deadline.
const ATTEMPT_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];

/// Buckets for how long something waits before it is begun, in seconds.
const LAG_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// Buckets from acceptance to delivery, retries included, in seconds up to a day.
const END_TO_END_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 86400.0];

macro_rules! metrics {
    ($(#[$doc:meta])* $kind:ident { $(#[doc = $help:literal] $variant:ident = $name:literal [$($label:literal),*] $(in $buckets:expr)? ,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind { $(#[doc = $help] $variant,)* }

        impl $kind {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in the exposition.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => concat!("bellbuoy_", $name),)* }
            }

            /// Its labels' names.
            pub fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*],)* }
            }

            fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            metrics!(@buckets $($variant $(in $buckets)?,)*);
        }
    };
    (@buckets $($variant:ident,)*) => {};
    (@buckets $($variant:ident in $buckets:expr,)*) => {
        fn buckets(self) -> &'static [f64] {
            match self { $(Self::$variant => $buckets,)* }
        }
    };
}

metrics! {
    /// What only grows.
    Counter {
        /// Events taken: durable when counted.
        EventsAccepted = "events_accepted_total" ["source", "kind"],
        /// Events refused with an error to the producer.
        EventsRefused = "events_refused_total" ["source", "reason"],
        /// Bytes from producers that could not be used and were kept as dead letters.
        EventsQuarantined = "events_quarantined_total" ["source", "reason"],
        /// Parts of a registry's notifications that are no events of ours and were left out.
        EventsDropped = "events_dropped_total" ["source", "reason"],
        /// Events expanded into deliveries.
        EventsFannedOut = "events_fanned_out_total" ["kind"],
        /// Events that came again and were dropped.
        EventsRepeated = "events_repeated_total" ["kind"],
        /// Deliveries queued.
        DeliveriesQueued = "deliveries_queued_total" ["method"],
        /// Attempts, by how they ended and why.
        DeliveryAttempts = "delivery_attempts_total" ["method", "outcome", "cause"],
        /// Waits that cost no attempt.
        DeliveryHolds = "delivery_holds_total" ["method", "reason"],
        /// Messages of outcomes that were recorded: durable in the store when counted.
        OutcomesRecorded = "outcomes_recorded_total" [],
        /// Messages given up.
        DeadLetters = "dead_letters_total" ["queue", "reason"],
        /// Notifications switched off.
        NotificationsDisabled = "notifications_disabled_total" ["method", "reason"],
        /// Callbacks of receivers in Docker Hub's format: what they said, or `expired` when nothing came in time.
        Callbacks = "callbacks_total" ["outcome"],
        /// Rows deleted because their time was over.
        HistoryPruned = "history_pruned_total" ["table"],
        /// Requests with a wrong or missing credential.
        RequestsUnauthorized = "requests_unauthorized_total" ["surface"],
        /// Requests to our own API, by what was answered.
        HttpRequests = "http_requests_total" ["surface", "status"],
        /// Times that a worker failed and was started again.
        WorkerRestarts = "worker_restarts_total" ["role"],
        /// Times that a worker, with work in hand, found the store or the broker out of reach.
        WorkerWaits = "worker_waits_total" ["role"],
        /// Calls by which a process of a fleet leased slots of receivers.
        SlotAsks = "slot_asks_total" ["outcome"],
        /// Messages put aside because this process can't handle them now.
        MessagesPutAside = "messages_put_aside_total" ["queue", "reason"],
    }
}

metrics! {
    /// What goes up and down.
    Gauge {
        /// Messages in a queue: ready (claimed ones included), delayed, claimed. On RabbitMQ a pack of messages counts as one.
        QueueMessages = "queue_messages" ["queue", "state"],
        /// How long the oldest ready message of a queue has waited. On RabbitMQ, which does not say, only of empty queues.
        QueueOldestReady = "queue_oldest_ready_seconds" ["queue"],
        /// Whether a connection to RabbitMQ stands (1): that on which is published, and that on which messages are taken.
        BrokerConnected = "broker_connected" ["connection"],
        /// Whether RabbitMQ has an alarm and takes no messages (1).
        BrokerBlocked = "broker_blocked" [],
        /// Attempts in flight.
        DeliveriesInFlight = "deliveries_in_flight" ["method"],
        /// The most attempts that may be in flight.
        DeliverySlots = "delivery_slots" ["method"],
        /// Receivers (notifications and hosts) that stopped answering and are tried by one attempt at a time.
        CircuitsOpen = "circuits_open" [],
        /// Receivers that asked for fewer requests and are left in peace for now.
        ReceiversInPeace = "receivers_in_peace" [],
        /// Slots of receivers that this process of a fleet holds: attempts it may have in flight without asking.
        SlotsLeased = "slots_leased" ["lane"],
        /// Receivers of which this process of a fleet could use more slots than it has.
        ReceiversShort = "receivers_short" [],
        /// Whether a worker runs (1) or has stalled or waits to be started again (0).
        WorkerUp = "worker_up" ["role"],
        /// Always 1; the version is the label.
        BuildInfo = "build_info" ["version"],
    }
}

metrics! {
    /// How long things take.
    Histogram {
        /// From when a delivery was due until its attempt began: the main objective.
        DeliveryLag = "delivery_lag_seconds" ["method"] in LAG_BUCKETS,
        /// How long an attempt took.
        DeliveryDuration = "delivery_duration_seconds" ["method", "outcome"] in ATTEMPT_BUCKETS,
        /// From an event's acceptance until its delivery, retries included.
        DeliveryEndToEnd = "delivery_end_to_end_seconds" ["method"] in END_TO_END_BUCKETS,
        /// How long producers waited until an event was durable.
        IngestDuration = "ingest_duration_seconds" ["source"] in ATTEMPT_BUCKETS,
        /// How long the recorder took for a batch.
        RecordDuration = "record_batch_seconds" [] in ATTEMPT_BUCKETS,
    }
}

/// The metrics of one program. Not global, so that tests can run side by side.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    counters: Vec<CounterVec>,
    gauges: Vec<GaugeVec>,
    histograms: Vec<HistogramVec>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Panics
    ///
    /// Never: the names and labels of this file are valid and distinct, as a test holds.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = Counter::ALL
            .iter()
            .map(|metric| {
                let opts = Opts::new(metric.name(), metric.help().trim());
                registered(&registry, CounterVec::new(opts, metric.labels()))
            })
            .collect();
        let gauges = Gauge::ALL
            .iter()
            .map(|metric| {
                let opts = Opts::new(metric.name(), metric.help().trim());
                registered(&registry, GaugeVec::new(opts, metric.labels()))
            })
            .collect();
        let histograms = Histogram::ALL
            .iter()
            .map(|metric| {
                let opts = HistogramOpts::new(metric.name(), metric.help().trim())
                    .buckets(metric.buckets().to_vec());
                registered(&registry, HistogramVec::new(opts, metric.labels()))
            })
            .collect();
        // Only fails if registered twice.
        let _ = registry.register(Box::new(ProcessCollector::for_self()));
        Self { registry, counters, gauges, histograms }
    }

    /// Adds to a counter. `labels` are the values for [`Counter::labels`], from closed sets.
    pub fn count(&self, metric: Counter, labels: &[&str], by: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a step of 2^53 is beyond counting")]
        if let Ok(counter) = self.counters[metric as usize].get_metric_with_label_values(labels) {
            counter.inc_by(by as f64);
        } else {
            debug_assert!(false, "{} takes {:?}, not {labels:?}", metric.name(), metric.labels());
        }
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Gauge, labels: &[&str], value: f64) {
        if let Ok(gauge) = self.gauges[metric as usize].get_metric_with_label_values(labels) {
            gauge.set(value);
        } else {
            debug_assert!(false, "{} takes {:?}, not {labels:?}", metric.name(), metric.labels());
        }
    }

    /// Takes a gauge of these labels away, if there is one: its value is not known any more.
    pub fn unset(&self, metric: Gauge, labels: &[&str]) {
        debug_assert!(labels.len() == metric.labels().len(), "{} takes {:?}", metric.name(), metric.labels());
        // It fails where there is none.
        let _ = self.gauges[metric as usize].remove_label_values(labels);
    }

    /// Moves a gauge up or down.
    pub fn add(&self, metric: Gauge, labels: &[&str], by: f64) {
        if let Ok(gauge) = self.gauges[metric as usize].get_metric_with_label_values(labels) {
            gauge.add(by);
        } else {
            debug_assert!(false, "{} takes {:?}, not {labels:?}", metric.name(), metric.labels());
        }
    }

    /// Notes how long something took, in seconds.
    pub fn observe(&self, metric: Histogram, labels: &[&str], seconds: f64) {
        if let Ok(histogram) = self.histograms[metric as usize].get_metric_with_label_values(labels) {
            histogram.observe(seconds);
        } else {
            debug_assert!(false, "{} takes {:?}, not {labels:?}", metric.name(), metric.labels());
        }
    }

    /// A counter's value, for tests and for the demo.
    pub fn counted(&self, metric: Counter, labels: &[&str]) -> f64 {
        self.counters[metric as usize]
            .get_metric_with_label_values(labels)
            .map_or(0.0, |counter| counter.get())
    }

    /// The exposition in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only for a metric without a name.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("the names and labels of this file are valid");
    registry.register(Box::new(metric.clone())).expect("the names of this file are distinct");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_registered_under_its_own_name_and_base_unit() {
        let metrics = Metrics::new();
        for counter in Counter::ALL {
            assert!(counter.name().ends_with("_total"), "{}", counter.name());
            metrics.count(*counter, &vec!["x"; counter.labels().len()], 1);
        }
        for histogram in Histogram::ALL {
            assert!(histogram.name().ends_with("_seconds"), "{}", histogram.name());
            metrics.observe(*histogram, &vec!["x"; histogram.labels().len()], 0.1);
        }
        for gauge in Gauge::ALL {
            metrics.set(*gauge, &vec!["x"; gauge.labels().len()], 1.0);
        }
        let text = metrics.render();
        let names = Counter::ALL.iter().map(|metric| metric.name());
        let names = names.chain(Gauge::ALL.iter().map(|metric| metric.name()));
        for name in names.chain(Histogram::ALL.iter().map(|metric| metric.name())) {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }

    #[test]
    fn labels_are_words_for_closed_sets_never_for_an_endpoint_or_a_repository() {
        let known = [
            "source",
            "kind",
            "reason",
            "method",
            "outcome",
            "cause",
            "queue",
            "state",
            "role",
            "table",
            "surface",
            "status",
            "version",
            "lane",
            "connection",
        ];
        let labels = Counter::ALL.iter().flat_map(|metric| metric.labels());
        let labels = labels.chain(Gauge::ALL.iter().flat_map(|metric| metric.labels()));
        for label in labels.chain(Histogram::ALL.iter().flat_map(|metric| metric.labels())) {
            assert!(known.contains(label), "{label}");
        }
    }
}
