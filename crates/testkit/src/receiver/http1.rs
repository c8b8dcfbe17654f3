//! HTTP/1.1, byte by byte.

use std::{
    io::{self, ErrorKind},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_rustls::server::TlsStream;

use super::{Answer, Recorded, Reply, Shared, linger};

/// Largest request head that is read.
const MAX_HEAD: usize = 64 * 1024;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// 10 GB, more than any test should take.
const ENDLESS: u64 = 10_000_000_000;

/// A connection that can also be reset.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Reads and answers requests until either side has enough.
pub(super) async fn serve(mut wire: impl Wire, shared: &Shared, number: usize) {
    let mut buffer = BytesMut::with_capacity(8 * 1024);
    loop {
        let Ok(request) = read_head(&mut wire, &mut buffer, number).await else { return };
        let Some(mut request) = request else {
            // Nothing that we understand, TLS for example: said in plain HTTP.
            let _ = wire.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
            return close(wire).await;
        };
        if !shared.answers_early(&request.path)
            && read_body(&mut wire, &mut buffer, &mut request).await.is_err()
        {
            return;
        }
        let present = shared.enter(&request.path);
        let (answer, place) = shared.arrived(request).await;
        let performed = perform(&mut wire, answer, place, shared).await;
        drop(present);
        match performed {
            Ok(After::More) => {}
            Ok(After::Close) => return close(wire).await,
            Ok(After::Reset) => {
                let _ = wire.socket().set_zero_linger();
                return;
            }
            Err(_) => return, // The other side has gone.
        }
    }
}

async fn close(mut wire: impl Wire) {
    let _ = wire.shutdown().await;
    linger(wire).await;
}

enum After {
    More,
    Close,
    Reset,
}

async fn perform(wire: &mut impl Wire, answer: Answer, place: usize, shared: &Shared) -> io::Result<After> {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\nhalf of what was said";
    match answer {
        Answer::Whole(said) => reply(wire, &said).await,
        Answer::FailSome { status, one_in, seed } => {
            reply(wire, &Reply::new(Answer::lot(status, one_in, seed, place))).await
        }
        Answer::OnRelease(said) => {
            shared.released().await;
            reply(wire, &said).await
        }
        Answer::ThenClose(said) | Answer::Early(said) => reply(wire, &said).await.map(|_| After::Close),
        Answer::Never => hold(wire).await,
        Answer::RawThenNever(bytes) => {
            write(wire, &bytes).await?;
            hold(wire).await
        }
        Answer::DripHead { every } => drip(wire, b"HTTP/1.1 200 OK\r\nx-drip: ", every).await,
        Answer::DripBody { every } => {
            write(wire, b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
            drip(wire, b"", every).await
        }
        Answer::Endless { announced } => pour_body(wire, announced, shared).await,
        Answer::EndlessHead => {
            write(wire, b"HTTP/1.1 200 OK\r\n").await?;
            pour(wire, &b"x-more: of the same\r\n".repeat(1024), shared).await
        }
        Answer::ManyHeaders(count) => {
            let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
            for number in 0..count {
                head.extend_from_slice(format!("x-header-{number}: 1\r\n").as_bytes());
            }
            head.extend_from_slice(b"\r\n");
            write(wire, &head).await.map(|()| After::Close)
        }
        Answer::LongHeader(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(bytes));
            write(wire, head.as_bytes()).await.map(|()| After::Close)
        }
        Answer::CloseUnanswered => Ok(After::Close),
        Answer::ResetUnanswered | Answer::ResetEarly => Ok(After::Reset),
        Answer::HalfHead => write(wire, b"HTTP/1.1 200 OK\r\ncontent-le").await.map(|()| After::Close),
        Answer::CloseMidBody => write(wire, HALF).await.map(|()| After::Close),
        Answer::ResetMidBody => write(wire, HALF).await.map(|()| After::Reset),
        Answer::CloseMidChunks => {
            let chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
            write(wire, chunk).await.map(|()| After::Close)
        }
        Answer::Raw(bytes) => write(wire, &bytes).await.map(|()| After::Close),
    }
}

async fn reply(wire: &mut impl Wire, said: &Reply) -> io::Result<After> {
    let reason = StatusCode::from_u16(said.status).ok().and_then(|status| status.canonical_reason());
    let mut bytes = format!("HTTP/1.1 {} {}\r\n", said.status, reason.unwrap_or("Odd")).into_bytes();
    for (name, value) in &said.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    // These two have no body by definition, and no length either.
    if !matches!(said.status, 204 | 304) {
        bytes.extend_from_slice(format!("content-length: {}\r\n", said.body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&said.body);
    write(wire, &bytes).await.map(|()| After::More)
}

/// Keeps the connection until the other side has enough; what it says meanwhile is of no interest.
async fn hold(wire: &mut impl Wire) -> io::Result<After> {
    let mut bytes = [0; 1024];
    while wire.read(&mut bytes).await? > 0 {}
    Ok(After::Close)
}

async fn write(wire: &mut impl Wire, bytes: &[u8]) -> io::Result<()> {
    wire.write_all(bytes).await?;
    wire.flush().await
}

/// Writes `first` and then one letter more, for as long as the other side takes it.
async fn drip(wire: &mut impl Wire, first: &[u8], every: Duration) -> io::Result<After> {
    for byte in first.iter().chain(std::iter::repeat(&b'x')) {
        write(wire, &[*byte]).await?;
        sleep(every).await;
    }
    Ok(After::Close)
}

async fn pour_body(wire: &mut impl Wire, announced: bool, shared: &Shared) -> io::Result<After> {
    if announced {
        write(wire, format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n").as_bytes()).await?;
        return pour(wire, &vec![b'x'; 64 * 1024], shared).await;
    }
    write(wire, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x10000, b'x');
    chunk.extend_from_slice(b"\r\n");
    pour(wire, &chunk, shared).await
}

async fn pour(wire: &mut impl Wire, piece: &[u8], shared: &Shared) -> io::Result<After> {
    let mut left = ENDLESS;
    while left > 0 {
        wire.write_all(piece).await?;
        shared.poured.fetch_add(piece.len() as u64, Relaxed);
        left = left.saturating_sub(piece.len() as u64);
    }
    Ok(After::Close)
}

/// The next request without its body; `None` for what is not HTTP, an error when there is no more.
async fn read_head(
    wire: &mut impl Wire,
    buffer: &mut BytesMut,
    connection: usize,
) -> io::Result<Option<Recorded>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if buffer.len() > MAX_HEAD || buffer.first() == Some(&TLS_HANDSHAKE) {
            return Ok(None);
        }
        more(wire, buffer).await?;
    };
    let head = buffer.split_to(end + 4);
    let Some((method, path, headers)) = parse(&head) else { return Ok(None) };
    let (at, time, body) = (Instant::now(), SystemTime::now(), Bytes::new());
    Ok(Some(Recorded { method, path, headers, body, at, time, connection, status: None }))
}

/// The rest of a request.
async fn read_body(wire: &mut impl Wire, buffer: &mut BytesMut, request: &mut Recorded) -> io::Result<()> {
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        more(wire, buffer).await?;
    }
    request.body = buffer.split_to(length).freeze();
    (request.at, request.time) = (Instant::now(), SystemTime::now());
    Ok(())
}

async fn more(wire: &mut impl Wire, buffer: &mut BytesMut) -> io::Result<()> {
    if wire.read_buf(buffer).await? == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn parse(head: &[u8]) -> Option<(http::Method, String, HeaderMap)> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n").take_while(|line| !line.is_empty());
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.parse().ok()?, first.next()?.to_owned());
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
    });
    let mut all = HeaderMap::new();
    for header in headers {
        let (name, value) = header?;
        all.append(name, value);
    }
    Some((method, path, all))
}
