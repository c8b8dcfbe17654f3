//! Addresses that agree to hear of a repository: asked by a mail with a link, which agrees for them.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{EmailAddress, Letter, Markup, RepositoryName, Scope};
use bellbuoy_store::{AuditEntry, AuthorizedEmail, Store};
use http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{error, warn};
use uuid::Uuid;

use super::{not_found, problem::with_message, shown, verb, wrong_verb};
use crate::{
    App,
    auth::{Caller, fingerprint, make_secret},
    guesses::TooMany,
    ingest::query_value,
    now,
    problem::Problem,
};

/// For how long a link agrees: long enough for a week-end.
const LINK_SERVES: SignedDuration = SignedDuration::from_hours(72);

/// What the code of a link begins with.
const PREFIX: &str = "bbe_";

/// Quay's words for a mail that could not be sent.
const NOT_SENT: &str = "Could not send email. Please contact an administrator and report this problem.";

/// Whether an address has agreed to hear of a repository.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayAuthorizedEmail")]
pub(super) struct EmailView<'a> {
    email: &'a str,
    repository: &'a str,
    namespace: &'a str,
    confirmed: bool,
}

/// Whether an address has agreed, and the request to ask it.
pub(super) async fn answer(
    app: &Arc<App>,
    caller: &Caller,
    repository: &str,
    email: &str,
    parts: &Parts,
) -> Result<Response, Problem> {
    match *verb(parts) {
        Method::GET => {
            let name = RepositoryName::parse(repository).map_err(|_| not_found())?;
            let known = app.api.store.authorized_email(&name, email).await?;
            Ok(Json(EmailView::of(&known.ok_or_else(not_found)?)).into_response())
        }
        Method::POST => ask(app, caller, repository, email).await,
        _ => Ok(wrong_verb(app, "GET,HEAD,POST")),
    }
}

async fn ask(app: &Arc<App>, caller: &Caller, repository: &str, email: &str) -> Result<Response, Problem> {
    let invalid = || {
        let detail = format!("Invalid repository {}", shown(repository));
        with_message(StatusCode::BAD_REQUEST, detail)
    };
    let name = RepositoryName::parse(repository).map_err(|_| invalid())?;
    app.api.store.repository(&name).await?.ok_or_else(invalid)?;
    let address = EmailAddress::parse(email).ok_or_else(|| Problem::bad("Invalid e-mail address"))?;
    let known = app.api.store.authorized_email(&name, email).await?;
    if let Some(known) = known.filter(|known| known.confirmed) {
        return Ok(Json(EmailView::of(&known)).into_response());
    }
    // Whoever administers a repository must not be able to flood a stranger with our mails.
    let now_or_later = app.letters.wrong(&*email.to_ascii_lowercase(), Instant::now());
    now_or_later.map_err(|TooMany { wait }| too_many(wait))?;
    let details = Map::from_iter([("email".to_owned(), Value::from(email))]);
    let entry = caller.entry("email.request", &email, &Scope::Repository(name.clone()), details);
    let store = app.api.store.audited(entry);
    // A client that goes meanwhile must not part the mail from the note of it.
    let asking = tokio::spawn(send(Arc::clone(app), store, name, address));
    let asked = asking.await.map_err(|panic| {
        error!("asking an address failed: {panic}");
        Problem::internal()
    })??;
    Ok(Json(EmailView::of(&asked)).into_response())
}

/// Sends the mail, and then notes the code of its link: what was noted was sent, and a mail that the server did not
/// take leaves everything as it was, an earlier mail's link included. After a crash in between, the mail's link is not
/// known, and asking again sends another.
async fn send(
    app: Arc<App>,
    store: Store,
    repository: RepositoryName,
    address: EmailAddress,
) -> Result<AuthorizedEmail, Problem> {
    let (code, hash) = make_secret(PREFIX)?;
    let link = format!("{}/authrepoemail?code={code}", app.api.public_url.trim_end_matches('/'));
    let letter = Letter::confirmation(&repository, &app.api.registry, &link);
    if let Err(why) = app.api.mailer.send(address.clone(), letter).await {
        warn!("could not send the mail that asks an address to confirm for repository {repository}: {why}");
        return Err(with_message(StatusCode::BAD_REQUEST, NOT_SENT));
    }
    store.request_email(&repository, address.as_str(), &hash, now()).await?;
    let known = store.authorized_email(&repository, address.as_str()).await?;
    known.ok_or_else(Problem::internal)
}

fn too_many(wait: Duration) -> Problem {
    let detail = "this address was just asked several times; wait before the next";
    Problem { retry_after: Some(wait), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) }
}

impl<'a> EmailView<'a> {
    fn of(email: &'a AuthorizedEmail) -> Self {
        Self {
            email: &email.email,
            repository: email.repository.short_name(),
            namespace: email.repository.namespace(),
            confirmed: email.confirmed,
        }
    }
}

/// What stands in the query of a mail's link.
#[derive(JsonSchema)]
#[expect(
    dead_code,
    reason = "a schema: people open links, mended by hand at times, and are answered with a page"
)]
pub(crate) struct Link {
    /// What the mail's link holds.
    #[schemars(default)]
    code: String,
}

/// The page behind the link: opening it agrees, and opening it again says so again.
pub(crate) async fn confirm(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
) -> Result<Response, Problem> {
    let code = query_value(&uri, "code").unwrap_or_default();
    let hash = fingerprint(code.as_bytes());
    let Some(asked) = app.api.store.email_by_code(&hash).await? else { return Ok(refusal()) };
    if method == Method::HEAD {
        // Programs that look at links in mails ask so; nobody has read anything yet.
        return Ok(StatusCode::OK.into_response());
    }
    if app.api.read_only {
        return Err(Problem::read_only());
    }
    let at = now();
    let since = at.checked_sub(LINK_SERVES).unwrap_or(at);
    let entry = AuditEntry {
        id: Uuid::new_v4(),
        at,
        actor: format!("mail:{}", asked.email),
        address: None,
        action: "email.confirm".to_owned(),
        target: asked.email.clone(),
        place: asked.repository.to_string(),
        details: Map::new(),
    };
    match app.api.store.audited(entry).confirm_email(&hash, since).await? {
        Some(email) => {
            let text =
                format!("{} will get the notifications of repository {}.", email.email, email.repository);
            Ok(page(StatusCode::OK, "Thank you", &text))
        }
        None => Ok(refusal()),
    }
}

fn refusal() -> Response {
    let text = "This link is older than three days, was followed by a newer one, or never was one of ours. If you want the \
                notifications, ask for another mail.";
    page(StatusCode::BAD_REQUEST, "This link does not confirm anything", text)
}

fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let (title, text) = (Markup::Html.escape(title), Markup::Html.escape(text));
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1><p>{text}</p></body></html>\n"
    );
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
