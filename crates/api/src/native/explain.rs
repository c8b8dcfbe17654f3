//! `GET /v1/notifications/{id}/explain`: why nothing came. What holds its deliveries up, what became of the newest, at
//! which callback its chains stand, what it collects, and what the newest events of its scope meant to it; each by the
//! rule that decided, never by a guess.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    CallbackState, Cause, DeadReason, DeliveryId, DeliveryState, Event, Filter, Grain, Kind, MethodConfig,
    Notification, NotificationId, NotificationState,
};
use bellbuoy_store::{
    CallbackRow, Collecting, DeadLetterQuery, DeadLetterRow, DeliveryQuery, DeliveryRow, StoredEvent,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::{notifications::find, stored_event};
use crate::{
    App,
    auth::Caller,
    contract::{Operation, Routes},
    docker_hub,
    problem::Problem,
};

/// The newest deliveries, the newest callbacks, and the newest events of its scope, that are looked at.
const LOOKED_AT: u32 = 100;

/// The newest dead letters, and the next digests, that are shown.
const LETTERS: u32 = 10;

/// Why nothing came of a notification.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Explanation")]
struct ExplanationView<'a> {
    notification: NotificationId,
    title: Option<&'a str>,
    state: NotificationState,
    state_reason: Option<&'a str>,
    /// Deliveries in a row that were given up.
    failures: u32,
    /// When its receiver last took a delivery.
    succeeded_at: Option<Timestamp>,
    /// What keeps its receiver from hearing, in sentences, the nearest reason first; none if it does hear.
    why: Vec<String>,
    /// The keys of its filter that filter nothing, because no filter has them.
    unknown_filter_keys: Vec<&'a str>,
    deliveries: ByState,
    callbacks: ByAnswer,
    /// What waits to be told together, the next first.
    collecting: Vec<CollectingView<'a>>,
    /// The newest.
    dead_letters: Vec<LetterView<'a>>,
    /// The newest of its scope.
    events: Vec<SeenView<'a>>,
}

/// How many of the newest deliveries stand where, and why those that wait do.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeliveriesByState")]
struct ByState {
    looked_at: usize,
    states: BTreeMap<&'static str, u64>,
    /// By the code of the cause.
    waiting_for: BTreeMap<&'static str, u64>,
}

/// How many of the newest callbacks stand where.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CallbacksByState")]
struct ByAnswer {
    looked_at: usize,
    states: BTreeMap<&'static str, u64>,
}

/// Findings that are collected, to be told together.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Collecting")]
struct CollectingView<'a> {
    subject: &'a str,
    /// How many so far.
    events: u64,
    due_at: Timestamp,
}

/// A dead letter, in short.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Letter")]
struct LetterView<'a> {
    id: Uuid,
    delivery: Option<DeliveryId>,
    #[schemars(with = "DeadReason")]
    reason: &'a str,
    detail: &'a str,
    died_at: Timestamp,
}

/// An event and what it was to the notification.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Seen")]
struct SeenView<'a> {
    source: &'a str,
    id: &'a str,
    kind: Kind,
    /// The repository or namespace; null for the registry.
    subject: Option<&'a str>,
    accepted_at: Timestamp,
    fanned_out: bool,
    matches: bool,
    /// What says no.
    refused_by: Option<By>,
    why_not: Option<&'a str>,
    /// Its newest delivery.
    delivery: Option<DeliveryId>,
    /// Where that stands.
    state: Option<DeliveryState>,
    /// Why, if it is not delivered.
    cause: Option<&'a Cause>,
}

/// `/v1/notifications/{id}/explain`.
pub(super) fn routes() -> Routes {
    Routes::default().serve(
        Operation::get(
            "/v1/notifications/{id}/explain",
            "Why nothing came: its state, its latest deliveries, and events that it did not match.",
        )
        .answers::<ExplanationView<'_>>(200)
        .refuses([404]),
        explain,
    )
}

/// What can say no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RefusedBy")]
pub(super) enum By {
    /// It is disabled.
    State,
    /// The event happened elsewhere.
    Scope,
    /// It listens to others.
    Kind,
    /// A line of its filter.
    Filter,
}

/// What says that an event is not for a notification, and its words.
pub(super) struct No {
    pub(super) by: By,
    pub(super) why: String,
}

/// The deliveries that an event becomes for a notification as it stands now, or what says that it is not for it.
/// Settings that are not understood say nothing: the fan-out makes a delivery, which is held until they are; see [`hold`].
pub(super) fn wanted(notification: &Notification, event: &Event) -> Result<Vec<DeliveryId>, No> {
    let no = |by, why| Err(No { by, why });
    if notification.state == NotificationState::Disabled {
        let why = notification.state_reason.as_deref().unwrap_or("its deliveries kept failing");
        return no(By::State, format!("it is disabled: {why}"));
    }
    if !notification.scope.covers(&event.subject) {
        let subject = event.subject.name().unwrap_or("the registry");
        let (word, name) = (notification.scope.word(), notification.scope.name());
        return no(By::Scope, format!("it is for the {word} {name}, and the event is about {subject}"));
    }
    if notification.hears_as(event).is_none() {
        let kinds: Vec<&str> = notification.kinds.iter().map(|kind| kind.name()).collect();
        return no(By::Kind, format!("it listens to {}, not to {}", kinds.join(", "), event.kind));
    }
    let Ok(checked) = notification.check() else {
        return Ok(event.deliveries(notification.id, Grain::Event));
    };
    match checked.wanted(event, notification.id) {
        Ok(parts) => Ok(parts.into_iter().map(|(delivery, _)| delivery).collect()),
        Err(refusal) => no(By::Filter, format!("its filter's {refusal}")),
    }
}

/// What holds the deliveries of a notification up, other than its receiver; `None` where nothing does.
pub(super) fn hold(notification: &Notification) -> Option<String> {
    if notification.state == NotificationState::Paused {
        return Some("it is paused: its deliveries are held until it is resumed".to_owned());
    }
    let error = notification.check().err()?;
    Some(format!("it can't be understood, so its deliveries are held: {error}"))
}

async fn explain(
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
    let explanation = ExplanationView {
        notification: notification.id,
        title: notification.title.as_deref(),
        state: notification.state,
        state_reason: notification.state_reason.as_deref(),
        failures: notification.failures,
        succeeded_at: notification.succeeded_at,
        why: why(&notification, &standing),
        unknown_filter_keys: Filter::unknown_keys(&notification.event_config).collect(),
        deliveries: by_state(&deliveries),
        callbacks: by_answer(&callbacks),
        collecting: collecting.iter().map(digest).collect(),
        dead_letters: letters.iter().map(letter).collect(),
        events: events.iter().map(Seen::view).collect(),
    };
    Ok(Json(explanation).into_response())
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
        Ok(Self { stored, no: wanted(notification, &event).err(), delivery: deliveries.iter().find(is_its) })
    }

    fn view(&self) -> SeenView<'_> {
        SeenView {
            source: &self.stored.source,
            id: &self.stored.id,
            kind: self.stored.kind,
            subject: (!self.stored.subject.is_empty()).then_some(&self.stored.subject),
            accepted_at: self.stored.accepted_at,
            fanned_out: self.stored.fanned_out,
            matches: self.no.is_none(),
            refused_by: self.no.as_ref().map(|no| no.by),
            why_not: self.no.as_ref().map(|no| no.why.as_str()),
            delivery: self.delivery.map(|row| row.id),
            state: self.delivery.map(|row| row.state),
            cause: self.delivery.and_then(|row| row.cause.as_ref()),
        }
    }
}

fn by_state(deliveries: &[DeliveryRow]) -> ByState {
    let (mut states, mut waiting_for) = (BTreeMap::new(), BTreeMap::new());
    for row in deliveries {
        *states.entry(row.state.name()).or_default() += 1;
        if let (DeliveryState::Waiting, Some(cause)) = (row.state, &row.cause) {
            *waiting_for.entry(cause.code.name()).or_default() += 1;
        }
    }
    ByState { looked_at: deliveries.len(), states, waiting_for }
}

/// How many of the newest callbacks stand where.
fn by_answer(callbacks: &[CallbackRow]) -> ByAnswer {
    let mut states = BTreeMap::new();
    for row in callbacks {
        *states.entry(docker_hub::state(row)).or_default() += 1;
    }
    ByAnswer { looked_at: callbacks.len(), states }
}

fn digest(row: &Collecting) -> CollectingView<'_> {
    CollectingView { subject: &row.subject, events: row.events, due_at: row.due_at }
}

fn letter(row: &DeadLetterRow) -> LetterView<'_> {
    LetterView {
        id: row.id,
        delivery: row.delivery,
        reason: &row.reason,
        detail: &row.detail,
        died_at: row.died_at,
    }
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
        Some(first) if refusals.len() == events.len() && first.by != By::State => Some(format!(
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
    use serde_json::{Map, Value, json};

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
            (manifest, Some((By::Kind, "listens to manifest_push"))),
            (manifest_of_dtr, None),
            (wish(Scope::Registry, push, &json!({"tags": ["v*"]})), None),
            (disabled, Some((By::State, "410 Gone"))),
            (wish(of("acme/web"), push, &json!({})), Some((By::Scope, "repository acme/web"))),
            (wish(Scope::Namespace("other".into()), push, &json!({})), Some((By::Scope, "about acme/api"))),
            (wish(of("acme/api"), r#"["tag_pull"]"#, &json!({})), Some((By::Kind, "listens to tag_pull"))),
            (unreadable, None),
            (wish(of("acme/api"), push, &json!({"tags": ["latest"]})), Some((By::Filter, "`tags`"))),
        ] {
            let told = wanted(&wish, &event).err();
            assert_eq!(told.as_ref().map(|no| no.by), expected.map(|(by, _)| by), "{wish:?}");
            if let (Some(no), Some((_, words))) = (told, expected) {
                assert!(no.why.contains(words), "{}", no.why);
            }
        }
    }

    #[test]
    fn of_a_push_of_several_tags_the_deliveries_that_the_filter_takes_are_told_of() {
        let event = json!({
            "specversion": "1.0", "id": "1", "source": "r", "type": "repo_push", "subject": "acme/api",
            "data": {"updated_tags": ["v1", "latest"]},
        });
        let event = Event::from_value(event, Timestamp::UNIX_EPOCH).expect("an event");
        let mut wish = wish(Scope::Registry, r#"["repo_push"]"#, &json!({"tags": ["v*"]}));
        assert_eq!(wanted(&wish, &event).ok(), Some(event.deliveries(wish.id, Grain::Event)));
        wish.config.insert("one_request_per".to_owned(), "tag".into());
        assert_eq!(wanted(&wish, &event).ok(), Some(vec![event.deliveries(wish.id, Grain::Tag)[0]]));
        let second = json!({"condition": {"path": "updated_tags[1]", "exists": true}});
        wish.event_config = second.as_object().expect("an object").clone();
        let no = wanted(&wish, &event).expect_err("no tag by itself has a second");
        assert!(no.by == By::Filter && no.why.contains("`updated_tags[1]` is nothing"), "{}", no.why);
    }
}
