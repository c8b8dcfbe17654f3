//! The notifications of one repository or namespace, as Quay's clients make and see them.

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    Format, Kind, MethodName, Notification, NotificationId, NotificationState, RepositoryName, Scope,
};
use http::{Method, StatusCode, request::Parts};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    not_found,
    path::{Act, Part},
    read_json, schema, shown, verb, wrong_verb,
};
use crate::{
    App,
    auth::Caller,
    change::{change, switched},
    contract::{Operation, tie_settings},
    draft::{Draft, shown_config},
    now,
    problem::Problem,
    reach::Closed,
    recipients, sample,
};

/// The count of failures from which on Quay's clients call a notification disabled.
const DISABLED_FROM: u32 = 3;

/// The only events that Quay takes for a namespace.
const OF_NAMESPACES: [Kind; 2] = [Kind::QuotaError, Kind::QuotaWarning];

/// A notification as Quay shows it. One that was made for several kinds by the native API shows its
/// first as `event`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayNotification", transform = tie_settings)]
struct NotificationView<'a> {
    uuid: NotificationId,
    title: Option<&'a str>,
    event: Option<Kind>,
    method: &'a str,
    config: Map<String, Value>,
    event_config: &'a Map<String, Value>,
    /// 3 or more means disabled.
    number_of_failures: u32,
    /// True while it is paused, and not there else: Quay knows no pause.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
}

/// All of one place.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayNotifications")]
struct NotificationsView<'a> {
    notifications: Vec<NotificationView<'a>>,
}

/// An object without members.
#[derive(Debug, Serialize, JsonSchema)]
struct Nothing {}

/// What is served of all notifications of a place.
pub(super) fn of_all(path: &'static str) -> [Operation; 2] {
    [
        Operation::get(path, "All notifications of the place.")
            .answers::<NotificationsView<'_>>(200)
            .refuses([400, 404]),
        Operation::post(path, "Make one.")
            .takes::<schema::NotificationBody>()
            .answers::<NotificationView<'_>>(201)
            .refuses([404, 409, 415]),
    ]
}

/// What is served of one of them.
pub(super) fn of_one(path: &'static str) -> [Operation; 4] {
    [
        Operation::get(path, "One notification.").answers::<NotificationView<'_>>(200).refuses([404]),
        Operation::put(path, "Write it anew.")
            .takes::<schema::NotificationBody>()
            .answers::<NotificationView<'_>>(200)
            .refuses([404, 409, 415]),
        Operation::post(path, "Set its failures to 0, and serve it again.")
            .answers_nothing(204)
            .refuses([400, 404]),
        Operation::delete(path, "Delete it.").answers_nothing(204).refuses([400, 404]),
    ]
}

/// What can be done with one of them besides.
pub(super) fn of_acts([test, pause, resume]: [&'static str; 3]) -> [Operation; 3] {
    [
        Operation::post(test, "Send a sample.").answers::<Nothing>(200).refuses([400, 404]),
        Operation::post(pause, "Hold its deliveries.")
            .answers::<NotificationView<'_>>(200)
            .refuses([400, 404, 409]),
        Operation::post(resume, "Send what was held.")
            .answers::<NotificationView<'_>>(200)
            .refuses([400, 404, 409]),
    ]
}

/// The notifications of one place, asked for by one caller who administers it.
pub(super) struct Notifications<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
    pub(super) scope: Scope,
}

impl<'a> Notifications<'a> {
    /// Those of a repository.
    ///
    /// # Errors
    ///
    /// What is no name of a repository has none: 400, or 404 where one is asked for.
    pub(super) fn of_repository(
        app: &'a App,
        caller: &'a Caller,
        repository: &str,
        part: &Part,
        verb: &Method,
    ) -> Result<Self, Problem> {
        match (RepositoryName::parse(repository), part.uuid()) {
            (Ok(name), _) => Ok(Self { app, caller, scope: Scope::Repository(name) }),
            (Err(error), None) => Err(Problem::bad(error.to_string())),
            (Err(_), Some(_)) if verb == Method::GET => Err(not_found()),
            (Err(_), Some(uuid)) => Err(absent(repository, uuid)),
        }
    }

    pub(super) async fn answer(&self, part: &Part, parts: &Parts, body: Body) -> Result<Response, Problem> {
        match (part, verb(parts)) {
            (Part::All, &Method::GET) => self.list().await,
            (Part::All, &Method::POST) => self.create(parts, body).await,
            (Part::All, _) => Ok(wrong_verb(self.app, "GET,HEAD,POST")),
            (Part::One(uuid), &Method::GET) => self.get(uuid).await,
            (Part::One(uuid), &Method::PUT) => self.replace(uuid, parts, body).await,
            (Part::One(uuid), &Method::DELETE) => self.delete(uuid).await,
            (Part::One(uuid), &Method::POST) => self.reset(uuid).await,
            (Part::One(_), _) => Ok(wrong_verb(self.app, "GET,HEAD,PUT,DELETE,POST")),
            (Part::Act(uuid, Act::Test), &Method::POST) => self.test(uuid).await,
            (Part::Act(uuid, Act::Pause), &Method::POST) => {
                self.switch(uuid, "notification.pause", NotificationState::Paused).await
            }
            (Part::Act(uuid, Act::Resume), &Method::POST) => {
                self.switch(uuid, "notification.resume", NotificationState::Active).await
            }
            (Part::Act(..), _) => Ok(wrong_verb(self.app, "POST")),
        }
    }

    async fn list(&self) -> Result<Response, Problem> {
        let notifications = self.app.api.store.notifications_in(&self.scope).await?;
        let notifications = notifications.iter().map(|notification| view(notification, false)).collect();
        Ok(Json(NotificationsView { notifications }).into_response())
    }

    async fn create(&self, parts: &Parts, body: Body) -> Result<Response, Problem> {
        let draft = self.draft(parts, body).await?;
        draft.check_verification(self.app.api.may_skip_verification, None)?;
        let notification = self.caller.authored(draft.create(now())?);
        let store = self.caller.audited(self.app, "notification.create", &notification);
        store.create_notification(&notification).await?;
        Ok((StatusCode::CREATED, Json(view(&notification, true))).into_response())
    }

    async fn get(&self, uuid: &str) -> Result<Response, Problem> {
        let notification = self.find(uuid).await?.ok_or_else(not_found)?;
        Ok(Json(view(&notification, false)).into_response())
    }

    /// Quay has no such verb: there a notification is deleted and made again, and what waits for it is lost.
    async fn replace(&self, uuid: &str, parts: &Parts, body: Body) -> Result<Response, Problem> {
        let found = self.need(uuid).await?;
        let draft = self.draft(parts, body).await?;
        let mut had_secret = false;
        let changed = change(self.app, self.caller, "notification.change", found, |old| {
            had_secret = old.secret.is_some();
            draft.check_verification(self.app.api.may_skip_verification, Some(&old))?;
            // What Quay's body can't say stays: more kinds than one, another format, a schedule.
            let is_same = old.kinds.first() == draft.kinds.first();
            let draft = Draft {
                kinds: if is_same { old.kinds.clone() } else { draft.kinds.clone() },
                format: old.format.clone(),
                retry: old.retry.clone(),
                ..draft.clone()
            };
            draft.replace(old, now()).map(Some)
        });
        let notification = changed.await?.ok_or_else(|| self.absent(uuid))?;
        let makes_secret = !had_secret && notification.secret.is_some();
        Ok(Json(view(&notification, makes_secret)).into_response())
    }

    async fn delete(&self, uuid: &str) -> Result<Response, Problem> {
        let notification = self.need(uuid).await?;
        let store = self.caller.audited(self.app, "notification.delete", &notification);
        let found = store.delete_notification(notification.id).await?;
        if found { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(self.absent(uuid)) }
    }

    async fn reset(&self, uuid: &str) -> Result<Response, Problem> {
        let absent = || self.without(uuid);
        let notification = self.find(uuid).await?.ok_or_else(absent)?;
        let store = self.caller.audited(self.app, "notification.reset", &notification);
        let found = store.reset_failures(notification.id, Timestamp::now()).await?;
        if found { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(absent()) }
    }

    /// Quay has other words for resetting what is another repository's, which would tell that it is there: so these stand
    /// beside the usual ones for whatever is not here.
    fn without(&self, uuid: &str) -> Problem {
        let absent = self.absent(uuid);
        match self.scope {
            Scope::Repository(_) => {
                let message = format!("No repository notification found with uuid: {}", shown(uuid));
                absent.with("message", message)
            }
            Scope::Namespace(_) | Scope::Registry => absent,
        }
    }

    async fn test(&self, uuid: &str) -> Result<Response, Problem> {
        let notification = self.need(uuid).await?;
        let kind = notification.kinds.first().copied().ok_or_else(|| self.absent(uuid))?;
        sample::deliver_sample(self.app, &notification, kind, now()).await?;
        Ok(Json(Nothing {}).into_response())
    }

    async fn switch(&self, uuid: &str, action: &str, state: NotificationState) -> Result<Response, Problem> {
        let found = self.need(uuid).await?;
        let changed = change(self.app, self.caller, action, found, |old| switched(old, state)).await?;
        let notification = changed.ok_or_else(|| self.absent(uuid))?;
        Ok(Json(view(&notification, false)).into_response())
    }

    /// Checks in Quay's order: method, its settings, event; for a namespace the event first.
    async fn draft(&self, parts: &Parts, body: Body) -> Result<Draft, Problem> {
        let read = read_json(self.app, parts, body).await?;
        let body = schema::read(read).map_err(Problem::bad)?;
        let is_namespace = matches!(self.scope, Scope::Namespace(_));
        if is_namespace {
            check_event_of_namespace(&body.event)?;
        }
        let method = body.method.parse::<MethodName>().map_err(|error| {
            let of_namespace = || format!("Unknown notification method '{}'", shown(&body.method));
            Problem::bad(if is_namespace { of_namespace() } else { error.to_string() })
        })?;
        let reach = self.app.api.reach.check(method, &body.config);
        reach.map_err(|out_of_reach| {
            // A port of a receiver's is closed here and not there, so that no client knows the words.
            Problem::bad(match out_of_reach.closed {
                Closed::Host => out_of_reach.fault.to_string(),
                Closed::Port(_) => out_of_reach.to_string(),
            })
        })?;
        recipients::check(&self.app.api.store, method, &body.config, &self.scope).await?;
        let kind = body.event.parse::<Kind>().map_err(|error| Problem::bad(format!("event: {error}")))?;
        Ok(Draft {
            title: body.title,
            scope: self.scope.clone(),
            kinds: vec![kind],
            event_config: body.event_config,
            method: body.method,
            config: body.config,
            format: Format::Quay.name().to_owned(),
            retry: None,
        })
    }

    /// The notification, if it is one of this place.
    async fn find(&self, uuid: &str) -> Result<Option<Notification>, Problem> {
        let Ok(id) = uuid.parse::<NotificationId>() else { return Ok(None) };
        let found = self.app.api.store.notification(id).await?;
        Ok(found.filter(|notification| notification.scope == self.scope))
    }

    async fn need(&self, uuid: &str) -> Result<Notification, Problem> {
        self.find(uuid).await?.ok_or_else(|| self.absent(uuid))
    }

    fn absent(&self, uuid: &str) -> Problem {
        match &self.scope {
            Scope::Repository(name) => absent(name.as_str(), uuid),
            Scope::Namespace(_) | Scope::Registry => not_found(),
        }
    }
}

fn check_event_of_namespace(event: &str) -> Result<(), Problem> {
    let names = OF_NAMESPACES.map(Kind::name);
    if names.contains(&event) {
        return Ok(());
    }
    let (event, known) = (shown(event), names.join(", "));
    Err(Problem::bad(format!("Invalid event '{event}'. Must be one of: {known}")))
}

fn absent(repository: &str, uuid: &str) -> Problem {
    let (namespace, name) = repository.split_once('/').unwrap_or(("", repository));
    let (namespace, name, uuid) = (shown(namespace), shown(name), shown(uuid));
    Problem::bad(format!("No repository notification found for: {namespace}, {name}, {uuid}"))
}

fn view(notification: &Notification, with_secret: bool) -> NotificationView<'_> {
    NotificationView {
        uuid: notification.id,
        title: notification.title.as_deref(),
        event: notification.kinds.first().copied(),
        method: &notification.method,
        config: shown_config(notification, with_secret),
        event_config: &notification.event_config,
        number_of_failures: shown_failures(notification),
        paused: notification.state == NotificationState::Paused,
    }
}

/// The count as Quay's clients read it, for whom it says whether a notification is disabled: one that still delivers, after
/// however many failures, is below the limit, and one that does not has reached it.
fn shown_failures(notification: &Notification) -> u32 {
    if notification.state == NotificationState::Disabled {
        notification.failures.max(DISABLED_FROM)
    } else {
        notification.failures.min(DISABLED_FROM - 1)
    }
}
