//! Input that makes no sense: a clear refusal on the API, quarantine where a registry would wait for ever, never
//! a 5xx, and everybody else is served meanwhile.

mod support;

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use bellbuoy_testkit::receiver::Receiver;
use bellbuoy_testkit::wait::eventually;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use support::{Fleet, SOON, TOKEN, push};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

const CLOUD_EVENT: &str = "application/cloudevents+json";
const JSON: &str = "application/json";
const NOTICES: &str = "application/vnd.docker.distribution.events.v1+json";

const EVENTS: &str = "/v1/events";
const INGEST: &str = "/v1/ingest/distribution";
const NATIVE: &str = "/v1/notifications";
const QUAY: &str = "/api/v1/repository/acme/api/notification/";

/// A fleet, and a good notification that has to be served whatever else is sent.
struct Rig {
    fleet: Fleet,
    receiver: Receiver,
    good: usize,
}

impl Rig {
    async fn start() -> Self {
        let fleet = Fleet::start(&[]).await;
        let receiver = Receiver::start().await.expect("a receiver");
        fleet.api.webhook("acme/good", "repo_push", &receiver.url("/good")).await;
        Self { fleet, receiver, good: 0 }
    }

    /// A good event gets through now.
    async fn still_works(&mut self) {
        let begun = Instant::now();
        self.fleet.api.publish(&push(&format!("good-{}", self.good), "acme/good", "v1")).await;
        self.good += 1;
        self.receiver.wait_for(self.good, |request| request.path == "/good").await.expect("a delivery");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    /// Nothing was lost or answered with a failure of ours, and it is the same process still.
    async fn nothing_broke(mut self) {
        self.still_works().await;
        assert_eq!(self.receiver.requests().len(), self.good, "every good event once");
        let failures = self.fleet.api.metrics().await;
        let is_failure = |line: &&str| line.contains(r#"status="5"#) && !line.ends_with(" 0");
        let failures: Vec<_> = failures.lines().filter(is_failure).collect();
        assert!(failures.is_empty(), "{failures:?}");
        let log = self.fleet.log();
        assert!(!log.contains("panicked"), "{log}");
        self.fleet.stop().await;
    }
}

/// What is sent, and the status and words that it is answered with.
struct Bad {
    path: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    status: u16,
    words: &'static [&'static str],
}

fn bad(path: &'static str, body: impl Into<Vec<u8>>, status: u16, words: &'static [&'static str]) -> Bad {
    let content_type = if path == EVENTS { CLOUD_EVENT } else { JSON };
    Bad { path, content_type, body: body.into(), status, words }
}

/// JSON with one member changed; `Null` removes it.
fn changed(whole: &Value, member: &str, to: Value) -> Vec<u8> {
    let mut whole = whole.clone();
    let members = whole.as_object_mut().expect("an object");
    if to.is_null() {
        members.remove(member)
    } else {
        members.insert(member.to_owned(), to)
    };
    whole.to_string().into_bytes()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// What no route takes for JSON of its own.
fn nonsense(path: &'static str) -> Vec<Bad> {
    let huge = format!("{{\"x\": \"{}\"}}", "x".repeat(10_000_000));
    let words: &[&str] = if path == QUAY { &["Failed to decode JSON object"] } else { &["not JSON"] };
    // The native API reads a member at a time, so it stumbles over one that it doesn't know before the rest.
    let member: &[&str] = if path == NATIVE { &["unknown field"] } else { words };
    let array: &[&str] = if path == NATIVE { &["should be a JSON object"] } else { words };
    vec![
        bad(path, "", 400, words),
        bad(path, "{", 400, words),
        bad(path, "{\"a\": 1}}", 400, member),
        bad(path, "{'a': 1}", 400, words),
        bad(path, "{\"a\": NaN}", 400, member),
        bad(path, b"{\"a\": \"\xff\xfe\"}".to_vec(), 400, member),
        bad(path, b"\xff\xfe{\0}\0".to_vec(), 400, words),
        bad(path, nested(10_000), 400, array),
        bad(path, format!("{{\"data\": {}}}", nested(10_000)), 400, member),
        bad(path, "[]", 400, &[]),
        bad(path, "null", 400, &[]),
        bad(path, "\"text\"", 400, &[]),
        bad(path, huge, 413, &["262144 bytes"]),
    ]
}

fn bad_events() -> Vec<Bad> {
    let event = push("bad", "acme/good", "v1");
    let with = |member, to| changed(&event, member, to);
    vec![
        bad(EVENTS, with("type", json!("nonsense")), 400, &["unknown kind", "nonsense", "repo_push"]),
        bad(EVENTS, with("type", json!(7)), 400, &["`type` should be a string"]),
        bad(EVENTS, with("type", Value::Null), 400, &["attribute `type` is missing"]),
        bad(EVENTS, with("id", json!({"a": 1})), 400, &["`id` should be a string"]),
        bad(EVENTS, with("id", json!("x".repeat(100_000))), 400, &["`id` is longer than 1024 bytes"]),
        bad(EVENTS, with("source", json!("a\r\nb")), 400, &["`source` holds control characters"]),
        bad(EVENTS, with("subject", json!("../../etc/passwd")), 400, &["subject"]),
        bad(EVENTS, with("subject", json!(["acme/good"])), 400, &["`subject` should be a string"]),
        bad(EVENTS, with("subject", Value::Null), 400, &["attribute `subject` is missing"]),
        bad(EVENTS, with("specversion", json!("0.3")), 400, &["specversion", "1.0"]),
        bad(EVENTS, with("time", json!("yesterday")), 400, &["`time`", "RFC 3339"]),
        bad(EVENTS, with("data", json!([1])), 400, &["`data` should be a JSON object"]),
        bad(EVENTS, with("data", json!({"updated_tags": {"v1": "id"}})), 400, &["data.updated_tags"]),
        Bad {
            content_type: "text/plain",
            ..bad(EVENTS, event.to_string(), 415, &["content type", CLOUD_EVENT])
        },
        Bad {
            content_type: "application/cloudevents-batch+json",
            ..bad(EVENTS, event.to_string(), 400, &["sequence"])
        },
        Bad {
            content_type: "application/cloudevents-batch+json",
            ..bad(
                EVENTS,
                json!([event, {"id": 1}]).to_string(),
                400,
                &["event 1 of the batch", "nothing of the batch was taken"],
            )
        },
    ]
}

fn bad_notifications() -> Vec<Bad> {
    let native = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook",
        "config": {"url": "https://ci.example.com/hook"}});
    let quay = json!({"event": "repo_push", "method": "webhook", "config": {"url": "https://ci.example.com/hook"},
        "eventConfig": {}});
    let (native, quay) = (|member, to| changed(&native, member, to), |member, to| changed(&quay, member, to));
    let template = json!({"url": "https://ci.example.com/hook", "template": "{\"a\": ${}"});
    let deep = format!("{}x{}", "{".repeat(250), "}".repeat(250));
    vec![
        bad(NATIVE, native("method", json!("pigeon")), 400, &["pigeon", "known are webhook"]),
        bad(NATIVE, native("kinds", json!(["nonsense"])), 400, &["kinds[0]", "nonsense"]),
        bad(NATIVE, native("kinds", json!("repo_push")), 400, &["kinds"]),
        bad(NATIVE, native("scope", json!({"repository": "../x"})), 400, &["scope"]),
        bad(NATIVE, native("config", json!({})), 400, &["Missing webhook URL"]),
        bad(NATIVE, native("config", json!({"url": "file:///etc/passwd"})), 400, &["Invalid webhook URL"]),
        bad(
            NATIVE,
            native("config", json!({"url": "http://user:pass@ci.example.com/"})),
            400,
            &["Invalid webhook URL"],
        ),
        bad(NATIVE, native("config", template.clone()), 400, &["template"]),
        bad(NATIVE, native("format", json!("yaml")), 400, &["yaml"]),
        bad(NATIVE, native("filter", json!({"tags": [5]})), 400, &["`tags`", "should be a string"]),
        bad(NATIVE, native("filter", json!({"tags": [&deep]})), 400, &["`tags`", "nested too deep"]),
        bad(NATIVE, native("state", json!("active")), 400, &["state"]),
        Bad { content_type: "text/plain", ..bad(NATIVE, native("x", Value::Null), 415, &[JSON]) },
        bad(QUAY, quay("method", json!("pigeon")), 400, &["pigeon"]),
        bad(QUAY, quay("method", json!(5)), 400, &["5 is not of type 'string'"]),
        bad(QUAY, quay("event", json!("nonsense")), 400, &["unknown kind", "nonsense"]),
        bad(QUAY, quay("config", json!("x")), 400, &["'x' is not of type 'object'"]),
        bad(QUAY, quay("config", Value::Null), 400, &["'config' is a required property"]),
        bad(QUAY, quay("config", template), 400, &["template"]),
        bad(QUAY, quay("eventConfig", json!({"tags": [5]})), 400, &["`tags`", "should be a string"]),
        bad(QUAY, quay("eventConfig", json!({"tags": [deep]})), 400, &["`tags`", "nested too deep"]),
        bad("/api/v1/repository/ACME%20/x/notification/", quay("x", Value::Null), 400, &[]),
    ]
}

#[tokio::test]
async fn the_api_refuses_each_piece_of_nonsense_with_a_4xx_that_names_the_fault() {
    let mut rig = Rig::start().await;
    let cases =
        [EVENTS, NATIVE, QUAY].into_iter().flat_map(nonsense).chain(bad_events()).chain(bad_notifications());
    for Bad { path, content_type, body, status, words } in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let begun = Instant::now();
        let answer = rig.fleet.api.send(Method::POST, path, content_type, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {shown}: {}", answer.text());
        assert!(begun.elapsed() < Duration::from_secs(2), "{path} {shown} took {:?}", begun.elapsed());
        let problem = answer.json();
        let said = format!("{} {}", problem["detail"], problem["error_message"]);
        assert!(said.len() > 20 && words.iter().all(|word| said.contains(word)), "{path} {shown}: {problem}");
        assert!(answer.body.len() < 4096, "{path} {shown}: an answer of {} bytes", answer.body.len());
    }
    rig.still_works().await;
    let made = rig.fleet.api.get(NATIVE).await;
    assert_eq!(made["notifications"].as_array().expect("a list").len(), 1, "{made}");
    // Nothing bad was fanned out beside it.
    rig.fleet.api.until("", 1, &["delivered"]).await;
    rig.nothing_broke().await;
}

#[tokio::test]
async fn odd_queries_ids_and_verbs_are_refused_and_nothing_more() {
    let rig = Rig::start().await;
    for (verb, path, status) in [
        ("GET", "/v1/deliveries?limit=0", 400),
        ("GET", "/v1/deliveries?limit=-1", 400),
        ("GET", "/v1/deliveries?limit=99999999999999999999", 400),
        ("GET", "/v1/deliveries?after=nonsense", 400),
        ("GET", "/v1/deliveries?state=nonsense", 400),
        ("GET", "/v1/deliveries?colour=red", 400),
        ("GET", "/v1/dead-letters?after=%00", 400),
        ("GET", "/v1/deliveries?subject='%20OR%201=1--", 200),
        ("GET", "/v1/deliveries?subject=%00", 200),
        ("GET", "/v1/deliveries/nonsense", 404),
        ("GET", "/v1/deliveries/%ff%fe", 400),
        ("GET", "/v1/events/%00", 404),
        ("GET", "/v1/dead-letters/00000000-0000-0000-0000-000000000000", 404),
        ("DELETE", "/v1/notifications/nonsense", 404),
        ("PATCH", "/v1/notifications", 405),
        ("TRACE", "/v1/events", 405),
        ("FROB", "/v1/events", 405),
        ("POST", "/v1/deliveries/00000000-0000-0000-0000-000000000000/resend", 404),
    ] {
        let answer = rig.fleet.api.send(verb.parse().expect("a verb"), path, JSON, "").await;
        assert_eq!(answer.status.as_u16(), status, "{verb} {path}: {}", answer.text());
    }
    rig.nothing_broke().await;
}

#[tokio::test]
async fn a_registrys_nonsense_is_quarantined_with_its_bytes_and_the_registry_is_told_that_it_was_taken() {
    let mut rig = Rig::start().await;
    let huge = format!("{{\"events\": [\"{}\"]}}", "x".repeat(10_000_000));
    let one = |notice: Value| json!({"events": [notice]}).to_string().into_bytes();
    let notice = json!({"id": "n1", "action": "push", "target": {"repository": "acme/good", "tag": "v1"}});
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "not JSON"),
        (b"{".to_vec(), "not JSON"),
        (b"{\"events\": \"\xff\xfe\"}".to_vec(), "not JSON"),
        (nested(10_000).into_bytes(), "not JSON"),
        (b"[]".to_vec(), "no object with an array `events`"),
        (b"{\"events\": {}}".to_vec(), "no object with an array `events`"),
        (one(json!(7)), "`target` is missing"),
        (one(changed_value(&notice, "action", json!("frobnicate"))), "`action` is \\\"frobnicate\\\""),
        (one(changed_value(&notice, "action", json!(1))), "`action` should be a string"),
        (one(changed_value(&notice, "id", Value::Null)), "`id` is missing"),
        (one(changed_value(&notice, "target", json!({"repository": "../x"}))), "`target.repository`"),
        (
            one(changed_value(&notice, "target", json!({"repository": "acme/good", "tag": 1}))),
            "`tag` should be a string",
        ),
        (huge.into_bytes(), "the notice is too large; this is its first 4194304 bytes"),
    ];
    for (count, (body, why)) in cases.iter().enumerate() {
        let answer = rig.fleet.api.send(Method::POST, INGEST, NOTICES, body.clone()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0), "{shown}: {}", answer.text());
        let letters = eventually(SOON, async || {
            Some(rig.fleet.api.dead_letters("").await).filter(|letters| letters.len() > count)
        });
        let letters = letters.await;
        assert_eq!(letters.len(), count + 1, "{shown}");
        let id = letters[0]["id"].as_str().expect("an id");
        let letter = rig.fleet.api.get(&format!("/v1/dead-letters/{id}")).await;
        assert_eq!(
            (letter["origin"].as_str(), letter["reason"].as_str()),
            (Some("ingest.distribution"), Some("undecodable")),
            "{shown}"
        );
        assert!(letter["detail"].to_string().contains(why), "{shown}: {}", letter["detail"]);
        check_bytes(&letter, body);
    }
    let quarantined = rig.fleet.api.counted("bellbuoy_events_quarantined_total", &[]).await;
    assert!((quarantined - f64::from(u32::try_from(cases.len()).expect("few"))).abs() < 0.5, "{quarantined}");
    rig.still_works().await;
    rig.nothing_broke().await;
}

fn changed_value(whole: &Value, member: &str, to: Value) -> Value {
    serde_json::from_slice(&changed(whole, member, to)).expect("JSON")
}

/// The letter holds what was sent: the whole envelope, the one notice of it that was at fault, or what was taken.
fn check_bytes(letter: &Value, sent: &[u8]) {
    let text = letter["body"].as_str().expect("a body");
    let kept = match letter["body_encoding"].as_str() {
        Some("base64") => BASE64_STANDARD.decode(text).expect("base64"),
        _ => text.as_bytes().to_vec(),
    };
    let notice = serde_json::from_slice::<Value>(sent).ok().map(|envelope| envelope["events"][0].to_string());
    let is_notice = notice.is_some_and(|notice| notice.as_bytes() == kept);
    assert!(is_notice || kept == sent[..sent.len().min(4 << 20)], "{} bytes of {}", kept.len(), sent.len());
}

#[tokio::test]
async fn a_good_notice_beside_a_bad_one_gets_through() {
    let mut rig = Rig::start().await;
    let good = json!({"id": "n1", "action": "push", "request": {"method": "PUT"}, "target": {"repository": "acme/good",
        "tag": "v1", "digest": "sha256:6f", "mediaType": "application/vnd.oci.image.manifest.v1+json"}});
    let envelope = json!({"events": [{"id": "n0", "action": "frobnicate", "target": {"repository": "acme/good"}}, good]});
    let answer = rig.fleet.api.send(Method::POST, INGEST, "text/nonsense", envelope.to_string()).await;
    assert_eq!(answer.status, 202);
    rig.receiver.wait_for(1, |request| request.path == "/good").await.expect("the good one");
    rig.good += 1;
    let letters =
        async || (rig.fleet.api.dead_letters("origin=ingest.distribution").await.len() == 1).then_some(());
    eventually(SOON, letters).await;
    rig.nothing_broke().await;
}

/// Sends bytes as they are and reads what is answered until the server closes; `None` when it doesn't within 15 s.
async fn raw(address: &str, bytes: &[u8]) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a client on loopback that no HTTP library would be")]
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    // It may have hung up before the last byte.
    drop(stream.write_all(bytes).await);
    drop(stream.shutdown().await);
    let mut answer = Vec::new();
    timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await.ok()?.ok();
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn what_is_hardly_http_is_refused_or_cut_and_smuggles_nothing() {
    let rig = Rig::start().await;
    let auth = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: {CLOUD_EVENT}\r\n");
    let smuggled = push("smuggled", "acme/good", "v1").to_string();
    let inner = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let head = |lines: &str| format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{auth}{lines}\r\n");
    let cases = [
        ("garbage", b"\x00\x01\x02\x03\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("bad version", b"GET /healthz HTTP/9.9\r\n\r\n".to_vec()),
        ("no version", b"GET /healthz\r\n\r\n".to_vec()),
        ("space in path", b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (
            "two lengths",
            head(&format!("Content-Length: 0\r\nContent-Length: {}\r\n", inner.len())).into_bytes(),
        ),
        ("negative length", head("Content-Length: -1\r\n").into_bytes()),
        ("long length", head("Content-Length: 99999999999999999999999\r\n").into_bytes()),
        ("bad chunk", [head("Transfer-Encoding: chunked\r\n").as_bytes(), b"zz\r\n"].concat()),
        ("odd encoding", head("Transfer-Encoding: chunked, frob\r\n").into_bytes()),
        (
            "length and chunks",
            [
                head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n").as_bytes(),
                b"0\r\n\r\n",
                inner.as_bytes(),
            ]
            .concat(),
        ),
        ("long header", head(&format!("X-Long: {}\r\n", "x".repeat(2_000_000))).into_bytes()),
        ("many headers", head(&"X-Many: 1\r\n".repeat(5000)).into_bytes()),
        ("long path", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1_000_000)).into_bytes()),
        ("cut body", [head("Content-Length: 500\r\n").as_bytes(), b"{\"specversion\""].concat()),
    ];
    for (name, mut bytes) in cases {
        if name == "two lengths" {
            bytes.extend_from_slice(inner.as_bytes());
        }
        let answer = raw(rig.fleet.address(), &bytes).await.unwrap_or_else(|| panic!("{name} was left open"));
        let first = answer.lines().next().unwrap_or_default();
        assert!(
            first.is_empty() || first.starts_with("HTTP/1.1 4") || first.starts_with("HTTP/1.0 4"),
            "{name}: {first}"
        );
    }
    let answer = rig.fleet.api.send(Method::GET, "/v1/events/smuggled", "", "").await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    rig.nothing_broke().await;
}

#[tokio::test]
async fn two_hundred_slow_heads_are_cut_and_a_good_event_gets_through_meanwhile() {
    let mut rig = Rig::start().await;
    let address = rig.fleet.address().to_owned();
    let slow = (0..200).map(|_| drip_head(&address));
    let (lives, ()) = tokio::join!(join_all(slow), async {
        for _ in 0..20 {
            rig.still_works().await;
        }
    });
    // The limit of a head is 10 s, however lively it drips.
    let longest = lives.into_iter().max().expect("a life");
    assert!(longest < Duration::from_secs(20), "{longest:?}");
    rig.nothing_broke().await;
}

/// Sends a head a byte a second until it is cut; how long that took.
async fn drip_head(address: &str) -> Duration {
    let begun = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "a client on loopback that no HTTP library would be")]
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    let mut every = interval(Duration::from_secs(1));
    let (mut letters, mut answer) =
        (b"POST /v1/events HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')), [0; 1024]);
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => if !matches!(read, Ok(1..)) { return begun.elapsed() },
            _ = every.tick() => {
                let letter = letters.next().expect("there is always another");
                if stream.write_all(&[*letter]).await.is_err() {
                    return begun.elapsed();
                }
            }
        }
        assert!(begun.elapsed() < SOON, "never cut");
    }
}
