//! The least that a delivery over RabbitMQ costs: published with a confirm to one quorum queue, taken from it,
//! posted, acknowledged. No history, no retry, no fan-out.
//!
//! The worker is a process of its own, so that its use can be told from that of the load.

use std::time::Duration;

use bellbuoy_testkit::process::{Launch, Process};
use bytes::Bytes;
use futures_util::TryStreamExt;
use lapin::{
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use crate::{
    amqp::{Producer, connect},
    client::Client,
    deployment::PATIENCE,
    load::{bare_body, paced},
    usage::Program,
};

const QUEUE: &str = "bare";

const READY: &str = "bare worker takes from";

/// The worker's process: takes messages for ever, `in_flight` at a time, and posts each to `url`.
pub(crate) async fn work(amqp: &str, url: &str, in_flight: u16) -> anyhow::Result<()> {
    // The connection lives for as long as its channel does.
    let channel = connect(amqp).await?.create_channel().await?;
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
    producer: Producer,
    worker: Process,
}

impl Bare {
    /// Makes the queue on the virtual host of `amqp`, and starts a worker that posts to `url`.
    pub(crate) async fn start(
        amqp: &str,
        url: &str,
        in_flight: u16,
        folder: &std::path::Path,
    ) -> anyhow::Result<Self> {
        let channel = connect(amqp).await?.create_channel().await?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        channel.queue_declare(QUEUE.into(), options, arguments).await?;
        let producer = Producer::connect(amqp, ("", QUEUE), "application/json").await?;
        let worker = Launch::new("bare", std::env::current_exe()?, folder)
            .args(["bare-worker", amqp, url, &in_flight.to_string()])
            .start();
        worker.wait_for_line(READY, PATIENCE).await;
        Ok(Self { producer, worker })
    }

    /// The worker, whose use is measured.
    pub(crate) fn program(&self) -> Program {
        Program { name: "worker", process: self.worker.id(), ours: true }
    }

    /// Publishes `count` messages as fast as they are confirmed.
    pub(crate) async fn burst(&self, run: &str, count: usize) -> anyhow::Result<()> {
        self.producer.burst(count, |number| (format!("{run}-{number}"), bare_body())).await
    }

    /// Publishes `rate` messages a second for `span`.
    pub(crate) async fn paced(&self, run: &str, rate: u32, span: Duration) -> anyhow::Result<usize> {
        paced(rate, span, |number| {
            let (producer, id) = (self.producer.clone(), format!("{run}-{number}"));
            async move { producer.publish(id, bare_body()).await }
        })
        .await
    }
}
