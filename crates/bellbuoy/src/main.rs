//! The command line. Everything else is wiring: see `serve`.

mod certificates;
mod cli;
mod commands;
mod config;
mod demo;
mod note;
mod open;
mod queues;
mod series;
mod serve;
mod standing;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
