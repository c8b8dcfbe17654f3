//! `bellbuoy deliveries`: what became of every event, and sending one again.

use bellbuoy_domain::{DeliveryId, DeliveryState, Kind, MethodName, NotificationId};
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use http::Method;
use serde_json::Value;

use super::{
    Common, Done,
    client::Client,
    complain, for_each, print, print_json,
    table::{Table, pairs},
    talk,
    words::{cause, id, text, time},
};

/// Look at deliveries, and send one again.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy deliveries list --state dead --subject acme/api
  bellbuoy deliveries show 3f0c6f63-6c2e-5a4e-9f0e-0c3f3c1c9a11
  bellbuoy deliveries resend 3f0c6f63-6c2e-5a4e-9f0e-0c3f3c1c9a11")]
pub(crate) struct Deliveries {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List deliveries, newest first.
    List(List),
    /// Show where a delivery stands, and every attempt.
    Show {
        /// Which.
        #[arg(value_parser = id::<DeliveryId>)]
        id: DeliveryId,
    },
    /// Send deliveries that have ended again, under their own ids.
    Resend {
        /// Which.
        #[arg(required = true, value_parser = id::<DeliveryId>)]
        ids: Vec<DeliveryId>,
    },
}

#[derive(Debug, Args)]
struct List {
    /// In this state.
    #[arg(long, value_parser = PossibleValuesParser::new(DeliveryState::ALL.iter().map(|state| state.name())))]
    state: Option<String>,
    /// By this method.
    #[arg(long)]
    method: Option<MethodName>,
    /// Of this kind of event.
    #[arg(long)]
    kind: Option<Kind>,
    /// For this notification.
    #[arg(long, value_name = "ID", value_parser = id::<NotificationId>)]
    notification: Option<NotificationId>,
    /// About this repository or namespace.
    #[arg(long)]
    subject: Option<String>,
    /// Of events of this source.
    #[arg(long)]
    source: Option<String>,
    /// Of the event of this id.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// At most so many.
    #[arg(long, default_value = "50", value_name = "N")]
    limit: usize,
}

pub(crate) fn run(args: &Deliveries) -> anyhow::Result<()> {
    talk(&args.common.connection, async |client| match &args.command {
        Command::List(list) => list.run(&client, args.common.json).await,
        Command::Show { id } => show(&client, *id, args.common.json).await,
        Command::Resend { ids } => {
            for_each(ids, args.common.json, async |id| resend(&client, id).await).await
        }
    })
}

impl List {
    async fn run(&self, client: &Client, json: bool) -> anyhow::Result<()> {
        let pages = client.pages("deliveries", "deliveries", self.query());
        let (rows, more) = pages.first(self.limit, |_| true).await?;
        if json {
            return print_json(&rows.into());
        }
        let mut table =
            Table::new(&["ID", "STATE", "ATTEMPTS", "KIND", "SUBJECT", "METHOD", "UPDATED", "CAUSE"]);
        for row in &rows {
            table.add([
                text(&row["id"]),
                text(&row["state"]),
                text(&row["attempt_count"]),
                text(&row["kind"]),
                text(&row["subject"]),
                text(&row["method"]),
                time(&row["updated_at"]),
                cause(&row["cause"]),
            ]);
        }
        super::print_list(&table, more, "deliveries")
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let members = [
            ("state", self.state.clone()),
            ("method", self.method.map(|method| method.name().to_owned())),
            ("kind", self.kind.map(|kind| kind.name().to_owned())),
            ("notification", self.notification.map(|id| id.to_string())),
            ("subject", self.subject.clone()),
            ("source", self.source.clone()),
            ("event", self.event.clone()),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

async fn show(client: &Client, id: DeliveryId, json: bool) -> anyhow::Result<()> {
    let found = client.send(Method::GET, &["v1", "deliveries", &id.to_string()], None).await?;
    if json {
        return print_json(&found);
    }
    print(&pairs(&[
        ("id", text(&found["id"])),
        ("state", text(&found["state"])),
        ("next due at", text(&found["next_due_at"])),
        ("cause", cause(&found["cause"])),
        ("kind", text(&found["kind"])),
        ("subject", text(&found["subject"])),
        ("event", format!("{} of {}", text(&found["event"]), text(&found["source"]))),
        ("accepted at", text(&found["accepted_at"])),
        ("method", text(&found["method"])),
        ("notification", text(&found["notification"])),
        ("callback", callback(&found["callback"])),
        ("next of the chain", text(&found["callback"]["next"])),
    ]))?;
    let attempts = found["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    if attempts.is_empty() { Ok(()) } else { print(&format!("\n{}", attempt_table(attempts))) }
}

/// What its receiver called back, in one line.
fn callback(callback: &Value) -> String {
    let said: Vec<&str> = ["context", "description", "target_url"]
        .iter()
        .filter_map(|member| callback[*member].as_str())
        .collect();
    match callback["state"].as_str() {
        None => text(callback),
        Some("pending") => format!("awaited until {}", text(&callback["expires_at"])),
        Some(state) if said.is_empty() => state.to_owned(),
        Some(state) => format!("{state}: {}", said.join(", ")),
    }
}

fn attempt_table(attempts: &[Value]) -> Table {
    let mut table = Table::new(&["ATTEMPT", "STARTED", "TOOK", "OUTCOME", "STATUS", "CAUSE"]);
    for attempt in attempts {
        table.add([
            text(&attempt["number"]),
            text(&attempt["started_at"]),
            format!("{} ms", text(&attempt["duration_ms"])),
            text(&attempt["outcome"]),
            text(&attempt["status"]),
            cause(&attempt["cause"]),
        ]);
    }
    table
}

async fn resend(client: &Client, id: DeliveryId) -> anyhow::Result<Done> {
    let path = ["v1", "deliveries", &id.to_string(), "resend"];
    let sent = client.send(Method::POST, &path, None).await?;
    complain(&format!("`bellbuoy deliveries show {id}` tells what becomes of it"));
    let line = format!("resent {id} as attempt {}", sent["attempt"]);
    Ok(Done { json: sent, line })
}
