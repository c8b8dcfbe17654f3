//! `bellbuoy secrets`: what the store's secrets are encrypted with.

use anyhow::anyhow;
use bellbuoy_store::SecretKeys;
use clap::{Parser, Subcommand};
use http::Method;
use serde_json::json;

use super::{
    Common, complain, print, print_json, print_list,
    table::Table,
    talk,
    words::{count, text},
};

/// Look at what secrets are encrypted with in the store, and change to another key.
///
/// To change keys in a fleet: put the new one behind the old in `store.secret_key` of every process, then before it,
/// then `bellbuoy secrets rewrite`, then take the old one away.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy secrets new-key > /etc/bellbuoy/secret-key
  BELLBUOY_STORE__SECRET_KEY_FILE=/etc/bellbuoy/secret-key bellbuoy serve
  bellbuoy secrets list
  bellbuoy secrets rewrite")]
pub(crate) struct SecretsCommand {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a new key. Needs no server.
    NewKey,
    /// Show how many notifications are stored under which key.
    List,
    /// Encrypt with the first key whatever is not. Can be broken off and run again.
    Rewrite,
}

pub(crate) fn run(args: &SecretsCommand) -> anyhow::Result<()> {
    let json = args.common.json;
    match args.command {
        Command::NewKey => {
            let key = SecretKeys::generate();
            let key = key.map_err(|_| anyhow!("the system gave no random bytes; try again"))?;
            if json { print_json(&json!({ "key": key })) } else { print(&key) }
        }
        Command::List => talk(&args.common.connection, async |client| {
            let found = client.send(Method::GET, &["v1", "secrets"], None).await?;
            if json {
                return print_json(&found);
            }
            let mut table = Table::new(&["KEY", "NOTIFICATIONS", "WRITES"]);
            for row in found["keys"].as_array().into_iter().flatten() {
                let key = row["key"].as_str().unwrap_or("(not encrypted)").to_owned();
                table.add([key, text(&row["notifications"]), text(&row["writes"])]);
            }
            print_list(&table, false, "keys")
        }),
        Command::Rewrite => talk(&args.common.connection, async |client| {
            let done = client.send(Method::POST, &["v1", "secrets", "rewrite"], None).await?;
            if json {
                return print_json(&done);
            }
            let rewritten = usize::try_from(done["rewritten"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
            print(&format!("rewrote {}", count(rewritten, "notification")))?;
            complain("`bellbuoy secrets list` shows which keys are still needed");
            Ok(())
        }),
    }
}
