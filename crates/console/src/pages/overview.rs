//! What is well and what is not, at a glance.

use askama::Template;
use axum::response::Response;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::Shown;
use crate::{
    api::{Api, Refusal},
    page::{Place, Shell, page},
    shapes::{DeadLetters, Deliveries},
    visitor::Visitor,
};

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    shell: Shell,
    checks: Vec<Check>,
    /// None, if the visitor may not read metrics.
    queues: Option<Vec<Queue>>,
    /// Or why it can't be had; for those who are shown everything.
    waiting: Option<Result<Deliveries, String>>,
    dead: Option<Result<DeadLetters, String>>,
    places: Vec<String>,
}

/// A part of the process that answers, and whether it is well.
struct Check {
    name: String,
    is_well: bool,
    said: String,
}

/// What stands in a queue.
#[derive(Debug, PartialEq)]
struct Queue {
    name: String,
    ready: Option<f64>,
    claimed: Option<f64>,
    delayed: Option<f64>,
}

impl Queue {
    fn depths(&self) -> [Option<f64>; 3] {
        [self.ready, self.claimed, self.delayed]
    }
}

#[derive(Debug, Deserialize)]
struct Me {
    username: String,
    organizations: Vec<Membership>,
}

#[derive(Debug, Deserialize)]
struct Membership {
    name: String,
    is_org_admin: bool,
}

/// `GET /console`
pub(crate) async fn show(visitor: Visitor) -> Shown {
    let shell = visitor.shell(Place::Overview).await?;
    let api = &visitor.api;
    // Each part alone: where the store is away, what is well and what is not has to be seen all the more.
    let waiting = part(api, shell.sees_all, "/v1/deliveries?state=waiting&limit=10").await;
    let dead = part(api, shell.sees_all, "/v1/dead-letters?limit=10").await;
    let page_of = OverviewPage {
        checks: checks(api).await,
        queues: metrics(api).await.map(|text| queues(&text)),
        waiting,
        dead,
        places: places(api).await,
        shell,
    };
    Ok::<Response, _>(page(&page_of))
}

async fn part<T: DeserializeOwned>(api: &Api, wanted: bool, path: &str) -> Option<Result<T, String>> {
    if wanted { Some(api.get(path).await.map_err(|refusal| refusal.detail)) } else { None }
}

/// `/readyz` answers 503 with the same shape where something is not well.
async fn checks(api: &Api) -> Vec<Check> {
    let body = match api.get::<Value>("/readyz").await {
        Ok(body) | Err(Refusal { body, .. }) => body,
    };
    let checks = body["checks"].as_object().cloned().unwrap_or_default();
    let one = |(name, said): (String, Value)| {
        let said = said.as_str().unwrap_or_default().to_owned();
        Check { name, is_well: said == "ok", said }
    };
    checks.into_iter().map(one).collect()
}

async fn metrics(api: &Api) -> Option<String> {
    match api.get::<Value>("/metrics").await {
        Ok(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The depths among the metrics: of the queues that hold something.
fn queues(metrics: &str) -> Vec<Queue> {
    let mut queues: Vec<Queue> = Vec::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("bellbuoy_queue_messages{") else { continue };
        let Some((labels, value)) = rest.split_once("} ") else { continue };
        let (Some(name), Some(state), Ok(value)) =
            (label(labels, "queue"), label(labels, "state"), value.parse())
        else {
            continue;
        };
        let place = queues.iter().position(|queue| queue.name == name).unwrap_or_else(|| {
            queues.push(Queue { name: name.to_owned(), ready: None, claimed: None, delayed: None });
            queues.len() - 1
        });
        let queue = &mut queues[place];
        match state {
            "ready" => queue.ready = Some(value),
            "claimed" => queue.claimed = Some(value),
            "delayed" => queue.delayed = Some(value),
            _ => {}
        }
    }
    queues.retain(|queue| queue.depths().iter().flatten().any(|depth| *depth > 0.0));
    queues.sort_by(|one, other| one.name.cmp(&other.name));
    queues
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) =
        labels.split(',').filter_map(|label| label.split_once('=')).find(|(known, _)| *known == name)?;
    value.strip_prefix('"')?.strip_suffix('"')
}

/// Whose repositories and namespaces the visitor may look after, as far as the directory says.
async fn places(api: &Api) -> Vec<String> {
    let Ok(me) = api.get::<Me>("/api/v1/user/").await else { return Vec::new() };
    let owned = me.organizations.into_iter().filter(|one| one.is_org_admin).map(|one| one.name);
    std::iter::once(me.username).filter(|name| !name.contains(':')).chain(owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_read_by_their_labels_in_any_order() {
        let metrics = "# HELP bellbuoy_queue_messages x\nbellbuoy_queue_messages{queue=\"bellbuoy.events\",state=\"ready\"} 3\n\
             bellbuoy_queue_messages{state=\"delayed\",queue=\"bellbuoy.delay\"} 1200000\nother{queue=\"x\"} 1\n\
             bellbuoy_queue_messages{queue=\"bellbuoy.events\",state=\"claimed\"} 1\n\
             bellbuoy_queue_messages{queue=\"bellbuoy.dead\",state=\"ready\"} 0\n";
        let queue =
            |name: &str, ready, claimed, delayed| Queue { name: name.into(), ready, claimed, delayed };
        assert_eq!(
            queues(metrics),
            [
                queue("bellbuoy.delay", None, None, Some(1_200_000.0)),
                queue("bellbuoy.events", Some(3.0), Some(1.0), None),
            ]
        );
    }
}
