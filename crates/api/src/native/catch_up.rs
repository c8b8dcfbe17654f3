//! `POST /v1/notifications/{id}/catch-up`: what a notification missed since a time, because it was disabled or did not
//! ask for it then, as far as history has it. What it got and could not deliver is among its dead letters.
//!
//! A delivery's id follows from its event and its notification, so what is known of a delivery says that it was not
//! missed, and catching up twice sends nothing twice; while history does not tell of a call's deliveries yet, the same
//! call is answered 409. A call that failed can be made again, after a minute at most. As at the fan-out, what goes out
//! in one request for each tag carries that tag alone, and what the notification wants to be told together is collected.

use std::{borrow::Cow, collections::HashSet, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_broker::{Outgoing, queues};
use bellbuoy_domain::{
    CheckedNotification, DeliveryId, DeliveryMessage, Event, Notification, NotificationState, Record,
    WIRE_VERSION, digest,
};
use bellbuoy_store::{Collected, Cursor, StoredEvent};
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{again, list_fault, map, notifications::find, stored_event};
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

/// The attempt that is sent.
const FIRST: u32 = 1;

/// Bytes of bodies from which on messages go out in a piece of their own.
const PIECE_BYTES: usize = 4 << 20;

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
    /// Deliveries that were made; those that are told together with others count each.
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
    let mut missed = Missed::by(&app, &notification, &checked);
    missed.take(&page.rows).await?;
    if let Err(problem) = missed.send_all(&page.rows).await {
        missed.free().await;
        return Err(problem);
    }
    if missed.sent > 0 {
        let details = map(json!({ "since": wanted.since.to_string(), "sent": missed.sent }));
        let entry = caller.entry("notification.catch_up", &notification.id, &notification.scope, details);
        // It is sent, so trouble of the store can only be told.
        if let Err(error) = app.api.store.note(entry).await {
            tracing::error!("can't write down notification.catch_up by {}: {error}", caller.actor());
        }
    }
    let next = page.next.map(|next| next.to_string());
    let said = CaughtUp { sent: missed.sent, known: missed.known, next };
    Ok((StatusCode::ACCEPTED, Json(said)).into_response())
}

/// What a notification missed, on its way out.
struct Missed<'a> {
    app: &'a App,
    notification: &'a Notification,
    checked: &'a CheckedNotification,
    /// What nobody else sends meanwhile.
    taken: HashSet<DeliveryId>,
    /// Whether some of it may be out.
    is_out: bool,
    /// What is to be told together, of which event, and when that was accepted.
    collected: Vec<(Collected, (Event, Timestamp))>,
    messages: Vec<Outgoing>,
    bytes: usize,
    sent: u64,
    known: u64,
}

impl<'a> Missed<'a> {
    fn by(app: &'a App, notification: &'a Notification, checked: &'a CheckedNotification) -> Self {
        Self {
            app,
            notification,
            checked,
            taken: HashSet::new(),
            is_out: false,
            collected: Vec::new(),
            messages: Vec::new(),
            bytes: 0,
            sent: 0,
            known: 0,
        }
    }

    /// Takes what history does not know of these events, before any of it goes out.
    ///
    /// # Errors
    ///
    /// 409 when another call has taken some of it: it is on its way, or that call broke off.
    async fn take(&mut self, rows: &[StoredEvent]) -> Result<(), Problem> {
        let mut ids = HashSet::new();
        for stored in rows {
            let Some(event) = self.heard(stored)? else { continue };
            let wanted = self.checked.wanted(&event, self.notification.id).unwrap_or_default();
            ids.extend(wanted.iter().map(|(delivery, _)| *delivery));
        }
        let ids: Vec<DeliveryId> = ids.into_iter().collect();
        let known = self.app.api.store.known_deliveries(&ids).await?;
        self.known = known.len() as u64;
        let missed: Vec<_> = ids.into_iter().filter(|id| !known.contains(id)).map(|id| (id, FIRST)).collect();
        if missed.is_empty() {
            return Ok(());
        }
        self.taken = again::take(self.app, &missed).await?;
        if self.taken.len() < missed.len() {
            self.free().await;
            let detail = "some of it was sent a moment ago, and history does not tell of it yet; try again in a minute";
            return Err(Problem::conflict(detail));
        }
        Ok(())
    }

    /// Lets others send what was taken, unless some of it may be out: then they wait until history tells.
    async fn free(&self) {
        if !self.is_out {
            let taken: Vec<_> = self.taken.iter().map(|delivery| (*delivery, FIRST)).collect();
            again::free(self.app, &taken).await;
        }
    }

    /// Sends what was taken.
    async fn send_all(&mut self, rows: &[StoredEvent]) -> Result<(), Problem> {
        for stored in rows {
            self.look_at(stored).await?;
        }
        self.collect().await?;
        self.publish().await
    }

    /// The event, where the notification listens to it.
    fn heard(&self, stored: &StoredEvent) -> Result<Option<Event>, Problem> {
        // What is not fanned out will be, and a sample or a digest was for one notification's eyes.
        if !stored.fanned_out || stored.source == sample::SOURCE || digest::is_one(&stored.id) {
            return Ok(None);
        }
        Ok(Some(stored_event(stored)?).filter(|event| self.notification.listens_to(event)))
    }

    async fn look_at(&mut self, stored: &StoredEvent) -> Result<(), Problem> {
        let Some(event) = self.heard(stored)? else { return Ok(()) };
        let Ok(mut missed) = self.checked.wanted(&event, self.notification.id) else { return Ok(()) };
        missed.retain(|(delivery, _)| self.taken.contains(delivery));
        self.sent += missed.len() as u64;
        match (&missed[..], self.window(stored)) {
            ([], _) => {}
            ([(delivery, _), ..], Some(window)) => {
                let collected = self.collected(*delivery, stored, window);
                self.collected.push((collected, (event, stored.accepted_at)));
            }
            (missed, None) => self.send(&event, stored.accepted_at, missed).await?,
        }
        Ok(())
    }

    /// For how long an event is collected with others, if it is.
    fn window(&self, stored: &StoredEvent) -> Option<Duration> {
        let is_one = digest::is_collected(stored.kind) && stored.body.len() <= digest::LARGEST_COLLECTED;
        self.checked.digest.filter(|_| is_one)
    }

    fn collected(&self, delivery: DeliveryId, stored: &StoredEvent, window: Duration) -> Collected {
        let now = now();
        Collected {
            delivery,
            notification: self.notification.id,
            method: self.notification.method.clone(),
            source: stored.source.clone(),
            subject: stored.subject.clone(),
            message: stored.message,
            due_at: now.saturating_add(window).unwrap_or(now),
            body: stored.body.clone(),
        }
    }

    /// Makes deliveries of an event, and then the record of them.
    async fn send(
        &mut self,
        event: &Event,
        accepted_at: Timestamp,
        missed: &[(DeliveryId, Option<&str>)],
    ) -> Result<(), Problem> {
        let queue =
            self.app.api.shards.queue(&self.notification.method, self.notification.id.as_uuid().as_u128());
        for (delivery, tag) in missed {
            let told = tag.map_or(Cow::Borrowed(event), |tag| Cow::Owned(event.with_tag_alone(tag)));
            let now = now();
            let message = DeliveryMessage {
                v: WIRE_VERSION,
                delivery: *delivery,
                notification: self.notification.id,
                attempt: FIRST,
                spent: 0,
                accepted_at,
                due_at: now,
                held_since: None,
                event: raw(told.to_json())?,
            };
            self.push(Outgoing::new(queue.clone(), message.to_json())).await?;
        }
        let deliveries = missed.iter().map(|(delivery, _)| *delivery);
        let fanned_out = Some(fanned_out(event, deliveries, self.notification, accepted_at));
        let record = Record { v: WIRE_VERSION, fanned_out, attempt: None };
        self.push(Outgoing::new(queues::outcomes(), record.to_json())).await
    }

    /// Puts what is told together where it is collected, and then makes the records of it.
    async fn collect(&mut self) -> Result<(), Problem> {
        let (collected, events): (Vec<_>, Vec<_>) = std::mem::take(&mut self.collected).into_iter().unzip();
        let digests = self.app.api.store.collect(&collected).await?;
        for ((one, digest), (event, accepted_at)) in collected.iter().zip(digests).zip(&events) {
            let together = digest.delivery(self.notification.id);
            let event = (event, *accepted_at);
            let record = digest::told_in(one.delivery, self.notification, event, together, now());
            self.push(Outgoing::new(queues::outcomes(), record.to_json())).await?;
        }
        Ok(())
    }

    async fn push(&mut self, message: Outgoing) -> Result<(), Problem> {
        self.bytes += message.body.len();
        self.messages.push(message);
        if self.bytes >= PIECE_BYTES { self.publish().await } else { Ok(()) }
    }

    async fn publish(&mut self) -> Result<(), Problem> {
        self.bytes = 0;
        let messages = std::mem::take(&mut self.messages);
        if !messages.is_empty() {
            let published = self.app.api.broker.publish(messages).await;
            self.is_out |=
                published.as_ref().err().is_none_or(|error| self.app.api.broker.may_have_taken(error));
            published.map_err(|error| again::refused(error, self.is_out))?;
        }
        Ok(())
    }
}
