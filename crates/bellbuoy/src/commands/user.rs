//! `bellbuoy user`: passwords of the directory's users.

use std::io::{IsTerminal, Read};

use anyhow::Context;
use bellbuoy_domain::NamespaceName;
use clap::{Parser, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{Common, Misuse, client::Client, complain, print, print_json, talk};

/// The most of a password that is read, in bytes: more than any that is taken.
const MOST: u64 = 4096;

/// Set and take away the passwords of users, with which they sign in.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy user password ann < password.txt
  bellbuoy user password ann --generate
  bellbuoy user password ann --remove

A new password ends the logins that were made with the old one. Tokens go on.")]
pub(crate) struct User {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set a user's password: the first line of standard input.
    Password {
        /// Whose.
        name: NamespaceName,
        /// Make one up, and print it.
        #[arg(long)]
        generate: bool,
        /// Take it away: the user can sign in no more.
        #[arg(long, conflicts_with = "generate")]
        remove: bool,
    },
}

pub(crate) fn run(args: &User) -> anyhow::Result<()> {
    let Command::Password { name, generate, remove } = &args.command;
    let password = match (remove, generate) {
        (true, _) => None,
        (false, true) => Some(made_up()),
        (false, false) => Some(given()?),
    };
    talk(&args.common.connection, async |client| {
        set(&client, name, password.as_deref()).await?;
        let made_up = password.filter(|_| *generate);
        match made_up {
            _ if args.common.json => print_json(&json!({ "name": name, "password": made_up })),
            Some(password) => print(&password),
            None => Ok(()),
        }
    })
}

async fn set(client: &Client, name: &NamespaceName, password: Option<&str>) -> anyhow::Result<()> {
    let path = ["v1", "directory", "accounts", name.as_str(), "password"];
    let body: Option<Value> = password.map(|password| json!({ "password": password }));
    let method = if body.is_some() { Method::PUT } else { Method::DELETE };
    client.send(method, &path, body.as_ref()).await?;
    complain(&format!(
        "{name} {}",
        if password.is_some() { "has a new password" } else { "has no password any more" }
    ));
    Ok(())
}

/// 244 random bits.
fn made_up() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

fn given() -> anyhow::Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        // A terminal would show it.
        let hint = "give the password on standard input, such as `bellbuoy user password ann < file`, or let --generate make one up";
        return Err(Misuse(hint.to_owned()).into());
    }
    let mut text = String::new();
    input.lock().take(MOST).read_to_string(&mut text).context("can't read the password")?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => {
            Err(Misuse("standard input begins with an empty line; its first line is the password".to_owned())
                .into())
        }
    }
}
