//! A real mail server that keeps what it is sent: Debian's `python3-aiosmtpd`.
//!
//! What stands before the `@` of a recipient says what it answers: see `mail_server.py`. And servers at their worst,
//! which follow no protocol at all ([`hostile`]).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::certs::Identity;
use crate::process::{Launch, Process};
use crate::wait::eventually;

/// How long the server may take to come up, and a mail to arrive. Both take a fraction of a second; the rest is for
/// a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Debian's own interpreter, which knows Debian's packages; another one may come first on the path.
const PYTHON: &str = "/usr/bin/python3";

/// How a mail server listens. The default is without TLS, for everybody.
#[derive(Clone, Default)]
pub struct Setup {
    /// Its certificate, shown from the first byte.
    pub tls: Option<Identity>,
    /// Its certificate, shown after `STARTTLS`, without which it takes nothing.
    pub starttls: Option<Identity>,
    /// User and password of the only one whose mails it takes.
    pub login: Option<(String, String)>,
    /// How many mails it takes over one connection; 0 for any number.
    pub most: usize,
    /// Its port; a free one if 0.
    pub port: u16,
}

/// A running mail server. It lives no longer than this value.
#[derive(Debug)]
pub struct MailServer {
    folder: PathBuf,
    port: u16,
    process: Process,
}

/// A mail as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Over which connection, counted from 1.
    pub connection: u64,
    /// Whether that was safe.
    pub tls: bool,
    /// Who had logged in.
    pub user: Option<String>,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Head and body as they came, lines ended by CR LF.
    pub data: String,
}

impl MailServer {
    /// Starts a mail server that keeps its mails in `folder`, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When `python3-aiosmtpd` is not installed or the server does not come up.
    pub async fn start(folder: &Path, setup: &Setup) -> Self {
        let folder = folder.join("mail");
        fs::create_dir_all(&folder).expect("a folder for the mail server");
        let script = folder.join("mail_server.py");
        fs::write(&script, include_str!("mail_server.py")).expect("the mail server's script");
        let identity = setup.tls.as_ref().or(setup.starttls.as_ref());
        if let Some(Identity { cert_pem, key_pem }) = identity {
            fs::write(folder.join("cert.pem"), cert_pem).expect("its certificate");
            fs::write(folder.join("key.pem"), key_pem).expect("its key");
        }
        let mut launch = Launch::new("mail", PYTHON, &folder).args([&script, &folder]);
        launch = launch.args(setup.tls.iter().map(|_| "--tls"));
        launch = launch.args(setup.starttls.iter().map(|_| "--starttls"));
        if let Some((user, password)) = &setup.login {
            launch = launch.args(["--login", &format!("{user}:{password}")]);
        }
        let (most, port) = (setup.most.to_string(), setup.port.to_string());
        let process = launch.args(["--most", &most, "--port", &port]).start();
        let line = process.wait_for_line("listening on ", LIMIT).await;
        let port = line.rsplit(' ').next().and_then(|port| port.parse().ok()).expect("a port");
        Self { folder, port, process }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The program itself.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Every mail so far, in the order of arrival.
    ///
    /// # Panics
    ///
    /// When a file of its own can't be read.
    pub fn mails(&self) -> Vec<Received> {
        let files = fs::read_dir(self.folder.join("mails")).into_iter().flatten().flatten();
        let mut paths: Vec<_> = files.map(|file| file.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        paths.iter().map(|path| Received::read(path)).collect()
    }

    /// Waits until there are `count` mails.
    ///
    /// # Panics
    ///
    /// When there are not within 30 s.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(LIMIT, async || Some(self.mails()).filter(|mails| mails.len() >= count)).await
    }
}

impl Received {
    fn read(path: &Path) -> Self {
        let mail: Value = serde_json::from_slice(&fs::read(path).expect("a mail")).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            connection: mail["connection"].as_u64().unwrap_or_default(),
            tls: mail["tls"] == true,
            user: mail["user"].as_str().map(str::to_owned),
            from: text(&mail["from"]),
            to: mail["to"].as_array().into_iter().flatten().map(text).collect(),
            data: text(&mail["data"]),
        }
    }

    /// Each field of the head, unfolded, in order.
    pub fn head(&self) -> Vec<(String, String)> {
        let head = self.data.split("\r\n\r\n").next().unwrap_or_default();
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in head.split("\r\n") {
            match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(": ")) {
                (true, Some((_, value)), _) => value.push_str(line),
                (_, _, Some((name, value))) => fields.push((name.to_owned(), value.to_owned())),
                (_, _, None) => fields.push((line.to_owned(), String::new())),
            }
        }
        fields
    }

    /// Its words as readers see them: the text of each part, without its transfer encoding, by its media type.
    ///
    /// # Panics
    ///
    /// When a part is encoded in a way that it does not say.
    pub fn words(&self) -> Vec<(String, String)> {
        let kind = self.field("Content-Type").unwrap_or_default();
        let boundary = kind.split_once("boundary=\"").and_then(|(_, rest)| rest.split_once('"'));
        let Some((boundary, _)) = boundary else { return Vec::new() };
        let delimiter = format!("--{boundary}");
        let parts = self.data.split(&delimiter).skip(1);
        parts.filter_map(|part| part.strip_prefix("\r\n")?.split_once("\r\n\r\n")).map(words_of).collect()
    }

    /// The field of that name, if there is exactly one.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut found = self.head().into_iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value).filter(|_| found.next().is_none())
    }
}

/// What a server at its worst says, one line after each thing that it hears, whatever that is.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What it says.
    pub lines: Vec<Vec<u8>>,
    /// Whether it closes the connection then, or says nothing more.
    pub then_closes: bool,
}

/// A fault with its name, and the codes of the causes that an attempt may have then.
pub type Row = (&'static str, Fault, &'static [&'static str]);

/// Every way to fail at mail that is known here.
pub fn faults() -> [Row; 9] {
    const CUT: &[&str] = &["reset", "protocol"];
    const LATER: &[&str] = &["smtp_deferred"];
    let line = |text: &str| text.as_bytes().to_vec();
    let says = |lines: Vec<Vec<u8>>| Fault { lines, then_closes: false };
    let conversation =
        ["220 mail.test\r\n", "250 mail.test\r\n", "250 OK\r\n", "250 OK\r\n", "354 go on\r\n"].map(line);
    [
        ("silence", says(vec![]), &["timeout"]),
        ("closed at once", Fault { lines: vec![], then_closes: true }, CUT),
        ("554 banner", says(vec![line("554 go away\r\n")]), LATER),
        ("421 banner", says(vec![line("421 busy\r\n")]), LATER),
        ("no SMTP", says(vec![line("SSH-2.0-OpenSSH_9.2\r\n")]), CUT),
        ("no UTF-8", says(vec![b"220 \xff\xfe\r\n".to_vec(), b"\xff\xff\xff\r\n".to_vec()]), CUT),
        ("an endless line", says(vec![[b"220 ".to_vec(), vec![b'x'; 3_000_000]].concat()]), CUT),
        ("endless lines", says(vec![b"220-more\r\n".repeat(300_000)]), CUT),
        ("closed in the middle", Fault { lines: conversation.into(), then_closes: true }, CUT),
    ]
}

/// A running server at its worst. Dropping it closes its port.
#[derive(Debug)]
pub struct Hostile {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Hostile {
    /// Where it listens, on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts a server that answers everybody by `fault`.
///
/// # Panics
///
/// When loopback has no port left.
pub async fn hostile(fault: Fault) -> Hostile {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, fault.clone()));
        }
    });
    Hostile { address, accepting }
}

async fn converse(mut stream: TcpStream, Fault { lines, then_closes }: Fault) {
    let mut heard = [0; 4096];
    for (place, line) in lines.iter().enumerate() {
        if stream.write_all(line).await.is_err()
            || (place + 1 < lines.len() && stream.read(&mut heard).await.is_err())
        {
            return;
        }
    }
    while !then_closes && stream.read(&mut heard).await.is_ok_and(|count| count > 0) {}
}

/// A part's media type and text, from its head and body.
fn words_of((head, body): (&str, &str)) -> (String, String) {
    let named = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let media_type = named("Content-Type: ").split(';').next().unwrap_or_default();
    let body = body.strip_suffix("\r\n").unwrap_or(body);
    let bytes = match named("Content-Transfer-Encoding: ") {
        "quoted-printable" => unquoted(body),
        "base64" => STANDARD.decode(body.replace("\r\n", "")).expect("base64"),
        _ => body.as_bytes().to_vec(),
    };
    let text = String::from_utf8(bytes).expect("UTF-8").replace("\r\n", "\n");
    (media_type.to_owned(), text)
}

/// Bytes without quoted-printable (RFC 2045, section 6.7).
fn unquoted(text: &str) -> Vec<u8> {
    let joined = text.replace("=\r\n", "");
    let mut pieces = joined.split('=');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}
