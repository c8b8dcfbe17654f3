//! Receivers at their worst: what an attempt at each of them comes to, seen as its owner sees it, and that
//! nobody else pays for it.

#![expect(clippy::print_stdout, reason = "what was measured, for whoever runs it with --no-capture")]

mod support;

use std::time::Duration;

use bellbuoy_testkit::process::free_port;
use bellbuoy_testkit::receiver::{Answer, Receiver, Reply, Setup};
use bellbuoy_testkit::wait::eventually;
use http::Method;
use serde_json::{Value, json};
use support::{Client, ENDED, Fleet, SOON, deliver, deliver_all, milliseconds, push};

/// The deadline of every attempt here.
const DEADLINE: Duration = Duration::from_secs(2);

/// Beyond the deadline, for a busy machine: far less than what the receivers below would take.
const SLACK: Duration = Duration::from_secs(2);

/// One attempt, and the next one long after the test.
const ONE_ATTEMPT: &[(&str, &str)] =
    &[("BELLBUOY_RETRY__STEPS", "1h"), ("BELLBUOY_OUTBOUND__DEADLINE_SECONDS", "2")];

async fn receiver() -> Receiver {
    Receiver::start().await.expect("a receiver")
}

#[tokio::test]
async fn each_hostile_answer_is_a_deferred_attempt_with_its_cause_in_bounded_time_and_memory() {
    let every = Duration::from_secs(1);
    let elsewhere = receiver().await;
    let hostile = [
        ("never", Answer::Never, "timeout", "no answer within 2s"),
        ("drip-head", Answer::DripHead { every }, "timeout", "no answer within 2s"),
        ("drip-body", Answer::DripBody { every }, "timeout", "the answer was not whole within 2s"),
        ("huge", Answer::Endless { announced: true }, "response_too_large", "larger than 1048576 bytes"),
        ("chunks", Answer::Endless { announced: false }, "response_too_large", "larger than 1048576 bytes"),
        (
            "headers",
            Answer::ManyHeaders(100_000),
            "protocol",
            "the head of the answer was larger than allowed",
        ),
        (
            "header",
            Answer::LongHeader(50_000_000),
            "protocol",
            "the head of the answer was larger than allowed",
        ),
        ("endless-head", Answer::EndlessHead, "protocol", "the head of the answer was larger than allowed"),
        ("reset", Answer::ResetUnanswered, "reset", "closed the connection before its answer was whole"),
        ("close", Answer::CloseUnanswered, "reset", "closed the connection before its answer was whole"),
        ("half-head", Answer::HalfHead, "reset", "closed the connection before its answer was whole"),
        ("reset-body", Answer::ResetMidBody, "reset", "closed the connection before its answer was whole"),
        ("close-body", Answer::CloseMidBody, "reset", "closed the connection before its answer was whole"),
        (
            "close-chunks",
            Answer::CloseMidChunks,
            "reset",
            "closed the connection before its answer was whole",
        ),
        ("smtp", Answer::raw(b"220 mail.example.com ESMTP\r\n\r\n"), "protocol", "the answer was not HTTP"),
        (
            "redirect",
            Answer::redirect(&elsewhere.url("/secret")),
            "http_3xx",
            "answered 302 to 127.0.0.1; this redirect is not followed",
        ),
        ("error", Answer::text(500, "x".repeat(1000)), "http_5xx", "answered 500"),
    ];
    let fleet = Fleet::start(ONE_ATTEMPT).await;
    let receiver = receiver().await;
    let before = fleet.process.usage().expect("its memory").peak_rss;
    for (name, answer, _, _) in &hostile {
        receiver.script(&format!("/{name}"), [answer.clone()]);
        fleet.api.webhook(&format!("acme/{name}"), "repo_push", &receiver.url(&format!("/{name}"))).await;
    }
    // All at once, so that their memory adds up.
    let detail = |name: &'static str| {
        let api = fleet.api.clone();
        async move { deliver(&api, &format!("acme/{name}"), &["waiting"]).await }
    };
    let details = futures_util::future::join_all(hostile.iter().map(|(name, ..)| detail(name))).await;
    for ((name, _, code, words), detail) in hostile.iter().zip(details) {
        let attempts = detail["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 1, "{name}: {detail}");
        let (outcome, cause) = (&attempts[0]["outcome"], &attempts[0]["cause"]);
        assert_eq!(
            (outcome.as_str(), cause["code"].as_str()),
            (Some("deferred"), Some(*code)),
            "{name}: {detail}"
        );
        assert!(cause["detail"].as_str().expect("a sentence").contains(words), "{name}: {cause}");
        let took = Duration::from_millis(attempts[0]["duration_ms"].as_u64().expect("a duration"));
        assert!(took < DEADLINE + SLACK, "{name} took {took:?}");
    }
    assert_eq!(elsewhere.connections(), 0, "a redirect is not followed");
    let grown = fleet.process.usage().expect("its memory").peak_rss - before;
    println!("{} MB more at the peak, {} MB poured", grown >> 20, receiver.poured() >> 20);
    // Seventeen answers of at most 1 MiB, and the connections.
    assert!(grown < 64 << 20, "{grown} bytes more");
    // What lies in the kernel's buffers was poured too.
    assert!(receiver.poured() < 128 << 20, "{} bytes", receiver.poured());
}

#[tokio::test]
async fn a_port_that_refuses_and_one_that_never_speaks_are_told_apart() {
    let fleet = Fleet::start(ONE_ATTEMPT).await;
    let silent = Receiver::start_with(Setup { silent: true, ..Setup::default() }).await.expect("a receiver");
    fleet.api.webhook("acme/refused", "repo_push", &format!("http://127.0.0.1:{}/", free_port())).await;
    fleet.api.webhook("acme/silent", "repo_push", &silent.url("/")).await;
    // Named outright it would be refused at once.
    let led = receiver().await;
    led.script("/", [Answer::status(307).with("location", "http://169.254.169.254/latest/meta-data")]);
    let forbidden = json!({"scope": {"repository": "acme/forbidden"}, "kinds": ["repo_push"], "method": "webhook",
        "config": {"url": led.url("/"), "follow_redirects": true}});
    fleet.api.wish(&forbidden).await;
    for (repository, code) in
        [("acme/refused", "connect"), ("acme/silent", "timeout"), ("acme/forbidden", "blocked")]
    {
        let detail = deliver(&fleet.api, repository, &["waiting"]).await;
        assert_eq!(detail["attempts"][0]["cause"]["code"], code, "{detail}");
    }
}

#[tokio::test]
async fn a_retry_after_is_waited_for_and_two_attempts_are_all_it_takes() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "100ms,100ms")]).await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::status(503).with("retry-after", "3"), Answer::status(200)]);
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let detail = deliver(&fleet.api, "acme/api", &["delivered"]).await;
    let requests = receiver.requests();
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_secs(3), "{waited:?}");
    let attempts = detail["attempts"].as_array().expect("attempts");
    let told: Vec<_> = attempts.iter().map(|a| (a["outcome"].as_str(), a["status"].as_u64())).collect();
    assert_eq!(told, [(Some("deferred"), Some(503)), (Some("delivered"), Some(200))]);
    let header = |place: usize, name| requests[place].header(name).map(str::to_owned);
    assert_eq!(requests.len(), 2);
    assert_eq!(
        (header(0, "bellbuoy-attempt"), header(1, "bellbuoy-attempt")),
        (Some("1".into()), Some("2".into()))
    );
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"));
    assert_eq!(requests[0].body, requests[1].body);
    assert_ne!(header(0, "webhook-timestamp"), header(1, "webhook-timestamp"));
    assert_ne!(header(0, "webhook-signature"), header(1, "webhook-signature"));
}

#[tokio::test]
async fn a_retry_after_outlives_a_restart() {
    let mut fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "100ms,100ms")]).await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::status(429).with("retry-after", "3"), Answer::status(200)]);
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    deliver(&fleet.api, "acme/api", &["waiting"]).await;
    fleet.process.kill_9();
    fleet.start_again().await;
    fleet.api.until("", 1, &["delivered"]).await;
    let requests = receiver.requests();
    let waited = requests[1].at - requests[0].at;
    assert!(
        requests.len() == 2 && waited >= Duration::from_secs(3),
        "{} requests, {waited:?}",
        requests.len()
    );
}

#[tokio::test]
async fn a_wait_says_when_the_delivery_is_next_due() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "1h,2h")]).await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::status(503)]);
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let detail = deliver(&fleet.api, "acme/api", &["waiting"]).await;
    let wait = milliseconds(&detail["next_due_at"]) - milliseconds(&detail["attempts"][0]["started_at"]);
    // Between half the step and all of it, and the attempt itself.
    assert!((1_800_000..=3_660_000).contains(&wait), "{wait} ms: {detail}");
    assert_eq!(detail["cause"]["detail"], "answered 503", "{detail}");
}

#[tokio::test]
async fn a_client_error_is_given_up_after_three_attempts_and_a_server_error_at_the_schedules_end() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "20ms,20ms,20ms")]).await;
    let receiver = receiver().await;
    for (status, attempts) in
        [(400, 3), (404, 3), (413, 3), (422, 3), (401, 4), (403, 4), (429, 4), (500, 4), (503, 4), (302, 4)]
    {
        let (path, repository) = (format!("/{status}"), format!("acme/s{status}"));
        receiver.script(&path, [Answer::status(status)]);
        fleet.api.webhook(&repository, "repo_push", &receiver.url(&path)).await;
        let detail = deliver(&fleet.api, &repository, &["dead"]).await;
        assert_eq!(detail["attempt_count"], attempts, "{detail}");
        let letters = async || {
            let letters = fleet.api.dead_letters(&format!("subject={repository}")).await;
            (!letters.is_empty()).then_some(letters)
        };
        let letters = eventually(SOON, letters).await;
        let told = letters.iter().map(|letter| (&letter["delivery"], letter["reason"].as_str()));
        assert_eq!(told.collect::<Vec<_>>(), [(&detail["id"], Some("attempts_exhausted"))], "{letters:?}");
        assert!(letters[0]["detail"].as_str().expect("why").contains(&status.to_string()), "{letters:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_its_notification_and_a_reset_brings_it_back() {
    let fleet = Fleet::start(&[]).await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::status(410), Answer::status(200)]);
    let kim = keeper(&fleet.api, "acme/api").await;
    let wish = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let path = format!("/v1/notifications/{}", wish.id);
    let detail = deliver(&fleet.api, "acme/api", &["dead"]).await;
    assert_eq!(
        (detail["attempt_count"].as_u64(), &detail["attempts"][0]["cause"]["code"]),
        (Some(1), &json!("gone"))
    );
    let disabled = eventually(SOON, async || {
        Some(fleet.api.get(&path).await).filter(|notification| notification["state"] == "disabled")
    });
    assert_eq!(disabled.await["state_reason"], "its receiver answered 410 Gone");
    let told = async || {
        let page = kim.get("/v1/inbox").await;
        page["items"].as_array().filter(|items| !items.is_empty()).cloned()
    };
    let told = eventually(SOON, told).await;
    assert_eq!((told.len(), &told[0]["kind"]), (1, &json!("notification_disabled")), "{told:?}");
    let said = &told[0]["metadata"];
    assert_eq!((&said["notification_uuid"], &said["repository"]), (&json!(wish.id), &json!("acme/api")));
    assert_eq!(said["message"], "its receiver answered 410 Gone");
    let letters = async || Some(fleet.api.dead_letters("").await).filter(|letters| !letters.is_empty());
    assert_eq!(eventually(SOON, letters).await[0]["reason"], "rejected");

    fleet.api.publish(&push("second", "acme/api", "v2")).await;
    let explained = async || {
        let answer = fleet.api.send(Method::GET, "/v1/events/second", "", "").await;
        (answer.status == 200 && answer.json()["events"][0]["fanned_out"] == true).then(|| answer.json())
    };
    let explained = eventually(SOON, explained).await;
    let considered = &explained["events"][0]["considered"][0];
    assert_eq!((considered["matches"].as_bool(), receiver.requests().len()), (Some(false), 1), "{explained}");
    assert!(considered["why_not"].as_str().expect("why").contains("410"), "{explained}");

    assert_eq!(fleet.api.post(&format!("{path}/reset"), &json!({})).await.status, 200);
    fleet.api.publish(&push("third", "acme/api", "v3")).await;
    fleet.api.until("event=third", 1, &["delivered"]).await;
    assert_eq!(kim.get("/v1/inbox").await["items"], json!(told), "once for each disabling");
}

/// The API as kim sees it, who looks after `repository`.
async fn keeper(api: &Client, repository: &str) -> Client {
    let people = json!({"version": 1, "users": [{"name": "kim"}],
        "repositories": [{"name": repository, "permissions": [{"grantee": "kim", "role": "admin"}]}]});
    assert_eq!(api.post("/v1/directory/import", &people).await.status, 200);
    let body = json!({"title": "kim", "account": "kim", "scopes": ["user:admin"]});
    let made = api.post("/v1/tokens", &body).await.json();
    Client::new(&api.url, made["token"].as_str().expect("a token"))
}

#[tokio::test]
async fn a_new_url_serves_the_retries_that_already_wait() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "2s,2s")]).await;
    let receiver = receiver().await;
    receiver.script("/old", [Answer::status(500)]);
    let wish = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/old")).await;
    deliver(&fleet.api, "acme/api", &["waiting"]).await;
    let edited = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook",
        "config": {"url": receiver.url("/new")}});
    let path = format!("/v1/notifications/{}", wish.id);
    let answer = fleet.api.send(Method::PUT, &path, "application/json", edited.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    fleet.api.until("", 1, &["delivered"]).await;
    let requests = receiver.requests();
    let told: Vec<_> = requests.iter().map(|r| (r.path.as_str(), r.header("bellbuoy-attempt"))).collect();
    assert_eq!(told, [("/old", Some("1")), ("/new", Some("2"))]);
}

#[tokio::test]
async fn a_paused_notification_holds_its_deliveries_and_spends_no_attempt() {
    let fleet = Fleet::start(&[]).await;
    let receiver = receiver().await;
    let wish = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let pause = fleet.api.post(&format!("/v1/notifications/{}/pause", wish.id), &json!({})).await;
    assert_eq!(pause.json()["state"], "paused");
    let detail = deliver(&fleet.api, "acme/api", &["waiting"]).await;
    assert_eq!((detail["attempt_count"].as_u64(), &detail["attempts"]), (Some(0), &json!([])), "{detail}");
    assert_eq!(detail["cause"]["code"], "paused", "{detail}");
    assert!(detail["next_due_at"].is_string() && receiver.requests().is_empty(), "{detail}");
    assert!(fleet.api.counted("bellbuoy_delivery_holds_total", &[r#"reason="paused""#]).await > 0.5);
}

/// A server that says these bytes to whoever connects, whatever it is told, and keeps the connection.
async fn raw_server(said: &'static [u8]) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The other side may have gone; then there is nobody to tell.
                if stream.write_all(said).await.is_ok() {
                    let mut heard = [0; 1024];
                    while matches!(stream.read(&mut heard).await, Ok(1..)) {}
                }
            });
        }
    });
    address
}

/// Makes a webhook for each, publishes to all of them at once, and gives back what became of each first attempt: its
/// outcome, the code and the sentence of its cause.
async fn first_attempts(fleet: &Fleet, urls: &[String]) -> Vec<(String, String, String)> {
    let configs: Vec<_> = urls.iter().map(|url| json!({ "url": url })).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told = |detail: Value| {
        let attempt = &detail["attempts"][0];
        (text(&attempt["outcome"]), text(&attempt["cause"]["code"]), text(&attempt["cause"]["detail"]))
    };
    deliver_all(&fleet.api, &configs).await.into_iter().map(told).collect()
}

#[tokio::test]
async fn what_is_an_answer_is_told_from_what_is_none() {
    // 500 kB that would be 500 MB, if anybody asked for it; nobody does.
    let bomb = Answer::text(200, vec![0x1f; 500_000]).with("content-encoding", "gzip");
    let raw = |bytes: &'static [u8]| Answer::raw(bytes);
    let answers = [
        ("200", Answer::status(200), ""),
        ("201", Answer::status(201), ""),
        ("202", Answer::text(202, "thanks"), ""),
        ("204", Answer::status(204), ""),
        ("206", Answer::status(206), ""),
        ("299", Answer::status(299), ""),
        ("kept open and then closed", Answer::ThenClose(Reply::new(200)), ""),
        ("HTTP/1.0", raw(b"HTTP/1.0 200 OK\r\n\r\nok"), ""),
        ("gzip bomb", bomb, ""),
        (
            "early hints",
            raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            "",
        ),
        ("99 headers", Answer::ManyHeaders(99), ""),
        ("only 100", Answer::RawThenNever("HTTP/1.1 100 Continue\r\n\r\n".into()), "timeout"),
        ("endless 100", Answer::RawThenNever("HTTP/1.1 100 Continue\r\n\r\n".repeat(2000).into()), "timeout"),
        ("101 headers", Answer::ManyHeaders(101), "protocol"),
        ("binary", raw(b"\x00\x01\x02\xff\xfe\r\n\r\n"), "protocol"),
        ("bad status", raw(b"HTTP/1.1 abc OK\r\n\r\n"), "protocol"),
        (
            "two lengths",
            raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
            "protocol",
        ),
        ("NUL in a header", raw(b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n"), "protocol"),
        ("HTTP/0.9", raw(b"<html>hello</html>\r\n"), "protocol"),
        ("bad chunk", raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"), "protocol"),
        ("switching", raw(b"HTTP/1.1 101 X\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), "http_other"),
        ("999", Answer::status(999), "http_other"),
        ("409", Answer::status(409), "http_retryable"),
        ("413", Answer::status(413), "http_4xx"),
        ("401", Answer::status(401), "http_auth"),
    ];
    let fleet = Fleet::start(ONE_ATTEMPT).await;
    let receiver = receiver().await;
    let urls = answers.iter().enumerate().map(|(place, (_, answer, _))| {
        receiver.script(&format!("/{place}"), [answer.clone()]);
        receiver.url(&format!("/{place}"))
    });
    let urls: Vec<_> = urls.collect();
    let before = fleet.process.usage().expect("its memory").peak_rss;
    let found = first_attempts(&fleet, &urls).await;
    for ((name, _, code), (outcome, found, detail)) in answers.iter().zip(found) {
        let expected = if code.is_empty() { "delivered" } else { "deferred" };
        assert_eq!((outcome.as_str(), found.as_str()), (expected, *code), "{name}: {detail}");
    }
    assert!(fleet.process.usage().expect("its memory").peak_rss - before < 64 << 20);
}

#[tokio::test]
async fn each_failed_handshake_says_what_failed() {
    use bellbuoy_testkit::certs::{Authority, Identity};
    use bellbuoy_testkit::receiver::Tls;
    let (ours, theirs) = (Authority::new("ours").expect("one"), Authority::new("theirs").expect("another"));
    let names = &["127.0.0.1"];
    let rows = [
        (ours.server(names), ""),
        (ours.expired_server(names), "has expired"),
        (ours.future_server(names), "is not valid yet"),
        (ours.server(&["other.example"]), "is for another host name"),
        (ours.server(&[]), "is for another host name"),
        (ours.client("127.0.0.1"), "is not for servers"),
        (Identity::self_signed(names), "is signed by an authority that is not trusted here"),
        (theirs.server(names), "is signed by an authority that is not trusted here"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, ours.pem()).expect("written");
    let ca = ca.display().to_string();
    let mut settings = ONE_ATTEMPT.to_vec();
    settings.extend([
        ("BELLBUOY_OUTBOUND__EXTRA_CA", ca.as_str()),
        ("BELLBUOY_OUTBOUND__TLS_TIMEOUT_SECONDS", "1"),
    ]);
    let fleet = Fleet::start(&settings).await;
    let (mut urls, mut expected, mut receivers) = (Vec::new(), Vec::new(), Vec::new());
    for (identity, said) in rows {
        let receiver =
            Receiver::start_tls(Tls::new(identity.expect("a certificate"))).await.expect("a receiver");
        urls.push(receiver.url("/hook"));
        expected.push((if said.is_empty() { "" } else { "tls" }, said));
        receivers.push(receiver);
    }
    // An alert by which a server of TLS 1.1 ends it, plain HTTP, and nothing at all.
    let old = raw_server(b"\x15\x03\x01\x00\x02\x02\x46").await;
    let plain = receiver().await;
    let silent = Receiver::start_with(Setup { silent: true, ..Setup::default() }).await.expect("a receiver");
    for (address, code, said) in [
        (old, "tls", "speaks no TLS version that we do"),
        (plain.address(), "tls", "did not answer in TLS"),
        (silent.address(), "timeout", "no secure connection within 1s"),
    ] {
        urls.push(format!("https://{address}/hook"));
        expected.push((code, said));
    }
    let found = first_attempts(&fleet, &urls).await;
    for ((code, said), (_, found, detail)) in expected.iter().zip(found) {
        assert!(found == *code && detail.contains(said), "{said}: {found}: {detail}");
    }
    assert_eq!(receivers.iter().map(|receiver| receiver.requests().len()).sum::<usize>(), 1);
}

#[tokio::test]
async fn names_and_addresses_that_lead_nowhere_are_told_and_a_dead_one_beside_a_live_one_is_passed_by() {
    let mut settings = ONE_ATTEMPT.to_vec();
    settings.extend([
        ("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8,::1/128,192.0.2.0/24"),
        ("BELLBUOY_OUTBOUND__CONNECT_TIMEOUT_SECONDS", "1"),
    ]);
    let fleet = Fleet::start(&settings).await;
    let receiver = receiver().await;
    let setup = Setup { address: Some("[::1]:0".parse().expect("an address")), ..Setup::default() };
    let sixth = Receiver::start_with(setup).await.expect("loopback of IPv6");
    let urls = [
        ("http://receiver.invalid/hook".to_owned(), "dns"),
        (format!("http://{}.example/hook", "a.".repeat(120)), "dns"),
        (format!("http://127.0.0.1:{}/hook", free_port()), "connect"),
        ("http://192.0.2.1:8081/hook".to_owned(), "connect"),
        (sixth.url("/hook"), ""),
        // It has two addresses on most machines, one of them without such a port.
        (receiver.url_at("localhost", "/hook"), ""),
    ];
    let asked: Vec<_> = urls.iter().map(|(url, _)| url.clone()).collect();
    for ((url, code), (_, found, detail)) in urls.iter().zip(first_attempts(&fleet, &asked).await) {
        assert_eq!(found, *code, "{url}: {detail}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_a_failed_attempt_and_the_next_has_the_same_id() {
    let mut settings = ONE_ATTEMPT.to_vec();
    settings.push(("BELLBUOY_RETRY__STEPS", "100ms,1h"));
    let fleet = Fleet::start(&settings).await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::OnRelease(Reply::new(200)), Answer::status(200)]);
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let detail = deliver(&fleet.api, "acme/api", &["delivered"]).await;
    receiver.release();
    assert_eq!(detail["attempts"][0]["cause"]["code"], "timeout", "{detail}");
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    assert_eq!(requests[0].body, requests[1].body);
}

#[tokio::test]
async fn what_is_posted_back_to_us_ends_by_itself() {
    let fleet = Fleet::start(&[]).await;
    for grain in ["event", "tag"] {
        let config = json!({"url": format!("{}/v1/events", fleet.api.url), "bearer_token": support::TOKEN,
            "headers": {"Content-Type": "application/cloudevents+json"}, "one_request_per": grain});
        let repository = format!("acme/{grain}");
        let wish = json!({"scope": {"repository": repository}, "kinds": ["repo_push"], "method": "webhook",
            "format": "cloudevents", "config": config});
        fleet.api.wish(&wish).await;
        let mut event = push(grain, &repository, "v1");
        event["data"]["updated_tags"] = json!(["v1", "v2", "v3"]);
        fleet.api.publish(&event).await;
        // The event itself, or its three parts, each of which comes back as an event of its own, once.
        let expected = if grain == "event" { 1 } else { 6 };
        fleet.api.until(&format!("subject={repository}"), expected, &["delivered"]).await;
    }
    // One more, so that whatever was on its way has come through.
    fleet.api.publish(&push("last", "acme/event", "v9")).await;
    fleet.api.until("event=last", 1, &["delivered"]).await;
    assert_eq!(fleet.api.deliveries("").await.len(), 8);
}

#[tokio::test]
async fn a_receiver_says_by_a_header_that_it_wants_no_more_of_a_delivery_or_of_its_notification() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "1h")]).await;
    let receiver = receiver().await;
    let says = |status, word: &str| Answer::status(status).with("webhook-delivery", word);
    receiver.script("/aborts", [says(503, "abort-message"), Answer::status(200)]);
    receiver.script("/disables", [says(500, "disable")]);
    receiver.script("/takes-the-last", [says(200, "disable")]);
    receiver.script("/babbles", [says(200, "abort-message, please")]);
    let mut wishes = Vec::new();
    for (repository, path) in [
        ("acme/a", "/aborts"),
        ("acme/b", "/disables"),
        ("acme/c", "/takes-the-last"),
        ("acme/d", "/babbles"),
    ] {
        wishes.push(fleet.api.webhook(repository, "repo_push", &receiver.url(path)).await);
    }
    let rejected = |cause: &str| (json!("dead"), json!("rejected"), json!(cause));
    for (repository, expected) in [
        ("acme/a", rejected("aborted")),
        ("acme/b", rejected("unwanted")),
        ("acme/c", (json!("delivered"), json!("delivered"), json!("unwanted"))),
        ("acme/d", (json!("delivered"), json!("delivered"), Value::Null)),
    ] {
        let delivery = deliver(&fleet.api, repository, ENDED).await;
        let attempts = delivery["attempts"].as_array().expect("attempts");
        let last = attempts.last().expect("one").clone();
        assert_eq!(
            (delivery["state"].clone(), last["outcome"].clone(), last["cause"]["code"].clone()),
            expected
        );
        assert_eq!(attempts.len(), 1, "{delivery}");
    }
    for (wish, state) in wishes.iter().zip(["active", "disabled", "disabled", "active"]) {
        let path = format!("/v1/notifications/{}", wish.id);
        let found = eventually(SOON, async || {
            let found = fleet.api.get(&path).await;
            (found["state"] == state).then_some(found)
        });
        let found = found.await;
        if state == "disabled" {
            assert_eq!(found["state_reason"], "its receiver answered `webhook-delivery: disable`");
        }
    }
    fleet.api.publish(&push("again", "acme/a", "v2")).await;
    fleet.api.until("subject=acme/a&state=delivered", 1, ENDED).await;
}

/// The notification at `path`, once it is in `state`.
async fn in_state(api: &Client, path: &str, state: &str) -> Value {
    let look = async || Some(api.get(path).await).filter(|found| found["state"] == state);
    eventually(SOON, look).await
}

#[tokio::test]
async fn a_notification_that_was_disabled_is_tried_by_one_delivery_before_the_others_go() {
    const OTHERS: usize = 5;
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "50ms"), ("BELLBUOY_LIMITS__FAILURES", "2")]).await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::status(500)]);
    let wish = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let path = format!("/v1/notifications/{}", wish.id);
    for id in ["first", "second"] {
        fleet.api.publish(&push(id, "acme/api", id)).await;
    }
    in_state(&fleet.api, &path, "disabled").await;
    fleet.api.until("", 2, &["dead"]).await;

    // It still fails: the first that goes finds out, and it is disabled again at once.
    assert_eq!(fleet.api.post(&format!("{path}/reset"), &json!({})).await.json()["state"], "probation");
    receiver.clear();
    fleet.api.publish(&push("third", "acme/api", "third")).await;
    let again = in_state(&fleet.api, &path, "disabled").await;
    let why = again["state_reason"].as_str().expect("a reason");
    assert!(why.contains("the first delivery after it had been disabled failed: http_5xx"), "{why}");
    assert_eq!(receiver.requests().len(), 1);
    fleet.api.until("", 3, &["dead"]).await;

    // It has been put right: one goes, the others wait for it, and then all go.
    receiver.script("/hook", [Answer::OnRelease(Reply::new(200))]);
    receiver.clear();
    assert_eq!(fleet.api.post(&format!("{path}/reset"), &json!({})).await.json()["state"], "probation");
    for number in 0..OTHERS {
        let id = format!("other {number}");
        fleet.api.publish(&push(&id, "acme/api", &id)).await;
    }
    receiver.wait_for(1, |_| true).await.expect("the one");
    let held = async || {
        let rows = fleet.api.deliveries("state=waiting").await;
        let held = rows.iter().filter(|row| row["cause"]["code"] == "on_probation").count();
        // The one that goes was held as well before, perhaps.
        (held >= OTHERS - 1).then_some(())
    };
    eventually(SOON, held).await;
    assert_eq!(receiver.requests().len(), 1, "the others wait");
    receiver.release();
    fleet.api.until("state=delivered", OTHERS, ENDED).await;
    let found = in_state(&fleet.api, &path, "active").await;
    assert_eq!((&found["state_reason"], &found["failures"]), (&Value::Null, &json!(0)));

    // What was missed meanwhile is still there, and can be sent for it.
    for letter in fleet.api.dead_letters(&format!("notification={}", wish.id)).await {
        let replay = format!("/v1/dead-letters/{}/replay", letter["id"].as_str().expect("an id"));
        assert_eq!(fleet.api.post(&replay, &json!({})).await.status, 202);
    }
    fleet.api.until("", 3 + OTHERS, &["delivered"]).await;
}

#[tokio::test]
async fn a_notification_that_kept_failing_comes_back_by_itself_where_the_operator_says_so() {
    let settings = [
        ("BELLBUOY_RETRY__STEPS", "50ms"),
        ("BELLBUOY_LIMITS__FAILURES", "1"),
        ("BELLBUOY_LIMITS__BACK_AFTER_SECONDS", "2"),
    ];
    let fleet = Fleet::start(&settings).await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::status(500), Answer::status(500), Answer::status(200)]);
    let wish = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let path = format!("/v1/notifications/{}", wish.id);
    fleet.api.publish(&push("first", "acme/api", "first")).await;
    in_state(&fleet.api, &path, "disabled").await;
    in_state(&fleet.api, &path, "probation").await;
    fleet.api.publish(&push("second", "acme/api", "second")).await;
    in_state(&fleet.api, &path, "active").await;
    fleet.api.until("event=second", 1, &["delivered"]).await;
}
