//! The pools of connections: one for the operator's TLS, and one for each other TLS that notifications want, so that
//! no request travels on a connection that was made with another's certificates.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use ring::digest::{Context, SHA256};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::{OwnTls, connect::Connector, dial::Dialer, fault::HeadLimits, room::Rooms, tls};
use crate::{ClientIdentity, Outbound, SetupError};

/// How often an HTTP/2 receiver is asked whether it still lives while it owes an answer, and how
/// long it has to say so. Without, a dead connection would take every request until TCP gives it up.
const HTTP2_PING: Duration = Duration::from_secs(5);

/// HTTP/2 flow control windows: how much of answers lies in memory unread.
const HTTP2_STREAM_WINDOW: u32 = 128 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Most headers of an answer.
pub(super) const MAX_HEADERS: usize = 100;

/// Most pools for TLS of notifications' own; beyond, the one that was used least recently goes.
const MOST_OWN: usize = 256;

/// Such a pool keeps no unused connection: each would hold one of the places of a host that all share, and no other
/// notification could use it.
const OWN_IDLE: usize = 0;

/// Connections that were made alike. Clones share them.
#[expect(clippy::disallowed_types, reason = "the one client, with the guarded connector")]
pub(super) type Pool = legacy::Client<Connector, Full<Bytes>>;

pub(super) struct Pools {
    usual: Pool,
    plan: Plan,
    own: Mutex<HashMap<[u8; 32], (Pool, Instant)>>,
}

/// What every pool is made of.
struct Plan {
    dialer: Dialer,
    rooms: Rooms,
    trust: Arc<RootCertStore>,
    identity: Option<ClientIdentity>,
    may_skip: bool,
    head: HeadLimits,
    tls_timeout: Duration,
    limit: Duration,
    idle: Duration,
}

impl Pools {
    pub(super) fn new(settings: Outbound, head: HeadLimits) -> Result<Self, SetupError> {
        let trust = Arc::new(tls::roots(settings.extra_ca_pem.as_deref())?);
        let configuration = tls::usual(&trust, settings.client_identity.as_ref())?;
        let plan = Plan {
            dialer: Dialer::to_receivers(&settings),
            rooms: Rooms::new(settings.connections_per_host),
            trust,
            identity: settings.client_identity,
            may_skip: settings.allow_skip_verification,
            head,
            tls_timeout: settings.tls_timeout,
            limit: settings.deadline + settings.connect_timeout,
            idle: settings.pool_idle_timeout,
        };
        Ok(Self { usual: plan.pool(configuration, settings.pool_idle_per_host), plan, own: Mutex::default() })
    }

    /// The pool for whoever wants nothing of its own.
    pub(super) fn usual(&self) -> Pool {
        self.usual.clone()
    }

    /// The pool for what a notification wants.
    ///
    /// # Errors
    ///
    /// Why it can't have that, for its owner.
    pub(super) fn of(&self, own: Option<&OwnTls<'_>>) -> Result<Pool, String> {
        let Some(own) = own else { return Ok(self.usual()) };
        if own.skip_verification && !self.plan.may_skip {
            return Err(
                "the operator does not permit skip_tls_verification (outbound.allow_skip_verification)"
                    .to_owned(),
            );
        }
        let key = fingerprint(own);
        let now = Instant::now();
        let mut known = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((pool, used)) = known.get_mut(&key) {
            *used = now;
            return Ok(pool.clone());
        }
        let configuration = tls::own(&self.plan.trust, self.plan.identity.as_ref(), own)?;
        let pool = self.plan.pool(configuration, OWN_IDLE);
        if known.len() >= MOST_OWN
            && let Some(oldest) = known.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
        {
            known.remove(&oldest);
        }
        known.insert(key, (pool.clone(), now));
        Ok(pool)
    }
}

impl Plan {
    #[expect(clippy::disallowed_types, reason = "the one client, with the guarded connector")]
    fn pool(&self, tls: ClientConfig, idle_per_host: usize) -> Pool {
        let connector =
            Connector::new(self.dialer.clone(), self.rooms.clone(), tls, self.tls_timeout, self.limit);
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle)
            .pool_max_idle_per_host(idle_per_host)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(self.head.bytes)
            .http2_max_header_list_size(u32::try_from(self.head.bytes).unwrap_or(u32::MAX))
            .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .http2_keep_alive_interval(HTTP2_PING)
            .http2_keep_alive_timeout(HTTP2_PING)
            .build(connector)
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pools(..)")
    }
}

/// Which pool it is: each part with its length before it, so that no two are taken for each other.
fn fingerprint(own: &OwnTls<'_>) -> [u8; 32] {
    let (certificate, key) = own.identity.unwrap_or_default();
    let mut context = Context::new(&SHA256);
    for part in [own.extra_ca.unwrap_or_default(), certificate, key] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.update(&[u8::from(own.skip_verification)]);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}
