//! Name servers of the operator's choice, asked over UDP, and over TCP for what does not fit: no thread waits for an
//! answer, so that a silent server costs nobody but who asked it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::Name,
};

use super::LookupError;
use crate::SetupError;

/// The most that one query takes. Whoever looks a name up sets a limit of their own, which is shorter as a rule.
const LONGEST: Duration = Duration::from_mins(1);

/// How often a query is repeated that a server could not answer.
const REPEATS: usize = 1;

/// Name servers that are asked all at once: the first to answer is believed.
///
/// They are asked for the very name, below no search domain, and their answers are not kept: the servers do that.
/// `localhost` is loopback and `.invalid` nothing without asking ([RFC 6761]); `/etc/hosts` is not read.
///
/// [RFC 6761]: https://www.rfc-editor.org/rfc/rfc6761
#[derive(Clone)]
pub struct NameServers {
    resolver: Arc<TokioResolver>,
}

impl NameServers {
    /// Those at `addresses`.
    ///
    /// # Errors
    ///
    /// When the library below refuses its own defaults.
    pub fn new(addresses: &[SocketAddr]) -> Result<Self, SetupError> {
        let servers = addresses.iter().map(|address| {
            let at_its_port = |mut connection: ConnectionConfig| {
                connection.port = address.port();
                connection
            };
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_its_port);
            NameServerConfig::new(address.ip(), true, connections.into())
        });
        let configuration = ResolverConfig::from_name_servers(servers.collect());
        let mut builder = TokioResolver::builder_with_config(configuration, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = LONGEST;
        options.attempts = REPEATS;
        options.num_concurrent_reqs = addresses.len();
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        let resolver = builder.build().map_err(|error| SetupError::NameServers(error.to_string()))?;
        Ok(Self { resolver: Arc::new(resolver) })
    }

    pub(super) async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let mut name =
            Name::from_ascii(host).map_err(|_| LookupError::Failed("it is no host name".to_owned()))?;
        name.set_fqdn(true);
        match self.resolver.lookup_ip(name).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(NetError::Timeout) => Err(LookupError::Silent),
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                Err(LookupError::Failed(format!("the name server said: {code}").to_lowercase()))
            }
            Err(error) => Err(LookupError::Failed(error.to_string().to_lowercase())),
        }
    }
}

impl fmt::Debug for NameServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameServers").finish_non_exhaustive()
    }
}
