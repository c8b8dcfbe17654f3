//! `GET /v1/audit`: who did what, newest first.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{Right, Scope};
use bellbuoy_store::{AuditEntry, AuditQuery, Cursor};
use http::Uri;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Limit, limit, list_fault, query};
use crate::{
    App,
    auth::Caller,
    contract::{Operation, Routes},
    problem::Problem,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// By this one.
    actor: Option<String>,
    /// Such as `notification.create`.
    action: Option<String>,
    /// Done to this.
    target: Option<String>,
    /// In this repository or namespace.
    place: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    #[schemars(with = "Option<Limit>")]
    limit: Option<u32>,
}

/// Something that was done.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
struct EntryView<'a> {
    id: Uuid,
    at: Timestamp,
    /// Who did it: an account, `operator` or another word for who has none.
    actor: &'a str,
    /// From where.
    address: Option<&'a str>,
    /// Such as `notification.create`.
    action: &'a str,
    /// To what.
    target: &'a str,
    /// In which repository or namespace; null for the registry.
    place: Option<&'a str>,
    details: &'a Map<String, Value>,
}

/// A page of what was done.
#[derive(Debug, Serialize, JsonSchema)]
struct Audit<'a> {
    entries: Vec<EntryView<'a>>,
    /// The `after` of the next page; null at the end.
    next: Option<String>,
}

/// `/v1/audit`.
pub(super) fn routes() -> Routes {
    Routes::default().serve(
        Operation::get("/v1/audit", "A page of what was changed by whom, newest first.")
            .asks::<ListQuery>()
            .answers::<Audit<'_>>(200),
        list,
    )
}

async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    caller.need(&app, Right::Audit, &Scope::Registry).await?;
    let wanted: ListQuery = query(&uri)?;
    let wanted = AuditQuery {
        actor: wanted.actor,
        action: wanted.action,
        target: wanted.target,
        place: wanted.place,
        after: wanted.after.map(Cursor::from),
        limit: limit(wanted.limit)?,
    };
    let page = app.api.store.audit(&wanted).await.map_err(list_fault)?;
    let entries = page.rows.iter().map(EntryView::of).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(Audit { entries, next }).into_response())
}

impl<'a> EntryView<'a> {
    fn of(entry: &'a AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            actor: &entry.actor,
            address: entry.address.as_deref(),
            action: &entry.action,
            target: &entry.target,
            place: (!entry.place.is_empty()).then_some(&entry.place),
            details: &entry.details,
        }
    }
}
