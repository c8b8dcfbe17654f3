//! `bellbuoy healthcheck`: whether the process with these settings, on this machine, is ready. For
//! images without a shell or `curl`.

#![expect(clippy::disallowed_types, reason = "a command talks to our own API, on our own machine")]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioExecutor};

use crate::config::Config;

/// The most that an answer takes: shorter than the time-out of any probe.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let url = format!("http://{}/readyz", reachable(config.listen));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .build::<_, Empty<Bytes>>(HttpConnector::new());
        let answer = tokio::time::timeout(PATIENCE, client.get(url.parse()?)).await;
        let answer = answer.with_context(|| format!("{url} did not answer within {PATIENCE:?}"))?;
        let status = answer.with_context(|| format!("can't reach {url}"))?.status();
        ensure!(status.is_success(), "not ready: {url} answered {status}");
        Ok(())
    })
}

/// An address that listens on every interface is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_every_interface_is_asked_on_loopback() {
        for (listen, asked) in
            [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:8080", "[::1]:8080"), ("10.0.0.7:80", "10.0.0.7:80")]
        {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }
}
