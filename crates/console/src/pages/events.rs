//! An event: what it said, which notifications it reached, and why not the others.

use askama::Template;
use axum::{
    extract::{Path, RawQuery},
    response::{IntoResponse, Redirect},
};

use super::{Shown, further};
use crate::{
    form::Written,
    page::{Place, Shell, encoded, page},
    shapes::{Event, Events},
    visitor::Visitor,
};

#[derive(Template)]
#[template(path = "events.html")]
struct FindPage {
    shell: Shell,
}

#[derive(Template)]
#[template(path = "event.html")]
struct OnePage {
    shell: Shell,
    events: Vec<Whole>,
}

struct Whole {
    event: Event,
    text: String,
    further: Option<String>,
}

/// `GET /console/events`
pub(crate) async fn find(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let id = written.get("id");
    if !id.is_empty() {
        return Ok(Redirect::to(&format!("/console/events/{}", encoded(id))).into_response());
    }
    Ok(page(&FindPage { shell: visitor.shell(Place::Events).await? }))
}

/// `GET /console/events/{id}`
pub(crate) async fn show(visitor: Visitor, Path(id): Path<String>, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let shell = visitor.shell(Place::Events).await?;
    let asked = written.query(&["source", "notification", "after"]);
    let path = format!("/v1/events/{}?{asked}", encoded(&id));
    let found: Events = visitor.api.get(path.trim_end_matches('?')).await?;
    let whole = |event: Event| {
        let mut filters = format!("source={}", encoded(&event.source));
        let notification = written.query(&["notification"]);
        if !notification.is_empty() {
            filters = format!("{filters}&{notification}");
        }
        Whole {
            text: serde_json::to_string_pretty(&event.whole).unwrap_or_default(),
            further: further(
                &format!("/console/events/{}", encoded(&event.id)),
                &filters,
                event.next.as_ref(),
            ),
            event,
        }
    };
    Ok(page(&OnePage { shell, events: found.events.into_iter().map(whole).collect() }))
}
