//! A small HTTP client for tests: one request, the whole answer.

#![expect(
    clippy::disallowed_types,
    reason = "a test is the other side of the wire; the network rules are not for it"
)]

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// The most of an answer's body that is read; a longer one is an error.
const MAX_BODY: usize = 64 << 20;

/// What came back, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// Every header.
    pub headers: HeaderMap,
    /// The whole body, at most 64 MiB.
    pub body: Bytes,
}

impl Answer {
    /// The body as text, bytes that are not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not; the text shows the answer.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the answer {}: {}", self.status, self.text()))
    }
}

/// Keeps connections alive between requests; clones share them. No redirects, no proxies, no TLS, no time limit.
#[derive(Debug, Clone)]
pub struct Http(Client<HttpConnector, Full<Bytes>>);

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A client without open connections.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    ///
    /// When the request makes no sense, the server cannot be reached, hangs up early or sends more than 64 MiB.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer =
            self.0.request(request.body(Full::new(body.into()))?).await.with_context(|| url.to_owned())?;
        let (head, body) = answer.into_parts();
        let body =
            Limited::new(body, MAX_BODY).collect().await.map_err(|error| anyhow!(error).context("body"))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    /// [`Http::send`] of a plain `GET`.
    ///
    /// # Errors
    ///
    /// As for [`Http::send`].
    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, url, &[], Bytes::new()).await
    }
}
