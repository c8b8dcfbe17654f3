//! `bellbuoy healthcheck`: whether the process with these settings, on this machine, is ready, and if not, why. For
//! images without a shell or `curl`.

#![expect(clippy::disallowed_types, reason = "a command talks to our own API, on our own machine")]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioExecutor};
use serde_json::Value;

use crate::config::{Config, Hidden};

/// The most that an answer takes: shorter than the time-out of any probe.
const PATIENCE: Duration = Duration::from_secs(4);

/// The most of an answer that is read, in bytes.
const ANSWER_BYTES: usize = 1 << 20;

pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let url = format!("http://{}/readyz", reachable(config.listen));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let token = config.admin_token.as_ref().map(Hidden::reveal);
        let answer = tokio::time::timeout(PATIENCE, ask(&url, token)).await;
        let answer = answer.with_context(|| format!("{url} did not answer within {PATIENCE:?}"))?;
        let (status, body) = answer.with_context(|| format!("can't reach {url}"))?;
        if !status.is_success() {
            let said = std::iter::once(format!("not ready: {url} answered {status}")).chain(failing(&body));
            bail!("{}", said.collect::<Vec<_>>().join("\n"));
        }
        Ok(())
    })
}

async fn ask(url: &str, token: Option<&str>) -> anyhow::Result<(StatusCode, Bytes)> {
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build::<_, Empty<Bytes>>(HttpConnector::new());
    let mut request = Request::get(url);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let answer = client.request(request.body(Empty::new())?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    Ok((status, body.map_err(|error| anyhow::anyhow!(error))?.to_bytes()))
}

/// What is not well, and why. Nothing where the answer is not one of ours.
fn failing(body: &[u8]) -> Vec<String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let checks = answer["checks"].as_object().into_iter().flatten();
    let words = checks.filter_map(|(name, word)| Some((name, word.as_str()?)));
    words.filter(|(_, word)| *word != "ok").map(|(name, why)| format!("{name}: {why}")).collect()
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
    fn what_is_not_well_is_told_by_name_and_reason() {
        let body = br#"{"ready": false, "checks": {"broker": "no answer within 2s", "fanout": "failing", "store": "ok"}}"#;
        assert_eq!(failing(body), ["broker: no answer within 2s", "fanout: failing"]);
        assert!(failing(b"<html>").is_empty());
    }

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
