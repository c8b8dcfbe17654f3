//! Measures the whole way of an event, in by HTTP and out to a receiver, beside a bare HTTP client
//! to the same receiver in the same run. Prints one JSON line per figure.
//!
//! Every figure is a ratio's half: compare lines of one run, not of two machines.

mod client;
mod figures;
mod receiver;
mod scenarios;

use std::path::PathBuf;

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("receiver") => receiver::run(),
        Some("whole-way") => {
            let binary =
                arguments.next().map(PathBuf::from).context("which binary? give the path of bellbuoy")?;
            scenarios::run(&binary)
        }
        _ => bail!("usage: bellbuoy-bench whole-way PATH-OF-BELLBUOY"),
    }
}
