//! A connection to RabbitMQ that comes back.
//!
//! lapin recovers nothing here: a connection that is lost is dropped whole, with all that hung on it, and
//! made anew on the next host, so that what each part may assume after a loss stands in one place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    Channel, Connection, ConnectionProperties, ErrorKind, Event,
    options::ConfirmSelectOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    tcp::{OwnedIdentity, OwnedTLSConfig},
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::{RabbitMqOptions, reconnect::Pauses};
use crate::{AmqpUrl, OpenError};

/// How long a host may take to be connected to.
const CONNECT: Duration = Duration::from_secs(10);

/// How often a connection that says nothing is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What a connection is for. Each has its own: an alarm stops the one that publishes, not its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Publish,
    Consume,
    Topology,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Topology => "topology",
        }
    }
}

/// A connection that stands, and its channel with confirms.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) confirms: Channel,
    blocked: watch::Sender<Option<String>>,
    heard: watch::Sender<Instant>,
    given_up: CancellationToken,
}

impl Link {
    fn new(connection: Connection, confirms: Channel) -> Self {
        let (blocked, heard) = (watch::Sender::new(None), watch::Sender::new(Instant::now()));
        Self { connection, confirms, blocked, heard, given_up: CancellationToken::new() }
    }

    /// A message was confirmed on it, or refused.
    pub(super) fn hears(&self) {
        self.heard.send_replace(Instant::now());
    }

    /// For how long nothing was.
    pub(super) fn silence(&self) -> Duration {
        self.heard.borrow().elapsed()
    }

    /// It stands, and nothing comes of it: another one is made, on the next host.
    pub(super) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// Why RabbitMQ takes no messages now, if it doesn't.
    pub(super) fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.blocked.subscribe()
    }

    /// Whether RabbitMQ takes no messages now.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.borrow().is_some()
    }
}

/// Whether there is a connection.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// None, and why.
    Down(String),
    Up(Arc<Link>),
}

/// The link, if there is one now.
pub(super) fn up_now(state: &watch::Receiver<State>) -> Option<Arc<Link>> {
    match &*state.borrow() {
        State::Up(link) => Some(Arc::clone(link)),
        State::Down(_) => None,
    }
}

/// Knows the hosts and how to talk to them.
#[derive(Debug)]
pub(super) struct Connector {
    url: AmqpUrl,
    tls: OwnedTLSConfig,
    heartbeat: Duration,
    next_host: AtomicUsize,
}

impl Connector {
    /// Reads the TLS files.
    pub(super) fn new(url: &AmqpUrl, options: &RabbitMqOptions) -> Result<Self, OpenError> {
        let read = |path: &std::path::PathBuf| {
            std::fs::read(path).map_err(|source| OpenError::Io { path: path.clone(), source })
        };
        let cert_chain = match &options.tls.ca {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).into_owned()),
            None => None,
        };
        let identity = match &options.tls.identity {
            Some((pem, key)) => Some(OwnedIdentity::PKCS8 { pem: read(pem)?, key: read(key)? }),
            None => None,
        };
        // Many processes that start together spread over the hosts.
        let first = usize::from(Uuid::new_v4().as_bytes()[0]);
        Ok(Self {
            url: url.clone(),
            tls: OwnedTLSConfig { identity, cert_chain },
            heartbeat: options.heartbeat,
            next_host: AtomicUsize::new(first),
        })
    }

    /// How many hosts there are.
    pub(super) fn hosts(&self) -> usize {
        self.url.hosts.len()
    }

    /// Connects to the next host.
    pub(super) async fn connect(&self, role: Role) -> Result<Connection, String> {
        let host = &self.url.hosts[self.next_host.fetch_add(1, Ordering::Relaxed) % self.url.hosts.len()];
        let uri = AMQPUri {
            scheme: if self.url.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.url.user.clone(),
                    password: self.url.password.clone(),
                },
                host: host.name.clone(),
                port: host.port,
            },
            vhost: self.url.vhost.clone(),
            query: AMQPQueryString {
                heartbeat: Some(u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1)),
                ..Default::default()
            },
        };
        let name = format!("bellbuoy {} ({})", role.name(), std::process::id());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
        let connecting = Connection::connect_uri_with_config(uri, properties, self.tls.clone(), runtime);
        match timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(format!("{host} can't be connected to: {error}")),
            Err(_) => Err(format!("{host} did not answer within {CONNECT:?}")),
        }
    }

    async fn link(&self, role: Role) -> Result<Link, String> {
        let connection = self.connect(role).await?;
        let channel = timeout(CONNECT, async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>(channel)
        });
        match channel.await {
            Ok(Ok(confirms)) => Ok(Link::new(connection, confirms)),
            Ok(Err(error)) => Err(format!("RabbitMQ opened no channel: {error}")),
            Err(_) => Err(format!("RabbitMQ opened no channel within {CONNECT:?}")),
        }
    }
}

/// Keeps one connection until `stop`, for ever reconnecting, and tells of it.
pub(super) async fn keep(
    role: Role,
    connector: Arc<Connector>,
    state: watch::Sender<State>,
    stop: CancellationToken,
) {
    let mut pauses = Pauses::new();
    let work = async {
        loop {
            match connector.link(role).await {
                Ok(link) => {
                    info!("connected to RabbitMQ to {}", role.name());
                    pauses.reset();
                    let link = Arc::new(link);
                    state.send_replace(State::Up(Arc::clone(&link)));
                    let why = watch_over(&link).await;
                    warn!("lost the connection to RabbitMQ to {}: {why}", role.name());
                    state.send_replace(State::Down(why));
                }
                Err(why) => {
                    warn!("no connection to RabbitMQ to {}: {why}", role.name());
                    state.send_replace(State::Down(why));
                }
            }
            sleep(pauses.next()).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Waits until the link is of no more use, and says why.
async fn watch_over(link: &Link) -> String {
    let mut events = std::pin::pin!(link.connection.events_listener());
    loop {
        match timeout(LOOK, events.next()).await {
            Ok(Some(Event::ConnectionBlocked(why))) => {
                warn!("RabbitMQ takes no messages: {why}");
                link.blocked.send_replace(Some(why));
            }
            Ok(Some(Event::ConnectionUnblocked)) => {
                info!("RabbitMQ takes messages again");
                link.blocked.send_replace(None);
            }
            Ok(Some(Event::Error(error))) if !link.connection.status().connected() => {
                return error.to_string();
            }
            Ok(None) => return "the connection ended".into(),
            Ok(Some(_)) | Err(_) => {}
        }
        if link.given_up.is_cancelled() {
            let _ = timeout(LOOK, link.connection.close(200, "given up".into())).await;
            return "nothing was confirmed on it".into();
        }
        if !link.connection.status().connected() {
            return "the connection ended".into();
        }
        if !link.confirms.status().connected() {
            return "RabbitMQ closed the channel".into();
        }
    }
}

/// What RabbitMQ said no to, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Missing(String),
    Forbidden(String),
    Differs(String),
}

/// Whether the broker refused one thing, as opposed to being in trouble.
pub(super) fn refusal(error: &lapin::Error) -> Option<Refusal> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let text = error.get_message().to_string();
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Some(Refusal::Missing(text)),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Some(Refusal::Forbidden(text)),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => Some(Refusal::Differs(text)),
        _ => None,
    }
}
