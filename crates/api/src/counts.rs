//! What the API counts: the few lines that know the metrics by name. Every label is of a closed set.

use std::time::Duration;

use bellbuoy_domain::{CallbackState, DeadReason, Kind};
use bellbuoy_telemetry::{Counter, Histogram, Metrics};
use http::StatusCode;

/// A way in for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    CloudEvents,
    Distribution,
    Harbor,
    Zot,
    Acr,
    GitLab,
    DockerHub,
    Ecr,
    Ghcr,
}

impl Source {
    const ALL: [Self; 9] = [
        Self::CloudEvents,
        Self::Distribution,
        Self::Harbor,
        Self::Zot,
        Self::Acr,
        Self::GitLab,
        Self::DockerHub,
        Self::Ecr,
        Self::Ghcr,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Distribution => "distribution",
            Self::Harbor => "harbor",
            Self::Zot => "zot",
            Self::Acr => "acr",
            Self::GitLab => "gitlab",
            Self::DockerHub => "dockerhub",
            Self::Ecr => "ecr",
            Self::Ghcr => "ghcr",
        }
    }
}

/// Part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    Ingest,
    Quay,
    Dtr,
    /// Callbacks of Docker Hub's receivers.
    Callback,
    Native,
    /// Health, metrics, and what is not there.
    Other,
}

impl Surface {
    const ALL: [Self; 6] = [Self::Ingest, Self::Quay, Self::Dtr, Self::Callback, Self::Native, Self::Other];

    /// To which part a path belongs.
    pub(crate) fn of(path: &str) -> Self {
        if matches!(path, "/v1/events" | "/v1/events/") || path.starts_with("/v1/ingest/") {
            Self::Ingest
        } else if crate::quay::owns(path) {
            Self::Quay
        } else if crate::dtr::owns(path) {
            Self::Dtr
        } else if crate::docker_hub::owns(path) {
            Self::Callback
        } else if path.starts_with("/v1/") {
            Self::Native
        } else {
            Self::Other
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Quay => "quay",
            Self::Dtr => "dtr",
            Self::Callback => "callback",
            Self::Native => "native",
            Self::Other => "other",
        }
    }
}

/// Why a request of a producer is refused.
const REFUSALS: [&str; 5] = ["too_large", "content_type", "timeout", "unavailable", "invalid"];

/// Series that alerts look at stand at zero from the start: `increase()` misses a first step that
/// is also a series' beginning.
pub(crate) fn start_at_zero(metrics: &Metrics) {
    for source in Source::ALL {
        for reason in REFUSALS {
            metrics.count(Counter::EventsRefused, &[source.name(), reason], 0);
        }
        for kind in Kind::ALL {
            metrics.count(Counter::EventsAccepted, &[source.name(), kind.name()], 0);
        }
        quarantined(metrics, source, 0);
    }
    for surface in Surface::ALL {
        metrics.count(Counter::RequestsUnauthorized, &[surface.name()], 0);
    }
    for status in [StatusCode::ACCEPTED, StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE] {
        metrics.count(Counter::HttpRequests, &[Surface::Ingest.name(), status.as_str()], 0);
    }
}

/// Events that are durable, after how long.
pub(crate) fn accepted(
    metrics: &Metrics,
    source: Source,
    kinds: impl IntoIterator<Item = Kind>,
    took: Duration,
) {
    for kind in kinds {
        metrics.count(Counter::EventsAccepted, &[source.name(), kind.name()], 1);
    }
    metrics.observe(Histogram::IngestDuration, &[source.name()], took.as_secs_f64());
}

/// A request of a producer that was refused whole.
pub(crate) fn refused(metrics: &Metrics, source: Source, status: StatusCode) {
    let reason = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "content_type",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        status if status.is_server_error() => "unavailable",
        _ => "invalid",
    };
    metrics.count(Counter::EventsRefused, &[source.name(), reason], 1);
}

/// Bytes kept as dead letters because they can't be understood.
pub(crate) fn quarantined(metrics: &Metrics, source: Source, how_many: u64) {
    metrics.count(Counter::EventsQuarantined, &[source.name(), DeadReason::Undecodable.name()], how_many);
}

/// A part of an envelope that no notification is ever for.
pub(crate) fn dropped(metrics: &Metrics, source: Source, reason: &'static str) {
    metrics.count(Counter::EventsDropped, &[source.name(), reason], 1);
}

/// What a receiver called back, the first time.
pub(crate) fn called_back(metrics: &Metrics, state: CallbackState) {
    metrics.count(Counter::Callbacks, &[state.name()], 1);
}

/// A request without a credential of ours.
pub(crate) fn unauthorized(metrics: &Metrics, surface: Surface) {
    metrics.count(Counter::RequestsUnauthorized, &[surface.name()], 1);
}

/// A request and what it was answered.
pub(crate) fn answered(metrics: &Metrics, surface: Surface, status: StatusCode) {
    metrics.count(Counter::HttpRequests, &[surface.name(), status.as_str()], 1);
}
