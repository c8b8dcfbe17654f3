//! A producer as strangers write them: it knows the broker's address and an exchange, and nothing of ours.

use std::time::Duration;

use anyhow::{Context, bail};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
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
