//! What a signed-in browser carries: the login that the API gave for a password, or a token, which no script can read and
//! which the browser forgets when it is closed. The API itself takes no token from a cookie: it is handed on as any client
//! sends it.

use axum::http::HeaderMap;
use http::{HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The API's own cookie, of a login by password.
pub(crate) const LOGIN: &str = "bellbuoy_session";

/// Ours, of a token.
pub(crate) const TOKEN: &str = "bellbuoy_token";

/// The credential that a browser's cookies stand for, as headers of a request to the API.
pub(crate) fn credential(headers: &HeaderMap) -> Option<HeaderMap> {
    // Each way to sign in takes the other's cookie away, so that of both one was planted.
    if let Some(token) = only(headers, TOKEN) {
        if only(headers, LOGIN).is_some() {
            return None;
        }
        let token = percent_decode_str(token).decode_utf8().ok()?;
        let value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        return Some(HeaderMap::from_iter([(header::AUTHORIZATION, value)]));
    }
    let login = only(headers, LOGIN)?;
    let value = HeaderValue::try_from(format!("{LOGIN}={login}")).ok()?;
    Some(HeaderMap::from_iter([(header::COOKIE, value)]))
}

/// Hands a token to the browser.
pub(crate) fn given(token: &str, public_url: &str) -> Option<HeaderValue> {
    let value = utf8_percent_encode(token, NON_ALPHANUMERIC);
    HeaderValue::try_from(format!("{TOKEN}={value}; {}", attributes(TOKEN, public_url))).ok()
}

/// Takes a cookie away from the browser.
pub(crate) fn taken_away(name: &str, public_url: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("{name}=; {}; Max-Age=0", attributes(name, public_url))).ok()
}

/// Of several of one name none: one of them may have been planted.
fn only<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found =
        pairs.filter(|(name, value)| *name == wanted && !value.is_empty()).map(|(_, value)| value);
    found.next().filter(|value| found.all(|other| other == *value))
}

/// The login's are those that the API gives it; a token goes to no path but the pages'.
fn attributes(name: &str, public_url: &str) -> String {
    let path = if name == TOKEN { "/console" } else { "/" };
    let secure = if public_url.starts_with("https:") { "; Secure" } else { "" };
    format!("Path={path}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(line: &str) -> Option<(String, String)> {
        let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(line).expect("a value"))]);
        let credential = credential(&headers)?;
        let (name, value) = credential.iter().next()?;
        Some((name.to_string(), value.to_str().expect("text").to_owned()))
    }

    #[test]
    fn a_token_comes_back_as_it_was_given_and_a_planted_second_one_is_none() {
        for token in ["bbt_abc", "a;b=c d\"%", "smörgås"] {
            let cookie = given(token, "http://127.0.0.1").expect("a cookie");
            let cookie = cookie.to_str().expect("text");
            assert!(cookie.ends_with("; Path=/console; HttpOnly; SameSite=Lax"), "{cookie}");
            let pair = cookie.split(';').next().expect("a pair");
            let bearer = HeaderValue::try_from(format!("Bearer {token}")).expect("a value");
            let found = credential(&HeaderMap::from_iter([(
                header::COOKIE,
                HeaderValue::from_str(&format!("other=1; {pair}")).expect("a value"),
            )]));
            assert_eq!(found.expect("a credential")[header::AUTHORIZATION], bearer);
        }
        assert_eq!(carried("bellbuoy_token=one; bellbuoy_token=two"), None);
        assert_eq!(carried("bellbuoy_token=; other=1"), None);
        assert_eq!(carried("bellbuoy_token=one; bellbuoy_session=bbs_x"), None);
        let login = carried("a=b; bellbuoy_session=bbs_x").expect("a login");
        assert_eq!(login, ("cookie".to_owned(), "bellbuoy_session=bbs_x".to_owned()));
        assert!(
            given("x", "https://bell.example.com")
                .expect("a cookie")
                .to_str()
                .expect("text")
                .contains("Secure")
        );
    }
}
