//! `bellbuoy audit`: who did what.

use clap::Parser;

use super::{
    Common, print_json, print_list,
    table::Table,
    talk,
    words::{text, time},
};

/// Show who created, changed, deleted and reset what, newest first.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy audit --place acme/api
  bellbuoy audit --actor ann --action notification.delete --limit 200")]
pub(crate) struct Audit {
    #[command(flatten)]
    common: Common,
    /// By this account; `token:admin` is the admin token, `token:ID` a token of nobody's.
    #[arg(long)]
    actor: Option<String>,
    /// This action, such as `notification.create`.
    #[arg(long)]
    action: Option<String>,
    /// To this id or name.
    #[arg(long)]
    target: Option<String>,
    /// About this repository or namespace.
    #[arg(long)]
    place: Option<String>,
    /// At most so many.
    #[arg(long, default_value = "50", value_name = "N")]
    limit: usize,
}

pub(crate) fn run(args: &Audit) -> anyhow::Result<()> {
    let filters =
        [("actor", &args.actor), ("action", &args.action), ("target", &args.target), ("place", &args.place)];
    let query: Vec<_> =
        filters.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    talk(&args.common.connection, async |client| {
        let (rows, more) = client.pages("audit", "entries", query).first(args.limit, |_| true).await?;
        if args.common.json {
            return print_json(&rows.into());
        }
        let mut table = Table::new(&["AT", "ACTOR", "FROM", "ACTION", "TARGET", "PLACE"]);
        for row in &rows {
            table.add([
                time(&row["at"]),
                text(&row["actor"]),
                text(&row["address"]),
                text(&row["action"]),
                text(&row["target"]),
                text(&row["place"]),
            ]);
        }
        print_list(&table, more, "entries")
    })
}
