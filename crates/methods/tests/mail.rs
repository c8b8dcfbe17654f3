//! Mails: to a real server with TLS and login, and to servers at their worst.

mod common;

use std::{path::Path, time::Duration};

use bellbuoy_domain::{
    AccountKind, AccountName, Cause, CauseCode, DeliveryId, EmailAddress, Event, Kind, Letter, NamespaceName,
    Notification, NotificationState, Outcome, Registry, RepositoryName, Scope, Subject, TeamName, TeamRole,
};
use bellbuoy_methods::{Attempt, Methods, Outbound, Report, Services, Smtp, SmtpSecurity};
use bellbuoy_store::{Account, Store, Team};
use bellbuoy_testkit::{
    certs::{Authority, Identity},
    mail::{Fault, MailServer, Setup, faults, hostile},
    process::free_port,
};
use common::{DEADLINE, SLACK, assert_deferred, code, detail, settings};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

const REPOSITORY: &str = "acme/api";

fn smtp(port: u16, security: SmtpSecurity) -> Smtp {
    Smtp {
        host: "127.0.0.1".to_owned(),
        port,
        security,
        login: None,
        sender: EmailAddress::parse("bells@example.com").expect("an address"),
        hello: Some("bellbuoy.test".to_owned()),
        deadline: Duration::from_secs(20),
        connections: 2,
    }
}

struct Bench {
    methods: Methods,
    store: Store,
    folder: TempDir,
}

async fn bench(folder: TempDir, smtp: Option<Smtp>, ca: Option<String>) -> Bench {
    let store = Store::open_sqlite(&folder.path().join("bellbuoy.db")).await.expect("a store");
    let registry = Registry { title: "Ours, Ü".to_owned(), url: "https://registry.example".to_owned() };
    let services = Services { smtp, ..Services::default() };
    // The rules for receivers are not those for the operator's own server.
    let outbound =
        Outbound { allow: Vec::new(), services, extra_ca_pem: ca.map(String::into_bytes), ..settings() };
    Bench { methods: Methods::new(outbound, registry, store.clone()).expect("settings"), store, folder }
}

impl Bench {
    async fn plain(setup: &Setup) -> (Self, MailServer) {
        let folder = tempfile::tempdir().expect("a folder");
        let server = MailServer::start(folder.path(), setup).await;
        (bench(folder, Some(smtp(server.port(), SmtpSecurity::None)), None).await, server)
    }

    async fn send(&self, to: &str) -> Report {
        self.tell(&notification(&json!({"email": to})), &push("v1"), "42").await
    }

    async fn tell(&self, notification: &Notification, event: &Event, id: &str) -> Report {
        self.tell_again(notification, event, id, 1).await
    }

    async fn tell_again(&self, notification: &Notification, event: &Event, id: &str, number: u32) -> Report {
        let checked = notification.check().expect("a notification");
        let delivery = DeliveryId::derive("registry.example", id, notification.id);
        let attempt = Attempt { delivery, number, event, notification, checked: &checked, now: now() };
        self.methods.attempt(attempt).await
    }

    /// Organization `acme` with this contact and these owners: each a name, an address, and whether it is verified.
    async fn acme(&self, contact: Option<(&str, bool)>, owners: &[(&str, &str, bool)]) {
        let organization = NamespaceName::parse("acme").expect("a name");
        self.account("acme", AccountKind::Organization, contact).await;
        let name = TeamName::parse("owners").expect("a name");
        let team = Team { organization: organization.clone(), name: name.clone(), role: TeamRole::Admin };
        self.store.put_team(&team).await.expect("a store");
        for member in self.store.members_of_team(&organization, &name).await.expect("a store") {
            self.store.remove_member(&organization, &name, &member.name).await.expect("a store");
        }
        for (owner, email, verified) in owners {
            self.account(owner, AccountKind::User, Some((email, *verified))).await;
            let owner = AccountName::parse(owner).expect("a name");
            self.store.add_member(&organization, &name, &owner).await.expect("a store");
        }
    }

    async fn account(&self, name: &str, kind: AccountKind, email: Option<(&str, bool)>) {
        let account = Account {
            name: AccountName::parse(name).expect("a name"),
            id: Uuid::new_v4(),
            kind,
            email: email.map(|(email, _)| email.to_owned()),
            email_verified: email.is_some_and(|(_, verified)| verified),
            superuser: false,
            enabled: true,
            created_at: Timestamp::UNIX_EPOCH,
        };
        self.store.put_account(&account).await.expect("a store");
    }
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

fn push(tag: &str) -> Event {
    let subject = Subject::Repository(RepositoryName::parse(REPOSITORY).expect("a name"));
    let mut event = Event::sample(Kind::RepoPush, subject, &Map::new(), "registry.example", "42", now());
    event.data["updated_tags"] = json!([tag]);
    event
}

fn notification(config: &Value) -> Notification {
    Notification {
        id: Uuid::from_u128(7).into(),
        title: None,
        scope: Scope::Registry, // The operator's own, so that no address has to be confirmed.
        kinds: vec![Kind::RepoPush],
        event_config: Map::new(),
        method: "email".to_owned(),
        config: config.as_object().expect("an object").clone(),
        secret: None,
        format: "quay".to_owned(),
        retry: None,
        state: NotificationState::Active,
        state_reason: None,
        failures: 0,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        author: None,
        succeeded_at: None,
    }
}

/// A notification of namespace `acme`, of its quota and of its repositories.
fn of_acme(config: &Value) -> Notification {
    Notification {
        scope: Scope::Namespace("acme".to_owned()),
        kinds: vec![Kind::QuotaError, Kind::RepoPush],
        ..notification(config)
    }
}

fn quota() -> Event {
    let acme = Subject::Namespace("acme".to_owned());
    Event::sample(Kind::QuotaError, acme, &Map::new(), "registry.example", "42", now())
}

const DELIVERED: Report = Report { outcome: Outcome::Delivered, status: None, was_last: false };

#[track_caller]
fn assert_rejected(report: &Report, said: &str) {
    let Outcome::Rejected { cause } = &report.outcome else { panic!("not rejected: {report:?}") };
    assert!(cause.code == CauseCode::SmtpRejected && cause.detail.contains(said), "not {said:?}: {cause}");
}

#[tokio::test]
async fn a_mail_has_one_head_and_its_words_as_text_and_html() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    assert_eq!(bench.send("kim@example.com").await, DELIVERED);
    let mail = server.wait_for(1).await.remove(0);
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("bells@example.com", &["kim@example.com".to_owned()][..])
    );
    let field = |name: &str| mail.field(name).unwrap_or_else(|| panic!("not one {name} in {}", mail.data));
    assert_eq!(field("Subject"), "Repository acme/api updated");
    assert_eq!(field("To"), "kim@example.com");
    assert_eq!(field("Date"), "Fri, 20 Nov 2026 12:00:00 +0000");
    let delivery = DeliveryId::derive("registry.example", "42", Uuid::from_u128(7).into());
    assert_eq!(field("Message-ID"), format!("<{delivery}@example.com>"));
    assert_eq!(field("Auto-Submitted"), "auto-generated");
    assert_eq!(field("X-Bellbuoy-Event"), "repo_push");
    assert_eq!(field("X-Bellbuoy-Subject"), REPOSITORY);
    let from = field("From");
    assert!(
        from.starts_with("=?utf-8?") && from.ends_with("<bells@example.com>") && from.is_ascii(),
        "{from}"
    );
    assert!(field("Content-Type").starts_with("multipart/alternative"));
    let parts: Vec<_> =
        mail.data.match_indices("Content-Type: text/").map(|(at, _)| &mail.data[at..]).collect();
    assert!(parts[0].starts_with("Content-Type: text/plain; charset=utf-8"), "{}", parts[0]);
    assert!(parts[0].contains("Push of v1 [1] in repository acme/api [2]"), "{}", parts[0]);
    assert!(parts[1].starts_with("Content-Type: text/html; charset=utf-8"), "{}", parts[1]);
    assert_eq!(parts.len(), 2);
}

#[tokio::test]
async fn no_field_of_an_event_or_a_template_can_add_a_header() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    let evil = "v1\r\nBcc: eve@example.com\r\n\r\n<b>\r\n.\r\nMAIL FROM:<eve@example.com>\r\n";
    let rows = [
        json!({"email": "kim@example.com"}),
        json!({"email": "kim@example.com", "subject": format!("{evil}${{updated_tags[0]}} é"), "text": format!("{evil}${{updated_tags[0]}}")}),
        json!({"email": "kim@example.com", "text": "a\n.\nb\r.\rc\r\n.\nd"}),
        json!({"email": "kim@example.com", "text": "x".repeat(4000)}),
        json!({"email": "kim@example.com", "text": "é ".repeat(1000)}),
    ];
    for (place, config) in rows.iter().enumerate() {
        let mut event = push(evil);
        event.data.insert("actor".to_owned(), json!({"name": evil}));
        assert_eq!(bench.tell(&notification(config), &event, "42").await, DELIVERED, "{config}");
        let mails = server.wait_for(place + 1).await;
        let mail = mails.last().expect("a mail");
        assert_eq!((mails.len(), mail.to.len()), (place + 1, 1));
        let names: Vec<_> = mail.head().into_iter().map(|(name, _)| name.to_lowercase()).collect();
        let known = [
            "from",
            "to",
            "subject",
            "date",
            "message-id",
            "auto-submitted",
            "x-bellbuoy-event",
            "x-bellbuoy-subject",
            "mime-version",
            "content-type",
        ];
        for name in &names {
            assert!(known.contains(&name.as_str()), "{name} in {}", mail.data);
        }
        assert_eq!(names.len(), known.len(), "{}", mail.data);
        assert!(
            mail.data.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])),
            "{}",
            mail.data
        );
    }
}

#[tokio::test]
async fn what_the_server_answers_decides_what_follows() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    assert_rejected(&bench.send("never-550@example.com").await, "refused the address: 550 5.1.1");
    assert_rejected(&bench.send("never-552@example.com").await, "552");
    assert_rejected(&bench.send("big-552@example.com").await, "refused the mail: 552");
    assert_rejected(&bench.send("spam-554@example.com").await, "refused the mail: 554");
    for (address, said) in [
        ("later-451@example.com", "451"),
        ("later-450@example.com", "450"),
        ("full-452@example.com", "452"),
        ("late-421@example.com", "421"),
    ] {
        assert_deferred(&bench.send(address).await, CauseCode::SmtpDeferred, said);
    }
    assert_deferred(&bench.send("grey@example.com").await, CauseCode::SmtpDeferred, "greylisted");
    assert_eq!(bench.send("grey@example.com").await, DELIVERED);
    assert_deferred(&bench.send("cut@example.com").await, CauseCode::Reset, "closed the connection");
    assert_eq!(bench.send("cut@example.com").await, DELIVERED);
    let ids: Vec<_> = server.wait_for(3).await.iter().map(|mail| mail.field("Message-ID")).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "one delivery, one id: {ids:?}");
}

#[tokio::test]
async fn one_connection_serves_many_mails_and_a_closed_one_costs_none() {
    let (bench, server) = Bench::plain(&Setup { most: 3, ..Setup::default() }).await;
    for _ in 0..10 {
        assert_eq!(bench.send("kim@example.com").await, DELIVERED);
    }
    let connections: Vec<_> = server.wait_for(10).await.iter().map(|mail| mail.connection).collect();
    assert_eq!(connections, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]);
}

#[tokio::test]
async fn many_mails_at_once_wait_for_the_few_connections() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    let reports = futures_util::future::join_all((0..40).map(|_| bench.send("kim@example.com"))).await;
    assert!(reports.iter().all(|report| *report == DELIVERED), "{reports:?}");
    let mails = server.wait_for(40).await;
    assert!(mails.iter().all(|mail| mail.connection <= 2), "more than two connections");
}

#[tokio::test]
async fn tls_and_login_are_used_and_nothing_is_sent_without() {
    let ours = Authority::new("ours").expect("an authority");
    let identity = || ours.server(&["127.0.0.1"]).expect("a certificate");
    let login = |password: &str| Some(("bells".to_owned(), password.to_owned()));
    for security in [SmtpSecurity::Tls, SmtpSecurity::StartTls] {
        let folder = tempfile::tempdir().expect("a folder");
        let (tls, starttls) = match security {
            SmtpSecurity::Tls => (Some(identity()), None),
            _ => (None, Some(identity())),
        };
        let server = MailServer::start(
            folder.path(),
            &Setup { tls, starttls, login: login("hunter2"), ..Setup::default() },
        )
        .await;
        let with = |login| Smtp { login, ..smtp(server.port(), security) };
        let right = bench(folder, Some(with(login("hunter2"))), Some(ours.pem())).await;
        assert_eq!(right.send("kim@example.com").await, DELIVERED, "{security:?}");
        let mail = server.wait_for(1).await.remove(0);
        assert!(mail.tls && mail.user.as_deref() == Some("bells"), "{mail:?}");

        let other = || tempfile::tempdir().expect("a folder");
        let wrong = bench(other(), Some(with(login("secret-99"))), Some(ours.pem())).await;
        let report = wrong.send("kim@example.com").await;
        assert_deferred(
            &report,
            CauseCode::Internal,
            "does not take our login (smtp.user, smtp.password): 535",
        );
        assert!(!format!("{report:?}").contains("secret-99"), "{report:?}");
        let none = bench(other(), Some(with(None)), Some(ours.pem())).await;
        assert_deferred(&none.send("kim@example.com").await, CauseCode::Internal, "smtp.from): 530");
        let distrusting = bench(other(), Some(with(login("hunter2"))), None).await;
        assert_deferred(&distrusting.send("kim@example.com").await, CauseCode::Tls, "not trusted here");
        assert_eq!(server.mails().len(), 1);
    }
}

#[tokio::test]
async fn a_bad_certificate_gets_no_mail() {
    let ours = Authority::new("ours").expect("an authority");
    let rows = [
        (ours.expired_server(&["127.0.0.1"]), "has expired"),
        (ours.server(&["other.example"]), "is for another host name"),
        (Identity::self_signed(&["127.0.0.1"]), "not trusted here"),
    ];
    for (identity, said) in rows {
        let folder = tempfile::tempdir().expect("a folder");
        let starttls = Some(identity.expect("a certificate"));
        let server = MailServer::start(folder.path(), &Setup { starttls, ..Setup::default() }).await;
        let smtp = smtp(server.port(), SmtpSecurity::StartTls);
        let bench = bench(folder, Some(smtp), Some(ours.pem())).await;
        assert_deferred(&bench.send("kim@example.com").await, CauseCode::Tls, said);
        assert!(server.mails().is_empty());
    }
}

#[tokio::test]
async fn a_server_that_offers_no_starttls_gets_nothing_in_the_clear() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = MailServer::start(folder.path(), &Setup::default()).await;
    let smtp = Smtp {
        login: Some(("bells".into(), "hunter2".into())),
        ..smtp(server.port(), SmtpSecurity::StartTls)
    };
    let bench = bench(folder, Some(smtp), None).await;
    assert_deferred(&bench.send("kim@example.com").await, CauseCode::Tls, "offers no STARTTLS");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn without_a_mail_server_mails_wait_and_one_that_is_down_defers() {
    let folder = || tempfile::tempdir().expect("a folder");
    let none = bench(folder(), None, None).await;
    assert_deferred(&none.send("kim@example.com").await, CauseCode::Internal, "smtp.host");
    let down = bench(folder(), Some(smtp(free_port(), SmtpSecurity::None)), None).await;
    assert_deferred(&down.send("kim@example.com").await, CauseCode::Connect, "could not connect");
    let nowhere = Smtp { host: "mail.invalid".to_owned(), ..smtp(25, SmtpSecurity::None) };
    let nowhere = bench(folder(), Some(nowhere), None).await;
    assert_deferred(&nowhere.send("kim@example.com").await, CauseCode::Dns, "mail.invalid");
}

#[tokio::test]
async fn a_server_at_its_worst_costs_one_attempt_in_bounded_time() {
    for security in [SmtpSecurity::None, SmtpSecurity::StartTls] {
        for (name, fault, expected) in faults() {
            if name == "closed in the middle" && security == SmtpSecurity::StartTls {
                continue; // It offers none.
            }
            let server = hostile(fault).await;
            let port = server.address().port();
            let smtp = Smtp { deadline: DEADLINE, ..smtp(port, security) };
            let bench = bench(tempfile::tempdir().expect("a folder"), Some(smtp), None).await;
            let begun = Instant::now();
            let report = bench.send("kim@example.com").await;
            assert!(begun.elapsed() < DEADLINE + SLACK, "{name}");
            assert!(matches!(report.outcome, Outcome::Deferred { .. }), "{name}: {report:?}");
            let as_told = code(&report).is_some_and(|code| expected.contains(&code.name()));
            assert!(as_told, "{name}, {security:?}: {report:?}");
            assert!(
                !detail(&report).contains(['\r', '\n']) && detail(&report).chars().count() < 400,
                "{report:?}"
            );
        }
    }
}

#[tokio::test]
async fn no_mail_is_delivered_by_an_answer_to_something_else() {
    let said = |lines: &[&str]| Fault {
        lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect(),
        then_closes: false,
    };
    for (lines, shown) in [
        // Once a line too many, and then each answer is read one late: the refusal would come after the mail.
        (
            &[
                "220 a\r\n",
                "250 a\r\n250 of nothing\r\n",
                "250 OK\r\n",
                "250 OK\r\n",
                "354 go on\r\n",
                "554 spam\r\n",
            ][..],
            "250 OK",
        ),
        (&["220 a\r\n", "250 a\r\n", "250 OK\r\n", "250 OK\r\n", "250 OK\r\n", "250 OK\r\n"], "250 OK"),
        (
            &["220 a\r\n", "250 a\r\n", "250 OK\r\n", "250 OK\r\n", "354 go on\r\n", "354 go on\r\n"],
            "354 go on",
        ),
    ] {
        let server = hostile(said(lines)).await;
        let smtp = Smtp { deadline: DEADLINE, ..smtp(server.address().port(), SmtpSecurity::None) };
        let bench = bench(tempfile::tempdir().expect("a folder"), Some(smtp), None).await;
        let report = bench.send("kim@example.com").await;
        assert_deferred(&report, CauseCode::Protocol, &format!("to something else than the mail: {shown}"));
    }
}

#[tokio::test]
async fn what_is_said_in_the_clear_after_starttls_is_no_answer_to_what_comes_later() {
    let lines = ["220 a\r\n", "250-a\r\n250 STARTTLS\r\n", "220 go on\r\n250 injected\r\n"];
    let lines = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    let server = hostile(Fault { lines, then_closes: false }).await;
    let smtp = Smtp { deadline: DEADLINE, ..smtp(server.address().port(), SmtpSecurity::StartTls) };
    let bench = bench(tempfile::tempdir().expect("a folder"), Some(smtp), None).await;
    assert_deferred(&bench.send("kim@example.com").await, CauseCode::Tls, "said in the clear");
}

#[tokio::test]
async fn a_mail_that_is_no_delivery_is_sent_at_once_or_refused_with_its_cause() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    let registry = Registry { title: "Ours".to_owned(), url: "https://registry.example".to_owned() };
    let repository = RepositoryName::parse(REPOSITORY).expect("a name");
    let letter =
        Letter::confirmation(&repository, &registry, "https://bells.example.com/authrepoemail?code=X");
    let to = |text| EmailAddress::parse(text).expect("an address");
    assert_eq!(bench.methods.mail(&to("kim@example.com"), &letter, now()).await, Ok(()));
    let mail = server.wait_for(1).await.remove(0);
    let subject = "[Ours] Please verify your e-mail address for repository acme/api";
    assert_eq!(mail.field("Subject").as_deref(), Some(subject));
    let refused = bench.methods.mail(&to("never-550@example.com"), &letter, now()).await;
    assert!(matches!(&refused, Err(Cause { code: CauseCode::SmtpRejected, .. })), "{refused:?}");
    assert!(Path::new(bench.folder.path()).exists());
}

#[tokio::test]
async fn nobody_is_written_to_who_has_not_confirmed_the_address_for_that_repository() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    let repository = |name: &str| RepositoryName::parse(name).expect("a name");
    let mut wish = notification(&json!({"email": "kim@example.com"}));
    wish.scope = Scope::Repository(repository(REPOSITORY));
    for (code, name) in [([1; 32], REPOSITORY), ([2; 32], "acme/web")] {
        let requested = bench.store.request_email(&repository(name), "kim@example.com", &code, now()).await;
        assert!(requested.expect("a store"), "{name}");
    }
    bench.store.confirm_email(&[2; 32], now()).await.expect("a store").expect("the other repository's");
    for address in ["kim@example.com", "Kim@example.com", "eve@example.com"] {
        wish.config["email"] = json!(address);
        let report = bench.tell(&wish, &push("v1"), "42").await;
        let Outcome::Rejected { cause } = &report.outcome else { panic!("{address}: {report:?}") };
        assert_eq!(cause.code, CauseCode::NoRecipient, "{address}");
    }
    assert!(server.mails().is_empty());
    wish.config["email"] = json!("kim@example.com");
    bench.store.confirm_email(&[1; 32], now()).await.expect("a store").expect("this repository's");
    assert_eq!(bench.tell(&wish, &push("v1"), "42").await, DELIVERED);
    bench.store.forget_email(&repository(REPOSITORY), "kim@example.com").await.expect("a store");
    let report = bench.tell(&wish, &push("v1"), "43").await;
    assert_eq!(code(&report), Some(CauseCode::NoRecipient));
    assert_eq!(server.wait_for(1).await.len(), 1);
}

#[tokio::test]
async fn a_namespace_s_mail_is_one_to_its_contact_or_else_to_every_owner_of_the_moment() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    let owners = [("ann", "ann@example.com", true), ("bob", "bob@example.com", true)];
    let wish = of_acme(&json!({}));
    let tell = async |id: &str| {
        assert_eq!(bench.tell(&wish, &quota(), id).await, DELIVERED);
        server.mails().last().expect("a mail").clone()
    };
    bench.acme(Some(("contact@acme.example", true)), &owners).await;
    assert_eq!(tell("1").await.to, ["contact@acme.example"]);
    bench.acme(Some(("contact@acme.example", false)), &owners).await;
    let mail = tell("2").await;
    assert_eq!(mail.to, ["ann@example.com", "bob@example.com"], "one mail for all of them");
    assert_eq!(mail.field("To").as_deref(), Some("ann@example.com, bob@example.com"));
    bench.acme(None, &[("cy", "cy@example.com", true)]).await;
    assert_eq!(tell("3").await.to, ["cy@example.com"]);
    // One of theirs is written to alone, as long as it is theirs.
    let to_bob = of_acme(&json!({"email": "bob@example.com"}));
    bench.acme(None, &owners).await;
    assert_eq!(bench.tell(&to_bob, &quota(), "4").await, DELIVERED);
    bench.acme(None, &owners[..1]).await;
    assert_eq!(bench.tell(&to_bob, &quota(), "5").await, DELIVERED);
    let to: Vec<_> = server.wait_for(5).await[3..].iter().map(|mail| mail.to.concat()).collect();
    assert_eq!(to, ["bob@example.com", "ann@example.com"]);
}

#[tokio::test]
async fn of_a_namespace_nobody_is_written_to_but_its_people_at_addresses_known_to_be_theirs() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    bench.account("eve", AccountKind::User, Some(("eve@example.com", true))).await;
    // An owner once, and one whose address is not known to be theirs.
    bench.acme(None, &[("former", "former@example.com", true)]).await;
    bench.acme(Some(("contact@acme.example", false)), &[("new", "new@example.com", false)]).await;
    for email in [
        json!({}),
        json!({"email": "eve@example.com"}),
        json!({"email": "former@example.com"}),
        json!({"email": "new@example.com"}),
        json!({"email": "contact@acme.example"}),
        json!({"email": "stranger@example.com"}),
    ] {
        for event in [quota(), push("v1")] {
            let report = bench.tell(&of_acme(&email), &event, "42").await;
            assert_eq!(code(&report), Some(CauseCode::NoRecipient), "{email} {}: {report:?}", event.kind);
            assert!(matches!(report.outcome, Outcome::Rejected { .. }), "{report:?}");
        }
    }
    assert!(server.mails().is_empty());
    // What is confirmed for one of its repositories is for that one.
    let (api, list) = (RepositoryName::parse(REPOSITORY).expect("a name"), "list@example.com");
    bench.store.request_email(&api, list, &[1; 32], now()).await.expect("a store");
    bench.store.confirm_email(&[1; 32], now()).await.expect("a store").expect("an address");
    let to_list = of_acme(&json!({ "email": list }));
    assert_eq!(bench.tell(&to_list, &push("v1"), "1").await, DELIVERED);
    let mut elsewhere = push("v1");
    elsewhere.subject = Subject::Repository(RepositoryName::parse("acme/web").expect("a name"));
    for event in [elsewhere, quota()] {
        assert_eq!(code(&bench.tell(&to_list, &event, "2").await), Some(CauseCode::NoRecipient));
    }
    assert_eq!(server.wait_for(1).await.len(), 1);
}

#[tokio::test]
async fn an_account_that_is_shut_out_gets_no_mail_of_its_namespace() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    bench.acme(None, &[("ann", "ann@example.com", true)]).await;
    let ann = AccountName::parse("ann").expect("a name");
    let account = bench.store.account(&ann).await.expect("a store").expect("her");
    bench.store.put_account(&Account { enabled: false, ..account }).await.expect("a store");
    assert_eq!(code(&bench.tell(&of_acme(&json!({})), &quota(), "1").await), Some(CauseCode::NoRecipient));
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn who_is_refused_for_good_keeps_no_mail_from_the_others_and_who_is_refused_for_now_only_at_first() {
    let (bench, server) = Bench::plain(&Setup::default()).await;
    let wish = of_acme(&json!({}));
    let owners = |second: &'static str| [("ann", "ann@example.com", true), ("bob", second, true)];
    bench.acme(None, &owners("never-550@example.com")).await;
    assert_eq!(bench.tell(&wish, &quota(), "1").await, DELIVERED);
    assert_eq!(server.wait_for(1).await[0].to, ["ann@example.com"]);

    // Greylisted: all get it a little later, and each once.
    bench.acme(None, &owners("grey@example.com")).await;
    assert_deferred(&bench.tell(&wish, &quota(), "2").await, CauseCode::SmtpDeferred, "greylisted");
    assert_eq!(server.mails().len(), 1);
    assert_eq!(bench.tell_again(&wish, &quota(), "2", 2).await, DELIVERED);
    assert_eq!(server.wait_for(2).await[1].to, ["ann@example.com", "grey@example.com"]);

    bench.acme(None, &owners("later-452@example.com")).await;
    for number in 1..=3 {
        let report = bench.tell_again(&wish, &quota(), "3", number).await;
        assert_deferred(&report, CauseCode::SmtpDeferred, "452");
    }
    assert_eq!(server.mails().len(), 2);
    assert_eq!(bench.tell_again(&wish, &quota(), "3", 4).await, DELIVERED);
    assert_eq!(server.wait_for(3).await[2].to, ["ann@example.com"]);

    let refused = [("ann", "never-550@example.com", true), ("bob", "never-551@example.com", true)];
    bench.acme(None, &refused).await;
    assert_rejected(&bench.tell(&wish, &quota(), "4").await, "550");
    bench.acme(None, &[refused[0], ("cy", "later-452@example.com", true)]).await;
    for number in [1, 4] {
        let report = bench.tell_again(&wish, &quota(), "5", number).await;
        assert_deferred(&report, CauseCode::SmtpDeferred, "452");
    }
    assert_eq!(server.mails().len(), 3);
}
