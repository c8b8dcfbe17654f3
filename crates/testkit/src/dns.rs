//! A name server on loopback that answers as told, over UDP and, for what does not fit, TCP ([RFC 1035]).
//!
//! [RFC 1035]: https://www.rfc-editor.org/rfc/rfc1035

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::{JoinHandle, JoinSet},
};

/// Types of records.
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// The class of the internet.
const IN: [u8; 2] = [0, 1];

/// Largest answer over UDP; a larger one is cut off, so that it is asked for over TCP.
const MAX_DATAGRAM: usize = 1200;

/// Longest chain of aliases that is followed.
const MAX_ALIASES: usize = 16;

/// What a name server says of a name.
#[derive(Debug, Clone)]
pub enum Answer {
    /// These: the IPv4 ones to who asks for `A`, the IPv6 ones to who asks for `AAAA`. Without any the name exists and
    /// has no address.
    Addresses(Vec<IpAddr>),
    /// It is another name for that one, of which all is said that is known.
    Alias(String),
    /// `NXDOMAIN`.
    NoSuchName,
    /// `SERVFAIL`.
    Failure,
    /// Nothing.
    Silence,
}

impl Answer {
    /// Addresses, separated by spaces.
    ///
    /// # Panics
    ///
    /// When one of them is none.
    pub fn addresses(texts: &str) -> Self {
        Self::Addresses(texts.split_whitespace().map(|text| text.parse().expect("an address")).collect())
    }
}

/// A running name server. Dropping it closes it.
pub struct Server {
    address: SocketAddr,
    known: Arc<Mutex<Known>>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Known {
    scripts: HashMap<String, Vec<Answer>>,
    /// Name, type and number of every query. One that is sent again has the same number.
    queries: HashSet<(String, u16, u16)>,
    over_tcp: usize,
}

impl Server {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When no port is free for both UDP and TCP.
    pub async fn start() -> anyhow::Result<Self> {
        let (datagrams, streams) = listen().await?;
        let (address, known) = (datagrams.local_addr()?, Arc::<Mutex<Known>>::default());
        let serving = tokio::spawn(serve(datagrams, streams, Arc::clone(&known)));
        Ok(Self { address, known, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what is said of `name`: one answer to each look-up, and the last one ever after. Of any other name it is
    /// said that there is none.
    pub fn answer(&self, name: &str, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.known).scripts.insert(name.to_owned(), answers.into_iter().collect());
    }

    /// How often `name` was looked up: by how many queries for its IPv4 addresses, those sent again not counted.
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.known).count(name, A)
    }

    /// How many queries came over TCP.
    pub fn asked_over_tcp(&self) -> usize {
        lock(&self.known).over_tcp
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same port for both.
async fn listen() -> anyhow::Result<(UdpSocket, TcpListener)> {
    for _ in 0..16 {
        let streams = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("can't listen")?;
        if let Ok(datagrams) = UdpSocket::bind(streams.local_addr()?).await {
            return Ok((datagrams, streams));
        }
    }
    anyhow::bail!("no port is free for both UDP and TCP")
}

async fn serve(datagrams: UdpSocket, streams: TcpListener, known: Arc<Mutex<Known>>) {
    let mut open = JoinSet::new(); // Dropped with this task, and the connections with it.
    let mut query = [0; 2048];
    loop {
        tokio::select! {
            Some(_) = open.join_next() => {}
            received = datagrams.recv_from(&mut query) => {
                let Ok((length, from)) = received else { continue };
                let answer = lock(&known).respond(&query[..length]);
                if let Some(answer) = answer {
                    // Whoever is gone has no use for it.
                    let _ = datagrams.send_to(&cut(answer), from).await;
                }
            }
            accepted = streams.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let known = Arc::clone(&known);
                // How it ends is seen at the other end.
                open.spawn(async move { drop(converse(stream, &known).await) });
            }
        }
    }
}

async fn converse(mut stream: TcpStream, known: &Mutex<Known>) -> io::Result<()> {
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        let answer = {
            let mut known = lock(known);
            known.over_tcp += 1;
            known.respond(&query)
        };
        if let Some(answer) = answer {
            stream.write_u16(u16::try_from(answer.len()).map_err(io::Error::other)?).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// What fits into a datagram: an answer that does not is sent without its records, marked as cut off.
fn cut(mut answer: Vec<u8>) -> Vec<u8> {
    if answer.len() > MAX_DATAGRAM {
        let question = question_of(&answer).map_or(12, |question| question.end);
        answer.truncate(question);
        answer[2] |= 2;
        answer[6..8].fill(0);
    }
    answer
}

/// The one question of a query.
struct Question {
    name: String,
    kind: u16,
    /// Where it ends.
    end: usize,
}

fn question_of(query: &[u8]) -> Option<Question> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if label.is_empty() {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_lowercase());
    }
    let kind = u16::from_be_bytes(*query.get(at..)?.first_chunk()?);
    Some(Question { name: labels.join("."), kind, end: at + 4 })
}

impl Known {
    fn count(&self, name: &str, kind: u16) -> usize {
        self.queries.iter().filter(|query| query.0 == name && query.1 == kind).count()
    }

    /// The answer to a query, if it gets one.
    fn respond(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let question = question_of(query)?;
        let number = u16::from_be_bytes(*query.first_chunk()?);
        self.queries.insert((question.name.clone(), question.kind, number));
        let (mut records, mut name) = (Vec::new(), question.name.clone());
        let code = loop {
            // Of what an alias leads to, the first answer counts as long as nobody asks for it by its name.
            let place = self.count(&name, question.kind).saturating_sub(1);
            match self.script(&name, place) {
                Answer::Silence => return None,
                Answer::NoSuchName => break 3,
                Answer::Failure => break 2,
                Answer::Addresses(addresses) => {
                    let of_kind = addresses.into_iter().filter_map(|address| data(address, question.kind));
                    records.extend(of_kind.map(|data| record(&name, question.kind, &data)));
                    break 0;
                }
                Answer::Alias(_) if records.len() == MAX_ALIASES => break 0,
                Answer::Alias(other) => {
                    records.push(record(&name, CNAME, &labels(&other)));
                    name = other;
                }
            }
        };
        let count = u16::try_from(records.len()).ok()?.to_be_bytes();
        // An answer, of a server that asks others itself.
        let mut answer = [&query[..2], &[0x81, 0x80 | code, 0, 1], &count, &[0; 4]].concat();
        answer.extend_from_slice(query.get(12..question.end)?);
        answer.extend(records.concat());
        Some(answer)
    }

    fn script(&self, name: &str, place: usize) -> Answer {
        let script = self.scripts.get(name).map(Vec::as_slice).unwrap_or_default();
        script.get(place).or(script.last()).cloned().unwrap_or(Answer::NoSuchName)
    }
}

fn data(address: IpAddr, kind: u16) -> Option<Vec<u8>> {
    match (address, kind) {
        (IpAddr::V4(address), A) => Some(address.octets().to_vec()),
        (IpAddr::V6(address), AAAA) => Some(address.octets().to_vec()),
        _ => None,
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A record that is good for a minute.
fn record(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short data").to_be_bytes();
    [&labels(name)[..], &kind.to_be_bytes(), &IN, &60_u32.to_be_bytes(), &length, data].concat()
}
