//! `bellbuoy publish`: one event to a running Bellbuoy.

use std::io::Read;

use anyhow::Context;
use bellbuoy_domain::{Event, Kind};
use clap::Parser;
use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Common, Misuse, client::Target, print, print_json, talk};

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
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: &Publish) -> anyhow::Result<()> {
    talk(&args.common.connection, async |client| {
        let event = event(args)?;
        let target = Target { path: &["v1", "events"], query: &[] };
        let body = event.to_value();
        let sent = client.send_to(Method::POST, &target, Some(("application/cloudevents+json", &body))).await;
        sent.with_context(|| format!("can't publish to {}", args.common.connection.url))?;
        if args.common.json {
            return print_json(&json!({ "id": event.id, "source": event.source }));
        }
        print(&format!("accepted event {} of {}", event.id, event.source))
    })
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
    let data: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|problem| Misuse(format!("--data is not a JSON object: {problem}")))?;
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
    // The text of its error has the cause already.
    Event::from_value(value, Timestamp::now()).map_err(|problem| Misuse(problem.to_string()).into())
}
