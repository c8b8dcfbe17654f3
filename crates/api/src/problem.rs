//! What a refusal looks like: `application/problem+json` of RFC 9457.

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bellbuoy_broker::BrokerError;
use bellbuoy_store::StoreError;
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::error;

/// When a client should come back while our broker or store is out of reach.
const COME_BACK: Duration = Duration::from_secs(5);

/// A refusal: its status, a sentence naming what was wrong and how to put it right, and members
/// that say where.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) members: Map<String, Value>,
    pub(crate) retry_after: Option<Duration>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), members: Map::new(), retry_after: None }
    }

    pub(crate) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// It may pass: the client is told when to try again.
    pub(crate) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { retry_after: Some(COME_BACK), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// Nothing is changed here until the operator lets it: see `Api::read_only`. Quay's clients know it by `is_readonly`.
    pub(crate) fn read_only() -> Self {
        let detail = "the server is read-only (`api.read_only`): events are taken and delivered, and nothing is changed";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).with("is_readonly", true)
    }

    /// Our own fault. What it was is in the log, not in the answer.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; its log says why")
    }

    #[must_use]
    pub(crate) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }
}

/// A refusal as RFC 9457 has it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemView<'a> {
    /// Always `about:blank`: the status says what kind of problem it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What was wrong, and how to put it right.
    detail: &'a str,
    #[serde(flatten)]
    #[schemars(with = "Where")]
    members: &'a Map<String, Value>,
}

/// What a problem may say of where it lies.
#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "a schema")]
struct Where {
    /// The member of the body that will not do.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The attribute of the event that will not do.
    #[serde(skip_serializing_if = "Option::is_none")]
    attribute: Option<String>,
    /// True where nothing is changed because the server is read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_readonly: Option<bool>,
    /// Which event of a batch it is, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let view = ProblemView {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            members: &self.members,
        };
        let body = serde_json::to_vec(&view).unwrap_or_default();
        // For a surface with a form of its own: see `routes`.
        let problem = self.clone();
        let mut response = Response::new(Body::from(body));
        response.extensions_mut().insert(problem);
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        put_retry_after(&mut response, self.retry_after);
        response
    }
}

/// Sets `Retry-After`, in whole seconds, rounded up: who comes back after so many is not too early.
pub(crate) fn put_retry_after(response: &mut Response, wait: Option<Duration>) {
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(wait).into());
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Unavailable(_) | BrokerError::Lost | BrokerError::Closed => {
                error!("the broker did not take a message: {error}");
                Self::unavailable("the broker is out of reach; nothing was accepted, so send it again")
            }
            BrokerError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            BrokerError::DelayTooLong { .. } => {
                error!("published with a delay that no broker takes: {error}");
                Self::internal()
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => {
                error!("the store did not answer: {error}");
                Self::unavailable("the store is out of reach; try again")
            }
            StoreError::Full { .. } => Self::conflict(error.to_string()),
            other => {
                error!("the store failed: {other}");
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_as_long_as_it_is_told_is_not_too_early() {
        for (wait, expected) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60), (60_000, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(wait)), expected, "{wait} ms");
        }
    }
}
