//! Producers over HTTP and AMQP, the events that they publish, and who wants these.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellbuoy_testkit::amqp::{Producer, Publication};
use bellbuoy_testkit::process::Process;
use bellbuoy_testkit::wait::eventually;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::storm::PATIENCE;
use crate::support::{Client, TOKEN, url_of};

/// Requests under way at a time, and connections of producers that speak AMQP.
const HTTP_PRODUCERS: usize = 8;
const AMQP_PRODUCERS: usize = 3;

/// How long a producer waits for an answer before it asks the other process.
const ANSWER: Duration = Duration::from_secs(30);

/// Before a producer tries again.
const AGAIN: Duration = Duration::from_millis(50);

/// One event, by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event(pub(crate) usize);

impl Event {
    pub(crate) fn id(self) -> String {
        format!("event-{:05}", self.0)
    }

    fn repository(self) -> &'static str {
        ["acme/api", "acme/web", "beta/app"][self.0 % 3]
    }

    fn is_release(self) -> bool {
        self.0.is_multiple_of(5)
    }

    fn comes_by_amqp(self) -> bool {
        (self.0 / 3).is_multiple_of(3)
    }

    fn json(self) -> Value {
        let word = if self.is_release() { "release" } else { "dev" };
        json!({"specversion": "1.0", "id": self.id(), "source": "chaos", "type": "repo_push",
            "subject": self.repository(), "data": {"updated_tags": [format!("{word}-{}", self.0)]}})
    }
}

/// A notification, by the path that its receiver has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything.
    All,
    /// What happens in one repository; answers 503 now and then.
    Flaky,
    /// A namespace's releases.
    Releases,
    /// Another one's releases; answers 400 each time.
    Rejecting,
    /// Builds, of which there are none.
    Nothing,
}

impl Wanted {
    pub(crate) const ALL: [Self; 5] =
        [Self::All, Self::Flaky, Self::Releases, Self::Rejecting, Self::Nothing];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::All => "/all",
            Self::Flaky => "/flaky",
            Self::Releases => "/releases",
            Self::Rejecting => "/rejecting",
            Self::Nothing => "/nothing",
        }
    }

    /// As it is written to the API.
    pub(crate) fn json(self, url: &str) -> Value {
        let (scope, kinds, filter) = match self {
            Self::All => (json!({"registry": true}), "repo_push", json!({})),
            Self::Flaky => (json!({"repository": "acme/api"}), "repo_push", json!({})),
            Self::Releases => (json!({"namespace": "acme"}), "repo_push", json!({"tags": ["release-*"]})),
            Self::Rejecting => (json!({"namespace": "beta"}), "repo_push", json!({"tags": ["release-*"]})),
            Self::Nothing => (json!({"repository": "acme/api"}), "build_failure", json!({})),
        };
        json!({"scope": scope, "kinds": [kinds], "filter": filter, "method": "webhook", "format": "cloudevents",
            "config": {"url": url}})
    }

    /// Whether it wants an event: the same rules once more, so that a mistake in the program's is noticed.
    pub(crate) fn wants(self, event: Event) -> bool {
        match self {
            Self::All => true,
            Self::Flaky => event.repository() == "acme/api",
            Self::Releases => event.repository().starts_with("acme/") && event.is_release(),
            Self::Rejecting => event.repository().starts_with("beta/") && event.is_release(),
            Self::Nothing => false,
        }
    }
}

/// What producers know of their events.
#[derive(Debug)]
pub(crate) struct Ledger {
    allowed: Semaphore,
    acknowledged: AtomicUsize,
    tries: AtomicUsize,
    first_tried: Mutex<Vec<Option<Instant>>>,
}

impl Ledger {
    pub(crate) fn new(events: usize) -> Self {
        Self {
            allowed: Semaphore::new(0),
            acknowledged: AtomicUsize::new(0),
            tries: AtomicUsize::new(0),
            first_tried: Mutex::new(vec![None; events]),
        }
    }

    /// Lets producers publish so many events more.
    pub(crate) fn allow(&self, more: usize) {
        self.allowed.add_permits(more);
    }

    async fn until_allowed(&self) {
        self.allowed.acquire().await.expect("never closed").forget();
    }

    pub(crate) async fn until_acknowledged(&self, count: usize) {
        eventually(PATIENCE, async || (self.acknowledged.load(SeqCst) >= count).then_some(())).await;
    }

    pub(crate) fn events(&self) -> usize {
        self.first_tried.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How often an event was published that had been before.
    pub(crate) fn repeated(&self) -> usize {
        self.tries.load(SeqCst) - self.acknowledged.load(SeqCst)
    }

    /// When an event was first published, whatever became of it.
    pub(crate) fn first_tried(&self, event: Event) -> Option<Instant> {
        self.first_tried.lock().unwrap_or_else(PoisonError::into_inner)[event.0]
    }

    fn tries(&self, event: Event) {
        self.tries.fetch_add(1, SeqCst);
        let mut first_tried = self.first_tried.lock().unwrap_or_else(PoisonError::into_inner);
        first_tried[event.0].get_or_insert_with(Instant::now);
    }

    fn is_acknowledged(&self) {
        self.acknowledged.fetch_add(1, SeqCst);
    }
}

/// Where the processes of the API are at the moment, as a service's load balancer knows it.
#[derive(Debug, Clone)]
pub(crate) struct Apis(Arc<Mutex<Vec<Option<Client>>>>);

impl Apis {
    pub(crate) fn none_yet(count: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; count])))
    }

    /// Leads nobody to this one before its next life listens.
    pub(crate) fn await_next(&self, number: usize, process: Arc<Process>) {
        self.set(number, None);
        let apis = self.clone();
        tokio::spawn(async move {
            while process.is_running() {
                if let Some(url) = url_of(&process) {
                    return apis.set(number, Some(Client::new(&url, TOKEN)));
                }
                sleep(AGAIN).await;
            }
        });
    }

    fn set(&self, number: usize, client: Option<Client>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[number] = client;
    }

    fn pick(&self, turn: usize) -> Option<Client> {
        let apis = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        apis[turn % apis.len()].clone()
    }
}

/// Publishes `events` events, each again and again until it is acknowledged: 202 over HTTP, a confirm over AMQP.
pub(crate) async fn publish(events: usize, ledger: Arc<Ledger>, apis: Apis, amqp: Vec<String>) {
    let (by_amqp, by_http): (Vec<_>, Vec<_>) =
        (0..events).map(Event).partition(|event| event.comes_by_amqp());
    let over_http = stream::iter(by_http)
        .for_each_concurrent(HTTP_PRODUCERS, |event| publish_over_http(event, &ledger, &apis));
    let per_producer = by_amqp.len().div_ceil(AMQP_PRODUCERS);
    let over_amqp = stream::iter(by_amqp.chunks(per_producer)).for_each_concurrent(None, async |events| {
        let mut producer = Producer::new(amqp.clone());
        for event in events {
            publish_over_amqp(*event, &ledger, &mut producer).await;
        }
    });
    tokio::join!(over_http, over_amqp);
}

async fn publish_over_http(event: Event, ledger: &Ledger, apis: &Apis) {
    let body = event.json();
    ledger.until_allowed().await;
    for turn in event.0.. {
        let Some(api) = apis.pick(turn) else {
            sleep(AGAIN).await;
            continue;
        };
        ledger.tries(event);
        if let Ok(Ok(answer)) = timeout(ANSWER, api.try_publish(&body)).await {
            let status = answer.status.as_u16();
            assert!(matches!(status, 202 | 503), "{status} {}", answer.text());
            if status == 202 {
                break;
            }
            assert!(answer.headers.contains_key("retry-after"), "a 503 says when to come back: {answer:?}");
        }
        sleep(AGAIN).await;
    }
    ledger.is_acknowledged();
}

async fn publish_over_amqp(event: Event, ledger: &Ledger, producer: &mut Producer) {
    let (id, body) = (event.id(), event.json().to_string());
    let publication = Publication {
        exchange: "bellbuoy.events",
        key: "repo_push",
        content_type: "application/cloudevents+json",
        message_id: Some(&id),
        body: body.as_bytes(),
    };
    ledger.until_allowed().await;
    loop {
        ledger.tries(event);
        if producer.publish(publication).await.is_ok() {
            break;
        }
        sleep(AGAIN).await;
    }
    ledger.is_acknowledged();
}
