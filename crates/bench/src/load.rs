//! The events, and how they are offered: as fast as they are taken, or so many a second whatever becomes of them.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{amqp::Producer, client::Client, figures::micros_now};

/// The size of a delivered body, in bytes.
pub(crate) const BODY_BYTES: usize = 1024;

/// Connections that post events as fast as they are taken.
const CONNECTIONS: usize = 64;

/// Events of one run, all about one repository.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// The `source`, by which this run is known from the others.
    pub(crate) run: String,
    pub(crate) repository: String,
}

/// How events are offered.
pub(crate) enum Way {
    /// Posted to the API, one by one.
    Http(Intake),
    /// Published to RabbitMQ's exchange of events, one by one.
    Amqp(Producer),
}

/// Where events are posted to.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) client: Client,
    pub(crate) url: String,
}

impl Events {
    pub(crate) fn new(run: &str) -> Self {
        Self { run: run.to_owned(), repository: format!("bench/{run}") }
    }

    fn make(&self, number: usize) -> Value {
        json!({
            "specversion": "1.0", "id": number.to_string(), "source": self.run, "type": "repo_push",
            "subject": self.repository, "data": {"updated_tags": tags()},
        })
    }
}

impl Way {
    /// RabbitMQ's exchange of events, as a producer that Bellbuoy never met uses it.
    pub(crate) async fn amqp(url: &str) -> anyhow::Result<Self> {
        let to = ("bellbuoy.events", "repo_push");
        Ok(Self::Amqp(Producer::connect(url, to, "application/cloudevents+json").await?))
    }

    /// Offers `count` events as fast as they are taken.
    pub(crate) async fn burst(&self, events: &Events, count: usize) -> anyhow::Result<()> {
        match self {
            Self::Http(intake) => intake.burst(events, count).await,
            Self::Amqp(producer) => {
                let message = |number| {
                    let id = format!("{}-{number}", events.run);
                    (id, Bytes::from(events.make(number).to_string()))
                };
                producer.burst(count, message).await
            }
        }
    }
}

impl Intake {
    /// Posts one event and waits for its 202.
    pub(crate) async fn publish(&self, events: &Events, number: usize) -> anyhow::Result<()> {
        let body = Bytes::from(events.make(number).to_string());
        let content_type = "application/cloudevents+json";
        let (status, answer) = self.client.send(Method::POST, &self.url, content_type, body).await?;
        let said = String::from_utf8_lossy(&answer);
        ensure!(status == StatusCode::ACCEPTED, "an event was answered {status}: {said}");
        Ok(())
    }

    /// Posts `count` events one by one over many connections, as fast as they are taken.
    pub(crate) async fn burst(&self, events: &Events, count: usize) -> anyhow::Result<()> {
        self.burst_of(&[events], count).await
    }

    /// The same of several runs by turns, `count` in all.
    pub(crate) async fn burst_of(&self, runs: &[&Events], count: usize) -> anyhow::Result<()> {
        let runs: Arc<[Events]> = runs.iter().map(|events| (*events).clone()).collect();
        let mut posts = JoinSet::new();
        for first in 0..CONNECTIONS.min(count) {
            let (intake, runs) = (self.clone(), Arc::clone(&runs));
            posts.spawn(async move {
                for number in (first..count).step_by(CONNECTIONS) {
                    intake.publish(&runs[number % runs.len()], number).await?;
                }
                anyhow::Ok(())
            });
        }
        all(posts).await
    }

    /// Posts `rate` events a second for `span`, evenly. One that is answered late delays no other.
    pub(crate) async fn paced(&self, events: &Events, rate: u32, span: Duration) -> anyhow::Result<usize> {
        let (intake, events) = (Arc::new(self.clone()), Arc::new(events.clone()));
        paced(rate, span, move |number| {
            let (intake, events) = (Arc::clone(&intake), Arc::clone(&events));
            async move { intake.publish(&events, number).await }
        })
        .await
    }
}

/// Begins `rate` pieces of work a second for `span`, waits for all of them, and says how many they were.
pub(crate) async fn paced<F>(rate: u32, span: Duration, work: impl Fn(usize) -> F) -> anyhow::Result<usize>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let count = usize::try_from(u64::from(rate) * span.as_secs())?;
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    for number in 0..count {
        ticks.tick().await;
        running.spawn(work(number));
    }
    all(running).await?;
    Ok(count)
}

async fn all(mut tasks: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// The time of its making, and enough more to make the delivered body of some [`BODY_BYTES`].
fn tags() -> Vec<String> {
    let mut tags = vec![format!("t-{}", micros_now())];
    tags.extend((0..7).map(|number| format!("{number}{}", "x".repeat(BODY_BYTES / 10))));
    tags
}

/// A body of that size without anything else in it, made now.
pub(crate) fn bare_body() -> Bytes {
    let mut body = format!("{{\"updated_tags\": [\"t-{}\"], \"more\": \"", micros_now()).into_bytes();
    body.resize(BODY_BYTES - 2, b'x');
    body.extend_from_slice(b"\"}");
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_body_is_json_of_the_size_that_is_said() {
        let body = bare_body();
        assert_eq!(body.len(), BODY_BYTES);
        assert!(serde_json::from_slice::<Value>(&body).is_ok());
    }
}
