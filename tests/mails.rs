//! Mail through the real program: what events and owners can't smuggle into one, and servers that refuse, lie, fall silent
//! or cut the connection.

mod support;

use std::{fs, path::Path};

use bellbuoy_domain::{Event, Kind, KindScope, Subject};
use bellbuoy_testkit::{
    certs::{Authority, Identity},
    mail::{Fault, MailServer, Setup, faults, hostile},
    wait::eventually,
};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use support::{Fleet, SOON, deliver, push};
use tempfile::TempDir;

/// One attempt, and the next one long after the test.
const ONE_ATTEMPT: (&str, &str) = ("BELLBUOY_RETRY__STEPS", "1h");

/// The fields that the head of a mail has, each once.
const FIELDS: &[&str] = &[
    "auto-submitted",
    "content-type",
    "date",
    "from",
    "message-id",
    "mime-version",
    "subject",
    "to",
    "x-bellbuoy-event",
    "x-bellbuoy-subject",
];

/// A program whose mail goes to `port`, in the clear unless `settings` say otherwise.
async fn fleet_of(port: u16, settings: &[(&str, &str)]) -> Fleet {
    let port = port.to_string();
    let ours = [
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__PORT", port.as_str()),
        ("BELLBUOY_SMTP__SECURITY", "none"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
        ("BELLBUOY_REGISTRY__TITLE", "Ours, Ü"),
    ];
    Fleet::start(&[&ours, settings].concat()).await
}

async fn server(setup: &Setup) -> (MailServer, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (MailServer::start(folder.path(), setup).await, folder)
}

/// A notification of pushes to acme/`name`, of the operator's own, so that no address has to be confirmed.
fn letter(name: &str, config: &Value) -> Value {
    json!({"scope": {"registry": true}, "kinds": ["repo_push"], "method": "email", "config": config,
        "filter": {"condition": {"path": "name", "equals": name}}})
}

#[tokio::test]
async fn nothing_of_an_event_or_an_owners_text_leaves_its_place_in_a_mail() {
    let (server, _folder) = server(&Setup::default()).await;
    let fleet = fleet_of(server.port(), &[ONE_ATTEMPT]).await;
    let evil = "v1\r\nBcc: eve@example.com\r\n\r\n<b>\r\n.\r\nMAIL FROM:<eve@example.com>\r\n";
    let rows = [
        ("plain", json!({}), ""),
        ("subject", json!({"subject": "Push of ${updated_tags[0]} é"}), ""),
        ("head", json!({"subject": "a\r\nBcc: eve@example.com", "text": "b"}), ""),
        ("dot", json!({"text": "before\r\n.\r\nafter"}), "before\r\n.\r\nafter"),
        ("dots", json!({"text": "..\r\n.x\r\n."}), "..\r\n.x\r\n."),
        ("smuggled", json!({"text": "a\n.\nb\r.\rc\r\n.\nMAIL FROM:<eve@example.com>\n"}), "MAIL FROM"),
        ("long", json!({"text": "x".repeat(4000)}), ""),
        ("wide", json!({"text": "é ".repeat(1000)}), ""),
    ];
    for (name, config, _) in &rows {
        let mut config = config.clone();
        config["email"] = json!(format!("{name}@example.com"));
        fleet.api.wish(&letter(name, &config)).await;
        fleet.api.publish(&push(name, &format!("acme/{name}"), evil)).await;
    }
    fleet.api.until("", rows.len(), &["delivered"]).await;
    let mails = server.wait_for(rows.len()).await;
    assert_eq!(mails.len(), rows.len());
    for (name, _, said) in &rows {
        let mail = mails.iter().find(|mail| mail.to == [format!("{name}@example.com")]);
        let mail = mail.unwrap_or_else(|| panic!("none to {name} alone: {mails:?}"));
        let mut fields: Vec<_> = mail.head().into_iter().map(|(field, _)| field.to_lowercase()).collect();
        fields.sort_unstable();
        assert_eq!(fields, FIELDS, "{name}: {}", mail.data);
        assert!(mail.data.is_ascii(), "{name}");
        for line in mail.data.split("\r\n") {
            assert!(line.len() <= 998 && !line.contains(['\r', '\n']), "{name}: {line:?}");
        }
        assert!(mail.data.contains(said), "{name}: {}", mail.data);
        let from = mail.field("From").expect("one");
        assert!(from.starts_with("=?utf-8?") && from.ends_with("<bells@example.com>"), "{from}");
    }
    let subject = mails.iter().find(|mail| mail.to == ["subject@example.com"]).expect("it came");
    assert!(subject.field("Subject").expect("one").contains("=?utf-8?"), "{}", subject.data);
}

#[tokio::test]
async fn an_address_is_one_mailbox_or_it_is_refused() {
    let (server, _folder) = server(&Setup::default()).await;
    let fleet = fleet_of(server.port(), &[ONE_ATTEMPT]).await;
    let long = format!("{}@example.com", "x".repeat(400));
    for address in [
        "kim@example.com\r\nBcc: eve@example.com",
        "kim@example.com\n",
        "kim@example.com,eve@example.com",
        "kim@example.com eve@example.com",
        "kim@example.com> RCPT TO:<eve@example.com",
        "Kim <kim@example.com>",
        "kim(comment)@example.com",
        "\"|/bin/sh\"@example.com",
        "kim@exämple.com",
        "kïm@example.com",
        "kim@[127.0.0.1]",
        "kim@eve@example.com",
        "kim@",
        "@example.com",
        "",
        long.as_str(),
    ] {
        let answer = fleet.api.post("/v1/notifications", &letter("api", &json!({"email": address}))).await;
        assert_eq!(answer.status, 400, "{address:?}: {}", answer.text());
    }
    let fine = "kim+bells|x@xn--exmple-cua.com";
    fleet.api.wish(&letter("api", &json!({"email": fine}))).await;
    deliver(&fleet.api, "acme/api", &["delivered"]).await;
    assert_eq!(server.wait_for(1).await[0].to, [fine]);
}

#[tokio::test]
async fn a_refusal_that_may_pass_is_deferred_and_one_that_will_not_is_a_dead_letter_at_once() {
    let (server, _folder) = server(&Setup::default()).await;
    let fleet = fleet_of(server.port(), &[ONE_ATTEMPT]).await;
    for (address, state, code, said) in [
        ("later-451@example.com", "waiting", "smtp_deferred", "451"),
        ("later-450@example.com", "waiting", "smtp_deferred", "450"),
        ("full-452@example.com", "waiting", "smtp_deferred", "452"),
        ("full-451@example.com", "waiting", "smtp_deferred", "451"),
        ("late-421@example.com", "waiting", "smtp_deferred", "421"),
        ("never-550@example.com", "dead", "smtp_rejected", "refused the address: 550"),
        ("never-552@example.com", "dead", "smtp_rejected", "refused the address: 552"),
        ("big-552@example.com", "dead", "smtp_rejected", "refused the mail: 552"),
        ("spam-550@example.com", "dead", "smtp_rejected", "refused the mail: 550"),
    ] {
        let name = address.split('@').next().expect("a name");
        fleet.api.wish(&letter(name, &json!({"email": address}))).await;
        let detail = deliver(&fleet.api, &format!("acme/{name}"), &[state]).await;
        assert_eq!(
            (&detail["attempt_count"], &detail["cause"]["code"]),
            (&json!(1), &json!(code)),
            "{detail}"
        );
        assert!(detail["cause"]["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{detail}");
    }
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_server_at_its_worst_is_a_failed_attempt_in_bounded_time_and_memory() {
    let attempt = async |(name, fault, expected): (&str, Fault, &'static [&'static str])| {
        let server = hostile(fault).await;
        let settings = [ONE_ATTEMPT, ("BELLBUOY_SMTP__DEADLINE_SECONDS", "2")];
        let fleet = fleet_of(server.address().port(), &settings).await;
        let before = fleet.process.usage().expect("its memory").peak_rss;
        fleet.api.wish(&letter("api", &json!({"email": "kim@example.com"}))).await;
        let detail = deliver(&fleet.api, "acme/api", &["waiting"]).await;
        let cause = &detail["attempts"][0]["cause"];
        let as_told = cause["code"].as_str().is_some_and(|code| expected.contains(&code));
        assert!(as_told, "{name}: {detail}");
        let said = cause["detail"].as_str().expect("a sentence");
        assert!(!said.contains(char::is_control) && said.chars().count() < 400, "{name}: {said:?}");
        let grown = fleet.process.usage().expect("its memory").peak_rss - before;
        assert!(grown < 32 << 20, "{name}: {grown} bytes more");
    };
    join_all(faults().map(attempt)).await;
}

/// What one mail over a server of that setup comes to: its delivery, and how many mails the server took.
async fn over_tls(setup: &Setup, ca: &Path, login: Option<&str>) -> (Value, usize) {
    let (server, _folder) = server(setup).await;
    let security = if setup.tls.is_some() { "tls" } else { "starttls" };
    let mut settings = vec![
        ONE_ATTEMPT,
        ("BELLBUOY_SMTP__SECURITY", security),
        ("BELLBUOY_OUTBOUND__EXTRA_CA", ca.to_str().expect("UTF-8")),
    ];
    if let Some(password) = login {
        settings.extend([("BELLBUOY_SMTP__USER", "bells"), ("BELLBUOY_SMTP__PASSWORD", password)]);
    }
    let fleet = fleet_of(server.port(), &settings).await;
    fleet.api.wish(&letter("api", &json!({"email": "kim@example.com"}))).await;
    let detail = deliver(&fleet.api, "acme/api", &["waiting", "delivered"]).await;
    assert!(login.is_none_or(|password| !fleet.log().contains(password)), "the password is in the log");
    assert!(login.is_none_or(|password| !detail.to_string().contains(password)), "{detail}");
    (detail, server.mails().len())
}

fn with<E: std::fmt::Debug>(identity: Result<Identity, E>) -> Setup {
    Setup { starttls: Some(identity.expect("a certificate")), ..Setup::default() }
}

#[tokio::test]
async fn no_mail_and_no_password_goes_in_the_clear_or_to_a_stranger() {
    let ours = Authority::new("ours").expect("an authority");
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, ours.pem()).expect("written");
    let names = &["127.0.0.1"];
    let strict = || Setup {
        login: Some(("bells".to_owned(), "hunter2-right".to_owned())),
        ..with(ours.server(names))
    };
    let rows = [
        ("no STARTTLS", Setup::default(), Some("hunter2-right"), "tls", "offers no STARTTLS"),
        ("expired", with(ours.expired_server(names)), Some("hunter2-right"), "tls", "has expired"),
        (
            "another host's",
            with(ours.server(&["other.example"])),
            Some("hunter2-right"),
            "tls",
            "another host name",
        ),
        (
            "a stranger's",
            with(Identity::self_signed(names)),
            Some("hunter2-right"),
            "tls",
            "not trusted here",
        ),
        ("wrong password", strict(), Some("hunter2-wrong"), "internal", "does not take our login"),
        ("no login", strict(), None, "internal", "smtp.from"),
        ("right", strict(), Some("hunter2-right"), "", ""),
    ];
    let told = join_all(rows.iter().map(|(_, setup, login, ..)| over_tls(setup, &ca, *login))).await;
    for ((name, _, _, code, said), (detail, mails)) in rows.iter().zip(told) {
        let cause = &detail["cause"];
        assert_eq!(cause["code"].as_str().unwrap_or_default(), *code, "{name}: {detail}");
        assert!(cause["detail"].as_str().unwrap_or_default().contains(said), "{name}: {detail}");
        assert_eq!(mails, usize::from(code.is_empty()), "{name}");
    }
}

#[tokio::test]
async fn a_server_that_ends_each_connection_after_a_few_mails_gets_every_mail_once() {
    const MANY: usize = 60;
    let (server, _folder) = server(&Setup { most: 3, ..Setup::default() }).await;
    let fleet = fleet_of(server.port(), &[("BELLBUOY_SMTP__CONNECTIONS", "4")]).await;
    fleet.api.wish(&letter("api", &json!({"email": "kim@example.com"}))).await;
    for number in 0..MANY {
        fleet.api.publish(&push(&format!("n{number}"), "acme/api", "v1")).await;
    }
    let rows = fleet.api.until("", MANY, &["delivered"]).await;
    assert!(
        rows.iter().all(|row| row["attempt_count"] == 1),
        "a closed connection costs no attempt: {rows:?}"
    );
    let mails = server.wait_for(MANY).await;
    let mut ids: Vec<_> = mails.iter().filter_map(|mail| mail.field("Message-ID")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((mails.len(), ids.len()), (MANY, MANY));
}

#[tokio::test]
async fn an_address_that_did_not_agree_or_agrees_no_more_gets_nothing() {
    let (server, _folder) = server(&Setup::default()).await;
    let fleet = fleet_of(server.port(), &[ONE_ATTEMPT]).await;
    let known = async |verified: bool| {
        let people = json!({"version": 1, "repositories": [{"name": "acme/api"}],
            "users": [{"name": "acme", "email": "kim@example.com", "email_verified": verified}]});
        let answer = fleet.api.post("/v1/directory/import", &people).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    known(true).await;
    // For a repository an address agrees by a link of its own.
    let wish = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "email",
        "config": {"email": "kim@example.com"}});
    let answer = fleet.api.post("/v1/notifications", &wish).await;
    assert!(answer.status == 400 && answer.text().contains("is not authorized"), "{}", answer.text());

    // For a namespace it is one of its own people's, and verified.
    let kind =
        Kind::ALL.iter().find(|kind| kind.scope() == KindScope::Namespace).expect("a kind of namespaces");
    let wish = json!({"scope": {"namespace": "acme"}, "kinds": [kind.name()], "method": "email",
        "config": {"email": "kim@example.com"}});
    fleet.api.wish(&wish).await;
    let tell = async |id: &str| {
        let subject = Subject::Namespace("acme".to_owned());
        let event = Event::sample(*kind, subject, &Map::new(), "registry.example.com", id, Timestamp::now());
        fleet.api.publish(&event.to_value()).await;
        let ended = async || {
            fleet
                .api
                .deliveries(&format!("event={id}"))
                .await
                .pop()
                .filter(|row| matches!(row["state"].as_str(), Some("delivered" | "dead")))
        };
        let row = eventually(SOON, ended).await;
        fleet.api.delivery(&row["id"]).await
    };
    assert_eq!(tell("first").await["state"], "delivered");
    known(false).await;
    let detail = tell("second").await;
    assert_eq!(
        (&detail["state"], &detail["cause"]["code"]),
        (&json!("dead"), &json!("no_recipient")),
        "{detail}"
    );
    assert_eq!(server.wait_for(1).await.len(), 1);
}

#[tokio::test]
async fn the_mail_server_is_not_where_the_operator_denies_nor_where_clouds_keep_secrets() {
    let (server, _folder) = server(&Setup::default()).await;
    for (host, deny) in [("169.254.169.254", "10.0.0.0/8"), ("127.0.0.1", "127.0.0.0/8")] {
        let settings = [
            ONE_ATTEMPT,
            ("BELLBUOY_SMTP__HOST", host),
            ("BELLBUOY_OUTBOUND__DENY", deny),
            ("BELLBUOY_OUTBOUND__ALLOW", ""),
        ];
        let fleet = fleet_of(server.port(), &settings).await;
        fleet.api.wish(&letter("api", &json!({"email": "kim@example.com"}))).await;
        let detail = deliver(&fleet.api, "acme/api", &["waiting"]).await;
        assert_eq!(detail["cause"]["code"], "blocked", "{host}: {detail}");
    }
    assert!(server.mails().is_empty());
}
