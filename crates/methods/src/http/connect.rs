//! A connection as the client wants it: a place among those of its host, dialled, secured, each step with its limit.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::{
    dial::{DialError, Dialed, Dialer, aim_of},
    room::Rooms,
    target::authority,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections for the client's pool.
///
/// The limit over all is not the attempt's deadline, which the client keeps itself: a connection may be
/// left to finish in the background when another became free first, and must end there as well.
/// It is the longer of the two, so that a request waited for ends by its own.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Steps>);

struct Steps {
    dialer: Dialer,
    rooms: Rooms,
    tls: TlsConnector,
    /// The most that a handshake takes.
    handshake: Duration,
    /// The most that all of it takes.
    limit: Duration,
}

impl Connector {
    /// `tls` without protocols; both versions of HTTP are offered.
    pub(crate) fn new(
        dialer: Dialer,
        rooms: Rooms,
        mut tls: ClientConfig,
        handshake: Duration,
        limit: Duration,
    ) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(Steps { dialer, rooms, tls: TlsConnector::from(Arc::new(tls)), handshake, limit }))
    }
}

impl Steps {
    async fn take(&self, uri: &Uri) -> Result<MaybeHttpsStream<Dialed>, BoxError> {
        let (host, port) = aim_of(uri)?;
        let place = self.rooms.enter(&authority(host, port)).await;
        let dialed = Dialed::new(self.dialer.connect(host, port).await?, place);
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Ok(MaybeHttpsStream::Http(dialed));
        }
        let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned())?;
        let shaking = self.tls.connect(name, TokioIo::new(dialed));
        match timeout(self.handshake, shaking).await {
            Ok(secured) => Ok(MaybeHttpsStream::Https(TokioIo::new(secured?))),
            Err(_) => Err(DialError::HandshakeTimeout { waited: self.handshake }.into()),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Dialed>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let steps = Arc::clone(&self.0);
        Box::pin(async move {
            timeout(steps.limit, steps.take(&uri))
                .await
                .unwrap_or_else(|_| Err(DialError::HandshakeTimeout { waited: steps.limit }.into()))
        })
    }
}
