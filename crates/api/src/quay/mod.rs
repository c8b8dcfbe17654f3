//! Repository notifications as Quay's API has them, for Quay's clients and automation.
//!
//! Paths, codes and bodies are Quay's. Where Quay answers 500 or looks away (an unknown event or
//! method, a target that can't be, another repository's notification) this answers 400 or 404.

mod path;
mod problem;
mod schema;

pub(crate) use problem::response as problem_response;

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    Format, Kind, MethodConfig, MethodName, Notification, NotificationId, NotificationState, RepositoryName,
    Scope,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use serde_json::{Value, json};

use crate::{
    App,
    auth::Caller,
    body,
    draft::{Draft, shown_config},
    now,
    problem::Problem,
    sample,
};
use path::Target;

/// Where Quay's API lies.
const PREFIX: &str = "/api/v1/";
const REPOSITORY: &str = "/api/v1/repository/";

/// How often a notification fails until Quay's clients call it disabled.
const DISABLED_FROM: u32 = 3;

/// Whether a path belongs to Quay's surface, so that even its refusals are in Quay's form.
pub(crate) fn owns(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// A path of Quay's surface that is not there.
pub(crate) fn not_found() -> Problem {
    Problem::not_found("Not Found")
}

/// A path that is there, but not for this verb.
pub(crate) fn not_allowed() -> Problem {
    let detail = "The method is not allowed for the requested URL.";
    problem::with_message(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// `GET /api/v1/error/{type}`.
pub(crate) async fn describe_error(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match problem::describe(&app, &name) {
        Some(description) => Json(description).into_response(),
        None => problem_response(&app, not_found()),
    }
}

/// Everything below `/api/v1/repository/`.
pub(crate) async fn dispatch(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    answer(&app, &caller, &parts, body).await.unwrap_or_else(|problem| problem_response(&app, problem))
}

/// Refuses a caller that does not administer a repository as Quay does: 403, whether there is such a repository or not,
/// so that it does not show. What is no name of a repository is nobody's but a superuser's.
async fn need_admin(app: &App, caller: &Caller, repository: &str) -> Result<(), Problem> {
    let place = RepositoryName::parse(repository).map_or(Scope::Registry, Scope::Repository);
    if caller.owns(app, &place).await? {
        Ok(())
    } else {
        Err(Problem::new(StatusCode::FORBIDDEN, "Unauthorized"))
    }
}

async fn answer(app: &App, caller: &Caller, parts: &Parts, body: Body) -> Result<Response, Problem> {
    let rest = parts.uri.path().strip_prefix(REPOSITORY).unwrap_or_default();
    let target = path::parse(rest).ok_or_else(not_found)?;
    match &target {
        Target::AllWithoutSlash => {}
        Target::All { repository } | Target::One { repository, .. } | Target::Test { repository, .. } => {
            need_admin(app, caller, repository).await?;
        }
    }
    let verb = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    match (target, verb) {
        (Target::AllWithoutSlash, _) => Ok(redirect(&parts.uri)),
        (Target::All { repository }, &Method::GET) => list(app, &repository).await,
        (Target::All { repository }, &Method::POST) => {
            create(app, caller, &repository, &parts.headers, body).await
        }
        (Target::All { .. }, _) => Ok(wrong_verb(app, "GET,HEAD,POST")),
        (Target::One { repository, uuid }, &Method::GET) => get(app, &repository, &uuid).await,
        (Target::One { repository, uuid }, &Method::DELETE) => delete(app, caller, &repository, &uuid).await,
        (Target::One { repository, uuid }, &Method::POST) => reset(app, caller, &repository, &uuid).await,
        (Target::One { .. }, _) => Ok(wrong_verb(app, "GET,HEAD,DELETE,POST")),
        (Target::Test { repository, uuid }, &Method::POST) => test(app, &repository, &uuid).await,
        (Target::Test { .. }, _) => Ok(wrong_verb(app, "POST")),
    }
}

/// Quay's router answers a collection without its trailing slash so. The path begins with ours, so
/// it can't lead to another host.
fn redirect(uri: &Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
    if let Ok(location) = HeaderValue::try_from(format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn wrong_verb(app: &App, allowed: &'static str) -> Response {
    let mut response = problem_response(app, not_allowed());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

async fn list(app: &App, repository: &str) -> Result<Response, Problem> {
    let notifications = app.api.store.notifications_in(&scope(repository)?).await?;
    let objects: Vec<Value> = notifications.iter().map(|notification| object(notification, false)).collect();
    Ok(Json(json!({ "notifications": objects })).into_response())
}

async fn create(
    app: &App,
    caller: &Caller,
    repository: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let read = app.bodies.read_whole(headers, body, app.api.limits.event_bytes).await?;
    let body = schema::read(json_body(headers, &read.bytes)?).map_err(Problem::bad)?;
    let draft = draft(body, scope(repository)?).map_err(Problem::bad)?;
    let notification = draft.create(now())?;
    caller.audited(app, "notification.create", &notification).create_notification(&notification).await?;
    Ok((StatusCode::CREATED, Json(object(&notification, true))).into_response())
}

fn json_body(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Problem> {
    if !body::media_type(headers).is_some_and(|(essence, _)| body::is_json(&essence)) {
        let detail =
            "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.";
        return Err(problem::with_message(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Null) => Err(Problem::bad("Missing JSON body")),
        Ok(value) => Ok(value),
        Err(error) => {
            let detail = format!("Failed to decode JSON object: {error}");
            Err(problem::with_message(StatusCode::BAD_REQUEST, detail))
        }
    }
}

/// Checks in Quay's order: method, its settings, event.
fn draft(body: schema::CreateBody, scope: Scope) -> Result<Draft, String> {
    let method = body.method.parse::<MethodName>().map_err(|error| error.to_string())?;
    MethodConfig::parse(method, &body.config, &scope).map_err(|error| error.to_string())?;
    let kind = body.event.parse::<Kind>().map_err(|error| format!("event: {error}"))?;
    Ok(Draft {
        title: body.title,
        scope,
        kinds: vec![kind],
        event_config: body.event_config,
        method: body.method,
        config: body.config,
        format: Format::Quay.name().to_owned(),
        retry: None,
    })
}

async fn get(app: &App, repository: &str, uuid: &str) -> Result<Response, Problem> {
    let notification = find(app, repository, uuid).await?.ok_or_else(not_found)?;
    Ok(Json(object(&notification, false)).into_response())
}

async fn delete(app: &App, caller: &Caller, repository: &str, uuid: &str) -> Result<Response, Problem> {
    let notification = find(app, repository, uuid).await?.ok_or_else(|| absent(repository, uuid))?;
    let store = caller.audited(app, "notification.delete", &notification);
    let found = store.delete_notification(notification.id).await?;
    if found { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(absent(repository, uuid)) }
}

async fn reset(app: &App, caller: &Caller, repository: &str, uuid: &str) -> Result<Response, Problem> {
    let notification = find(app, repository, uuid).await?.ok_or_else(|| absent(repository, uuid))?;
    let store = caller.audited(app, "notification.reset", &notification);
    let found = store.reset_failures(notification.id).await?;
    if found { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(absent(repository, uuid)) }
}

async fn test(app: &App, repository: &str, uuid: &str) -> Result<Response, Problem> {
    let notification = find(app, repository, uuid).await?.ok_or_else(|| absent(repository, uuid))?;
    let kind = notification.kinds.first().copied().ok_or_else(|| absent(repository, uuid))?;
    sample::deliver_sample(app, &notification, kind, now()).await?;
    Ok(Json(json!({})).into_response())
}

/// The notification, if it is one of this repository.
async fn find(app: &App, repository: &str, uuid: &str) -> Result<Option<Notification>, Problem> {
    let (Ok(id), Ok(name)) = (uuid.parse::<NotificationId>(), RepositoryName::parse(repository)) else {
        return Ok(None);
    };
    let found = app.api.store.notification(id).await?;
    Ok(found.filter(|notification| notification.scope == Scope::Repository(name)))
}

fn absent(repository: &str, uuid: &str) -> Problem {
    let (namespace, name) = repository.split_once('/').unwrap_or(("", repository));
    let (namespace, name, uuid) = (shown(namespace), shown(name), shown(uuid));
    Problem::bad(format!("No repository notification found for: {namespace}, {name}, {uuid}"))
}

/// What a client wrote, as far as it is repeated to it.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(80).collect()
}

fn scope(repository: &str) -> Result<Scope, Problem> {
    let name = RepositoryName::parse(repository);
    name.map(Scope::Repository).map_err(|error| Problem::bad(error.to_string()))
}

/// A notification as Quay shows it. One that was made for several kinds by the native API shows its
/// first as `event`.
fn object(notification: &Notification, with_secret: bool) -> Value {
    let is_disabled = notification.state == NotificationState::Disabled;
    let least = if is_disabled { DISABLED_FROM } else { 0 };
    json!({
        "uuid": notification.id,
        "title": notification.title,
        "event": notification.kinds.first(),
        "method": notification.method,
        "config": shown_config(notification, with_secret),
        "event_config": notification.event_config,
        "number_of_failures": notification.failures.max(least),
    })
}
