//! A client with short limits that may dial loopback, and one way to use it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use bellbuoy_domain::{CauseCode, Outcome};
use bellbuoy_methods::{Outbound, Report, http::Client};
use jiff::Timestamp;
use tokio::time::Instant;

/// The deadline of every attempt here.
pub(crate) const DEADLINE: Duration = Duration::from_millis(700);

/// What a busy machine may add to a deadline before a test calls it overrun.
pub(crate) const SLACK: Duration = Duration::from_secs(3);

pub(crate) fn settings() -> Outbound {
    Outbound {
        allow: vec!["127.0.0.0/8".parse().expect("a network")],
        deadline: DEADLINE,
        connect_timeout: Duration::from_millis(400),
        ..Outbound::default()
    }
}

pub(crate) fn client(settings: Outbound) -> Client {
    Client::new(settings).expect("settings of which a client can be built")
}

pub(crate) async fn post(client: &Client, url: &str) -> Report {
    client.post(url, http::HeaderMap::new(), "{\"a\": 1}".into(), Timestamp::now()).await
}

/// Posts, and checks that it did not take longer than the deadline.
pub(crate) async fn post_in_time(client: &Client, url: &str) -> Report {
    let begun = Instant::now();
    let report = post(client, url).await;
    let took = begun.elapsed();
    assert!(took < DEADLINE + SLACK, "took {took:?}: {report:?}");
    report
}

/// The code of a report: `None` for a delivered one.
pub(crate) fn code(report: &Report) -> Option<CauseCode> {
    report.outcome.cause().map(|cause| cause.code)
}

pub(crate) fn detail(report: &Report) -> &str {
    report.outcome.cause().map_or("", |cause| &cause.detail)
}

#[track_caller]
pub(crate) fn assert_deferred(report: &Report, code: CauseCode, said: &str) {
    let Outcome::Deferred { cause, .. } = &report.outcome else { panic!("not deferred: {report:?}") };
    assert!(cause.code == code && cause.detail.contains(said), "not {code:?} with {said:?}: {cause}");
}
