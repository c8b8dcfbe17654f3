//! What every page is made of: the frame around it, the headers it leaves with, and what is shown when it can't be.

use askama::Template;
use axum::{
    extract::Request,
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

use crate::api::Refusal;

/// Scripts, styles and pictures are our own files, nobody frames the pages, and forms go nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What stays as it is in a part of a path or a value of a query (RFC 3986, unreserved).
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The places of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Notifications,
    Deliveries,
    DeadLetters,
    Events,
    Inbox,
    Audit,
    Tokens,
}

/// What stands around every page.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) place: Place,
    pub(crate) who: String,
    /// Whether the visitor is shown everything.
    pub(crate) sees_all: bool,
    /// Items of the in-app area that are not put away; of a visitor with an account.
    pub(crate) unread: Option<usize>,
    pub(crate) said: Option<&'static str>,
}

impl Shell {
    /// Every place of the navigation that the visitor has, with its path and name.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let (superuser, inbox) = (self.sees_all, self.unread.is_some());
        let places = [
            (Place::Overview, "/console", "Overview", true),
            (Place::Notifications, "/console/notifications", "Notifications", true),
            (Place::Deliveries, "/console/deliveries", "Deliveries", true),
            (Place::DeadLetters, "/console/dead-letters", "Dead letters", true),
            (Place::Events, "/console/events", "Events", true),
            (Place::Inbox, "/console/inbox", "Inbox", inbox),
            (Place::Audit, "/console/audit", "Audit", superuser),
            (Place::Tokens, "/console/tokens", "Tokens", true),
        ];
        let here = self.place;
        places
            .into_iter()
            .filter(|(.., shown)| *shown)
            .map(move |(place, path, name, _)| (path, name, place == here))
    }
}

/// What a page says that an act led to, by its word in the query. A closed list, so that no link puts words into our mouth.
const SAID: &[(&str, &str)] = &[
    ("created", "Made. From now on it hears of events."),
    ("changed", "Changed. Deliveries that wait are sent by it too."),
    ("deleted", "Deleted. Its history stays until it is too old."),
    ("pause", "Paused. Its deliveries are held, and none is lost."),
    ("resume", "Resumed. What was held goes on within five minutes."),
    ("reset", "Switched on again. One delivery at a time finds out whether it works, and then all go on."),
    ("test", "A sample is on its way."),
    ("caught-up", "What it had missed is on its way."),
    ("resend", "It is sent once more, as soon as its receiver takes it."),
    ("replay", "On its way again."),
    ("discard", "Discarded."),
    ("dismiss", "Put away."),
    ("restore", "Back in the inbox."),
    ("revoked", "Revoked. It serves no more."),
];

/// What the query says that was done.
pub(crate) fn said(query: &str) -> Option<&'static str> {
    let (_, word) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "said")?;
    SAID.iter().find(|(known, _)| *known == word).map(|(_, text)| *text)
}

/// A page of a template.
pub(crate) fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

/// The same, with another status.
pub(crate) fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!("a page of the console can't be written: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Leads back to a page after something was done, so that loading it again does nothing again.
pub(crate) fn done(path: &str, word: &str) -> Response {
    let mark = if path.contains('?') { '&' } else { '?' };
    Redirect::to(&format!("{path}{mark}said={word}")).into_response()
}

/// A text as a part of a path, or a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// Why a page can't be shown, or something was not done.
#[derive(Debug)]
pub(crate) struct Fault {
    status: StatusCode,
    detail: String,
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage<'a> {
    status: u16,
    title: &'a str,
    detail: &'a str,
}

/// Marks an answer to somebody who has to sign in first.
#[derive(Debug, Clone, Copy)]
struct SignInFirst;

impl Fault {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// What it is answered with.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Somebody who is not signed in.
    pub(crate) fn stranger() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Sign in first.")
    }
}

impl From<Refusal> for Fault {
    fn from(Refusal { status, detail, .. }: Refusal) -> Self {
        Self { status, detail }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let title = match self.status {
            StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::SERVICE_UNAVAILABLE => "Not now",
            status if status.is_client_error() => "That did not work",
            _ => "Something went wrong",
        };
        let page = FaultPage { status: self.status.as_u16(), title, detail: &self.detail };
        let mut response = page_with(self.status, &page);
        if self.status == StatusCode::UNAUTHORIZED {
            response.extensions_mut().insert(SignInFirst);
        }
        response
    }
}

/// What every page leaves with. Strangers are led to sign in, and from there to where they wanted to be.
pub(crate) async fn seal(request: Request, next: Next) -> Response {
    let is_page = request.method() == Method::GET;
    let wanted = request.uri().path_and_query().filter(|_| is_page).map(ToString::to_string);
    let mut response = next.run(request).await;
    if response.extensions().get::<SignInFirst>().is_some() {
        let next = wanted.map(|path| format!("?next={}", encoded(&path))).unwrap_or_default();
        response = Redirect::to(&format!("/console/sign-in{next}")).into_response();
    }
    let headers = headers(&response);
    response.headers_mut().extend(headers);
    response
}

fn headers(response: &Response) -> HeaderMap {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`, with which a browser does not say any more that a form is our own.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut headers: HeaderMap =
        fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_says_is_one_of_ours_and_not_the_links() {
        assert_eq!(said("a=b&said=pause"), Some("Paused. Its deliveries are held, and none is lost."));
        assert_eq!(said("said=You+were+hacked"), None);
        assert_eq!(said(""), None);
    }

    #[test]
    fn a_text_is_one_part_of_a_path_whatever_it_holds() {
        assert_eq!(encoded("acme/api?x&y #é"), "acme%2Fapi%3Fx%26y%20%23%C3%A9");
    }
}
