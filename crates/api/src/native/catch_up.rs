//! `POST /v1/notifications/{id}/catch-up`: what a notification missed since a time, because it was disabled or did not
//! ask for it then, as far as history has it. What it got and could not deliver is among its dead letters.
//!
//! A delivery's id follows from its event and its notification, so what is known of a delivery says that it was not
//! missed, and catching up twice sends nothing twice.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_broker::{Outgoing, queues};
use bellbuoy_domain::{
    CheckedNotification, DeliveryId, DeliveryMessage, Event, Notification, NotificationState, Record,
    WIRE_VERSION,
};
use bellbuoy_store::{Cursor, StoredEvent};
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{list_fault, map, notifications::find, stored_event};
use crate::{
    App,
    auth::Caller,
    body,
    contract::{Operation, Routes},
    now,
    problem::Problem,
    sample::{self, fanned_out, raw},
};

/// Events that one call looks at.
const PAGE: u32 = 50;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CatchUp")]
struct Body {
    /// From when on.
    since: Timestamp,
    /// Where the call before ended.
    after: Option<String>,
}

/// What one call came to.
#[derive(Debug, Serialize, JsonSchema)]
struct CaughtUp {
    /// Deliveries that were made.
    sent: u64,
    /// Deliveries that there were already.
    known: u64,
    /// The `after` of the next call; null at the end.
    next: Option<String>,
}

/// `/v1/notifications/{id}/catch-up`.
pub(super) fn routes() -> Routes {
    Routes::default().serve(
        Operation::post(
            "/v1/notifications/{id}/catch-up",
            "Send a page of what the notification missed since a time.",
        )
        .takes::<Body>()
        .answers::<CaughtUp>(202)
        .refuses([404, 409]),
        catch_up,
    )
}

/// What one call is going to send.
#[derive(Default)]
struct Tally {
    messages: Vec<Outgoing>,
    sent: u64,
    known: u64,
}

async fn catch_up(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
    let wanted: Body = body::object_from_json(&read.bytes)?;
    let notification = find(&app, &caller, &id).await?;
    if notification.state == NotificationState::Disabled {
        return Err(Problem::conflict("the notification is disabled; reset it first"));
    }
    let checked = notification.check().map_err(|error| Problem::conflict(error.to_string()))?;
    let after = wanted.after.map(Cursor::from);
    let page = app.api.store.events_since(wanted.since, after.as_ref(), PAGE).await.map_err(list_fault)?;
    let mut tally = Tally::default();
    for stored in &page.rows {
        tally.add(&app, &notification, &checked, stored).await?;
    }
    if tally.sent > 0 {
        app.api.broker.publish(tally.messages).await?;
        let details = map(json!({ "since": wanted.since.to_string(), "sent": tally.sent }));
        let entry = caller.entry("notification.catch_up", &notification.id, &notification.scope, details);
        app.api.store.note(entry).await?;
    }
    let next = page.next.map(|next| next.to_string());
    let said = CaughtUp { sent: tally.sent, known: tally.known, next };
    Ok((StatusCode::ACCEPTED, Json(said)).into_response())
}

impl Tally {
    async fn add(
        &mut self,
        app: &App,
        notification: &Notification,
        checked: &CheckedNotification,
        stored: &StoredEvent,
    ) -> Result<(), Problem> {
        // What is not fanned out will be, and a sample was for another's eyes.
        if !stored.fanned_out || stored.source == sample::SOURCE {
            return Ok(());
        }
        let event = stored_event(stored)?;
        if !notification.listens_to(&event) || checked.filter.allows(&event).is_err() {
            return Ok(());
        }
        for delivery in event.deliveries(notification.id, checked.grain()) {
            if app.api.store.delivery(delivery).await?.is_some() {
                self.known += 1;
            } else {
                self.send(app, notification, (&event, stored.accepted_at), delivery)?;
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        app: &App,
        notification: &Notification,
        (event, accepted_at): (&Event, Timestamp),
        delivery: DeliveryId,
    ) -> Result<(), Problem> {
        let now = now();
        let message = DeliveryMessage {
            v: WIRE_VERSION,
            delivery,
            notification: notification.id,
            attempt: 1,
            spent: 0,
            accepted_at,
            due_at: now,
            held_since: None,
            event: raw(event.to_json())?,
        };
        let fanned_out = Some(fanned_out(event, delivery, notification, accepted_at));
        let record = Record { v: WIRE_VERSION, fanned_out, attempt: None };
        let queue = app.api.shards.queue(&notification.method, notification.id.as_uuid().as_u128());
        self.messages.push(Outgoing::new(queue, message.to_json()));
        self.messages.push(Outgoing::new(queues::outcomes(), record.to_json()));
        self.sent += 1;
        Ok(())
    }
}
