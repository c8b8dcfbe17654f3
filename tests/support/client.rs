//! Bellbuoy's API as its clients use it.

use std::collections::BTreeMap;

use bellbuoy_testkit::http::{Answer, Http};
use bellbuoy_testkit::wait::within;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::SOON;

/// States of a delivery in which nothing more happens to it.
pub(crate) const ENDED: &[&str] = &["delivered", "dead", "cancelled"];

/// Rows of a page: the most that the API gives.
const PAGE: usize = 1000;

/// A notification, as its creator knows it.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) id: String,
    /// `whsec_...`; shown at creation only.
    pub(crate) secret: String,
}

/// Speaks to one Bellbuoy with one token. Clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) url: String,
    authorization: String,
    http: Http,
}

/// A `repo_push` event of source `journeys`.
pub(crate) fn push(id: &str, repository: &str, tag: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "journeys", "type": "repo_push",
        "subject": repository, "data": {"updated_tags": [tag]}})
}

impl Client {
    pub(crate) fn new(url: &str, token: &str) -> Self {
        Self { url: url.to_owned(), authorization: format!("Bearer {token}"), http: Http::new() }
    }

    /// The same client over connections of its own.
    pub(crate) fn apart(&self) -> Self {
        Self { http: Http::new(), ..self.clone() }
    }

    /// Sends anything; the answer may be any, but has to come.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method, path, content_type, body).await.expect("an answer")
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let headers = [("authorization", self.authorization.as_str()), ("content-type", content_type)];
        self.http.send(method, &format!("{}{path}", self.url), &headers, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, "application/json", body.to_string()).await
    }

    /// The JSON at `path`, which has to be there.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> impl Future<Output = Value> + use<> {
        let (client, path) = (self.clone(), path.to_owned());
        async move {
            let answer = client.send(Method::GET, &path, "", "").await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            answer.json()
        }
    }

    /// Makes a webhook notification as a Quay client does.
    pub(crate) async fn webhook(&self, repository: &str, event: &str, url: &str) -> Wish {
        let body = json!({"event": event, "method": "webhook", "config": {"url": url}, "eventConfig": {}});
        let answer = self.post(&format!("/api/v1/repository/{repository}/notification/"), &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        Wish::read(&answer.json(), "uuid")
    }

    /// Makes a notification by the native API.
    pub(crate) async fn wish(&self, body: &Value) -> Wish {
        let answer = self.post("/v1/notifications", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        Wish::read(&answer.json(), "id")
    }

    /// Publishes an event, which has to be accepted.
    pub(crate) async fn publish(&self, event: &Value) {
        let answer = self.try_publish(event).await.expect("an answer");
        assert_eq!(answer.status, 202, "{event}: {}", answer.text());
    }

    pub(crate) async fn try_publish(&self, event: &Value) -> anyhow::Result<Answer> {
        self.try_send(Method::POST, "/v1/events", "application/cloudevents+json", event.to_string()).await
    }

    /// All deliveries that `query` selects (`state=dead&kind=repo_push`), newest first.
    pub(crate) async fn deliveries(&self, query: &str) -> Vec<Value> {
        self.all("/v1/deliveries", "deliveries", query).await
    }

    /// All dead letters that `query` selects, newest first, without their bytes.
    pub(crate) async fn dead_letters(&self, query: &str) -> Vec<Value> {
        self.all("/v1/dead-letters", "dead_letters", query).await
    }

    /// A delivery with its attempts.
    pub(crate) async fn delivery(&self, id: &Value) -> Value {
        self.get(&format!("/v1/deliveries/{}", id.as_str().expect("an id"))).await
    }

    async fn all(&self, path: &str, member: &str, query: &str) -> Vec<Value> {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}?limit={PAGE}&{query}{after}")).await;
            rows.extend(page[member].as_array().expect("rows").iter().cloned());
            let Some(next) = page["next"].as_str() else { return rows };
            after = format!("&after={next}");
        }
    }

    /// Waits until `query` selects `count` deliveries that are all in one of `states`, and returns them.
    pub(crate) async fn until(&self, query: &str, count: usize, states: &[&str]) -> Vec<Value> {
        let arrived = within(SOON, async || {
            let rows = self.deliveries(query).await;
            (rows.len() == count && rows.iter().all(|row| is_in(row, states))).then_some(rows)
        });
        if let Some(rows) = arrived.await {
            return rows;
        }
        let rows = self.deliveries(query).await;
        let mut by_state = BTreeMap::<String, usize>::new();
        for row in &rows {
            *by_state.entry(row["state"].to_string()).or_default() += 1;
        }
        panic!("not {count} deliveries in {states:?} within {SOON:?}, but {} in {by_state:?}", rows.len())
    }

    /// Waits until `query` selects `count` deliveries that have all ended.
    pub(crate) async fn until_ended(&self, query: &str, count: usize) -> Vec<Value> {
        self.until(query, count, ENDED).await
    }

    pub(crate) async fn metrics(&self) -> String {
        let answer = self.send(Method::GET, "/metrics", "", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The sum of a metric's series that carry all of `labels` (`source="distribution"`); 0 without any.
    pub(crate) async fn counted(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics().await;
        let series = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let fits = rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label));
            rest.rsplit(' ').next()?.parse::<f64>().ok().filter(|_| fits)
        });
        series.sum()
    }
}

impl Wish {
    fn read(shown: &Value, id: &str) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self { id: text(&shown[id]), secret: text(&shown["config"]["secret"]) }
    }
}

fn is_in(delivery: &Value, states: &[&str]) -> bool {
    delivery["state"].as_str().is_some_and(|state| states.contains(&state))
}
