//! The receiver, as a process of its own with one thread: it answers 200, and remembers how long
//! after its event was made each request arrived. The time stands in the body as `t-MICROSECONDS`.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::figures::{Arrivals, micros_now};

pub(crate) fn run() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(&listener.local_addr()?.to_string());
        let arrivals = Arc::<Mutex<Arrivals>>::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let arrivals = Arc::clone(&arrivals);
            tokio::spawn(async move {
                let answer = service_fn(move |request| answer(request, Arc::clone(&arrivals)));
                let _ = hyper::server::conn::http1::Builder::new()
                    .pipeline_flush(true)
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    })
}

#[expect(clippy::print_stdout, reason = "tells its parent where it listens")]
fn announce(address: &str) {
    println!("receiver listens on {address}");
}

async fn answer(
    request: Request<Incoming>,
    arrivals: Arc<Mutex<Arrivals>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let now = micros_now();
    let path = request.uri().path().to_owned();
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match path.as_str() {
        "/take" => std::mem::take(&mut *arrivals).into_json(),
        "/count" => json!({"count": arrivals.count()}),
        _ => {
            arrivals.note(now, sent_at(&body));
            return Ok(Response::new(Full::default()));
        }
    };
    Ok(Response::new(Full::from(answer.to_string())))
}

fn sent_at(body: &[u8]) -> Option<u64> {
    let start = body.windows(3).position(|window| window == b"\"t-")? + 3;
    let digits: String =
        body[start..].iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    digits.parse().ok()
}
