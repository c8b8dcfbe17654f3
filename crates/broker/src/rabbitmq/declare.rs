//! The description made true on a RabbitMQ, or compared with it.

use std::{fmt, time::Duration};

use lapin::{
    Channel, Connection,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use super::{
    RabbitMqOptions,
    comparison::Comparison,
    link::{Connector, Refusal, Role, refusal},
    topology::{Binding, Exchange, Lane, Queue, Topology, UNROUTABLE},
};
use crate::{AmqpUrl, BrokerError, OpenError, QueueName};

/// How long one declaration may take: a quorum queue of a busy cluster takes a second or two.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What stands on RabbitMQ can't be looked at or made what we need.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// Something of that name is there and differs, or may not be declared. Everything else was.
    #[error("{}", .0.join("\n"))]
    Differs(Vec<String>),
    /// It is out of reach.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The TLS files can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// One thing to declare.
#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    Exchange(&'a Exchange),
    Queue(&'a Queue),
    Binding(&'a Binding),
}

impl Topology {
    /// Declares what is missing. Repeating it changes nothing.
    ///
    /// # Errors
    ///
    /// When RabbitMQ is out of reach, or something of the same name is there and differs: then everything
    /// else was declared, and the error names all that differs.
    pub async fn apply(&self, url: &AmqpUrl, options: &RabbitMqOptions) -> Result<(), TopologyError> {
        let mut session = Session::open(url, options).await?;
        let mut problems = Vec::new();
        for item in self.items() {
            match session.declare(item, false).await? {
                Ok(()) => {}
                Err(refusal) => problems.push(explain(item, &refusal)),
            }
        }
        session.close().await;
        if problems.is_empty() { Ok(()) } else { Err(TopologyError::Differs(problems)) }
    }

    /// Compares what stands there with the description, as far as the user may see it; nothing is changed.
    ///
    /// # Errors
    ///
    /// When RabbitMQ is out of reach.
    pub async fn check(&self, url: &AmqpUrl, options: &RabbitMqOptions) -> Result<Comparison, TopologyError> {
        let mut session = Session::open(url, options).await?;
        let mut found = Comparison { compared: true, ..Comparison::default() };
        for item in self.items().filter(|item| !matches!(item, Item::Binding(_))) {
            found.described += 1;
            match session.declare(item, true).await? {
                Ok(()) => {}
                Err(Refusal::Forbidden(_)) => {
                    found.unseen += 1;
                    continue;
                }
                Err(refusal) => {
                    found.problems.push(explain(item, &refusal));
                    continue;
                }
            }
            if found.compared {
                // It is there, so declaring it again compares and changes nothing.
                match session.declare(item, false).await? {
                    Ok(()) => {}
                    Err(Refusal::Forbidden(_)) => found.compared = false,
                    Err(refusal) => found.problems.push(explain(item, &refusal)),
                }
            }
        }
        for shards in self.beyond() {
            found.left_behind.extend(session.left_behind(shards).await?);
        }
        found.left_behind.extend(session.without_route().await?);
        session.close().await;
        Ok(found)
    }

    fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let exchanges = self.exchanges.iter().map(Item::Exchange);
        exchanges.chain(self.queues.iter().map(Item::Queue)).chain(self.bindings.iter().map(Item::Binding))
    }
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(exchange) => write!(f, "exchange `{}`", exchange.name),
            Self::Queue(queue) => write!(f, "queue `{}`", queue.name),
            Self::Binding(binding) => {
                write!(f, "binding of queue `{}` to exchange `{}`", binding.queue, binding.exchange)
            }
        }
    }
}

fn explain(item: Item<'_>, refusal: &Refusal) -> String {
    match refusal {
        Refusal::Missing(_) => format!("{item} is missing; run `bellbuoy topology apply`"),
        Refusal::Forbidden(why) => {
            format!("{item} may not be declared by this user ({why}); use one that may configure")
        }
        Refusal::Differs(why) => format!(
            "{item} differs from what this version needs, and RabbitMQ can't change it ({why}); \
             empty it, delete it and run `bellbuoy topology apply`"
        ),
    }
}

/// A connection for declarations, and a channel that is opened anew after each refusal, which closes it.
pub(super) struct Session {
    connection: Connection,
    pub(super) channel: Channel,
}

impl Session {
    pub(super) async fn open(url: &AmqpUrl, options: &RabbitMqOptions) -> Result<Self, TopologyError> {
        let connector = Connector::new(url, options)?;
        let mut failed = BrokerError::Closed;
        for _ in 0..connector.hosts() {
            match connector.connect(Role::Topology).await {
                Ok(connection) => {
                    let channel = connection.create_channel().await.map_err(|error| unavailable(&error))?;
                    return Ok(Self { connection, channel });
                }
                Err(why) => failed = BrokerError::Unavailable(why),
            }
        }
        Err(failed.into())
    }

    async fn declare(&mut self, item: Item<'_>, passive: bool) -> Result<Result<(), Refusal>, BrokerError> {
        let declared = timeout(PATIENCE, declare(&self.channel, item, passive)).await;
        let Ok(declared) = declared else {
            return Err(BrokerError::Unavailable(format!("{item} was not declared within {PATIENCE:?}")));
        };
        match declared {
            Ok(()) => Ok(Ok(())),
            Err(error) => {
                let refusal = refusal(&error).ok_or_else(|| unavailable(&error))?;
                self.channel = self.connection.create_channel().await.map_err(|error| unavailable(&error))?;
                Ok(Err(refusal))
            }
        }
    }

    /// Messages on shards that stand there although they are not described.
    async fn left_behind(
        &mut self,
        shards: impl Iterator<Item = QueueName>,
    ) -> Result<Vec<String>, BrokerError> {
        let mut problems = Vec::new();
        for shard in shards {
            for lane in Lane::ALL {
                match self.depth(&lane.of(&shard)).await? {
                    None => return Ok(problems),
                    Some(0) => {}
                    Some(count) => problems.push(format!(
                        "queue `{}` holds {count} messages, but is beyond the shards that are consumed; \
                         raise `limits.shards` until it is empty",
                        lane.of(&shard)
                    )),
                }
            }
        }
        Ok(problems)
    }

    /// Messages that no queue took.
    async fn without_route(&mut self) -> Result<Option<String>, BrokerError> {
        let count = self.depth(UNROUTABLE).await?.unwrap_or(0);
        Ok((count > 0).then(|| {
            format!(
                "queue `{UNROUTABLE}` holds {count} messages that had no route, because a queue or its binding was \
                 missing; run `bellbuoy topology apply`, then `bellbuoy topology reroute`"
            )
        }))
    }

    /// How many messages are ready on a queue; `None` if it isn't there, or may not be seen.
    pub(super) async fn depth(&mut self, queue: &str) -> Result<Option<u32>, BrokerError> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        match timeout(PATIENCE, declared).await {
            Err(_) => Err(BrokerError::Unavailable(format!("no answer within {PATIENCE:?}"))),
            Ok(Ok(found)) => Ok(Some(found.message_count())),
            Ok(Err(error)) => {
                refusal(&error).ok_or_else(|| unavailable(&error))?;
                self.channel = self.connection.create_channel().await.map_err(|error| unavailable(&error))?;
                Ok(None)
            }
        }
    }

    pub(super) async fn close(self) {
        // What was declared is declared, whether or not the farewell arrives.
        let _ = timeout(Duration::from_secs(1), self.connection.close(200, "done".into())).await;
    }
}

async fn declare(channel: &Channel, item: Item<'_>, passive: bool) -> lapin::Result<()> {
    match item {
        Item::Exchange(exchange) => {
            let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
            let arguments = exchange.arguments.table();
            channel
                .exchange_declare(exchange.name.as_str().into(), exchange.kind.clone(), options, arguments)
                .await
        }
        Item::Queue(queue) => {
            let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
            let arguments = queue.arguments.table();
            channel.queue_declare(queue.name.as_str().into(), options, arguments).await.map(drop)
        }
        Item::Binding(binding) => {
            let (queue, exchange) = (binding.queue.as_str().into(), binding.exchange.as_str().into());
            let key = binding.key.as_str().into();
            channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        }
    }
}

pub(super) fn unavailable(error: &lapin::Error) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}
