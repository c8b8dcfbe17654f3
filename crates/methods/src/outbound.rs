//! The operator's settings for everything that leaves: where it may go, how long, how much.

use std::{fmt, time::Duration};

use ipnet::IpNet;

use crate::{
    Services,
    http::{PortRules, Proxy, Resolver},
};

/// Settings of every outbound request. [`Outbound::default`] suits a public receiver.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Networks that are open although they are not public, or although `deny` names a wider one.
    pub allow: Vec<IpNet>,
    /// Networks that are closed although they are public, or although `allow` names a wider one.
    pub deny: Vec<IpNet>,
    /// Which ports of receivers are open: [`PortRules::default`].
    pub ports: PortRules,
    /// The most that one attempt takes, from look-up to the last byte of the answer. 15 s: the
    /// shorter end of what Standard Webhooks recommends.
    pub deadline: Duration,
    /// The most that looking a name up takes, and again the most that connecting takes. 5 s.
    pub connect_timeout: Duration,
    /// The most that a TLS handshake takes. 5 s.
    pub tls_timeout: Duration,
    /// The most that the head of an answer takes, from when its request has a connection. 15 s.
    pub head_timeout: Duration,
    /// Largest body of an answer that is read. 1 MiB.
    pub max_response_bytes: usize,
    /// Largest head of an answer that is read, at least 8 KiB. 64 KiB.
    pub max_header_bytes: usize,
    /// How long an unused connection is kept. 60 s.
    pub pool_idle_timeout: Duration,
    /// How many unused connections are kept for one scheme, host and port: as many as may be in use at once, so that a
    /// steady load opens no new ones. 64.
    pub pool_idle_per_host: usize,
    /// Most connections to one host and port, in use or not. 128.
    pub connections_per_host: usize,
    /// How old a connection may become before it is used no more, so that a changed DNS record
    /// counts although the connection is busy. 5 min.
    pub pool_max_age: Duration,
    /// What we show to receivers that ask for a client certificate.
    pub client_identity: Option<ClientIdentity>,
    /// Certificates (PEM, one or more) trusted beside the platform's.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Whether a notification may have its receiver's certificate go unchecked.
    pub allow_skip_verification: bool,
    /// What receivers are reached through.
    pub proxy: Option<Proxy>,
    /// The `user-agent` header.
    pub user_agent: String,
    /// What messages go through.
    pub services: Services,
    /// Who turns host names into addresses.
    pub resolver: Resolver,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            ports: PortRules::default(),
            deadline: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            tls_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(15),
            max_response_bytes: 1024 * 1024,
            max_header_bytes: 64 * 1024,
            pool_idle_timeout: Duration::from_mins(1),
            pool_idle_per_host: 64,
            connections_per_host: 128,
            pool_max_age: Duration::from_mins(5),
            client_identity: None,
            extra_ca_pem: None,
            allow_skip_verification: false,
            proxy: None,
            user_agent: concat!("bellbuoy/", env!("CARGO_PKG_VERSION")).to_owned(),
            services: Services::default(),
            resolver: Resolver::System,
        }
    }
}

/// A client certificate and its key.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate and what it takes to reach its root, PEM, leaf first.
    pub cert_pem: Vec<u8>,
    /// The private key, PEM: PKCS#8, PKCS#1 or SEC1.
    pub key_pem: Vec<u8>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(..)")
    }
}

/// Settings that no client can be built of.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The extra authorities are not PEM certificates.
    #[error(
        "outbound.extra_ca holds no usable certificate: {0}; give PEM, beginning with -----BEGIN CERTIFICATE-----"
    )]
    ExtraCa(String),
    /// The client certificate or its key is not usable.
    #[error(
        "outbound.client_certificate and outbound.client_key can't be used: {0}; give a PEM certificate and the PEM key that belongs to it"
    )]
    ClientIdentity(String),
    /// The user agent can't stand in a header.
    #[error("outbound.user_agent {0:?} can't be a header's value; use visible ASCII letters")]
    UserAgent(String),
    /// The name servers can't be asked.
    #[error("outbound.name_servers can't be used: {0}")]
    NameServers(String),
    /// The TLS library refused its own defaults.
    #[error("can't set TLS up")]
    Tls(#[source] rustls::Error),
}
