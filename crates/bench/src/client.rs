//! A bare HTTP client with kept connections: it makes the load, and it is the limit that nothing
//! which also keeps a queue can pass.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

#[expect(clippy::disallowed_types, reason = "the bare client is what is measured")]
type Inner =
    hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

#[derive(Clone)]
pub(crate) struct Client {
    inner: Inner,
    authorization: String,
}

impl Client {
    #[expect(clippy::disallowed_types, reason = "the bare client is what is measured")]
    pub(crate) fn new(token: &str) -> Self {
        let mut connector = hyper_util::client::legacy::connect::HttpConnector::new();
        connector.set_nodelay(true);
        let inner = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { inner, authorization: format!("Bearer {token}") }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("authorization", &self.authorization)
            .header("content-type", content_type)
            .body(Full::new(body))?;
        let answer = self.inner.request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    pub(crate) async fn json(&self, method: Method, url: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, answer) = self.send(method, url, "application/json", body.to_string().into()).await?;
        if !status.is_success() {
            bail!("{url} answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// Posts `body` to `url` from `tasks` tasks for `span`; answers requests per second.
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' work")]
    pub(crate) async fn flood(
        &self,
        url: &str,
        body: &Bytes,
        tasks: usize,
        span: Duration,
    ) -> anyhow::Result<f64> {
        let started = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..tasks {
            let (client, url, body) = (self.clone(), url.to_owned(), body.clone());
            running.spawn(async move {
                let mut sent = 0_u64;
                while started.elapsed() < span {
                    client.send(Method::POST, &url, "application/json", body.clone()).await?;
                    sent += 1;
                }
                anyhow::Ok(sent)
            });
        }
        let mut sent = 0;
        while let Some(ended) = running.join_next().await {
            sent += ended.context("a task of the load ended badly")??;
        }
        Ok(sent as f64 / started.elapsed().as_secs_f64())
    }
}
