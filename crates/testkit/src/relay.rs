//! A wire that can be cut: what crosses a port of its own goes on to another one until a test cuts it.
//!
//! To the server behind it, a cut looks like a client that was killed: what it had sent arrives, and then its
//! connections end, unannounced.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A port on loopback whose connections are carried on to another. Dropping it cuts them.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    cut: watch::Sender<bool>,
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
        let cut = watch::Sender::new(false);
        let carrier = tokio::spawn(accept(listener, target, cut.clone()));
        Self { port, cut, carrier }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection and takes no more; returns when that is done.
    pub async fn cut(self) {
        self.carrier.abort();
        while !self.carrier.is_finished() {
            tokio::task::yield_now().await;
        }
        self.cut.send_replace(true);
        // Each connection that is carried listens for the cut until it has ended.
        self.cut.closed().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.carrier.abort();
        self.cut.send_replace(true);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, cut: watch::Sender<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, target, cut.subscribe()));
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, mut cut: watch::Receiver<bool>) {
    #[expect(clippy::disallowed_methods, reason = "the server under test, on loopback")]
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            _ = copy(&mut from_client, &mut to_server) => {}
            _ = copy(&mut from_server, &mut to_client) => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
    }
    let mut last_words = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.try_read(&mut last_words) {
        if server.write_all(&last_words[..length]).await.is_err() {
            break;
        }
    }
}
