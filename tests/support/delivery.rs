//! One delivery from its push to what became of it.

use serde_json::{Value, json};

use super::{Client, push};

/// A webhook notification of pushes to `repository`.
pub(crate) fn hook(repository: &str, config: &Value) -> Value {
    json!({"scope": {"repository": repository}, "kinds": ["repo_push"], "method": "webhook", "config": config})
}

/// Publishes a push to `repository`, and says how its delivery stands once it is in one of `states`.
pub(crate) async fn deliver(api: &Client, repository: &str, states: &[&str]) -> Value {
    api.publish(&push(repository, repository, "v1")).await;
    let rows = api.until(&format!("subject={repository}"), 1, states).await;
    api.delivery(&rows[0]["id"]).await
}

/// The cause of the first attempt: its code and its sentence.
pub(crate) fn cause(detail: &Value) -> (&str, &str) {
    let cause = &detail["attempts"][0]["cause"];
    (cause["code"].as_str().unwrap_or_default(), cause["detail"].as_str().unwrap_or_default())
}

/// Makes a webhook for each of `configs`, publishes to all of them at once, and says how each delivery stands once its
/// first attempt has ended.
pub(crate) async fn deliver_all(api: &Client, configs: &[Value]) -> Vec<Value> {
    let hooks = configs.iter().enumerate().map(|(place, config)| hook(&format!("acme/a{place}"), config));
    let wishes: Vec<_> = hooks.collect();
    for wish in &wishes {
        api.wish(wish).await;
    }
    first_attempts(api, &wishes).await
}

/// The same for webhooks that are there, each the only one of its repository.
pub(crate) async fn first_attempts(api: &Client, wishes: &[Value]) -> Vec<Value> {
    let ended = &["waiting", "delivered", "dead"];
    let delivered = async |wish: &Value| {
        deliver(api, wish["scope"]["repository"].as_str().expect("a repository"), ended).await
    };
    futures_util::future::join_all(wishes.iter().map(delivered)).await
}

/// The moment that `value` names, in milliseconds.
#[track_caller]
pub(crate) fn milliseconds(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()
}

/// How long after the end of its last attempt a delivery is due again, in milliseconds.
#[track_caller]
pub(crate) fn wait_of(detail: &Value) -> i64 {
    let last = detail["attempts"].as_array().and_then(|attempts| attempts.last()).expect("an attempt");
    let took = last["duration_ms"].as_i64().expect("a duration");
    milliseconds(&detail["next_due_at"]) - milliseconds(&last["started_at"]) - took
}
