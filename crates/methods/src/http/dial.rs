//! Connections to vetted addresses only.
//!
//! The client asks for a connection to a scheme, host and port. [`Dialer`] resolves the host once,
//! asks the rules about every answer, and dials one of exactly those addresses, so nothing that
//! DNS says later counts. Where the operator has a proxy, it is dialled instead, and asked for each of those
//! addresses in turn or, after the same questions, for the name. `http::connect` puts TLS on top and bounds the whole.

use std::{
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
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    PortRules, Resolver,
    proxy::{Aim, Proxy, ProxyError, ProxyKind},
    resolve::LookupError,
    room::Place,
};
use crate::{AddressRules, Outbound};

/// How long one address has before the next is tried beside it ([RFC 8305, section 5]).
///
/// [RFC 8305, section 5]: https://www.rfc-editor.org/rfc/rfc8305#section-5
const HEAD_START: Duration = Duration::from_millis(250);

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// The longest that a name is looked up for that the proxy looks up itself: the answer can only forbid it.
const VETTING: Duration = Duration::from_secs(1);

/// Why there is no connection. The text is what people read; it names the host at most.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Said alike of every refused address and of names that lead to one, so that the answer
    /// tells nobody what lies behind: no name, no address, nothing tried.
    #[error("the network rules do not allow this address; an operator can open it with outbound.allow")]
    Blocked,
    /// Judged before the address, so that it tells nothing of that either.
    #[error("the network rules do not allow port {port}; an operator can open it with outbound.ports")]
    PortBlocked { port: u16 },
    #[error("the URL holds no host and port to connect to")]
    NoHost,
    #[error("{host} has no address: {reason}")]
    NoAddress { host: String, reason: String },
    #[error("no name server told the address of {host} within {waited:?}")]
    LookupTimeout { host: String, waited: Duration },
    /// Ours to put right: other names keep every thread of the system's resolver.
    #[error(
        "{host} was not looked up within {waited:?}, because silent name servers keep all look-ups of the system busy; an operator can name others with outbound.name_servers"
    )]
    LookupsBusy { host: String, waited: Duration },
    #[error("could not connect to {host}:{port}: {reason}")]
    Refused { host: String, port: u16, reason: io::ErrorKind },
    #[error("could not connect to {host}:{port} within {waited:?}")]
    ConnectTimeout { host: String, port: u16, waited: Duration },
    #[error("no secure connection within {waited:?}")]
    HandshakeTimeout { waited: Duration },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

impl DialError {
    pub(crate) fn code(&self) -> CauseCode {
        match self {
            Self::Blocked | Self::PortBlocked { .. } | Self::NoHost => CauseCode::Blocked,
            Self::NoAddress { .. } | Self::LookupTimeout { .. } => CauseCode::Dns,
            Self::LookupsBusy { .. } => CauseCode::Internal,
            Self::Refused { .. } | Self::ConnectTimeout { .. } => CauseCode::Connect,
            Self::HandshakeTimeout { .. } => CauseCode::Timeout,
            Self::Proxy(error) => error.code(),
        }
    }
}

/// Opens TCP connections to allowed addresses.
#[derive(Debug, Clone)]
pub(crate) struct Dialer(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    rules: AddressRules,
    /// None for what the operator names himself.
    ports: Option<PortRules>,
    resolver: Resolver,
    /// For the look-up, and again for connecting.
    limit: Duration,
    proxy: Option<Proxy>,
}

impl Dialer {
    /// One for what the operator names himself, whatever its port.
    pub(crate) fn new(rules: AddressRules, resolver: &Resolver, limit: Duration) -> Self {
        let resolver = resolver.of_own_servers();
        Self(Arc::new(Plan { rules, ports: None, resolver, limit, proxy: None }))
    }

    /// One for receivers: through the proxy, if there is one, but for what that exempts.
    pub(crate) fn to_receivers(settings: &Outbound) -> Self {
        Self(Arc::new(Plan {
            rules: AddressRules::new(&settings.allow, &settings.deny),
            ports: Some(settings.ports.clone()),
            resolver: settings.resolver.clone(),
            limit: settings.connect_timeout,
            proxy: settings.proxy.clone(),
        }))
    }

    /// Connects to `port`, if that is allowed, of one of the addresses of `host`, all of them allowed.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        self.0.connect(host, port).await
    }
}

/// The host and port of a URL that a connection is asked for.
pub(crate) fn aim_of(uri: &Uri) -> Result<(&str, u16), DialError> {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(DialError::NoHost)?;
    Ok((host, uri.port_u16().unwrap_or(default)))
}

impl Plan {
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        if self.ports.as_ref().is_some_and(|ports| !ports.allow(port)) {
            return Err(DialError::PortBlocked { port });
        }
        let stream = match &self.proxy {
            Some(proxy) if !proxy.exempts(host) => self.through(proxy, host, port).await?,
            _ => self.dial(&self.vetted_addresses(host).await?, host, port).await?,
        };
        // A request is one write; the kernel should not hold its tail back for more.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn dial(&self, addresses: &[IpAddr], host: &str, port: u16) -> Result<TcpStream, DialError> {
        match timeout(self.limit, connect_any(addresses, port)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(DialError::Refused { host: host.to_owned(), port, reason: error.kind() }),
            Err(_) => Err(DialError::ConnectTimeout { host: host.to_owned(), port, waited: self.limit }),
        }
    }

    /// The proxy is the operator's to name, so that it may have any address.
    async fn through(&self, proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let aims = self.aims(proxy, host).await?;
        let asking = async {
            let addresses = match proxy.host.parse() {
                Ok(address) => vec![address],
                Err(_) => self.resolver.of_own_servers().look_up(&proxy.host, self.limit).await?,
            };
            let addresses = in_turn(&addresses);
            let mut failure = ProxyError::Silent;
            for aim in aims {
                let mut stream = connect_any(&addresses, proxy.port).await?;
                match proxy.ask(&mut stream, aim, port).await {
                    Ok(()) => return Ok(stream),
                    // It may know a way to the next one.
                    Err(error @ ProxyError::Failed(_)) => failure = error,
                    Err(error) => return Err(error),
                }
            }
            Err(failure)
        };
        Ok(timeout(self.limit, asking).await.unwrap_or(Err(ProxyError::Silent))?)
    }

    /// What the proxy is asked for, one after the other, after all that can be judged here was.
    async fn aims<'a>(&self, proxy: &Proxy, host: &'a str) -> Result<Vec<Aim<'a>>, DialError> {
        if proxy.kind == ProxyKind::Socks5 || literal(host).is_some() {
            let addresses = self.vetted_addresses(host).await?;
            return Ok(addresses.into_iter().map(Aim::Address).collect());
        }
        // To the proxy these would be itself.
        if crate::address::is_localhost(host) {
            return Err(DialError::Blocked);
        }
        // Many networks with a proxy know no names of the world outside: what has no address here may have one there.
        match self.resolver.look_up(host, VETTING.min(self.limit)).await {
            Ok(found) if !found.iter().all(|address| self.rules.allow(*address)) => Err(DialError::Blocked),
            _ => Ok(vec![Aim::Name(host)]),
        }
    }

    /// The addresses of `host`, all of them allowed. One that is not refuses the whole name: an
    /// honest public receiver has no private address beside its public one.
    async fn vetted_addresses(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        let addresses = match literal(host) {
            Some(address) => vec![address],
            None => self.look_up(host).await?,
        };
        if addresses.iter().all(|address| self.rules.allow(*address)) {
            Ok(in_turn(&addresses))
        } else {
            Err(DialError::Blocked)
        }
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        let (named, waited) = (host.to_owned(), self.limit);
        match self.resolver.look_up(host, self.limit).await {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(DialError::NoAddress { host: named, reason: "there is no such name".to_owned() }),
            Err(LookupError::Failed(reason)) => Err(DialError::NoAddress { host: named, reason }),
            Err(LookupError::Silent) => Err(DialError::LookupTimeout { host: named, waited }),
            Err(LookupError::NoRoom) => Err(DialError::LookupsBusy { host: named, waited }),
        }
    }
}

/// A host that is an address itself.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
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

/// A connection, since when it exists, and the place that it takes.
#[derive(Debug)]
pub(crate) struct Dialed {
    stream: TokioIo<TcpStream>,
    since: Instant,
    _place: Option<Place>,
}

impl Dialed {
    pub(crate) fn new(stream: TcpStream, place: Option<Place>) -> Self {
        Self { stream: TokioIo::new(stream), since: Instant::now(), _place: place }
    }
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
