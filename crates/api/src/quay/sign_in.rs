//! Signing in by user name and password, for browsers and for automation without a token.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::Scope;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Map;

use super::{problem, read_json, schema};
use crate::{
    App,
    auth::{
        Caller, Refused,
        passwords::{Shown, sign_in as check},
        session::{self, Cookie},
    },
    counts::{self, Surface},
    guesses::TooMany,
    now,
    problem::Problem,
    server::Peer,
};

/// Quay's words for a wrong name or password.
const WRONG: &str = "Invalid Username or Password";

/// The word to send as `X-CSRF-Token` with whatever changes something.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CsrfToken {
    csrf_token: String,
}

/// That it went well.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Success {
    /// Always true.
    success: bool,
}

/// `GET /csrf_token`: the word to repeat in what changes something, and a cookie to whoever has none.
pub(crate) async fn csrf_token(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let known = Cookie::of(&headers);
    let is_new = known.is_none();
    let cookie = known.map_or_else(Cookie::make, Ok)?;
    let mut response = Json(CsrfToken { csrf_token: cookie.csrf() }).into_response();
    if is_new {
        response.headers_mut().insert(header::SET_COOKIE, cookie.given(&app, None));
    }
    Ok(response)
}

/// `POST /api/v1/signin`: gives a new cookie, so that nobody can have planted the one that is signed in with, and the
/// word that goes with it.
pub(crate) async fn sign_in(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if !Cookie::of(&parts.headers).is_some_and(|cookie| cookie.is_meant(&parts.headers)) {
        return Err(problem::csrf());
    }
    let body = read_json(&app, &parts, body).await?;
    let schema::SignIn { username, password } = schema::sign_in(body).map_err(Problem::bad)?;
    let peer = parts.extensions.get::<Peer>().copied();
    let shown = check(&app, peer, &username, password).await.map_err(|refused| refusal(&app, refused))?;
    let cookie = begin(&app, peer, &shown).await?;
    let mut response = Json(Success { success: true }).into_response();
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, cookie.given(&app, Some(session::LASTS)));
    let word = HeaderValue::try_from(cookie.csrf()).map_err(|_| Problem::internal())?;
    headers.insert(session::NEXT_CSRF, word);
    Ok(response)
}

/// What was shown may have been changed while it was checked, and what it gives away with it.
async fn begin(
    app: &App,
    peer: Option<Peer>,
    Shown { account, password }: &Shown,
) -> Result<Cookie, Problem> {
    let (cookie, now) = (Cookie::make()?, now());
    let caller = Caller::signed_in(account.clone(), peer);
    let entry = caller.entry("session.begin", &account.name, &Scope::Registry, Map::new());
    let store = app.api.store.audited(entry);
    let begun = store.begin_session(account, password, &cookie.hash(), now, session::end(now)).await?;
    if begun { Ok(cookie) } else { Err(refusal(app, Refused::Wrong)) }
}

fn refusal(app: &App, refused: Refused) -> Problem {
    counts::unauthorized(&app.api.metrics, Surface::Quay);
    match refused {
        Refused::Wrong => Problem::new(StatusCode::FORBIDDEN, WRONG)
            .with("message", WRONG)
            .with("invalidCredentials", true)
            .with("needsEmailVerification", false),
        Refused::TooMany(TooMany { wait }) => {
            let detail = "too many wrong names or passwords; wait before the next";
            Problem { retry_after: Some(wait), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) }
        }
        Refused::Unknowable => Problem::unavailable("the password can't be checked just now; try again"),
        other => other.problem(None),
    }
}

/// `POST /api/v1/signout`: ends the login. With a token there is none to end.
pub(crate) async fn sign_out(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(cookie) = Cookie::of(&headers) {
        let entry = caller.entry("session.end", &caller.actor(), &Scope::Registry, Map::new());
        app.api.store.audited(entry).end_session(&cookie.hash()).await?;
    }
    let mut response = Json(Success { success: true }).into_response();
    response.headers_mut().insert(header::SET_COOKIE, session::taken_away(&app));
    Ok(response)
}
