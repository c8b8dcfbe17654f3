#![doc = include_str!("../README.md")]

mod amqp;
mod bare;
mod client;
mod deployment;
mod figures;
mod load;
mod receiver;
mod scenarios;
mod usage;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bellbuoy-bench", about = "Measures Bellbuoy beside the bare limits, in one run")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run scenarios; `cargo xtask bench` builds what they need first
    Run(scenarios::Wanted),
    /// The receiver's process
    #[command(hide = true)]
    Receiver,
    /// The bare worker's process
    #[command(hide = true)]
    BareWorker {
        /// URL of RabbitMQ
        amqp: String,
        /// Where to post
        url: String,
        /// Messages in hand at once
        in_flight: u16,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Receiver => receiver::run(),
        What::BareWorker { amqp, url, in_flight } => runtime()?.block_on(bare::work(&amqp, &url, in_flight)),
        What::Run(wanted) => runtime()?.block_on(scenarios::run(&wanted)),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
