//! Refusals as Quay's clients read them: `application/json` with Quay's own members.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

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

/// What every refusal looks like.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayProblem")]
pub(crate) struct ProblemView<'a> {
    /// What was wrong.
    detail: &'a str,
    /// The same.
    error_message: &'a str,
    #[schemars(extend("enum" = TYPES.iter().map(|(name, _)| *name).collect::<Vec<_>>()))]
    error_type: &'static str,
    /// The same.
    title: &'static str,
    /// Where the type is explained.
    r#type: String,
    /// The status.
    status: u16,
    #[serde(flatten)]
    #[schemars(with = "Beside")]
    members: &'a Map<String, Value>,
}

/// What stands beside these in some refusals.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
#[expect(dead_code, reason = "a schema")]
struct Beside {
    /// The same as `detail`, where Quay leaves the refusal to its framework.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The same as `detail`, where Quay refuses a request without a right credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What is wrong with a JSON Web Token of the registry's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    flaw: Option<String>,
    /// Of signing in.
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid_credentials: Option<bool>,
    /// Of signing in; always false.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_email_verification: Option<bool>,
    /// True where nothing is changed because the server is read-only.
    #[serde(rename = "is_readonly", skip_serializing_if = "Option::is_none")]
    is_readonly: Option<bool>,
    /// The member of the body that will not do.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// A problem in Quay's form. Its members stand beside Quay's own.
pub(crate) fn response(app: &App, problem: Problem) -> Response {
    let error_type = error_type(problem.status);
    let mut members = Map::new();
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        // Of a registry that can't take changes Quay's clients read this member.
        members.insert("message".to_owned(), problem.detail.as_ref().into());
    }
    members.extend(problem.members);
    let view = ProblemView {
        detail: &problem.detail,
        error_message: &problem.detail,
        error_type,
        title: error_type,
        r#type: link(app, error_type),
        status: problem.status.as_u16(),
        members: &members,
    };
    let mut response = (problem.status, Json(view)).into_response();
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
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayErrorType")]
pub(super) struct Described {
    r#type: String,
    title: &'static str,
    description: &'static str,
}

/// Tells of a type, if it is one.
pub(super) fn describe(app: &App, name: &str) -> Option<Described> {
    let (title, description) = TYPES.iter().find(|(known, _)| *known == name)?;
    Some(Described { r#type: link(app, title), title, description })
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
