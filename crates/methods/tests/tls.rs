//! HTTPS: who is trusted, what we show, and that each failure of a handshake says what it is.

mod common;

use std::{sync::Arc, time::Duration};

use bellbuoy_domain::CauseCode::{Http4xx, Reset, ResponseTooLarge, Timeout, Tls};
use bellbuoy_methods::{
    ClientIdentity, Outbound, Report, SetupError,
    http::{Client, OwnTls, Resolver, Script, ScriptedAnswer, Sending},
};
use bellbuoy_testkit::{
    certs::{Authority, Identity},
    receiver::{self, Answer, Receiver, Setup},
};
use common::{assert_deferred, client, code, post, post_in_time, settings};
use http::{HeaderMap, Method};
use jiff::Timestamp;

const NAMES: &[&str] = &["127.0.0.1", "localhost"];

/// Settings that trust `authority` beside the platform's.
fn trusting(authority: &Authority) -> Outbound {
    Outbound { extra_ca_pem: Some(authority.pem().into()), ..settings() }
}

fn showing(settings: Outbound, identity: Identity) -> Outbound {
    let client_identity =
        ClientIdentity { cert_pem: identity.cert_pem.into(), key_pem: identity.key_pem.into() };
    Outbound { client_identity: Some(client_identity), ..settings }
}

#[tokio::test]
async fn a_receiver_of_a_trusted_authority_is_served_by_name_and_address() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let receiver = Receiver::start_tls(receiver::Tls::new(ours.server(NAMES)?)).await?;
    let script = ["localhost", "localhost."].iter().fold(Script::default(), |script, name| {
        script.answer(name, [ScriptedAnswer::Addresses(vec![receiver.address().ip()])])
    });
    let client = client(Outbound { resolver: Resolver::Scripted(Arc::new(script)), ..trusting(&ours) });
    for url in [receiver.url("/"), receiver.url_at("localhost", "/"), receiver.url_at("localhost.", "/")] {
        let report = post(&client, &url).await;
        assert_eq!(code(&report), None, "{url}: {report:?}");
    }
    Ok(())
}

#[tokio::test]
async fn each_bad_certificate_is_refused_and_named() -> anyhow::Result<()> {
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("ours")?);
    let client = client(trusting(&ours));
    for (identity, said) in [
        (ours.expired_server(NAMES)?, "the receiver's certificate has expired"),
        (ours.future_server(NAMES)?, "the receiver's certificate is not valid yet"),
        (ours.server(&["other.example"])?, "the receiver's certificate is for another host name"),
        (ours.server(&[])?, "the receiver's certificate is for another host name"),
        (Identity::self_signed(NAMES)?, "is signed by an authority that is not trusted here"),
        (Identity::of_openssl(NAMES)?, "is its own authority, which is not trusted here"),
        (theirs.server(NAMES)?, "the receiver's certificate has a wrong signature"),
        (Authority::new("theirs")?.server(NAMES)?, "is signed by an authority that is not trusted here"),
        (ours.client("localhost")?, "the receiver's certificate is not for servers"),
    ] {
        let receiver = Receiver::start_tls(receiver::Tls::new(identity)).await?;
        let report = post_in_time(&client, &receiver.url_at("localhost", "/hook")).await;
        assert_deferred(&report, Tls, said);
        assert!(receiver.requests().is_empty());
    }
    Ok(())
}

/// A request for a notification that trusts `trusted` beside the operator's.
fn trusting_post<'a>(url: &'a str, trusted: &'a str) -> Sending<'a> {
    Sending {
        method: Method::POST,
        url,
        headers: HeaderMap::new(),
        body: "{}".into(),
        success: None,
        follow: false,
        may_follow: None,
        private: &[],
        tls: Some(OwnTls { extra_ca: Some(trusted), identity: None, skip_verification: false }),
    }
}

/// Posts to a receiver that shows `identity`, for a notification that trusts `trusted` beside the operator's.
async fn post_trusting(client: &Client, identity: Identity, trusted: &str) -> anyhow::Result<Report> {
    let receiver = Receiver::start_tls(receiver::Tls::new(identity)).await?;
    let url = receiver.url_at("localhost", "/hook");
    let report = client.send(trusting_post(&url, trusted), Timestamp::now()).await;
    assert_eq!(receiver.requests().is_empty(), code(&report).is_some(), "{report:?}");
    Ok(report)
}

#[tokio::test]
async fn a_receivers_own_certificate_is_trusted_as_itself() -> anyhow::Result<()> {
    let (ours, client) = (Authority::new("ours")?, client(settings()));
    let signed = ours.server(NAMES)?;
    for (identity, trusted) in [
        (signed.clone(), ours.pem()),
        (signed.clone(), signed.cert_pem.clone()),
        (signed.clone(), format!("{}{}", Authority::new("ours")?.pem(), signed.cert_pem)),
        Identity::self_signed(NAMES).map(|own| (own.clone(), own.cert_pem))?,
        Identity::of_openssl(NAMES).map(|own| (own.clone(), own.cert_pem))?,
    ] {
        let report = post_trusting(&client, identity, &trusted).await?;
        assert_eq!(code(&report), None, "{report:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_with_certificates_of_an_owners_own_keeps_no_place_of_its_host_when_it_is_done()
-> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let receiver = Receiver::start_tls(receiver::Tls::new(ours.server(NAMES)?)).await?;
    let client =
        client(Outbound { connections_per_host: 1, deadline: Duration::from_secs(20), ..settings() });
    let url = receiver.url("/hook");
    for trusted in [ours.pem(), format!("{0}{0}", ours.pem()), ours.pem()] {
        let report = client.send(trusting_post(&url, &trusted), Timestamp::now()).await;
        assert_eq!(code(&report), None, "{report:?}");
    }
    assert_eq!(receiver.connections(), 3);
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_trusted_as_itself_is_so_for_its_name_its_time_and_its_purpose_alone()
-> anyhow::Result<()> {
    let (ours, client) = (Authority::new("ours")?, client(settings()));
    let elsewhere = &["other.example"][..];
    for (identity, said) in [
        (Identity::of_openssl(elsewhere)?, "the receiver's certificate is for another host name"),
        (ours.server(elsewhere)?, "the receiver's certificate is for another host name"),
        (Identity::of_openssl(&[])?, "the receiver's certificate is for another host name"),
        (Identity::expired_of_openssl(NAMES)?, "the receiver's certificate has expired"),
        (ours.expired_server(NAMES)?, "the receiver's certificate has expired"),
        (ours.future_server(NAMES)?, "the receiver's certificate is not valid yet"),
        (ours.client("localhost")?, "the receiver's certificate is not for servers"),
    ] {
        let trusted = identity.cert_pem.clone();
        assert_deferred(&post_trusting(&client, identity, &trusted).await?, Tls, said);
    }
    // Of the same names, and yet another's.
    let (shown, trusted) = (Identity::of_openssl(NAMES)?, Identity::of_openssl(NAMES)?);
    let report = post_trusting(&client, shown, &trusted.cert_pem).await?;
    assert_deferred(&report, Tls, "is its own authority, which is not trusted here");
    let report = post_trusting(&client, ours.server(NAMES)?, &ours.server(NAMES)?.cert_pem).await?;
    assert_deferred(&report, Tls, "is signed by an authority that is not trusted here");
    Ok(())
}

#[tokio::test]
async fn a_demanded_client_certificate_has_to_be_the_right_one() -> anyhow::Result<()> {
    let (ours, rogue) = (Authority::new("ours")?, Authority::new("rogue")?);
    let tls = receiver::Tls { client_authority: Some(ours.pem()), ..receiver::Tls::new(ours.server(NAMES)?) };
    let receiver = Receiver::start_tls(tls).await?;
    let url = receiver.url("/hook");

    let report = post_in_time(&client(trusting(&ours)), &url).await;
    assert_deferred(&report, Tls, "the receiver demands a client certificate");
    let stranger = client(showing(trusting(&ours), rogue.client("bellbuoy")?));
    assert_deferred(&post_in_time(&stranger, &url).await, Tls, "the receiver refused our client certificate");
    assert!(receiver.requests().is_empty());
    let friend = client(showing(trusting(&ours), ours.client("bellbuoy")?));
    assert_eq!(code(&post(&friend, &url).await), None);
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_is_none_ends_in_time() -> anyhow::Result<()> {
    let client = client(settings());
    let plain = Receiver::start().await?;
    let report = post_in_time(&client, &plain.url("/hook").replace("http:", "https:")).await;
    assert_deferred(&report, Tls, "did not answer in TLS");
    assert!(plain.requests().is_empty());

    let silent = Receiver::start_with(Setup { silent: true, ..Setup::default() }).await?;
    let report = post_in_time(&client, &silent.url("/hook").replace("http:", "https:")).await;
    assert_deferred(&report, Timeout, "no connection within 700ms");
    let report = post_in_time(&client, &silent.url("/hook")).await;
    assert_deferred(&report, Timeout, "no answer within 700ms");
    Ok(())
}

#[tokio::test]
async fn http2_is_spoken_where_the_receiver_does_with_the_same_outcomes() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let tls = receiver::Tls { http2: true, ..receiver::Tls::new(ours.server(NAMES)?) };
    let receiver = Receiver::start_tls(tls).await?;
    let client = client(trusting(&ours));
    let url = receiver.url("/hook");
    for (answer, expected) in [
        (Answer::text(200, "thanks"), None),
        (Answer::status(404), Some(Http4xx)),
        (Answer::Never, Some(Timeout)),
        (Answer::Endless { announced: false }, Some(ResponseTooLarge)),
        (Answer::ResetUnanswered, Some(Reset)),
        (Answer::status(200), None),
    ] {
        let said = format!("{answer:?}");
        receiver.script("/hook", [answer]);
        let report = post_in_time(&client, &url).await;
        assert_eq!(code(&report), expected, "{said}: {report:?}");
    }
    assert!(receiver.requests().iter().all(|request| request.header("host").is_none()), "not over HTTP/2");
    assert!(receiver.poured() < 8 * 1024 * 1024, "{} bytes were taken", receiver.poured());
    Ok(())
}

#[tokio::test]
async fn settings_that_are_no_certificates_are_refused_by_name() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let (mine, other) = (ours.client("bellbuoy")?, ours.client("bellbuoy")?);
    let garbled = Outbound { extra_ca_pem: Some(b"not PEM".to_vec()), ..settings() };
    assert!(matches!(Client::new(garbled), Err(SetupError::ExtraCa(_))));
    let without_key = Identity { key_pem: String::new(), ..mine.clone() };
    let with_another = Identity { key_pem: other.key_pem, ..mine };
    for identity in [without_key, with_another] {
        let refused = Client::new(showing(settings(), identity));
        assert!(matches!(refused, Err(SetupError::ClientIdentity(_))));
    }
    let agent = Outbound { user_agent: "a\r\nb".to_owned(), ..settings() };
    assert!(matches!(Client::new(agent), Err(SetupError::UserAgent(_))));
    Ok(())
}
