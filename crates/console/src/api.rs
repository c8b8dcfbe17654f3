//! The REST API as these pages ask it: in the same process, by the same requests as any client, with the visitor's own
//! credential. So a page can show and do nothing that the API would not.

use axum::{Router, body::Body, middleware::Next, response::Response};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;

/// The largest answer that is read: a page of dead letters is far below it.
const ANSWER_BYTES: usize = 32 << 20;

/// A visitor's connection to the API.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    router: Router,
    credential: HeaderMap,
    connection: Connection,
}

/// What the server knows of a visitor's connection, the address among it, by which guesses are counted: as it was before
/// a route of ours was found, whose parts of the path are none of the API's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection(Extensions);

impl Connection {
    /// Keeps it for the pages.
    pub(crate) async fn keep(mut request: Request<Body>, next: Next) -> Response {
        let connection = Self(request.extensions().clone());
        request.extensions_mut().insert(connection);
        next.run(request).await
    }

    /// That of a request.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Why the API did not do it, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    /// The whole answer.
    pub(crate) body: Value,
}

impl Api {
    pub(crate) fn new(router: Router, credential: HeaderMap, connection: Connection) -> Self {
        Self { router, credential, connection }
    }

    /// Reads what is at `path`, its query included.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        let answer = self.send(Method::GET, path, None, &HeaderMap::new()).await?;
        serde_json::from_value(answer.body).map_err(|error| {
            tracing::error!("the console can't read the API's answer at {path}: {error}");
            Refusal::ours("the API's answer can't be read; the server's log says more")
        })
    }

    /// Changes something.
    pub(crate) async fn act(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, Refusal> {
        let mut headers = HeaderMap::new();
        if self.credential.contains_key(header::COOKIE) {
            // A login changes nothing without its word; that the visitor meant this is known by now (`origin`).
            let word = self.send(Method::GET, "/csrf_token", None, &headers).await?;
            let word = word.body["csrf_token"].as_str().and_then(|word| HeaderValue::from_str(word).ok());
            headers.extend(word.map(|word| (CSRF, word)));
        }
        self.send(method, path, body, &headers).await
    }

    /// One request, with `headers` beside the credential.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &HeaderMap,
    ) -> Result<Answer, Refusal> {
        let content = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = Request::builder().method(method).uri(path).body(content).map_err(|error| {
            tracing::error!("the console made a request that is none, to {path:?}: {error}");
            Refusal::ours("this page asked for something that can't be asked for")
        })?;
        request.extensions_mut().extend(self.connection.0.clone());
        request.headers_mut().extend(self.credential.clone());
        request.headers_mut().extend(headers.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let bytes = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| {
            tracing::error!("the console could not read an answer of the API at {path}: {error}");
            Refusal::ours("the API's answer is larger than a page can show")
        })?;
        let body = read(&bytes.to_bytes());
        if parts.status.is_success() {
            Ok(Answer { headers: parts.headers, body })
        } else {
            Err(Refusal::of(parts.status, body))
        }
    }
}

/// Where a request repeats a login's word.
pub(crate) const CSRF: http::HeaderName = http::HeaderName::from_static("x-csrf-token");

/// JSON as it is; what is none, such as metrics, as text.
fn read(bytes: &[u8]) -> Value {
    match bytes {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned())),
    }
}

impl Refusal {
    fn ours(detail: &str) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, detail: detail.to_owned(), body: Value::Null }
    }

    /// Whether it is about what was asked or written, and not about who asks or how the server is.
    pub(crate) fn is_about_the_question(&self) -> bool {
        self.status.is_client_error() && self.status != StatusCode::UNAUTHORIZED
    }

    /// One that is not the API's.
    pub(crate) fn unsaid(status: StatusCode, detail: &str) -> Self {
        Self { status, ..Self::ours(detail) }
    }

    fn of(status: StatusCode, body: Value) -> Self {
        let said = ["detail", "message"].iter().find_map(|name| body[name].as_str());
        let detail = said.map_or_else(|| status.to_string(), ToOwned::to_owned);
        Self { status, detail, body }
    }
}
