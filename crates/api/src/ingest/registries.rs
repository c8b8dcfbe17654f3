//! `POST /v1/ingest/{registry}`: notices of registries in their own forms.
//!
//! A Distribution registry sends one envelope after the other and repeats the first that is not
//! answered with 2xx or 3xx for ever, holding back all that follow; others give up after an attempt
//! or three and keep nothing. So whatever can't be understood is kept as a dead letter and answered
//! with 202, whatever its content type says; only what is not durable is answered with 503, and
//! wrong credentials with 401. There is no redirect: a registry follows one without the body.
//!
//! Events get the registry's host from the settings as their source, or the `source` of the query
//! where several registries report here: `?source=eu.registry.example.com`.

use std::{borrow::Cow, sync::Arc};

use axum::extract::{Request, State};
use bellbuoy_broker::Outgoing;
use bellbuoy_domain::{
    DeadReason, Kind,
    ingest::{Item, NoticeError, PullHalf, PullKey, acr, distribution, docker_hub, ecr, ghcr, harbor, zot},
};
use http::{HeaderMap, StatusCode, Uri, header, request::Parts};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde_json::Value;
use tokio::time::Instant;

use super::{canonical, credentials, message, modes, query_value};
use crate::{
    App,
    auth::{Refused, log_bad_ingest},
    body,
    contract::{Operation, Routes},
    counts::{self, Source},
    now,
    problem::Problem,
    server::Peer,
};

/// The registries whose notices are taken. GitLab's registry is a Distribution of its own.
const REGISTRIES: [Source; 8] = [
    Source::Distribution,
    Source::Harbor,
    Source::Zot,
    Source::Acr,
    Source::GitLab,
    Source::DockerHub,
    Source::Ecr,
    Source::Ghcr,
];

/// Longest `source`, in bytes.
const MAX_SOURCE_BYTES: usize = 255;

/// What may stand in the query.
#[derive(JsonSchema)]
#[expect(
    dead_code,
    reason = "a schema: a mistake in it must not block a registry, so that it is read member by member"
)]
struct NoticeQuery {
    /// What the events are told to come from; the registry's host without it.
    #[schemars(extend("maxLength" = MAX_SOURCE_BYTES))]
    source: Option<String>,
}

/// A route for each registry, in both spellings: one that is redirected loses its body.
pub(super) fn routes() -> Routes {
    REGISTRIES.into_iter().fold(Routes::default(), |routes, registry| {
        let path = format!("/v1/ingest/{}", registry.name());
        let operation = Operation::post(path, "Take what this registry sends, in its own form.")
            .or_with_slash()
            .asks::<NoticeQuery>()
            .takes_as::<Value>("*/*")
            .answers_nothing(202);
        routes.serve(operation, move |State(app): State<Arc<App>>, request| accept(app, registry, request))
    })
}

async fn accept(app: Arc<App>, registry: Source, request: Request) -> Result<StatusCode, Problem> {
    let taken = take(&app, registry, request).await;
    taken.inspect_err(|problem| counts::refused(&app.api.metrics, registry, problem.status))?;
    Ok(StatusCode::ACCEPTED)
}

async fn take(app: &App, registry: Source, request: Request) -> Result<(), Problem> {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let read = app.bodies.read(&parts, body, app.api.limits.batch_bytes).await?;
    check_signature(app, registry, &parts, &read)?;
    let mut taken = Taken::new(registry);
    if read.is_cut {
        let detail = format!("the notice is too large; this is its first {} bytes", read.bytes.len());
        taken.quarantine(&detail, read.bytes.clone());
    } else {
        taken.read(app, &parts.headers, &source(app, &parts.uri), &read, now());
    }
    if !taken.messages.is_empty() {
        app.api.broker.publish(taken.messages).await?;
    }
    // Only now: what was not taken comes again, and must not find that its HEAD was seen.
    let now = Instant::now();
    for head in taken.heads {
        app.pulls.remember(head, now);
    }
    counts::accepted(&app.api.metrics, registry, taken.kinds, begun.elapsed());
    counts::quarantined(&app.api.metrics, registry, taken.quarantined);
    for reason in taken.dropped {
        counts::dropped(&app.api.metrics, registry, reason);
    }
    Ok(())
}

/// Refuses a notice of GitHub's whose signature is not by our common secret. Without a secret, or
/// without a signature, a token let it in.
fn check_signature(app: &App, registry: Source, parts: &Parts, read: &body::Read) -> Result<(), Problem> {
    let headers = &parts.headers;
    let Some(secret) = app.api.github_secret.as_deref().filter(|_| registry == Source::Ghcr) else {
        return Ok(());
    };
    if headers.contains_key(header::AUTHORIZATION) && !headers.contains_key(credentials::SIGNATURE) {
        return Ok(());
    }
    if read.is_cut {
        return Err(body::too_large(read.bytes.len()));
    }
    if credentials::is_genuine(secret, headers, &read.bytes) {
        return Ok(());
    }
    counts::unauthorized(&app.api.metrics, counts::Surface::Ingest);
    let peer = parts.extensions.get::<Peer>().copied();
    log_bad_ingest(&app.throttle, peer, parts.uri.path(), Refused::Wrong);
    let detail = "the signature is not by the secret in `ingest.github_secret`";
    Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
}

/// What one request turned into.
struct Taken {
    registry: Source,
    messages: Vec<Outgoing>,
    heads: Vec<PullKey>,
    kinds: Vec<Kind>,
    quarantined: u64,
    dropped: Vec<&'static str>,
}

impl Taken {
    fn new(registry: Source) -> Self {
        Self {
            registry,
            messages: Vec::new(),
            heads: Vec::new(),
            kinds: Vec::new(),
            quarantined: 0,
            dropped: Vec::new(),
        }
    }

    fn read(&mut self, app: &App, headers: &HeaderMap, source: &str, read: &body::Read, now: Timestamp) {
        match classify(self.registry, headers, &read.bytes, source, app.api.limits.batch_events, now) {
            Ok(items) => items.into_iter().for_each(|item| self.add(app, item, now)),
            Err(error) => self.quarantine(&error.to_string(), read.bytes.clone()),
        }
    }

    fn add(&mut self, app: &App, item: Item, now: Timestamp) {
        match item {
            Item::Event { pull: Some(pull), .. }
                if pull.half == PullHalf::GetWithoutTag
                    && (self.heads.contains(&pull.key)
                        || app.pulls.stands_for(&pull.key, Instant::now())) =>
            {
                self.dropped.push("merged_pull");
            }
            Item::Event { event, pull } => match canonical(&event) {
                Ok(bytes) => {
                    self.messages.push(message(bytes, now));
                    self.kinds.push(event.kind);
                    self.heads
                        .extend(pull.filter(|pull| pull.half == PullHalf::HeadWithTag).map(|pull| pull.key));
                }
                Err(error) => self.quarantine(&error.to_string(), event.to_json()),
            },
            Item::Dropped(reason) => self.dropped.push(reason.name()),
            Item::Undecodable { index, why, raw } => {
                self.quarantine(&format!("notice {index} of the request: {why}"), raw);
            }
        }
    }

    fn quarantine(&mut self, detail: &str, bytes: impl Into<bytes::Bytes>) {
        let origin = format!("ingest.{}", self.registry.name());
        let reason = DeadReason::Undecodable.name();
        self.messages.push(Outgoing::quarantined(&origin, reason, detail, bytes));
        self.quarantined += 1;
    }
}

fn classify(
    registry: Source,
    headers: &HeaderMap,
    body: &[u8],
    source: &str,
    most: usize,
    now: Timestamp,
) -> Result<Vec<Item>, NoticeError> {
    match registry {
        Source::Harbor => harbor::classify(body, source, most, now),
        // A header that is no attribute can't be answered with an error; what needs it says so.
        Source::Zot => zot::classify(&modes::attributes(headers).unwrap_or_default(), body, source, now),
        Source::Acr => acr::classify(body, source, most, now),
        Source::DockerHub => docker_hub::classify(body, source, now),
        Source::Ecr => ecr::classify(body, source, now),
        Source::Ghcr => ghcr::classify(github_headers(headers), &github_body(headers, body), source, now),
        Source::Distribution | Source::GitLab | Source::CloudEvents => {
            distribution::classify(body, source, most, now)
        }
    }
}

fn github_headers(headers: &HeaderMap) -> ghcr::Headers<'_> {
    let header = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    ghcr::Headers { event: header("x-github-event"), delivery: header("x-github-delivery") }
}

/// GitHub's webhooks send JSON or, where nobody chose so, a form with it in `payload`.
fn github_body<'a>(headers: &HeaderMap, body: &'a [u8]) -> Cow<'a, [u8]> {
    let is_form =
        body::media_type(headers).is_some_and(|(essence, _)| essence == "application/x-www-form-urlencoded");
    let payload = body.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"payload="));
    match payload {
        Some(payload) if is_form => {
            let spaced: Vec<u8> =
                payload.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            percent_encoding::percent_decode(&spaced).collect::<Vec<u8>>().into()
        }
        _ => body.into(),
    }
}

/// The source that the query names, if a source can be named so, or else the registry's host: a
/// mistake in the query must not block a registry.
fn source(app: &App, uri: &Uri) -> String {
    let named = query_value(uri, "source");
    let fits = |text: &String| {
        !text.is_empty() && text.len() <= MAX_SOURCE_BYTES && !text.chars().any(char::is_control)
    };
    named.filter(fits).unwrap_or_else(|| app.api.registry.host().to_owned())
}
