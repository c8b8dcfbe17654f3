//! HTTP/2 by hyper: honest answers, silence and endless bodies; a stream reset for all else.

use std::{
    convert::Infallible,
    future::pending,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::server::TlsStream;

use super::{Answer, Recorded, Reply, Shared};

pub(super) async fn serve(stream: TlsStream<TcpStream>, shared: Arc<Shared>, number: usize) {
    let service = service_fn(|request| respond(request, Arc::clone(&shared), number));
    // How the connection ends is the test's business, and seen at the other end.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    connection: usize,
) -> anyhow::Result<Response<Said>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let (at, time) = (Instant::now(), SystemTime::now());
    let recorded = Recorded {
        method: head.method,
        path,
        headers: head.headers,
        body,
        at,
        time,
        connection,
        status: None,
    };
    let (answer, place) = shared.arrived(recorded).await;
    match answer {
        Answer::Whole(reply) | Answer::ThenClose(reply) => said(reply),
        Answer::OnRelease(reply) => {
            shared.released().await;
            said(reply)
        }
        Answer::FailSome { status, one_in, seed } => {
            said(Reply::new(Answer::lot(status, one_in, seed, place)))
        }
        Answer::Never => pending().await,
        Answer::Endless { .. } => Ok(Response::new(Said::Endless(shared))),
        other => Err(io::Error::other(format!("no such answer over HTTP/2: {other:?}")).into()),
    }
}

fn said(reply: Reply) -> anyhow::Result<Response<Said>> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Said::Whole(Some(reply.body)))?)
}

enum Said {
    Whole(Option<Bytes>),
    Endless(Arc<Shared>),
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        let piece = match &mut *self {
            Self::Whole(body) => body.take().filter(|body| !body.is_empty()),
            Self::Endless(shared) => {
                shared.poured.fetch_add(PIECE.len() as u64, Relaxed);
                Some(Bytes::from_static(&PIECE))
            }
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}
