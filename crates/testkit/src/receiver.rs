//! A programmable HTTP receiver on loopback: it records what it is sent and answers as told, be it
//! nonsense.
//!
//! HTTP/1 is spoken here byte by byte, because no HTTP library lets itself be told to drip, lie
//! about a length or hang up half way; HTTP/2 (over TLS, where both sides want it) is hyper's.

mod answer;
mod http1;
mod http2;

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method};
use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

pub use self::answer::{Answer, Reply};
use crate::certs::Identity;

/// How long [`Receiver::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver. Dropping it closes the port and every connection.
pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// How a receiver listens. The default is plain HTTP on a free port.
#[derive(Clone, Default)]
pub struct Setup {
    /// Where; a free port on 127.0.0.1 unless given.
    pub address: Option<SocketAddr>,
    /// TLS, unless it is to be plain.
    pub tls: Option<Tls>,
    /// Whether it accepts connections and then neither reads nor says anything.
    pub silent: bool,
    /// Whether it accepts connections and resets them at once.
    pub resets: bool,
}

/// How a receiver speaks TLS.
#[derive(Clone)]
pub struct Tls {
    /// What it shows.
    pub identity: Identity,
    /// Whose client certificates it demands (PEM); `None` demands none.
    pub client_authority: Option<String>,
    /// Whether it offers HTTP/2 beside HTTP/1.1.
    pub http2: bool,
}

impl Tls {
    /// HTTP/1.1 over TLS, for anybody.
    pub fn new(identity: Identity) -> Self {
        Self { identity, client_authority: None, http2: false }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// When it was there to the last byte, for spans of time.
    pub at: Instant,
    /// The same, for dates.
    pub time: SystemTime,
    /// By which connection, numbered from 0.
    pub connection: usize,
    /// The status that it is answered with; `None` where the answer is no proper one.
    pub status: Option<u16>,
}

impl Recorded {
    /// A header's value, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Receiver {
    /// Plain HTTP on a free port of 127.0.0.1.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Setup::default()).await
    }

    /// HTTPS on a free port of 127.0.0.1.
    pub async fn start_tls(tls: Tls) -> anyhow::Result<Self> {
        Self::start_with(Setup { tls: Some(tls), ..Setup::default() }).await
    }

    /// As `setup` says.
    ///
    /// # Errors
    ///
    /// When the address is taken or the certificates are not usable.
    pub async fn start_with(setup: Setup) -> anyhow::Result<Self> {
        let wanted = setup.address.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        let listener =
            TcpListener::bind(wanted).await.with_context(|| format!("can't listen on {wanted}"))?;
        let address = listener.local_addr()?;
        let scheme = if setup.tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::default());
        let talk = match setup.tls {
            _ if setup.silent => Talk::Silence,
            _ if setup.resets => Talk::Reset,
            Some(tls) => Talk::Tls(acceptor(&tls)?),
            None => Talk::Plain,
        };
        let accepting = tokio::spawn(accept(listener, talk, Arc::clone(&shared)));
        Ok(Self { address, scheme, shared, accepting })
    }

    /// Closes the port and every connection, and returns once that is done.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // Cancelled, as it was told.
        let _ = (&mut self.accepting).await;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path`, which begins with a slash, by the receiver's IP address.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The URL of `path` by another name of the receiver's host.
    pub fn url_at(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    /// Sets what requests to `path` (without query) are answered with: one after the other, and the
    /// last one ever after. A path without answers gets an empty 200.
    pub fn script(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.shared.lock().scripts.insert(path.to_owned(), answers.into_iter().collect());
    }

    /// From now on every answer, to whatever path, begins that much later than its request was there.
    pub fn answer_after(&self, wait: Duration) {
        self.shared.lock().wait = wait;
    }

    /// When that connection ended, whoever ended it; `None` while it is open. One whose other side is gone ends
    /// when the answer that was due is written in vain.
    pub fn ended(&self, connection: usize) -> Option<Instant> {
        self.shared.lock().ended.get(&connection).copied()
    }

    /// Everything that came since the start or the last [`Self::clear`], in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }

    /// Forgets what came.
    pub fn clear(&self) {
        self.shared.lock().requests.clear();
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// How many of them are open.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// How many bytes of endless answers were taken off its hands.
    pub fn poured(&self) -> u64 {
        self.shared.poured.load(Relaxed)
    }

    /// The most requests that were here at a time, from their last byte until they were answered or their connection
    /// was gone: to `path` (without query) or, without one, to all.
    pub fn most_at_once(&self, path: Option<&str>) -> usize {
        self.shared.lock().crowds.get(path.unwrap_or_default()).map_or(0, |crowd| crowd.most)
    }

    /// Lets every [`Answer::OnRelease`] go, those to come as well.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Waits until `count` requests that `wanted` takes have come, and returns them.
    ///
    /// # Errors
    ///
    /// When 30 s have passed first; says how many had come.
    pub async fn wait_for(
        &self,
        count: usize,
        wanted: impl Fn(&Recorded) -> bool,
    ) -> anyhow::Result<Vec<Recorded>> {
        self.wait_within(PATIENCE, count, wanted).await
    }

    /// Like [`Self::wait_for`], for `limit`.
    ///
    /// # Errors
    ///
    /// When `limit` has passed first; says how many had come.
    pub async fn wait_within(
        &self,
        limit: Duration,
        count: usize,
        wanted: impl Fn(&Recorded) -> bool,
    ) -> anyhow::Result<Vec<Recorded>> {
        let mut arrivals = self.shared.arrivals.subscribe();
        let (mut found, mut seen) = (Vec::new(), 0);
        let waiting = async {
            loop {
                {
                    let known = self.shared.lock();
                    let fresh = known.requests.get(seen..).unwrap_or_default();
                    found.extend(fresh.iter().filter(|request| wanted(request)).cloned());
                    seen = known.requests.len();
                }
                if found.len() >= count || arrivals.changed().await.is_err() {
                    return;
                }
            }
        };
        let in_time = timeout(limit, waiting).await.is_ok();
        anyhow::ensure!(in_time, "{} of {count} requests came within {limit:?}, {seen} in all", found.len());
        Ok(found)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What the connections share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrivals: watch::Sender<()>,
    released: watch::Sender<bool>,
    connections: AtomicUsize,
    open: AtomicUsize,
    poured: AtomicU64,
}

#[derive(Default)]
struct State {
    requests: Vec<Recorded>,
    scripts: HashMap<String, VecDeque<Answer>>,
    wait: Duration,
    ended: HashMap<usize, Instant>,
    /// By path; those of all under the empty one.
    crowds: HashMap<String, Crowd>,
}

/// How many requests are here, and the most that were.
#[derive(Default)]
struct Crowd {
    now: usize,
    most: usize,
}

/// A request that is here, until this is dropped.
struct Present<'a> {
    shared: &'a Shared,
    path: String,
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.shared.count(&self.path, |crowd| crowd.now -= 1);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request to `path` among those that are here.
    fn enter(&self, path: &str) -> Present<'_> {
        let path = path.split('?').next().unwrap_or_default().to_owned();
        self.count(&path, |crowd| {
            crowd.now += 1;
            crowd.most = crowd.most.max(crowd.now);
        });
        Present { shared: self, path }
    }

    fn count(&self, path: &str, change: impl Fn(&mut Crowd)) {
        let mut state = self.lock();
        for crowd in ["", path] {
            change(state.crowds.entry(crowd.to_owned()).or_default());
        }
    }

    /// Records a request and lets its time pass; says how it is answered, and how many came before it.
    async fn arrived(&self, request: Recorded) -> (Answer, usize) {
        let wait = self.lock().wait;
        let answered = self.record(request);
        if !wait.is_zero() {
            sleep(wait).await;
        }
        answered
    }

    /// Whether the next request to `path` is answered before its body is there.
    fn answers_early(&self, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        self.lock().scripts.get(path).and_then(|script| script.front()).is_some_and(Answer::is_early)
    }

    fn record(&self, mut request: Recorded) -> (Answer, usize) {
        let mut state = self.lock();
        let path = request.path.split('?').next().unwrap_or_default();
        let answer = match state.scripts.get_mut(path) {
            None => Answer::status(200),
            Some(script) if script.len() > 1 => script.pop_front().unwrap_or_else(|| Answer::status(200)),
            Some(script) => script.front().cloned().unwrap_or_else(|| Answer::status(200)),
        };
        let place = state.requests.len();
        request.status = answer.status_at(place);
        state.requests.push(request);
        drop(state);
        self.arrivals.send_replace(());
        (answer, place)
    }

    async fn released(&self) {
        let mut released = self.released.subscribe();
        // The sender lives in `self`, so this only ends by the release.
        let _ = released.wait_for(|released| *released).await;
    }
}

/// What a receiver says once a connection is there.
#[derive(Clone)]
enum Talk {
    Plain,
    Tls(TlsAcceptor),
    Silence,
    Reset,
}

async fn accept(listener: TcpListener, talk: Talk, shared: Arc<Shared>) {
    let mut open = JoinSet::new(); // Dropped with this task, and the connections with it.
    loop {
        tokio::select! {
            Some(_) = open.join_next() => {
                shared.open.store(open.len(), Relaxed);
            }
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let number = shared.connections.fetch_add(1, Relaxed);
                let serving = serve(stream, talk.clone(), Arc::clone(&shared), number);
                let known = Arc::clone(&shared);
                open.spawn(async move {
                    serving.await;
                    known.lock().ended.insert(number, Instant::now());
                });
                shared.open.store(open.len(), Relaxed);
            }
        }
    }
}

async fn serve(stream: TcpStream, talk: Talk, shared: Arc<Shared>, number: usize) {
    // Failing only makes it slower.
    let _ = stream.set_nodelay(true);
    match talk {
        Talk::Plain => http1::serve(stream, &shared, number).await,
        Talk::Silence => std::future::pending().await,
        Talk::Reset => drop(stream.set_zero_linger()),
        Talk::Tls(acceptor) => match acceptor.accept(stream).into_fallible().await {
            Err((_, stream)) => linger(stream).await,
            Ok(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
                http2::serve(tls, shared, number).await;
            }
            Ok(tls) => http1::serve(tls, &shared, number).await,
        },
    }
}

/// Reads what still comes before closing: closing over unread bytes resets the connection, and
/// the other side may then never see what was said last.
async fn linger(mut stream: impl AsyncRead + Unpin) {
    let mut bytes = [0; 4096];
    let rest = async { while matches!(stream.read(&mut bytes).await, Ok(read) if read > 0) {} };
    let _ = timeout(Duration::from_secs(1), rest).await;
}

fn acceptor(tls: &Tls) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_authority {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(tls.identity.cert_pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(tls.identity.key_pem.as_bytes()).map_err(io::Error::other)?;
    let mut config = builder.with_single_cert(chain.map_err(io::Error::other)?, key)?;
    if tls.http2 {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}
