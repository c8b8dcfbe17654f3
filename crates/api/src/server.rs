//! The accept loop: every connection has a time limit for each of its phases, a size limit for its
//! heads, and a place among a bounded number.
//!
//! `axum::serve` sets no timer, so hyper's limit on slow heads would never fire; hence our own.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, error, warn};

/// After an accept failed for want of something (file descriptors, memory), how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What one listener grants its clients.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Open connections; further ones wait in the kernel's backlog.
    pub connections: NonZeroUsize,
    /// For a request's head to arrive, from the connection's start or the last answer; also how long a
    /// connection that is being closed may still take.
    pub head: Duration,
    /// Bytes of a request's head; hyper asks for at least 8192.
    pub head_bytes: usize,
    /// Headers in a request.
    pub headers: usize,
    /// Without a request before an HTTP/2 connection is closed (HTTP/1 has `head` for that), and for a
    /// client to read an answer.
    pub idle: Duration,
    /// For what is in flight to end once the shutdown began.
    pub drain: Duration,
}

impl Default for ServerLimits {
    /// 4096 connections; 10 s, 64 KiB and 100 headers for a head; 75 s idle; 20 s to drain.
    fn default() -> Self {
        Self {
            connections: NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN),
            head: Duration::from_secs(10),
            head_bytes: 64 * 1024,
            headers: 100,
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(20),
        }
    }
}

/// From where a request came: the other end of its TCP connection. Forwarding headers are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves `router` until `shutdown` is cancelled, then accepts no more, lets what is in flight end for
/// up to `limits.drain`, and cuts the rest.
///
/// # Errors
///
/// When the listener can't name its own address, which means that it is none.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    limits: ServerLimits,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(limits.connections.get().min(Semaphore::MAX_PERMITS)));
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (accept(&listener).await, place)
        };
        let ((stream, peer), place) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => { report(ended); continue }
            accepted = accept => accepted,
        };
        let connection =
            serve_connection(stream, peer, router.clone(), Arc::clone(&limits), shutdown.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener); // No new connections while we drain.
    let drained = timeout(limits.drain, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_err() {
        warn!("drain on {address} ran out after {:?}; cut {} connections", limits.drain, connections.len());
    }
    Ok(())
}

/// Waits for the next connection, through whatever passing trouble.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_the_clients_trouble(&error) => debug!("a connection ended early: {error}"),
            Err(error) => {
                warn!("can't accept connections just now: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_the_clients_trouble(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!("a connection's task panicked: {error}");
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Arc<ServerLimits>,
    shutdown: CancellationToken,
) {
    // Answers are small: sending them at once is worth more than a fuller packet.
    if let Err(error) = stream.set_nodelay(true) {
        debug!("connection from {peer} ended early: {error}");
        return;
    }
    let requests = Arc::new(watch::Sender::new(Requests::default()));
    let watched = requests.subscribe();
    let service = service_fn(move |request| answer(router.clone(), request, peer, Arc::clone(&requests)));
    let builder = builder(&limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return debug_end(peer, ended),
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // The accept loop bounds this by cutting the whole task.
            return debug_end(peer, connection.await);
        }
        () = idle(watched, limits.head, limits.idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout(limits.head, connection).await {
        debug_end(peer, ended);
    } else {
        debug!("cut the idle connection from {peer}");
    }
}

fn debug_end(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        debug!("connection from {peer} ended: {error}");
    }
}

fn builder(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes.max(8192))
        .max_headers(limits.headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(100)
        .keep_alive_interval(limits.head)
        .keep_alive_timeout(limits.head);
    builder
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
    requests: Arc<watch::Sender<Requests>>,
) -> Result<Response<Body>, Infallible> {
    let _open = Open::begin(requests);
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer.ip()));
    router.oneshot(request).await
}

/// A connection's requests.
#[derive(Debug, Default)]
struct Requests {
    begun: u64,
    open: usize,
}

/// Counts a request as open until it is answered or dropped.
struct Open(Arc<watch::Sender<Requests>>);

impl Open {
    fn begin(requests: Arc<watch::Sender<Requests>>) -> Self {
        requests.send_modify(|requests| {
            requests.begun += 1;
            requests.open += 1;
        });
        Self(requests)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.open -= 1);
    }
}

/// Returns once the connection was without a request for too long: `first` before its first one,
/// since hyper has no limit while it waits to see which version of HTTP is spoken, `later` after that.
async fn idle(mut requests: watch::Receiver<Requests>, first: Duration, later: Duration) {
    loop {
        let Ok(begun) = requests.wait_for(|requests| requests.open == 0).await.map(|now| now.begun) else {
            return;
        };
        let patience = if begun == 0 { first } else { later };
        let another = timeout(patience, requests.wait_for(|requests| requests.begun != begun)).await;
        if !matches!(another, Ok(Ok(_))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);
    const LATER: Duration = Duration::from_secs(75);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_first_request_is_idle_after_the_time_for_a_head() {
        let requests = watch::Sender::new(Requests::default());
        let begun = tokio::time::Instant::now();
        idle(requests.subscribe(), FIRST, LATER).await;
        assert_eq!(begun.elapsed(), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_request_is_never_idle_and_each_one_begins_the_wait_anew() {
        let requests = Arc::new(watch::Sender::new(Requests::default()));
        let begun = tokio::time::Instant::now();
        let idle = tokio::spawn(idle(requests.subscribe(), FIRST, LATER));
        let open = Open::begin(Arc::clone(&requests));
        sleep(20 * LATER).await;
        drop(open);
        sleep(LATER / 2).await;
        drop(Open::begin(Arc::clone(&requests)));
        idle.await.expect("no panic");
        assert_eq!(begun.elapsed(), 20 * LATER + LATER / 2 + LATER);
    }
}
