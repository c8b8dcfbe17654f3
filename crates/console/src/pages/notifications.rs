//! Notifications: of one place or all, one of them, and what can be done with it.

use askama::Template;
use axum::extract::{Path, RawQuery};
use bellbuoy_domain::NotificationState;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ROWS, Shown, further};
use crate::{
    form::Written,
    form_body::Form,
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

/// A catching up that goes on.
#[derive(Template)]
#[template(path = "catch_up.html")]
struct CatchUpPage<'a> {
    shell: Shell,
    id: &'a str,
    since: &'a str,
    after: String,
    sent: u64,
}

/// `GET /console/notifications`
pub(crate) async fn list(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let shell = visitor.shell(Place::Notifications).await?;
    let place = written.get("place");
    let is_asked_for = shell.sees_all || !place.is_empty();
    let found = match (place, shell.sees_all) {
        ("", false) => Ok(Notifications { notifications: Vec::new(), next: None }),
        ("", true) => {
            let after = written.query(&["after"]);
            visitor.api.get(&format!("/v1/notifications?limit={ROWS}&{after}")).await
        }
        (place, _) => {
            let scope = if place.contains('/') { "repository" } else { "namespace" };
            let after = written.query(&["after"]);
            visitor
                .api
                .get(&format!("/v1/notifications?{scope}={}&limit={ROWS}&{after}", encoded(place)))
                .await
        }
    };
    let (found, fault) = match found {
        Ok(found) => (found, None),
        Err(refusal) if refusal.is_about_the_question() => {
            (Notifications { notifications: Vec::new(), next: None }, Some(refusal.detail))
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let further = further("/console/notifications", &written.query(&["place"]), found.next.as_ref());
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
pub(crate) async fn act(
    visitor: Visitor,
    Path((id, act)): Path<(String, String)>,
    Form(written): Form,
) -> Shown {
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
        "catch-up" => catch_up(&visitor, &id, &path, &written).await,
        "delete" => {
            visitor.api.act(Method::DELETE, &path, None).await?;
            Ok(done("/console/notifications", "deleted"))
        }
        _ => Err(Fault::new(StatusCode::NOT_FOUND, "There is no such act.")),
    }
}

/// Sends what the notification missed since then, a stretch at a time; the rest is a press away.
async fn catch_up(visitor: &Visitor, id: &str, path: &str, written: &Written) -> Shown {
    let since = instant(written.get("since"));
    let mut after = some(written.get("after"));
    let mut sent = 0;
    for _ in 0..STEPS {
        let body = json!({"since": since, "after": after});
        let answer = visitor.api.act(Method::POST, &format!("{path}/catch-up"), Some(body)).await?.body;
        sent += answer["sent"].as_u64().unwrap_or_default();
        after = answer["next"].as_str().map(ToOwned::to_owned);
        if after.is_none() {
            return Ok(done(&format!("/console/notifications/{}", encoded(id)), "caught-up"));
        }
    }
    let shell = visitor.shell(Place::Notifications).await?;
    Ok(page(&CatchUpPage { shell, id, since: &since, after: after.unwrap_or_default(), sent }))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A browser's field of date and time has no zone, and often no seconds; the page says that it is UTC.
fn instant(field: &str) -> String {
    match field.len() {
        16 => format!("{field}:00Z"),
        19 => format!("{field}Z"),
        _ => field.to_owned(),
    }
}

/// Steps of one catching up that a page waits for; each looks at some tens of events.
const STEPS: usize = 20;
