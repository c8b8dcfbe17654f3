//! `POST /v1/events`: `CloudEvents` in structured, batched or binary mode.
//!
//! The answer is 202 once the broker holds every event durably, and a batch is taken whole or not
//! at all. Sending an event again is harmless: fan-out knows it by `source` and `id`.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_broker::Outgoing;
use bellbuoy_domain::{Event, EventError};
use http::{HeaderMap, StatusCode, request::Parts};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    canonical, message,
    modes::{BATCHED, Mode, STRUCTURED, attributes},
};
use crate::{
    App, body,
    contract::{EventDocument, Operation, Routes},
    counts::{self, Source},
    now,
    problem::Problem,
};

/// What was taken.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventsTaken")]
struct Taken<'a> {
    /// The ids of the events, in their order.
    ids: Vec<&'a str>,
}

/// `POST /v1/events`.
pub(super) fn routes() -> Routes {
    Routes::default().serve(
        Operation::post("/v1/events", "Take CloudEvents: structured, batched or binary.")
            .or_with_slash()
            .takes_as::<EventDocument>(STRUCTURED)
            .takes_as::<Vec<EventDocument>>(BATCHED)
            .takes_as::<Map<String, Value>>("application/json")
            .answers::<Taken<'_>>(202)
            .refuses([415]),
        accept,
    )
}

async fn accept(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let taken = take(&app, &parts, body, now()).await;
    let events = taken.inspect_err(|problem| {
        counts::refused(&app.api.metrics, Source::CloudEvents, problem.status);
    })?;
    let kinds = events.iter().map(|event| event.kind);
    counts::accepted(&app.api.metrics, Source::CloudEvents, kinds, begun.elapsed());
    let ids = events.iter().map(|event| event.id.as_str()).collect();
    Ok((StatusCode::ACCEPTED, Json(Taken { ids })).into_response())
}

async fn take(app: &App, parts: &Parts, body: Body, now: Timestamp) -> Result<Vec<Event>, Problem> {
    let mode = Mode::of(&parts.headers)?;
    let limits = &app.api.limits;
    let limit = if mode == Mode::Batched { limits.batch_bytes } else { limits.event_bytes };
    let read = app.bodies.read_whole(parts, body, limit).await?;
    let events = match mode {
        Mode::Structured => vec![Event::from_json(&read.bytes, now).map_err(|error| fault(&error))?],
        Mode::Binary => vec![binary(&parts.headers, &read.bytes, now)?],
        Mode::Batched => batch(&read.bytes, limits.batch_events, now)?,
    };
    let messages = messages(&events, mode, now)?;
    if !messages.is_empty() {
        app.api.broker.publish(messages).await?;
    }
    Ok(events)
}

fn messages(events: &[Event], mode: Mode, now: Timestamp) -> Result<Vec<Outgoing>, Problem> {
    let message = |(index, event)| match canonical(event) {
        Ok(bytes) => Ok(message(bytes, now)),
        Err(error) if mode == Mode::Batched => Err(fault_at(index, &error)),
        Err(error) => Err(fault(&error)),
    };
    events.iter().enumerate().map(message).collect()
}

fn batch(bytes: &[u8], most: usize, now: Timestamp) -> Result<Vec<Event>, Problem> {
    let values: Vec<Value> = body::from_json(bytes)?;
    if values.len() > most {
        let detail = format!("the batch holds {} events; at most {most} are taken at once", values.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let event = |(index, value)| Event::from_value(value, now).map_err(|error| fault_at(index, &error));
    values.into_iter().enumerate().map(event).collect()
}

fn binary(headers: &HeaderMap, bytes: &[u8], now: Timestamp) -> Result<Event, Problem> {
    let mut attributes = attributes(headers)?;
    if !bytes.is_empty() {
        attributes.insert("data".to_owned(), body::from_json(bytes)?);
    }
    Event::from_value(attributes.into(), now).map_err(|error| fault(&error))
}

fn fault(error: &EventError) -> Problem {
    let problem = Problem::new(status(error), error.to_string());
    match attribute(error) {
        Some(name) => problem.with("attribute", name),
        None => problem,
    }
}

fn fault_at(index: usize, error: &EventError) -> Problem {
    let mut problem = fault(error).with("index", index);
    problem.detail = format!("event {index} of the batch: {error}; nothing of the batch was taken").into();
    problem
}

fn status(error: &EventError) -> StatusCode {
    match error {
        EventError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn attribute(error: &EventError) -> Option<&'static str> {
    match error {
        EventError::Missing { attribute } | EventError::Invalid { attribute, .. } => Some(attribute),
        EventError::UnknownKind(_) => Some("type"),
        EventError::Name(_) => Some("subject"),
        EventError::Data(_) => Some("data"),
        EventError::TooLarge { .. } | EventError::NotJson(_) => None,
    }
}
