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

/// Says what is missing, different or left behind, and what this user may not see.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let options = open::rabbitmq_options(config);
    let url = rabbitmq(config)?;
    let found = block_on(options.topology.check(url, &options))??;
    let wrong = [&found.problems[..], &found.left_behind].concat();
    let blind_spot = found.blind_spot();
    match wrong.len() {
        // What was not seen at all is no answer to the question.
        0 if found.unseen > 0 => bail!("{}", blind_spot.unwrap_or_default()),
        0 => print(&match blind_spot {
            None => format!("everything stands on {}", url.hosts()),
            Some(blind_spot) => format!("everything is there on {}, but {blind_spot}", url.hosts()),
        }),
        count => bail!("{count} things are not as they should be:\n  - {}", wrong.join("\n  - ")),
    }
}

/// Publishes what had no route once more.
pub(crate) fn reroute(config: &Config) -> anyhow::Result<()> {
    let options = open::rabbitmq_options(config);
    let (published, left) = block_on(options.topology.reroute(rabbitmq(config)?, &options))??;
    if left > 0 {
        bail!(
            "{published} messages were published once more, and {left} have no route still; \
             run `bellbuoy topology check` for what is missing, or set `limits.shards` to what it was"
        );
    }
    print(&format!("{published} messages were published once more, and all have found their way"))
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
