//! Refusals as DTR's clients read them: `{"errors": [{"code", "message", "detail"}]}`.

use std::fmt::Display;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use bellbuoy_store::StoreError;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::problem::{Problem, put_retry_after};

/// The member of a problem that is its code, where the status does not say it.
pub(super) const CODE: &str = "code";

/// A refusal in DTR's form.
#[derive(Debug)]
pub(crate) struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        response(self.0)
    }
}

/// What every refusal looks like.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DtrErrors")]
pub(crate) struct ErrorsView<'a> {
    /// Always one.
    errors: [ErrorView<'a>; 1],
}

/// What was wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DtrError")]
struct ErrorView<'a> {
    /// DTR's own where it has one, such as `NO_SUCH_WEBHOOK`.
    #[schemars(with = "String")]
    code: Value,
    /// For people.
    message: &'a str,
    /// Where it lies, if that can be said.
    detail: Option<Map<String, Value>>,
}

/// A path of DTR's surface that is not there.
pub(crate) fn not_found() -> Refusal {
    Problem::not_found("there is nothing at this path").into()
}

/// A path that is there, but not for this verb.
pub(crate) fn not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not take this verb; `allow` says which it takes",
    )
}

/// There is no such `what` to the caller: a `webhook`, a `repository` or an `account`.
pub(super) fn no_such(what: &str, name: impl Display) -> Refusal {
    let name: String = name.to_string().chars().filter(|letter| !letter.is_control()).take(80).collect();
    let code = format!("NO_SUCH_{}", what.to_ascii_uppercase());
    Problem::not_found(format!("there is no {what} {name}")).with(CODE, code).into()
}

/// A problem in DTR's form. Its members but for the code are the error's detail.
pub(crate) fn response(problem: Problem) -> Response {
    let Problem { status, detail, mut members, retry_after } = problem;
    let code = members.shift_remove(CODE).unwrap_or_else(|| code(status).into());
    let detail_of = (!members.is_empty()).then_some(members);
    let errors = [ErrorView { code, message: &detail, detail: detail_of }];
    let mut response = (status, Json(ErrorsView { errors })).into_response();
    put_retry_after(&mut response, retry_after);
    response
}

/// The code of a status, DTR's own where it has one.
fn code(status: StatusCode) -> String {
    match status {
        StatusCode::BAD_REQUEST => "INVALID_JSON".to_owned(),
        StatusCode::UNAUTHORIZED => "NOT_AUTHENTICATED".to_owned(),
        StatusCode::FORBIDDEN => "NOT_AUTHORIZED".to_owned(),
        StatusCode::METHOD_NOT_ALLOWED => "NOT_ALLOWED".to_owned(),
        StatusCode::NOT_ACCEPTABLE => "NOT_ACCEPTABLE".to_owned(),
        other => other.canonical_reason().unwrap_or("ERROR").to_ascii_uppercase().replace(' ', "_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_that_dtr_documents_has_its_code() {
        for (status, expected) in [
            (400, "INVALID_JSON"),
            (401, "NOT_AUTHENTICATED"),
            (403, "NOT_AUTHORIZED"),
            (405, "NOT_ALLOWED"),
            (406, "NOT_ACCEPTABLE"),
            (415, "UNSUPPORTED_MEDIA_TYPE"),
            (429, "TOO_MANY_REQUESTS"),
            (503, "SERVICE_UNAVAILABLE"),
        ] {
            assert_eq!(code(StatusCode::from_u16(status).expect("a status")), expected);
        }
    }
}
