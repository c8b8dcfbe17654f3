//! The stream below the conversation: bounded in what it reads, plain or TLS; and `STARTTLS`, which is
//! asked for here because nothing that came in the clear may be taken for what comes after.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bellbuoy_domain::CauseCode;
use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::fault::{Failure, shortened};

/// Most bytes of one reply. Servers send less than a kibibyte, and lettre reads a reply anew for each of its lines.
const MAX_REPLY: usize = 8 * 1024;

pub(super) type Tls = TlsStream<TcpStream>;

/// A stream to the mail server.
pub(super) struct Wire {
    stream: Stream,
    /// What is read before the stream: after `STARTTLS` no greeting comes any more, and one is waited for.
    greeting: &'static [u8],
    /// What may still be read before something is written again.
    left: usize,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl Wire {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self { stream: Stream::Plain(tcp), greeting: b"", left: MAX_REPLY }
    }

    pub(super) fn tls(tls: Tls) -> Self {
        Self { stream: Stream::Tls(Box::new(tls)), greeting: b"", left: MAX_REPLY }
    }

    pub(super) fn after_starttls(tls: Tls) -> Self {
        Self { greeting: b"220 ready\r\n", ..Self::tls(tls) }
    }
}

/// Asks for TLS in the clear ([RFC 3207]), and ends with a stream on which the handshake can begin.
///
/// [RFC 3207]: https://www.rfc-editor.org/rfc/rfc3207
pub(super) async fn ask_for_tls(tcp: TcpStream, hello: &str) -> Result<TcpStream, Failure> {
    let mut stream = BufReader::new(tcp);
    expect(&mut stream, "220").await?;
    stream.write_all(format!("EHLO {hello}\r\n").as_bytes()).await?;
    let offers = expect(&mut stream, "250").await?;
    if !offers.iter().any(|offer| offer.trim().eq_ignore_ascii_case("STARTTLS")) {
        return Err(Failure::greeting(
            CauseCode::Tls,
            "the mail server offers no STARTTLS, and no mail is sent in the clear; for a server in a safe network set smtp.security to none",
        ));
    }
    stream.write_all(b"STARTTLS\r\n").await?;
    expect(&mut stream, "220").await?;
    if stream.buffer().is_empty() {
        Ok(stream.into_inner())
    } else {
        Err(Failure::greeting(
            CauseCode::Tls,
            "something was said in the clear after TLS had been agreed upon",
        ))
    }
}

/// Reads one reply and wants `code` of it; its lines without the code.
async fn expect(stream: &mut BufReader<TcpStream>, code: &str) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let mut limited = stream.take(MAX_REPLY as u64);
    loop {
        let mut line = Vec::new();
        limited.read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            let kind =
                if limited.limit() == 0 { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
            return Err(io::Error::new(kind, "a reply without an end").into());
        }
        let text = String::from_utf8_lossy(&line);
        let (Some(said), Some(mark)) = (text.get(..3), text.get(3..4)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, shortened(&text)).into());
        };
        lines.push(text.get(4..).unwrap_or_default().trim_end().to_owned());
        match (said == code, mark) {
            (true, "-") => {}
            (true, " " | "\r" | "\n") => return Ok(lines),
            (false, "-" | " " | "\r" | "\n") if said.bytes().all(|byte| byte.is_ascii_digit()) => {
                let detail = format!("the mail server refuses us: {}", shortened(text.trim_end()));
                return Err(Failure::greeting(CauseCode::SmtpDeferred, detail));
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, shortened(&text)).into()),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.stream {
            Stream::Plain(tcp) => tcp.peer_addr(),
            Stream::Tls(tls) => tls.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a reply without an end")));
        }
        let before = buffer.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        };
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.left = MAX_REPLY;
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire(..)")
    }
}
