//! Strangers at the broker: a producer, who knows its address and an exchange and nothing of ours, and an operator,
//! whose hand is not always steady.

use std::time::Duration;

use anyhow::{Context, bail};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::FieldTable,
};
use tokio::time::timeout;

/// How long connecting may take, and how long a confirm.
const PATIENCE: Duration = Duration::from_secs(10);

const PERSISTENT: u8 = 2;

/// Publishes one message at a time, each persistent, mandatory and confirmed.
#[derive(Debug)]
pub struct Producer {
    urls: Vec<String>,
    next: usize,
    line: Option<(Connection, Channel)>,
}

/// A message of a producer.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// To which exchange.
    pub exchange: &'a str,
    /// With which routing key.
    pub key: &'a str,
    /// The property of that name.
    pub content_type: &'a str,
    /// The property of that name.
    pub message_id: Option<&'a str>,
    /// What it says.
    pub body: &'a [u8],
}

impl Producer {
    /// A producer that connects when it first publishes, to the first of `urls` (each of one host), and after a
    /// failure to the next one.
    pub fn new(urls: impl IntoIterator<Item = String>) -> Self {
        Self { urls: urls.into_iter().collect(), next: 0, line: None }
    }

    /// Publishes a message, and returns when the broker has confirmed it.
    ///
    /// # Errors
    ///
    /// When the broker is out of reach, refuses it, has no queue for it, or says nothing within 10 s: then it may
    /// have it all the same, and a producer publishes it again.
    pub async fn publish(&mut self, publication: Publication<'_>) -> anyhow::Result<()> {
        let published = match self.line().await {
            Ok(channel) => timeout(PATIENCE, confirmed(channel, publication)).await,
            Err(error) => Ok(Err(error)),
        };
        let published = published.unwrap_or_else(|_| bail_silent());
        if published.is_err() {
            self.line = None;
        }
        published
    }

    async fn line(&mut self) -> anyhow::Result<&Channel> {
        if self.line.is_none() {
            let url = self.urls.get(self.next % self.urls.len().max(1)).context("a producer needs a URL")?;
            self.next += 1;
            let connected = timeout(PATIENCE, connect(url)).await;
            self.line = Some(connected.with_context(|| format!("no connection within {PATIENCE:?}"))??);
        }
        self.line.as_ref().map(|(_, channel)| channel).context("just connected")
    }
}

/// Changes what stands on a virtual host, as nobody should.
#[derive(Debug)]
pub struct Operator {
    connection: Connection,
}

impl Operator {
    /// One who is connected to `url`.
    ///
    /// # Errors
    ///
    /// When the broker refuses. So do the other calls.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let (connection, _) = timeout(PATIENCE, connect(url)).await??;
        Ok(Self { connection })
    }

    /// Takes a queue's binding away.
    pub async fn unbind(&self, exchange: &str, key: &str, queue: &str) -> anyhow::Result<()> {
        let channel = self.connection.create_channel().await?;
        Ok(channel.queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default()).await?)
    }

    /// Deletes an exchange.
    pub async fn delete_exchange(&self, name: &str) -> anyhow::Result<()> {
        let channel = self.connection.create_channel().await?;
        Ok(channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await?)
    }

    /// Deletes a queue and what is in it.
    pub async fn delete_queue(&self, name: &str) -> anyhow::Result<()> {
        let channel = self.connection.create_channel().await?;
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
        Ok(())
    }

    /// Declares a durable queue without any argument.
    pub async fn declare_plain_queue(&self, name: &str) -> anyhow::Result<()> {
        let channel = self.connection.create_channel().await?;
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.into(), options, FieldTable::default()).await?;
        Ok(())
    }

    /// Publishes a message with hardly a property, and not persistent.
    pub async fn publish(
        &self,
        exchange: &str,
        key: &str,
        id: Option<&str>,
        timestamp: Option<u64>,
        body: &[u8],
    ) -> anyhow::Result<()> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let mut properties = BasicProperties::default();
        if let Some(id) = id {
            properties = properties.with_message_id(id.into());
        }
        if let Some(timestamp) = timestamp {
            properties = properties.with_timestamp(timestamp);
        }
        let options = BasicPublishOptions::default();
        let published = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        published.await?.await?;
        Ok(())
    }

    /// Takes a message out of a queue, to look at it; it is put back when this operator is gone.
    pub async fn look(&self, queue: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let channel = self.connection.create_channel().await?;
        let found = channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
        Ok(found.map(|found| found.delivery.data))
    }
}

fn bail_silent() -> anyhow::Result<()> {
    bail!("not confirmed within {PATIENCE:?}")
}

async fn connect(url: &str) -> anyhow::Result<(Connection, Channel)> {
    let properties = ConnectionProperties::default().with_connection_name("a producer".into());
    let runtime = lapin::runtime::default_runtime()?;
    let connection = Connection::connect_with_runtime(url, properties, runtime).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

async fn confirmed(channel: &Channel, publication: Publication<'_>) -> anyhow::Result<()> {
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(publication.content_type.into());
    if let Some(id) = publication.message_id {
        properties = properties.with_message_id(id.into());
    }
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let published = channel.basic_publish(
        publication.exchange.into(),
        publication.key.into(),
        options,
        publication.body,
        properties,
    );
    // With one message on its way at a time, a return is this one's.
    match published.await?.await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => bail!("no queue is bound for `{}`", publication.key),
        refused => bail!("the broker refused it: {refused:?}"),
    }
}
