//! The commands for people. They talk to a running Bellbuoy as any client does.
//!
//! Results go to standard output, everything else to standard error. Whoever closes the pipe has
//! seen enough: that ends a command quietly.

pub(crate) mod audit;
mod bulk;
mod client;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod directory;
pub(crate) mod explain;
pub(crate) mod healthcheck;
pub(crate) mod migrate;
pub(crate) mod notifications;
pub(crate) mod publish;
pub(crate) mod secrets;
mod table;
pub(crate) mod token;
pub(crate) mod topology;
pub(crate) mod user;
pub(crate) mod words;

use std::io::{ErrorKind, Write};

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use self::{
    client::{Client, Connection},
    table::Table,
};

/// Variables that belong to the command line, not to the settings.
pub(crate) const VARIABLES: &[&str] = &["BELLBUOY_CONFIG", "BELLBUOY_URL", "BELLBUOY_TOKEN"];

/// What every command for people can be told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    connection: Connection,
    /// Print JSON instead of tables: lists, and what is done to several ids, as one array, everything else as one object.
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
}

/// The command makes no sense as it was given: exit code 2, as for what the parser refuses.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Nobody reads standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct OutputClosed;

/// Prints a result.
///
/// # Errors
///
/// [`OutputClosed`], or what else keeps it from being written.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        written => written.context("can't write the result"),
    }
}

/// Prints what nobody has to hear.
pub(crate) fn say(text: &str) {
    // The server goes on without its audience.
    let _unheard = print(text);
}

/// Prints to standard error: what went wrong, what comes next.
pub(crate) fn complain(text: &str) {
    let _unheard = writeln!(std::io::stderr().lock(), "{text}");
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{value:#}"))
}

/// Prints a list of `what`, of which there may be more.
fn print_list(table: &Table, more: bool, what: &str) -> anyhow::Result<()> {
    if table.is_empty() {
        complain(&format!("there are no such {what}"));
        return Ok(());
    }
    print(&table.to_string())?;
    if more {
        complain("more may follow; a higher --limit shows them");
    }
    Ok(())
}

/// Runs a command that talks to a server.
fn talk(
    connection: &Connection,
    command: impl AsyncFnOnce(Client) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let client = Client::new(connection)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command(client))
}

/// What came of one of several ids.
struct Done {
    /// For a program.
    json: Value,
    /// For a person: a line.
    line: String,
}

/// Does the same for each id, even if it fails for some, and prints what came of each: a line at once, or with `json`
/// one object for one id and one array for several, in which those are left out for which it failed.
///
/// # Errors
///
/// When it failed for any; each has been complained about.
async fn for_each<T: std::fmt::Display + Copy>(
    ids: &[T],
    json: bool,
    mut act: impl AsyncFnMut(T) -> anyhow::Result<Done>,
) -> anyhow::Result<()> {
    if let [only] = ids {
        let done = act(*only).await?;
        return if json { print_json(&done.json) } else { print(&done.line) };
    }
    let mut objects = Vec::new();
    let mut failed = 0;
    for id in ids {
        match act(*id).await {
            Ok(done) if json => objects.push(done.json),
            Ok(done) => print(&done.line)?,
            Err(error) => {
                complain(&format!("bellbuoy: {id}: {error:#}"));
                failed += 1;
            }
        }
    }
    if json {
        print_json(&objects.into())?;
    }
    if failed == 0 { Ok(()) } else { anyhow::bail!("failed for {failed} of {}", ids.len()) }
}
