//! `POST /v1/dead-letters/{id}/replay`: a dead letter goes back to where it died, and then out of
//! the archive.
//!
//! Published first and discarded after, so a crash in between loses nothing: the letter is still
//! there, and replaying it again repeats the same delivery under its own id, or the same event.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bellbuoy_broker::{Outgoing, QueueName, queues};
use bellbuoy_domain::{DeadReason, DeliveryId, DeliveryMessage, DeliveryState, Event, MethodName, Record};
use bellbuoy_store::{DeadLetter, DeliveryRow};
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{again, dead_letters, query};
use crate::{
    App,
    auth::Caller,
    contract::{Operation, Routes},
    ingest, now,
    problem::Problem,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReplayQuery {
    /// What bytes that could not be read are to be taken for.
    #[serde(rename = "as")]
    taken_for: Option<TakenFor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TakenFor {
    Event,
}

/// What a replay came to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Replay")]
struct ReplayView {
    id: Uuid,
    outcome: ReplayOutcome,
    /// Where the letter was a delivery's.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryId>,
    /// Where the delivery stands that has gone on without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<DeliveryState>,
    /// The number of the attempt that comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ReplayOutcome {
    /// It is on its way again.
    Replayed,
    /// Its delivery has gone on since; nothing was sent.
    Superseded,
}

impl ReplayView {
    fn new(id: Uuid, outcome: ReplayOutcome) -> Self {
        Self { id, outcome, delivery: None, state: None, attempt: None }
    }
}

/// `/v1/dead-letters/{id}/replay`.
pub(super) fn routes() -> Routes {
    Routes::default().serve(
        Operation::post("/v1/dead-letters/{id}/replay", "Send it back to where it died, and forget it.")
            .asks::<ReplayQuery>()
            .answers::<ReplayView>(200)
            .answers::<ReplayView>(202)
            .refuses([404, 409]),
        replay,
    )
}

/// What is to be done for a dead letter.
enum Plan {
    /// A delivery goes on.
    Delivery(Box<Delivery>),
    /// A message goes back to its queue as it was.
    Return(Outgoing),
}

/// A dead delivery, read.
struct Delivery {
    method: &'static str,
    /// As it died.
    message: DeliveryMessage,
    event: Event,
}

async fn replay(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let wanted: ReplayQuery = query(&uri)?;
    let letter = dead_letters::find(&app, &caller, &text).await?;
    let response = match plan(&letter, wanted.taken_for)? {
        Plan::Delivery(delivery) => replay_delivery(&app, letter.id, *delivery).await?,
        Plan::Return(message) => {
            app.api.broker.publish(vec![message]).await?;
            let replayed = ReplayView::new(letter.id, ReplayOutcome::Replayed);
            (StatusCode::ACCEPTED, Json(replayed)).into_response()
        }
    };
    // Somebody else may have been faster; then the letter is gone as it should be.
    let entry = dead_letters::entry(&caller, "dead_letter.replay", &letter);
    app.api.store.audited(entry).discard_dead_letter(letter.id).await?;
    Ok(response)
}

async fn replay_delivery(app: &App, letter: Uuid, delivery: Delivery) -> Result<Response, Problem> {
    let died_at = delivery.message.attempt;
    if let Some(known) = app.api.store.delivery(delivery.message.delivery).await?
        && is_past(&known.delivery, died_at)
    {
        let superseded = ReplayView {
            delivery: Some(known.delivery.id),
            state: Some(known.delivery.state),
            ..ReplayView::new(letter, ReplayOutcome::Superseded)
        };
        return Ok(Json(superseded).into_response());
    }
    again::check_notification(app, delivery.message.notification).await?;
    let now = now();
    // Whatever ended it has used its last number, an attempt that killed its worker as well.
    let message = DeliveryMessage {
        attempt: died_at.saturating_add(1),
        spent: died_at,
        due_at: now,
        held_since: None,
        ..delivery.message
    };
    again::send(app, delivery.method, &message, &delivery.event, now).await?;
    let replayed = ReplayView {
        delivery: Some(message.delivery),
        attempt: Some(message.attempt),
        ..ReplayView::new(letter, ReplayOutcome::Replayed)
    };
    Ok((StatusCode::ACCEPTED, Json(replayed)).into_response())
}

/// Whether a delivery has gone on since it died at attempt `died_at`: by a resend, or by a replay
/// that did not get to discard its letter. It needs no other one.
fn is_past(known: &DeliveryRow, died_at: u32) -> bool {
    let goes_on =
        matches!(known.state, DeliveryState::Pending | DeliveryState::Waiting | DeliveryState::Delivered);
    known.attempts > died_at || (known.attempts == died_at && goes_on)
}

/// Decides what a replay of `letter` is.
///
/// # Errors
///
/// 409 when it would only die again, or has to be asked for in another way.
fn plan(letter: &DeadLetter, taken_for: Option<TakenFor>) -> Result<Plan, Problem> {
    let is_undecodable = letter.reason == DeadReason::Undecodable.name();
    match (origin(&letter.origin), taken_for) {
        (_, Some(_)) if !is_undecodable => {
            Err(Problem::conflict("only what could not be read can be replayed as something else"))
        }
        (_, Some(TakenFor::Event)) => {
            check_event(letter)?;
            Ok(Plan::Return(ingest::message(letter.body.clone(), letter.died_at)))
        }
        (Origin::Deliveries(method), None) => delivery(letter, method),
        (Origin::Outcomes, None) => {
            Record::all_from_json(&letter.body).map_err(|error| still_unreadable(&error))?;
            Ok(Plan::Return(Outgoing::new(queues::outcomes(), letter.body.clone())))
        }
        (Origin::Events, None) if !is_undecodable => {
            // Under its own id: fan-out may have admitted the event by it, and would drop another
            // message of the same event as a repeat.
            let message = ingest::message(letter.body.clone(), letter.died_at);
            Ok(Plan::Return(Outgoing { id: letter.id, ..message }))
        }
        (Origin::Events | Origin::Ingest, None) => Err(Problem::conflict(
            "its bytes could not be read as an event; add `?as=event` to try them once more",
        )),
        (Origin::Unknown, None) => {
            let origin: String = letter.origin.chars().take(80).collect();
            Err(Problem::conflict(format!("it came from {origin:?}, which is none of this server's queues")))
        }
    }
}

/// Where a dead letter came from.
enum Origin {
    Events,
    Outcomes,
    Deliveries(&'static str),
    /// Never on a queue of ours: bytes that a way in kept.
    Ingest,
    Unknown,
}

fn origin(name: &str) -> Origin {
    // A method's queue can have parts, which are named after it.
    let is_of = |queue: QueueName| {
        name.strip_prefix(queue.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if is_of(queues::events()) {
        Origin::Events
    } else if is_of(queues::outcomes()) {
        Origin::Outcomes
    } else if name.starts_with("ingest.") {
        Origin::Ingest
    } else {
        let method = queues::method_of(name).and_then(|method| method.parse::<MethodName>().ok());
        method.map_or(Origin::Unknown, |method| Origin::Deliveries(method.name()))
    }
}

fn delivery(letter: &DeadLetter, method: &'static str) -> Result<Plan, Problem> {
    let message = DeliveryMessage::from_json(&letter.body).map_err(|error| still_unreadable(&error))?;
    let event = Event::from_json(message.event.get().as_bytes(), message.accepted_at)
        .map_err(|error| still_unreadable(&error))?;
    Ok(Plan::Delivery(Box::new(Delivery { method, message, event })))
}

fn check_event(letter: &DeadLetter) -> Result<(), Problem> {
    Event::from_json(&letter.body, letter.died_at).map(drop).map_err(|error| still_unreadable(&error))
}

/// It would only die again.
fn still_unreadable(error: &dyn std::error::Error) -> Problem {
    Problem::conflict(format!("it still can't be read: {error}"))
}
