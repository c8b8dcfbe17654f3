//! `/u/{namespace}/{repository}/hook/{token}/`, and `/_/{repository}/hook/{token}/` for one without a namespace: where
//! receivers of Docker Hub's payload call back. The token is the credential; whoever has it may report on one delivery.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{Callback, CallbackState, DeliveryId, Received};
use bellbuoy_store::CallbackRow;
use http::StatusCode;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    App,
    contract::{Operation, Routes},
    counts, now,
    problem::Problem,
    server::Peer,
};

/// Largest body. The texts of a callback fill a quarter of it at most.
const MOST_BYTES: usize = 16 * 1024;

/// Longest token that is looked up.
const MOST_TOKEN: usize = 64;

/// Whether a path needs no other credential than what stands in it.
pub(crate) fn owns(path: &str) -> bool {
    path.starts_with("/u/") || path.starts_with("/_/")
}

/// What is awaited or was called back for a delivery, as its owner sees it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CallbackStanding")]
pub(crate) struct CallbackView<'a> {
    /// What was called back, or `pending`, or `expired`.
    state: &'static str,
    description: Option<&'a str>,
    context: Option<&'a str>,
    target_url: Option<&'a str>,
    answered_at: Option<Timestamp>,
    expires_at: Timestamp,
    /// Which URL of the chain it is, from 1.
    link: u32,
    /// The delivery to the chain's first URL.
    first: DeliveryId,
}

/// What was taken.
#[derive(Debug, Serialize, JsonSchema)]
struct CallbackTaken {
    state: CallbackState,
}

/// Where receivers call back.
pub(crate) fn routes() -> Routes {
    const SUMMARY: &str = "A receiver's callback, in Docker Hub's form: what became of a delivery. The token in the path is the credential.";
    let described = |path: &'static str| {
        Operation::post(path, SUMMARY)
            .takes::<Callback>()
            .answers::<CallbackTaken>(200)
            .refuses([404, 409, 410, 429])
    };
    Routes::default()
        .serve_rest("/u/{*rest}", [described("/u/{namespace}/{name}/hook/{token}/")], call_back)
        .serve_rest("/_/{*rest}", [described("/_/{name}/hook/{token}/")], call_back)
}

/// Takes a callback. The first in time counts: said again it is welcome, and anything else is refused.
async fn call_back(
    State(app): State<Arc<App>>,
    Path(rest): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let row = find(&app, &rest, request.extensions().get().copied()).await?;
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, MOST_BYTES).await?;
    let callback = Callback::from_json(&read.bytes).map_err(|error| Problem::bad(error.to_string()))?;
    let delivery = row.awaited.delivery;
    let (mut row, mut received) = judge(row, &callback);
    if received == Received::First {
        if app.api.store.call_back(delivery, &callback, now()).await? {
            counts::called_back(&app.api.metrics, callback.state);
        } else {
            // Another one came at the same moment.
            let known = app.api.store.callback(delivery).await?.ok_or_else(unknown)?;
            (row, received) = judge(known, &callback);
        }
    }
    match received {
        Received::First | Received::Again => {
            Ok(Json(CallbackTaken { state: callback.state }).into_response())
        }
        Received::Contrary => {
            let known = row.callback.map_or("another state", |known| known.state.name());
            let detail =
                format!("this delivery was called back for with {known}, or other words; that stands");
            Err(Problem::conflict(detail))
        }
        Received::TooLate => {
            let detail =
                format!("this callback was awaited until {}; its chain has ended", row.awaited.expires_at);
            Err(Problem::new(StatusCode::GONE, detail))
        }
    }
}

fn judge(row: CallbackRow, callback: &Callback) -> (CallbackRow, Received) {
    let received = Received::judge(callback, row.callback.as_ref(), row.awaited.expires_at, now());
    (row, received)
}

/// What the path's token is for. A wrong one counts as a guess; what the path says besides has to be right as well.
async fn find(app: &App, rest: &str, peer: Option<Peer>) -> Result<CallbackRow, Problem> {
    let (repository, token) = parse(rest).ok_or_else(unknown)?;
    // By a digest of 256 random bits: how long the search takes tells nothing of the token.
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    let found = app.api.store.callback_by_token(&hash).await?;
    if let Some(row) = found.filter(|row| row.awaited.subject == repository) {
        return Ok(row);
    }
    if let Some(Peer(address)) = peer {
        app.guesses.wrong(address, Instant::now()).map_err(|too_many| Problem {
            retry_after: Some(too_many.wait),
            ..Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many wrong tokens came from this address; wait",
            )
        })?;
    }
    Err(unknown())
}

/// `{repository}/hook/{token}`, with or without a slash at its end. A repository's name may hold slashes.
fn parse(rest: &str) -> Option<(&str, &str)> {
    let (rest, token) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once('/')?;
    let repository = rest.strip_suffix("/hook")?;
    (!token.is_empty() && token.len() <= MOST_TOKEN).then_some((repository, token))
}

fn unknown() -> Problem {
    Problem::not_found("no callback is awaited here")
}

/// How a callback stands: what was called back, or `pending`, or `expired` when it did not come in time.
pub(crate) fn state(row: &CallbackRow) -> &'static str {
    match &row.callback {
        Some(callback) => callback.state.name(),
        None if now() >= row.awaited.expires_at => "expired",
        None => "pending",
    }
}

impl<'a> CallbackView<'a> {
    pub(crate) fn of(row: &'a CallbackRow) -> Self {
        let callback = row.callback.as_ref();
        Self {
            state: state(row),
            description: callback.and_then(|callback| callback.description.as_deref()),
            context: callback.and_then(|callback| callback.context.as_deref()),
            target_url: callback.and_then(|callback| callback.target_url.as_deref()),
            answered_at: row.answered_at,
            expires_at: row.awaited.expires_at,
            link: row.awaited.link + 1,
            first: row.awaited.first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_its_end_with_or_without_its_slash() {
        for (path, expected) in [
            ("acme/api/hook/t0k3n/", Some(("acme/api", "t0k3n"))),
            ("acme/api/hook/t0k3n", Some(("acme/api", "t0k3n"))),
            ("acme/hook/hook/t0k3n/", Some(("acme/hook", "t0k3n"))),
            ("api/hook/t0k3n/", Some(("api", "t0k3n"))),
            ("acme/api/hook//", None),
            ("acme/api/hook/", None),
            ("acme/api/t0k3n/", None),
            ("hook/t0k3n/", None),
            ("", None),
        ] {
            assert_eq!(parse(path), expected, "{path}");
        }
        assert_eq!(parse(&format!("acme/api/hook/{}", "x".repeat(65))), None);
    }
}
