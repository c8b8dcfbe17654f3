//! A wire that can be cut: what crosses a port of its own goes on to another one until a test cuts it.
//!
//! To the server behind it, a cut looks like a client that was killed: what it had sent arrives, and then its
//! connections end, unannounced.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt, BufReader, copy, copy_buf, sink},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// How long a server may take to end a connection that was cut.
const FAREWELL: Duration = Duration::from_secs(1);

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
    let on_its_way = {
        let (from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut from_client = BufReader::new(from_client);
        tokio::select! {
            _ = copy_buf(&mut from_client, &mut to_server) => {}
            _ = copy(&mut from_server, &mut to_client) => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
        from_client.buffer().to_vec()
    };
    // A server that is stopped takes nothing any more.
    let _ = timeout(FAREWELL, hand_over(on_its_way, client, &mut server)).await;
}

/// Gives the server what the client had sent, and lets it end the connection: closed with answers unread, it would
/// be reset, and what it had not read yet would be lost.
async fn hand_over(mut words: Vec<u8>, client: TcpStream, server: &mut TcpStream) -> io::Result<()> {
    // tokio's own socket reads nothing that its reactor has not seen yet.
    let mut client = client.into_std()?;
    // Ends with the client's end, or when there is nothing more now; what was read until then stays.
    let _ = client.read_to_end(&mut words);
    drop(client);
    server.write_all(&words).await?;
    server.shutdown().await?;
    copy(server, &mut sink()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_sent_before_a_cut_arrives_also_where_answers_were_not_read() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let target = listener.local_addr().expect("an address");
        for round in 0_u32..200 {
            let relay = Relay::start(target).await;
            #[expect(clippy::disallowed_methods, reason = "the relay under test, on loopback")]
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).await.expect("a relay");
            let (mut server, _) = listener.accept().await.expect("a connection");
            server.write_all(&[0; 1 << 14]).await.expect("answers");
            client.write_all(&round.to_be_bytes()).await.expect("sent");
            let arrived = tokio::spawn(async move {
                let mut arrived = Vec::new();
                server.read_to_end(&mut arrived).await.expect("an end, and no reset");
                arrived
            });
            relay.cut().await;
            assert_eq!(arrived.await.expect("served"), round.to_be_bytes());
        }
    }
}
