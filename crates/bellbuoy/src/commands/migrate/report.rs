//! What a migration did, or would do.

use std::path::{Path, PathBuf};

use anyhow::bail;
use bellbuoy_broker::QueueName;
use bellbuoy_store::Comparison;
use serde_json::{Value, json};

use crate::commands::{complain, print, print_json, table::Table};

/// One table.
#[derive(Debug)]
pub(super) struct TableRow {
    pub(super) name: &'static str,
    /// Rows that this run added.
    pub(super) copied: u64,
    /// What was found of the old rows in the new store.
    pub(super) found: Comparison,
}

/// Gathered while it runs, printed when it ends, however it does.
#[derive(Debug)]
pub(super) struct Report {
    from: PathBuf,
    dry_run: bool,
    tables: Vec<TableRow>,
    queues: Vec<(String, u64, u64)>,
    remarks: Vec<String>,
    differences: Vec<String>,
}

impl Report {
    pub(super) fn new(from: &Path, dry_run: bool) -> Self {
        Self {
            from: from.to_owned(),
            dry_run,
            tables: Vec::new(),
            queues: Vec::new(),
            remarks: Vec::new(),
            differences: Vec::new(),
        }
    }

    pub(super) fn table(&mut self, row: TableRow) {
        if !row.found.is_same() && !self.dry_run {
            self.differences.push(difference(&row));
        }
        self.tables.push(row);
    }

    pub(super) fn queue(&mut self, queue: &QueueName, ready: u64, delayed: u64) {
        self.queues.push((queue.to_string(), ready, delayed));
    }

    pub(super) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    pub(super) fn differences(&mut self, differences: &[String]) {
        self.differences.extend_from_slice(differences);
    }

    /// Fails where anything that should have been copied is not found.
    pub(super) fn refuse_incomplete(&self, store: &str) -> anyhow::Result<()> {
        if self.differences.is_empty() {
            return Ok(());
        }
        bail!(
            "what is in the store at {store} is not what was copied, and no message was moved:\n  - {}",
            self.differences.join("\n  - ")
        )
    }

    pub(super) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            return print_json(&self.to_json());
        }
        if !self.tables.is_empty() {
            print(&self.table_of_tables().to_string())?;
        }
        if !self.queues.is_empty() {
            if !self.tables.is_empty() {
                print("")?;
            }
            print(&self.table_of_queues().to_string())?;
        }
        self.remarks.iter().for_each(|remark| complain(remark));
        if self.dry_run {
            complain("nothing was carried over");
        }
        Ok(())
    }

    fn table_of_tables(&self) -> Table {
        let mut table = Table::new(&["TABLE", "ROWS", "COPIED", "FOUND"]);
        for TableRow { name, copied, found } in &self.tables {
            table.add([
                (*name).to_owned(),
                found.rows.to_string(),
                copied.to_string(),
                found.same.to_string(),
            ]);
        }
        table
    }

    fn table_of_queues(&self) -> Table {
        let mut table = Table::new(&["QUEUE", "READY", "WAITING"]);
        for (queue, ready, delayed) in &self.queues {
            table.add([queue.clone(), ready.to_string(), delayed.to_string()]);
        }
        table
    }

    fn to_json(&self) -> Value {
        let tables = self.tables.iter().map(|TableRow { name, copied, found }| {
            json!({ "table": name, "rows": found.rows, "copied": copied, "same": found.same,
                    "missing": found.missing, "different": found.different })
        });
        let queues = self
            .queues
            .iter()
            .map(|(queue, ready, delayed)| json!({ "queue": queue, "ready": ready, "waiting": delayed }));
        json!({
            "from": self.from.display().to_string(),
            "dry_run": self.dry_run,
            "tables": tables.collect::<Vec<_>>(),
            "queues": queues.collect::<Vec<_>>(),
            "remarks": self.remarks,
            "differences": self.differences,
        })
    }
}

/// Fails where the new store has other forms of rows.
pub(super) fn refuse_different(table: &str, found: &Comparison, store: &str) -> anyhow::Result<()> {
    let Some(first) = &found.first_different else { return Ok(()) };
    bail!(
        "the store at {store} holds {} rows of table {table} that are the old ones by their ids and differ from them, the \
         first {first:?}; migrate into an empty database, or remove them there",
        found.different
    )
}

/// Fails where the new store has rows of its own.
pub(super) fn refuse_own(table: &str, own: u64, store: &str) -> anyhow::Result<()> {
    if own == 0 {
        return Ok(());
    }
    bail!(
        "the store at {store} holds {own} rows of table {table} that are not of the old store, so that nothing was carried \
         over; migrate into the database of a fleet that has delivered nothing yet"
    )
}

fn difference(row: &TableRow) -> String {
    let TableRow { name, found: Comparison { rows, missing, different, .. }, .. } = row;
    format!("table {name}: of {rows} rows {missing} are missing and {different} differ")
}
