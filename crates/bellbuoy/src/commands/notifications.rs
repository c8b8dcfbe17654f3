//! `bellbuoy notifications`: who wants to hear of what.

mod wish;

use bellbuoy_domain::{Kind, NotificationId};
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use http::Method;
use serde_json::{Value, json};

use self::wish::Wish;
use super::{
    Common,
    client::Client,
    complain, for_each, print, print_json,
    table::{Table, pairs},
    talk,
    words::{scope, text},
};

/// Look at notifications, make, change and test them.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy notifications create --repository acme/api --kind repo_push --webhook https://ci.example.com/hook
  bellbuoy notifications create --namespace acme --kind vulnerability_found --in-app team:security
  bellbuoy notifications create --repository acme/api --kind repo_push --webhook https://ci.example.com/hook \\
      --filter '{\"tags\": [\"v*\"]}' --format cloudevents --title 'Releases'
  bellbuoy notifications update 0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11 --webhook https://new.example.com/hook
  bellbuoy notifications show 0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11 --json > wish.json
  bellbuoy notifications test 0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11")]
pub(crate) struct Notifications {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List notifications.
    List(List),
    /// Show a notification. A webhook's secret is never among it.
    Show {
        /// Which.
        id: NotificationId,
    },
    /// Make a notification. A webhook's secret is shown here, once.
    Create(Wish),
    /// Change what is given, and leave the rest.
    Update {
        /// Which.
        id: NotificationId,
        #[command(flatten)]
        wish: Wish,
    },
    /// Delete notifications. What waits for them is not sent; history stays.
    Delete(Ids),
    /// Pause notifications: their deliveries wait.
    Pause(Ids),
    /// Let paused notifications go on.
    Resume(Ids),
    /// Give notifications that were disabled a fresh start.
    Reset(Ids),
    /// Send a sample, past the filter, and say which delivery that is.
    Test {
        /// Which.
        id: NotificationId,
        /// Of which of its kinds; of the first without it.
        #[arg(long)]
        kind: Option<Kind>,
    },
}

#[derive(Debug, Args)]
struct Ids {
    /// Which.
    #[arg(required = true)]
    ids: Vec<NotificationId>,
}

#[derive(Debug, Args)]
struct List {
    /// Of exactly this repository.
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Of exactly this namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// In this state.
    #[arg(long, value_parser = PossibleValuesParser::new(["active", "paused", "disabled"]))]
    state: Option<String>,
    /// By this method.
    #[arg(long)]
    method: Option<String>,
    /// At most so many.
    #[arg(long, default_value = "50", value_name = "N")]
    limit: usize,
}

pub(crate) fn run(args: &Notifications) -> anyhow::Result<()> {
    let json = args.common.json;
    talk(&args.common.connection, async |client| match &args.command {
        Command::List(list) => list.run(&client, json).await,
        Command::Show { id } => {
            show(&client.send(Method::GET, &["v1", "notifications", &id.to_string()], None).await?, json)
        }
        Command::Create(wish) => create(&client, wish, json).await,
        Command::Update { id, wish } => update(&client, *id, wish, json).await,
        Command::Delete(ids) => for_each(&ids.ids, async |id| delete(&client, id, json).await).await,
        Command::Pause(ids) => switch(&client, ids, ("pause", "paused"), json).await,
        Command::Resume(ids) => switch(&client, ids, ("resume", "resumed"), json).await,
        Command::Reset(ids) => switch(&client, ids, ("reset", "reset"), json).await,
        Command::Test { id, kind } => test(&client, *id, *kind, json).await,
    })
}

impl List {
    async fn run(&self, client: &Client, json: bool) -> anyhow::Result<()> {
        let pages = client.pages("notifications", "notifications", Vec::new());
        let (rows, more) = pages.first(self.limit, |row| self.wants(row)).await?;
        if json {
            return print_json(&rows.into());
        }
        let mut table = Table::new(&["ID", "STATE", "SCOPE", "KINDS", "METHOD", "FAILURES", "TITLE"]);
        for row in &rows {
            table.add([
                text(&row["id"]),
                text(&row["state"]),
                scope(&row["scope"]),
                text(&row["kinds"]),
                text(&row["method"]),
                text(&row["failures"]),
                text(&row["title"]),
            ]);
        }
        super::print_list(&table, more, "notifications")
    }

    fn wants(&self, row: &Value) -> bool {
        let fits = |wanted: &Option<String>, value: &Value| {
            wanted.as_deref().is_none_or(|wanted| value.as_str() == Some(wanted))
        };
        fits(&self.repository, &row["scope"]["repository"])
            && fits(&self.namespace, &row["scope"]["namespace"])
            && fits(&self.state, &row["state"])
            && fits(&self.method, &row["method"])
    }
}

fn show(found: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(found);
    }
    print(&pairs(&[
        ("id", text(&found["id"])),
        ("title", text(&found["title"])),
        ("state", text(&found["state"])),
        ("why", text(&found["state_reason"])),
        ("failures", text(&found["failures"])),
        ("scope", scope(&found["scope"])),
        ("kinds", text(&found["kinds"])),
        ("filter", text(&found["filter"])),
        ("method", text(&found["method"])),
        ("config", text(&found["config"])),
        ("format", text(&found["format"])),
        ("retry", text(&found["retry"])),
        ("created at", text(&found["created_at"])),
        ("updated at", text(&found["updated_at"])),
    ]))
}

async fn create(client: &Client, wish: &Wish, json: bool) -> anyhow::Result<()> {
    let body = wish.over(json!({}))?;
    let made = client.send(Method::POST, &["v1", "notifications"], Some(&body)).await?;
    show(&made, json)?;
    if made["config"]["secret"].is_string() {
        complain("keep `secret`: it signs every request and is not shown again");
    }
    Ok(())
}

async fn update(client: &Client, id: NotificationId, wish: &Wish, json: bool) -> anyhow::Result<()> {
    wish.check_not_empty()?;
    let path = ["v1", "notifications", &id.to_string()];
    let old = client.send(Method::GET, &path, None).await?;
    let body = wish.over(old)?;
    show(&client.send(Method::PUT, &path, Some(&body)).await?, json)
}

async fn delete(client: &Client, id: NotificationId, json: bool) -> anyhow::Result<()> {
    client.send(Method::DELETE, &["v1", "notifications", &id.to_string()], None).await?;
    if json { print_json(&json!({ "id": id })) } else { print(&format!("deleted {id}")) }
}

async fn switch(client: &Client, ids: &Ids, words: (&str, &str), json: bool) -> anyhow::Result<()> {
    let (verb, done) = words;
    let one = async |id: NotificationId| {
        let found = client.send(Method::POST, &["v1", "notifications", &id.to_string(), verb], None).await?;
        if json { print_json(&found) } else { print(&format!("{done} {id}")) }
    };
    for_each(&ids.ids, one).await
}

async fn test(client: &Client, id: NotificationId, kind: Option<Kind>, json: bool) -> anyhow::Result<()> {
    let body = json!({ "kind": kind });
    let path = ["v1", "notifications", &id.to_string(), "test"];
    let sent = client.send(Method::POST, &path, Some(&body)).await?;
    if json {
        return print_json(&sent);
    }
    let delivery = text(&sent["delivery"]);
    print(&delivery)?;
    complain(&format!("`bellbuoy deliveries show {delivery}` tells what becomes of it"));
    Ok(())
}
