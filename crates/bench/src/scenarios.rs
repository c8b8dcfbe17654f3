//! The scenarios on the embedded pair.

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use bellbuoy_testkit::process::{Launch, Process};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::Client,
    figures::{micros_now, print},
};

/// Events of the throughput scenarios.
const EVENTS: usize = 20_000;

/// Connections that post them.
const CONNECTIONS: usize = 64;

/// The size that a delivered body is padded to, in bytes.
const BODY_BYTES: usize = 1024;

const TOKEN: &str = "bench-token-0123456789";
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn run(binary: &Path) -> anyhow::Result<()> {
    let binary = binary.canonicalize().with_context(|| format!("{} is not there", binary.display()))?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let bench = Bench::start(&binary).await?;
        bench.one_to_one("whole way 1:1", 1).await?;
        bench.one_to_one("whole way 1:1, events in batches of 20", 20).await?;
        bench.latency().await
    })
}

struct Bench {
    client: Client,
    url: String,
    receiver_url: String,
    fleet: Process,
    _receiver: Process,
    _folder: TempDir,
}

impl Bench {
    async fn start(binary: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let receiver =
            Launch::new("receiver", std::env::current_exe()?, folder.path()).args(["receiver"]).start();
        let line = receiver.wait_for_line("receiver listens on", PATIENCE).await;
        let receiver_url = format!("http://{}", line.rsplit(' ').next().unwrap_or_default());
        let fleet = Launch::new("bellbuoy", binary, folder.path())
            .args(["serve"])
            .env("BELLBUOY_LISTEN", "127.0.0.1:0")
            .env("BELLBUOY_AUTH__ADMIN_TOKEN", TOKEN)
            .env("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8")
            .start();
        let line = fleet.wait_for_line("listens on http", PATIENCE).await;
        let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap_or_default();
        let url = url.trim_end_matches(['.', ',']).to_owned();
        let client = Client::new(TOKEN);
        let notification = json!({
            "scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook",
            "config": {"url": format!("{receiver_url}/hook")},
        });
        client.json(Method::POST, &format!("{url}/v1/notifications"), &notification).await?;
        Ok(Self { client, url, receiver_url, fleet, _receiver: receiver, _folder: folder })
    }

    /// Posts events as fast as they are taken; the clock runs from the first post to the last arrival.
    async fn one_to_one(&self, figure: &str, batch: usize) -> anyhow::Result<()> {
        let bare = self
            .client
            .flood(&format!("{}/bare", self.receiver_url), &body(), CONNECTIONS, Duration::from_secs(3))
            .await?;
        self.take().await?;
        let before = self.fleet.usage().context("the fleet runs")?;
        let started = micros_now();
        let mut posts = tokio::task::JoinSet::new();
        for post in 0..CONNECTIONS {
            let (client, url, figure) = (self.client.clone(), self.url.clone(), figure.to_owned());
            posts.spawn(async move {
                let mut events =
                    (post..EVENTS).step_by(CONNECTIONS).map(|number| event(&figure, number)).peekable();
                while events.peek().is_some() {
                    let batch: Vec<_> = events.by_ref().take(batch).collect();
                    publish(&client, &url, batch).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = posts.join_next().await {
            ended??;
        }
        let accepted = micros_now();
        self.wait_for(EVENTS).await?;
        let arrivals = self.take().await?;
        let cpu = self.fleet.usage().context("the fleet runs")?;
        let rate = per_second(EVENTS, started, arrivals["last"].as_u64().unwrap_or_default());
        print(&json!({
            "figure": figure,
            "deliveries/s": rate.round(),
            "accepted/s": per_second(EVENTS, started, accepted).round(),
            "bare client/s": bare.round(),
            "ratio to bare": (rate / bare * 1000.0).round() / 1000.0,
            "p50_ms": arrivals["p50_ms"], "p99_ms": arrivals["p99_ms"],
            "cpu_s_per_1000": ((cpu.cpu.saturating_sub(before.cpu)).as_secs_f64() / f64::from(u32::try_from(EVENTS)?) * 1e6).round() / 1000.0,
            "peak_mib": cpu.peak_rss / (1 << 20),
        }));
        self.wait_until_recorded().await
    }

    /// 50 events a second, evenly, for 20 s.
    async fn latency(&self) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        self.take().await?;
        for number in 0..1000 {
            ticks.tick().await;
            publish(&self.client, &self.url, vec![event("latency", number)]).await?;
        }
        self.wait_for(1000).await?;
        let arrivals = self.take().await?;
        print(
            &json!({"figure": "latency at 50/s", "p50_ms": arrivals["p50_ms"], "p99_ms": arrivals["p99_ms"]}),
        );
        Ok(())
    }

    async fn take(&self) -> anyhow::Result<Value> {
        self.client.json(Method::POST, &format!("{}/take", self.receiver_url), &Value::Null).await
    }

    async fn wait_for(&self, count: usize) -> anyhow::Result<()> {
        let url = format!("{}/count", self.receiver_url);
        let arrived = async {
            loop {
                let seen = self.client.json(Method::POST, &url, &Value::Null).await?;
                if seen["count"].as_u64() >= u64::try_from(count).ok() {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, arrived).await.context("not every event arrived")?
    }

    /// Full history is part of the work: the next scenario begins when it is written.
    async fn wait_until_recorded(&self) -> anyhow::Result<()> {
        let url = format!("{}/v1/deliveries?state=pending&limit=1", self.url);
        let recorded = async {
            loop {
                let page = self.client.json(Method::GET, &url, &Value::Null).await?;
                if page["deliveries"].as_array().is_some_and(Vec::is_empty) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, recorded).await.context("the history was not written")?
    }
}

async fn publish(client: &Client, url: &str, events: Vec<Value>) -> anyhow::Result<()> {
    let (content_type, body) = match <[Value; 1]>::try_from(events) {
        Ok([event]) => ("application/cloudevents+json", event.to_string()),
        Err(batch) => ("application/cloudevents-batch+json", Value::from(batch).to_string()),
    };
    let (status, answer) =
        client.send(Method::POST, &format!("{url}/v1/events"), content_type, body.into()).await?;
    ensure!(
        status == StatusCode::ACCEPTED,
        "an event was answered {status}: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

fn event(scenario: &str, number: usize) -> Value {
    json!({
        "specversion": "1.0", "id": format!("{scenario}-{number}"), "source": "bench", "type": "repo_push",
        "subject": "acme/api", "data": {"updated_tags": tags()},
    })
}

// The time of its making and enough more to make the delivered body some 1,024 bytes.
fn tags() -> Vec<String> {
    let mut tags = vec![format!("t-{}", micros_now())];
    tags.extend((0..7).map(|number| format!("{number}{}", "x".repeat(BODY_BYTES / 10))));
    tags
}

fn body() -> Bytes {
    Bytes::from(vec![b'x'; BODY_BYTES])
}

#[expect(clippy::cast_precision_loss, reason = "minutes in microseconds")]
fn per_second(count: usize, from: u64, to: u64) -> f64 {
    count as f64 / (to.saturating_sub(from).max(1) as f64 / 1e6)
}
