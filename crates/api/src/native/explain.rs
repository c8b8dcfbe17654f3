//! `GET /v1/notifications/{id}/explain`: why nothing came. What holds its deliveries up, what became of the newest, at
//! which callback its chains stand, what it collects, and what the newest events of its scope meant to it; each by the
//! rule that decided, never by a guess.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{CallbackState, DeliveryState, Event, MethodConfig, Notification, NotificationState};
use bellbuoy_store::{
    CallbackRow, Collecting, DeadLetterQuery, DeadLetterRow, DeliveryQuery, DeliveryRow, StoredEvent,
};
use serde_json::{Value, json};

use super::{notifications::find, stored_event};
use crate::{App, auth::Caller, docker_hub, problem::Problem};

/// The newest deliveries, the newest callbacks, and the newest events of its scope, that are looked at.
const LOOKED_AT: u32 = 100;

/// The newest dead letters, and the next digests, that are shown.
const LETTERS: u32 = 10;

/// What says that an event is not for a notification, and its words.
pub(super) struct No {
    /// `state`, `scope`, `kind` or `filter`.
    pub(super) by: &'static str,
    pub(super) why: String,
}

/// What says that an event is not for a notification as it stands now; `None` if nothing does. Settings that are not
/// understood say nothing: the fan-out makes a delivery, which is held until they are; see [`hold`].
pub(super) fn no(notification: &Notification, event: &Event) -> Option<No> {
    let no = |by, why| Some(No { by, why });
    if notification.state == NotificationState::Disabled {
        let why = notification.state_reason.as_deref().unwrap_or("its deliveries kept failing");
        return no("state", format!("it is disabled: {why}"));
    }
    if !notification.scope.covers(&event.subject) {
        let subject = event.subject.name().unwrap_or("the registry");
        let (word, name) = (notification.scope.word(), notification.scope.name());
        return no("scope", format!("it is for the {word} {name}, and the event is about {subject}"));
    }
    if notification.hears_as(event).is_none() {
        let kinds: Vec<&str> = notification.kinds.iter().map(|kind| kind.name()).collect();
        return no("kind", format!("it listens to {}, not to {}", kinds.join(", "), event.kind));
    }
    let refusal = notification.check().ok()?.filter.allows(event).err()?;
    no("filter", format!("its filter's {refusal}"))
}

/// What holds the deliveries of a notification up, other than its receiver; `None` where nothing does.
pub(super) fn hold(notification: &Notification) -> Option<String> {
    if notification.state == NotificationState::Paused {
        return Some("it is paused: its deliveries are held until it is resumed".to_owned());
    }
    let error = notification.check().err()?;
    Some(format!("it can't be understood, so its deliveries are held: {error}"))
}

pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let notification = find(&app, &caller, &id).await?;
    let store = &app.api.store;
    let newest =
        DeliveryQuery { notification: Some(notification.id), limit: LOOKED_AT, ..DeliveryQuery::default() };
    let deliveries = store.deliveries(&newest).await?.rows;
    let letters =
        DeadLetterQuery { notification: Some(notification.id), limit: LETTERS, ..DeadLetterQuery::default() };
    let letters = store.dead_letters(&letters).await?.rows;
    let callbacks = store.callbacks_of(notification.id, LOOKED_AT).await?;
    let collecting = store.collecting(notification.id, LETTERS).await?;
    let recent = store.recent_events(&notification.scope, LOOKED_AT).await?;
    // One that can't be read is in the log, and keeps none of the others from being told of.
    let events = recent.iter().filter_map(|stored| Seen::of(&notification, stored, &deliveries).ok());
    let events: Vec<Seen<'_>> = events.collect();
    let standing =
        Standing { deliveries: &deliveries, callbacks: &callbacks, collecting: &collecting, events: &events };
    Ok(Json(json!({
        "notification": notification.id,
        "title": notification.title,
        "state": notification.state,
        "state_reason": notification.state_reason,
        "failures": notification.failures,
        "succeeded_at": notification.succeeded_at.map(|at| at.to_string()),
        "why": why(&notification, &standing),
        "deliveries": by_state(&deliveries),
        "callbacks": by_answer(&callbacks),
        "collecting": collecting.iter().map(digest).collect::<Vec<_>>(),
        "dead_letters": letters.iter().map(letter).collect::<Vec<_>>(),
        "events": events.iter().map(Seen::object).collect::<Vec<_>>(),
    }))
    .into_response())
}

/// What is known of how things stand, the newest of each.
struct Standing<'a> {
    deliveries: &'a [DeliveryRow],
    callbacks: &'a [CallbackRow],
    collecting: &'a [Collecting],
    events: &'a [Seen<'a>],
}

/// An event and what it was to the notification.
struct Seen<'a> {
    stored: &'a StoredEvent,
    no: Option<No>,
    /// Its newest delivery.
    delivery: Option<&'a DeliveryRow>,
}

impl<'a> Seen<'a> {
    fn of(
        notification: &Notification,
        stored: &'a StoredEvent,
        deliveries: &'a [DeliveryRow],
    ) -> Result<Self, Problem> {
        let event = stored_event(stored)?;
        let is_its = |row: &&DeliveryRow| row.event == stored.id && row.source == stored.source;
        Ok(Self { stored, no: no(notification, &event), delivery: deliveries.iter().find(is_its) })
    }

    fn object(&self) -> Value {
        json!({
            "source": self.stored.source,
            "id": self.stored.id,
            "kind": self.stored.kind,
            "subject": (!self.stored.subject.is_empty()).then_some(&self.stored.subject),
            "accepted_at": self.stored.accepted_at.to_string(),
            "fanned_out": self.stored.fanned_out,
            "matches": self.no.is_none(),
            "refused_by": self.no.as_ref().map(|no| no.by),
            "why_not": self.no.as_ref().map(|no| &no.why),
            "delivery": self.delivery.map(|row| row.id),
            "state": self.delivery.map(|row| row.state),
            "cause": self.delivery.map(|row| &row.cause),
        })
    }
}

/// How many of the newest deliveries stand where, and why those that wait do.
fn by_state(deliveries: &[DeliveryRow]) -> Value {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    let mut causes: BTreeMap<&str, u64> = BTreeMap::new();
    for row in deliveries {
        *states.entry(row.state.name()).or_default() += 1;
        if let (DeliveryState::Waiting, Some(cause)) = (row.state, &row.cause) {
            *causes.entry(cause.code.name()).or_default() += 1;
        }
    }
    json!({ "looked_at": deliveries.len(), "states": states, "waiting_for": causes })
}

/// How many of the newest callbacks stand where.
fn by_answer(callbacks: &[CallbackRow]) -> Value {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for row in callbacks {
        *states.entry(docker_hub::state(row)).or_default() += 1;
    }
    json!({ "looked_at": callbacks.len(), "states": states })
}

fn digest(row: &Collecting) -> Value {
    json!({ "subject": row.subject, "events": row.events, "due_at": row.due_at.to_string() })
}

fn letter(row: &DeadLetterRow) -> Value {
    json!({
        "id": row.id,
        "delivery": row.delivery,
        "reason": row.reason,
        "detail": row.detail,
        "died_at": row.died_at.to_string(),
    })
}

/// What keeps its receiver from hearing, in sentences, the nearest reason first; none if it does hear.
fn why(notification: &Notification, standing: &Standing<'_>) -> Vec<String> {
    let mut why = Vec::new();
    match notification.state {
        NotificationState::Active | NotificationState::Paused => {}
        NotificationState::Probation => {
            let detail =
                "it was disabled: one delivery goes first, the others are held until it has succeeded";
            why.push(detail.to_owned());
        }
        NotificationState::Disabled => {
            let reason = notification.state_reason.as_deref().unwrap_or("its deliveries kept failing");
            why.push(format!(
                "it is disabled ({reason}): nothing new is sent; put its receiver right, then reset it"
            ));
        }
    }
    why.extend(hold(notification));
    why.extend(held(notification, standing.deliveries));
    why.extend(collected(standing.collecting));
    why.extend(chained(notification, standing.callbacks));
    why.extend(unheard(notification, standing.events));
    why
}

/// What waits to be told together.
fn collected(collecting: &[Collecting]) -> impl Iterator<Item = String> {
    collecting.iter().map(|row| {
        let (events, subject, at) = (row.events, &row.subject, row.due_at);
        format!("findings in {subject} are collected, {events} so far, and are told together at {at}")
    })
}

/// Where chains have stopped, or wait. At the last URL nothing is left to stop.
fn chained(notification: &Notification, callbacks: &[CallbackRow]) -> Vec<String> {
    let chain = match notification.check().map(|checked| checked.method) {
        Ok(MethodConfig::Webhook(webhook)) => webhook.options.chain.len(),
        _ => 0,
    };
    let goes_on = |row: &&CallbackRow| usize::try_from(row.awaited.link).is_ok_and(|link| link < chain);
    let mut chained = Vec::new();
    for state in ["pending", "expired", CallbackState::Failure.name(), CallbackState::Error.name()] {
        let mut of = callbacks.iter().filter(goes_on).filter(|row| docker_hub::state(row) == state);
        let Some(newest) = of.next() else { continue };
        let count = 1 + of.count();
        let place = format!("URL {} of {}", newest.awaited.link + 1, chain + 1);
        let until = newest.awaited.expires_at;
        let said = newest.callback.as_ref().and_then(|callback| callback.description.as_deref());
        chained.push(match state {
            "pending" => format!(
                "{count} of its newest chains wait for a callback, the last at {place} until {until}: the next URL hears of nothing before that says `success`"
            ),
            "expired" => format!(
                "{count} of its newest chains ended because no callback came in time, the last at {place}, where one was awaited until {until}"
            ),
            word => format!(
                "{count} of its newest chains ended because a receiver called back `{word}`, the last at {place}: {}",
                said.unwrap_or("it did not say why")
            ),
        });
    }
    chained
}

fn held(notification: &Notification, deliveries: &[DeliveryRow]) -> Vec<String> {
    let of = |state| deliveries.iter().filter(move |row| row.state == state);
    let mut held = Vec::new();
    if let Some(next) = of(DeliveryState::Waiting).min_by_key(|row| row.next_due_at) {
        let cause = next.cause.as_ref().map_or("an earlier attempt".to_owned(), ToString::to_string);
        let due = next.next_due_at.map_or_else(String::new, |at| format!(", the next at {at}"));
        let count = of(DeliveryState::Waiting).count();
        held.push(format!("{count} of its newest deliveries wait for another attempt{due}, for {cause}"));
    }
    let pending = of(DeliveryState::Pending).count();
    if pending > 0 {
        let method = &notification.method;
        held.push(format!(
            "{pending} of its newest deliveries are queued and were not tried yet: look whether a process serves the method {method}"
        ));
    }
    if let Some(last) = of(DeliveryState::Dead).next() {
        let cause = last.cause.as_ref().map_or("no cause is known".to_owned(), ToString::to_string);
        let count = of(DeliveryState::Dead).count();
        held.push(format!("{count} of its newest deliveries were given up, the last for {cause}"));
    }
    held
}

/// Of the newest events of its scope, those that it does not want. A disabled one wants none: that was said.
fn unheard(notification: &Notification, events: &[Seen<'_>]) -> Option<String> {
    let (word, name) = (notification.scope.word(), notification.scope.name());
    let refusals: Vec<&No> = events.iter().filter_map(|seen| seen.no.as_ref()).collect();
    match refusals.first() {
        _ if events.is_empty() => {
            Some(format!("no event of the {word} {name} is among the newest that are kept"))
        }
        Some(first) if refusals.len() == events.len() && first.by != "state" => Some(format!(
            "none of the {} newest events of the {word} {name} is for it; of the last, {}",
            events.len(),
            first.why
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bellbuoy_domain::{RepositoryName, Scope};
    use jiff::Timestamp;
    use serde_json::Map;
    use uuid::Uuid;

    use super::*;

    fn wish(scope: Scope, kinds: &str, filter: &Value) -> Notification {
        Notification {
            id: Uuid::nil().into(),
            title: None,
            scope,
            kinds: serde_json::from_str(kinds).expect("kinds"),
            event_config: filter.as_object().expect("an object").clone(),
            method: "webhook".into(),
            config: Map::from_iter([("url".to_owned(), "https://ci.example.com/".into())]),
            secret: None,
            format: "quay".into(),
            retry: None,
            state: NotificationState::Active,
            state_reason: None,
            failures: 0,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            author: None,
            succeeded_at: None,
        }
    }

    #[test]
    fn the_first_that_says_no_is_named_with_its_words() {
        let event = json!({
            "specversion": "1.0", "id": "1", "source": "r", "type": "repo_push", "subject": "acme/api",
            "data": {"updated_tags": ["v1"], "digest": "sha256:6f"},
        });
        let event = Event::from_value(event, Timestamp::UNIX_EPOCH).expect("an event");
        let of = |name: &str| Scope::Repository(RepositoryName::parse(name).expect("a name"));
        let push = r#"["repo_push"]"#;
        let disabled = Notification {
            state: NotificationState::Disabled,
            state_reason: Some("its receiver answered 410 Gone".into()),
            ..wish(of("acme/api"), push, &json!({}))
        };
        let unreadable =
            Notification { method: "carrier_pigeon".into(), ..wish(of("acme/api"), push, &json!({})) };
        let manifest = wish(of("acme/api"), r#"["manifest_push"]"#, &json!({}));
        let manifest_of_dtr = Notification { format: "dtr".into(), ..manifest.clone() };
        for (wish, expected) in [
            (wish(of("acme/api"), push, &json!({})), None),
            (manifest, Some(("kind", "listens to manifest_push"))),
            (manifest_of_dtr, None),
            (wish(Scope::Registry, push, &json!({"tags": ["v*"]})), None),
            (disabled, Some(("state", "410 Gone"))),
            (wish(of("acme/web"), push, &json!({})), Some(("scope", "repository acme/web"))),
            (wish(Scope::Namespace("other".into()), push, &json!({})), Some(("scope", "about acme/api"))),
            (wish(of("acme/api"), r#"["tag_pull"]"#, &json!({})), Some(("kind", "listens to tag_pull"))),
            (unreadable, None),
            (wish(of("acme/api"), push, &json!({"tags": ["latest"]})), Some(("filter", "`tags`"))),
        ] {
            let told = no(&wish, &event);
            assert_eq!(told.as_ref().map(|no| no.by), expected.map(|(by, _)| by), "{wish:?}");
            if let (Some(no), Some((_, words))) = (told, expected) {
                assert!(no.why.contains(words), "{}", no.why);
            }
        }
    }
}
