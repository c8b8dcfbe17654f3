//! `bellbuoy publish`: one event to a running Bellbuoy.

use std::{io::Read, time::Duration};

use anyhow::{Context, bail};
use bellbuoy_domain::{Event, Kind};
use bytes::Bytes;
use clap::Parser;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::say;

/// The most that an answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most of an answer that is read, in bytes.
const ANSWER_BYTES: usize = 1 << 20;

#[derive(Debug, Parser)]
pub(crate) struct Publish {
    /// What happened, such as `repo_push`.
    kind: Kind,
    /// To which repository or namespace, such as `acme/api`. Without it the data has to say.
    subject: Option<String>,
    /// The event's data: a JSON object, or `-` to read one from standard input.
    #[arg(long, default_value = "{}")]
    data: String,
    /// The event's id. The same id of the same source is the same event and is delivered once.
    #[arg(long)]
    id: Option<String>,
    /// Who says so.
    #[arg(long, default_value = "bellbuoy-publish")]
    source: String,
    /// Where Bellbuoy is.
    #[arg(long, env = "BELLBUOY_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A token that may publish.
    #[arg(long, env = "BELLBUOY_TOKEN", hide_env_values = true)]
    token: String,
}

pub(crate) fn run(args: &Publish) -> anyhow::Result<()> {
    let event = event(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, send(args, &event)).await.context("no answer within 30 s")?
    });
    answer.with_context(|| format!("can't publish to {}", args.url))?;
    say(&format!("accepted event {} of {}", event.id, event.source));
    Ok(())
}

fn event(args: &Publish) -> anyhow::Result<Event> {
    let text = if args.data == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(u64::try_from(bellbuoy_domain::MAX_EVENT_BYTES)? + 1)
            .read_to_string(&mut text)?;
        text
    } else {
        args.data.clone()
    };
    let data: Map<String, Value> = serde_json::from_str(&text).context("--data is not a JSON object")?;
    let mut value = json!({
        "specversion": "1.0",
        "id": args.id.clone().unwrap_or_else(|| Uuid::new_v4().to_string()),
        "source": args.source,
        "type": args.kind.name(),
        "data": data,
    });
    if let Some(subject) = &args.subject {
        value["subject"] = subject.as_str().into();
    }
    Ok(Event::from_value(value, Timestamp::now())?)
}

async fn send(args: &Publish, event: &Event) -> anyhow::Result<()> {
    let request = Request::post(format!("{}/v1/events", args.url.trim_end_matches('/')))
        .header(header::CONTENT_TYPE, "application/cloudevents+json")
        .header(header::AUTHORIZATION, format!("Bearer {}", args.token))
        .body(Full::new(Bytes::from(event.to_json())))?;
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .build();
    #[expect(
        clippy::disallowed_types,
        reason = "a command talks to our own API, where its user says that it is"
    )]
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let answer = client.request(request).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let problem: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    match problem["detail"].as_str() {
        Some(detail) => bail!("{status}: {detail}"),
        None => bail!("{status}"),
    }
}
