//! Refusals as Quay's clients read them: `application/json` with Quay's own members.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    App,
    problem::{Problem, put_retry_after},
};

/// Quay's words for what went wrong, and what they mean.
const TYPES: &[(&str, &str)] = &[
    ("invalid_request", "The request is not valid: its detail says what is wrong with it."),
    ("invalid_token", "The request carries no credential, or not a valid one."),
    ("insufficient_scope", "The credential does not allow this request."),
    ("not_found", "There is no such resource."),
    ("downstream_issue", "Something that the server depends on is out of reach; try again."),
    ("internal_error", "The server failed."),
];

/// A problem in Quay's form. Its members stand beside Quay's own.
pub(crate) fn response(app: &App, problem: Problem) -> Response {
    let error_type = error_type(problem.status);
    let mut body = json!({
        "detail": problem.detail,
        "error_message": problem.detail,
        "error_type": error_type,
        "title": error_type,
        "type": link(app, error_type),
        "status": problem.status.as_u16(),
    });
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        // Of a registry that can't take changes Quay's clients read this member.
        body["message"] = problem.detail.as_ref().into();
    }
    if let Value::Object(members) = &mut body {
        members.extend(problem.members);
    }
    let mut response = (problem.status, Json(body)).into_response();
    put_retry_after(&mut response, problem.retry_after);
    response
}

/// A refusal that Quay leaves to its framework, whose clients read the text as `message`.
pub(super) fn with_message(status: StatusCode, detail: impl Into<String>) -> Problem {
    let detail = detail.into();
    Problem::new(status, detail.clone()).with("message", detail)
}

/// A request that would change something, without the word that shows that it was meant.
pub(super) fn csrf() -> Problem {
    let text = "CSRF token was invalid or missing.";
    Problem::new(StatusCode::FORBIDDEN, text).with("error", text)
}

/// What `GET /api/v1/error/{type}` tells of a type.
pub(super) fn describe(app: &App, name: &str) -> Option<Value> {
    let (name, description) = TYPES.iter().find(|(known, _)| *known == name)?;
    Some(json!({ "type": link(app, name), "title": name, "description": description }))
}

fn link(app: &App, error_type: &str) -> String {
    format!("{}/api/v1/error/{error_type}", app.api.public_url.trim_end_matches('/'))
}

fn error_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "invalid_token",
        StatusCode::FORBIDDEN => "insufficient_scope",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::SERVICE_UNAVAILABLE => "downstream_issue",
        status if status.is_server_error() => "internal_error",
        _ => "invalid_request",
    }
}
