//! A bare HTTP client with kept connections: it makes the load, and it is the limit that nothing which also keeps
//! a queue can pass.

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::Instant;

use crate::load::bare_body;

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

    /// Sends one request with what every request of a registry has, and reads the whole answer.
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
        self.exchange(request).await
    }

    /// Delivers as a worker without anything else would: one POST that the receiver knows by `id`.
    pub(crate) async fn deliver(&self, url: &str, id: &str, body: Bytes) -> anyhow::Result<()> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header("webhook-id", id)
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        match self.exchange(request).await? {
            (StatusCode::OK, _) => Ok(()),
            (status, _) => bail!("{url} answered {status}"),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = self.inner.request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    /// Asks in JSON.
    ///
    /// # Errors
    ///
    /// When there is no answer, or none with a 2xx.
    pub(crate) async fn json(&self, method: Method, url: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, answer) = self.send(method, url, "application/json", body.to_string().into()).await?;
        if !status.is_success() {
            bail!("{url} answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// Delivers to `url` from `tasks` tasks for `span`; answers how many a second.
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' work")]
    pub(crate) async fn flood(&self, url: &str, tasks: usize, span: Duration) -> anyhow::Result<f64> {
        let started = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for task in 0..tasks {
            let (client, url) = (self.clone(), url.to_owned());
            running.spawn(async move {
                let mut sent = 0_u64;
                while started.elapsed() < span {
                    client.deliver(&url, &format!("{task}-{sent}"), bare_body()).await?;
                    sent += 1;
                }
                anyhow::Ok(sent)
            });
        }
        let mut sent = 0;
        while let Some(ended) = running.join_next().await {
            sent += ended??;
        }
        Ok(sent as f64 / started.elapsed().as_secs_f64())
    }
}
