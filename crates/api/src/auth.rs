//! Who asks: the holder of the admin token, of a token of ours, or of one of the registry's. Everything but health wants one
//! of them. What the holder may do is the caller's: see [`Caller`]. Guessing is slow: see `guesses`.

pub(crate) mod passwords;
mod principal;
mod registry;
pub(crate) mod session;
mod tokens;

pub(crate) use principal::Caller;
pub use registry::RegistryTokens;
pub(crate) use tokens::{Tokens, make as make_token, make_secret};

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bellbuoy_domain::{AccountName, Right, Scope, TokenScope, TokenScopes, Verdict};
use bellbuoy_store::Account;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::{
    App,
    counts::{self, Surface},
    docker_hub, dtr,
    guesses::TooMany,
    ingest::credentials,
    now,
    problem::Problem,
    quay,
    server::Peer,
};
use principal::Who;
pub(crate) use registry::Flaw;
use registry::Grant;

/// How long a source address with bad credentials stays out of the log after a line about it.
const LOG_PAUSE: Duration = Duration::from_mins(1);

/// Source addresses remembered for that.
const LOGGED_ADDRESSES: usize = 1024;

/// The tokens of the settings, which may do everything. Kept as digests of equal length, so that comparing takes the
/// same time whatever is presented.
#[derive(Clone)]
pub struct Auth {
    tokens: Vec<[u8; 32]>,
    open_metrics: bool,
    registry: Option<RegistryTokens>,
    readonly_superusers: Vec<AccountName>,
}

/// A token that would let everybody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an admin token is blank; give at least one visible character, better 24 random bytes")]
pub struct BlankToken;

impl Auth {
    /// Lets the holders of `tokens` in; with none of them, nobody.
    ///
    /// # Errors
    ///
    /// When a token is empty or all white space.
    pub fn new<T: AsRef<str>>(tokens: impl IntoIterator<Item = T>) -> Result<Self, BlankToken> {
        let tokens = tokens.into_iter().map(|token| match token.as_ref().trim() {
            "" => Err(BlankToken),
            token => Ok(fingerprint(token.as_bytes())),
        });
        Ok(Self {
            tokens: tokens.collect::<Result<_, _>>()?,
            open_metrics: false,
            registry: None,
            readonly_superusers: Vec::new(),
        })
    }

    /// Shows `/metrics` to everybody, and what tells as much: why `/readyz` fails, and the version.
    #[must_use]
    pub fn with_open_metrics(mut self) -> Self {
        self.open_metrics = true;
        self
    }

    /// Lets the holders of the registry's own tokens in, for what these grant.
    #[must_use]
    pub fn with_registry(mut self, registry: RegistryTokens) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Shows these accounts whatever a superuser is shown, and lets them change no more than before.
    #[must_use]
    pub fn with_readonly_superusers(mut self, accounts: Vec<AccountName>) -> Self {
        self.readonly_superusers = accounts;
        self
    }

    /// Whether a caller is shown everything that it asks for in this way.
    fn sees_all(&self, caller: &Caller, verb: &Method) -> bool {
        let may = |account: &Account| self.readonly_superusers.contains(&account.name);
        !session::changes(verb) && caller.account().is_some_and(may)
    }

    /// Whether it is an admin token.
    fn is_admin(&self, presented: &[u8]) -> bool {
        let presented = fingerprint(presented);
        // Without a short circuit: the time must not tell which token came close.
        self.tokens.iter().fold(Choice::from(0), |fits, token| fits | token.ct_eq(&presented)).into()
    }

    fn is_open(&self, path: &str) -> bool {
        is_open(path) || (path == "/metrics" && self.open_metrics)
    }

    /// Whether everybody may know what metrics tell.
    pub(crate) fn tells_everybody(&self) -> bool {
        self.open_metrics
    }
}

/// Whether a path takes no credential, or one that stands in it.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/healthz" | "/readyz") || quay::is_open(path) || docker_hub::owns(path)
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("tokens", &self.tokens.len())
            .field("open_metrics", &self.open_metrics)
            .field("registry", &self.registry)
            .field("readonly_superusers", &self.readonly_superusers)
            .finish()
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It carries no credential.
    Missing,
    /// It carries one that is not ours, or not in a form we know.
    Wrong,
    /// It carries one, after too many wrong ones from the same address.
    TooMany(TooMany),
    /// It carries a login, but not the word that shows that its holder meant it.
    Unmeant,
    /// It carries one that does not give this right over the registry.
    Forbidden(Right),
    /// It carries one that can't be looked up just now.
    Unknowable,
    /// It carries a token of the registry that does not hold.
    Registry(Flaw),
}

/// Who made a request that came from `peer`. Whatever tells one credential from another has to ask here, so that every
/// guess counts.
pub(crate) async fn identify(app: &App, peer: Option<Peer>, headers: &HeaderMap) -> Result<Caller, Refused> {
    let found = find(app, peer, headers).await;
    let Some(Peer(address)) = peer else { return found };
    let counted = match &found {
        Ok(_) => app.guesses.right(address, Instant::now()),
        Err(Refused::Wrong) => app.guesses.wrong(address, Instant::now()),
        Err(Refused::Registry(flaw)) if flaw.is_a_guess() => app.guesses.wrong(address, Instant::now()),
        Err(_) => Ok(()),
    };
    counted.map_err(Refused::TooMany).and(found)
}

async fn find(app: &App, peer: Option<Peer>, headers: &HeaderMap) -> Result<Caller, Refused> {
    let address = peer.map(|Peer(address)| address);
    if let Some(cookie) = session::of(headers) {
        let holder = session::holder(app, &cookie).await.map_err(|error| {
            error!("can't look a session up: {error}");
            Refused::Unknowable
        })?;
        // One that has ended is no guess: whoever held it asks with it until told.
        let account = holder.ok_or(Refused::Missing)?;
        return Ok(Caller::signed_in(account, peer));
    }
    let presented = presented(headers)?;
    if app.api.auth.is_admin(&presented) {
        return Ok(Caller::new(Who::Operator, TokenScopes::all(), address));
    }
    if tokens::is_one(&presented) {
        let found = app.tokens.find(&app.api.store, &presented, now()).await.map_err(|error| {
            error!("can't look a token up: {error}");
            Refused::Unknowable
        })?;
        let (who, scopes, until) = found.ok_or(Refused::Wrong)?;
        return Ok(Caller::ending(who, scopes, until, address));
    }
    if let Some(registry) = &app.api.auth.registry
        && registry::is_one(&presented)
    {
        let grant = registry.find(&presented, now()).await.map_err(Refused::Registry)?;
        refuse_disabled(app, &grant).await?;
        let (scopes, until) = (TokenScopes::new([TokenScope::RepositoryAdmin]), Some(grant.until));
        return Ok(Caller::ending(Who::Granted(Box::new(grant)), scopes, until, address));
    }
    Err(Refused::Wrong)
}

/// Who is locked out here stays so, whatever the registry thinks of it.
async fn refuse_disabled(app: &App, grant: &Grant) -> Result<(), Refused> {
    let Ok(name) = AccountName::parse(&grant.subject) else { return Ok(()) };
    let account = app.api.store.account(&name).await.map_err(|error| {
        error!("can't look an account up: {error}");
        Refused::Unknowable
    })?;
    match account {
        Some(account) if !account.enabled => Err(Refused::Registry(Flaw::Disabled)),
        _ => Ok(()),
    }
}

/// The right that everything at a path takes, where that can be said without looking closer.
fn right_of(path: &str) -> Option<Right> {
    if Surface::of(path) == Surface::Ingest {
        Some(Right::Publish)
    } else if path == "/metrics" {
        Some(Right::Metrics)
    } else {
        None
    }
}

/// The SHA-256 of a secret.
pub(crate) fn fingerprint(token: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

/// The token of `Authorization: Bearer TOKEN`, or the password of `Basic`, which is all that some
/// registries and clients can send.
fn presented(headers: &HeaderMap) -> Result<Vec<u8>, Refused> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(if headers.contains_key(header::AUTHORIZATION) {
            Refused::Wrong
        } else {
            Refused::Missing
        });
    };
    let (scheme, rest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refused::Wrong)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(rest.trim().into());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refused::Wrong);
    }
    let pair = BASE64_STANDARD.decode(rest.trim()).map_err(|_| Refused::Wrong)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(Refused::Wrong)?;
    Ok(pair[colon + 1..].to_vec())
}

/// Lets a request through with its [`Caller`], or answers 401 in the words of the surface it aimed at.
pub(crate) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    credentials::lift_token(&mut request);
    dtr::lift_token(&mut request);
    quay::lift_word(&mut request);
    let mut request = match quay::lift_word_of_form(&app, request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let path = request.uri().path();
    if app.api.auth.is_open(path) || credentials::is_signed(&app, request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().copied();
    match admit(&app, peer, request.method(), path, request.headers()).await {
        Ok(_) if app.api.read_only && is_change(request.method(), path) => {
            Problem::read_only().into_response()
        }
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => refuse(&app, peer, &request, refused),
    }
}

/// Whether a request changes what is kept. Events are never refused for that, and logins are their holders' own.
fn is_change(verb: &Method, path: &str) -> bool {
    session::changes(verb) && Surface::of(path) != Surface::Ingest && !quay::is_login(path)
}

async fn admit(
    app: &App,
    peer: Option<Peer>,
    verb: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Caller, Refused> {
    let caller = identify(app, peer, headers).await?;
    if session::changes(verb) && session::of(headers).is_some_and(|it| !it.is_meant(headers)) {
        return Err(Refused::Unmeant);
    }
    let caller = if app.api.auth.sees_all(&caller, verb) { caller.seeing_all() } else { caller };
    match right_of(path) {
        Some(right) => {
            let verdict =
                caller.judge(app, right, &Scope::Registry).await.map_err(|_| Refused::Unknowable)?;
            if verdict == Verdict::Allowed { Ok(caller) } else { Err(Refused::Forbidden(right)) }
        }
        None => Ok(caller),
    }
}

fn refuse(app: &App, peer: Option<Peer>, request: &Request, refused: Refused) -> Response {
    let path = request.uri().path();
    let surface = Surface::of(path);
    counts::unauthorized(&app.api.metrics, surface);
    if surface == Surface::Ingest {
        log_bad_ingest(&app.throttle, peer, path, refused);
    }
    let mut response = if surface == Surface::Quay {
        quay::unauthorized(app, request, refused)
    } else if surface == Surface::Dtr {
        dtr::problem_response(refused.problem(None))
    } else {
        refused.problem(None).into_response()
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

impl Refused {
    /// What it is answered, in `words` where its surface has its own for a wrong or missing token.
    pub(crate) fn problem(self, words: Option<&'static str>) -> Problem {
        let detail = match self {
            Self::Unmeant => {
                let detail = "repeat the `csrf_token` of /csrf_token, or the one that signing in gave, as `X-CSRF-Token`";
                return Problem::new(StatusCode::FORBIDDEN, detail);
            }
            Self::Missing => "send a token as `Authorization: Bearer TOKEN`",
            Self::Wrong => "the credential is none of this server's, has expired or was revoked",
            Self::Unknowable => return Problem::unavailable("the store is out of reach; try again"),
            Self::Registry(Flaw::NoKeys) => return Problem::unavailable(Flaw::NoKeys.text()),
            Self::Registry(flaw) => flaw.text(),
            Self::Forbidden(right) => return principal::forbidden(right, &Scope::Registry),
            Self::TooMany(TooMany { wait }) => {
                let detail = "too many wrong credentials came from this address; wait before the next";
                return Problem {
                    retry_after: Some(wait),
                    ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
                };
            }
        };
        Problem::new(StatusCode::UNAUTHORIZED, words.unwrap_or(detail))
    }
}

/// A registry with bad credentials keeps its events until somebody puts them right, or loses them, so this has to be seen.
pub(crate) fn log_bad_ingest(throttle: &Throttle, peer: Option<Peer>, path: &str, refused: Refused) {
    let Some(Peer(address)) = peer else { return };
    if throttle.admits(address, Instant::now()) {
        let what = match refused {
            Refused::Missing => "no credential",
            Refused::Wrong => "a wrong credential",
            Refused::TooMany(_) => "a credential after too many wrong ones",
            Refused::Unmeant => "a login without its word",
            Refused::Forbidden(_) => "a credential that may not send events",
            Refused::Unknowable => "a credential that can't be looked up just now",
            Refused::Registry(_) => "a registry token that does not hold",
        };
        warn!(
            source.address = %address,
            "refused events from {address} for {path:?}: {what}; its registry holds them back, or loses them, until this is put right"
        );
    }
}

/// Lets each address through once per [`LOG_PAUSE`].
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<IpAddr, Instant>>);

impl Throttle {
    fn admits(&self, address: IpAddr, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |at: &Instant| now.duration_since(*at) < LOG_PAUSE;
        if logged.get(&address).is_some_and(is_fresh) {
            return false;
        }
        if logged.len() >= LOGGED_ADDRESSES {
            logged.retain(|_, at| is_fresh(at));
        }
        // Full of fresh ones: a flood from everywhere, of which the log has seen enough.
        logged.len() < LOGGED_ADDRESSES && logged.insert(address, now).is_none_or(|at| !is_fresh(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorization: Option<&str>) -> Result<(), Refused> {
        let auth = Auth::new(["s3cret", "second:with-colon"]).expect("tokens");
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        }
        known(&auth, &headers)
    }

    fn known(auth: &Auth, headers: &HeaderMap) -> Result<(), Refused> {
        if auth.is_admin(&presented(headers)?) { Ok(()) } else { Err(Refused::Wrong) }
    }

    #[test]
    fn a_token_is_taken_as_bearer_or_as_the_basic_password() {
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        for good in [
            "Bearer s3cret",
            "bearer s3cret",
            "BEARER  s3cret",
            &basic("any:s3cret"),
            &basic(":s3cret"),
            &basic("$oauthtoken:second:with-colon"),
        ] {
            assert_eq!(check(Some(good)), Ok(()), "{good}");
        }
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crett",
            "Bearer S3CRET",
            "Bearer s3cret x",
            "s3cret",
            "Token s3cret",
            "Basic !!!",
            &basic("s3cret"),
            &basic("s3cret:"),
            &format!("Bearer {}", "x".repeat(60_000)),
        ] {
            assert_eq!(check(Some(bad)), Err(Refused::Wrong), "{bad:.40}");
        }
        assert_eq!(check(None), Err(Refused::Missing));
    }

    #[test]
    fn two_credentials_are_none() {
        let mut headers = HeaderMap::new();
        for value in ["Bearer s3cret", "Bearer s3cret"] {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        assert_eq!(known(&Auth::new(["s3cret"]).expect("a token"), &headers), Err(Refused::Wrong));
    }

    #[test]
    fn a_blank_token_is_refused_and_no_token_lets_nobody_in() {
        assert_eq!(Auth::new([" "]).err(), Some(BlankToken));
        let nobody = Auth::new::<&str>([]).expect("no token");
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer "));
        assert_eq!(known(&nobody, &headers), Err(Refused::Wrong));
    }

    #[test]
    fn debug_output_shows_no_token() {
        assert!(!format!("{:?}", Auth::new(["s3cret"]).expect("a token")).contains("s3cret"));
    }

    #[test]
    fn an_address_is_logged_once_a_minute_and_a_flood_of_them_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!(throttle.admits(address(1), now));
        assert!(!throttle.admits(address(1), now + LOG_PAUSE / 2));
        assert!(throttle.admits(address(1), now + LOG_PAUSE));
        let admitted = (0..10_000).filter(|n| throttle.admits(address(*n), now + LOG_PAUSE)).count();
        assert!(admitted < LOGGED_ADDRESSES, "{admitted}");
        assert!(throttle.admits(address(20_000), now + 2 * LOG_PAUSE), "old ones make room");
    }
}
