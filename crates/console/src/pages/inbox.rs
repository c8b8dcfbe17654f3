//! The in-app area of an account.

use askama::Template;
use axum::extract::{Path, RawQuery};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ROWS, Shown, further};
use crate::{
    form::Written,
    form_body::Form,
    page::{Fault, Place, Shell, done, encoded, page},
    shapes::{Inbox, InboxItem, plain},
    visitor::Visitor,
};

#[derive(Template)]
#[template(path = "inbox.html")]
struct ListPage<'a> {
    shell: Shell,
    target: &'a str,
    targets: Vec<String>,
    items: Vec<InboxItem>,
    further: Option<String>,
}

impl InboxItem {
    /// What is told, in one line.
    fn title(&self) -> String {
        match self.kind.parse::<bellbuoy_domain::Kind>() {
            Ok(kind) => kind.title().to_owned(),
            Err(_) => self.kind.replace('_', " "),
        }
    }

    fn about(&self) -> String {
        ["repository", "namespace"]
            .iter()
            .find_map(|name| self.metadata.get(*name))
            .map(plain)
            .unwrap_or_default()
    }

    fn link(&self) -> Option<&str> {
        let link = self
            .metadata
            .get("homepage")
            .or_else(|| self.metadata.get("event_url"))
            .and_then(Value::as_str)?;
        (link.starts_with("https://") || link.starts_with("http://")).then_some(link)
    }
}

/// `GET /console/inbox`
pub(crate) async fn list(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let shell = visitor.shell(Place::Inbox).await?;
    let filters = written.query(&["target"]);
    let asked = format!("/v1/inbox?limit={ROWS}&{filters}&{}", written.query(&["after"]));
    let Inbox { items, next, targets } = visitor.api.get(asked.trim_end_matches('&')).await?;
    let further = further("/console/inbox", &filters, next.as_ref());
    Ok(page(&ListPage { shell, target: written.get("target"), targets, items, further }))
}

/// `POST /console/inbox/{id}/{act}`
pub(crate) async fn act(visitor: Visitor, Path((id, act)): Path<(String, String)>, _form: Form) -> Shown {
    let dismissed = match act.as_str() {
        "dismiss" => true,
        "restore" => false,
        _ => return Err(Fault::new(StatusCode::NOT_FOUND, "There is no such act.")),
    };
    let body = json!({ "dismissed": dismissed });
    visitor.api.act(Method::PUT, &format!("/v1/inbox/{}", encoded(&id)), Some(body)).await?;
    Ok(done("/console/inbox", &act))
}
