//! `GET /v1/events/{id}`: an event as it was taken, and what it means to every notification that
//! could have wanted it.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{Event, Grain, Notification, NotificationId, Scope, Subject};
use bellbuoy_store::StoredEvent;
use http::Uri;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    explain::{hold, no},
    query, stored_event, unknown,
};
use crate::{App, auth::Caller, problem::Problem};

/// Notifications that one event is explained for in one answer; which comes after them is said in `next`.
const EXPLAINED: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    source: Option<String>,
    /// What it is to this one alone, be it of another scope.
    notification: Option<NotificationId>,
    /// `next` of the answer before.
    after: Option<NotificationId>,
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let wanted: EventQuery = query(&uri)?;
    let found = app.api.store.event(wanted.source.as_deref(), &id).await?;
    let mut events = Vec::with_capacity(found.len());
    for stored in &found {
        let event = stored_event(stored)?;
        if caller.owns(&app, &place(&event.subject)).await? {
            let considered = considered(&app, &caller, &event, wanted.notification).await?;
            events.push(explained(stored, &event, &considered, wanted.after));
        }
    }
    if events.is_empty() {
        return Err(unknown("event", &id));
    }
    Ok(Json(json!({ "events": events })).into_response())
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

fn explained(
    stored: &StoredEvent,
    event: &Event,
    considered: &[Notification],
    after: Option<NotificationId>,
) -> Value {
    let begin = considered.partition_point(|one| after.is_some_and(|after| one.id <= after));
    let (page, more) = considered[begin..].split_at(EXPLAINED.min(considered.len() - begin));
    let next = page.last().filter(|_| !more.is_empty()).map(|last| last.id);
    json!({
        "source": stored.source,
        "id": stored.id,
        "kind": stored.kind,
        "subject": event.subject.name(),
        "accepted_at": stored.accepted_at.to_string(),
        "fanned_out": stored.fanned_out,
        "event": event.to_value(),
        "considered": page.iter().map(|one| verdict(one, event)).collect::<Vec<_>>(),
        "considered_all": next.is_none(),
        "next": next,
    })
}

/// Where an event happened.
pub(super) fn place(subject: &Subject) -> Scope {
    match subject {
        Subject::Repository(name) => Scope::Repository(name.clone()),
        Subject::Namespace(name) => Scope::Namespace(name.clone()),
        Subject::Registry => Scope::Registry,
    }
}

/// What the event is to a notification as it stands now: which delivery, or why none.
fn verdict(notification: &Notification, event: &Event) -> Value {
    let no = no(notification, event);
    let grain = notification.check().map_or(Grain::Event, |checked| checked.grain());
    let deliveries = no.is_none().then(|| event.deliveries(notification.id, grain));
    json!({
        "notification": notification.id,
        "title": notification.title,
        "method": notification.method,
        "matches": no.is_none(),
        "delivery": deliveries.as_ref().and_then(|ids| ids.first()),
        "deliveries": deliveries,
        "refused_by": no.as_ref().map(|no| no.by),
        "why_not": no.as_ref().map(|no| &no.why),
        "held": no.is_none().then(|| hold(notification)).flatten(),
    })
}
