//! `bellbuoy topology`: what has to stand on RabbitMQ, made, compared or written down.

use anyhow::bail;
use bellbuoy_broker::BrokerUrl;

use super::print;
use crate::{config::Config, open};

/// Declares what is missing. Repeating it changes nothing.
pub(crate) fn apply(config: &Config) -> anyhow::Result<()> {
    let options = open::rabbitmq_options(config);
    let url = rabbitmq(config)?;
    block_on(options.topology.apply(url, &options))??;
    print(&format!("everything stands on {}", url.hosts()))
}

/// Says what is missing or different.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let options = open::rabbitmq_options(config);
    let url = rabbitmq(config)?;
    let problems = block_on(options.topology.check(url, &options))??;
    if problems.is_empty() {
        return print(&format!("everything stands on {}", url.hosts()));
    }
    bail!("{} things are missing or different:\n  - {}", problems.len(), problems.join("\n  - "))
}

/// Prints RabbitMQ's `definitions.json`.
pub(crate) fn export(config: &Config) -> anyhow::Result<()> {
    let vhost = match &config.broker {
        BrokerUrl::RabbitMq(url) => url.vhost(),
        BrokerUrl::Embedded => "/",
    };
    let definitions = open::rabbitmq_options(config).topology.definitions(vhost);
    print(&serde_json::to_string_pretty(&definitions)?)
}

fn rabbitmq(config: &Config) -> anyhow::Result<&bellbuoy_broker::AmqpUrl> {
    match &config.broker {
        BrokerUrl::RabbitMq(url) => Ok(url),
        BrokerUrl::Embedded => {
            bail!("`broker.url` is `embedded:`, which needs no topology; set it to RabbitMQ's address")
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future))
}
