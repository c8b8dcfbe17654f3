//! What leaves, through the real program: signed by keys that change, over TLS of a webhook's own, through a proxy, and
//! never to an address that the network rules close.

mod support;

use std::{fs, process::Command};

use bellbuoy_testkit::{
    certs::{Authority, Identity},
    proxy::{self, Proxy},
    receiver::{Answer, Receiver, Recorded, Setup, Tls},
    verifier::{Key, verify},
};
use http::Method;
use serde_json::{Value, json};
use support::{BINARY, Fleet, TOKEN, cause, deliver, deliver_all, first_attempts, hook, push};

const NAMES: &[&str] = &["127.0.0.1", "receiver.invalid"];

/// One attempt, and the next one long after the test.
const ONE_ATTEMPT: (&str, &str) = ("BELLBUOY_RETRY__STEPS", "1h");

async fn receiver() -> Receiver {
    Receiver::start().await.expect("a receiver")
}

/// Pushes once more, and returns the request that came of it.
async fn next_request(fleet: &Fleet, receiver: &Receiver, repository: &str) -> Recorded {
    let place = receiver.requests().len();
    fleet.api.publish(&push(&format!("{repository}-{place}"), repository, "v1")).await;
    receiver.wait_for(place + 1, |_| true).await.expect("a request").remove(place)
}

/// A fleet with notifications that were made by `settings`, and that is now told something else.
async fn changed_since(settings: &[(&str, &str)], wishes: &[Value], change: (&str, &str)) -> Fleet {
    let mut fleet = Fleet::start(settings).await;
    for wish in wishes {
        fleet.api.wish(wish).await;
    }
    fleet.stop().await;
    fleet.set(change.0, change.1);
    fleet.start_again().await;
    fleet
}

/// Every address is open, and then only public ones are.
const OPEN: (&str, &str) = ("BELLBUOY_OUTBOUND__ALLOW", "0.0.0.0/0,::/0");
const USUAL: (&str, &str) = ("BELLBUOY_OUTBOUND__ALLOW", "");

#[tokio::test]
async fn strangers_take_our_signatures_before_during_and_after_a_rotation() {
    let (fleet, receiver) = (Fleet::start(&[]).await, receiver().await);
    let both =
        json!({"url": receiver.url("/hook"), "signatures": ["standard-webhooks", "standard-webhooks-v1a"]});
    let wish = fleet.api.wish(&hook("acme/api", &both)).await;
    let path = format!("/v1/notifications/{}", wish.id);
    let public = async |place: usize| {
        fleet.api.get(&path).await["public_keys"][place]["public_key"].as_str().expect("a key").to_owned()
    };
    let (first, first_public) = (wish.secret.clone(), public(0).await);
    let request = next_request(&fleet, &receiver, "acme/api").await;
    assert_eq!(verify(&request, Key::Secret(&first)), Ok(()));
    assert_eq!(verify(&request, Key::Public(&first_public)), Ok(()));

    let answer = fleet.api.post(&format!("{path}/rotate"), &json!({"grace_seconds": 3600})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = answer.json()["config"]["secret"].as_str().expect("shown once").to_owned();
    let second_public = public(0).await;
    assert!(second != first && second_public != first_public && public(1).await == first_public);
    let request = next_request(&fleet, &receiver, "acme/api").await;
    for key in [&first, &second] {
        assert_eq!(verify(&request, Key::Secret(key)), Ok(()), "the old key signs along");
    }
    for key in [&first_public, &second_public] {
        assert_eq!(verify(&request, Key::Public(key)), Ok(()), "the old key signs along");
    }
    let tokens = request.header("webhook-signature").expect("signatures").split(' ');
    let versions: Vec<&str> = tokens.map(|token| token.split(',').next().unwrap_or_default()).collect();
    assert_eq!(versions, ["v1", "v1", "v1a", "v1a"]);
    let keys = fleet.api.get(&format!("{path}/keys")).await;
    let shown = keys["keys"].as_array().expect("keys");
    assert_eq!(shown.iter().filter(|key| key["until"].is_string()).count(), 2, "{keys}");
    assert!(!keys.to_string().contains("whsec_") && !keys.to_string().contains("whsk_"), "{keys}");

    // Without grace, by the command; what signed along before goes on to its own end.
    let mut command = Command::new(BINARY);
    command.args(["notifications", "rotate", &wish.id, "--grace", "0", "--json"]).env_clear();
    let said =
        command.env("BELLBUOY_URL", &fleet.api.url).env("BELLBUOY_TOKEN", TOKEN).output().expect("it runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let rotated: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let third = rotated["config"]["secret"].as_str().expect("shown once").to_owned();
    let request = next_request(&fleet, &receiver, "acme/api").await;
    assert_eq!(verify(&request, Key::Secret(&third)), Ok(()));
    assert_eq!(verify(&request, Key::Public(&public(0).await)), Ok(()));
    assert_eq!(verify(&request, Key::Secret(&first)), Ok(()));
    for old in [Key::Secret(&second), Key::Public(&second_public)] {
        assert!(verify(&request, old).is_err(), "{old:?} has ended");
    }
    let audit = fleet.api.get("/v1/audit?action=notification.rotate").await;
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(2), "{audit}");
}

#[tokio::test]
async fn a_key_of_ones_own_is_taken_and_a_bad_rotation_is_refused_by_name() {
    let (fleet, receiver) = (Fleet::start(&[]).await, receiver().await);
    let wish = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let path = format!("/v1/notifications/{}/rotate", wish.id);
    let mine = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_eq!(fleet.api.post(&path, &json!({"secret": mine, "grace_seconds": 0})).await.status, 200);
    let request = next_request(&fleet, &receiver, "acme/api").await;
    assert_eq!(verify(&request, Key::Secret(mine)), Ok(()));
    assert!(verify(&request, Key::Secret(&wish.secret)).is_err());
    for (body, said) in [
        (json!({"grace_seconds": -1}), "`grace_seconds` is -1, but should be from 0 to 604800"),
        (json!({"grace_seconds": 604_801}), "`grace_seconds`"),
        (json!({"key": "hunter2"}), "should be \"secret\" or \"signing_key\""),
        (json!({"secret": "hunter2"}), "should begin with `whsec_`"),
        (json!({"signing_key": "whsk_AAAA"}), "`signing_key` should hold 32 bytes"),
        (json!({"key": "secret", "secret": mine}), "not both"),
    ] {
        let answer = fleet.api.post(&path, &body).await;
        let text = answer.json()["detail"].to_string();
        assert!(answer.status == 400 && text.contains(&said.replace('"', "\\\"")), "{body}: {text}");
    }
    let in_app = json!({"scope": {"registry": true}, "kinds": ["repo_push"], "method": "slack",
        "config": {"url": receiver.url("/x")}});
    let other = fleet.api.wish(&in_app).await;
    assert_eq!(
        fleet.api.post(&format!("/v1/notifications/{}/rotate", other.id), &json!({})).await.status,
        409
    );
}

#[tokio::test]
async fn a_webhook_has_authorities_and_a_client_certificate_of_its_own() {
    let (ours, theirs) = (Authority::new("ours").expect("one"), Authority::new("theirs").expect("another"));
    let tls =
        Tls { client_authority: Some(theirs.pem()), ..Tls::new(ours.server(NAMES).expect("a certificate")) };
    let receiver = Receiver::start_tls(tls).await.expect("a receiver");
    let fleet = Fleet::start(&[ONE_ATTEMPT]).await;
    let mine = theirs.client("bellbuoy").expect("a certificate");
    let strange = ours.client("bellbuoy").expect("a certificate");
    let with = |ca: Option<String>, identity: Option<&Identity>| {
        let (certificate, key) =
            identity.map(|one| (one.cert_pem.clone(), one.key_pem.clone())).unwrap_or_default();
        json!({"url": receiver.url("/hook"), "extra_ca": ca, "client_certificate": certificate, "client_key": key})
    };
    // All at once and over and over, so that no connection made for one serves another.
    for (name, config, expected) in [
        ("nothing", with(None, None), ("tls", "signed by an authority that is not trusted here")),
        ("ca", with(Some(ours.pem()), None), ("tls", "demands a client certificate")),
        ("both", with(Some(ours.pem()), Some(&mine)), ("", "")),
        ("strange", with(Some(ours.pem()), Some(&strange)), ("tls", "refused our client certificate")),
        ("other-ca", with(Some(theirs.pem()), Some(&mine)), ("tls", "not trusted here")),
        ("again", with(None, Some(&mine)), ("tls", "not trusted here")),
    ] {
        let repository = format!("acme/{name}");
        let made = fleet.api.wish(&hook(&repository, &config)).await;
        let states: &[&str] = if expected.0.is_empty() { &["delivered"] } else { &["waiting"] };
        let detail = deliver(&fleet.api, &repository, states).await;
        let (code, said) = cause(&detail);
        assert!(code == expected.0 && said.contains(expected.1), "{name}: {detail}");
        let shown = fleet.api.get(&format!("/v1/notifications/{}", made.id)).await;
        assert!(!shown.to_string().contains("PRIVATE KEY"), "{name}: {shown}");
        if name == "both" {
            assert_eq!(shown["config"]["client_key"], "********");
            assert_eq!(shown["config"]["client_certificate"], mine.cert_pem);
        }
    }
    assert_eq!(receiver.requests().len(), 1);
    assert!(!fleet.log().contains("PRIVATE KEY"));
    for (config, said) in [
        (json!({"url": "https://a.example/", "extra_ca": "hunter2"}), "`config.extra_ca` should be PEM"),
        (
            json!({"url": "https://a.example/", "client_certificate": mine.cert_pem}),
            "`config.client_key` is missing",
        ),
        (
            json!({"url": "https://a.example/", "client_key": mine.key_pem}),
            "`config.client_certificate` is missing",
        ),
        (
            json!({"url": "https://a.example/", "client_key": "hunter2", "client_certificate": mine.cert_pem}),
            "`config.client_key` should be PEM",
        ),
        (json!({"url": "https://a.example/", "skip_tls_verification": "yes"}), "should be true or false"),
    ] {
        let answer = fleet.api.post("/v1/notifications", &hook("acme/api", &config)).await;
        let text = answer.text();
        assert!(answer.status == 400 && text.contains(said) && !text.contains("hunter2"), "{config}: {text}");
    }
}

#[tokio::test]
async fn a_webhook_of_a_dtr_client_is_tried_and_delivered_by_its_tls_cert() {
    let ours = Authority::new("ours").expect("an authority");
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", &["500ms"; 100].join(","))]).await;
    let own = Identity::of_openssl(NAMES).expect("a certificate");
    for (name, identity, trusted) in [
        ("signed", ours.server(NAMES).expect("a certificate"), ours.pem()),
        ("own", own.clone(), own.cert_pem),
    ] {
        let receiver = Receiver::start_tls(Tls::new(identity)).await.expect("a receiver");
        let form = |pem: &str| {
            json!({"type": "TAG_PUSH", "key": format!("acme/{name}"), "endpoint": receiver.url("/hook"),
                "tlsCert": pem, "skipTLSVerification": false})
        };
        let untrusted = fleet.api.post("/api/v0/webhooks/test", &form("")).await;
        assert_eq!(untrusted.status, 502, "{name}");
        assert!(untrusted.text().contains("not trusted here"), "{name}: {}", untrusted.text());
        let tried = fleet.api.post("/api/v0/webhooks/test", &form(&trusted)).await;
        assert_eq!(tried.status, 200, "{name}: {}", tried.text());
        assert_eq!(receiver.requests().len(), 1, "{name}");

        // Made without, it waits; told by an update, what waited is delivered.
        let made = fleet.api.post("/api/v0/webhooks", &form("")).await;
        assert_eq!(made.status, 201, "{name}: {}", made.text());
        let detail = deliver(&fleet.api, &format!("acme/{name}"), &["waiting"]).await;
        assert_eq!(cause(&detail).0, "tls", "{name}: {detail}");
        let update = json!({"id": made.json()["id"], "tlsCert": trusted});
        assert_eq!(fleet.api.post("/api/v0/webhooks/update", &update).await.status, 200, "{name}");
        fleet.api.until(&format!("subject=acme/{name}"), 1, &["delivered"]).await;
        assert_eq!(receiver.requests().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_certificate_goes_unchecked_only_where_the_operator_and_the_owner_both_say_so() {
    let identity = Identity::self_signed(&["somebody.else"]).expect("a certificate");
    let receiver = Receiver::start_tls(Tls::new(identity)).await.expect("a receiver");
    let skipping = json!({"url": receiver.url("/hook"), "skip_tls_verification": true});
    let checking = json!({"url": receiver.url("/hook")});
    let permitted = |permits| ("BELLBUOY_OUTBOUND__ALLOW_SKIP_VERIFICATION", permits);
    let wishes = [hook("acme/skips", &skipping), hook("acme/checks", &checking)];
    let mut fleet = Fleet::start(&[ONE_ATTEMPT, permitted("true")]).await;
    for wish in &wishes {
        fleet.api.wish(wish).await;
    }
    deliver(&fleet.api, "acme/skips", &["delivered"]).await;
    // A connection that was made unchecked serves nobody who wants it checked.
    let detail = deliver(&fleet.api, "acme/checks", &["waiting"]).await;
    let (code, said) = cause(&detail);
    let is_named = said.contains("another host name") || said.contains("not trusted here");
    assert!(code == "tls" && is_named, "{detail}");

    let (name, forbidden) = permitted("false");
    fleet.stop().await;
    fleet.set(name, forbidden);
    fleet.start_again().await;
    fleet.api.publish(&push("after", "acme/skips", "v1")).await;
    let waiting = fleet.api.until("subject=acme/skips&state=waiting", 1, &["waiting"]).await;
    let detail = fleet.api.delivery(&waiting[0]["id"]).await;
    let (code, said) = cause(&detail);
    let is_named = said.contains("the operator does not permit skip_tls_verification");
    assert!(code == "tls" && is_named, "{detail}");
    let answer = fleet.api.post("/v1/notifications", &wishes[0]).await;
    assert!(
        answer.status == 400 && answer.text().contains("outbound.allow_skip_verification"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn certificates_of_the_settings_are_replaced_without_a_restart() {
    let (old, new) = (Authority::new("old").expect("one"), Authority::new("new").expect("another"));
    let server = new.server(NAMES).expect("a certificate");
    let tls = Tls { client_authority: Some(new.pem()), ..Tls::new(server) };
    let receiver = Receiver::start_tls(tls).await.expect("a receiver");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let write = |authority: &Authority| {
        let identity = authority.client("bellbuoy").expect("a certificate");
        for (name, pem) in [("ca", authority.pem()), ("cert", identity.cert_pem), ("key", identity.key_pem)] {
            fs::write(folder.path().join(name), pem).expect("written");
        }
    };
    write(&old);
    let fleet = Fleet::start(&[
        ("BELLBUOY_OUTBOUND__EXTRA_CA", &file("ca")),
        ("BELLBUOY_OUTBOUND__CLIENT_CERTIFICATE", &file("cert")),
        ("BELLBUOY_OUTBOUND__CLIENT_KEY", &file("key")),
        ("BELLBUOY_RETRY__STEPS", &["500ms"; 100].join(",")),
    ])
    .await;
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let detail = deliver(&fleet.api, "acme/api", &["waiting"]).await;
    assert_eq!(cause(&detail).0, "tls", "{detail}");
    // What can't be used is said, and changes nothing.
    fs::write(folder.path().join("cert"), "hunter2").expect("written");
    fleet.process.wait_for_line("have changed and can't be used", support::SOON).await;
    write(&new);
    fleet.api.until("subject=acme/api", 1, &["delivered"]).await;
    assert!(fleet.log().contains("what is sent from now on uses them"));
    assert!(!fleet.log().contains("hunter2"));
}

#[tokio::test]
async fn receivers_are_reached_through_the_proxy_which_is_asked_only_for_what_the_rules_allow() {
    let ours = Authority::new("ours").expect("an authority");
    for (scheme, kind) in [("http", "CONNECT"), ("socks5h", "SOCKS")] {
        let tls = Tls::new(ours.server(NAMES).expect("a certificate"));
        let (plain, secure) = (receiver().await, Receiver::start_tls(tls).await.expect("a receiver"));
        for (receiver, url, asked) in [
            (&plain, "http://receiver.invalid:8000/hook?a=b", "receiver.invalid:8000"),
            (&secure, "https://receiver.invalid/hook", "receiver.invalid:443"),
            (&plain, "http://93.184.215.14/hook", "93.184.215.14:80"),
            (&plain, "http://[2606:4700::1]:8081/hook", "[2606:4700::1]:8081"),
        ] {
            let login = Some(("kim".to_owned(), "hunter2".to_owned()));
            let setup = proxy::Setup { login, ..proxy::Setup::to(receiver.address()) };
            let proxy = Proxy::start(setup).await.expect("a proxy");
            let address = format!("{scheme}://kim:hunter2@{}", proxy.address());
            let in_closed = |(number, closed)| hook(&format!("acme/n{number}"), &json!({"url": closed}));
            let mut wishes: Vec<_> = CLOSED.iter().enumerate().map(in_closed).collect();
            wishes.push(hook("acme/api", &json!({"url": url, "extra_ca": ours.pem()})));
            let settings = [ONE_ATTEMPT, OPEN, ("BELLBUOY_OUTBOUND__PROXY", &address)];
            let fleet = changed_since(&settings, &wishes, USUAL).await;
            deliver(&fleet.api, "acme/api", &["delivered"]).await;
            assert_eq!(proxy.asked(), [asked], "{kind}");
            for (number, closed) in CLOSED.iter().enumerate() {
                let repository = format!("acme/n{number}");
                let detail = deliver(&fleet.api, &repository, &["waiting"]).await;
                assert_eq!(cause(&detail), ("blocked", ALIKE), "{closed}: {detail}");
            }
            assert_eq!(proxy.asked(), [asked], "{kind}: not asked for what is closed");
            assert!(!fleet.log().contains("hunter2"), "the proxy's password is in the log");
        }
    }
}

const ALIKE: &str =
    "the network rules do not allow this address; an operator can open it with outbound.allow";

const REFUSED: &str =
    "Invalid webhook URL: the network rules close its host; an operator can open it with outbound.allow";

const CLOSED: &[&str] = &[
    "http://169.254.169.254/latest/",
    "http://localhost/",
    "http://[::ffff:10.0.0.1]/",
    "http://2130706433/",
];

#[tokio::test]
async fn a_socks_proxy_that_is_not_to_look_up_gets_the_address_that_was_judged() {
    let receiver = receiver().await;
    let proxy = Proxy::start(proxy::Setup::to(receiver.address()));
    let proxy = proxy.await.expect("a proxy");
    let address = format!("socks5://{}", proxy.address());
    let fleet = Fleet::start(&[
        ONE_ATTEMPT,
        ("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8,::1/128"),
        ("BELLBUOY_OUTBOUND__PROXY", &address),
    ])
    .await;
    fleet.api.wish(&hook("acme/api", &json!({"url": "http://localhost:8000/hook"}))).await;
    deliver(&fleet.api, "acme/api", &["delivered"]).await;
    let asked = proxy.asked();
    assert!(asked == ["127.0.0.1:8000"] || asked == ["[::1]:8000"], "{asked:?}");
    // What has no address here has none.
    fleet.api.wish(&hook("acme/none", &json!({"url": "http://receiver.invalid/hook"}))).await;
    let detail = deliver(&fleet.api, "acme/none", &["waiting"]).await;
    assert_eq!(cause(&detail).0, "dns", "{detail}");
    assert_eq!(proxy.asked().len(), 1);
}

#[tokio::test]
async fn what_goes_past_the_proxy_is_judged_as_ever_and_the_environments_proxy_is_nobodys() {
    let receiver = receiver().await;
    let proxy = Proxy::start(proxy::Setup::to(receiver.address()));
    let proxy = proxy.await.expect("a proxy");
    let address = format!("http://{}", proxy.address());
    let wishes = [
        hook("acme/api", &json!({"url": receiver.url("/hook")})),
        hook("acme/closed", &json!({"url": receiver.url_at("127.0.0.3", "/hook")})),
    ];
    for ours in [
        &[
            ONE_ATTEMPT,
            ("BELLBUOY_OUTBOUND__PROXY", &address),
            ("BELLBUOY_OUTBOUND__NO_PROXY", "127.0.0.0/8"),
        ][..],
        &[ONE_ATTEMPT, ("HTTP_PROXY", &address), ("http_proxy", &address), ("ALL_PROXY", &address)],
    ] {
        let fleet = changed_since(ours, &wishes, ("BELLBUOY_OUTBOUND__DENY", "127.0.0.3/32")).await;
        deliver(&fleet.api, "acme/api", &["delivered"]).await;
        let detail = deliver(&fleet.api, "acme/closed", &["waiting"]).await;
        assert_eq!(cause(&detail), ("blocked", ALIKE), "{detail}");
        assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
    }
}

#[tokio::test]
async fn a_proxy_that_is_away_or_refuses_us_costs_no_attempt_and_its_refusals_are_told_apart() {
    let receiver = receiver().await;
    let login = Some(("kim".to_owned(), "right".to_owned()));
    let strict = proxy::Setup { login, ..proxy::Setup::to(receiver.address()) };
    let refusing = proxy::Setup { login: None, refuses: true, ..strict.clone() };
    let strict = Proxy::start(strict).await.expect("a proxy");
    let refusing = Proxy::start(refusing).await.expect("a proxy");
    let silent = Receiver::start_with(Setup { silent: true, ..Setup::default() }).await.expect("a receiver");
    receiver.script("93.184.215.14:80", [Answer::raw(b"220 mail.example.com ESMTP\r\n\r\n")]);
    for (url, code, said, spent) in [
        (format!("http://kim:wrong@{}", strict.address()), "internal", "does not take our login", 0),
        (format!("socks5h://kim:wrong@{}", strict.address()), "internal", "does not take our login", 0),
        (format!("socks5h://{}", strict.address()), "internal", "does not take our login", 0),
        (format!("http://{}", receiver.address()), "internal", "does not speak like a proxy", 0),
        (
            format!("http://127.0.0.1:{}", bellbuoy_testkit::process::free_port()),
            "internal",
            "can't be reached",
            0,
        ),
        (format!("http://{}", silent.address()), "internal", "did not answer in time", 0),
        (format!("http://{}", refusing.address()), "blocked", "the proxy does not allow this address", 1),
        (format!("socks5h://{}", refusing.address()), "blocked", "the proxy does not allow this address", 1),
    ] {
        let fleet = Fleet::start(&[
            ONE_ATTEMPT,
            ("BELLBUOY_OUTBOUND__PROXY", &url),
            ("BELLBUOY_OUTBOUND__CONNECT_TIMEOUT_SECONDS", "1"),
        ])
        .await;
        fleet.api.wish(&hook("acme/api", &json!({"url": "http://93.184.215.14/hook"}))).await;
        let detail = deliver(&fleet.api, "acme/api", &["waiting"]).await;
        let cause = &detail["cause"];
        assert!(cause["code"] == code && cause["detail"].to_string().contains(said), "{url}: {detail}");
        assert_eq!(detail["attempt_count"], spent, "{url}: {detail}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_closed_address_is_taken_or_reached_and_all_are_told_alike() {
    let receiver = receiver().await;
    let port = receiver.address().port();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.01",
        "127.0.0.1.",
        "%31%32%37.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "0.1.2.3",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[100::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[5f00::1]",
        "168.63.129.16",
    ];
    let to = |(number, host)| {
        hook(&format!("acme/n{number}"), &json!({"url": format!("http://{host}:{port}/hook")}))
    };
    let wishes: Vec<_> = hosts.iter().enumerate().map(to).collect();
    let fleet = changed_since(&[ONE_ATTEMPT, OPEN], &wishes, USUAL).await;
    for (number, wish) in wishes.iter().enumerate() {
        // What was made while the rules were others stays, and is not delivered; it can't be made again.
        let detail = fleet.api.post("/v1/notifications", wish).await.json()["detail"].clone();
        assert_eq!(detail, REFUSED, "{wish}");
        let quays =
            json!({"event": "repo_push", "method": "webhook", "config": wish["config"], "eventConfig": {}});
        let answer = fleet.api.post("/api/v1/repository/acme/api/notification/", &quays).await;
        let detail = &answer.json()["detail"];
        assert_eq!((answer.status.as_u16(), detail), (400, &json!("Invalid webhook URL")), "{wish}");
        fleet.api.publish(&push(&format!("n{number}"), &format!("acme/n{number}"), "v1")).await;
    }
    let rows = fleet.api.until("", hosts.len(), &["waiting"]).await;
    for row in rows {
        let detail = fleet.api.delivery(&row["id"]).await;
        assert_eq!(cause(&detail), ("blocked", ALIKE), "{detail}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn what_is_no_url_of_a_receiver_is_refused_and_a_host_behind_the_host_is_none() {
    let receiver = receiver().await;
    let port = receiver.address().port();
    let fleet = Fleet::start(&[ONE_ATTEMPT, USUAL]).await;
    for url in [
        format!("http://public.example@127.0.0.1:{port}/"),
        format!("http://public.example\\@127.0.0.1:{port}/"),
        format!("http:///127.0.0.1:{port}/"),
        format!("http://127.0.0.1\t:{port}/"),
        format!("http://public.example\r\n@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/\r\nx: y"),
        format!("//127.0.0.1:{port}/"),
        format!("http://127.0.0.1%00.example:{port}/"),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "dict://127.0.0.1:11211/stat".to_owned(),
        "ldap://127.0.0.1/".to_owned(),
        "data:text/plain,x".to_owned(),
        format!("ws://127.0.0.1:{port}/"),
        String::new(),
        "javascript:alert(1)".to_owned(),
        "unix:/run/x.sock".to_owned(),
        format!("http://{}/", "a".repeat(3000)),
        "http://a.example:65536/".to_owned(),
        "http://user:hunter2@a.example/".to_owned(),
    ] {
        let answer = fleet.api.post("/v1/notifications", &hook("acme/api", &json!({"url": url}))).await;
        let text = answer.text();
        assert!(answer.status == 400 && !text.contains("hunter2"), "{url}: {text}");
    }
    // What stands behind the host is no host.
    for (number, rest) in ["#@127.0.0.1", "?@127.0.0.1", "/@127.0.0.1"].iter().enumerate() {
        let repository = format!("acme/behind{number}");
        let url = format!("http://receiver.invalid{rest}:{port}/");
        fleet.api.wish(&hook(&repository, &json!({ "url": url }))).await;
        let detail = deliver(&fleet.api, &repository, &["waiting"]).await;
        assert_eq!(cause(&detail).0, "dns", "{url}: {detail}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_addresses_next_to_each_closed_network_are_open() {
    let receiver = receiver().await;
    let proxy = Proxy::start(proxy::Setup::to(receiver.address()));
    let proxy = proxy.await.expect("a proxy");
    let address = format!("http://{}", proxy.address());
    let fleet = Fleet::start(&[
        ONE_ATTEMPT,
        ("BELLBUOY_OUTBOUND__ALLOW", ""),
        ("BELLBUOY_OUTBOUND__PROXY", &address),
    ])
    .await;
    let hosts = [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.1.255",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "[2000::]",
        "[2001:200::]",
        "[2001:db7:ffff:ffff:ffff:ffff:ffff:ffff]",
        "[2001:db9::]",
        "[2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff]",
        "[2003::]",
        "[3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff]",
        "[3fff:1000::]",
    ];
    let configs: Vec<_> = hosts.iter().map(|host| json!({"url": format!("http://{host}/hook")})).collect();
    for (host, detail) in hosts.iter().zip(deliver_all(&fleet.api, &configs).await) {
        assert_eq!(detail["state"], "delivered", "{host}: {detail}");
    }
    let mut asked = proxy.asked();
    let mut expected: Vec<_> = hosts.iter().map(|host| format!("{host}:80")).collect();
    asked.sort_unstable();
    expected.sort_unstable();
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn only_ports_that_are_open_are_dialled_directly_by_redirect_and_through_the_proxy() {
    const SHUT: &str = "the network rules do not allow port";
    let receiver = receiver().await;
    let port = receiver.address().port();
    let proxy = Proxy::start(proxy::Setup::to(receiver.address()));
    let proxy = proxy.await.expect("a proxy");
    let address = format!("http://{}", proxy.address());
    // By default: nothing below 1024 but the web's, and none of a database.
    let shut: [u16; 13] = [1, 22, 25, 444, 1023, 2049, 3306, 5432, 5672, 6379, 9200, 11211, 27017];
    let open = [80, 443, 1024, 8080, 65535];
    let url = |port: u16| json!({"url": format!("http://93.184.215.14:{port}/hook")});
    let wishes: Vec<_> =
        shut.iter().chain(&open).map(|port| hook(&format!("acme/p{port}"), &url(*port))).collect();
    let each = shut.map(|port| port.to_string()).join(",");
    let all = format!("1-65535,{each}");
    let before = [ONE_ATTEMPT, ("BELLBUOY_OUTBOUND__PROXY", &address), ("BELLBUOY_OUTBOUND__PORTS", &all)];
    let usual = changed_since(&before, &wishes, ("BELLBUOY_OUTBOUND__PORTS", "80,443,1024-65535")).await;
    let details = first_attempts(&usual.api, &wishes).await;
    let (of_shut, of_open) = details.split_at(shut.len());
    for (port, detail) in shut.iter().zip(of_shut) {
        let expected = format!("{SHUT} {port}; an operator can open it with outbound.ports");
        assert_eq!(cause(detail), ("blocked", expected.as_str()), "{detail}");
        // Nor is a notification taken for one.
        let answer = usual.api.post("/v1/notifications", &hook("acme/api", &url(*port))).await;
        let why = format!("the network rules close port {port}; an operator can open it with outbound.ports");
        assert!(answer.status == 400 && answer.text().contains(&why), "{port}: {}", answer.text());
    }
    assert!(of_open.iter().all(|detail| detail["state"] == "delivered"), "{of_open:?}");
    assert_eq!(proxy.asked().len(), open.len());
    for refused in [0, 65536] {
        let config = json!({"url": format!("http://93.184.215.14:{refused}/hook")});
        let answer = usual.api.post("/v1/notifications", &hook("acme/api", &config)).await;
        assert_eq!(answer.status, 400, "{refused}: {}", answer.text());
    }
    // A database's that is named by itself is open, and so is nothing else then; a redirect is asked the same.
    let ports = format!("{port},6379");
    let with_80 = format!("80,{ports}");
    receiver.script("/moved", [Answer::status(307).with("location", "http://127.0.0.1:8080/x")]);
    let configs = [
        json!({"url": receiver.url("/hook")}),
        json!({"url": "http://127.0.0.1/hook"}),
        json!({"url": receiver.url("/moved"), "follow_redirects": true}),
        json!({"url": "http://127.0.0.1:6379/hook"}),
    ];
    let wishes: Vec<_> =
        configs.iter().enumerate().map(|(place, config)| hook(&format!("acme/a{place}"), config)).collect();
    let before = [ONE_ATTEMPT, ("BELLBUOY_OUTBOUND__PORTS", &with_80)];
    let fleet = changed_since(&before, &wishes, ("BELLBUOY_OUTBOUND__PORTS", &ports)).await;
    let details = first_attempts(&fleet.api, &wishes).await;
    let codes: Vec<_> = details.iter().map(|detail| cause(detail).0).collect();
    assert_eq!(codes, ["", "blocked", "blocked", "connect"], "{details:?}");
    assert!(cause(&details[2]).1.starts_with(SHUT), "{}", details[2]);
}

#[tokio::test]
async fn every_method_with_a_url_asks_the_same_rules() {
    let receiver = receiver().await;
    let mut wishes = Vec::new();
    for place in [receiver.url(""), "http://169.254.169.254".to_owned()] {
        // A channel each, since what goes into one channel of a service has one pace.
        for method in ["webhook", "slack", "mattermost", "rocketchat", "teams", "discord"] {
            let url = json!({"url": format!("{place}/{method}")});
            let mut wish = hook(&format!("acme/{method}{}", wishes.len()), &url);
            wish["method"] = json!(method);
            wishes.push(wish);
        }
    }
    let fleet = changed_since(&[ONE_ATTEMPT, OPEN], &wishes, USUAL).await;
    for wish in &wishes {
        let repository = wish["scope"]["repository"].as_str().expect("a repository");
        let detail = deliver(&fleet.api, repository, &["waiting"]).await;
        assert_eq!(cause(&detail), ("blocked", ALIKE), "{wish}: {detail}");
        let answer = fleet.api.post("/v1/notifications", wish).await;
        assert!(
            answer.status == 400 && answer.text().contains("outbound.allow"),
            "{wish}: {}",
            answer.text()
        );
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_header_that_is_not_the_owners_to_set_is_refused_when_it_is_saved() {
    let fleet = Fleet::start(&[]).await;
    let long = "x".repeat(100_000);
    for (name, value) in [
        ("X-A", "a\r\nBcc: eve@example.com"),
        ("X-A", "a\nb"),
        ("X-A", "a\0b"),
        ("X-A", "é"),
        ("X-A", long.as_str()),
        (long.as_str(), "a"),
        ("X-A\r\nX-B", "a"),
        ("X A", "a"),
        ("X-A:", "a"),
        ("", "a"),
        ("Host", "a.example"),
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Webhook-Id", "a"),
        ("Webhook-Signature", "v1,a"),
    ] {
        for member in ["headers", "secret_headers"] {
            let config = json!({"url": "https://receiver.example/hook", member: {name: value}});
            let answer = fleet.api.post("/v1/notifications", &hook("acme/api", &config)).await;
            let text = answer.text();
            let shown: String = name.chars().take(40).collect();
            assert!(
                answer.status == 400 && text.len() < 2000,
                "{member} {shown:?}: {} {}",
                answer.status,
                text
            );
        }
    }
}

#[tokio::test]
async fn a_key_that_changes_between_two_attempts_of_one_delivery_signs_the_second() {
    let (fleet, receiver) = (Fleet::start(&[("BELLBUOY_RETRY__STEPS", "4s,1h")]).await, receiver().await);
    receiver.script("/hook", [Answer::status(503), Answer::status(200)]);
    let wish = fleet.api.wish(&hook("acme/api", &json!({"url": receiver.url("/hook")}))).await;
    deliver(&fleet.api, "acme/api", &["waiting"]).await;
    let path = format!("/v1/notifications/{}/rotate", wish.id);
    let rotated = fleet.api.post(&path, &json!({"grace_seconds": 3600})).await.json();
    let new = rotated["config"]["secret"].as_str().expect("shown once").to_owned();
    fleet.api.until("", 1, &["delivered"]).await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(verify(&requests[0], Key::Secret(&wish.secret)), Ok(()));
    assert!(verify(&requests[0], Key::Secret(&new)).is_err(), "it was not known yet");
    for key in [&wish.secret, &new] {
        assert_eq!(verify(&requests[1], Key::Secret(key)), Ok(()), "both, during the grace");
    }
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    assert_eq!(requests[0].body, requests[1].body);
}

#[tokio::test]
async fn no_redirect_leads_to_a_closed_address() {
    let (receiver, bait) = (
        receiver().await,
        Receiver::start_with(Setup {
            address: Some("127.0.0.3:0".parse().expect("an address")),
            ..Setup::default()
        }),
    );
    let bait = bait.await.expect("a receiver");
    let fleet = Fleet::start(&[ONE_ATTEMPT, ("BELLBUOY_OUTBOUND__DENY", "127.0.0.3/32")]).await;
    let port = bait.address().port();
    let leads = [
        format!("http://127.0.0.3:{port}/x"),
        format!("//127.0.0.3:{port}/x"),
        format!("http://[::ffff:127.0.0.3]:{port}/x"),
        format!("http://2130706435:{port}/x"),
        format!("http://0x7f.3:{port}/x"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ];
    let mut number = 0;
    for status in [301, 302, 303, 307, 308] {
        for location in &leads {
            for follow in [false, true] {
                let path = format!("/r{number}");
                receiver.script(&path, [Answer::status(status).with("location", location)]);
                let config = json!({"url": receiver.url(&path), "follow_redirects": follow});
                fleet.api.wish(&hook(&format!("acme/r{number}"), &config)).await;
                fleet.api.publish(&push(&format!("r{number}"), &format!("acme/r{number}"), "v1")).await;
                number += 1;
            }
        }
    }
    let rows = fleet.api.until("", number, &["waiting"]).await;
    assert!(rows.iter().all(|row| row["attempt_count"] == 1), "{rows:?}");
    assert_eq!(bait.connections(), 0);
    assert_eq!(receiver.requests().len(), number);
}

#[tokio::test]
async fn an_address_is_judged_when_it_is_written_and_anew_at_every_attempt() {
    let receiver = receiver().await;
    let mut fleet = Fleet::start(&[ONE_ATTEMPT, ("BELLBUOY_OUTBOUND__DENY", "127.0.0.3/32")]).await;
    let wish = fleet.api.wish(&hook("acme/api", &json!({"url": receiver.url("/hook")}))).await;
    let edited = hook("acme/api", &json!({"url": "http://127.0.0.3:9009/hook"}));
    let path = format!("/v1/notifications/{}", wish.id);
    let answer = fleet.api.send(Method::PUT, &path, "application/json", edited.to_string()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("the network rules close its host"), "{}", answer.text());
    deliver(&fleet.api, "acme/api", &["delivered"]).await;

    // The operator closes what was open when it was written.
    fleet.set("BELLBUOY_OUTBOUND__DENY", "127.0.0.1/32");
    fleet.stop().await;
    fleet.start_again().await;
    fleet.api.publish(&push("later", "acme/api", "v2")).await;
    let rows = fleet.api.until("event=later", 1, &["waiting"]).await;
    let detail = fleet.api.delivery(&rows[0]["id"]).await;
    assert_eq!(cause(&detail).0, "blocked", "{detail}");
    assert_eq!(receiver.requests().len(), 1);
}
