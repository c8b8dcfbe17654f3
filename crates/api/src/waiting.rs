//! What a process answers that waits for its store at its start.
//!
//! Nothing else works without the store, but whoever watches the process has to learn that it lives, and why it is not
//! ready; a probe that is not answered would get it killed and started again, which helps nobody.

use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use serde_json::json;

use crate::{health, problem::Problem};

/// `/healthz` as ever; `/readyz` says what is waited for; all else is 503 with `Retry-After`.
pub fn waiting() -> Router {
    Router::new().route("/healthz", get(health::alive)).route("/readyz", get(ready)).fallback(later)
}

async fn ready() -> Response {
    let checks = json!({ "store": "waiting for the store" });
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "checks": checks }))).into_response()
}

async fn later() -> Problem {
    Problem::unavailable("the store is out of reach; nothing was accepted, so send it again")
}
