//! That the receiver does what it is told and tells what it saw.

use std::time::Duration;

use bellbuoy_testkit::{
    http::Http,
    receiver::{Answer, Receiver, Setup},
    wait::eventually,
};
use http::Method;

#[tokio::test]
async fn answers_come_in_their_order_and_the_last_one_stays() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    receiver.script("/hook", [Answer::status(503).with("retry-after", "3"), Answer::text(200, "thanks")]);
    let http = Http::new();
    let first = http.get(&receiver.url("/hook?a=b")).await?;
    assert_eq!((first.status.as_u16(), &first.headers["retry-after"]), (503, &"3".parse()?));
    for _ in 0..2 {
        let next = http.get(&receiver.url("/hook")).await?;
        assert_eq!((next.status.as_u16(), next.text()), (200, "thanks".to_owned()));
    }
    assert_eq!(http.get(&receiver.url("/elsewhere")).await?.status.as_u16(), 200);
    Ok(())
}

#[tokio::test]
async fn a_request_is_recorded_whole() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let body = vec![b'x'; 300_000];
    Http::new().send(Method::PUT, &receiver.url("/hook?a=b"), &[("x-mark", "7")], body.clone()).await?;
    let request = receiver.wait_for(1, |request| request.header("x-mark") == Some("7")).await?.remove(0);
    assert_eq!((request.method, &*request.path, request.connection), (Method::PUT, "/hook?a=b", 0));
    assert_eq!(request.body, body);
    Ok(())
}

#[tokio::test]
async fn answers_can_be_late_and_the_end_of_a_connection_is_known() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let wait = Duration::from_millis(60);
    receiver.answer_after(wait);
    let http = Http::new();
    http.get(&receiver.url("/hook")).await?;
    let answered = tokio::time::Instant::now();
    let request = receiver.requests().remove(0);
    assert!(answered - request.at >= wait, "{:?}", answered - request.at);
    assert_eq!(receiver.ended(request.connection), None, "it is kept for more");
    drop(http);
    let ended = eventually(Duration::from_secs(10), async || receiver.ended(request.connection)).await;
    assert!(ended >= answered);
    Ok(())
}

#[tokio::test]
async fn waiting_in_vain_says_what_came_instead() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    Http::new().get(&receiver.url("/other")).await?;
    let waited = receiver.wait_within(Duration::from_millis(50), 2, |request| request.path == "/hook").await;
    let error = waited.expect_err("nothing came there").to_string();
    assert_eq!(error, "0 of 2 requests came within 50ms, 1 in all");
    Ok(())
}

#[tokio::test]
async fn the_unlucky_third_is_about_a_third_and_the_same_every_time() -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let receiver = Receiver::start().await?;
        receiver.script("/hook", [Answer::FailSome { status: 500, one_in: 3, seed: 42 }]);
        let (http, mut failed) = (Http::new(), Vec::new());
        for turn in 0..300 {
            if http.get(&receiver.url("/hook")).await?.status.as_u16() == 500 {
                failed.push(turn);
            }
        }
        let told = receiver.requests().iter().filter(|request| request.status == Some(500)).count();
        assert_eq!(told, failed.len(), "what is recorded is what was answered");
        runs.push(failed);
    }
    assert_eq!(runs[0], runs[1]);
    assert!((70..=130).contains(&runs[0].len()), "{} of 300", runs[0].len());
    Ok(())
}

#[tokio::test]
async fn a_stopped_receiver_frees_its_port_for_the_next() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let address = receiver.address();
    Http::new().get(&receiver.url("/hook")).await?;
    receiver.stop().await;
    let next = Receiver::start_with(Setup { address: Some(address), ..Setup::default() }).await?;
    assert_eq!(Http::new().get(&next.url("/hook")).await?.status.as_u16(), 200);
    Ok(())
}
