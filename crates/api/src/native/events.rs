//! `GET /v1/events/{id}`: an event as it was taken, and what it means to every notification that
//! could have wanted it.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{Event, Grain, Notification, NotificationState, Scope, Subject};
use bellbuoy_store::StoredEvent;
use http::Uri;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{query, stored_event, unknown};
use crate::{App, auth::Caller, problem::Problem};

/// Notifications that one event is explained for; more of them are only said to exist.
const EXPLAINED: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    source: Option<String>,
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
            events.push(explain(&app, &caller, stored, &event).await?);
        }
    }
    if events.is_empty() {
        return Err(unknown("event", &id));
    }
    Ok(Json(json!({ "events": events })).into_response())
}

async fn explain(app: &App, caller: &Caller, stored: &StoredEvent, event: &Event) -> Result<Value, Problem> {
    let mut covering = app.api.store.notifications_covering(&event.subject).await?;
    // The namespace's and the registry's are not everybody's who administers a repository there.
    let mut may_see = HashMap::new();
    for one in &covering {
        if !may_see.contains_key(&one.scope) {
            may_see.insert(one.scope.clone(), caller.owns(app, &one.scope).await?);
        }
    }
    covering.retain(|one| may_see.get(&one.scope) == Some(&true));
    let considered: Vec<Value> = covering.iter().take(EXPLAINED).map(|one| verdict(one, event)).collect();
    Ok(json!({
        "source": stored.source,
        "id": stored.id,
        "kind": stored.kind,
        "subject": event.subject.name(),
        "accepted_at": stored.accepted_at.to_string(),
        "fanned_out": stored.fanned_out,
        "event": event.to_value(),
        "considered": considered,
        "considered_all": covering.len() <= EXPLAINED,
    }))
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
    let why_not = why_not(notification, event);
    let grain = notification.check().map_or(Grain::Event, |checked| checked.grain());
    let deliveries = why_not.is_none().then(|| event.deliveries(notification.id, grain));
    json!({
        "notification": notification.id,
        "title": notification.title,
        "method": notification.method,
        "matches": why_not.is_none(),
        "delivery": deliveries.as_ref().and_then(|ids| ids.first()),
        "deliveries": deliveries,
        "why_not": why_not,
    })
}

fn why_not(notification: &Notification, event: &Event) -> Option<String> {
    if notification.state == NotificationState::Disabled {
        let why = notification.state_reason.as_deref().unwrap_or("its deliveries kept failing");
        return Some(format!("it is disabled: {why}"));
    }
    if !notification.kinds.contains(&event.kind) {
        let kinds: Vec<&str> = notification.kinds.iter().map(|kind| kind.name()).collect();
        return Some(format!("it listens to {}, not to {}", kinds.join(", "), event.kind));
    }
    match notification.check() {
        Err(error) => Some(format!("it can't be understood: {error}")),
        Ok(checked) => checked.filter.allows(event).err().map(|refusal| format!("its filter's {refusal}")),
    }
}
