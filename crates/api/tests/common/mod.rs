//! A real server on loopback, with a real broker and a real store in a directory of its own.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod contract;
pub(crate) mod registry;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use bellbuoy_api::{Api, Auth, Limits, Mailer, Reach, Readiness, ServerLimits, Trial, serve};
use bellbuoy_broker::{Broker, Claim, EmbeddedOptions, QueueName, Shards, queues};
use bellbuoy_domain::{DeliveryMessage, Event, Letter, Record, Registry};
use bellbuoy_store::Store;
use bellbuoy_telemetry::{Counter, Metrics};
use bellbuoy_testkit::http::{Answer, Http};
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "correct horse";
pub(crate) const AUTHORIZED: (&str, &str) = ("authorization", "Bearer correct horse");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");

/// Long against anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) broker: Broker,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    /// The mails that were sent, and to whom. None is sent to an address that begins with `never`.
    pub(crate) mails: Arc<Mutex<Vec<(String, Letter)>>>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<std::io::Result<()>>,
    http: Http,
    _directory: TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}, ServerLimits::default()).await
    }

    /// A server whose settings `change` has had its way with.
    pub(crate) async fn with(change: impl FnOnce(&mut Api), limits: ServerLimits) -> Self {
        let directory = TempDir::new().expect("a directory");
        let broker = Broker::open_embedded(directory.path(), &EmbeddedOptions::default()).expect("a broker");
        let store = Store::open_sqlite(&directory.path().join("store.db")).await.expect("a store");
        let metrics = Arc::new(Metrics::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        let mailer = Mailer::new(move |to, letter| {
            let refused = to.as_str().starts_with("never");
            if !refused {
                kept.lock().expect("the mails").push((to.to_string(), letter));
            }
            std::future::ready(if refused { Err("no such mailbox".to_owned()) } else { Ok(()) })
        });
        let mut api = Api {
            broker: broker.clone(),
            shards: Shards::ONE,
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            auth: Auth::new([TOKEN]).expect("a token"),
            registry: Registry { title: "Test".into(), url: "https://registry.example.com".into() },
            public_url: "https://bellbuoy.example.com/".into(),
            github_secret: None,
            mailer,
            read_only: false,
            may_skip_verification: false,
            reach: Reach::new(|_| None),
            trial: Trial::new(|_, _, _| async { Ok(()) }),
            limits: Limits::default(),
            readiness: Readiness::default(),
            version: "1.2.3-test".into(),
        };
        change(&mut api);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, api.router(), stop.clone(), limits));
        Self { url, broker, store, metrics, mails, stop, serving, http: Http::new(), _directory: directory }
    }

    /// Sends a request as it is, without a credential, and holds its answer against the published document.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (verb, body) = (Method::from_bytes(method.as_bytes()).expect("a method"), body.into());
        let url = format!("{}{path}", self.url);
        let answer = self.http.send(verb, &url, headers, body.clone()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
        contract::hold(method, path, headers, &body, &answer);
        answer
    }

    /// Sends a request with the admin token.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let headers: Vec<_> = headers.iter().copied().chain([AUTHORIZED]).collect();
        self.raw(method, path, &headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[JSON], body.to_string()).await
    }

    /// The next message of a queue, which is not settled.
    pub(crate) async fn take(&self, queue: QueueName) -> Claim {
        let mut consumer = self.broker.consume(&queue, NonZeroUsize::MIN);
        let claim = timeout(PATIENCE, consumer.next()).await;
        claim.unwrap_or_else(|_| panic!("nothing came on {queue}")).expect("an open broker")
    }

    /// Takes and settles `count` messages, and holds that there are no more.
    pub(crate) async fn drain(&self, queue: QueueName, count: usize) -> Vec<Message> {
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            let claim = self.take(queue.clone()).await;
            messages.push(Message::of(&claim));
            self.broker.settle(vec![claim], Vec::new()).await.expect("settled");
        }
        assert_eq!(self.depth(&queue), 0, "{queue}");
        messages
    }

    pub(crate) async fn drain_events(&self, count: usize) -> Vec<Event> {
        let messages = self.drain(queues::events(), count).await;
        let now = Timestamp::UNIX_EPOCH;
        messages.iter().map(|message| Event::from_json(&message.body, now).expect("an event")).collect()
    }

    pub(crate) async fn drain_records(&self, count: usize) -> Vec<Record> {
        let messages = self.drain(queues::outcomes(), count).await;
        messages.iter().map(|message| Record::from_json(&message.body).expect("a record")).collect()
    }

    pub(crate) async fn drain_deliveries(&self, method: &str, count: usize) -> Vec<DeliveryMessage> {
        let messages = self.drain(queues::deliver(method), count).await;
        messages
            .iter()
            .map(|message| DeliveryMessage::from_json(&message.body).expect("a delivery"))
            .collect()
    }

    /// Messages in a queue.
    pub(crate) fn depth(&self, queue: &QueueName) -> u64 {
        let depths = self.broker.depths();
        depths.iter().filter(|depth| depth.queue == *queue).map(|depth| depth.ready + depth.delayed).sum()
    }

    pub(crate) fn counted(&self, counter: Counter, labels: &[&str]) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        let count = self.metrics.counted(counter, labels) as u64;
        count
    }

    /// Makes a webhook notification for pushes to a repository by Quay's API.
    pub(crate) async fn webhook(&self, repository: &str) -> Value {
        let path = format!("/api/v1/repository/{repository}/notification/");
        let answer = self.post(&path, &webhook_body()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }
}

/// A message as it was taken.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) body: Bytes,
    pub(crate) reason: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) accepted_ms: Option<String>,
}

impl Message {
    fn of(claim: &Claim) -> Self {
        let header = |name: &str| claim.headers().get(name).map(str::to_owned);
        Self {
            body: claim.body().clone(),
            reason: header("bellbuoy-reason"),
            origin: header("bellbuoy-origin"),
            detail: header("bellbuoy-detail"),
            accepted_ms: header("bellbuoy-accepted-ms"),
        }
    }
}

pub(crate) fn webhook_body() -> Value {
    json!({
        "event": "repo_push", "method": "webhook", "title": "Deploy hook",
        "config": {"url": "https://ci.example.com/hook"}, "eventConfig": {}, "event_config": {},
    })
}

pub(crate) fn push_event(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "registry.example.com", "type": "repo_push",
        "subject": "acme/api", "time": "2026-11-20T12:00:00Z", "data": {"updated_tags": ["v1"]},
    })
}

/// Holds that an answer is problem JSON of the native routes, and gives its detail.
#[track_caller]
pub(crate) fn problem(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let body = answer.json();
    assert_eq!(body["status"], status);
    assert!(body["type"].is_string() && body["title"].is_string(), "{body}");
    body["detail"].as_str().expect("a detail").to_owned()
}

/// Holds that an answer is a refusal in Quay's form, and gives its detail.
#[track_caller]
pub(crate) fn quay_problem(answer: &Answer, status: u16, error_type: &str) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/json");
    let body = answer.json();
    assert_eq!(body["status"], status);
    assert_eq!((&body["error_type"], &body["title"]), (&json!(error_type), &json!(error_type)));
    assert_eq!(body["type"], format!("https://bellbuoy.example.com/api/v1/error/{error_type}"));
    assert_eq!(body["error_message"], body["detail"]);
    body["detail"].as_str().expect("a detail").to_owned()
}
