//! The least that a delivery over RabbitMQ costs: published with a confirm to one quorum queue, taken from it,
//! posted, acknowledged. No history, no retry, no fan-out.
//!
//! The worker is a process of its own, so that its use can be told from that of the load.

use std::{future::ready, time::Duration};

use anyhow::Context;
use bellbuoy_testkit::process::{Launch, Process};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};

use crate::{
    client::Client,
    deployment::PATIENCE,
    load::{bare_body, paced},
};

const QUEUE: &str = "bare";

/// Publishes without a confirm yet, at most.
const UNCONFIRMED: usize = 256;

const PERSISTENT: u8 = 2;

const READY: &str = "bare worker takes from";

/// The worker's process: takes messages for ever, `in_flight` at a time, and posts each to `url`.
pub(crate) async fn work(amqp: &str, url: &str, in_flight: u16) -> anyhow::Result<()> {
    let channel = channel(amqp).await?;
    channel.basic_qos(in_flight, BasicQosOptions::default()).await?;
    let consumer = channel
        .basic_consume(QUEUE.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await?;
    announce();
    let client = Client::new("");
    consumer
        .err_into::<anyhow::Error>()
        .try_for_each_concurrent(usize::from(in_flight), |delivery| {
            let (channel, client) = (&channel, &client);
            async move {
                let id = delivery.properties.message_id().as_ref().map(ToString::to_string);
                let tag = delivery.delivery_tag;
                client.deliver(url, &id.unwrap_or_default(), Bytes::from(delivery.data)).await?;
                channel.basic_ack(tag, BasicAckOptions::default()).await?;
                Ok(())
            }
        })
        .await
}

#[expect(clippy::print_stdout, reason = "tells its parent that it is ready")]
fn announce() {
    println!("{READY} {QUEUE}");
}

/// The queue, its worker, and the way in.
pub(crate) struct Bare {
    channel: Channel,
    pub(crate) worker: Process,
    // Ends with it.
    _connection: Connection,
}

impl Bare {
    /// Makes the queue on the virtual host of `amqp`, and starts a worker that posts to `url`.
    pub(crate) async fn start(
        amqp: &str,
        url: &str,
        in_flight: u16,
        folder: &std::path::Path,
    ) -> anyhow::Result<Self> {
        let connection = connect(amqp).await?;
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        channel.queue_declare(QUEUE.into(), options, arguments).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let worker = Launch::new("bare", std::env::current_exe()?, folder)
            .args(["bare-worker", amqp, url, &in_flight.to_string()])
            .start();
        worker.wait_for_line(READY, PATIENCE).await;
        Ok(Self { channel, worker, _connection: connection })
    }

    /// Publishes `count` messages as fast as they are confirmed.
    pub(crate) async fn burst(&self, run: &str, count: usize) -> anyhow::Result<()> {
        stream::iter(0..count)
            .map(|number| publish(self.channel.clone(), format!("{run}-{number}")))
            .buffer_unordered(UNCONFIRMED)
            .try_for_each(|()| ready(Ok(())))
            .await
    }

    /// Publishes `rate` messages a second for `span`.
    pub(crate) async fn paced(&self, run: &str, rate: u32, span: Duration) -> anyhow::Result<usize> {
        paced(rate, span, |number| publish(self.channel.clone(), format!("{run}-{number}"))).await
    }
}

async fn publish(channel: Channel, id: String) -> anyhow::Result<()> {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_message_id(id.into());
    let options = BasicPublishOptions::default();
    let confirm = channel.basic_publish("".into(), QUEUE.into(), options, &bare_body(), properties).await?;
    anyhow::ensure!(confirm.await?.is_ack(), "RabbitMQ refused a message");
    Ok(())
}

async fn channel(amqp: &str) -> anyhow::Result<Channel> {
    // The connection lives for as long as its channel does.
    Ok(connect(amqp).await?.create_channel().await?)
}

async fn connect(amqp: &str) -> anyhow::Result<Connection> {
    Connection::connect(amqp, ConnectionProperties::default()).await.context("RabbitMQ can't be connected to")
}
