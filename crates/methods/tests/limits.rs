//! Each limit by itself: what passes it is given up, and what keeps to it is not.

mod common;

use std::{sync::Arc, time::Duration};

use bellbuoy_domain::CauseCode::Timeout;
use bellbuoy_methods::{
    Outbound,
    http::{Resolver, Script, ScriptedAnswer},
};
use bellbuoy_testkit::receiver::{Answer, Receiver, Reply, Setup};
use common::{SLACK, assert_deferred, client, code, post, settings};
use futures_util::future::join_all;
use tokio::time::Instant;

/// Far more than any other limit here, so that only the one under test can have ended an attempt.
const LONG: Duration = Duration::from_mins(1);

const SHORT: Duration = Duration::from_millis(200);

fn patient() -> Outbound {
    Outbound { deadline: LONG, connect_timeout: LONG, tls_timeout: LONG, head_timeout: LONG, ..settings() }
}

#[tokio::test]
async fn a_look_up_and_a_connection_have_their_own_limit() -> anyhow::Result<()> {
    let script = Script::default()
        .answer("silent.example", [ScriptedAnswer::Silence])
        // A network that drops everything.
        .answer("dropped.example", [ScriptedAnswer::Addresses(vec!["192.0.2.1".parse()?])]);
    let client = client(Outbound {
        connect_timeout: SHORT,
        allow: vec!["192.0.2.0/24".parse()?],
        resolver: Resolver::Scripted(Arc::new(script)),
        ..patient()
    });
    for host in ["silent.example", "dropped.example"] {
        let begun = Instant::now();
        let report = post(&client, &format!("http://{host}/hook")).await;
        assert!(begun.elapsed() < SHORT * 2 + SLACK, "{host} took {:?}", begun.elapsed());
        assert!(code(&report).is_some(), "{host}");
    }
    Ok(())
}

#[tokio::test]
async fn a_handshake_has_its_own_limit() -> anyhow::Result<()> {
    let silent = Receiver::start_with(Setup { silent: true, ..Setup::default() }).await?;
    let client = client(Outbound { tls_timeout: SHORT, ..patient() });
    let begun = Instant::now();
    let report = post(&client, &silent.url("/hook").replace("http:", "https:")).await;
    assert_deferred(&report, Timeout, "no secure connection within 200ms");
    assert!(begun.elapsed() < SHORT + SLACK, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn the_head_of_an_answer_has_its_own_limit_and_its_body_has_not() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(Outbound { head_timeout: SHORT, ..patient() });
    for fault in [Answer::Never, Answer::DripHead { every: Duration::from_millis(20) }] {
        receiver.script("/hook", [fault, Answer::status(200)]);
        let begun = Instant::now();
        let report = post(&client, &receiver.url("/hook")).await;
        assert_deferred(&report, Timeout, "no answer within 200ms of the request");
        assert!(begun.elapsed() < SHORT + SLACK, "{:?}", begun.elapsed());
        // Its connection is used no more.
        assert_eq!(code(&post(&client, &receiver.url("/hook")).await), None);
    }
    assert_eq!(receiver.connections(), 3);
    let slow_body = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no";
    receiver.script("/hook", [Answer::RawThenNever(slow_body.as_slice().into())]);
    let client = self::client(Outbound { head_timeout: SHORT, deadline: SHORT * 4, ..patient() });
    assert_deferred(
        &post(&client, &receiver.url("/hook")).await,
        Timeout,
        "the answer was not whole within 800ms",
    );
    Ok(())
}

#[tokio::test]
async fn one_host_has_so_many_connections_and_the_rest_wait_for_one_of_them() -> anyhow::Result<()> {
    let (receiver, other) = (Receiver::start().await?, Receiver::start().await?);
    let client = client(Outbound { connections_per_host: 3, ..patient() });
    receiver.script("/hook", [Answer::OnRelease(Reply::new(200))]);
    let url = receiver.url("/hook");
    let twelve = join_all((0..12).map(|_| post(&client, &url)));
    let meanwhile = async {
        receiver.wait_for(3, |_| true).await?;
        // Another host is no part of it.
        assert_eq!(code(&post(&client, &other.url("/hook")).await), None);
        assert_eq!((receiver.connections(), receiver.requests().len()), (3, 3));
        receiver.release();
        anyhow::Ok(())
    };
    let (reports, ended) = tokio::join!(twelve, meanwhile);
    ended?;
    assert!(reports.iter().all(|report| code(report).is_none()), "{reports:?}");
    assert_eq!((receiver.connections(), receiver.requests().len()), (3, 12));
    Ok(())
}
