//! A delivery by each method, from the notification as its owner wrote it to what arrives.

mod common;

use base64::{Engine, engine::general_purpose::STANDARD};
use bellbuoy_domain::{
    AccountKind, AccountName, CauseCode, DeliveryId, Event, Kind, NamespaceName, Notification,
    NotificationState, Outcome, Registry, RepositoryName, Scope, Subject, TeamName, TeamRole,
};
use bellbuoy_methods::{Attempt, Methods, Report};
use bellbuoy_store::{Account, Store, Team};
use bellbuoy_testkit::receiver::{Receiver, Recorded};
use common::{assert_deferred, settings};
use jiff::Timestamp;
use ring::digest;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use uuid::Uuid;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW: &str = "2026-11-20T12:00:00.75Z";

struct Bench {
    methods: Methods,
    store: Store,
    _directory: TempDir,
}

async fn bench() -> anyhow::Result<Bench> {
    let directory = tempfile::tempdir()?;
    let store = Store::open_sqlite(&directory.path().join("bellbuoy.db")).await?;
    let registry = Registry { title: "Ours".to_owned(), url: "https://registry.example".to_owned() };
    let methods = Methods::new(settings(), registry, store.clone())?;
    Ok(Bench { methods, store, _directory: directory })
}

fn notification(method: &str, config: Value) -> Notification {
    let Value::Object(config) = config else { panic!("not an object: {config}") };
    Notification {
        id: Uuid::from_u128(7).into(),
        title: None,
        scope: Scope::Repository(RepositoryName::parse("acme/api").expect("a name")),
        kinds: vec![Kind::RepoPush],
        event_config: Map::new(),
        method: method.to_owned(),
        config,
        secret: Some(SECRET.to_owned()),
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

fn push() -> Event {
    let subject = Subject::Repository(RepositoryName::parse("acme/api").expect("a name"));
    let mut event = Event::sample(Kind::RepoPush, subject, &Map::new(), "registry.example", "42", now());
    event.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    event
}

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn delivery() -> DeliveryId {
    DeliveryId::derive("registry.example", "42", Uuid::from_u128(7).into())
}

async fn attempt(bench: &Bench, notification: &Notification, number: u32) -> anyhow::Result<Report> {
    let (event, checked) = (push(), notification.check()?);
    let attempt =
        Attempt { delivery: delivery(), number, event: &event, notification, checked: &checked, now: now() };
    Ok(bench.methods.attempt(attempt).await)
}

/// HMAC-SHA256 by its definition (RFC 2104), for a key shorter than a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect() };
    let inner = digest::digest(&digest::SHA256, &[&padded(0x36), message].concat());
    digest::digest(&digest::SHA256, &[&padded(0x5c), inner.as_ref()].concat()).as_ref().to_vec()
}

fn header<'a>(request: &'a Recorded, name: &str) -> &'a str {
    request.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", request.headers))
}

#[tokio::test]
async fn a_webhook_is_signed_and_says_what_it_is() -> anyhow::Result<()> {
    let (bench, receiver) = (bench().await?, Receiver::start().await?);
    let notification = notification("webhook", json!({"url": receiver.url("/hook?token=t")}));
    let report = attempt(&bench, &notification, 3).await?;
    assert_eq!(report, Report { outcome: Outcome::Delivered, status: Some(200), was_last: false });

    let request = receiver.wait_for(1, |_| true).await?.remove(0);
    let id = delivery().to_string();
    let timestamp = now().as_second().to_string();
    assert_eq!((request.method.as_str(), &*request.path), ("POST", "/hook?token=t"));
    assert_eq!(header(&request, "content-type"), "application/json");
    assert_eq!(header(&request, "bellbuoy-event"), "repo_push");
    assert_eq!(header(&request, "bellbuoy-attempt"), "3");
    assert_eq!(header(&request, "webhook-id"), id);
    assert_eq!(header(&request, "webhook-timestamp"), timestamp);
    assert!(header(&request, "traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    assert!(header(&request, "user-agent").starts_with("bellbuoy/"));

    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(&request.body);
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap_or_default())?;
    let signature = format!("v1,{}", STANDARD.encode(hmac(&key, &signed)));
    assert_eq!(header(&request, "webhook-signature"), signature);
    let body: Value = serde_json::from_slice(&request.body)?;
    assert_eq!((&body["name"], &body["namespace"]), (&json!("api"), &json!("acme")));
    Ok(())
}

#[tokio::test]
async fn a_later_attempt_has_the_same_id_and_body_and_another_span() -> anyhow::Result<()> {
    let (bench, receiver) = (bench().await?, Receiver::start().await?);
    let notification = notification("webhook", json!({"url": receiver.url("/hook")}));
    for number in [1, 2] {
        attempt(&bench, &notification, number).await?;
    }
    let requests = receiver.wait_for(2, |_| true).await?;
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(header(&requests[0], "webhook-id"), header(&requests[1], "webhook-id"));
    assert_ne!(header(&requests[0], "traceparent"), header(&requests[1], "traceparent"));
    assert_ne!(header(&requests[0], "bellbuoy-attempt"), header(&requests[1], "bellbuoy-attempt"));
    Ok(())
}

#[tokio::test]
async fn a_webhook_without_a_secret_is_not_signed_and_with_a_broken_one_not_sent() -> anyhow::Result<()> {
    let (bench, receiver) = (bench().await?, Receiver::start().await?);
    let mut notification = notification("webhook", json!({"url": receiver.url("/hook")}));
    notification.secret = None;
    attempt(&bench, &notification, 1).await?;
    let request = receiver.wait_for(1, |_| true).await?.remove(0);
    assert_eq!(request.header("webhook-signature"), None);
    assert_eq!(header(&request, "webhook-id"), delivery().to_string());

    notification.secret = Some("whsec_hunter2".to_owned());
    let report = attempt(&bench, &notification, 1).await?;
    assert_deferred(&report, CauseCode::Internal, "secret");
    assert!(!format!("{report:?}").contains("hunter2"));
    assert_eq!(receiver.requests().len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_own_template_is_what_is_sent() -> anyhow::Result<()> {
    let (bench, receiver) = (bench().await?, Receiver::start().await?);
    let config = json!({"url": receiver.url("/hook"), "template": r#"{"text": "${repository}"}"#});
    let outcome = attempt(&bench, &notification("webhook", config), 1).await?.outcome;
    assert_eq!(outcome, Outcome::Delivered);
    let request = receiver.wait_for(1, |_| true).await?.remove(0);
    assert_eq!(serde_json::from_slice::<Value>(&request.body)?, json!({"text": "acme/api"}));
    Ok(())
}

async fn add_account(store: &Store, name: &str, kind: AccountKind) -> anyhow::Result<()> {
    let account = Account {
        name: AccountName::parse(name)?,
        id: Uuid::new_v4(),
        kind,
        email: None,
        email_verified: false,
        superuser: false,
        enabled: true,
        created_at: Timestamp::UNIX_EPOCH,
    };
    store.put_account(&account).await?;
    Ok(())
}

#[tokio::test]
async fn an_in_app_notification_reaches_a_user_each_member_of_a_team_or_an_organization_once()
-> anyhow::Result<()> {
    let bench = bench().await?;
    let store = &bench.store;
    for (name, kind) in [
        ("ada", AccountKind::User),
        ("ben", AccountKind::User),
        ("eve", AccountKind::User),
        ("acme", AccountKind::Organization),
        ("other", AccountKind::Organization),
        ("acme+ci", AccountKind::Robot),
    ] {
        add_account(store, name, kind).await?;
    }
    for (organization, members) in [("acme", &["ada", "ben", "acme+ci"][..]), ("other", &["eve"])] {
        let team = Team {
            organization: NamespaceName::parse(organization)?,
            name: TeamName::parse("dev")?,
            role: TeamRole::Member,
        };
        store.put_team(&team).await?;
        for member in members {
            store.add_member(&team.organization, &team.name, &AccountName::parse(member)?).await?;
        }
    }
    for (place, (kind, name, readers)) in [
        ("user", "ada", &[("user", "ada")][..]),
        ("org", "acme", &[("org", "acme")]),
        ("team", "dev", &[("user", "ada"), ("user", "ben"), ("user", "acme+ci")]),
        // Nobody, now or later.
        ("team", "none", &[]),
        ("user", "nobody", &[]),
        ("user", "acme", &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let config = json!({"target": {"kind": kind, "name": name}});
        let notification = notification("quay_notification", config);
        let (event, checked) = (push(), notification.check()?);
        let delivery = DeliveryId::derive("registry.example", &place.to_string(), notification.id);
        for number in [1, 2] {
            let attempt = Attempt {
                delivery,
                number,
                event: &event,
                notification: &notification,
                checked: &checked,
                now: now(),
            };
            let report = bench.methods.attempt(attempt).await;
            assert_eq!(report, Report { outcome: Outcome::Delivered, status: None, was_last: false });
        }
        for (kind, name) in [
            ("user", "ada"),
            ("user", "ben"),
            ("user", "eve"),
            ("user", "acme+ci"),
            ("user", "nobody"),
            ("org", "acme"),
            ("org", "other"),
            ("team", "acme/dev"),
        ] {
            let rows = store.inbox(kind, name, None, 100).await?.rows;
            let own: Vec<_> = rows.iter().filter(|row| row.delivery == delivery).collect();
            assert_eq!(own.len(), usize::from(readers.contains(&(kind, name))), "{kind} {name}: {place}");
            for row in own {
                assert_eq!(
                    (row.kind, &row.metadata["repository"]),
                    (Kind::RepoPush.into(), &json!("acme/api"))
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_fails_is_our_own_fault() -> anyhow::Result<()> {
    let bench = bench().await?;
    bench.store.close().await;
    let config = json!({"target": {"kind": "user", "name": "ada"}});
    let report = attempt(&bench, &notification("quay_notification", config), 1).await?;
    assert_deferred(&report, CauseCode::Internal, "the store is unavailable");
    Ok(())
}
