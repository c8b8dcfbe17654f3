//! The wire below the routes: slow, silent, oversized and broken clients, stopping, and our own faults.

#![expect(clippy::disallowed_methods, reason = "these clients break HTTP, so they write it by hand")]

mod common;

use std::{num::NonZeroUsize, time::Duration};

use bellbuoy_api::{Api, Limits, Readiness, ServerLimits};
use bellbuoy_broker::queues;
use common::{Rig, STRUCTURED, problem, push_event};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Long against every limit that these tests set.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// Limits that only end what a test is about.
fn patient() -> ServerLimits {
    ServerLimits { head: PATIENCE * 3, idle: PATIENCE * 3, drain: PATIENCE * 3, ..ServerLimits::default() }
}

struct Raw(TcpStream);

impl Raw {
    async fn open(rig: &Rig) -> Self {
        let address = rig.url.strip_prefix("http://").expect("a URL");
        Self(TcpStream::connect(address).await.expect("a connection"))
    }

    async fn sending(rig: &Rig, bytes: impl AsRef<[u8]>) -> Self {
        let mut raw = Self::open(rig).await;
        raw.send(bytes).await;
        raw
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have hung up already: then what it said before is what counts.
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// All that the server sends until it closes the connection.
    async fn read_out(mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        // A reset after the answer is an end too.
        let _ = read.expect("the server closes the connection");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The next bytes that the server sends.
    async fn some(&mut self) -> String {
        let mut bytes = vec![0; 4096];
        let read =
            timeout(PATIENCE, self.0.read(&mut bytes)).await.expect("an answer").expect("a connection");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }
}

fn head(length: usize) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer correct horse\r\n\
         content-type: application/cloudevents+json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// The same as from GitHub, whose token is its signature, which nobody knows before the body has arrived.
fn unsigned(request: &str) -> String {
    request
        .replace("authorization: Bearer correct horse", "x-hub-signature-256: sha256=00")
        .replace("/v1/events", "/v1/ingest/ghcr")
}

/// How a good event is answered, before any of the slow requests is given up.
async fn in_time(rig: &Rig) -> u16 {
    let answer = rig.send("POST", "/v1/events", &[STRUCTURED], push_event("1").to_string());
    timeout(PATIENCE, answer).await.expect("an answer").status.into()
}

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_head_is_closed_in_time() {
    let rig = Rig::with(|_| {}, ServerLimits { head: SHORT, ..patient() }).await;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for bytes in [&b""[..], b"P", b"PRI * HTTP", b"GET /healthz HTTP/1.1\r\nhost:", settings] {
        Raw::sending(&rig, bytes).await.read_out().await;
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_its_next_request_and_not_for_half_of_one() {
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let rig = Rig::with(|_| {}, ServerLimits { head: SHORT, ..patient() }).await;
    let mut kept = Raw::sending(&rig, request).await;
    assert_status(&kept.some().await, 200);
    let mut stalls = Raw::sending(&rig, request).await;
    assert_status(&stalls.some().await, 200);
    stalls.send("GET /healthz HTTP/1.1\r\nhost:").await;
    assert_eq!(stalls.read_out().await, "", "half a head");
    // By now the other one has been idle for longer than a head may take.
    kept.send(request).await;
    assert_status(&kept.some().await, 200);
    let rig = Rig::with(|_| {}, ServerLimits { idle: SHORT, ..patient() }).await;
    let mut kept = Raw::sending(&rig, request).await;
    assert_status(&kept.some().await, 200);
    assert_eq!(kept.read_out().await, "", "without a second request");
}

#[tokio::test]
async fn slow_clients_do_not_keep_a_good_event_out() {
    let limits = Limits { body_time: PATIENCE * 3, request_time: PATIENCE * 4, ..Limits::default() };
    let change = |api: &mut Api| {
        api.limits = limits;
        api.github_secret = Some("known to GitHub".into());
    };
    let rig = Rig::with(change, patient()).await;
    let mut slow = Vec::new();
    // Each announces as much as is taken, or nothing, and sends next to nothing.
    let (batch, chunked) = (4 << 20, "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n");
    let endless = head(0).replace("content-length: 0\r\n\r\n", chunked);
    let halves = [
        "POST /v1/ev".to_owned(),
        head(1000) + "{",
        head(batch).replace("/v1/events", "/v1/ingest/distribution") + "{",
        endless.replace("/v1/events", "/v1/ingest/distribution"),
        unsigned(&endless),
    ];
    for half in halves.iter().cycle().take(400) {
        slow.push(Raw::sending(&rig, half).await);
    }
    assert_eq!(in_time(&rig).await, 202);
    rig.drain_events(1).await;
}

#[tokio::test]
async fn a_body_that_does_not_end_is_408_and_one_that_breaks_off_leaves_nothing() {
    let limits = Limits { body_time: SHORT, ..Limits::default() };
    let rig = Rig::with(|api| api.limits = limits, patient()).await;
    assert_status(&Raw::sending(&rig, head(1000) + "{").await.read_out().await, 408);
    let body = push_event("1").to_string();
    drop(Raw::sending(&rig, head(body.len() + 1) + &body).await);
    let ingest = head(10).replace("/v1/events", "/v1/ingest/distribution");
    assert_status(&Raw::sending(&rig, ingest + "{").await.read_out().await, 408);
    assert_eq!(rig.depth(&queues::events()) + rig.depth(&queues::dead()), 0);
}

#[tokio::test]
async fn a_request_that_takes_too_long_altogether_is_503() {
    let limits = Limits { body_time: PATIENCE * 3, request_time: SHORT, ..Limits::default() };
    let rig = Rig::with(|api| api.limits = limits, patient()).await;
    let answer = Raw::sending(&rig, head(1000) + "{").await.read_out().await;
    assert_status(&answer, 503);
    assert!(answer.contains("retry-after: 5"), "{answer}");
}

#[tokio::test]
async fn the_memory_for_bodies_is_bounded() {
    let limits = Limits { body_time: SHORT, memory_bytes: 4096, ..Limits::default() };
    let rig = Rig::with(|api| api.limits = limits.clone(), patient()).await;
    let half = head(4096) + &"{".repeat(3000);
    let hogs = [Raw::sending(&rig, &half).await, Raw::sending(&rig, &half).await];
    let mut statuses = Vec::new();
    for hog in hogs {
        statuses.push(hog.read_out().await[9..12].to_owned());
    }
    statuses.sort();
    // The second gets its turn, or is told to come back: both wait as long as a body may take.
    assert!(statuses == ["408", "503"] || statuses == ["408", "408"], "{statuses:?}");
    let answer = rig.send("POST", "/v1/events", &[STRUCTURED], push_event("1").to_string()).await;
    assert_eq!(answer.status, 202, "the memory is given back");
}

#[tokio::test]
async fn whoever_has_not_shown_who_they_are_only_fills_the_memory_of_their_like() {
    let time = PATIENCE * 3;
    let limits = Limits { body_time: time, request_time: time, memory_bytes: 64 << 10, ..Limits::default() };
    let change = |api: &mut Api| {
        api.limits = limits;
        api.github_secret = Some("known to GitHub".into());
    };
    let rig = Rig::with(change, patient()).await;
    let mut strangers = Vec::new();
    for _ in 0..40 {
        strangers.push(Raw::sending(&rig, unsigned(&head(4096)) + &"{".repeat(3000)).await);
    }
    assert_eq!(in_time(&rig).await, 202);
}

#[tokio::test]
async fn heads_have_a_size_and_a_count() {
    let rig = Rig::start().await;
    let with = |headers: String| format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    let many = (0..150).map(|n| format!("h{n}: x\r\n")).collect::<Vec<_>>().concat();
    assert_status(&Raw::sending(&rig, with(many)).await.read_out().await, 431);
    let large = format!("large: {}\r\n", "x".repeat(2_000_000));
    assert_status(&Raw::sending(&rig, with(large)).await.read_out().await, 431);
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1_000_000));
    let answer = Raw::sending(&rig, long).await.read_out().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_smuggles_no_second_one() {
    let rig = Rig::start().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer correct horse\r\n\
                content-type: application/cloudevents+json\r\n";
    for bytes in [
        format!("{post}content-length: 2\r\ncontent-length: 40\r\n\r\n{{}}{smuggled}"),
        format!("{post}content-length: -1\r\n\r\n{smuggled}"),
        format!("{post}content-length: +2\r\n\r\n{{}}{smuggled}"),
        format!("{post}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n{smuggled}"),
        format!("{post}transfer-encoding: gzip\r\n\r\n{smuggled}"),
        "\u{16}\u{3}\u{1}\0\u{5}hello, TLS".to_owned(),
        "GET /healthz\r\n HTTP/1.1\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nbad header: x\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\na: b\0c\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        let answer = Raw::sending(&rig, &bytes).await.read_out().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{bytes:?}: {answer}");
    }
    assert_eq!(rig.depth(&queues::events()), 0);
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let one = NonZeroUsize::MIN;
    let rig = Rig::with(|_| {}, ServerLimits { connections: one, ..patient() }).await;
    let mut first = Raw::sending(&rig, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_status(&first.some().await, 200);
    let mut second = Raw::sending(&rig, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(timeout(SHORT, second.0.readable()).await.is_err(), "served beyond the cap");
    drop(first);
    assert_status(&second.some().await, 200);
}

#[tokio::test]
async fn stopping_takes_no_new_work_and_lets_what_is_in_flight_end() {
    let rig = Rig::with(|_| {}, patient()).await;
    let body = push_event("1").to_string();
    let (begin, rest) = body.split_at(10);
    let mut open =
        Raw::sending(&rig, head(body.len()).replace("host: x", "host: x\r\nexpect: 100-continue")).await;
    // The server waits for the body: the request is in its hands.
    assert_status(&open.some().await, 100);
    open.send(begin).await;
    let idle = Raw::open(&rig).await;
    rig.stop.cancel();
    assert_eq!(idle.read_out().await, "");
    open.send(rest).await;
    assert_status(&open.read_out().await, 202);
    let ended = timeout(PATIENCE, rig.serving).await.expect("it stops").expect("no panic");
    assert!(ended.is_ok());
    let address = rig.url.strip_prefix("http://").expect("a URL");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_does_not_end_within_the_drain_is_cut() {
    let rig = Rig::with(|_| {}, ServerLimits { drain: SHORT, ..patient() }).await;
    let mut open = Raw::sending(&rig, head(1000).replace("host: x", "host: x\r\nexpect: 100-continue")).await;
    assert_status(&open.some().await, 100);
    rig.stop.cancel();
    let ended = timeout(PATIENCE, rig.serving).await.expect("it stops").expect("no panic");
    assert!(ended.is_ok());
    assert_eq!(open.read_out().await, "");
}

#[tokio::test]
async fn a_panic_is_a_500_without_details_and_the_server_goes_on() {
    let rig = Rig::with(
        |api| api.readiness = Readiness::default().with("worker", || panic!("secret detail")),
        ServerLimits::default(),
    )
    .await;
    for _ in 0..2 {
        let detail = problem(&rig.raw("GET", "/readyz", &[], "").await, 500);
        assert!(!detail.contains("secret"), "{detail}");
    }
    assert_eq!(rig.raw("GET", "/healthz", &[], "").await.status, 200);
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let rig = Rig::start().await;
    let ping = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut two = Raw::sending(&rig, ping).await;
    let mut frame = [0; 9];
    timeout(PATIENCE, two.0.read_exact(&mut frame)).await.expect("an answer").expect("a frame");
    assert_eq!((frame[3], &frame[5..]), (4, &[0; 4][..]), "a SETTINGS frame of stream 0");
}
