//! The operator's settings for services that messages go through: the mail server, and where the two
//! chat services that have closed are run by somebody else.

use std::{fmt, time::Duration};

use bellbuoy_domain::EmailAddress;

/// Services that messages go through. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// The mail server. Without one, mails are held until there is.
    pub smtp: Option<Smtp>,
    /// Base URL of a server that speaks `HipChat`'s protocol, such as `https://chat.example.com`.
    pub hipchat_url: Option<String>,
    /// Base URL of a server that speaks Flowdock's protocol.
    pub flowdock_url: Option<String>,
}

/// The mail server that takes our mails.
///
/// The operator says where it is, so it may have a private address, and any port: all is open but what `deny` of the
/// [`Outbound`](crate::Outbound) names, link-local networks and metadata services. It is looked up once per connection, and
/// one of the addresses found is dialled.
#[derive(Clone)]
pub struct Smtp {
    /// Its name or address; also what its certificate has to be for.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is made safe.
    pub security: SmtpSecurity,
    /// User and password, sent over a safe connection only.
    pub login: Option<(String, String)>,
    /// Who the mails are from.
    pub sender: EmailAddress,
    /// What we call ourselves to the server; this machine's name if absent.
    pub hello: Option<String>,
    /// The most that sending one mail takes, connecting included.
    pub deadline: Duration,
    /// Most connections at a time. So many are kept for further mails.
    pub connections: usize,
}

/// How a connection to a mail server is made safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the first byte, as on port 465.
    Tls,
    /// `STARTTLS`, as on port 587; a server that does not offer it gets nothing.
    StartTls,
    /// Not at all: for a server on this machine or in a safe network.
    None,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, security, .. } = self;
        f.debug_struct("Smtp")
            .field("host", host)
            .field("port", port)
            .field("security", security)
            .finish_non_exhaustive()
    }
}
