//! The operator's proxy: how a connection is asked for through it.
//!
//! What the guard can check on this way is less than on the direct one, and stands in `docs/webhooks.md`: an address
//! in the URL is judged as ever; a name is judged by what it means here, and where the proxy looks it up
//! again, the proxy's own rules have the last word.

use std::{fmt, io, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use bellbuoy_domain::CauseCode;
use ipnet::IpNet;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use url::Url;

use super::resolve::LookupError;

/// Longest head of a proxy's answer that is read, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// A proxy that everything for receivers goes through, but for what is exempt. Its `Debug` form hides the login.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(crate) kind: ProxyKind,
    pub(crate) host: String,
    pub(crate) port: u16,
    login: Option<(String, String)>,
    exempt: Vec<Exempt>,
}

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    /// `CONNECT` of HTTP/1.1, for plain receivers as well, with the name as it is in the URL.
    Http,
    /// SOCKS 5 with an address that was looked up and judged here.
    Socks5,
    /// SOCKS 5 with the name as it is in the URL.
    Socks5Named,
}

/// What goes past the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exempt {
    Everything,
    /// A host and all below it.
    Domain(String),
    /// Addresses that stand in the URL themselves.
    Network(IpNet),
}

/// What the proxy is asked to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim<'a> {
    Address(IpAddr),
    Name(&'a str),
}

impl Proxy {
    /// Reads `http://`, `socks5://` or `socks5h://`, perhaps a user and a password, a host and a port.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let (kind, usual) = match url.scheme() {
            "http" => (ProxyKind::Http, Some(80)),
            "socks5" => (ProxyKind::Socks5, Some(1080)),
            "socks5h" => (ProxyKind::Socks5Named, Some(1080)),
            _ => return None,
        };
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|host| !host.is_empty() && bare)?;
        let decoded = |text: &str| {
            let bytes = percent_decoded(text)?;
            // What SOCKS can carry, and no header breaks on.
            let fits = bytes.len() <= 255 && !bytes.chars().any(char::is_control);
            fits.then_some(bytes)
        };
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decoded(user)?, decoded(password.unwrap_or_default())?)),
        };
        Some(Self {
            kind,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port().or(usual).filter(|port| *port > 0)?,
            login,
            exempt: Vec::new(),
        })
    }

    /// The same, with exceptions: each a host (and all below it), an address, a network, or `*`. `None` where one is
    /// none of these.
    pub fn exempting<'a>(mut self, exceptions: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        self.exempt = exceptions.into_iter().map(Exempt::parse).collect::<Option<_>>()?;
        Some(self)
    }

    /// Whether what goes to `host`, as it stands in the URL, goes past the proxy.
    pub(crate) fn exempts(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.exempt.iter().any(|exempt| match exempt {
            Exempt::Everything => true,
            Exempt::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Exempt::Domain(domain) => {
                address.is_none()
                    && (host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
            }
        })
    }

    /// Asks over a connection to the proxy for one to `aim`; the caller sets a limit.
    pub(crate) async fn ask(
        &self,
        stream: &mut TcpStream,
        aim: Aim<'_>,
        port: u16,
    ) -> Result<(), ProxyError> {
        match self.kind {
            ProxyKind::Http => self.connect(stream, aim, port).await,
            ProxyKind::Socks5 | ProxyKind::Socks5Named => self.socks(stream, aim, port).await,
        }
    }

    async fn connect(&self, stream: &mut TcpStream, aim: Aim<'_>, port: u16) -> Result<(), ProxyError> {
        let authority = match aim {
            Aim::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            Aim::Address(address) => format!("{address}:{port}"),
            Aim::Name(name) => format!("{name}:{port}"),
        };
        let login = self.login.as_ref().map(|(user, password)| {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            format!("proxy-authorization: Basic {pair}\r\n")
        });
        let login = login.unwrap_or_default();
        let request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n{login}\r\n");
        stream.write_all(request.as_bytes()).await?;
        judge_connect(&read_head(stream).await?)
    }

    /// [RFC 1928], and [RFC 1929] for the login.
    ///
    /// [RFC 1928]: https://www.rfc-editor.org/rfc/rfc1928
    /// [RFC 1929]: https://www.rfc-editor.org/rfc/rfc1929
    async fn socks(&self, stream: &mut TcpStream, aim: Aim<'_>, port: u16) -> Result<(), ProxyError> {
        let offered: &[u8] = if self.login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(offered).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        match (chosen, &self.login) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => log_in(stream, user, password).await?,
            ([5, _], _) => return Err(ProxyError::Login),
            _ => return Err(ProxyError::Foreign),
        }
        let mut request = vec![5, 1, 0];
        match aim {
            Aim::Address(IpAddr::V4(address)) => {
                request.push(1);
                request.extend(address.octets());
            }
            Aim::Address(IpAddr::V6(address)) => {
                request.push(4);
                request.extend(address.octets());
            }
            Aim::Name(name) => {
                request.push(3);
                request.push(u8::try_from(name.len()).map_err(|_| ProxyError::LongName)?);
                request.extend(name.as_bytes());
            }
        }
        request.extend(port.to_be_bytes());
        stream.write_all(&request).await?;
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let bound = match head {
            [5, 0, _, 1] => 4,
            [5, 0, _, 4] => 16,
            [5, 0, _, 3] => usize::from(stream.read_u8().await?),
            [5, 2, ..] => return Err(ProxyError::Forbidden),
            [5, code, ..] if code > 0 => return Err(ProxyError::Failed(socks_words(code).to_owned())),
            _ => return Err(ProxyError::Foreign),
        };
        let mut rest = vec![0; bound + 2];
        stream.read_exact(&mut rest).await?;
        Ok(())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, host, port, exempt, .. } = self;
        f.debug_struct("Proxy")
            .field("kind", kind)
            .field("host", host)
            .field("port", port)
            .field("exempt", exempt)
            .finish_non_exhaustive()
    }
}

impl Exempt {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some(network) = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) {
            return Some(Self::Network(network));
        }
        let domain = text.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        (!domain.is_empty() && domain.bytes().all(is_host)).then_some(Self::Domain(domain))
    }
}

/// Why there is no connection through the proxy. Names the proxy at most.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the proxy can't be reached ({0}); an operator sets it with outbound.proxy")]
    Unreachable(io::ErrorKind),
    #[error("the proxy did not answer in time; an operator sets it with outbound.proxy")]
    Silent,
    #[error("the proxy does not take our login; an operator sets it with outbound.proxy")]
    Login,
    #[error("what outbound.proxy names does not speak like a proxy of its kind")]
    Foreign,
    #[error("the proxy does not allow this address")]
    Forbidden,
    #[error("the proxy could not connect: {0}")]
    Failed(String),
    #[error("the host name is too long for the proxy")]
    LongName,
}

impl ProxyError {
    /// A proxy that is away, or that we misuse, is not the receiver's fault.
    pub(crate) fn code(&self) -> CauseCode {
        match self {
            Self::Unreachable(_) | Self::Silent | Self::Login | Self::Foreign => CauseCode::Internal,
            Self::Forbidden => CauseCode::Blocked,
            Self::Failed(_) | Self::LongName => CauseCode::Connect,
        }
    }
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.kind())
    }
}

/// A proxy without an address can't be reached.
impl From<LookupError> for ProxyError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NoRoom | LookupError::Silent => Self::Silent,
            LookupError::Failed(_) => Self::Unreachable(io::ErrorKind::HostUnreachable),
        }
    }
}

async fn log_in(stream: &mut TcpStream, user: &str, password: &str) -> Result<(), ProxyError> {
    let mut request = vec![1];
    for part in [user, password] {
        request.push(u8::try_from(part.len()).map_err(|_| ProxyError::Login)?);
        request.extend(part.as_bytes());
    }
    stream.write_all(&request).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    if answer[1] == 0 { Ok(()) } else { Err(ProxyError::Login) }
}

/// The head of the answer to `CONNECT`. Nothing may follow it yet: the receiver does not speak first.
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyError> {
    let mut head = Vec::with_capacity(256);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Err(ProxyError::Foreign);
        }
    }
    Ok(head)
}

fn judge_connect(head: &[u8]) -> Result<(), ProxyError> {
    let first = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let mut words = first.split(' ');
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let status = words.next().and_then(|status| status.parse::<u16>().ok()).filter(|_| is_http);
    match status {
        Some(200..=299) if head.ends_with(b"\r\n\r\n") => Ok(()),
        Some(200..=299) | None => Err(ProxyError::Foreign),
        Some(407) => Err(ProxyError::Login),
        Some(403) => Err(ProxyError::Forbidden),
        Some(other) => Err(ProxyError::Failed(format!("it answered {other}"))),
    }
}

fn socks_words(code: u8) -> &'static str {
    match code {
        3 => "the network is out of reach",
        4 => "the host is out of reach",
        5 => "the connection was refused",
        6 => "it took too long",
        _ => "it failed",
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        Proxy::parse(text).unwrap_or_else(|| panic!("{text} is a proxy"))
    }

    #[test]
    fn a_proxy_is_a_scheme_a_host_and_a_port_perhaps_with_a_login() {
        let full = proxy("http://kim:p%40ss@proxy.example:3128");
        assert_eq!((full.kind, &*full.host, full.port), (ProxyKind::Http, "proxy.example", 3128));
        assert_eq!(full.login, Some(("kim".to_owned(), "p@ss".to_owned())));
        assert!(!format!("{full:?}").contains("p@ss"), "{full:?}");
        assert_eq!(proxy("socks5://[::1]").port, 1080);
        assert_eq!(
            (proxy("socks5h://a").kind, &*proxy("socks5://[::1]").host),
            (ProxyKind::Socks5Named, "::1")
        );
        for text in [
            "",
            "proxy:3128",
            "https://proxy",
            "http://",
            "http://a/path",
            "http://a?x",
            "ftp://a",
            "http://%0a:b@a",
        ] {
            assert_eq!(Proxy::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_exempt_goes_past_it() {
        let with = |list: &str| proxy("http://p").exempting(list.split(',')).expect("exceptions");
        let some = with("corp.example,.dotted.example,10.0.0.0/8,192.0.2.7,2001:db8::/32");
        for (host, exempt) in [
            ("corp.example", true),
            ("corp.example.", true),
            ("a.b.corp.example", true),
            ("x.dotted.example", true),
            ("notcorp.example", false),
            ("corp.example.org", false),
            ("10.9.8.7", true),
            ("[::ffff:10.9.8.7]", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("[2001:db8::1]", true),
        ] {
            assert_eq!(some.exempts(host), exempt, "{host}");
        }
        assert!(with("*").exempts("anything.example"));
        for wrong in ["a b", "", "10.0.0.0/40", "http://a"] {
            assert!(proxy("http://p").exempting([wrong]).is_none(), "{wrong}");
        }
    }

    #[test]
    fn each_answer_to_connect_means_one_thing() {
        for (answer, code) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", None),
            ("HTTP/1.0 200\r\nvia: x\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r\nand more", Some(CauseCode::Internal)),
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Some(CauseCode::Internal)),
            ("HTTP/1.1 403 Forbidden\r\n\r\nbody", Some(CauseCode::Blocked)),
            ("HTTP/1.1 503 x\r\n\r\n", Some(CauseCode::Connect)),
            ("220 mail.example\r\n\r\n", Some(CauseCode::Internal)),
            ("HTTP/1.1 abc\r\n\r\n", Some(CauseCode::Internal)),
        ] {
            let judged = judge_connect(answer.as_bytes()).err().map(|error| error.code());
            assert_eq!(judged, code, "{answer:?}");
        }
    }
}
