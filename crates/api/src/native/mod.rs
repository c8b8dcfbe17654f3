//! Bellbuoy's own REST surface: everything that Quay's can't say.

mod again;
mod audit;
mod catch_up;
mod dead_letters;
mod deliveries;
mod directory;
mod events;
mod explain;
pub(crate) mod inbox;
mod keys;
mod notifications;
mod replay;
mod secrets;
pub(crate) mod tokens;

use axum::extract::Query;
use bellbuoy_domain::{Event, NotificationId, Right, Scope};
use bellbuoy_store::{MAX_PAGE, StoreError, StoredEvent};
use http::Uri;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{App, auth::Caller, contract::Routes, problem::Problem};

/// Rows of a page if the query does not say.
const USUAL_PAGE: u32 = 50;

/// Everything of this surface.
pub(crate) fn routes() -> Routes {
    [
        events::routes(),
        notifications::routes(),
        keys::routes(),
        explain::routes(),
        catch_up::routes(),
        deliveries::routes(),
        dead_letters::routes(),
        replay::routes(),
        tokens::routes(),
        inbox::routes(),
        audit::routes(),
        secrets::routes(),
        directory::routes(),
    ]
    .into_iter()
    .fold(Routes::default(), Routes::and)
}

/// Rows of a page: 50 if it is left out.
#[derive(JsonSchema)]
#[schemars(inline, transparent)]
#[expect(dead_code, reason = "a schema")]
struct Limit(#[schemars(range(min = 1, max = MAX_PAGE))] u32);

/// Reads a query string.
///
/// # Errors
///
/// 400 that names what will not do.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let read = Query::<T>::try_from_uri(uri);
    read.map(|Query(query)| query).map_err(|error| Problem::bad(format!("query: {}", error.body_text())))
}

/// The rows that a page should have.
///
/// # Errors
///
/// 400 unless it is 1 to [`MAX_PAGE`].
fn limit(wanted: Option<u32>) -> Result<u32, Problem> {
    let wanted = wanted.unwrap_or(USUAL_PAGE);
    if (1..=MAX_PAGE).contains(&wanted) {
        Ok(wanted)
    } else {
        Err(Problem::bad(format!("query: `limit` is {wanted}, but should be from 1 to {MAX_PAGE}")))
    }
}

/// Reads an id in a path. What is no id names nothing.
fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| unknown(what, text))
}

fn unknown(what: &str, id: impl std::fmt::Display) -> Problem {
    let id: String = id.to_string().chars().filter(|letter| !letter.is_control()).take(80).collect();
    Problem::not_found(format!("there is no {what} {id}"))
}

/// An event as the store keeps it, which is as fan-out read it.
fn stored_event(stored: &StoredEvent) -> Result<Event, Problem> {
    Event::from_json(&stored.body, stored.accepted_at).map_err(|error| {
        tracing::error!("stored event {:?} can't be read: {error}", stored.id);
        Problem::internal()
    })
}

/// Refuses a list of everything to those who may not see everything; `notification` narrows it to one of theirs.
async fn need_list(app: &App, caller: &Caller, notification: Option<NotificationId>) -> Result<(), Problem> {
    match notification {
        Some(id) if caller.knows(app, Some(id)).await? => Ok(()),
        Some(id) => Err(unknown("notification", id)),
        None => caller.need(app, Right::Notifications, &Scope::Registry).await.map_err(|problem| Problem {
            detail:
                "only a superuser may list everything; name one of your notifications with `?notification=ID`"
                    .into(),
            ..problem
        }),
    }
}

/// A list's failure: a cursor of ours or not.
fn list_fault(error: StoreError) -> Problem {
    match error {
        StoreError::BadCursor { .. } => Problem::bad(format!("query: {error}")),
        other => other.into(),
    }
}

/// The members of an object that was just written as one; none of anything else.
fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
