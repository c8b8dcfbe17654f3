//! `bellbuoy dead-letters`: what was given up or could not be read, and its way back or out.

use std::io::IsTerminal;

use anyhow::Context;
use bellbuoy_domain::{DeadReason, MethodName, NotificationId};
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Common, Misuse,
    bulk::{self, Act, Pace},
    client::Client,
    complain, print, print_json,
    table::{Table, pairs},
    talk,
    words::{Rate, When, count, id, text, time},
};

/// Look at dead letters, send them on their way again, or discard them.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy dead-letters list --since 2h --method webhook
  bellbuoy dead-letters show 7d3a2c0e-2b1f-4c59-9a57-6a4f7f1f4b0d
  bellbuoy dead-letters replay 7d3a2c0e-2b1f-4c59-9a57-6a4f7f1f4b0d
  bellbuoy dead-letters replay --reason attempts_exhausted --since 2h --dry-run
  bellbuoy dead-letters replay --reason attempts_exhausted --since 2h \\
      --rate 50/s
  bellbuoy dead-letters discard --subject acme/old --yes")]
pub(crate) struct DeadLetters {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, newest first.
    List {
        #[command(flatten)]
        filters: Filters,
        /// At most so many.
        #[arg(long, default_value = "50", value_name = "N")]
        limit: usize,
    },
    /// Show a dead letter with its bytes.
    Show {
        /// Which.
        #[arg(value_parser = id::<Uuid>)]
        id: Uuid,
    },
    /// Send dead letters back to where they died: deliveries to their receivers, oldest first.
    ///
    /// Can be broken off at any time and run again.
    Replay {
        #[command(flatten)]
        selection: Selection,
        /// Try bytes that could not be read as an event once more.
        #[arg(long)]
        as_event: bool,
    },
    /// Forget dead letters, oldest first.
    Discard {
        #[command(flatten)]
        selection: Selection,
    },
}

#[derive(Debug, Args)]
struct Filters {
    /// By this method.
    #[arg(long)]
    method: Option<MethodName>,
    /// For this reason.
    #[arg(long, value_parser = PossibleValuesParser::new(DeadReason::ALL.iter().map(|reason| reason.name())))]
    reason: Option<String>,
    /// For this notification.
    #[arg(long, value_name = "ID", value_parser = id::<NotificationId>)]
    notification: Option<NotificationId>,
    /// About this repository or namespace.
    #[arg(long)]
    subject: Option<String>,
    /// From this queue or way in, such as `ingest.distribution`.
    #[arg(long)]
    origin: Option<String>,
    /// That died then or later: a time, a day, or how long ago (2h, 7d).
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// That died before.
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
}

/// Which dead letters something is done to: some by id, or all that match.
#[derive(Debug, Args)]
struct Selection {
    /// These. Without ids: all that the filters select.
    #[arg(value_parser = id::<Uuid>)]
    ids: Vec<Uuid>,
    #[command(flatten)]
    filters: Filters,
    /// All there are.
    #[arg(long)]
    all: bool,
    /// Only say which.
    #[arg(long)]
    dry_run: bool,
    /// At most so many in a time, such as 50/s or 600/m.
    #[arg(long)]
    rate: Option<Rate>,
    /// Don't ask. Needed for more than given ids when nobody is at the terminal.
    #[arg(long, short)]
    yes: bool,
}

pub(crate) fn run(args: &DeadLetters) -> anyhow::Result<()> {
    let json = args.common.json;
    if let Command::Replay { selection, .. } | Command::Discard { selection } = &args.command {
        selection.check()?;
    }
    talk(&args.common.connection, async |client| match &args.command {
        Command::List { filters, limit } => list(&client, filters, *limit, json).await,
        Command::Show { id } => show(&client, *id, json).await,
        Command::Replay { selection, as_event } => {
            selection.carry_out(&client, Act::Replay { as_event: *as_event }, json).await
        }
        Command::Discard { selection } => selection.carry_out(&client, Act::Discard, json).await,
    })
}

async fn list(client: &Client, filters: &Filters, limit: usize, json: bool) -> anyhow::Result<()> {
    let pages = client.pages("dead-letters", "dead_letters", filters.query());
    let (rows, more) = pages.first(limit, |_| true).await?;
    if json {
        print_json(&rows.into())
    } else {
        super::print_list(&letter_table(&rows), more, "dead letters")
    }
}

fn letter_table(rows: &[Value]) -> Table {
    let mut table = Table::new(&["ID", "DIED", "REASON", "METHOD", "SUBJECT", "ATTEMPTS", "DETAIL"]);
    for row in rows {
        table.add([
            text(&row["id"]),
            time(&row["died_at"]),
            text(&row["reason"]),
            text(&row["method"]),
            text(&row["subject"]),
            text(&row["attempt_count"]),
            text(&row["detail"]),
        ]);
    }
    table
}

async fn show(client: &Client, id: Uuid, json: bool) -> anyhow::Result<()> {
    let found = client.send(Method::GET, &["v1", "dead-letters", &id.to_string()], None).await?;
    if json {
        return print_json(&found);
    }
    print(&pairs(&[
        ("id", text(&found["id"])),
        ("died at", text(&found["died_at"])),
        ("reason", text(&found["reason"])),
        ("detail", text(&found["detail"])),
        ("origin", text(&found["origin"])),
        ("subject", text(&found["subject"])),
        ("method", text(&found["method"])),
        ("attempts", text(&found["attempt_count"])),
        ("delivery", text(&found["delivery"])),
        ("notification", text(&found["notification"])),
        ("bytes", format!("{} as {}", text(&found["body_bytes"]), text(&found["body_encoding"]))),
    ]))?;
    print(&format!("\n{}", readable(found["body"].as_str().unwrap_or_default())))
}

/// A body as it is shown: JSON over several lines, anything else with its line feeds and no other
/// control character.
fn readable(body: &str) -> String {
    if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(body) {
        return format!("{value:#}");
    }
    let visible = |letter: char| {
        if letter.is_control() && letter != '\n' { char::REPLACEMENT_CHARACTER } else { letter }
    };
    body.chars().map(visible).collect()
}

impl Filters {
    fn query(&self) -> Vec<(&'static str, String)> {
        let members = [
            ("method", self.method.map(|method| method.name().to_owned())),
            ("reason", self.reason.clone()),
            ("notification", self.notification.map(|id| id.to_string())),
            ("subject", self.subject.clone()),
            ("origin", self.origin.clone()),
            ("since", self.since.map(|when| when.to_string())),
            ("until", self.until.map(|when| when.to_string())),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Selection {
    /// Refuses what is not clear, before anything is asked of the server.
    fn check(&self) -> Result<(), Misuse> {
        let by_filter = !self.filters.query().is_empty();
        let ways = [!self.ids.is_empty(), by_filter, self.all];
        let wrong = match ways {
            [false, false, false] => "say which dead letters: ids, filters such as --since 2h, or --all",
            [true, true, _] | [true, _, true] => "give either ids or filters, not both",
            [_, true, true] => "give either filters or --all, not both",
            [true, ..] => return Ok(()),
            _ if self.dry_run || self.yes || is_attended() => return Ok(()),
            _ => "nobody is there to be asked: look at it with --dry-run, then add --yes",
        };
        Err(Misuse(wrong.to_owned()))
    }

    async fn carry_out(&self, client: &Client, act: Act, json: bool) -> anyhow::Result<()> {
        if self.dry_run {
            return self.rehearse(client, act, json).await;
        }
        let ids = if self.ids.is_empty() { self.find(client).await? } else { self.ids.clone() };
        if !self.confirm(act, ids.len())? {
            anyhow::bail!("nothing was done");
        }
        let pace = Pace { each: self.rate.map(|rate| rate.each) };
        let ended = bulk::run(client, &ids, act, pace).await;
        if json {
            print_json(&ended.tally.to_json())?;
        } else {
            print(&ended.tally.to_text(act))?;
        }
        ended.result
    }

    /// Prints what would be done to which.
    async fn rehearse(&self, client: &Client, act: Act, json: bool) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        for id in &self.ids {
            let mut row = client.send(Method::GET, &["v1", "dead-letters", &id.to_string()], None).await?;
            if let Some(members) = row.as_object_mut() {
                members.retain(|name, _| !matches!(name.as_str(), "body" | "body_encoding"));
            }
            rows.push(row);
        }
        if self.ids.is_empty() {
            let pages = client.pages("dead-letters", "dead_letters", self.filters.query());
            (rows, _) = pages.first(usize::MAX, |_| true).await?;
        }
        complain(&format!("would {act} {}", count(rows.len(), "dead letter")));
        if json {
            return print_json(&rows.into());
        }
        let table = letter_table(&rows);
        if table.is_empty() { Ok(()) } else { print(&table.to_string()) }
    }

    /// The ids of all that match, oldest first.
    async fn find(&self, client: &Client) -> anyhow::Result<Vec<Uuid>> {
        let mut pages = client.pages("dead-letters", "dead_letters", self.filters.query());
        let mut ids = Vec::new();
        while let Some(rows) = pages.next(usize::MAX).await? {
            for row in rows {
                let id = row["id"].as_str().and_then(|id| id.parse().ok());
                ids.push(id.context("the answer has a dead letter without an id")?);
            }
        }
        ids.reverse();
        Ok(ids)
    }

    /// Asks whoever is at the terminal, where that is needed.
    fn confirm(&self, act: Act, how_many: usize) -> anyhow::Result<bool> {
        if self.yes || !self.ids.is_empty() || how_many == 0 {
            return Ok(true);
        }
        complain(&format!("{act} {}? [y/N]", count(how_many, "dead letter")));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

fn is_attended() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
