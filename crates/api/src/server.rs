//! The accept loop: every connection has a time limit for each of its phases, a size limit for its
//! heads, and a place among a bounded number.
//!
//! `axum::serve` sets no timer, so hyper's limit on slow heads would never fire; and where it does, it cuts connections that
//! wait for their next request as well. Hence our own.

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
use http::{Request, Response, Version};
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
use tokio_util::{io::InspectReader, sync::CancellationToken};
use tower::ServiceExt;
use tracing::{debug, error, warn};

/// After an accept failed for want of something (file descriptors, memory), how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What one listener grants its clients.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Open connections; further ones wait in the kernel's backlog.
    pub connections: NonZeroUsize,
    /// For a request's head to arrive: the first one from the connection's start, a later one from its first byte. Also
    /// how long a connection that is being closed may still take.
    pub head: Duration,
    /// Bytes of a request's head; hyper asks for at least 8192.
    pub head_bytes: usize,
    /// Headers in a request.
    pub headers: usize,
    /// Without a further request before a connection is closed, and for a client to read an answer. Longer than load
    /// balancers keep theirs (60 s is usual), so that none sends a request to a connection that is just being closed.
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
    let heard = Arc::clone(&requests);
    let stream = InspectReader::new(stream, move |bytes| {
        if !bytes.is_empty() {
            heard.send_if_modified(Requests::hear);
        }
    });
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
        ended = idle(watched, limits.head, limits.idle) => if ended == Idle::Never {
            return debug!("cut the connection from {peer}, which asked for nothing");
        },
    }
    // An answer may still be read.
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
        .header_read_timeout(None)
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
    let _open = Open::begin(requests, request.version());
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer.ip()));
    router.oneshot(request).await
}

/// A connection's requests.
#[derive(Debug, Default)]
struct Requests {
    begun: u64,
    open: usize,
    // Of HTTP/2 there is more to be heard than heads, and it has a limit on silence of its own.
    one_at_a_time: bool,
    head_begun: bool,
}

impl Requests {
    /// Bytes have arrived. Whether they are news: the begin of a further head.
    fn hear(&mut self) -> bool {
        let is_head = self.open == 0 && self.begun > 0 && self.one_at_a_time && !self.head_begun;
        self.head_begun |= is_head;
        is_head
    }
}

/// Counts a request as open until it is answered or dropped.
struct Open(Arc<watch::Sender<Requests>>);

impl Open {
    fn begin(requests: Arc<watch::Sender<Requests>>, version: Version) -> Self {
        requests.send_modify(|requests| {
            requests.begun += 1;
            requests.open += 1;
            requests.one_at_a_time = version < Version::HTTP_2;
            requests.head_begun = false;
        });
        Self(requests)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.open -= 1);
    }
}

/// How a connection came to be without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Idle {
    /// It never had one.
    Never,
    /// It has had some, whose last answer may still be on its way.
    Now,
}

/// Returns once the connection was without a request for too long: `head` before its first one and from the first byte
/// of a later one's head, `later` in between.
async fn idle(mut requests: watch::Receiver<Requests>, head: Duration, later: Duration) -> Idle {
    loop {
        let Ok(now) =
            requests.wait_for(|requests| requests.open == 0).await.map(|now| (now.begun, now.head_begun))
        else {
            return Idle::Now;
        };
        let (begun, head_begun) = now;
        let patience = if begun == 0 || head_begun { head } else { later };
        let news = requests.wait_for(|requests| (requests.begun, requests.head_begun) != now);
        if !matches!(timeout(patience, news).await, Ok(Ok(_))) {
            return if begun == 0 { Idle::Never } else { Idle::Now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const LATER: Duration = Duration::from_secs(75);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_first_request_is_idle_after_the_time_for_a_head() {
        let requests = watch::Sender::new(Requests::default());
        let begun = tokio::time::Instant::now();
        assert_eq!(idle(requests.subscribe(), HEAD, LATER).await, Idle::Never);
        assert_eq!(begun.elapsed(), HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_request_is_never_idle_and_each_one_begins_the_wait_anew() {
        let requests = Arc::new(watch::Sender::new(Requests::default()));
        let begun = tokio::time::Instant::now();
        let idle = tokio::spawn(idle(requests.subscribe(), HEAD, LATER));
        let open = Open::begin(Arc::clone(&requests), Version::HTTP_11);
        sleep(20 * LATER).await;
        drop(open);
        sleep(LATER / 2).await;
        drop(Open::begin(Arc::clone(&requests), Version::HTTP_11));
        assert_eq!(idle.await.expect("no panic"), Idle::Now);
        assert_eq!(begun.elapsed(), 20 * LATER + LATER / 2 + LATER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_its_time_from_its_first_byte_on_whenever_that_comes() {
        let hears = |requests: &watch::Sender<Requests>| requests.send_if_modified(Requests::hear);
        let requests = Arc::new(watch::Sender::new(Requests::default()));
        let begun = tokio::time::Instant::now();
        let idle = tokio::spawn(idle(requests.subscribe(), HEAD, LATER));
        assert!(!hears(&requests), "the first head has its time from the start");
        let open = Open::begin(Arc::clone(&requests), Version::HTTP_11);
        assert!(!hears(&requests), "a body");
        drop(open);
        sleep(LATER / 2).await;
        assert!(hears(&requests));
        sleep(HEAD / 2).await;
        drop(Open::begin(Arc::clone(&requests), Version::HTTP_11));
        sleep(LATER / 2).await;
        assert!(hears(&requests));
        sleep(HEAD / 2).await;
        assert!(!hears(&requests), "however lively it drips");
        idle.await.expect("no panic");
        assert_eq!(begun.elapsed(), LATER + HEAD / 2 + HEAD);
    }

    #[test]
    fn what_http_2_says_between_requests_is_no_head() {
        let requests = Arc::new(watch::Sender::new(Requests::default()));
        drop(Open::begin(Arc::clone(&requests), Version::HTTP_2));
        assert!(!requests.send_if_modified(Requests::hear));
    }
}
