//! What follows from a receiver's answer, or from none: redirects that are followed, waits that are asked for, attempts
//! that are repeated, and HTTP/2 broken frame by frame.

mod support;

use std::collections::BTreeSet;

use bellbuoy_testkit::{
    certs::Authority,
    http2,
    receiver::{Answer, Receiver, Reply, Setup, Tls},
    wait::eventually,
};
use jiff::{Timestamp, ToSpan, fmt::strtime, tz::TimeZone};
use serde_json::{Value, json};
use support::{Fleet, SOON, cause, deliver, deliver_all, hook, milliseconds, push, wait_of};

/// One attempt, and the next one long after the test.
const ONE_ATTEMPT: (&str, &str) = ("BELLBUOY_RETRY__STEPS", "1h");

/// What a busy machine may take between an answer and the moment from which its wait is counted, in milliseconds.
const SLACK: i64 = 60_000;

/// What rounding to milliseconds may take of a wait: it is told by three of them.
const ROUNDED: i64 = 3;

async fn receiver() -> Receiver {
    Receiver::start().await.expect("a receiver")
}

fn codes(detail: &Value) -> Vec<&str> {
    let attempts = detail["attempts"].as_array().expect("attempts");
    attempts.iter().map(|attempt| attempt["cause"]["code"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn of_redirects_only_those_that_keep_the_request_are_followed_and_no_circle() {
    let fleet = Fleet::start(&[ONE_ATTEMPT]).await;
    let receiver = receiver().await;
    let statuses = [301, 302, 303, 307, 308];
    let mut configs = Vec::new();
    for (status, follow) in statuses.into_iter().flat_map(|status| [(status, true), (status, false)]) {
        let path = format!("/{status}-{follow}");
        receiver.script(&path, [Answer::status(status).with("location", &format!("/there-{status}"))]);
        configs.push(json!({"url": receiver.url(&path), "follow_redirects": follow}));
    }
    receiver.script("/circle", [Answer::status(307).with("location", "/round")]);
    receiver.script("/round", [Answer::status(308).with("location", "/circle")]);
    configs.push(json!({"url": receiver.url("/circle"), "follow_redirects": true}));
    let details = deliver_all(&fleet.api, &configs).await;
    for (config, detail) in configs.iter().zip(&details) {
        let url = config["url"].as_str().expect("a URL");
        let is_followed = url.ends_with("307-true") || url.ends_with("308-true");
        let expected = if is_followed { ("delivered", "") } else { ("deferred", "http_3xx") };
        let attempt = &detail["attempts"][0];
        assert_eq!(
            (attempt["outcome"].as_str(), cause(detail).0),
            (Some(expected.0), expected.1),
            "{detail}"
        );
    }
    let requests = receiver.requests();
    let to = |path: &str| requests.iter().filter(|request| request.path == path).collect::<Vec<_>>();
    for status in [307, 308] {
        let (first, second) = (to(&format!("/{status}-true")), to(&format!("/there-{status}")));
        assert_eq!((first.len(), second.len()), (1, 1), "{status}");
        assert_eq!((&first[0].body, &first[0].method), (&second[0].body, &second[0].method), "{status}");
        assert_eq!(first[0].header("webhook-signature"), second[0].header("webhook-signature"), "{status}");
    }
    let round = to("/circle").len() + to("/round").len();
    assert!((2..10).contains(&round), "{round} requests in the circle");
    assert_eq!(requests.len(), configs.len() - 1 + 2 + round, "nothing else was followed");
}

#[tokio::test]
async fn every_form_of_a_retry_after_is_waited_for_and_what_is_none_is_ignored() {
    // The schedule's own wait is from 300 s to 600 s.
    let fleet = Fleet::start(&[
        ("BELLBUOY_RETRY__STEPS", "10m,10m"),
        ("BELLBUOY_RETRY__LONGEST_HINT_SECONDS", "7200"),
    ])
    .await;
    let receiver = receiver().await;
    let hour = Timestamp::now() + 1.hour();
    let date =
        |format: &str, at: Timestamp| strtime::format(format, &at.to_zoned(TimeZone::UTC)).expect("a date");
    let imf = "%a, %d %b %Y %H:%M:%S GMT";
    let schedule = 300_000 - ROUNDED..=600_000 + SLACK;
    let an_hour = 3_600_000 - SLACK..=3_600_000 + ROUNDED;
    let seconds = |count: i64| count * 1000 - ROUNDED..=count * 1000 + SLACK;
    let rows = [
        ("3600".to_owned(), seconds(3600)),
        (date(imf, hour), an_hour.clone()),
        (date("%A, %d-%b-%y %H:%M:%S GMT", hour), an_hour.clone()),
        (date("%a %b %e %H:%M:%S %Y", hour), an_hour),
        (date(imf, hour - 48.hours()), schedule.clone()),
        ("0".to_owned(), schedule.clone()),
        ("1".to_owned(), schedule.clone()),
        ("-5".to_owned(), schedule.clone()),
        ("3600.5".to_owned(), schedule.clone()),
        ("soon".to_owned(), schedule.clone()),
        (date("%Y-%m-%d %H:%M:%S", hour), schedule.clone()),
        (date("%a, %d %b %Y %H:%M:%S +0200", hour), schedule),
        ("7199".to_owned(), seconds(7199)),
        ("1000000000000".to_owned(), seconds(7200)),
        ("99999999999999999999999999".to_owned(), seconds(7200)),
        (date(imf, hour + 48.hours()), seconds(7200)),
    ];
    let configs = rows.iter().enumerate().map(|(place, (value, _))| {
        let path = format!("/{place}");
        receiver.script(&path, [Answer::status(503).with("retry-after", value)]);
        json!({"url": receiver.url(&path)})
    });
    let configs: Vec<_> = configs.collect();
    for ((value, expected), detail) in rows.iter().zip(deliver_all(&fleet.api, &configs).await) {
        let wait = wait_of(&detail);
        assert!(expected.contains(&wait), "`{value}`: {wait} ms is not in {expected:?}: {detail}");
    }
}

#[tokio::test]
async fn waits_grow_and_no_two_deliveries_that_failed_together_come_back_together() {
    const MANY: usize = 40;
    // The first wait is over at once, the second is seen.
    let fleet = Fleet::start(&[
        ("BELLBUOY_RETRY__STEPS", "20ms,1h,2h"),
        // Or the later ones would be held.
        ("BELLBUOY_LIMITS__CIRCUIT_FAILURES", "1000"),
    ])
    .await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::status(503)]);
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    for number in 0..MANY {
        fleet.api.publish(&push(&format!("n{number}"), "acme/api", "v1")).await;
    }
    let twice = async || {
        let rows = fleet.api.deliveries("").await;
        (rows.len() == MANY && rows.iter().all(|row| row["attempt_count"] == 2)).then_some(rows)
    };
    let mut waits = BTreeSet::new();
    for row in eventually(SOON, twice).await {
        let detail = fleet.api.delivery(&row["id"]).await;
        let wait = wait_of(&detail);
        assert!((1_800_000 - ROUNDED..=3_600_000 + SLACK).contains(&wait), "{wait} ms: {detail}");
        let begun = |place: usize| milliseconds(&detail["attempts"][place]["started_at"]);
        assert!(begun(1) - begun(0) < wait, "the second wait is longer than the first: {detail}");
        waits.insert(wait / 60_000);
    }
    // Half an hour has thirty minutes; of forty draws fewer than eight different ones are out of the question.
    assert!(waits.len() >= 8, "waits of {waits:?} minutes");
}

#[tokio::test]
async fn many_that_fail_together_all_recover_one_request_each() {
    const MANY: usize = 60;
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", &["2s"; 30].join(","))]).await;
    let receiver = receiver().await;
    let answers = [Answer::status(503), Answer::status(200)];
    for number in 0..MANY {
        receiver.script(&format!("/{number}"), answers.clone());
        let url = receiver.url(&format!("/{number}"));
        fleet.api.webhook(&format!("acme/n{number}"), "repo_push", &url).await;
    }
    for number in 0..MANY {
        fleet.api.publish(&push(&format!("n{number}"), &format!("acme/n{number}"), "v1")).await;
    }
    let rows = fleet.api.until("", MANY, &["delivered"]).await;
    assert!(rows.iter().all(|row| row["attempt_count"] == 2), "{rows:?}");
    assert_eq!(receiver.requests().len(), 2 * MANY, "each failed once and was delivered once");
}

#[tokio::test]
async fn what_fails_for_ever_is_counted_as_a_dead_letter() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "20ms,20ms")]).await;
    let receiver = receiver().await;
    receiver.script("/hook", [Answer::status(500), Answer::status(500), Answer::status(502)]);
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let counted = async || {
        let labels = &[r#"reason="attempts_exhausted""#];
        fleet.api.counted("bellbuoy_dead_letters_total", labels).await
    };
    assert!(counted().await < 0.5);
    let detail = deliver(&fleet.api, "acme/api", &["dead"]).await;
    assert_eq!(codes(&detail), ["http_5xx"; 3]);
    assert_eq!(detail["cause"]["detail"], "answered 502", "the last one counts: {detail}");
    eventually(SOON, async || (counted().await > 0.5).then_some(())).await;
}

#[tokio::test]
async fn a_cut_connection_is_a_failed_attempt_and_the_next_one_has_the_same_id() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "50ms,1h")]).await;
    let receiver = receiver().await;
    let rows = [
        ("reset while the request comes", Answer::ResetEarly),
        ("reset after the request", Answer::ResetUnanswered),
        ("closed after the request", Answer::CloseUnanswered),
        ("closed in the head", Answer::HalfHead),
    ];
    let configs = rows.iter().enumerate().map(|(place, (_, answer))| {
        let path = format!("/{place}");
        receiver.script(&path, [answer.clone(), Answer::status(200)]);
        json!({"url": receiver.url(&path)})
    });
    let configs: Vec<_> = configs.collect();
    for (place, config) in configs.iter().enumerate() {
        fleet.api.wish(&hook(&format!("acme/n{place}"), config)).await;
        let detail = deliver(&fleet.api, &format!("acme/n{place}"), &["delivered"]).await;
        assert_eq!(codes(&detail), ["reset", ""], "{}: {detail}", rows[place].0);
        let requests = receiver.requests();
        let to_it: Vec<_> = requests.iter().filter(|request| request.path == format!("/{place}")).collect();
        let ids: BTreeSet<_> = to_it.iter().filter_map(|request| request.header("webhook-id")).collect();
        let attempts: Vec<_> =
            to_it.iter().filter_map(|request| request.header("bellbuoy-attempt")).collect();
        assert_eq!((ids.len(), attempts), (1, vec!["1", "2"]), "{}", rows[place].0);
    }
    let resetting =
        Receiver::start_with(Setup { resets: true, ..Setup::default() }).await.expect("a receiver");
    fleet.api.webhook("acme/resets", "repo_push", &resetting.url("/hook")).await;
    let twice = eventually(SOON, async || {
        let rows = fleet.api.deliveries("subject=acme/resets").await;
        rows.into_iter().find(|row| row["attempt_count"] == 2)
    });
    fleet.api.publish(&push("resets", "acme/resets", "v1")).await;
    let detail = fleet.api.delivery(&twice.await["id"]).await;
    // A reset that comes before the handshake is over is a connection that could not be made.
    assert!(codes(&detail).iter().all(|code| ["reset", "connect"].contains(code)), "{detail}");
}

#[tokio::test]
async fn an_answer_before_the_request_is_there_counts_and_a_closed_connection_costs_no_attempt() {
    let fleet = Fleet::start(&[ONE_ATTEMPT]).await;
    let receiver = receiver().await;
    receiver.script("/early", [Answer::Early(Reply::new(200))]);
    // Of its body nothing is read before the answer.
    let template =
        json!({"url": receiver.url("/early"), "template": json!({"x": "x".repeat(60_000)}).to_string()});
    fleet.api.wish(&hook("acme/early", &template)).await;
    let detail = deliver(&fleet.api, "acme/early", &["delivered"]).await;
    assert_eq!(detail["attempt_count"], 1, "{detail}");

    receiver.script("/kept", [Answer::ThenClose(Reply::new(200))]);
    fleet.api.webhook("acme/kept", "repo_push", &receiver.url("/kept")).await;
    for number in 0..5 {
        fleet.api.publish(&push(&format!("n{number}"), "acme/kept", "v1")).await;
        let rows = fleet.api.until("subject=acme/kept", number + 1, &["delivered"]).await;
        assert!(rows.iter().all(|row| row["attempt_count"] == 1), "{rows:?}");
    }
}

#[tokio::test]
async fn each_fault_of_http2_is_a_failed_attempt_and_an_honest_receiver_is_delivered_to() {
    let ours = Authority::new("ours").expect("an authority");
    let identity = ours.server(&["127.0.0.1"]).expect("a certificate");
    let fleet = Fleet::start(&[ONE_ATTEMPT, ("BELLBUOY_OUTBOUND__DEADLINE_SECONDS", "3")]).await;
    let faults = http2::faults();
    let (mut servers, mut configs) = (Vec::new(), Vec::new());
    for (_, fault, _) in &faults {
        let server = http2::serve(&identity, fault.clone()).await.expect("a server");
        configs.push(json!({"url": format!("https://{}/hook", server.address()), "extra_ca": ours.pem()}));
        servers.push(server);
    }
    let honest = Receiver::start_tls(Tls { http2: true, ..Tls::new(identity) }).await.expect("a receiver");
    configs.push(json!({"url": honest.url("/hook"), "extra_ca": ours.pem()}));
    let before = fleet.process.usage().expect("its memory").peak_rss;
    let mut details = deliver_all(&fleet.api, &configs).await;
    let good = details.pop().expect("the last");
    assert_eq!((&good["state"], honest.requests().len()), (&json!("delivered"), 1), "{good}");
    for ((name, _, expected), (detail, server)) in faults.iter().zip(details.iter().zip(&servers)) {
        assert_eq!(detail["attempts"][0]["outcome"], "deferred", "{name}: {detail}");
        assert!(expected.contains(&cause(detail).0), "{name}: {detail}");
        assert_eq!(server.requests(), 1, "{name}: asked more than once");
    }
    let grown = fleet.process.usage().expect("its memory").peak_rss - before;
    assert!(grown < 64 << 20, "{grown} bytes more");
}

#[test]
fn every_fault_of_the_table_names_a_test_that_is_there() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let read = |name: &str| {
        std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let table = read("outbound_faults.md");
    let rows: Vec<_> =
        table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| No.")).collect();
    let numbers: Vec<u32> =
        rows.iter().filter_map(|row| row.split('|').nth(1)?.trim().parse().ok()).collect();
    assert_eq!(numbers, (68..=136).collect::<Vec<_>>());
    for row in rows {
        let shown = row.trim_end_matches([' ', '|']).rsplit("| ").next().expect("a column");
        for test in shown.split(", ") {
            let (file, name) =
                test.trim_matches('`').split_once("::").unwrap_or_else(|| panic!("no test in {row}"));
            let source = read(&format!("{file}.rs"));
            let is_there = source.contains(&format!("::test]\nasync fn {name}("));
            assert!(is_there, "{file}.rs has no test {name}");
        }
    }
}
