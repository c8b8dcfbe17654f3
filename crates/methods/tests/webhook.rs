//! What a webhook's settings make of its requests.

mod common;

use std::sync::Mutex;

use base64::{Engine, engine::general_purpose::STANDARD};
use bellbuoy_domain::{
    CauseCode, Event, Grain, Kind, Notification, NotificationState, Outcome, Registry, RepositoryName, Scope,
    Secrets, Subject,
};
use bellbuoy_methods::{
    Attempt, Methods, Report,
    http::{Leave, MayFollow, Sending},
    sign_body,
};
use bellbuoy_store::Store;
use bellbuoy_testkit::receiver::{Answer, Receiver, Recorded};
use common::{assert_deferred, settings};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use uuid::Uuid;

/// No test here has an ed25519 key of its own.
fn public_of(seed: &[u8; 32]) -> [u8; 32] {
    *seed
}

struct Bench {
    methods: Methods,
    receiver: Receiver,
    _directory: TempDir,
}

async fn bench() -> anyhow::Result<Bench> {
    let directory = tempfile::tempdir()?;
    let store = Store::open_sqlite(&directory.path().join("bellbuoy.db")).await?;
    let registry = Registry { title: "Ours".to_owned(), url: "https://registry.example".to_owned() };
    let methods = Methods::new(settings(), registry, store)?;
    Ok(Bench { methods, receiver: Receiver::start().await?, _directory: directory })
}

impl Bench {
    /// The attempts of a push of `v1` and `latest`, by a webhook of these settings. `url` is a path.
    async fn push(&self, format: &str, config: Value) -> anyhow::Result<Vec<Report>> {
        let Value::Object(mut config) = config else { panic!("not an object: {config}") };
        let path = config.get("url").and_then(Value::as_str).unwrap_or("/hook").to_owned();
        config.insert("url".to_owned(), self.receiver.url(&path).into());
        let secrets = Secrets::take(&mut config, &Secrets::default(), public_of)?;
        let now = Timestamp::UNIX_EPOCH;
        let notification = Notification {
            id: Uuid::from_u128(7).into(),
            title: None,
            scope: Scope::Registry,
            kinds: vec![Kind::RepoPush],
            event_config: Map::new(),
            method: "webhook".to_owned(),
            config,
            secret: Some(secrets.to_stored()),
            format: format.to_owned(),
            retry: None,
            state: NotificationState::Active,
            state_reason: None,
            failures: 0,
            created_at: now,
            updated_at: now,
            author: None,
            succeeded_at: None,
        };
        let checked = notification.check()?;
        let subject = Subject::Repository(RepositoryName::parse("acme/api")?);
        let mut event = Event::sample(Kind::RepoPush, subject, &Map::new(), "registry.example", "42", now);
        event.data.insert("updated_tags".to_owned(), json!(["v1", "latest"]));
        let mut reports = Vec::new();
        for delivery in event.deliveries(notification.id, checked.grain()) {
            let attempt = Attempt {
                delivery,
                number: 1,
                event: &event,
                notification: &notification,
                checked: &checked,
                now,
            };
            reports.push(self.methods.attempt(attempt).await);
        }
        Ok(reports)
    }

    fn only(&self) -> Recorded {
        let mut requests = self.receiver.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

fn body(request: &Recorded) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

#[tokio::test]
async fn a_push_of_two_tags_is_one_request_or_two_with_ids_of_their_own() -> anyhow::Result<()> {
    let bench = bench().await?;
    bench.push("quay", json!({})).await?;
    assert_eq!(body(&bench.only())["updated_tags"], json!(["v1", "latest"]));
    for (format, pointer) in [
        ("quay", "/updated_tags/0"),
        ("cloudevents", "/data/updated_tags/0"),
        ("dockerhub", "/push_data/tag"),
        ("dtr", "/contents/tag"),
        ("harbor", "/event_data/resources/0/tag"),
        ("harbor-cloudevents", "/data/resources/0/tag"),
        ("acr", "/target/tag"),
        ("distribution", "/events/0/target/tag"),
    ] {
        bench.receiver.clear();
        bench.push(format, json!({"one_request_per": Grain::Tag.name()})).await?;
        let requests = bench.receiver.requests();
        let tags: Vec<Value> =
            requests.iter().map(|request| body(request).pointer(pointer).expect("a tag").clone()).collect();
        assert_eq!(tags, [json!("v1"), json!("latest")], "{format}");
        assert_ne!(requests[0].header("webhook-id"), requests[1].header("webhook-id"), "{format}");
        let is_azure =
            requests[0].header("user-agent").is_some_and(|agent| agent.starts_with("AzureContainerRegistry"));
        assert_eq!(is_azure, format == "acr");
    }
    Ok(())
}

#[tokio::test]
async fn headers_and_credentials_are_sent_as_they_are_given() -> anyhow::Result<()> {
    for (config, expected) in [
        (json!({"bearer_token": "t"}), Some("Bearer t".to_owned())),
        (
            json!({"username": "kim", "password": "p:q"}),
            Some(format!("Basic {}", STANDARD.encode("kim:p:q"))),
        ),
        (json!({"authorization": "my harbor secret"}), Some("my harbor secret".to_owned())),
        (json!({}), None),
    ] {
        let bench = bench().await?;
        let mut config = config;
        config["headers"] =
            json!({"X-Team": "blue", "User-Agent": "mine/1", "Content-Type": "application/x-mine"});
        config["secret_headers"] = json!({"X-Gitlab-Token": "hunter2"});
        assert_eq!(bench.push("quay", config).await?[0].outcome, Outcome::Delivered);
        let request = bench.only();
        assert_eq!(request.header("authorization"), expected.as_deref());
        for (name, value) in [
            ("x-team", "blue"),
            ("user-agent", "mine/1"),
            ("content-type", "application/x-mine"),
            ("x-gitlab-token", "hunter2"),
        ] {
            assert_eq!(request.header(name), Some(value));
        }
        assert_eq!(request.headers.get_all("content-type").iter().count(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_request_is_signed_in_the_styles_that_its_receiver_checks() -> anyhow::Result<()> {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (own, key) in [(None, secret), (Some("hunter2"), "hunter2")] {
        let bench = bench().await?;
        let all = json!(["standard-webhooks", "x-hub-signature-256", "x-signature"]);
        bench.push("quay", json!({"signatures": all, "secret": secret, "hmac_secret": own})).await?;
        let request = bench.only();
        let expected = sign_body(key, &request.body);
        assert_eq!(request.header("x-hub-signature-256"), Some(expected.as_str()));
        assert_eq!(request.header("x-signature"), Some(expected.as_str()));
        assert!(request.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")));
    }
    let bench = bench().await?;
    bench.push("quay", json!({"signatures": [], "secret": secret})).await?;
    let request = bench.only();
    for name in ["webhook-signature", "x-hub-signature-256", "x-signature"] {
        assert_eq!(request.header(name), None);
    }
    Ok(())
}

#[tokio::test]
async fn the_owner_chooses_the_method_and_where_in_the_url_the_event_stands() -> anyhow::Result<()> {
    for method in ["POST", "PUT", "PATCH", "GET"] {
        let bench = bench().await?;
        let config =
            json!({"http_method": method, "url": "/${repository}?t=${tag}", "one_request_per": "tag"});
        bench.push("quay", config).await?;
        let requests = bench.receiver.requests();
        let asked: Vec<(&str, &str)> =
            requests.iter().map(|request| (request.method.as_str(), request.path.as_str())).collect();
        assert_eq!(asked, [(method, "/acme/api?t=v1"), (method, "/acme/api?t=latest")]);
        assert_eq!(requests[0].body.is_empty(), method == "GET");
        assert_eq!(requests[0].header("content-type").is_none(), method == "GET");
    }
    Ok(())
}

#[tokio::test]
async fn the_owners_statuses_are_what_success_is() -> anyhow::Result<()> {
    let bench = bench().await?;
    for (format, config, status, expected) in [
        ("quay", json!({}), 302, Some(CauseCode::Http3xx)),
        ("dockerhub", json!({}), 302, None),
        ("dockerhub", json!({"success_statuses": ["2xx"]}), 302, Some(CauseCode::Http3xx)),
        ("quay", json!({"success_statuses": [404]}), 404, None),
        ("quay", json!({"success_statuses": [404]}), 200, Some(CauseCode::HttpOther)),
        ("quay", json!({"success_statuses": ["2xx", 410]}), 410, None),
    ] {
        bench.receiver.script("/hook", [Answer::status(status)]);
        let report = bench.push(format, config.clone()).await?.remove(0);
        assert_eq!(report.outcome.cause().map(|cause| cause.code), expected, "{format} {config} {status}");
        assert_eq!(report.status, Some(status));
    }
    Ok(())
}

#[tokio::test]
async fn a_307_or_308_is_followed_with_method_and_body_where_the_owner_says_so() -> anyhow::Result<()> {
    let bench = bench().await?;
    let to = |status, path: &str| Answer::status(status).with("location", path);
    bench.receiver.script("/hook", [to(307, "/second")]);
    bench.receiver.script("/second", [to(308, "/third")]);
    let report = bench.push("quay", json!({"follow_redirects": true, "bearer_token": "t"})).await?.remove(0);
    assert_eq!(report.outcome, Outcome::Delivered);
    let requests = bench.receiver.requests();
    assert_eq!(
        requests.iter().map(|request| request.path.as_str()).collect::<Vec<_>>(),
        ["/hook", "/second", "/third"]
    );
    assert!(requests.iter().all(|request| request.method == "POST" && request.body == requests[0].body));
    assert!(requests.iter().all(|request| request.header("authorization") == Some("Bearer t")));

    for (status, follow) in [(307, false), (302, true), (301, true), (303, true)] {
        bench.receiver.clear();
        bench.receiver.script("/hook", [to(status, "/third")]);
        let report = bench.push("quay", json!({"follow_redirects": follow})).await?.remove(0);
        assert_deferred(&report, CauseCode::Http3xx, "this redirect is not followed");
        assert_eq!(bench.receiver.requests().len(), 1, "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_redirect_in_a_circle_ends_and_one_to_another_server_takes_no_secrets_along() -> anyhow::Result<()>
{
    let bench = bench().await?;
    let to = |location: &str| Answer::status(307).with("location", location);
    bench.receiver.script("/hook", [to("/hook")]);
    let report = bench.push("quay", json!({"follow_redirects": true})).await?.remove(0);
    assert_deferred(&report, CauseCode::Http3xx, "answered 307");
    assert_eq!(bench.receiver.requests().len(), 1 + bellbuoy_methods::http::MOST_REDIRECTS);

    let other = Receiver::start().await?;
    bench.receiver.script("/hook", [to(&other.url("/there"))]);
    let config = json!({
        "follow_redirects": true, "authorization": "hunter2", "headers": {"X-Team": "blue"},
        "secret_headers": {"X-Token": "hunter2", "User-Agent": "hunter2", "Content-Type": "hunter2"},
    });
    assert_eq!(bench.push("quay", config).await?[0].outcome, Outcome::Delivered);
    let request = other.wait_for(1, |_| true).await?.remove(0);
    for name in ["authorization", "x-team", "x-token", "content-type"] {
        assert_eq!(request.header(name), None);
    }
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("bellbuoy/")));
    assert!(request.header("webhook-id").is_some());

    // What is not secret says everywhere what is sent, and by whom.
    let config =
        json!({"follow_redirects": true, "headers": {"User-Agent": "ours/1", "Content-Type": "text/json"}});
    bench.receiver.script("/hook", [to(&other.url("/there"))]);
    assert_eq!(bench.push("quay", config).await?[0].outcome, Outcome::Delivered);
    let request = other.wait_for(2, |_| true).await?.remove(1);
    assert_eq!(
        (request.header("user-agent"), request.header("content-type")),
        (Some("ours/1"), Some("text/json"))
    );

    // Its address is judged like any other.
    bench.receiver.script("/hook", [to("http://169.254.169.254/latest/")]);
    let report = bench.push("quay", json!({"follow_redirects": true})).await?.remove(0);
    assert_deferred(&report, CauseCode::Blocked, "the network rules do not allow this address");
    Ok(())
}

/// Notes who is asked for, and always says the same.
struct Keeper {
    lets: bool,
    asked: Mutex<Vec<String>>,
}

impl MayFollow for Keeper {
    fn may_follow(&self, host: String) -> Leave<'_> {
        self.asked.lock().expect("no panic").push(host);
        Box::pin(std::future::ready(self.lets))
    }
}

#[tokio::test]
async fn another_host_is_asked_only_where_somebody_lets_it_be() -> anyhow::Result<()> {
    let (first, other) = (Receiver::start().await?, Receiver::start().await?);
    let to = |location: String| Answer::status(307).with("location", &location);
    first.script("/hook", [to("/here".to_owned())]);
    first.script("/here", [to(other.url("/there"))]);
    let client = common::client(settings());
    for (lets, expected) in [(false, Some(CauseCode::ReceiverBusy)), (true, None)] {
        let keeper = Keeper { lets, asked: Mutex::default() };
        let url = first.url("/hook");
        let sending = Sending {
            method: http::Method::POST,
            url: &url,
            headers: http::HeaderMap::new(),
            body: "{}".into(),
            success: None,
            follow: true,
            may_follow: Some(&keeper),
            private: &[],
            tls: None,
        };
        let report = client.send(sending, Timestamp::now()).await;
        assert_eq!(common::code(&report), expected);
        let asked = keeper.asked.into_inner().expect("no panic");
        assert_eq!(asked, [other.address().to_string()], "the same host needs no leave");
        assert_eq!(other.requests().len(), usize::from(lets));
    }
    Ok(())
}
