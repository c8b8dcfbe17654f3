//! `POST /v1/ingest/distribution`: notices of a Distribution registry (`registry:2`, `registry:3`).
//!
//! A registry sends one envelope after the other and repeats the first that is not answered with
//! 2xx or 3xx for ever, holding back all that follow. So whatever can't be understood is kept as a
//! dead letter and answered with 202; only what is not durable is answered with 503, and wrong
//! credentials with 401. There is no redirect: a registry follows one without the body.
//!
//! Events get the registry's host from the settings as their source, or the `source` of the query
//! where several registries report here: `?source=eu.registry.example.com`.

use std::sync::Arc;

use axum::extract::{Request, State};
use bellbuoy_broker::Outgoing;
use bellbuoy_domain::{
    DeadReason, Kind,
    ingest::distribution::{Item, PullHalf, PullKey, classify},
};
use http::{StatusCode, Uri};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{canonical, message};
use crate::{
    App, body,
    counts::{self, Source},
    now,
    problem::Problem,
};

/// The way in, as dead letters name it.
const ORIGIN: &str = "ingest.distribution";

/// Longest `source`, in bytes.
const MAX_SOURCE_BYTES: usize = 255;

pub(crate) async fn accept(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, Problem> {
    let taken = take(&app, request).await;
    taken.inspect_err(|problem| counts::refused(&app.api.metrics, Source::Distribution, problem.status))?;
    Ok(StatusCode::ACCEPTED)
}

async fn take(app: &App, request: Request) -> Result<(), Problem> {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let read = app.bodies.read(&parts.headers, body, app.api.limits.batch_bytes).await?;
    let envelope = if read.is_cut {
        Envelope::oversized(&read)
    } else {
        Envelope::read(app, &source(app, &parts.uri), &read, now())
    };
    if !envelope.messages.is_empty() {
        app.api.broker.publish(envelope.messages).await?;
    }
    // Only now: what was not taken comes again, and must not find that its HEAD was seen.
    let now = Instant::now();
    for head in envelope.heads {
        app.pulls.remember(head, now);
    }
    counts::accepted(&app.api.metrics, Source::Distribution, envelope.kinds, begun.elapsed());
    counts::quarantined(&app.api.metrics, Source::Distribution, envelope.quarantined);
    for reason in envelope.dropped {
        counts::dropped(&app.api.metrics, Source::Distribution, reason);
    }
    Ok(())
}

/// What one request turned into.
#[derive(Default)]
struct Envelope {
    messages: Vec<Outgoing>,
    heads: Vec<PullKey>,
    kinds: Vec<Kind>,
    quarantined: u64,
    dropped: Vec<&'static str>,
}

impl Envelope {
    fn oversized(read: &body::Read) -> Self {
        let mut envelope = Self::default();
        let detail = format!("the envelope is too large; this is its first {} bytes", read.bytes.len());
        envelope.quarantine(&detail, read.bytes.clone());
        envelope
    }

    fn read(app: &App, source: &str, read: &body::Read, now: Timestamp) -> Self {
        let mut envelope = Self::default();
        match classify(&read.bytes, source, now) {
            Ok(items) => items.into_iter().for_each(|item| envelope.add(app, item, now)),
            Err(error) => envelope.quarantine(&error.to_string(), read.bytes.clone()),
        }
        envelope
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
                self.quarantine(&format!("notice {index} of the envelope: {why}"), raw);
            }
        }
    }

    fn quarantine(&mut self, detail: &str, bytes: impl Into<bytes::Bytes>) {
        let reason = DeadReason::Undecodable.name();
        self.messages.push(Outgoing::quarantined(ORIGIN, reason, detail, bytes));
        self.quarantined += 1;
    }
}

/// The source that the query names, if a source can be named so, or else the registry's host: a
/// mistake in the query must not block a registry.
fn source(app: &App, uri: &Uri) -> String {
    let pairs = uri.query().unwrap_or_default().split('&');
    let named = pairs.filter_map(|pair| pair.strip_prefix("source=")).next_back().and_then(|value| {
        percent_encoding::percent_decode_str(value).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    });
    let fits = |text: &String| {
        !text.is_empty() && text.len() <= MAX_SOURCE_BYTES && !text.chars().any(char::is_control)
    };
    named.filter(fits).unwrap_or_else(|| app.api.registry.host().to_owned())
}
