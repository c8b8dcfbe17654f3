//! `bellbuoy directory`: who there is, from a file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Common, Misuse,
    client::{Client, Target},
    complain, print, print_json, talk,
    words::text,
};

/// Fill the directory of users, organizations, teams, robots, repositories and permissions.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy directory import people.toml --dry-run
  bellbuoy directory import people.toml

The file is TOML or JSON:

  version = 1
  [[users]]
  name = \"ann\"
  email = \"ann@example.com\"
  [[organizations]]
  name = \"acme\"
  owners = [\"ann\"]
  teams = [{ name = \"dev\", role = \"member\", members = [\"bob\", \"acme+ci\"] }]
  [[robots]]
  name = \"acme+ci\"
  [[repositories]]
  name = \"acme/api\"
  permissions = [{ grantee = \"acme/dev\", role = \"write\" }]
  emails = [\"ann@example.com\"]

A list that is given (owners, members, permissions, emails) is complete: who is not in it is taken out. What the file does not
name stays as it is.")]
pub(crate) struct Directory {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the directory what a file says, whole or not at all. Doing it again changes nothing.
    Import {
        /// The file; TOML unless its name ends in `.json`.
        file: PathBuf,
        /// Only say what it would change.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) fn run(args: &Directory) -> anyhow::Result<()> {
    let Command::Import { file, dry_run } = &args.command;
    let document = read(file)?;
    let json = args.common.json;
    talk(&args.common.connection, async |client| import(&client, &document, *dry_run, json).await)
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let content = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let document = if file.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&content).map_err(|error| error.to_string())
    } else {
        toml::from_str(&content).map_err(|error| error.to_string())
    };
    document.map_err(|problem| Misuse(format!("{} can't be understood: {problem}", file.display())).into())
}

async fn import(client: &Client, document: &Value, dry_run: bool, json: bool) -> anyhow::Result<()> {
    let query = [("dry_run", dry_run.to_string())];
    let target = Target { path: &["v1", "directory", "import"], query: &query };
    let answer = client.send_to(Method::POST, &target, Some(("application/json", document))).await?;
    if json {
        return print_json(&answer);
    }
    let changes = answer["changes"].as_array().context("the answer has no `changes`")?;
    for change in changes {
        print(&format!("{} {} {}", text(&change["action"]), text(&change["what"]), text(&change["name"])))?;
    }
    let done = if dry_run { "to change" } else { "changed" };
    complain(&format!("{} {done}", changes.len()));
    Ok(())
}
