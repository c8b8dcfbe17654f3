//! `GET /v1/events/{id}`: an event as it was taken, and what it means to every notification that
//! could have wanted it.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{DeliveryId, Event, Kind, Notification, NotificationId, Scope, Subject};
use bellbuoy_store::{MAX_SOURCES, StoredEvent};
use http::Uri;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    explain::{By, hold, wanted},
    query, stored_event, unknown,
};
use crate::{
    App,
    auth::Caller,
    contract::{EventDocument, Operation, Routes},
    problem::Problem,
};

/// Notifications that one event is explained for in one answer; which comes after them is said in `next`.
const EXPLAINED: usize = 1000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// Of this source alone: ids are unique within one.
    source: Option<String>,
    /// What it is to this one alone, be it of another scope.
    notification: Option<NotificationId>,
    /// `next` of the answer before.
    after: Option<NotificationId>,
}

/// The events of an id, of one source each.
#[derive(Debug, Serialize, JsonSchema)]
struct Events<'a> {
    events: Vec<EventView<'a>>,
}

/// An event, and what it means to the notifications that could have wanted it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
struct EventView<'a> {
    source: &'a str,
    id: &'a str,
    kind: Kind,
    /// The repository or namespace; null for the registry.
    subject: Option<String>,
    accepted_at: Timestamp,
    /// Whether its deliveries are queued.
    fanned_out: bool,
    /// As it was taken.
    #[schemars(with = "EventDocument")]
    event: Value,
    considered: Vec<VerdictView>,
    /// Whether these are all that there are, or the last of them.
    considered_all: bool,
    /// The `after` of the next answer; null at the end.
    next: Option<NotificationId>,
}

/// What an event is to a notification as it stands now: which deliveries, or why none.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Verdict")]
struct VerdictView {
    notification: NotificationId,
    title: Option<String>,
    method: String,
    matches: bool,
    /// The first of `deliveries`.
    delivery: Option<DeliveryId>,
    /// Several where one request tells of one tag.
    deliveries: Option<Vec<DeliveryId>>,
    /// What says no.
    refused_by: Option<By>,
    why_not: Option<String>,
    /// What holds its deliveries up, other than its receiver.
    held: Option<String>,
}

/// `/v1/events/{id}`.
pub(super) fn routes() -> Routes {
    Routes::default().serve(
        Operation::get("/v1/events/{id}", "An event, what it matched, and why not the others.")
            .asks::<EventQuery>()
            .answers::<Events<'_>>(200)
            .refuses([404]),
        get,
    )
}

async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let wanted: EventQuery = query(&uri)?;
    let found = app.api.store.event(wanted.source.as_deref(), &id).await?;
    if found.len() > MAX_SOURCES {
        let detail =
            format!("more than {MAX_SOURCES} sources have an event of this id; name one with `?source=`");
        return Err(Problem::bad(detail));
    }
    let mut events = Vec::with_capacity(found.len());
    let mut refused = None;
    for stored in &found {
        let Some(place) = stored.place() else { continue };
        if !caller.owns(&app, &place).await? {
            continue;
        }
        match stored_event(stored) {
            Ok(event) => {
                let considered = considered(&app, &caller, &event, wanted.notification).await?;
                events.push(EventView::of(stored, &event, &considered, wanted.after));
            }
            // Another source's is shown all the same.
            Err(problem) => refused = Some(problem),
        }
    }
    if events.is_empty() {
        return Err(refused.unwrap_or_else(|| unknown("event", &id)));
    }
    Ok(Json(Events { events }).into_response())
}

/// Those that the event could be for and that the caller may know of, by their ids; or the one that it asked for.
async fn considered(
    app: &App,
    caller: &Caller,
    event: &Event,
    wanted: Option<NotificationId>,
) -> Result<Vec<Notification>, Problem> {
    if let Some(id) = wanted {
        let one = caller.notification(app, id).await?.ok_or_else(|| unknown("notification", id))?;
        return Ok(vec![one]);
    }
    let mut covering = app.api.store.notifications_covering(&event.subject).await?;
    // The namespace's and the registry's are not everybody's who administers a repository there.
    let mut may_see = HashMap::new();
    for one in &covering {
        if !may_see.contains_key(&one.scope) {
            may_see.insert(one.scope.clone(), caller.owns(app, &one.scope).await?);
        }
    }
    covering.retain(|one| may_see.get(&one.scope) == Some(&true));
    covering.sort_by_key(|one| one.id);
    Ok(covering)
}

impl<'a> EventView<'a> {
    fn of(
        stored: &'a StoredEvent,
        event: &Event,
        considered: &[Notification],
        after: Option<NotificationId>,
    ) -> Self {
        let begin = considered.partition_point(|one| after.is_some_and(|after| one.id <= after));
        let (page, more) = considered[begin..].split_at(EXPLAINED.min(considered.len() - begin));
        let next = page.last().filter(|_| !more.is_empty()).map(|last| last.id);
        Self {
            source: &stored.source,
            id: &stored.id,
            kind: stored.kind,
            subject: event.subject.name().map(str::to_owned),
            accepted_at: stored.accepted_at,
            fanned_out: stored.fanned_out,
            event: event.to_value(),
            considered: page.iter().map(|one| verdict(one, event)).collect(),
            considered_all: next.is_none(),
            next,
        }
    }
}

/// Where an event happened.
pub(super) fn place(subject: &Subject) -> Scope {
    match subject {
        Subject::Repository(name) => Scope::Repository(name.clone()),
        Subject::Namespace(name) => Scope::Namespace(name.clone()),
        Subject::Registry => Scope::Registry,
    }
}

fn verdict(notification: &Notification, event: &Event) -> VerdictView {
    let (deliveries, no) = match wanted(notification, event) {
        Ok(deliveries) => (Some(deliveries), None),
        Err(no) => (None, Some(no)),
    };
    VerdictView {
        notification: notification.id,
        title: notification.title.clone(),
        method: notification.method.clone(),
        matches: no.is_none(),
        delivery: deliveries.as_ref().and_then(|ids| ids.first().copied()),
        deliveries,
        refused_by: no.as_ref().map(|no| no.by),
        held: no.is_none().then(|| hold(notification)).flatten(),
        why_not: no.map(|no| no.why),
    }
}
