//! The demo's receiver: `/flaky` fails twice for each delivery, `/broken` always, all else works.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// How often `/flaky` fails before it works.
const FAILURES: u32 = 2;

/// The most of a body that is kept, in bytes.
const BODY_BYTES: usize = 64 * 1024;

pub(super) struct Receiver {
    pub(super) url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    bodies: HashMap<String, String>,
    attempts: HashMap<String, u32>,
}

impl Receiver {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let seen = Arc::<Mutex<Seen>>::default();
        tokio::spawn(serve(listener, Arc::clone(&seen)));
        Ok(Self { url, seen })
    }

    pub(super) fn body_of(&self, path: &str) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).bodies.get(path).cloned()
    }
}

async fn serve(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, Arc::clone(&seen)));
            // A client that goes away is no concern of the demo's.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let id =
        request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let body = Limited::new(request.into_body(), BODY_BYTES)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.bodies.insert(path.clone(), String::from_utf8_lossy(&body.unwrap_or_default()).into_owned());
    let attempts = seen.attempts.entry(id).or_default();
    *attempts += 1;
    let status = match path.as_str() {
        "/flaky" if *attempts <= FAILURES => StatusCode::SERVICE_UNAVAILABLE,
        "/broken" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}
