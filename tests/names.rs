//! Receivers whose names are the trouble: name servers that are silent, lie, or answer another thing each time. What
//! looks names up is the real program, and what it asks a real name server.

mod support;

use std::net::IpAddr;

use bellbuoy_testkit::{
    dns::{Answer, Server},
    receiver::{Answer as Said, Receiver, Reply, Setup},
};
use serde_json::{Value, json};
use support::{Fleet, cause, deliver, deliver_all, hook, push};

const ALIKE: &str =
    "the network rules do not allow this address; an operator can open it with outbound.allow";

/// Where nothing is to be reached; the rest of loopback is open.
const CLOSED: &str = "127.0.0.3";

/// One attempt, and the next one long after the test.
const ONE_ATTEMPT: (&str, &str) = ("BELLBUOY_RETRY__STEPS", "1h");

/// A name server, and a program that asks it and may not reach [`CLOSED`].
async fn fleet_of(settings: &[(&str, &str)]) -> (Server, Fleet) {
    let names = Server::start().await.expect("a name server");
    let address = names.address().to_string();
    let ours = [("BELLBUOY_OUTBOUND__NAME_SERVERS", address.as_str()), ("BELLBUOY_OUTBOUND__DENY", CLOSED)];
    let fleet = Fleet::start(&[&ours, settings].concat()).await;
    (names, fleet)
}

/// A receiver on every address of loopback, so that whatever is dialled there is seen.
async fn everywhere() -> Receiver {
    let setup = Setup { address: Some("0.0.0.0:0".parse().expect("an address")), ..Setup::default() };
    Receiver::start_with(setup).await.expect("a receiver")
}

fn url(receiver: &Receiver, host: &str) -> Value {
    json!({"url": receiver.url_at(host, "/hook")})
}

#[tokio::test]
async fn each_trouble_with_a_name_is_a_failed_attempt_that_says_so() {
    let timeout = ("BELLBUOY_OUTBOUND__CONNECT_TIMEOUT_SECONDS", "1");
    let (names, fleet) = fleet_of(&[ONE_ATTEMPT, timeout]).await;
    let receiver = everywhere().await;
    let crowd = (0..200_u8).map(|last| IpAddr::from([127, 0, 1, last.max(1)]));
    let rows = [
        ("missing.test", Answer::NoSuchName, "missing.test has no address: there is no such name"),
        (
            "failing.test",
            Answer::Failure,
            "failing.test has no address: the name server said: server failure",
        ),
        ("silent.test", Answer::Silence, "no name server told the address of silent.test within 1s"),
        ("empty.test", Answer::addresses(""), "empty.test has no address: there is no such name"),
        ("circle.test", Answer::Alias("round.test".into()), "circle.test has no address"),
        ("leads.test", Answer::Alias("nowhere.test".into()), "leads.test has no address"),
        ("crowded.test", Answer::Addresses(crowd.collect()), ""),
        ("fine.test", Answer::addresses("127.0.0.1"), ""),
    ];
    names.answer("round.test", [Answer::Alias("circle.test".into())]);
    for (name, answer, _) in &rows {
        names.answer(name, [answer.clone()]);
    }
    let configs: Vec<_> = rows.iter().map(|(name, ..)| url(&receiver, name)).collect();
    for ((name, _, said), detail) in rows.iter().zip(deliver_all(&fleet.api, &configs).await) {
        let (code, found) = cause(&detail);
        let expected = if said.is_empty() { ("delivered", "") } else { ("deferred", "dns") };
        assert_eq!(
            (detail["attempts"][0]["outcome"].as_str(), code),
            (Some(expected.0), expected.1),
            "{detail}"
        );
        assert!(found.contains(said), "{name}: {found}");
    }
    assert!(names.asked_over_tcp() > 0, "200 addresses do not fit into a datagram");
}

#[tokio::test]
async fn silent_name_servers_keep_no_other_receiver_waiting() {
    // More silent names than the system's resolver has room for, each of which waits for a minute.
    const SILENT: usize = 80;
    let (names, fleet) = fleet_of(&[
        ONE_ATTEMPT,
        ("BELLBUOY_OUTBOUND__CONNECT_TIMEOUT_SECONDS", "60"),
        ("BELLBUOY_OUTBOUND__DEADLINE_SECONDS", "60"),
    ])
    .await;
    let receiver = everywhere().await;
    names.answer("fine.test", [Answer::addresses("127.0.0.1")]);
    for place in 0..SILENT {
        let name = format!("n{place}.silent.test");
        names.answer(&name, [Answer::Silence]);
        fleet.api.wish(&hook(&format!("silent/a{place}"), &url(&receiver, &name))).await;
        fleet.api.publish(&push(&name, &format!("silent/a{place}"), "v1")).await;
    }
    let all_asked = async || {
        let asked = (0..SILENT).filter(|place| names.asked(&format!("n{place}.silent.test")) > 0);
        (asked.count() == SILENT).then_some(())
    };
    bellbuoy_testkit::wait::eventually(support::SOON, all_asked).await;
    fleet.api.wish(&hook("acme/api", &url(&receiver, "fine.test"))).await;
    let detail = deliver(&fleet.api, "acme/api", &["delivered"]).await;
    assert_eq!(detail["attempt_count"], 1, "{detail}");
    let waited = fleet.api.deliveries("").await.into_iter().filter(|row| row["attempt_count"] == 0);
    assert_eq!(waited.count(), SILENT, "the silent ones were waited for");
}

#[tokio::test]
async fn a_dead_address_beside_a_live_one_is_passed_by() {
    let allow = ("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8,::1/128,2001:db8::/32,192.0.2.0/24");
    let (names, fleet) = fleet_of(&[ONE_ATTEMPT, allow]).await;
    let receiver = everywhere().await;
    let rows = ["::1 127.0.0.1", "2001:db8::1 127.0.0.1", "192.0.2.1 127.0.0.1", "127.0.0.1 2001:db8::1 ::1"];
    let configs = rows.iter().enumerate().map(|(place, addresses)| {
        let name = format!("n{place}.test");
        names.answer(&name, [Answer::addresses(addresses)]);
        url(&receiver, &name)
    });
    let configs: Vec<_> = configs.collect();
    for (addresses, detail) in rows.iter().zip(deliver_all(&fleet.api, &configs).await) {
        assert_eq!(detail["attempts"][0]["outcome"], "delivered", "{addresses}: {detail}");
    }
}

#[tokio::test]
async fn a_name_with_any_closed_address_is_closed() {
    let (names, fleet) = fleet_of(&[ONE_ATTEMPT]).await;
    let receiver = everywhere().await;
    let many = [vec!["127.0.0.1"; 150], vec![CLOSED], vec!["127.0.0.1"; 49]].concat().join(" ");
    let rows = [
        CLOSED,
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "::1",
        "::ffff:127.0.0.3",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:3",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:3::",
        "fd00:ec2::254",
        "fe80::1",
        // A public one beside it, whichever comes first.
        "93.184.215.14 127.0.0.3",
        "127.0.0.3 93.184.215.14",
        "127.0.0.1 fd00::1",
        "2606:4700::1 169.254.169.254",
        many.as_str(),
    ];
    let mut configs: Vec<Value> = Vec::new();
    for (place, addresses) in rows.iter().enumerate() {
        let name = format!("n{place}.test");
        names.answer(&name, [Answer::addresses(addresses)]);
        configs.push(url(&receiver, &name));
    }
    // And by other names for it.
    for (alias, of) in [("one.test", "two.test"), ("two.test", "three.test"), ("three.test", "n0.test")] {
        names.answer(alias, [Answer::Alias(of.to_owned())]);
        configs.push(url(&receiver, alias));
    }
    for (config, detail) in configs.iter().zip(deliver_all(&fleet.api, &configs).await) {
        assert_eq!(cause(&detail), ("blocked", ALIKE), "{config}: {detail}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn what_was_judged_is_what_is_dialled_and_every_new_connection_is_judged_anew() {
    let (names, fleet) = fleet_of(&[("BELLBUOY_RETRY__STEPS", "100ms,100ms,1h")]).await;
    let receiver = everywhere().await;
    // Open when it is judged, closed if anybody asked again to dial it; and open twice before it is closed.
    let (open, closed) = (Answer::addresses("127.0.0.1"), Answer::addresses(CLOSED));
    names.answer("once.test", [open.clone(), closed.clone()]);
    names.answer("twice.test", [open.clone(), open, closed]);
    receiver.script("/twice", [Said::ThenClose(Reply::new(503))]);
    let once = hook("acme/once", &url(&receiver, "once.test"));
    let twice = hook("acme/twice", &json!({"url": receiver.url_at("twice.test", "/twice")}));
    fleet.api.wish(&once).await;
    fleet.api.wish(&twice).await;
    deliver(&fleet.api, "acme/once", &["delivered"]).await;
    assert_eq!(names.asked("once.test"), 1, "nobody asks between judging and dialling");

    fleet.api.publish(&push("twice", "acme/twice", "v1")).await;
    let third = bellbuoy_testkit::wait::eventually(support::SOON, async || {
        let rows = fleet.api.deliveries("subject=acme/twice").await;
        rows.into_iter().find(|row| row["attempt_count"] == 3)
    });
    let detail = fleet.api.delivery(&third.await["id"]).await;
    let told = detail["attempts"].as_array().expect("attempts").iter();
    let codes: Vec<_> = told.map(|attempt| attempt["cause"]["code"].as_str().unwrap_or_default()).collect();
    assert_eq!(codes, ["http_5xx", "http_5xx", "blocked"], "{detail}");
    assert_eq!(names.asked("twice.test"), 3);
    assert_eq!((receiver.connections(), receiver.requests().len()), (3, 3));
}

#[tokio::test]
async fn a_name_that_was_open_when_it_was_saved_is_judged_when_it_is_delivered_to() {
    let (names, fleet) = fleet_of(&[ONE_ATTEMPT]).await;
    let receiver = everywhere().await;
    names.answer("moved.test", [Answer::addresses("127.0.0.1")]);
    fleet.api.wish(&hook("acme/api", &url(&receiver, "moved.test"))).await;
    names.answer("moved.test", [Answer::addresses(CLOSED)]);
    let detail = deliver(&fleet.api, "acme/api", &["waiting"]).await;
    assert_eq!(cause(&detail), ("blocked", ALIKE), "{detail}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn no_chain_of_redirects_leads_to_a_name_that_has_become_closed() {
    let (names, fleet) = fleet_of(&[ONE_ATTEMPT]).await;
    let (receiver, bait) = (everywhere().await, everywhere().await);
    let hops = ["first.test", "second.test", "third.test"];
    for name in hops {
        names.answer(name, [Answer::addresses("127.0.0.1")]);
    }
    // Open for whoever asks first, which is the request of another delivery.
    names.answer("rebinding.test", [Answer::addresses("127.0.0.1"), Answer::addresses(CLOSED)]);
    fleet.api.wish(&hook("acme/before", &url(&receiver, "rebinding.test"))).await;
    deliver(&fleet.api, "acme/before", &["delivered"]).await;
    let location = |host: &str, path: &str| receiver.url_at(host, path);
    for (path, to) in [
        ("/one", location("second.test", "/two")),
        ("/two", location("third.test", "/three")),
        ("/three", bait.url_at("rebinding.test", "/hook")),
    ] {
        receiver.script(path, [Said::status(308).with("location", &to)]);
    }
    let config = json!({"url": receiver.url_at("first.test", "/one"), "follow_redirects": true});
    fleet.api.wish(&hook("acme/api", &config)).await;
    let detail = deliver(&fleet.api, "acme/api", &["waiting"]).await;
    assert_eq!(cause(&detail), ("blocked", ALIKE), "{detail}");
    let paths: Vec<_> = receiver.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/hook", "/one", "/two", "/three"]);
    assert_eq!(bait.connections(), 0);
}
