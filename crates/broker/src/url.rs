//! Where a broker is: `embedded:`, or the hosts of one RabbitMQ.

use std::{fmt, str::FromStr};

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerUrl {
    /// The broker inside this process, on `SQLite` in the data directory.
    Embedded,
    /// RabbitMQ.
    RabbitMq(AmqpUrl),
}

/// `amqp[s]://user:password@host:port,host:port/vhost`: one RabbitMQ, by any of its nodes.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl {
    pub(crate) tls: bool,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) hosts: Vec<Host>,
    pub(crate) vhost: String,
}

/// One node's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// A broker's address can't be read. The text never holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write `embedded:` or `amqp[s]://USER:PASSWORD@HOST[:PORT][,HOST...]/VHOST`")]
pub struct BrokerUrlError(String);

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    /// Reads an address. User, password and virtual host are percent-decoded; the vhost is `/` when the path
    /// is left out or bare, as operators mean it, and the ports are 5672 and, with `amqps`, 5671.
    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        let fail = |what: &str| BrokerUrlError(what.to_owned());
        if text == "embedded:" {
            return Ok(Self::Embedded);
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail("this is no broker's address"))?;
        let tls = match scheme {
            "amqp" => false,
            "amqps" => true,
            other => return Err(BrokerUrlError(format!("no broker speaks `{other}`"))),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains(['?', '#', '/']) {
            return Err(fail(
                "the virtual host ends the address; write its own `/`, `?` and `#` as %2F, %3F, %23",
            ));
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("guest:guest", authority));
        let (user, password) = login.split_once(':').ok_or_else(|| fail("a user needs a password"))?;
        let hosts = hosts.split(',').map(|host| Host::parse(host, tls)).collect::<Result<_, _>>()?;
        let vhost = if path.is_empty() { "/".into() } else { decode(path)? };
        Ok(Self::RabbitMq(AmqpUrl { tls, user: decode(user)?, password: decode(password)?, hosts, vhost }))
    }
}

impl AmqpUrl {
    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The hosts as they may be shown: without user and password.
    pub fn hosts(&self) -> String {
        self.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        write!(f, "{scheme}://{}:***@{}/{}", self.user, self.hosts(), self.vhost)
    }
}

impl Host {
    fn parse(text: &str, tls: bool) -> Result<Self, BrokerUrlError> {
        let default_port = if tls { 5671 } else { 5672 };
        let wrong = |what: &str| BrokerUrlError(format!("{what} in `{text}`"));
        // The colons of an IPv6 address stand in brackets.
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or_else(|| wrong("no closing bracket"))?;
                (name, port.strip_prefix(':'))
            }
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        if name.is_empty() {
            return Err(wrong("no host"));
        }
        let port = match port {
            None => default_port,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| wrong("no port between 1 and 65535"))?,
        };
        Ok(Self { name: name.to_owned(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

fn decode(text: &str) -> Result<String, BrokerUrlError> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| BrokerUrlError("a part of the address is no UTF-8 once its %XX are read".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amqp(text: &str) -> AmqpUrl {
        match text.parse() {
            Ok(BrokerUrl::RabbitMq(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_parts_are_found_and_decoded() {
        let url = amqp("amqps://j%40n:p%2Fw%3A%25@a:1,b,[::1]:3,[::2]/%2Ffleet");
        assert_eq!((url.tls, url.user.as_str(), url.password.as_str()), (true, "j@n", "p/w:%"));
        assert_eq!((url.hosts().as_str(), url.vhost()), ("a:1,b:5671,[::1]:3,[::2]:5671", "/fleet"));
    }

    #[test]
    fn what_is_left_out_is_what_a_fresh_node_has() {
        let url = amqp("amqp://rabbit");
        assert_eq!((url.user.as_str(), url.password.as_str(), url.vhost()), ("guest", "guest", "/"));
        assert_eq!(url.hosts(), "rabbit:5672");
        assert_eq!(amqp("amqp://rabbit/").vhost(), "/");
        assert_eq!("embedded:".parse(), Ok(BrokerUrl::Embedded));
    }

    #[test]
    fn a_mistake_is_named_and_the_password_is_not() {
        for (text, says) in [
            ("rabbit:5672", "no broker's address"),
            ("kafka://a", "`kafka`"),
            ("amqp://user@a", "needs a password"),
            ("amqp://u:secret@a,/v", "no host in ``"),
            ("amqp://u:secret@a:99999/v", "`a:99999`"),
            ("amqp://u:secret@[::1/v", "closing bracket"),
            ("amqp://u:secret@a/v?heartbeat=3", "%3F"),
            ("amqp://u:%ff@a/v", "UTF-8"),
        ] {
            let error = text.parse::<BrokerUrl>().expect_err(text).to_string();
            assert!(error.contains(says) && !error.contains("secret"), "{text}: {error}");
        }
        assert!(!format!("{:?}", amqp("amqp://u:secret@a")).contains("secret"));
    }
}
