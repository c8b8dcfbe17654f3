//! How connections are kept, used again and let go.

mod common;

use std::time::Duration;

use bellbuoy_domain::CauseCode::{Reset, Timeout};
use bellbuoy_methods::Outbound;
use bellbuoy_testkit::receiver::{Answer, Receiver, Reply};
use common::{assert_deferred, client, code, post, settings};

#[tokio::test]
async fn a_connection_is_used_again() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(settings());
    receiver.script("/hook", [Answer::text(200, "thanks"), Answer::text(503, "busy"), Answer::status(204)]);
    for _ in 0..20 {
        post(&client, &receiver.url("/hook")).await;
    }
    assert_eq!((receiver.requests().len(), receiver.connections()), (20, 1));
    Ok(())
}

#[tokio::test]
async fn a_connection_that_was_closed_while_unused_costs_nothing() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(settings());
    receiver.script("/hook", [Answer::ThenClose(Reply::new(200))]);
    for turn in 0..20 {
        // The client may or may not have noticed the closing yet; both have to end well, or as a
        // cut answer where the request was on its way already.
        let report = post(&client, &receiver.url("/hook")).await;
        assert!(matches!(code(&report), None | Some(Reset)), "{turn}: {report:?}");
        receiver.wait_for(1, |_| true).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_kept_connection_closed_on_a_request_is_a_cut_answer_and_not_repeated() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(settings());
    for fault in [Answer::CloseUnanswered, Answer::ResetUnanswered] {
        receiver.clear();
        receiver.script("/hook", [Answer::status(200), fault, Answer::status(200)]);
        let url = receiver.url("/hook");
        assert_eq!(code(&post(&client, &url).await), None);
        let report = post(&client, &url).await;
        assert_deferred(&report, Reset, "the receiver closed the connection before its answer was whole");
        let requests = receiver.requests();
        assert_eq!(requests.len(), 2, "it was sent again behind our back");
        assert_eq!(requests[0].connection, requests[1].connection, "it was not on the kept connection");
        assert_eq!(code(&post(&client, &url).await), None);
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_that_failed_to_answer_is_not_used_again() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(Outbound { deadline: Duration::from_millis(100), ..settings() });
    receiver.script("/hook", [Answer::Never, Answer::status(200)]);
    assert_deferred(&post(&client, &receiver.url("/hook")).await, Timeout, "no answer within 100ms");
    assert_eq!(code(&post(&client, &receiver.url("/hook")).await), None);
    assert_eq!(receiver.connections(), 2);
    Ok(())
}

#[tokio::test]
async fn an_old_connection_is_not_used_again() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(Outbound { pool_max_age: Duration::ZERO, ..settings() });
    for _ in 0..3 {
        assert_eq!(code(&post(&client, &receiver.url("/hook")).await), None);
    }
    assert_eq!(receiver.connections(), 3);
    Ok(())
}

#[tokio::test]
async fn unused_connections_are_closed_in_time_and_few_are_kept() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let idle = Duration::from_millis(50);
    let client = client(Outbound { pool_idle_timeout: idle, pool_idle_per_host: 1, ..settings() });
    receiver.script("/hook", [Answer::OnRelease(Reply::new(200))]);
    let url = receiver.url("/hook");
    let three = async { tokio::join!(post(&client, &url), post(&client, &url), post(&client, &url)) };
    let release = async {
        let arrived = receiver.wait_for(3, |_| true).await;
        receiver.release();
        arrived
    };
    let (reports, arrived) = tokio::join!(three, release);
    arrived?;
    assert!([reports.0, reports.1, reports.2].iter().all(|report| code(report).is_none()));
    bellbuoy_testkit::wait::eventually(Duration::from_secs(10), async || {
        (receiver.open_connections() == 0).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_slow_receiver_keeps_nobody_else_waiting() -> anyhow::Result<()> {
    let (slow, quick) = (Receiver::start().await?, Receiver::start().await?);
    slow.script("/hook", [Answer::Never]);
    let client = client(settings());
    let (stuck, url) = (slow.url("/hook"), quick.url("/hook"));
    let many = async {
        for _ in 0..100 {
            assert_eq!(code(&post(&client, &url).await), None);
        }
    };
    let waiting = async {
        tokio::join!(
            post(&client, &stuck),
            post(&client, &stuck),
            post(&client, &stuck),
            post(&client, &stuck)
        )
    };
    tokio::select! {
        () = many => {}
        reports = waiting => panic!("the slow ones ended first: {reports:?}"),
    }
    Ok(())
}
