//! Logins by password: a cookie, and the word that shows that a request is its holder's own doing.
//!
//! A browser sends the cookie with whatever any page makes it send. So whoever changes something by it repeats, in
//! `X-CSRF-Token`, a word that is derived from the cookie: only who was given the cookie's word can know it. The cookie
//! itself is known here by its SHA-256 alone.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bellbuoy_store::{Account, StoreError};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::{SignedDuration, Timestamp};
use ring::digest::{Context, SHA256};
use subtle::ConstantTimeEq;

use super::{
    fingerprint,
    tokens::{is_secret, make_secret},
};
use crate::{App, now, problem::Problem};

/// What the cookie is called.
pub(crate) const NAME: &str = "bellbuoy_session";

/// What its value begins with, so that scanners of code and logs can tell one.
const PREFIX: &str = "bbs_";

/// For how long a login serves: a working day.
pub(crate) const LASTS: Duration = Duration::from_hours(12);

/// Where a request repeats the word, and where the word for the next one is told, as Quay's clients have it.
pub(crate) const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
pub(crate) const NEXT_CSRF: HeaderName = HeaderName::from_static("x-next-csrf-token");

/// The value of a cookie of ours: of a login, or of whoever is about to log in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Cookie(String);

impl Cookie {
    /// A new one.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub(crate) fn make() -> Result<Self, Problem> {
        make_secret(PREFIX).map(|(value, _)| Self(value))
    }

    /// The one that a request carries. Of several none: one of them may have been planted.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut ours = pairs.filter(|(name, _)| *name == NAME).map(|(_, value)| value);
        let only = ours.next().filter(|value| ours.all(|other| other == *value))?;
        is_secret(PREFIX, only.as_bytes()).then(|| Self(only.to_owned()))
    }

    /// What it is kept as.
    pub(crate) fn hash(&self) -> [u8; 32] {
        fingerprint(self.0.as_bytes())
    }

    /// The word that goes with it.
    pub(crate) fn csrf(&self) -> String {
        let mut context = Context::new(&SHA256);
        context.update(b"csrf\n");
        context.update(self.0.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(context.finish())
    }

    /// Whether a request repeats the word.
    pub(crate) fn is_meant(&self, headers: &HeaderMap) -> bool {
        let said = headers.get(CSRF).map(HeaderValue::as_bytes).unwrap_or_default();
        said.ct_eq(self.csrf().as_bytes()).into()
    }

    /// Hands it to the client: for a login until it ends, else until the client forgets it.
    pub(crate) fn given(&self, app: &App, lasts: Option<Duration>) -> HeaderValue {
        let age = lasts.map(|lasts| format!("; Max-Age={}", lasts.as_secs())).unwrap_or_default();
        header_value(format!("{NAME}={}; {}{age}", self.0, attributes(app)))
    }
}

/// Takes the cookie away from the client.
pub(crate) fn taken_away(app: &App) -> HeaderValue {
    header_value(format!("{NAME}=; {}; Max-Age=0", attributes(app)))
}

/// When a login of now ends.
pub(crate) fn end(now: Timestamp) -> Timestamp {
    let lasts = SignedDuration::try_from(LASTS).unwrap_or_default();
    now.checked_add(lasts).unwrap_or(Timestamp::MAX)
}

/// Whether a verb changes something.
pub(crate) fn changes(verb: &Method) -> bool {
    !matches!(*verb, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The login that a request carries, if it carries no other credential.
pub(super) fn of(headers: &HeaderMap) -> Option<Cookie> {
    if headers.contains_key(header::AUTHORIZATION) { None } else { Cookie::of(headers) }
}

/// The account whose login it is.
///
/// # Errors
///
/// When the store can't say.
pub(super) async fn holder(app: &App, cookie: &Cookie) -> Result<Option<Account>, StoreError> {
    let Some(name) = app.api.store.session(&cookie.hash(), now()).await? else { return Ok(None) };
    Ok(app.api.store.account(&name).await?.filter(|account| account.enabled))
}

/// No script reads it, no other site's form sends it, and where we are reached by https nobody on the way does.
fn attributes(app: &App) -> &'static str {
    if app.api.public_url.starts_with("https:") {
        "Path=/; HttpOnly; SameSite=Lax; Secure"
    } else {
        "Path=/; HttpOnly; SameSite=Lax"
    }
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookie(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(lines: &[&str]) -> Option<Cookie> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_str(line).expect("a value"));
        }
        Cookie::of(&headers)
    }

    #[test]
    fn a_cookie_is_found_among_others_and_of_two_none() {
        let (one, two) = (Cookie::make().expect("one"), Cookie::make().expect("another"));
        assert_ne!(one, two);
        let pair = |cookie: &Cookie| format!("{NAME}={}", cookie.0);
        assert_eq!(carried(&[&pair(&one)]).as_ref(), Some(&one));
        assert_eq!(carried(&["a=b", &format!("c=d; {}; Path=/", pair(&one))]).as_ref(), Some(&one));
        assert_eq!(carried(&[&format!("{0}; {0}", pair(&one))]).as_ref(), Some(&one));
        for none in [
            vec![],
            vec![format!("{}; {}", pair(&one), pair(&two))],
            vec![pair(&one), pair(&two)],
            vec![format!("x{}", pair(&one))],
            vec![pair(&one).replace("bbs_", "bbt_")],
            vec![pair(&one)[..NAME.len() + 20].to_owned()],
            vec![format!("{NAME}=")],
        ] {
            let lines: Vec<&str> = none.iter().map(String::as_str).collect();
            assert_eq!(carried(&lines), None, "{none:?}");
        }
    }

    #[test]
    fn the_word_goes_with_its_cookie_alone_and_does_not_show_it() {
        let (one, two) = (Cookie::make().expect("one"), Cookie::make().expect("another"));
        let said = |word: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CSRF, HeaderValue::from_str(word).expect("a value"));
            headers
        };
        assert!(one.is_meant(&said(&one.csrf())));
        assert!(
            !one.is_meant(&said(&two.csrf())) && !one.is_meant(&said("")) && !one.is_meant(&HeaderMap::new())
        );
        assert!(!one.is_meant(&said(&one.0)) && !one.csrf().contains(&one.0[PREFIX.len()..]));
        assert!(!format!("{one:?}").contains(&one.0));
    }
}
