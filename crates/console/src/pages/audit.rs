//! Who changed what.

use askama::Template;
use axum::extract::RawQuery;

use super::{ROWS, Shown, further};
use crate::{
    form::Written,
    page::{Place, Shell, page},
    shapes::{Audit, AuditEntry, plain},
    visitor::Visitor,
};

/// What a list can be narrowed by.
const FILTERS: &[&str] = &["actor", "action", "target", "place"];

/// What people call it.
const LABELS: &[(&str, &str)] =
    &[("actor", "Who"), ("action", "Did what"), ("target", "To what"), ("place", "Where")];

#[derive(Template)]
#[template(path = "audit.html")]
struct ListPage {
    shell: Shell,
    written: Written,
    entries: Vec<AuditEntry>,
    further: Option<String>,
}

impl AuditEntry {
    fn more(&self) -> String {
        let parts = self.details.iter().map(|(name, value)| format!("{name}: {}", plain(value)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// `GET /console/audit`
pub(crate) async fn list(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let shell = visitor.shell(Place::Audit).await?;
    let filters = written.query(FILTERS);
    let asked = format!("/v1/audit?limit={ROWS}&{filters}&{}", written.query(&["after"]));
    let Audit { entries, next } = visitor.api.get(asked.trim_end_matches('&')).await?;
    let further = further("/console/audit", &filters, next.as_ref());
    Ok(page(&ListPage { shell, written, entries, further }))
}
