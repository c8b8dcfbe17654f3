//! `bellbuoy notifications`: who wants to hear of what.

mod wish;

use bellbuoy_domain::{Kind, MethodName, NotificationId};
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use http::Method;
use serde_json::{Value, json};

use self::wish::{NewWish, Wish};
use super::{
    Common, Done,
    client::Client,
    complain, for_each, print, print_json,
    table::{Table, pairs},
    talk,
    words::{When, id, scope, text},
};

/// Look at notifications, make, change and test them.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy notifications create --repository acme/api --kind repo_push \\
      --webhook https://ci.example.com/hook
  bellbuoy notifications create --namespace acme --kind vulnerability_found \\
      --in-app team:security
  bellbuoy notifications create --repository acme/api --kind repo_push \\
      --webhook https://ci.example.com/hook --filter '{\"tags\": [\"v*\"]}' \\
      --format cloudevents --title 'Releases'
  bellbuoy notifications update 0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11 \\
      --webhook https://new.example.com/hook
  bellbuoy notifications show 0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11 \\
      --json > wish.json
  bellbuoy notifications catch-up 0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11 \\
      --since 2d
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
        #[arg(value_parser = id::<NotificationId>)]
        id: NotificationId,
    },
    /// Make a notification. A webhook's secret is shown here, once.
    ///
    /// It takes a scope (--repository, --namespace or --registry), a --kind, and a method (--webhook, --in-app or
    /// --method); or the file of --from, which can have them.
    Create(NewWish),
    /// Change what is given, and leave the rest. A scope can't be changed.
    Update {
        /// Which.
        #[arg(value_parser = id::<NotificationId>)]
        id: NotificationId,
        #[command(flatten)]
        wish: Wish,
    },
    /// Delete notifications. What waits for them is not sent; history stays.
    Delete(Ids),
    /// Pause notifications: their deliveries wait.
    Pause(Ids),
    /// Let paused notifications go on, and those on probation without waiting for its end.
    ///
    /// What was held meanwhile is looked at again, and sent, within five minutes; what is new is sent at once.
    Resume(Ids),
    /// Give notifications that were disabled a fresh start, on probation: one delivery goes first, and the others wait
    /// until it has succeeded.
    Reset(Ids),
    /// Make new keys to sign with. The old ones sign along until the end of the grace; a new secret is shown here, once.
    Rotate {
        /// Which.
        #[arg(value_parser = id::<NotificationId>)]
        id: NotificationId,
        /// Only this kind of key; without it, whatever the notification signs with.
        #[arg(long, value_parser = PossibleValuesParser::new(["secret", "signing_key"]))]
        key: Option<String>,
        /// How long the old keys sign along: 0 to 168.
        #[arg(long, value_name = "HOURS", default_value = "24", value_parser = clap::value_parser!(u32).range(0..=168))]
        grace: u32,
    },
    /// Show which keys sign now: public keys whole, secrets by a fingerprint.
    Keys {
        /// Which.
        #[arg(value_parser = id::<NotificationId>)]
        id: NotificationId,
    },
    /// Send what notifications missed since a time because they were disabled, and did not get in another way since.
    ///
    /// What they got and could not deliver is sent again by `dead-letters replay`.
    CatchUp {
        #[command(flatten)]
        ids: Ids,
        /// From a time, a day, or so long ago (2h, 7d) on, as far as history goes.
        #[arg(long, value_name = "WHEN")]
        since: When,
    },
    /// Send a sample, past the filter, and say which delivery that is.
    Test {
        /// Which.
        #[arg(value_parser = id::<NotificationId>)]
        id: NotificationId,
        /// Of which of its kinds; of the first without it.
        #[arg(long)]
        kind: Option<Kind>,
    },
}

#[derive(Debug, Args)]
struct Ids {
    /// Which.
    #[arg(required = true, value_parser = id::<NotificationId>)]
    ids: Vec<NotificationId>,
}

#[derive(Debug, Args)]
struct List {
    /// Of exactly this repository.
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Of exactly this namespace.
    #[arg(long, value_name = "NAME", conflicts_with = "repository")]
    namespace: Option<String>,
    /// In this state.
    #[arg(long, value_parser = PossibleValuesParser::new(["active", "paused", "probation", "disabled"]))]
    state: Option<String>,
    /// By this method.
    #[arg(long)]
    method: Option<MethodName>,
    /// At most so many.
    #[arg(long, default_value = "50", value_name = "N")]
    limit: usize,
}

pub(crate) fn run(args: &Notifications) -> anyhow::Result<()> {
    let json = args.common.json;
    if let Command::Create(wish) = &args.command {
        wish.check()?;
    }
    talk(&args.common.connection, async |client| match &args.command {
        Command::List(list) => list.run(&client, json).await,
        Command::Show { id } => {
            show(&client.send(Method::GET, &["v1", "notifications", &id.to_string()], None).await?, json)
        }
        Command::Create(wish) => create(&client, wish, json).await,
        Command::Update { id, wish } => update(&client, *id, wish, json).await,
        Command::Delete(ids) => for_each(&ids.ids, json, async |id| delete(&client, id).await).await,
        Command::Pause(ids) => switch(&client, ids, ("pause", "paused"), json).await,
        Command::Resume(ids) => {
            switch(&client, ids, ("resume", "resumed"), json).await?;
            complain("what was held is looked at again, and sent, within five minutes");
            Ok(())
        }
        Command::Reset(ids) => switch(&client, ids, ("reset", "reset"), json).await,
        Command::Rotate { id, key, grace } => rotate(&client, *id, key.as_deref(), *grace, json).await,
        Command::Keys { id } => keys(&client, *id, json).await,
        Command::CatchUp { ids, since } => {
            for_each(&ids.ids, json, async |id| catch_up(&client, id, *since).await).await
        }
        Command::Test { id, kind } => test(&client, *id, *kind, json).await,
    })
}

impl List {
    async fn run(&self, client: &Client, json: bool) -> anyhow::Result<()> {
        // Whoever administers a place may see what is there, and not everything.
        let places = [("repository", &self.repository), ("namespace", &self.namespace)];
        let query = places.into_iter().filter_map(|(word, name)| Some((word, name.clone()?))).collect();
        let pages = client.pages("notifications", "notifications", query);
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
        let fits = |wanted: Option<&str>, value: &Value| wanted.is_none_or(|wanted| value == wanted);
        let method = self.method.map(MethodName::name);
        fits(self.state.as_deref(), &row["state"]) && fits(method, &row["method"])
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
        ("public keys", public_keys(&found["public_keys"])),
        ("created at", text(&found["created_at"])),
        ("updated at", text(&found["updated_at"])),
    ]))
}

/// Public keys, each with its end if it has one.
fn public_keys(keys: &Value) -> String {
    let key = |key: &Value| match key["until"].as_str() {
        Some(until) => format!("{} until {until}", text(&key["public_key"])),
        None => text(&key["public_key"]),
    };
    let keys: Vec<String> = keys.as_array().into_iter().flatten().map(key).collect();
    if keys.is_empty() { text(&Value::Null) } else { keys.join(", ") }
}

async fn create(client: &Client, wish: &NewWish, json: bool) -> anyhow::Result<()> {
    let body = wish.body()?;
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

async fn delete(client: &Client, id: NotificationId) -> anyhow::Result<Done> {
    client.send(Method::DELETE, &["v1", "notifications", &id.to_string()], None).await?;
    Ok(Done { json: json!({ "id": id }), line: format!("deleted {id}") })
}

async fn switch(client: &Client, ids: &Ids, words: (&str, &str), json: bool) -> anyhow::Result<()> {
    let (verb, done) = words;
    let one = async |id: NotificationId| {
        let found = client.send(Method::POST, &["v1", "notifications", &id.to_string(), verb], None).await?;
        Ok(Done { json: found, line: format!("{done} {id}") })
    };
    for_each(&ids.ids, json, one).await
}

async fn rotate(
    client: &Client,
    id: NotificationId,
    key: Option<&str>,
    grace: u32,
    json: bool,
) -> anyhow::Result<()> {
    let body = json!({ "key": key, "grace_seconds": i64::from(grace) * 3600 });
    let path = ["v1", "notifications", &id.to_string(), "rotate"];
    let rotated = client.send(Method::POST, &path, Some(&body)).await?;
    show(&rotated, json)?;
    if rotated["config"]["secret"].is_string() {
        complain("keep `secret`: it signs every request from now on and is not shown again");
    }
    Ok(())
}

async fn keys(client: &Client, id: NotificationId, json: bool) -> anyhow::Result<()> {
    let found = client.send(Method::GET, &["v1", "notifications", &id.to_string(), "keys"], None).await?;
    let rows = found["keys"].as_array().cloned().unwrap_or_default();
    if json {
        return print_json(&rows.into());
    }
    let mut table = Table::new(&["SIGNATURE", "KEY", "UNTIL"]);
    for row in &rows {
        let key = if row["public_key"].is_string() { &row["public_key"] } else { &row["sha256"] };
        table.add([text(&row["signature"]), text(key), text(&row["until"])]);
    }
    super::print_list(&table, false, "keys")
}

async fn catch_up(client: &Client, id: NotificationId, since: When) -> anyhow::Result<Done> {
    let path = ["v1", "notifications", &id.to_string(), "catch-up"];
    let (mut sent, mut known, mut after) = (0, 0, Value::Null);
    loop {
        let body = json!({ "since": since.to_string(), "after": after });
        let page = client.send(Method::POST, &path, Some(&body)).await?;
        sent += page["sent"].as_u64().unwrap_or(0);
        known += page["known"].as_u64().unwrap_or(0);
        after = page["next"].clone();
        if !after.is_string() {
            break;
        }
    }
    let json = json!({ "id": id, "sent": sent, "known": known });
    let line = format!("sent {sent} of {} deliveries for {id}, the others were known", sent + known);
    Ok(Done { json, line })
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
