//! Notifications: of one place or all, one of them, and what can be done with it.

use askama::Template;
use axum::extract::{Path, RawQuery};
use bellbuoy_domain::NotificationState;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ROWS, Shown, further};
use crate::{
    form::Written,
    page::{Fault, Place, Shell, done, encoded, page},
    shapes::{Deliveries, Explanation, Keys, Notification, Notifications, plain},
    visitor::Visitor,
};

#[derive(Template)]
#[template(path = "notifications.html")]
struct ListPage<'a> {
    shell: Shell,
    place: &'a str,
    notifications: Vec<Notification>,
    further: Option<String>,
    /// What the visitor may see nothing of without naming a place.
    is_asked_for: bool,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "notification.html")]
struct OnePage {
    shell: Shell,
    notification: Notification,
    settings: Vec<(String, String)>,
    filter: Vec<(String, String)>,
    explanation: Explanation,
    deliveries: Deliveries,
    keys: Option<Keys>,
}

/// `GET /console/notifications`
pub(crate) async fn list(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let shell = visitor.shell(Place::Notifications).await?;
    let place = written.get("place");
    let is_asked_for = shell.is_superuser || !place.is_empty();
    let found = match (place, shell.is_superuser) {
        ("", false) => Ok(Notifications { notifications: Vec::new(), next: None }),
        ("", true) => {
            let after = written.query(&["after"]);
            visitor.api.get(&format!("/v1/notifications?limit={ROWS}&{after}")).await
        }
        (place, _) => {
            let scope = if place.contains('/') { "repository" } else { "namespace" };
            visitor.api.get(&format!("/v1/notifications?{scope}={}", encoded(place))).await
        }
    };
    let (found, fault) = match found {
        Ok(found) => (found, None),
        Err(refusal) if refusal.status.is_client_error() && refusal.status != StatusCode::UNAUTHORIZED => {
            (Notifications { notifications: Vec::new(), next: None }, Some(refusal.detail))
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let further = further("/console/notifications", "", found.next.as_ref());
    let notifications = found.notifications;
    Ok(page(&ListPage { shell, place, notifications, further, is_asked_for, fault }))
}

/// `GET /console/notifications/{id}`
pub(crate) async fn show(visitor: Visitor, Path(id): Path<String>) -> Shown {
    let shell = visitor.shell(Place::Notifications).await?;
    let path = format!("/v1/notifications/{}", encoded(&id));
    let notification: Notification = visitor.api.get(&path).await?;
    let explanation = visitor.api.get(&format!("{path}/explain")).await?;
    let deliveries =
        visitor.api.get(&format!("/v1/deliveries?limit=10&notification={}", encoded(&id))).await?;
    // Only what signs has keys.
    let keys =
        visitor.api.get::<Keys>(&format!("{path}/keys")).await.ok().filter(|keys| !keys.keys.is_empty());
    let settings = notification.config.iter().map(|(name, value)| (name.clone(), shown(value))).collect();
    let filter = notification.filter.iter().map(|(name, value)| (name.clone(), shown(value))).collect();
    Ok(page(&OnePage { shell, notification, settings, filter, explanation, deliveries, keys }))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("{name}: {}", plain(value)))
            .collect::<Vec<_>>()
            .join(", "),
        value => plain(value),
    }
}

/// `POST /console/notifications/{id}/{act}`
pub(crate) async fn act(visitor: Visitor, Path((id, act)): Path<(String, String)>, body: Bytes) -> Shown {
    let written = Written::read(&body);
    let path = format!("/v1/notifications/{}", encoded(&id));
    let back = format!("/console/notifications/{}", encoded(&id));
    match act.as_str() {
        "pause" | "resume" | "reset" => {
            visitor.api.act(Method::POST, &format!("{path}/{act}"), None).await?;
            Ok(done(&back, &act))
        }
        "test" => {
            let kind = Some(written.get("kind")).filter(|kind| !kind.is_empty());
            let body = json!({ "kind": kind });
            visitor.api.act(Method::POST, &format!("{path}/test"), Some(body)).await?;
            // Not to its delivery, which stands in the history a moment later.
            Ok(done(&back, "test"))
        }
        "catch-up" => catch_up(&visitor, &path, &back, written.get("since")).await,
        "delete" => {
            visitor.api.act(Method::DELETE, &path, None).await?;
            Ok(done("/console/notifications", "deleted"))
        }
        _ => Err(Fault::new(StatusCode::NOT_FOUND, "There is no such act.")),
    }
}

/// Sends what the notification missed since then, in as many steps as the API takes for it.
async fn catch_up(visitor: &Visitor, path: &str, back: &str, since: &str) -> Shown {
    // A browser's field of date and time has no zone, and often no seconds; the page says that it is UTC.
    let since = match since.len() {
        16 => format!("{since}:00Z"),
        19 => format!("{since}Z"),
        _ => since.to_owned(),
    };
    let mut after = Value::Null;
    for _ in 0..MOST_STEPS {
        let body = json!({"since": since, "after": after});
        let answer = visitor.api.act(Method::POST, &format!("{path}/catch-up"), Some(body)).await?;
        after = answer.body["next"].clone();
        if after.is_null() {
            return Ok(done(back, "caught-up"));
        }
    }
    let detail = "There is more to catch up with than one page can start. What was found so far is on its way; go on \
                  with `bellbuoy notifications catch-up`.";
    Err(Fault::new(StatusCode::ACCEPTED, detail))
}

/// Steps of one catching up that a page waits for.
const MOST_STEPS: usize = 200;
