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
use serde::Deserialize;
use serde_json::{Value, json};

use super::{limit, list_fault, query};
use crate::{App, auth::Caller, problem::Problem};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    actor: Option<String>,
    action: Option<String>,
    target: Option<String>,
    place: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
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
    let rows: Vec<Value> = page.rows.iter().map(object).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(json!({ "entries": rows, "next": next })).into_response())
}

fn object(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at": entry.at.to_string(),
        "actor": entry.actor,
        "address": entry.address,
        "action": entry.action,
        "target": entry.target,
        "place": (!entry.place.is_empty()).then_some(&entry.place),
        "details": entry.details,
    })
}
