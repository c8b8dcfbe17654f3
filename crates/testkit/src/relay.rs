//! A wire that can be cut: what crosses a port of its own goes on to another one until a test cuts it.
//!
//! To the server behind it, a cut looks like a client that was killed: the connections end, unannounced, at once.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A port on loopback whose connections are carried on to another. Dropping it cuts them.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    carrier: JoinHandle<()>,
}

impl Relay {
    /// Carries every connection to its own port on to `target`.
    ///
    /// # Panics
    ///
    /// When loopback has no port left.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        Self { port, carrier: tokio::spawn(carry(listener, target)) }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection and takes no more; returns when both sides can know.
    pub async fn cut(self) {
        self.carrier.abort();
        while !self.carrier.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

async fn carry(listener: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut from, _)) = listener.accept().await {
        connections.spawn(async move {
            #[expect(clippy::disallowed_methods, reason = "the server under test, on loopback")]
            let Ok(mut to) = TcpStream::connect(target).await else { return };
            let _ended_by_either_side = copy_bidirectional(&mut from, &mut to).await;
        });
    }
}
