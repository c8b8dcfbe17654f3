//! Which ports of receivers a request may be sent to: a pure table, asked before anything is looked up.

use std::{ops::RangeInclusive, str::FromStr};

use url::Url;

/// Ports above 1023 on which something else than a receiver of notifications listens: what browsers do not speak HTTP
/// to ([Fetch, port blocking]), and the databases, brokers, caches and control planes that a request of ours
/// could be taken for a command by.
///
/// [Fetch, port blocking]: https://fetch.spec.whatwg.org/#port-blocking
const CLOSED: &[u16] = &[
    1433,  // Microsoft SQL Server
    1521,  // Oracle
    1719,  // H.323
    1720,  // H.323
    1723,  // PPTP
    1883,  // MQTT
    2049,  // NFS
    2181,  // ZooKeeper
    2375,  // Docker
    2376,  // Docker over TLS
    2379,  // etcd
    2380,  // etcd, its peers
    3306,  // MySQL
    3389,  // Remote Desktop
    3659,  // Apple's SASL
    4045,  // NFS locks
    4190,  // ManageSieve
    4369,  // Erlang's port mapper
    5060,  // SIP
    5061,  // SIP over TLS
    5432,  // PostgreSQL
    5671,  // AMQP over TLS
    5672,  // AMQP
    5900,  // VNC
    6000,  // X11
    6379,  // Redis
    6566,  // SANE
    6665,  // IRC
    6666,  // IRC
    6667,  // IRC
    6668,  // IRC
    6669,  // IRC
    6679,  // IRC over TLS
    6697,  // IRC over TLS
    9042,  // Cassandra
    9092,  // Kafka
    9200,  // Elasticsearch
    9300,  // Elasticsearch, its peers
    10080, // Amanda
    10250, // Kubernetes' node agent
    11211, // memcached
    25672, // RabbitMQ's peers
    27017, // MongoDB
];

/// The ports that are open.
///
/// Written as ports and ranges, such as `80,443,1024-65535`, which is the default. Among the ports of a range those are
/// closed all the same on which databases, brokers and the like listen; one of them that is named by itself is open.
/// Port 0 is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRules {
    open: Vec<RangeInclusive<u16>>,
}

impl PortRules {
    /// What it is unless an operator says otherwise.
    pub const DEFAULT: &str = "80,443,1024-65535";

    /// Whether a request may be sent to `port`.
    pub fn allow(&self, port: u16) -> bool {
        let mut holding = self.open.iter().filter(|range| range.contains(&port));
        if CLOSED.contains(&port) {
            return holding.any(|range| range.start() == range.end());
        }
        holding.next().is_some()
    }

    /// The port that a request to `url` would be sent to, if it is closed; what no request goes to has none.
    pub fn closed_port_of(&self, url: &str) -> Option<u16> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        url.port_or_known_default().filter(|port| !self.allow(*port))
    }
}

impl Default for PortRules {
    fn default() -> Self {
        Self { open: vec![80..=80, 443..=443, 1024..=u16::MAX] }
    }
}

/// A text names no ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give ports and ranges from 1 to 65535, such as 80,443,1024-65535")]
pub struct PortsError;

impl FromStr for PortRules {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let port = |text: &str| text.trim().parse().ok().filter(|port| *port > 0);
        let range = |text: &str| match text.split_once('-') {
            None => port(text).map(|port| port..=port),
            Some((first, last)) => Some(port(first)?..=port(last)?).filter(|range| !range.is_empty()),
        };
        let open: Option<Vec<_>> = text.split(',').map(range).collect();
        open.map(|open| Self { open }).ok_or(PortsError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> PortRules {
        text.parse().expect("ports")
    }

    #[test]
    fn the_default_opens_the_web_and_what_has_no_name_of_its_own() {
        let usual = PortRules::default();
        assert_eq!(usual, rules(PortRules::DEFAULT));
        for port in [80, 443, 1024, 3000, 5000, 8000, 8080, 8443, 9000, 32_768, 60_999, 65_535] {
            assert!(usual.allow(port), "{port}");
        }
        for port in [0, 1, 22, 25, 53, 79, 81, 110, 143, 389, 442, 444, 465, 587, 993, 1023] {
            assert!(!usual.allow(port), "{port}");
        }
        for port in CLOSED {
            assert!(!usual.allow(*port), "{port}");
        }
    }

    #[test]
    fn a_port_that_is_named_by_itself_is_open_whatever_listens_there() {
        assert!(rules("6379").allow(6379) && rules("1-65535, 6379").allow(6379));
        assert!(!rules("6379").allow(6380) && !rules("6000-7000").allow(6379));
        assert!(rules("25").allow(25) && !rules("25").allow(80));
        assert!(!rules("1-65535").allow(0));
    }

    #[test]
    fn a_url_is_judged_by_its_port_or_by_that_of_its_scheme() {
        let usual = PortRules::default();
        for (url, closed) in [
            ("http://127.0.0.1:6379/", Some(6379)),
            ("https://ci.example.com:22/${repository}", Some(22)),
            ("http://ci.example.com:0/", Some(0)),
            ("http://ci.example.com/", None),
            ("https://ci.example.com:8443/", None),
            ("http://ci.example.com:65536/", None),
            ("ftp://ci.example.com/", None),
            ("nonsense", None),
        ] {
            assert_eq!(usual.closed_port_of(url), closed, "{url}");
        }
        assert_eq!(rules("80").closed_port_of("https://ci.example.com/"), Some(443));
    }

    #[test]
    fn what_names_no_ports_is_refused() {
        for text in ["", "0", "65536", "http", "80,", "443-80", "80-", "-80", "1-2-3", "0-80", "+80x"] {
            assert_eq!(text.parse::<PortRules>(), Err(PortsError), "{text}");
        }
    }
}
