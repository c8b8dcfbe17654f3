//! A document that is fetched: by the same rules as what is sent.

mod common;

use bellbuoy_domain::CauseCode;
use bellbuoy_methods::Outbound;
use bellbuoy_testkit::receiver::{Answer, Receiver};
use common::{client, settings};
use jiff::Timestamp;

#[tokio::test]
async fn a_document_is_whole_or_has_a_cause() -> anyhow::Result<()> {
    use CauseCode::{Http3xx, Http4xx, Http5xx, Reset, ResponseTooLarge, Timeout};
    let receiver = Receiver::start().await?;
    receiver.script("/keys", [Answer::text(200, "the keys")]);
    let client = client(settings());
    let document = client.fetch(&receiver.url("/keys"), Timestamp::now()).await.expect("a document");
    assert_eq!(&*document, b"the keys");
    let request = receiver.requests().remove(0);
    assert_eq!((request.method.as_str(), request.body.len()), ("GET", 0));
    for (place, (answer, code)) in [
        (Answer::status(503), Http5xx),
        (Answer::status(404), Http4xx),
        (Answer::redirect("/keys"), Http3xx),
        (Answer::Never, Timeout),
        (Answer::Endless { announced: true }, ResponseTooLarge),
        (Answer::Endless { announced: false }, ResponseTooLarge),
        (Answer::CloseMidBody, Reset),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{place}");
        receiver.script(&path, [answer]);
        let cause = client.fetch(&receiver.url(&path), Timestamp::now()).await.expect_err("no document");
        assert_eq!(cause.code, code, "{path}: {cause}");
    }
    Ok(())
}

#[tokio::test]
async fn a_document_comes_from_an_address_that_the_rules_allow() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(Outbound::default());
    for url in [receiver.url("/keys"), "http://169.254.169.254/".to_owned(), "file:///etc/passwd".to_owned()]
    {
        let cause = client.fetch(&url, Timestamp::now()).await.expect_err("blocked");
        assert_eq!(cause.code, CauseCode::Blocked, "{url}: {cause}");
    }
    assert!(receiver.requests().is_empty());
    Ok(())
}
