//! The way back of what had no route: each message knows the exchange and the key that it was published with.

use lapin::{
    Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use super::{
    RabbitMqOptions, TopologyError,
    declare::{PATIENCE, Session, unavailable},
    topology::{Topology, UNROUTABLE},
};
use crate::{AmqpUrl, BrokerError};

impl Topology {
    /// Publishes what had no route once more, where and as it was published first, and forgets each when it is
    /// durable elsewhere: how many they were, and how many stand without a route now.
    ///
    /// # Errors
    ///
    /// When RabbitMQ is out of reach or refuses; what was not published is still there.
    pub async fn reroute(
        &self,
        url: &AmqpUrl,
        options: &RabbitMqOptions,
    ) -> Result<(u32, u32), TopologyError> {
        let mut session = Session::open(url, options).await?;
        // What has none still comes back to the end of the queue, and is not taken again.
        let count = session.depth(UNROUTABLE).await?.unwrap_or(0);
        let mut published = 0;
        while published < count && reroute_next(&session.channel).await? {
            published += 1;
        }
        let left = session.depth(UNROUTABLE).await?.unwrap_or(0);
        session.close().await;
        Ok((published, left))
    }
}

/// Whether there was one.
async fn reroute_next(channel: &Channel) -> Result<bool, BrokerError> {
    let exchange = async {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let Some(found) = channel.basic_get(UNROUTABLE.into(), BasicGetOptions::default()).await? else {
            return Ok(None);
        };
        let found = found.delivery;
        let mut headers = FieldTable::default();
        for (name, value) in found.properties.headers().iter().flat_map(FieldTable::inner) {
            // RabbitMQ's own, which are never sent on.
            if !name.as_str().starts_with("x-") {
                headers.insert(name.clone(), value.clone());
            }
        }
        let confirm = channel
            .basic_publish(
                found.exchange.clone(),
                found.routing_key.clone(),
                BasicPublishOptions { mandatory: true, ..Default::default() },
                &found.data,
                found.properties.clone().with_headers(headers),
            )
            .await?;
        let confirmed = confirm.await?;
        let taken = confirmed.is_ack() && confirmed.take_message().is_none();
        if taken {
            found.acker.ack(BasicAckOptions::default()).await?;
        }
        Ok::<_, lapin::Error>(Some(taken))
    };
    match timeout(PATIENCE, exchange).await {
        Ok(Ok(Some(false))) => {
            Err(BrokerError::Unavailable(format!("RabbitMQ does not take back a message of `{UNROUTABLE}`")))
        }
        Ok(Ok(found)) => Ok(found.is_some()),
        Ok(Err(error)) => Err(unavailable(&error)),
        Err(_) => Err(BrokerError::Unavailable(format!("no answer within {PATIENCE:?}"))),
    }
}
