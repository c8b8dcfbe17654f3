//! A proxy on loopback that speaks HTTP's `CONNECT` and SOCKS 5, remembers what it was asked for, and leads all of it to
//! one place: what a name means is the proxy's to say.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// How a proxy behaves.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where everything leads.
    pub to: SocketAddr,
    /// Who may use it; everybody, if `None`.
    pub login: Option<(String, String)>,
    /// Whether it refuses whatever it is asked for.
    pub refuses: bool,
    /// The hosts that it has no way to, as SOCKS says it.
    pub unreachable: Vec<String>,
}

impl Setup {
    /// For everybody, and everything leads to `address`.
    pub fn to(address: SocketAddr) -> Self {
        Self { to: address, login: None, refuses: false, unreachable: Vec::new() }
    }
}

/// A running proxy. Dropping it closes it.
pub struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Starts one on a free port.
    ///
    /// # Errors
    ///
    /// When loopback has no port left.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("can't listen")?;
        let (address, asked) = (listener.local_addr()?, Arc::new(Mutex::default()));
        let serving = tokio::spawn(accept(listener, setup, Arc::clone(&asked)));
        Ok(Self { address, asked, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked to connect to, `host:port` as it was told, by those who may use it.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Asked = Arc<Mutex<Vec<String>>>;

async fn accept(listener: TcpListener, setup: Setup, asked: Asked) {
    let mut open = JoinSet::new(); // Dropped with this task, and the connections with it.
    loop {
        tokio::select! {
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (setup, asked) = (setup.clone(), Arc::clone(&asked));
                // How it ends is seen at its ends.
                open.spawn(async move { drop(serve(stream, &setup, &asked).await) });
            }
        }
    }
}

async fn serve(mut stream: TcpStream, setup: &Setup, asked: &Asked) -> io::Result<()> {
    let first = stream.read_u8().await?;
    let is_open = if first == 5 {
        socks(&mut stream, setup, asked).await?
    } else {
        connect(&mut stream, first, setup, asked).await?
    };
    if is_open {
        #[expect(clippy::disallowed_methods, reason = "what a proxy is for")]
        let mut onward = TcpStream::connect(setup.to).await?;
        copy_bidirectional(&mut stream, &mut onward).await?;
    }
    Ok(())
}

fn note(asked: &Asked, target: String) {
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(target);
}

async fn connect(stream: &mut TcpStream, first: u8, setup: &Setup, asked: &Asked) -> io::Result<bool> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let expected = setup.login.as_ref().map(|(user, password)| {
        format!("proxy-authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))
    });
    let knows = expected.is_none_or(|expected| head.lines().any(|line| line == expected));
    let mut words = head.split(' ');
    let answer = match (words.next(), words.next()) {
        (Some("CONNECT"), Some(target)) if knows => {
            note(asked, target.to_owned());
            if setup.refuses { "403 Forbidden" } else { "200 Connection established" }
        }
        (Some("CONNECT"), _) => "407 Proxy Authentication Required",
        _ => "405 Method Not Allowed",
    };
    stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await?;
    Ok(answer.starts_with("200"))
}

async fn socks(stream: &mut TcpStream, setup: &Setup, asked: &Asked) -> io::Result<bool> {
    let count = stream.read_u8().await?;
    let mut offered = vec![0; usize::from(count)];
    stream.read_exact(&mut offered).await?;
    let method = if setup.login.is_some() { 2 } else { 0 };
    if !offered.contains(&method) {
        stream.write_all(&[5, 0xff]).await?;
        return Ok(false);
    }
    stream.write_all(&[5, method]).await?;
    if let Some((user, password)) = &setup.login {
        let _version = stream.read_u8().await?;
        let given = [text(stream).await?, text(stream).await?];
        let knows = given == [user.as_str(), password];
        stream.write_all(&[1, u8::from(!knows)]).await?;
        if !knows {
            return Ok(false);
        }
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let host = match head[3] {
        1 => Ipv4Addr::from(stream.read_u32().await?).to_string(),
        3 => text(stream).await?,
        _ => format!("[{}]", std::net::Ipv6Addr::from(stream.read_u128().await?)),
    };
    note(asked, format!("{host}:{}", stream.read_u16().await?));
    let code = match setup.unreachable.contains(&host) {
        _ if setup.refuses => 2,
        true => 4,
        false => 0,
    };
    stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(code == 0)
}

async fn text(stream: &mut TcpStream) -> io::Result<String> {
    let length = stream.read_u8().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
