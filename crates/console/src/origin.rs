//! Whether a visitor meant what a browser sends. A browser adds a site's cookies to whatever any page makes it send, but
//! says of each request where it comes from: in `Sec-Fetch-Site`, or, where we are reached without TLS, in `Origin`.
//! Whatever changes something has to come from our own pages; what says neither comes from no browser.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use crate::{Console, page::Fault};

/// Refuses what another site made a browser send.
pub(crate) async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && !is_own(request.headers(), &console.public_url) {
        let why = "This was sent by a page of another site, so nothing was done. If you reach Bellbuoy through a \
                   proxy, set `public_url` to the address in your browser.";
        return Fault::new(StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
}

fn is_own(headers: &HeaderMap, public_url: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key("sec-fetch-site") {
        return matches!(text("sec-fetch-site"), Some("same-origin" | "none"));
    }
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let Some(origin) = text("origin").and_then(|origin| Url::parse(origin).ok()) else { return false };
    let authority = &origin[url::Position::BeforeHost..url::Position::AfterPort];
    let ours = Url::parse(public_url).is_ok_and(|ours| ours.origin() == origin.origin());
    ours || text("host").is_some_and(|host| host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_comes_from_our_own_pages_or_from_no_browser() {
        let public_url = "https://bell.example.com";
        let own = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(*name, value.parse().expect("a value"));
            }
            is_own(&headers, public_url)
        };
        assert!(own(&[]), "a program");
        assert!(own(&[("sec-fetch-site", "same-origin"), ("origin", "https://elsewhere.example")]));
        assert!(own(&[("sec-fetch-site", "none")]), "typed by the visitor");
        assert!(!own(&[("sec-fetch-site", "cross-site")]));
        assert!(!own(&[("sec-fetch-site", "same-site"), ("origin", "https://bell.example.com")]));
        assert!(own(&[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")]));
        assert!(own(&[("origin", "https://bell.example.com"), ("host", "10.0.0.7:8080")]), "behind a proxy");
        assert!(!own(&[("origin", "http://127.0.0.1:9090"), ("host", "127.0.0.1:8080")]));
        assert!(!own(&[("origin", "null"), ("host", "127.0.0.1:8080")]));
        assert!(!own(&[("origin", "http://bell.example.com"), ("host", "10.0.0.7")]), "without its TLS");
    }
}
