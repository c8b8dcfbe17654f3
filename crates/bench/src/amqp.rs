//! RabbitMQ as a producer sees it: a channel with confirms.

use std::future::ready;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};

/// Publishes without a confirm yet, at most.
const UNCONFIRMED: usize = 256;

const PERSISTENT: u8 = 2;

/// Publishes to one exchange under one routing key, and waits for the confirm of each.
#[derive(Clone)]
pub(crate) struct Producer {
    channel: Channel,
    exchange: &'static str,
    key: &'static str,
    content_type: &'static str,
}

impl Producer {
    /// One on a connection of its own.
    pub(crate) async fn connect(
        amqp: &str,
        (exchange, key): (&'static str, &'static str),
        content_type: &'static str,
    ) -> anyhow::Result<Self> {
        let channel = connect(amqp).await?.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel, exchange, key, content_type })
    }

    /// Publishes one message, durably.
    pub(crate) async fn publish(&self, id: String, body: Bytes) -> anyhow::Result<()> {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(id.into())
            .with_content_type(self.content_type.into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (self.exchange.into(), self.key.into());
        let confirm = self.channel.basic_publish(exchange, key, options, &body, properties).await?;
        let confirmed = confirm.await?;
        anyhow::ensure!(
            confirmed.is_ack() && confirmed.take_message().is_none(),
            "RabbitMQ refused a message or had no queue for it"
        );
        Ok(())
    }

    /// Publishes `count` messages as fast as they are confirmed.
    pub(crate) async fn burst(
        &self,
        count: usize,
        message: impl Fn(usize) -> (String, Bytes),
    ) -> anyhow::Result<()> {
        let publishes = stream::iter(0..count).map(|number| {
            let (id, body) = message(number);
            self.publish(id, body)
        });
        publishes.buffer_unordered(UNCONFIRMED).try_for_each(|()| ready(Ok(()))).await
    }
}

/// The connection lives for as long as a channel of it does.
pub(crate) async fn connect(amqp: &str) -> anyhow::Result<Connection> {
    Connection::connect(amqp, ConnectionProperties::default()).await.context("RabbitMQ can't be connected to")
}
