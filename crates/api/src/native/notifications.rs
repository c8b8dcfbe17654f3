//! `/v1/notifications`: notifications of a repository, a namespace or the whole registry.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    DeliveryId, Format, Kind, MethodName, NamespaceName, Notification, NotificationId, NotificationState,
    RepositoryName, RetryPolicy, Right, Scope,
};
use bellbuoy_store::Page;
use http::{StatusCode, Uri};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Limit, id,
    keys::{self, KeyView},
    limit, query, unknown,
};
use crate::{
    App,
    auth::Caller,
    body,
    change::{change, switched},
    contract::{Operation, Routes, tie_settings},
    draft::{Draft, MAX_TITLE, kind_outside, shown_config},
    now,
    problem::Problem,
    sample,
};

/// A notification as it is sent to us.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NotificationDraft", transform = tie_settings)]
struct Body {
    /// For people.
    #[schemars(extend("maxLength" = MAX_TITLE))]
    title: Option<String>,
    scope: ScopeBody,
    /// Which events it is for.
    kinds: Vec<Kind>,
    /// Which of them, line by line: `ref-regex`, `level`, `days`, `tags`, `condition`, `digest`, and no others; a change may
    /// keep others that it has.
    #[serde(default)]
    filter: Map<String, Value>,
    #[schemars(with = "MethodName")]
    method: String,
    /// The method's settings, and no others; a change may keep others that it has, as they are shown.
    #[serde(default)]
    config: Map<String, Value>,
    /// `quay` if it is left out.
    #[schemars(with = "Option<Format>")]
    format: Option<String>,
    /// Its own schedule instead of the usual one.
    retry: Option<RetryPolicy>,
}

/// A scope: exactly one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScopeDraft", extend("minProperties" = 1, "maxProperties" = 1))]
struct ScopeBody {
    /// One repository.
    repository: Option<RepositoryName>,
    /// A namespace and all its repositories.
    #[schemars(with = "Option<NamespaceName>")]
    namespace: Option<RepositoryName>,
    /// Everything; can only be true.
    registry: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Those of this repository alone.
    repository: Option<RepositoryName>,
    /// Those of this namespace alone, without its repositories'.
    namespace: Option<NamespaceName>,
    /// From after this one on.
    after: Option<NotificationId>,
    #[schemars(with = "Option<Limit>")]
    limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TestDraft")]
struct TestBody {
    /// Of which kind the sample is: one of the notification's, its first if this is left out.
    kind: Option<Kind>,
}

/// A notification as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Notification", transform = tie_settings)]
pub(super) struct NotificationView<'a> {
    id: NotificationId,
    title: Option<&'a str>,
    scope: ScopeView<'a>,
    kinds: &'a [Kind],
    filter: &'a Map<String, Value>,
    /// One of a draft's, unless a newer version wrote it; so is `format`.
    method: &'a str,
    /// The method's settings. What is secret of them is shown as a mask, or not at all, and so is what the method does not
    /// know; the answer that makes a key to sign with shows it once, as `secret`.
    pub(super) config: Map<String, Value>,
    format: &'a str,
    retry: Option<&'a RetryPolicy>,
    state: NotificationState,
    /// Why it is disabled.
    state_reason: Option<&'a str>,
    /// Deliveries in a row that were given up.
    failures: u32,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// What a receiver checks `v1a` with, where it signs so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    public_keys: Vec<KeyView>,
}

/// Whose events.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Scope")]
enum ScopeView<'a> {
    Repository(&'a RepositoryName),
    Namespace(&'a str),
    /// Always true.
    Registry(bool),
}

/// A page of notifications.
#[derive(Debug, Serialize, JsonSchema)]
struct Notifications<'a> {
    notifications: Vec<NotificationView<'a>>,
    /// The `after` of the next page; null at the end.
    next: Option<NotificationId>,
}

/// A sample that is on its way.
#[derive(Debug, Serialize, JsonSchema)]
struct SampleSent {
    /// By which delivery.
    delivery: DeliveryId,
}

/// `/v1/notifications`, but for keys, explanations and catching up.
pub(crate) fn routes() -> Routes {
    const ALL: &str = "/v1/notifications";
    const ONE: &str = "/v1/notifications/{id}";
    Routes::default()
        .serve(
            Operation::get(ALL, "A page of all or of one place's, in the order of their ids.")
                .asks::<ListQuery>()
                .answers::<Notifications<'_>>(200)
                .refuses([404]),
            list,
        )
        .serve(
            Operation::post(ALL, "Make one. The secret of a webhook is shown in this answer alone.")
                .takes::<Body>()
                .answers::<NotificationView<'_>>(201)
                .refuses([404, 409, 415]),
            create,
        )
        .serve(
            Operation::get(ONE, "One notification.").answers::<NotificationView<'_>>(200).refuses([404]),
            get,
        )
        .serve(
            Operation::put(
                ONE,
                "Write it anew, but for its scope, which stays. A secret that is left out or masked stays.",
            )
            .takes::<Body>()
            .answers::<NotificationView<'_>>(200)
            .refuses([404, 409, 415]),
            replace,
        )
        .serve(
            Operation::delete(ONE, "Delete it. Its history stays.").answers_nothing(204).refuses([404]),
            delete,
        )
        .serve(
            Operation::post("/v1/notifications/{id}/pause", "Hold its deliveries.")
                .answers::<NotificationView<'_>>(200)
                .refuses([404, 409]),
            pause,
        )
        .serve(
            Operation::post("/v1/notifications/{id}/resume", "Send what was held.")
                .answers::<NotificationView<'_>>(200)
                .refuses([404, 409]),
            resume,
        )
        .serve(
            Operation::post("/v1/notifications/{id}/reset", "Serve it again after it was disabled.")
                .answers::<NotificationView<'_>>(200)
                .refuses([404]),
            reset,
        )
        .serve(
            Operation::post("/v1/notifications/{id}/test", "Send a sample, past the filter.")
                .may_take::<TestBody>()
                .answers::<SampleSent>(202)
                .refuses([404]),
            test,
        )
}

async fn create(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let draft = read_draft(&app, request).await?;
    caller.need(&app, Right::Notifications, &draft.scope).await?;
    draft.check_keys(None)?;
    draft.check_reach(&app.api.reach)?;
    draft.check_verification(app.api.may_skip_verification, None)?;
    draft.check_recipients(&app.api.store).await?;
    let notification = caller.authored(draft.create(now())?);
    caller.audited(&app, "notification.create", &notification).create_notification(&notification).await?;
    let location = [(http::header::LOCATION, format!("/v1/notifications/{}", notification.id))];
    Ok((StatusCode::CREATED, location, Json(view(&notification, true))).into_response())
}

async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let wanted: ListQuery = query(&uri)?;
    let limit = limit(wanted.limit)?;
    if let Some(scope) = wanted.scope()? {
        caller.need(&app, Right::Notifications, &scope).await?;
        let rows = app.api.store.notifications_in(&scope).await?;
        let (rows, next) = page(rows, wanted.after, limit);
        return Ok(Json(Notifications::of(&rows, next)).into_response());
    }
    caller.need(&app, Right::Notifications, &Scope::Registry).await.map_err(|problem| Problem {
        detail: "only a superuser may list everything; name a place with `?repository=` or `?namespace=`"
            .into(),
        ..problem
    })?;
    let rows = app.api.store.list_notifications(&Page { after: wanted.after, limit }).await?;
    let is_full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| is_full).map(|last| last.id);
    Ok(Json(Notifications::of(&rows, next)).into_response())
}

/// The page of a place's notifications after `after`, in the order of their ids, and where the next begins. A place has a
/// thousand at most, so that all are read.
fn page(
    mut rows: Vec<Notification>,
    after: Option<NotificationId>,
    limit: u32,
) -> (Vec<Notification>, Option<NotificationId>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    rows.retain(|row| after.is_none_or(|after| row.id > after));
    rows.sort_by_key(|row| row.id);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(|last| last.id);
    (rows, next)
}

impl<'a> Notifications<'a> {
    fn of(rows: &'a [Notification], next: Option<NotificationId>) -> Self {
        Self { notifications: rows.iter().map(|row| view(row, false)).collect(), next }
    }
}

impl ListQuery {
    fn scope(&self) -> Result<Option<Scope>, Problem> {
        match (&self.repository, &self.namespace) {
            (None, None) => Ok(None),
            (Some(name), None) => Ok(Some(Scope::Repository(name.clone()))),
            (None, Some(name)) => Ok(Some(Scope::Namespace(name.to_string()))),
            (Some(_), Some(_)) => Err(Problem::bad("query: give `repository` or `namespace`, not both")),
        }
    }
}

async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(Json(view(&find(&app, &caller, &id).await?, false)).into_response())
}

async fn replace(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let draft = read_draft(&app, request).await?;
    let found = find(&app, &caller, &id).await?;
    check_stays(&found.scope, &draft.scope)?;
    draft.check_reach(&app.api.reach)?;
    draft.check_recipients(&app.api.store).await?;
    let mut had_secret = false;
    let notification = change(&app, &caller, "notification.change", found, |old| {
        had_secret = old.secret.is_some();
        draft.check_keys(Some(&old))?;
        draft.check_verification(app.api.may_skip_verification, Some(&old))?;
        draft.clone().replace(old, now()).map(Some)
    });
    let notification = notification.await?.ok_or_else(|| unknown("notification", &id))?;
    let makes_secret = !had_secret && notification.secret.is_some();
    Ok(Json(view(&notification, makes_secret)).into_response())
}

/// Refuses another scope: its history, which is shown to whoever administers the scope, would be shown to others.
fn check_stays(old: &Scope, new: &Scope) -> Result<(), Problem> {
    if old == new {
        return Ok(());
    }
    let detail =
        "`scope` can't be changed, because the notification's history goes with it; make a new notification";
    Err(Problem::conflict(detail).with("path", "scope"))
}

async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let notification = find(&app, &caller, &text).await?;
    let store = caller.audited(&app, "notification.delete", &notification);
    let found = store.delete_notification(notification.id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(unknown("notification", &text)) }
}

async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    switch(&app, &caller, &id, "notification.pause", NotificationState::Paused).await
}

async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    switch(&app, &caller, &id, "notification.resume", NotificationState::Active).await
}

async fn switch(
    app: &App,
    caller: &Caller,
    id: &str,
    action: &str,
    state: NotificationState,
) -> Result<Response, Problem> {
    let notification = update(app, caller, action, id, |old| switched(old, state)).await?;
    Ok(Json(view(&notification, false)).into_response())
}

async fn reset(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let notification = find(&app, &caller, &text).await?;
    let store = caller.audited(&app, "notification.reset", &notification);
    if !store.reset_failures(notification.id, Timestamp::now()).await? {
        return Err(unknown("notification", &text));
    }
    Ok(Json(view(&find(&app, &caller, &text).await?, false)).into_response())
}

/// Sends a sample of the body's `kind`, or of the notification's first.
async fn test(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
    let wanted =
        if read.bytes.is_empty() { TestBody::default() } else { body::object_from_json(&read.bytes)? };
    let notification = find(&app, &caller, &id).await?;
    let kind = wanted.kind.or_else(|| notification.kinds.first().copied());
    let Some(kind) = kind.filter(|kind| notification.kinds.contains(kind)) else {
        return Err(Problem::bad("`kind` is not one of the notification's"));
    };
    let delivery = sample::deliver_sample(&app, &notification, kind, now()).await?;
    Ok((StatusCode::ACCEPTED, Json(SampleSent { delivery })).into_response())
}

/// The notification, if there is one and the caller administers it.
pub(super) async fn find(app: &App, caller: &Caller, text: &str) -> Result<Notification, Problem> {
    let found = caller.notification(app, id(text, "notification")?).await?;
    found.ok_or_else(|| unknown("notification", text))
}

/// Changes a notification that the caller administers: see [`change`].
pub(super) async fn update(
    app: &App,
    caller: &Caller,
    action: &str,
    text: &str,
    to: impl FnMut(Notification) -> Result<Option<Notification>, Problem>,
) -> Result<Notification, Problem> {
    let found = find(app, caller, text).await?;
    change(app, caller, action, found, to).await?.ok_or_else(|| unknown("notification", text))
}

async fn read_draft(app: &App, request: Request) -> Result<Draft, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
    body::require_json(&parts.headers)?;
    body::object_from_json::<Body>(&read.bytes)?.into_draft()
}

impl Body {
    fn into_draft(self) -> Result<Draft, Problem> {
        let scope = self.scope.into_scope()?;
        let mut kinds = Vec::with_capacity(self.kinds.len().min(Kind::ALL.len()));
        for kind in self.kinds {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if let Some(kind) = kind_outside(&scope, &kinds) {
            let detail = format!("`kinds`: {kind} never happens in a {}; choose a wider scope", scope.word());
            return Err(Problem::bad(detail).with("path", "kinds"));
        }
        Ok(Draft {
            title: self.title,
            scope,
            kinds,
            event_config: self.filter,
            method: self.method,
            config: self.config,
            format: self.format.unwrap_or_else(|| Format::Quay.name().to_owned()),
            retry: self.retry,
        })
    }
}

impl ScopeBody {
    fn into_scope(self) -> Result<Scope, Problem> {
        let fault = |path: &str, what: &str| Problem::bad(format!("`{path}` {what}")).with("path", path);
        match (self.repository, self.namespace, self.registry) {
            (Some(name), None, None) => Ok(Scope::Repository(name)),
            (None, Some(name), None) if name.namespace().is_empty() => Ok(Scope::Namespace(name.into())),
            (None, Some(_), None) => {
                Err(fault("scope.namespace", "holds a slash; a repository goes into `scope.repository`"))
            }
            (None, None, Some(true)) => Ok(Scope::Registry),
            (None, None, Some(false)) => Err(fault("scope.registry", "can only be true")),
            _ => Err(fault("scope", "should hold exactly one of `repository`, `namespace` and `registry`")),
        }
    }
}

pub(super) fn view(notification: &Notification, with_secret: bool) -> NotificationView<'_> {
    NotificationView {
        id: notification.id,
        title: notification.title.as_deref(),
        scope: match &notification.scope {
            Scope::Repository(name) => ScopeView::Repository(name),
            Scope::Namespace(name) => ScopeView::Namespace(name),
            Scope::Registry => ScopeView::Registry(true),
        },
        kinds: &notification.kinds,
        filter: &notification.event_config,
        method: &notification.method,
        config: shown_config(notification, with_secret),
        format: &notification.format,
        retry: notification.retry.as_ref(),
        state: notification.state,
        state_reason: notification.state_reason.as_deref(),
        failures: notification.failures,
        created_at: notification.created_at,
        updated_at: notification.updated_at,
        public_keys: keys::public(notification, now()),
    }
}
