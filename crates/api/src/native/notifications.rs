//! `/v1/notifications`: notifications of a repository, a namespace or the whole registry.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    Format, Kind, NamespaceName, Notification, NotificationId, NotificationState, RepositoryName,
    RetryPolicy, Right, Scope,
};
use bellbuoy_store::Page;
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{id, keys, limit, query, unknown};
use crate::{
    App,
    auth::Caller,
    body,
    change::{change, switched},
    draft::{Draft, kind_outside, shown_config},
    now,
    problem::Problem,
    sample,
};

/// A notification as it is sent to us.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    title: Option<String>,
    scope: ScopeBody,
    kinds: Vec<Kind>,
    #[serde(default)]
    filter: Map<String, Value>,
    method: String,
    #[serde(default)]
    config: Map<String, Value>,
    format: Option<String>,
    retry: Option<RetryPolicy>,
}

/// A scope: exactly one of these.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeBody {
    repository: Option<RepositoryName>,
    namespace: Option<RepositoryName>,
    registry: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Those of this repository alone.
    repository: Option<RepositoryName>,
    /// Those of this namespace alone, without its repositories'.
    namespace: Option<NamespaceName>,
    after: Option<NotificationId>,
    limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestBody {
    kind: Option<Kind>,
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let draft = read_draft(&app, request).await?;
    caller.need(&app, Right::Notifications, &draft.scope).await?;
    draft.check_reach(&app.api.reach)?;
    draft.check_recipients(&app.api.store).await?;
    let notification = caller.authored(draft.create(now())?);
    caller.audited(&app, "notification.create", &notification).create_notification(&notification).await?;
    let location = [(http::header::LOCATION, format!("/v1/notifications/{}", notification.id))];
    Ok((StatusCode::CREATED, location, Json(object(&notification, true))).into_response())
}

pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let wanted: ListQuery = query(&uri)?;
    let limit = limit(wanted.limit)?;
    if let Some(scope) = wanted.scope()? {
        caller.need(&app, Right::Notifications, &scope).await?;
        let rows = app.api.store.notifications_in(&scope).await?;
        let objects: Vec<Value> = rows.iter().map(|row| object(row, false)).collect();
        return Ok(Json(json!({ "notifications": objects, "next": null })).into_response());
    }
    caller.need(&app, Right::Notifications, &Scope::Registry).await.map_err(|problem| Problem {
        detail: "only a superuser may list everything; name a place with `?repository=` or `?namespace=`"
            .into(),
        ..problem
    })?;
    let rows = app.api.store.list_notifications(&Page { after: wanted.after, limit }).await?;
    let is_full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| is_full).map(|last| last.id);
    let objects: Vec<Value> = rows.iter().map(|row| object(row, false)).collect();
    Ok(Json(json!({ "notifications": objects, "next": next })).into_response())
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

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(Json(object(&find(&app, &caller, &id).await?, false)).into_response())
}

pub(crate) async fn replace(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let draft = read_draft(&app, request).await?;
    caller.need(&app, Right::Notifications, &draft.scope).await?;
    draft.check_reach(&app.api.reach)?;
    draft.check_recipients(&app.api.store).await?;
    let mut had_secret = false;
    let notification = update(&app, &caller, "notification.change", &id, |old| {
        had_secret = old.secret.is_some();
        draft.clone().replace(old, now()).map(Some)
    });
    let notification = notification.await?;
    Ok(Json(object(&notification, !had_secret)).into_response())
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let notification = find(&app, &caller, &text).await?;
    let store = caller.audited(&app, "notification.delete", &notification);
    let found = store.delete_notification(notification.id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(unknown("notification", &text)) }
}

pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    switch(&app, &caller, &id, "notification.pause", NotificationState::Paused).await
}

pub(crate) async fn resume(
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
    Ok(Json(object(&notification, false)).into_response())
}

pub(crate) async fn reset(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let notification = find(&app, &caller, &text).await?;
    if !caller.audited(&app, "notification.reset", &notification).reset_failures(notification.id).await? {
        return Err(unknown("notification", &text));
    }
    Ok(Json(object(&find(&app, &caller, &text).await?, false)).into_response())
}

/// Sends a sample of the body's `kind`, or of the notification's first.
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts.headers, body, app.api.limits.event_bytes).await?;
    let wanted =
        if read.bytes.is_empty() { TestBody::default() } else { body::object_from_json(&read.bytes)? };
    let notification = find(&app, &caller, &id).await?;
    let kind = wanted.kind.or_else(|| notification.kinds.first().copied());
    let Some(kind) = kind.filter(|kind| notification.kinds.contains(kind)) else {
        return Err(Problem::bad("`kind` is not one of the notification's"));
    };
    let delivery = sample::deliver_sample(&app, &notification, kind, now()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "delivery": delivery }))).into_response())
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
    let read = app.bodies.read_whole(&parts.headers, body, app.api.limits.event_bytes).await?;
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

pub(super) fn object(notification: &Notification, with_secret: bool) -> Value {
    let mut object = json!({
        "id": notification.id,
        "title": notification.title,
        "scope": scope(&notification.scope),
        "kinds": notification.kinds,
        "filter": notification.event_config,
        "method": notification.method,
        "config": shown_config(notification, with_secret),
        "format": notification.format,
        "retry": notification.retry,
        "state": notification.state,
        "state_reason": notification.state_reason,
        "failures": notification.failures,
        "created_at": notification.created_at.to_string(),
        "updated_at": notification.updated_at.to_string(),
    });
    if let Value::Object(members) = &mut object {
        members.extend(keys::members(notification, now()));
    }
    object
}

fn scope(scope: &Scope) -> Value {
    match scope {
        Scope::Registry => json!({ "registry": true }),
        narrower => json!({ narrower.word(): narrower.name() }),
    }
}
