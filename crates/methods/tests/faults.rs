//! What a receiver may do wrong over plain HTTP, and what each comes to: in bounded time, in
//! bounded memory, with a cause that says so.

mod common;

use std::time::Duration;

use bellbuoy_domain::{CauseCode, Outcome};
use bellbuoy_methods::Outbound;
use bellbuoy_testkit::receiver::{Answer, Receiver, Reply};
use common::{assert_deferred, client, code, detail, post, post_in_time, settings};

/// More than the kernel's buffers on both sides of a connection take.
const BUFFERS: u64 = 32 * 1024 * 1024;

const TICK: Duration = Duration::from_millis(20);

#[tokio::test]
async fn each_fault_has_its_cause_within_the_deadline() -> anyhow::Result<()> {
    use CauseCode::{HttpOther, Protocol, Reset, ResponseTooLarge, Timeout};
    const CUT: &str = "the receiver closed the connection before its answer was whole";
    const HEAD: &str = "the head of the answer was larger than allowed (100 headers, 65536 bytes)";
    const NOT_HTTP: &str = "the answer was not HTTP";
    const LARGE: &str = "the body of the answer was larger than 1048576 bytes";
    const NONE: &str = "no answer within 700ms";
    const PART: &str = "the answer was not whole within 700ms";
    let raw = Answer::raw;
    let never = |bytes: &'static [u8]| Answer::RawThenNever(bytes.into());
    let faults = [
        ("never answers", Answer::Never, Timeout, NONE),
        ("only 1xx", never(b"HTTP/1.1 100 Continue\r\n\r\n"), Timeout, NONE),
        ("half a head, then silence", never(b"HTTP/1.1 200 OK\r\n"), Timeout, NONE),
        ("drips its head", Answer::DripHead { every: TICK }, Timeout, NONE),
        ("drips its body", Answer::DripBody { every: TICK }, Timeout, PART),
        ("half a body, then silence", never(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"), Timeout, PART),
        ("10 GB announced", Answer::Endless { announced: true }, ResponseTooLarge, LARGE),
        ("10 GB in chunks", Answer::Endless { announced: false }, ResponseTooLarge, LARGE),
        ("101 headers", Answer::ManyHeaders(101), Protocol, HEAD),
        ("5000 headers", Answer::ManyHeaders(5000), Protocol, HEAD),
        ("a header of 1 MB", Answer::LongHeader(1024 * 1024), Protocol, HEAD),
        ("an endless head", Answer::EndlessHead, Protocol, HEAD),
        ("closes unanswered", Answer::CloseUnanswered, Reset, CUT),
        ("resets unanswered", Answer::ResetUnanswered, Reset, CUT),
        ("half a head", Answer::HalfHead, Reset, CUT),
        ("closes in the body", Answer::CloseMidBody, Reset, CUT),
        ("resets in the body", Answer::ResetMidBody, Reset, CUT),
        ("closes between chunks", Answer::CloseMidChunks, Reset, CUT),
        ("a mail server's banner", raw(b"220 mail.example ESMTP\r\n"), Protocol, NOT_HTTP),
        ("binary", raw(b"\x00\x01\x02\xff\xfe\r\n\r\n"), Protocol, NOT_HTTP),
        ("no status", raw(b"HTTP/1.1 abc OK\r\n\r\n"), Protocol, NOT_HTTP),
        (
            "two lengths",
            raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
            Protocol,
            NOT_HTTP,
        ),
        ("a length that is none", raw(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nx"), Protocol, NOT_HTTP),
        ("NUL in a header", raw(b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n"), Protocol, NOT_HTTP),
        ("HTTP/0.9", raw(b"<html>hello</html>\r\n"), Protocol, NOT_HTTP),
        (
            "a chunk size that is none",
            raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"),
            Protocol,
            "the body of the answer was not HTTP",
        ),
        (
            "another protocol",
            raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            HttpOther,
            "answered 101",
        ),
        ("status 999", Answer::status(999), HttpOther, "answered 999"),
    ];
    let receiver = Receiver::start().await?;
    let client = client(settings());
    for (name, answer, expected, said) in faults {
        receiver.script("/hook", [answer]);
        let poured = receiver.poured();
        let report = post_in_time(&client, &receiver.url("/hook?token=hunter2")).await;
        let deferred = matches!(report.outcome, Outcome::Deferred { .. });
        let as_said = code(&report) == Some(expected) && detail(&report).contains(said);
        assert!(deferred && as_said, "{name}: {report:?}");
        assert!(detail(&report).len() <= 300 && !detail(&report).contains("hunter2"), "{name}: {report:?}");
        assert!(receiver.poured() - poured < BUFFERS, "{name} was read on");
    }
    Ok(())
}

#[tokio::test]
async fn every_status_of_the_200s_is_delivered_once_its_answer_is_whole() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(settings());
    for status in [200, 201, 202, 203, 204, 206, 299] {
        let body = if status == 204 { "" } else { "thanks" };
        receiver.script("/hook", [Answer::text(status, body)]);
        let report = post(&client, &receiver.url("/hook")).await;
        assert_eq!((report.outcome, report.status), (Outcome::Delivered, Some(status)));
    }
    for (name, answer) in [
        ("as large as allowed", Answer::text(200, vec![b'x'; 1024 * 1024])),
        ("99 headers", Answer::ManyHeaders(99)),
        ("a long header", Answer::LongHeader(32 * 1024)),
        ("no length, ended by closing", Answer::raw(b"HTTP/1.1 200 OK\r\n\r\nthanks")),
        ("HTTP/1.0", Answer::raw(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")),
        (
            "1xx before",
            Answer::raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "chunked",
            Answer::raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ),
        ("compressed nonsense", Answer::text(200, "not gzip").with("content-encoding", "gzip")),
    ] {
        receiver.script("/hook", [answer]);
        assert_eq!(code(&post(&client, &receiver.url("/hook")).await), None, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_body_one_byte_too_large_is_not_delivered() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(Outbound { max_response_bytes: 10, ..settings() });
    receiver.script("/hook", [Answer::text(200, "0123456789"), Answer::text(200, "0123456789a")]);
    assert_eq!(code(&post(&client, &receiver.url("/hook")).await), None);
    let report = post(&client, &receiver.url("/hook")).await;
    assert_deferred(&report, CauseCode::ResponseTooLarge, "larger than 10 bytes");
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_host_is_named() -> anyhow::Result<()> {
    let (receiver, other) = (Receiver::start().await?, Receiver::start().await?);
    let client = client(settings());
    for status in [301, 302, 303, 307, 308] {
        let leads = other.url_at("localhost", "/x?k=hunter2");
        receiver.script("/hook", [Answer::status(status).with("location", &leads)]);
        let report = post(&client, &receiver.url("/hook")).await;
        let said = format!("answered {status} to localhost; this redirect is not followed");
        assert_deferred(&report, CauseCode::Http3xx, &said);
    }
    assert_eq!(other.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_becomes_the_hint() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(settings());
    receiver.script(
        "/hook",
        [Answer::status(503).with("retry-after", "7"), Answer::status(429).with("retry-after", "soon")],
    );
    let report = post(&client, &receiver.url("/hook")).await;
    assert!(matches!(report.outcome, Outcome::Deferred { hint: Some(hint), .. } if hint.as_secs() == 7));
    let report = post(&client, &receiver.url("/hook")).await;
    assert!(matches!(report.outcome, Outcome::Deferred { hint: None, .. }));
    Ok(())
}

#[tokio::test]
async fn the_status_of_a_refusal_counts_whatever_its_body_does() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(settings());
    for body in ["content-length: 10000000000\r\n\r\nx", "content-length: 9\r\n\r\nx", "\r\nx"] {
        for (status, expected) in [(410, CauseCode::Gone), (503, CauseCode::Http5xx)] {
            let bytes = format!("HTTP/1.1 {status} X\r\nretry-after: 7\r\n{body}");
            receiver.script("/hook", [Answer::RawThenNever(bytes.into())]);
            let report = post_in_time(&client, &receiver.url("/hook")).await;
            assert_eq!((code(&report), report.status), (Some(expected), Some(status)));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_request_says_who_sends_it_and_asks_for_nothing_special() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    post(&client(settings()), &receiver.url("/hook?a=b#c")).await;
    let request = receiver.wait_for(1, |_| true).await?.remove(0);
    assert_eq!((request.method.as_str(), &*request.path), ("POST", "/hook?a=b"));
    assert_eq!(request.header("user-agent"), Some(concat!("bellbuoy/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("host"), Some(&*receiver.address().to_string()));
    assert_eq!(request.header("content-length"), Some("8"));
    assert_eq!(request.headers.len(), 3, "{:?}", request.headers);
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_is_dropped_closes_its_connection() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    receiver.script("/hook", [Answer::OnRelease(Reply::new(200)), Answer::status(200)]);
    let client = client(settings());
    let url = receiver.url("/hook");
    tokio::select! {
        report = post(&client, &url) => panic!("answered before it was let: {report:?}"),
        arrived = receiver.wait_for(1, |_| true) => { arrived?; }
    }
    receiver.release();
    assert_eq!(code(&post(&client, &url).await), None);
    assert_eq!(receiver.connections(), 2);
    Ok(())
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_failed_connection() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let (url, address) = (receiver.url("/hook"), receiver.address());
    receiver.stop().await;
    let report = post(&client(settings()), &url).await;
    assert_deferred(
        &report,
        CauseCode::Connect,
        &format!("could not connect to {address}: connection refused"),
    );
    Ok(())
}
