//! Quay's API, for its clients and automation: notifications, the in-app area, authorized addresses, and what such
//! clients ask around them.
//!
//! Paths, codes and bodies are Quay's. Where Quay answers 500 or looks away (an unknown event or
//! method, a target that can't be, another repository's notification) this answers 400 or 404.

mod authorized_email;
mod inbox;
mod namespace;
mod notifications;
mod path;
mod people;
mod permissions;
mod problem;
mod repositories;
mod routes;
mod schema;
mod sign_in;

pub(crate) use problem::{ProblemView, response as problem_response};
pub(crate) use routes::routes;

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{RepositoryName, Scope};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use serde_json::Value;

use crate::{
    App,
    auth::{Caller, Flaw, Refused, session},
    body,
    ingest::{form_value, query_value},
    problem::Problem,
};
use notifications::Notifications;
use path::Target;

/// Where Quay's API lies.
const PREFIX: &str = "/api/v1/";
const REPOSITORY: &str = "/api/v1/repository/";

/// Where Quay's clients may say the word that shows that a request was meant, beside its header.
const WORD: &str = "_csrf_token";

/// Of a form that says the word: what we take of it before we know who sends it.
const FORM_BYTES: usize = 16 * 1024;

/// What Quay answers to whoever may not.
const UNAUTHORIZED: &str = "Unauthorized";

/// Whether a path belongs to Quay's surface, so that even its refusals are in Quay's form.
pub(crate) fn owns(path: &str) -> bool {
    path.starts_with(PREFIX) || matches!(path, "/csrf_token" | "/authrepoemail")
}

/// Whether a path begins or ends a login, which is no change of what is kept for others.
pub(crate) fn is_login(path: &str) -> bool {
    matches!(path, "/api/v1/signin" | "/api/v1/signout")
}

/// Whether a path is for those who have no credential yet.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, "/csrf_token" | "/authrepoemail" | "/api/v1/signin")
}

/// Quay takes the word that shows that a request was meant as a value of the query, too.
pub(crate) fn lift_word(request: &mut Request) {
    if !owns(request.uri().path()) || request.headers().contains_key(session::CSRF) {
        return;
    }
    let word = query_value(request.uri(), WORD);
    put_word(request, word);
}

/// Nor does Quay mind it in a form. The form stays the request's body.
///
/// # Errors
///
/// When the form can't be read, or is larger than any that only says the word: then it says none.
pub(crate) async fn lift_word_of_form(app: &App, request: Request) -> Result<Request, Problem> {
    let headers = request.headers();
    let may_say_it = owns(request.uri().path())
        && session::changes(request.method())
        && headers.contains_key(header::COOKIE)
        && !headers.contains_key(session::CSRF)
        && is_form(headers);
    if !may_say_it {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let form = app.bodies.read(&parts, body, FORM_BYTES).await?;
    if form.is_cut {
        return Err(problem::csrf());
    }
    let form = form.bytes;
    let word = std::str::from_utf8(&form).ok().and_then(|form| form_value(form, WORD));
    let mut request = Request::from_parts(parts, Body::from(form));
    put_word(&mut request, word);
    Ok(request)
}

fn put_word(request: &mut Request, word: Option<String>) {
    if let Some(word) = word.and_then(|word| HeaderValue::try_from(word).ok()) {
        request.headers_mut().insert(session::CSRF, word);
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
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

/// What a request without a right credential is answered. To Quay, one that would change something and shows no
/// credential of its own comes from a browser that was misled: 403, where others are told 401.
pub(crate) fn unauthorized(app: &App, request: &Request, refused: Refused) -> Response {
    let problem = match refused {
        Refused::Unmeant => problem::csrf(),
        Refused::Missing | Refused::Wrong if is_jwt(request.headers()) => {
            let text = "Requires authentication";
            Problem::new(StatusCode::UNAUTHORIZED, text).with("error", text)
        }
        Refused::Missing | Refused::Wrong if session::changes(request.method()) => problem::csrf(),
        // A JWT as well: its readers look for the same member.
        Refused::Registry(flaw) if flaw != Flaw::NoKeys => {
            let text = "Requires authentication";
            Problem::new(StatusCode::UNAUTHORIZED, text).with("error", text).with("flaw", flaw.text())
        }
        other => other.problem(Some("Requires authentication")),
    };
    problem_response(app, problem)
}

/// Whether a request carries a bearer token of three parts, as no token of ours is.
fn is_jwt(headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token.is_some_and(|(_, token)| token.trim().split('.').filter(|part| !part.is_empty()).count() == 3)
}

/// `GET /api/v1/error/{type}`.
async fn describe_error(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match problem::describe(&app, &name) {
        Some(description) => Json(description).into_response(),
        None => problem_response(&app, not_found()),
    }
}

/// A path that has a slash at its end, without it.
async fn with_slash(uri: Uri) -> Response {
    redirect(&uri)
}

/// Everything below `/api/v1/repository/`. A repository's name may hold slashes, so the path is read from its end.
async fn dispatch(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let rest = parts.uri.path().strip_prefix(REPOSITORY).unwrap_or_default();
    match path::parse(rest).ok_or_else(not_found)? {
        Target::WithoutSlash => Ok(redirect(&parts.uri)),
        Target::Notifications { repository, part } => {
            need_admin(&app, &caller, &repository).await?;
            let of = Notifications::of_repository(&app, &caller, &repository, &part, verb(&parts))?;
            of.answer(&part, &parts, body).await
        }
        Target::Email { repository, email } => {
            need_admin(&app, &caller, &repository).await?;
            authorized_email::answer(&app, &caller, &repository, &email, &parts).await
        }
        Target::Permissions { repository, whose } => {
            need_admin(&app, &caller, &repository).await?;
            permissions::answer(&app, &caller, &repository, &whose, &parts, body).await
        }
        Target::Repository { repository } => repositories::answer(&app, &caller, &repository, &parts).await,
    }
}

/// Refuses a caller that does not administer a repository as Quay does: 403, whether there is such a repository or not,
/// so that it does not show. What is no name of a repository is nobody's but a superuser's.
async fn need_admin(app: &App, caller: &Caller, repository: &str) -> Result<(), Problem> {
    let place = RepositoryName::parse(repository).map_or(Scope::Registry, Scope::Repository);
    if caller.owns(app, &place).await? { Ok(()) } else { Err(forbidden()) }
}

fn forbidden() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, UNAUTHORIZED)
}

/// The verb, HEAD as the GET that it is the head of.
fn verb(parts: &Parts) -> &Method {
    if parts.method == Method::HEAD { &Method::GET } else { &parts.method }
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

/// A request's body as JSON, refused as Quay's framework refuses it.
async fn read_json(app: &App, parts: &Parts, body: Body) -> Result<Value, Problem> {
    let read = app.bodies.read_whole(parts, body, app.api.limits.event_bytes).await?;
    if !body::media_type(&parts.headers).is_some_and(|(essence, _)| body::is_json(&essence)) {
        let detail =
            "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.";
        return Err(problem::with_message(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    match serde_json::from_slice(&read.bytes) {
        Ok(Value::Null) => Err(Problem::bad("Missing JSON body")),
        Ok(value) => Ok(value),
        Err(error) => {
            let detail = format!("Failed to decode JSON object: {error}");
            Err(problem::with_message(StatusCode::BAD_REQUEST, detail))
        }
    }
}

/// What a client wrote, as far as it is repeated to it.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(80).collect()
}

/// A time as Quay writes it: RFC 2822.
fn written(at: Timestamp) -> String {
    DateTimePrinter::new().timestamp_to_string(&at).unwrap_or_default()
}
