//! Connections to vetted addresses only.
//!
//! The client asks for a connection to a scheme, host and port. [`Dialer`] resolves the host once,
//! asks the rules about every answer, and dials one of exactly those addresses, so nothing that
//! DNS says later counts. [`Connector`] puts TLS on top and bounds the whole.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bellbuoy_domain::CauseCode;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};
use tower_service::Service;

use super::Resolver;
use crate::AddressRules;

/// How long one address has before the next is tried beside it ([RFC 8305, section 5]).
///
/// [RFC 8305, section 5]: https://www.rfc-editor.org/rfc/rfc8305#section-5
const HEAD_START: Duration = Duration::from_millis(250);

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Why there is no connection. The text is what people read; it names the host at most.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Said alike of every refused address and of names that lead to one, so that the answer
    /// tells nobody what lies behind: no name, no address, nothing tried.
    #[error("the network rules do not allow this address; an operator can open it with outbound.allow")]
    Blocked,
    #[error("the URL holds no host and port to connect to")]
    NoHost,
    #[error("{host} has no address: {reason}")]
    NoAddress { host: String, reason: String },
    #[error("no name server told the address of {host} within {waited:?}")]
    LookupTimeout { host: String, waited: Duration },
    #[error("could not connect to {host}:{port}: {reason}")]
    Refused { host: String, port: u16, reason: io::ErrorKind },
    #[error("could not connect to {host}:{port} within {waited:?}")]
    ConnectTimeout { host: String, port: u16, waited: Duration },
    #[error("no secure connection within {waited:?}")]
    HandshakeTimeout { waited: Duration },
}

impl DialError {
    pub(crate) fn code(&self) -> CauseCode {
        match self {
            Self::Blocked | Self::NoHost => CauseCode::Blocked,
            Self::NoAddress { .. } | Self::LookupTimeout { .. } => CauseCode::Dns,
            Self::Refused { .. } | Self::ConnectTimeout { .. } => CauseCode::Connect,
            Self::HandshakeTimeout { .. } => CauseCode::Timeout,
        }
    }
}

/// Opens TCP connections to allowed addresses.
#[derive(Debug, Clone)]
pub(crate) struct Dialer(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    rules: AddressRules,
    resolver: Resolver,
    /// For the look-up, and again for connecting.
    limit: Duration,
}

impl Dialer {
    pub(crate) fn new(rules: AddressRules, resolver: Resolver, limit: Duration) -> Self {
        Self(Arc::new(Plan { rules, resolver, limit }))
    }

    /// Connects to `port` of one of the addresses of `host`, all of them allowed.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        self.0.connect(host, port).await
    }
}

impl Service<Uri> for Dialer {
    type Response = Dialed;
    type Error = DialError;
    type Future = Connecting<Dialed, DialError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let plan = Arc::clone(&self.0);
        Box::pin(async move { plan.dial(&uri).await })
    }
}

impl Plan {
    async fn dial(&self, uri: &Uri) -> Result<Dialed, DialError> {
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(DialError::NoHost)?;
        let stream = self.connect(host, port).await?;
        Ok(Dialed { stream: TokioIo::new(stream), since: Instant::now() })
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let vetted = self.vetted_addresses(host).await?;
        let stream = match timeout(self.limit, connect_any(&vetted, port)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(DialError::Refused { host: host.to_owned(), port, reason: error.kind() });
            }
            Err(_) => {
                return Err(DialError::ConnectTimeout { host: host.to_owned(), port, waited: self.limit });
            }
        };
        // A request is one write; the kernel should not hold its tail back for more.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// The addresses of `host`, all of them allowed. One that is not refuses the whole name: an
    /// honest public receiver has no private address beside its public one.
    async fn vetted_addresses(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let addresses = match literal {
            Ok(address) => vec![address],
            Err(_) => self.look_up(host).await?,
        };
        if addresses.iter().all(|address| self.rules.allow(*address)) {
            Ok(in_turn(&addresses))
        } else {
            Err(DialError::Blocked)
        }
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        let missing =
            |reason: &str| DialError::NoAddress { host: host.to_owned(), reason: reason.to_owned() };
        match timeout(self.limit, self.resolver.look_up(host)).await {
            Ok(Ok(found)) if found.is_empty() => Err(missing("there is no such name")),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(missing(&resolver_words(&error))),
            Err(_) => Err(DialError::LookupTimeout { host: host.to_owned(), waited: self.limit }),
        }
    }
}

/// What the system's resolver said, without the wrapping that the standard library puts around.
fn resolver_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_lowercase()
}

/// The addresses to try, families taking turns so that a dead one costs one head start only.
fn in_turn(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for address in addresses.iter().map(IpAddr::to_canonical) {
        if address.is_ipv6() == first_is_v6 { &mut one } else { &mut other }.push(address);
    }
    let longest = one.len().max(other.len());
    (0..longest).flat_map(|at| [one.get(at), other.get(at)]).flatten().copied().take(MAX_ADDRESSES).collect()
}

/// Connects to the first of `addresses` that answers; each next one is tried when the one before
/// failed or had its head start. The last failure counts if all fail.
async fn connect_any(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    if let [address] = addresses {
        return connect(SocketAddr::new(*address, port)).await;
    }
    let mut waiting = addresses.iter().map(|address| SocketAddr::new(*address, port));
    let mut trying = JoinSet::new(); // Aborts the losers when it is dropped.
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(next) = waiting.next() {
            trying.spawn(connect(next));
        }
        let tried = match timeout(HEAD_START, trying.join_next()).await {
            Err(_) if waiting.len() == 0 => trying.join_next().await,
            Err(_) => continue,
            Ok(tried) => tried,
        };
        match tried {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(error)) => failure = io::Error::other(error),
            None => return Err(failure),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that dials; the address was vetted")]
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// A connection, and since when it exists.
#[derive(Debug)]
pub(crate) struct Dialed {
    stream: TokioIo<TcpStream>,
    since: Instant,
}

/// Rides on every answer of a connection: since when that exists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since(pub(crate) Instant);

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        Connected::new().extra(Since(self.since))
    }
}

impl Read for Dialed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Dialed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}

/// [`Dialer`], TLS where the scheme asks for it, and a limit over both.
///
/// The limit is not the attempt's deadline, which the client keeps itself: a connection may be
/// left to finish in the background when another became free first, and must end there as well.
/// It is the longer of the two, so that a request waited for ends by its own.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<Dialer>,
    limit: Duration,
}

impl Connector {
    pub(crate) fn new(https: HttpsConnector<Dialer>, limit: Duration) -> Self {
        Self { https, limit }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Dialed>;
    type Error = BoxError;
    type Future = Connecting<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, limit) = (self.https.call(uri), self.limit);
        Box::pin(async move {
            timeout(limit, connecting)
                .await
                .unwrap_or_else(|_| Err(DialError::HandshakeTimeout { waited: limit }.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &str) -> Vec<IpAddr> {
        texts.split_whitespace().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_beginning_with_the_preferred_one() {
        assert_eq!(
            in_turn(&addresses("2001:db9::1 2001:db9::2 2001:db9::3 192.0.3.1 ::ffff:192.0.3.2")),
            addresses("2001:db9::1 192.0.3.1 2001:db9::2 192.0.3.2 2001:db9::3")
        );
        assert_eq!(in_turn(&addresses("192.0.3.1 2001:db9::1")), addresses("192.0.3.1 2001:db9::1"));
        let many = vec![IpAddr::from([192, 0, 3, 1]); 200];
        assert_eq!(in_turn(&many).len(), MAX_ADDRESSES);
    }
}
