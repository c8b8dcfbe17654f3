//! `/v1/deliveries`: where every delivery stands, what each attempt met, and sending one again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    CauseCode, DeliveryId, DeliveryMessage, DeliveryState, Event, Kind, NotificationId, WIRE_VERSION,
};
use bellbuoy_store::{AttemptRow, Cursor, DeliveryDetail, DeliveryQuery, DeliveryRow};
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{again, id, limit, list_fault, need_list, query, stored_event, unknown};
use crate::{App, auth::Caller, docker_hub, now, problem::Problem, sample::raw};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    state: Option<DeliveryState>,
    method: Option<String>,
    kind: Option<Kind>,
    notification: Option<NotificationId>,
    subject: Option<String>,
    source: Option<String>,
    event: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let wanted: ListQuery = query(&uri)?;
    need_list(&app, &caller, wanted.notification).await?;
    let wanted = DeliveryQuery {
        state: wanted.state,
        method: wanted.method,
        kind: wanted.kind,
        notification: wanted.notification,
        subject: wanted.subject,
        source: wanted.source,
        event: wanted.event,
        after: wanted.after.map(Cursor::from),
        limit: limit(wanted.limit)?,
    };
    let page = app.api.store.deliveries(&wanted).await.map_err(list_fault)?;
    let rows: Vec<Value> = page.rows.iter().map(row).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(json!({ "deliveries": rows, "next": next })).into_response())
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let detail = find(&app, &caller, &text).await?;
    let mut object = row(&detail.delivery);
    object["attempts"] = detail.attempts.iter().map(attempt).collect();
    object["callback"] = callback(&app, detail.delivery.id).await?;
    Ok(Json(object).into_response())
}

/// What was called back for a delivery, and which delivery followed in its chain.
async fn callback(app: &App, delivery: DeliveryId) -> Result<Value, Problem> {
    let Some(row) = app.api.store.callback(delivery).await? else { return Ok(Value::Null) };
    let next = DeliveryId::derive_for_link(row.awaited.first, row.awaited.link + 1);
    let next = app.api.store.delivery(next).await?.map(|next| next.delivery.id);
    let mut object = docker_hub::object(&row);
    object["next"] = json!(next);
    Ok(object)
}

/// Sends a delivery again under its own id, with a fresh run of its schedule; attempt numbers go on.
pub(crate) async fn resend(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let delivery = find(&app, &caller, &text).await?.delivery;
    check_sendable(&app, &delivery).await?;
    let (event, body) = event(&app, &delivery).await?;
    let last = last_number(&delivery);
    let (next, now) = (last.saturating_add(1), now());
    let message = DeliveryMessage {
        v: WIRE_VERSION,
        delivery: delivery.id,
        notification: delivery.notification,
        attempt: next,
        spent: last,
        accepted_at: delivery.accepted_at,
        due_at: now,
        again_at: Some(now),
        event: raw(body)?,
    };
    again::send(&app, &delivery.method, &message, &event, now).await?;
    again::note(&app, &caller, "delivery.resend", &delivery.id, &event).await;
    Ok((StatusCode::ACCEPTED, Json(json!({ "delivery": delivery.id, "attempt": next }))).into_response())
}

/// The delivery, if there is one and the caller may know of it.
async fn find(app: &App, caller: &Caller, text: &str) -> Result<DeliveryDetail, Problem> {
    let found = app.api.store.delivery(id::<DeliveryId>(text, "delivery")?).await?;
    match found {
        Some(found) if caller.knows(app, Some(found.delivery.notification)).await? => Ok(found),
        _ => Err(unknown("delivery", text)),
    }
}

async fn check_sendable(app: &App, delivery: &DeliveryRow) -> Result<(), Problem> {
    if matches!(delivery.state, DeliveryState::Pending | DeliveryState::Waiting) {
        let state = delivery.state.name();
        return Err(Problem::conflict(format!("the delivery is {state}: it is still going to be sent")));
    }
    again::check_notification(app, delivery.notification).await
}

/// The number of a delivery's last record. One that ended without an attempt used the number of the
/// attempt it was due for, so that number is left out: its history would hide what comes under it.
fn last_number(delivery: &DeliveryRow) -> u32 {
    let unspent = delivery.state == DeliveryState::Cancelled
        || delivery.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::Disabled);
    delivery.attempts.saturating_add(u32::from(unspent))
}

/// The delivery's event, and its bytes as they are kept.
async fn event(app: &App, delivery: &DeliveryRow) -> Result<(Event, Vec<u8>), Problem> {
    let found = app.api.store.event(Some(&delivery.source), &delivery.event).await?;
    let stored = found.into_iter().next().ok_or_else(|| {
        Problem::new(
            StatusCode::GONE,
            "the delivery's event is no longer kept; raise `history` to keep longer",
        )
    })?;
    Ok((stored_event(&stored)?, stored.body))
}

fn row(row: &DeliveryRow) -> Value {
    json!({
        "id": row.id,
        "notification": row.notification,
        "method": row.method,
        "source": row.source,
        "event": row.event,
        "kind": row.kind,
        "subject": (!row.subject.is_empty()).then_some(&row.subject),
        "accepted_at": row.accepted_at.to_string(),
        "state": row.state,
        "attempt_count": row.attempts,
        "next_due_at": row.next_due_at.map(|at| at.to_string()),
        "updated_at": row.updated_at.to_string(),
        "cause": row.cause,
        "status": row.status,
    })
}

fn attempt(row: &AttemptRow) -> Value {
    json!({
        "number": row.number,
        "started_at": row.started_at.to_string(),
        "duration_ms": row.duration_ms,
        "outcome": row.outcome,
        "cause": row.cause,
        "status": row.status,
    })
}
