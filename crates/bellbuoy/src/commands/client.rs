//! A client of our own API.

#![expect(
    clippy::disallowed_types,
    reason = "a command talks to our own API, where its user says that it is"
)]

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::connect::HttpConnector,
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;
use url::Url;

use super::Misuse;

/// The most that an answer takes: longer than the server gives itself.
const PATIENCE: Duration = Duration::from_secs(75);

/// The most of an answer that is read, in bytes: a page of a thousand rows is far smaller.
const ANSWER_BYTES: usize = 64 << 20;

/// Rows of a page: the most that the API gives.
const PAGE: usize = 1000;

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// Where Bellbuoy is.
    #[arg(
        long,
        env = "BELLBUOY_URL",
        default_value = "http://127.0.0.1:8080",
        global = true,
        help_heading = "Server"
    )]
    pub(crate) url: String,
    /// A token: one of `token create`, or the admin token.
    #[arg(long, env = "BELLBUOY_TOKEN", hide_env_values = true, global = true, help_heading = "Server")]
    token: Option<String>,
}

/// One server, one token. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Url,
    authorization: HeaderValue,
}

/// What the server answered instead of doing it.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {detail}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
}

/// Where a request goes: segments of the path, and the query.
pub(crate) struct Target<'a> {
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a [(&'a str, String)],
}

impl Client {
    pub(crate) fn new(connection: &Connection) -> anyhow::Result<Self> {
        let token = connection.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            Misuse("no token: give a token of the server's as --token or in BELLBUOY_TOKEN".to_owned())
        })?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Misuse("the token holds characters that no token has".to_owned()))?;
        authorization.set_sensitive(true);
        let base = Url::parse(&connection.url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
        });
        let base = base.ok_or_else(|| {
            Misuse(format!("--url is `{}`, but should be like http://127.0.0.1:8080", connection.url))
        })?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { http, base, authorization })
    }

    /// Sends a request and gives back the JSON of its answer; null when that has no body.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the answer is none of success; otherwise the server can't be reached.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.send_to(method, &Target { path, query: &[] }, body.map(|body| ("application/json", body))).await
    }

    /// [`Client::send`] with a query, or a body of another type.
    pub(crate) async fn send_to(
        &self,
        method: Method,
        target: &Target<'_>,
        body: Option<(&str, &Value)>,
    ) -> anyhow::Result<Value> {
        let url = self.locate(target)?;
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, self.authorization.clone());
        if let Some((content_type, _)) = body {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let body = body.map(|(_, body)| body.to_string()).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        answer
            .with_context(|| format!("no answer within {PATIENCE:?}"))
            .flatten()
            .with_context(|| format!("can't reach {}", self.base))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<anyhow::Result<Value>> {
        let answer = self.http.request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error).context("the answer broke off"))?.to_bytes();
        if !status.is_success() {
            let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("this does not seem to be a Bellbuoy");
            return Ok(Err(Refusal { status, detail: detail.to_owned() }.into()));
        }
        if body.is_empty() {
            return Ok(Ok(Value::Null));
        }
        Ok(serde_json::from_slice(&body).context("the answer is not JSON"))
    }

    fn locate(&self, target: &Target<'_>) -> anyhow::Result<Url> {
        // These would be taken for steps of the path.
        if let Some(dots) = target.path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(Misuse(format!("`{dots}` names nothing")).into());
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(target.path);
        }
        if !target.query.is_empty() {
            url.query_pairs_mut().extend_pairs(target.query);
        }
        Ok(url)
    }

    /// The rows of `member` under `/v1/PATH`, page by page.
    pub(crate) fn pages<'a>(
        &'a self,
        path: &'a str,
        member: &'a str,
        query: Vec<(&'a str, String)>,
    ) -> Pages<'a> {
        Pages { client: self, path, member, query, after: None, ended: false }
    }
}

/// A list that comes in pages.
pub(crate) struct Pages<'a> {
    client: &'a Client,
    path: &'a str,
    member: &'a str,
    query: Vec<(&'a str, String)>,
    after: Option<String>,
    ended: bool,
}

impl Pages<'_> {
    /// The next rows, at most `limit`; can be none although more follow. `None` at the end.
    pub(crate) async fn next(&mut self, limit: usize) -> anyhow::Result<Option<Vec<Value>>> {
        if self.ended {
            return Ok(None);
        }
        let mut query = self.query.clone();
        query.push(("limit", limit.clamp(1, PAGE).to_string()));
        query.extend(self.after.take().map(|after| ("after", after)));
        let target = Target { path: &["v1", self.path], query: &query };
        let mut page = self.client.send_to(Method::GET, &target, None).await?;
        self.after = page["next"].as_str().map(str::to_owned);
        self.ended = self.after.is_none();
        match page[self.member].take() {
            Value::Array(rows) => Ok(Some(rows)),
            _ => anyhow::bail!("the answer of {} has no `{}`", self.client.base, self.member),
        }
    }

    /// The first `limit` rows that `wanted` lets pass, and whether more may follow.
    pub(crate) async fn first(
        mut self,
        limit: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<(Vec<Value>, bool)> {
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(rows) = self.next(limit - found.len()).await?
        {
            found.extend(rows.into_iter().filter(&wanted));
        }
        // What one place has comes whole.
        let is_cut = found.len() > limit;
        found.truncate(limit);
        Ok((found, is_cut || !self.ended))
    }
}
