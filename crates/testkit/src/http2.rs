//! A server that breaks HTTP/2, frame by frame ([RFC 9113]), as no library lets itself be told to.
//!
//! [RFC 9113]: https://www.rfc-editor.org/rfc/rfc9113

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::certs::Identity;

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// `:status: 200`, by its place in HPACK's table.
const OK: &[u8] = &[0x88];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn goaway(last: u32, error: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), error.to_be_bytes()].concat())
}

fn rst(error: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, 1, &error.to_be_bytes())
}

/// A header that HPACK does not have, with `bytes` of value.
fn header(bytes: usize) -> Vec<u8> {
    let mut block = vec![0x00, 0x01, b'x', 0x7f];
    let mut rest = bytes - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("seven bits") | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
    block.resize(block.len() + bytes, b'x');
    block
}

/// What a server says once a request is there: `first`, and then `over_and_over` for as long as it is taken.
#[derive(Clone, Default)]
pub struct Fault {
    /// Settings instead of none, of the server's greeting.
    settings: Vec<u8>,
    first: Vec<u8>,
    over_and_over: Vec<u8>,
    closes: bool,
}

/// A fault with its name, and the codes of the causes that an attempt may have then.
pub type Row = (&'static str, Fault, &'static [&'static str]);

/// Every way to break HTTP/2 that is known here.
pub fn faults() -> [Row; 18] {
    let answer = frame(HEADERS, END_HEADERS, 1, OK);
    let first = |first: Vec<u8>| Fault { first, ..Fault::default() };
    let flood = |over_and_over: Vec<u8>| Fault { over_and_over, ..Fault::default() };
    let with = |first: Vec<u8>, over_and_over: Vec<u8>| Fault { first, over_and_over, ..Fault::default() };
    let large = header(16_000);
    [
        ("silence", first(Vec::new()), &["timeout"]),
        ("goes away without having seen it", Fault { closes: true, ..first(goaway(0, 0)) }, &["reset"]),
        ("goes away with it", Fault { closes: true, ..first(goaway(1, 0)) }, &["reset"]),
        ("goes away with it and stays", first(goaway(1, 0)), &["timeout"]),
        ("goes away for calming down", first(goaway(0, 11)), &["reset", "timeout"]),
        ("resets the stream", first(rst(2)), &["reset"]),
        ("refuses the stream", first(rst(7)), &["reset"]),
        ("cancels the stream", first(rst(8)), &["reset"]),
        ("resets the stream in the body", first([answer.clone(), rst(2)].concat()), &["reset"]),
        (
            "takes no byte of the body",
            Fault { settings: vec![0, 4, 0, 0, 0, 0], ..Fault::default() },
            &["timeout"],
        ),
        ("a flood of pings", flood(frame(PING, 0, 0, &[0; 8])), &["timeout", "reset", "protocol"]),
        ("a flood of settings", flood(frame(SETTINGS, 0, 0, &[])), &["timeout", "reset", "protocol"]),
        (
            "a flood of continuations",
            with(frame(HEADERS, 0, 1, OK), frame(CONTINUATION, 0, 1, &large)),
            &["protocol", "reset"],
        ),
        (
            "8 MB of headers",
            with(frame(HEADERS, 0, 1, &[OK, &large].concat()), frame(CONTINUATION, 0, 1, &large)),
            &["protocol", "reset"],
        ),
        (
            "a flood of empty data",
            with(answer.clone(), frame(DATA, 0, 1, &[])),
            &["timeout", "reset", "protocol"],
        ),
        ("a push", first(frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], OK].concat())), &["protocol"]),
        (
            "a frame too large",
            first([&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 64]].concat()),
            &["protocol"],
        ),
        ("no HTTP/2 at all", first(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(9)), &["protocol"]),
    ]
}

/// A running server, which offers nothing but HTTP/2. Dropping it closes its port.
pub struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Where it listens, on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts a server that shows `identity` and answers every request by `fault`.
///
/// # Errors
///
/// When the certificate is not usable or loopback has no port left.
pub async fn serve(identity: &Identity, fault: Fault) -> anyhow::Result<Server> {
    let chain =
        CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, counted) = (listener.local_addr()?, Arc::<AtomicUsize>::default());
    let requests = Arc::clone(&counted);
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, fault, requests) = (acceptor.clone(), fault.clone(), Arc::clone(&requests));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // How it ends is seen at the other end.
                    drop(converse(stream, fault, &requests).await);
                }
            });
        }
    });
    Ok(Server { address, requests: counted, accepting })
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    fault: Fault,
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?; // The preface.
    stream.write_all(&frame(SETTINGS, 0, 0, &fault.settings)).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        match (head[3], head[4]) {
            (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            (HEADERS, _) => break,
            _ => {}
        }
    }
    requests.fetch_add(1, Relaxed);
    stream.write_all(&fault.first).await?;
    stream.flush().await?;
    while !fault.over_and_over.is_empty() {
        stream.write_all(&fault.over_and_over).await?;
    }
    if !fault.closes {
        // Until the other side has enough.
        while stream.read(&mut [0; 4096]).await? > 0 {}
    }
    Ok(())
}
