//! One broker, whichever it is.

use std::{
    num::NonZeroUsize,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use crate::{
    AmqpUrl, BrokerError, BrokerUrl, Claim, Connections, EmbeddedOptions, OpenError, Outgoing, QueueCount,
    QueueDepth, QueueName, RabbitMqOptions,
    embedded::{self, Embedded},
    message::Hold,
    rabbitmq::{self, Message, RabbitMq},
};

/// The longest delay a message may have: 30 days.
pub const MAX_DELAY: Duration = Duration::from_hours(30 * 24);

/// The largest body a message may have: 16 MiB, the limit of RabbitMQ 4.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How a broker behaves; which part counts is said by its address.
#[derive(Debug, Clone, Default)]
pub struct BrokerOptions {
    /// The embedded broker.
    pub embedded: EmbeddedOptions,
    /// RabbitMQ.
    pub rabbitmq: RabbitMqOptions,
}

/// A durable broker. Cheap to clone; the last clone that goes, with every consumer and claim,
/// closes it.
#[derive(Debug, Clone)]
pub struct Broker(Engine);

#[derive(Debug, Clone)]
enum Engine {
    Embedded(Embedded),
    RabbitMq(RabbitMq),
}

impl Broker {
    /// Opens the broker at `url`; the embedded one keeps its files in `directory`. RabbitMQ may be away,
    /// now and later: that is not an error here, but of what is asked of it meanwhile. Needs a tokio
    /// runtime, now and in every call.
    ///
    /// # Errors
    ///
    /// As for [`Broker::open_embedded`] and [`Broker::open_rabbitmq`].
    pub fn open(url: &BrokerUrl, directory: &Path, options: &BrokerOptions) -> Result<Self, OpenError> {
        match url {
            BrokerUrl::Embedded => Self::open_embedded(directory, &options.embedded),
            BrokerUrl::RabbitMq(url) => Self::open_rabbitmq(url, &options.rabbitmq),
        }
    }

    /// Opens the embedded broker's files in `directory`, which must exist, and counts what was claimed
    /// when they were last used. Needs a tokio runtime, now and in every call.
    ///
    /// # Errors
    ///
    /// When another process uses the files, a newer version wrote them, or they can't be used.
    pub fn open_embedded(directory: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        Embedded::open(directory, options).map(|embedded| Self(Engine::Embedded(embedded)))
    }

    /// Begins to connect to RabbitMQ, and goes on for as long as the broker is open. Needs a tokio runtime,
    /// now and in every call.
    ///
    /// # Errors
    ///
    /// When the TLS files can't be read.
    pub fn open_rabbitmq(url: &AmqpUrl, options: &RabbitMqOptions) -> Result<Self, OpenError> {
        RabbitMq::open(url, options).map(|rabbitmq| Self(Engine::RabbitMq(rabbitmq)))
    }

    /// Makes messages durable: all of them, or on an error none. On RabbitMQ an error can leave some, or
    /// all; a caller that publishes again repeats them under the same ids.
    ///
    /// # Errors
    ///
    /// When the disk refuses, RabbitMQ is out of reach, takes nothing or lacks the queue, the broker is
    /// closed, or a message is too large or delayed too long.
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), BrokerError> {
        self.settle(Vec::new(), messages).await
    }

    /// Whether messages may be durable although publishing them ended with `error`.
    pub fn may_have_taken(&self, error: &BrokerError) -> bool {
        let is_checked = matches!(error, BrokerError::TooLarge { .. } | BrokerError::DelayTooLong { .. });
        matches!(self.0, Engine::RabbitMq(_)) && !is_checked
    }

    /// As [`Broker::publish`], but what can be outlasted is, until `stop`: on RabbitMQ an outage of it, and no message
    /// that was confirmed is repeated. For what RabbitMQ takes without delay this waits also beyond `stop`: left in the
    /// middle, it would only be published twice. The embedded broker's errors leave none durable, and are the caller's to outlast.
    ///
    /// # Errors
    ///
    /// As for [`Broker::publish`], or when it is to stop.
    pub async fn publish_patiently(
        &self,
        messages: Vec<Outgoing>,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        check(&messages)?;
        match &self.0 {
            Engine::Embedded(embedded) => embedded.settle(Vec::new(), messages).await,
            Engine::RabbitMq(rabbitmq) => rabbitmq.publish_patiently(messages, stop.clone()).await,
        }
    }

    /// The one operation of every worker: makes `outputs` durable and then ends `claims`; on the embedded
    /// broker, in one transaction. On an error the claims are back in their queues. A caller that stops
    /// waiting changes nothing.
    ///
    /// On RabbitMQ, work that is done is not given up for an outage of its way out: with claims, this waits
    /// for as long as any of them is ours. When some are lost before they could be ended, that is
    /// [`BrokerError::Lost`], and somebody will do their work again; the others are ended all the same, so that all `outputs`
    /// are durable then, those of lost claims with them. The claims of one queue are lost together: whoever must not repeat
    /// outputs settles what came from each queue by itself.
    ///
    /// # Errors
    ///
    /// As for [`Broker::publish`].
    pub async fn settle(&self, claims: Vec<Claim>, outputs: Vec<Outgoing>) -> Result<(), BrokerError> {
        check(&outputs)?;
        match &self.0 {
            Engine::Embedded(embedded) => {
                let claims = claims.into_iter().filter_map(|claim| match claim.0 {
                    Hold::Embedded(claimed) => Some(claimed),
                    Hold::RabbitMq(_) => None,
                });
                embedded.settle(claims.collect(), outputs).await
            }
            Engine::RabbitMq(rabbitmq) => {
                let claims = claims.into_iter().filter_map(|claim| match claim.0 {
                    Hold::RabbitMq(claimed) => Some(*claimed),
                    Hold::Embedded(_) => None,
                });
                rabbitmq.settle(claims.collect(), outputs).await
            }
        }
    }

    /// Takes part in a queue's work, with at most `prefetch` claims at a time.
    pub fn consume(&self, queue: &QueueName, prefetch: NonZeroUsize) -> Consumer {
        Consumer(match &self.0 {
            Engine::Embedded(embedded) => Part::Embedded(embedded.consume(queue, prefetch)),
            Engine::RabbitMq(rabbitmq) => Part::RabbitMq(rabbitmq.consume(queue, prefetch)),
        })
    }

    /// How much stands in each queue: embedded, in each that ever held a message or has a consumer; on
    /// RabbitMQ, in those of the topology that are there and can be seen, as it was some seconds ago. Of what was not heard for
    /// half a minute, and at first, nothing is said.
    pub fn depths(&self) -> Vec<QueueDepth> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.depths(),
            Engine::RabbitMq(rabbitmq) => rabbitmq.depths(),
        }
    }

    /// How RabbitMQ is connected to now; `None` of the embedded broker.
    pub fn connections(&self) -> Option<Connections> {
        match &self.0 {
            Engine::Embedded(_) => None,
            Engine::RabbitMq(rabbitmq) => Some(rabbitmq.connections()),
        }
    }

    /// Counts what stands in RabbitMQ's queues now, by asking for each; the embedded broker has none.
    ///
    /// # Errors
    ///
    /// When RabbitMQ is out of reach, lacks a queue, or doesn't tell this user.
    pub async fn count(&self) -> Result<Vec<QueueCount>, BrokerError> {
        match &self.0 {
            Engine::Embedded(_) => Ok(Vec::new()),
            Engine::RabbitMq(rabbitmq) => rabbitmq.count().await,
        }
    }

    /// Makes messages of another broker durable as they stood there. On an error some of them may be.
    pub(crate) async fn carry(&self, messages: Vec<Message>) -> Result<(), BrokerError> {
        match &self.0 {
            Engine::Embedded(_) => self.publish(messages.into_iter().map(anew).collect()).await,
            Engine::RabbitMq(rabbitmq) => rabbitmq.carry(messages).await,
        }
    }

    /// Asks whether the broker would take a message now: the embedded one writes to its disk, RabbitMQ is
    /// spoken to on both connections and must have told of no alarm. It tells that to those alone who have published since
    /// they connected, and there is nothing harmless to publish: what has no route is set aside.
    ///
    /// # Errors
    ///
    /// When it would not.
    pub async fn ping(&self) -> Result<(), BrokerError> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.ping().await,
            Engine::RabbitMq(rabbitmq) => rabbitmq.ping().await,
        }
    }

    /// From now on a returned claim does not count against its message: for a shutdown, where it is
    /// returned because there is no time, not because it did harm.
    pub fn stop_counting_returns(&self) {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.stop_counting_returns(),
            Engine::RabbitMq(rabbitmq) => rabbitmq.stop_counting_returns(),
        }
    }

    /// Closes the broker in order: consumers end, claims that are dropped from now on return
    /// uncounted, and what was asked before is done when this returns.
    pub async fn close(&self) {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.close().await,
            Engine::RabbitMq(rabbitmq) => rabbitmq.close().await,
        }
    }
}

/// One worker's hold on a queue.
#[derive(Debug)]
pub struct Consumer(Part);

#[derive(Debug)]
enum Part {
    Embedded(embedded::Consumer),
    RabbitMq(rabbitmq::Consumer),
}

impl Consumer {
    /// The next message: due, and nobody else's until it is settled or returned. Waits for one,
    /// and while as many claims as the prefetch are open. Cancel safe: no message is lost when
    /// the caller stops waiting.
    ///
    /// # Errors
    ///
    /// When the broker is closed, or RabbitMQ lacks the queue. An outage is waited out.
    pub async fn next(&mut self) -> Result<Claim, BrokerError> {
        match &mut self.0 {
            Part::Embedded(consumer) => Ok(Claim(Hold::Embedded(consumer.next().await?))),
            Part::RabbitMq(consumer) => Ok(Claim(Hold::RabbitMq(Box::new(consumer.next().await?)))),
        }
    }

    /// The next message, if one is at hand and the prefetch allows it.
    pub fn try_next(&mut self) -> Option<Claim> {
        match &mut self.0 {
            Part::Embedded(consumer) => Some(Claim(Hold::Embedded(consumer.try_next()?))),
            Part::RabbitMq(consumer) => Some(Claim(Hold::RabbitMq(Box::new(consumer.try_next()?)))),
        }
    }
}

/// As it is published now: for what is left of its wait.
fn anew(message: Message) -> Outgoing {
    let delay = message.remaining(SystemTime::now());
    let Message { queue, id, headers, body, .. } = message;
    Outgoing { queue, id, body, headers, delay: delay.min(MAX_DELAY), together: false }
}

fn check(outputs: &[Outgoing]) -> Result<(), BrokerError> {
    for message in outputs {
        let bytes = message.body.len();
        if bytes > MAX_MESSAGE_BYTES {
            return Err(BrokerError::TooLarge { bytes, max: MAX_MESSAGE_BYTES });
        }
        if message.delay > MAX_DELAY {
            return Err(BrokerError::DelayTooLong { delay: message.delay, max: MAX_DELAY });
        }
    }
    Ok(())
}
