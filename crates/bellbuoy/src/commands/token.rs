//! `bellbuoy token`: credentials with a purpose and an end.

use anyhow::Context;
use bellbuoy_domain::{AccountName, TokenScope};
use clap::{Parser, Subcommand};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Common, Done,
    client::Client,
    complain, for_each, print, print_json, print_list,
    table::Table,
    talk,
    words::{id, text, time},
};

const DAY_SECONDS: u32 = 24 * 60 * 60;

/// Make, list and revoke tokens.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy token create registry-eu --scope events:publish --never-expires
  bellbuoy token create prometheus --scope metrics:read
  bellbuoy token create ci --account acme+ci --scope repo:admin --days 90
  bellbuoy token list
  bellbuoy token revoke 7d3a2c0e-2b1f-4c59-9a57-6a4f7f1f4b0d

Scopes: repo:admin, org:admin, user:admin (what the account may do with repositories, namespaces, itself),
events:publish (send events in), metrics:read, super:user (everything).")]
pub(crate) struct Tokens {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token. It is printed once and kept nowhere; its id and title go to standard error.
    Create {
        /// What it is for.
        title: String,
        /// What it may be used for. Can be given several times.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<TokenScope>,
        /// Whose rights it carries. Without it, it acts for the registry itself: by repo:admin on every repository, by
        /// org:admin on every namespace, by user:admin for every account.
        #[arg(long)]
        account: Option<AccountName>,
        /// Days until it expires.
        #[arg(long, default_value = "365", value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Let it be valid until it is revoked.
        #[arg(long, conflicts_with = "days")]
        never_expires: bool,
    },
    /// List tokens: all for a superuser, else one's own.
    List {
        /// Of this account alone.
        #[arg(long)]
        account: Option<AccountName>,
        /// At most so many.
        #[arg(long, default_value = "50", value_name = "N")]
        limit: usize,
    },
    /// Make tokens invalid for good, within a second everywhere.
    Revoke {
        /// Which.
        #[arg(required = true, value_parser = id::<Uuid>)]
        ids: Vec<Uuid>,
    },
}

pub(crate) fn run(args: &Tokens) -> anyhow::Result<()> {
    let json = args.common.json;
    talk(&args.common.connection, async |client| match &args.command {
        Command::Create { title, scopes, account, days, never_expires } => {
            let seconds = (!never_expires).then(|| days.saturating_mul(DAY_SECONDS));
            let body = json!({
                "title": title, "scopes": scopes, "account": account, "expires_in_seconds": seconds,
            });
            create(&client, &body, json).await?;
            if account.is_none() {
                warn_of_reach(scopes);
            }
            Ok(())
        }
        Command::List { account, limit } => list(&client, account.as_ref(), *limit, json).await,
        Command::Revoke { ids } => for_each(ids, json, async |id| revoke(&client, id).await).await,
    })
}

async fn create(client: &Client, body: &Value, json: bool) -> anyhow::Result<()> {
    let made = client.send(Method::POST, &["v1", "tokens"], Some(body)).await?;
    if json {
        return print_json(&made);
    }
    complain(&format!("token {} ({}); it is shown this once:", text(&made["id"]), text(&made["title"])));
    print(made["token"].as_str().context("the answer has no token")?)
}

/// Says how far a token without an account reaches, where its scopes are about what is somebody's.
fn warn_of_reach(scopes: &[TokenScope]) {
    let everything: Vec<_> = scopes
        .iter()
        .filter_map(|scope| match scope {
            TokenScope::RepositoryAdmin => Some("every repository"),
            TokenScope::NamespaceAdmin => Some("every namespace"),
            TokenScope::Account => Some("every account"),
            TokenScope::Publish | TokenScope::Metrics | TokenScope::Superuser => None,
        })
        .collect();
    if !everything.is_empty() {
        complain(&format!(
            "it has no account, and so acts on {}; --account gives it one's rights alone",
            everything.join(" and ")
        ));
    }
}

async fn list(
    client: &Client,
    account: Option<&AccountName>,
    limit: usize,
    json: bool,
) -> anyhow::Result<()> {
    let query = account.map(|account| ("account", account.to_string())).into_iter().collect();
    let (rows, more) = client.pages("tokens", "tokens", query).first(limit, |_| true).await?;
    if json {
        return print_json(&rows.into());
    }
    let mut table = Table::new(&["ID", "TITLE", "ACCOUNT", "SCOPES", "EXPIRES", "LAST USED"]);
    for row in &rows {
        let scopes: Vec<&str> =
            row["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        table.add([
            text(&row["id"]),
            text(&row["title"]),
            text(&row["account"]),
            scopes.join(" "),
            time(&row["expires_at"]),
            time(&row["last_used_at"]),
        ]);
    }
    print_list(&table, more, "tokens")
}

async fn revoke(client: &Client, id: Uuid) -> anyhow::Result<Done> {
    client.send(Method::DELETE, &["v1", "tokens", &id.to_string()], None).await?;
    Ok(Done { json: json!({ "id": id }), line: format!("revoked {id}") })
}
