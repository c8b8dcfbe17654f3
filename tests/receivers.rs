//! Receivers at their worst: what an attempt at each of them comes to, seen as its owner sees it, and that
//! nobody else pays for it.

#![expect(clippy::print_stdout, reason = "what was measured, for whoever runs it with --no-capture")]

mod support;

use std::time::{Duration, Instant};

use bellbuoy_testkit::process::free_port;
use bellbuoy_testkit::receiver::{Answer, Receiver, Setup};
use bellbuoy_testkit::wait::eventually;
use http::Method;
use serde_json::{Value, json};
use support::{Client, Fleet, SOON, push};

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

/// Publishes one push to `repository` and returns its delivery, once it is in one of `states`.
async fn deliver(api: &Client, repository: &str, states: &[&str]) -> Value {
    api.publish(&push(repository, repository, "v1")).await;
    let rows = api.until(&format!("subject={repository}"), 1, states).await;
    api.delivery(&rows[0]["id"]).await
}

fn milliseconds(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()
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
    fleet.api.webhook("acme/forbidden", "repo_push", "http://169.254.169.254/latest/meta-data").await;
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
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "20ms,20ms,20ms,20ms,20ms")]).await;
    let receiver = receiver().await;
    for (status, attempts) in [(404, 3), (422, 3), (401, 6), (429, 6), (500, 6), (503, 6), (302, 6)] {
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

#[tokio::test]
async fn a_hung_receiver_keeps_nobody_else_waiting() {
    let fleet = Fleet::start(ONE_ATTEMPT).await;
    let receiver = receiver().await;
    receiver.script("/hung", [Answer::Never]);
    fleet.api.webhook("acme/hung", "repo_push", &receiver.url("/hung")).await;
    fleet.api.webhook("acme/fine", "repo_push", &receiver.url("/fine")).await;
    for number in 0..100 {
        fleet.api.publish(&push(&format!("h{number}"), "acme/hung", "v1")).await;
    }
    receiver.wait_for(1, |request| request.path == "/hung").await.expect("an attempt");
    let begun = Instant::now();
    for number in 0..20 {
        fleet.api.publish(&push(&format!("f{number}"), "acme/fine", "v1")).await;
    }
    receiver.wait_for(20, |request| request.path == "/fine").await.expect("the others' deliveries");
    assert!(begun.elapsed() < DEADLINE, "{:?}: they waited for the hung ones", begun.elapsed());
}
