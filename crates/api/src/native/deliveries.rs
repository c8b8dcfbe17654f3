//! `/v1/deliveries`: where every delivery stands, what each attempt met, and sending one again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    Cause, DeliveryId, DeliveryMessage, DeliveryState, Event, Kind, NotificationId, WIRE_VERSION,
};
use bellbuoy_store::{AttemptRow, CallbackRow, Cursor, DeliveryDetail, DeliveryQuery, DeliveryRow};
use http::{StatusCode, Uri};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Limit, again, id, limit, list_fault, need_list, query, stored_event, unknown};
use crate::{
    App,
    auth::Caller,
    contract::{Operation, Routes},
    docker_hub::CallbackView,
    now,
    problem::Problem,
    sample::raw,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// In this state.
    state: Option<DeliveryState>,
    /// By this method.
    method: Option<String>,
    /// Of this kind of event.
    kind: Option<Kind>,
    /// For this notification.
    notification: Option<NotificationId>,
    /// About this repository or namespace.
    subject: Option<String>,
    /// Of events of this source.
    source: Option<String>,
    /// Of the event of this id.
    event: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    #[schemars(with = "Option<Limit>")]
    limit: Option<u32>,
}

/// Where a delivery stands.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
struct DeliveryView<'a> {
    id: DeliveryId,
    notification: NotificationId,
    method: &'a str,
    /// The event's source.
    source: &'a str,
    /// The event's id.
    event: &'a str,
    kind: Kind,
    /// The repository or namespace; null for the registry.
    subject: Option<&'a str>,
    /// When the event was accepted.
    accepted_at: Timestamp,
    state: DeliveryState,
    /// How many attempts it has spent.
    attempt_count: u32,
    /// When it is next due, while it waits.
    next_due_at: Option<Timestamp>,
    updated_at: Timestamp,
    /// Why it is not delivered, by its latest record.
    cause: Option<&'a Cause>,
    /// The HTTP status of the latest record.
    status: Option<u16>,
}

/// One try of a delivery.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
struct AttemptView<'a> {
    /// From 1.
    number: u32,
    started_at: Timestamp,
    duration_ms: u64,
    /// `delivered`, `deferred` or `rejected`.
    outcome: &'a str,
    /// Why it did not deliver.
    cause: Option<&'a Cause>,
    /// The HTTP status of the answer, if one came.
    status: Option<u16>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, JsonSchema)]
struct Deliveries<'a> {
    deliveries: Vec<DeliveryView<'a>>,
    /// The `after` of the next page; null at the end. A page can be short although more follow.
    next: Option<String>,
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeliveryDetail")]
struct DeliveryDetailView<'a> {
    #[serde(flatten)]
    delivery: DeliveryView<'a>,
    attempts: Vec<AttemptView<'a>>,
    callback: Option<ChainedCallbackView<'a>>,
}

/// What was called back for a delivery, and which followed in its chain.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChainedCallback")]
struct ChainedCallbackView<'a> {
    #[serde(flatten)]
    callback: CallbackView<'a>,
    /// The delivery to the next URL of the chain, if it was made.
    next: Option<DeliveryId>,
}

/// A delivery that is sent once more.
#[derive(Debug, Serialize, JsonSchema)]
struct SentAgain {
    delivery: DeliveryId,
    /// The number of the attempt that comes.
    attempt: u32,
}

/// `/v1/deliveries`.
pub(super) fn routes() -> Routes {
    Routes::default()
        .serve(
            Operation::get("/v1/deliveries", "Deliveries, newest first.")
                .asks::<ListQuery>()
                .answers::<Deliveries<'_>>(200)
                .refuses([404]),
            list,
        )
        .serve(
            Operation::get("/v1/deliveries/{id}", "A delivery with every attempt.")
                .answers::<DeliveryDetailView<'_>>(200)
                .refuses([404]),
            get,
        )
        .serve(
            Operation::post("/v1/deliveries/{id}/resend", "Send it once more under its own id.")
                .answers::<SentAgain>(202)
                .refuses([404, 409, 410]),
            resend,
        )
}

async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
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
    let deliveries = page.rows.iter().map(DeliveryView::of).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(Deliveries { deliveries, next }).into_response())
}

async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let detail = find(&app, &caller, &text).await?;
    let callback = app.api.store.callback(detail.delivery.id).await?;
    let view = DeliveryDetailView {
        delivery: DeliveryView::of(&detail.delivery),
        attempts: detail.attempts.iter().map(AttemptView::of).collect(),
        callback: match &callback {
            None => None,
            Some(row) => Some(chained(&app, row).await?),
        },
    };
    Ok(Json(view).into_response())
}

async fn chained<'a>(app: &App, row: &'a CallbackRow) -> Result<ChainedCallbackView<'a>, Problem> {
    let next = DeliveryId::derive_for_link(row.awaited.first, row.awaited.link + 1);
    let next = app.api.store.delivery(next).await?.map(|next| next.delivery.id);
    Ok(ChainedCallbackView { callback: CallbackView::of(row), next })
}

/// Sends a delivery again under its own id, with a fresh run of its schedule; attempt numbers go on.
async fn resend(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let delivery = find(&app, &caller, &text).await?.delivery;
    check_sendable(&app, &delivery).await?;
    let (event, body) = event(&app, &delivery).await?;
    // What ended without an attempt used the number of the one it was due for: history would hide what comes under it.
    let last = delivery.last_number;
    let (next, now) = (last.saturating_add(1), now());
    let message = DeliveryMessage {
        v: WIRE_VERSION,
        delivery: delivery.id,
        notification: delivery.notification,
        attempt: next,
        spent: last,
        accepted_at: delivery.accepted_at,
        due_at: now,
        held_since: None,
        event: raw(body)?,
    };
    again::send(&app, &delivery.method, &message, &event, now).await?;
    again::note(&app, &caller, "delivery.resend", &delivery.id, &event).await;
    Ok((StatusCode::ACCEPTED, Json(SentAgain { delivery: delivery.id, attempt: next })).into_response())
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

impl<'a> DeliveryView<'a> {
    fn of(row: &'a DeliveryRow) -> Self {
        Self {
            id: row.id,
            notification: row.notification,
            method: &row.method,
            source: &row.source,
            event: &row.event,
            kind: row.kind,
            subject: (!row.subject.is_empty()).then_some(&row.subject),
            accepted_at: row.accepted_at,
            state: row.state,
            attempt_count: row.attempts,
            next_due_at: row.next_due_at,
            updated_at: row.updated_at,
            cause: row.cause.as_ref(),
            status: row.status,
        }
    }
}

impl<'a> AttemptView<'a> {
    fn of(row: &'a AttemptRow) -> Self {
        Self {
            number: row.number,
            started_at: row.started_at,
            duration_ms: row.duration_ms,
            outcome: &row.outcome,
            cause: row.cause.as_ref(),
            status: row.status,
        }
    }
}
