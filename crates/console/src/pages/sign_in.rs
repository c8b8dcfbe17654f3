//! Signing in, by password or with a token, and out.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::Shown;
use crate::{
    Console,
    api::{Api, CSRF, Connection, Refusal},
    cookies,
    form::Written,
    form_body::SignIn,
    page::{Fault, page_with},
    visitor::Visitor,
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    /// Where the visitor wanted to be.
    next: &'a str,
    account: &'a str,
    fault: Option<&'a str>,
}

/// `GET /console/sign-in`
pub(crate) async fn show(RawQuery(query): RawQuery) -> Response {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    page_with(StatusCode::OK, &SignInPage { next: local(written.get("next")), account: "", fault: None })
}

/// `POST /console/sign-in`
pub(crate) async fn sign_in(
    State(console): State<Arc<Console>>,
    Extension(connection): Extension<Connection>,
    visitor: Result<Visitor, Fault>,
    SignIn(written): SignIn,
) -> Shown {
    if let Ok(visitor) = visitor {
        // Nobody has two: the one of before ends, whatever becomes of this one.
        sign_off(&visitor).await?;
    }
    let token = written.get("token");
    let signed_in = if token.is_empty() {
        by_password(&console, connection, &written).await
    } else {
        by_token(&console, connection, token).await
    };
    let next = local(written.get("next"));
    match signed_in {
        Ok(cookies) => {
            let mut response = Redirect::to(next).into_response();
            response.headers_mut().extend(cookies);
            Ok(response)
        }
        Err(refusal) => {
            let fault = Some(refusal.detail.as_str());
            Ok(page_with(refusal.status, &SignInPage { next, account: written.get("account"), fault }))
        }
    }
}

/// Asks with the token for whose it is. One that may not even know that serves too: pages say what it may not do.
async fn by_token(console: &Console, connection: Connection, token: &str) -> Result<HeaderMap, Refusal> {
    let unwritable = || Refusal::unsaid(StatusCode::UNAUTHORIZED, "this is no token");
    let cookie = cookies::given(token, &console.public_url).ok_or_else(unwritable)?;
    let bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| unwritable())?;
    let credential = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
    let api = Api::new(console.api.clone(), credential, connection);
    match api.send(Method::GET, "/api/v1/user/", None, &HeaderMap::new()).await {
        Err(refusal) if refusal.status != StatusCode::FORBIDDEN => Err(refusal),
        _ => Ok([Some(cookie), cookies::taken_away(cookies::LOGIN, &console.public_url)]
            .into_iter()
            .flatten()
            .map(|cookie| (header::SET_COOKIE, cookie))
            .collect()),
    }
}

/// Signs in as a browser of Quay does: with the word that goes with a first cookie.
async fn by_password(
    console: &Console,
    connection: Connection,
    written: &Written,
) -> Result<HeaderMap, Refusal> {
    let api = Api::new(console.api.clone(), HeaderMap::new(), connection);
    let first = api.send(Method::GET, "/csrf_token", None, &HeaderMap::new()).await?;
    let word = first.body["csrf_token"].as_str().and_then(|word| HeaderValue::from_str(word).ok());
    let cookie = first.headers.get(header::SET_COOKIE).and_then(|cookie| cookie.to_str().ok());
    let cookie =
        cookie.and_then(|cookie| cookie.split(';').next()).and_then(|pair| HeaderValue::from_str(pair).ok());
    let headers = [word.map(|word| (CSRF, word)), cookie.map(|cookie| (header::COOKIE, cookie))];
    let headers: HeaderMap = headers.into_iter().flatten().collect();
    let password = written.all("password").next().unwrap_or_default();
    let body = json!({"username": written.get("account"), "password": password});
    let answer = api.send(Method::POST, "/api/v1/signin", Some(body), &headers).await?;
    let mut cookies = HeaderMap::new();
    for cookie in answer.headers.get_all(header::SET_COOKIE) {
        cookies.append(header::SET_COOKIE, cookie.clone());
    }
    if let Some(cookie) = cookies::taken_away(cookies::TOKEN, &console.public_url) {
        cookies.append(header::SET_COOKIE, cookie);
    }
    Ok(cookies)
}

/// `POST /console/sign-out`
pub(crate) async fn sign_out(State(console): State<Arc<Console>>, visitor: Result<Visitor, Fault>) -> Shown {
    if let Ok(visitor) = visitor {
        sign_off(&visitor).await?;
    }
    let mut response = Redirect::to("/console/sign-in").into_response();
    for name in [cookies::LOGIN, cookies::TOKEN] {
        if let Some(cookie) = cookies::taken_away(name, &console.public_url) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    Ok(response)
}

/// Ends a login. Of a token, and of one that has ended already, there is none to end.
async fn sign_off(visitor: &Visitor) -> Result<(), Fault> {
    match visitor.api.act(Method::POST, "/api/v1/signout", None).await {
        Err(refusal) if refusal.status.is_server_error() => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// A path of ours, whatever a link says: nobody is led elsewhere by signing in.
fn local(next: &str) -> &str {
    let is_ours = next == "/console" || next.starts_with("/console/") || next.starts_with("/console?");
    let path = next.split('?').next().unwrap_or_default();
    let leads_up = percent_decode_str(path).decode_utf8_lossy().split('/').any(|part| part == "..");
    let is_plain = !next.contains('\\') && !next.chars().any(char::is_control) && !leads_up;
    if is_ours && is_plain { next } else { "/console" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_our_own_pages_alone() {
        for ours in ["/console", "/console/deliveries?state=dead", "/console?said=x"] {
            assert_eq!(local(ours), ours);
        }
        for other in [
            "",
            "//evil.example/console",
            "https://evil.example",
            "/consoles",
            "/console/\\evil",
            "/v1/tokens",
            "/console/../v1/tokens",
            "/console/x/%2e%2E/%2e%2e/v1",
        ] {
            assert_eq!(local(other), "/console", "{other}");
        }
    }
}
