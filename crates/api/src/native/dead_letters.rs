//! `/v1/dead-letters`: what was given up or could not be read, with its bytes and the reason.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bellbuoy_domain::NotificationId;
use bellbuoy_store::{Cursor, DeadLetter, DeadLetterQuery, DeadLetterRow};
use http::Uri;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{id, limit, list_fault, query, unknown};
use crate::{App, problem::Problem};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    origin: Option<String>,
    reason: Option<String>,
    method: Option<String>,
    notification: Option<NotificationId>,
    subject: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let wanted: ListQuery = query(&uri)?;
    let wanted = DeadLetterQuery {
        origin: wanted.origin,
        reason: wanted.reason,
        method: wanted.method,
        notification: wanted.notification,
        subject: wanted.subject,
        after: wanted.after.map(Cursor::from),
        limit: limit(wanted.limit)?,
    };
    let page = app.api.store.dead_letters(&wanted).await.map_err(list_fault)?;
    let rows: Vec<Value> = page.rows.iter().map(row).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(json!({ "dead_letters": rows, "next": next })).into_response())
}

pub(crate) async fn get(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Response, Problem> {
    let letter = app.api.store.dead_letter(id::<Uuid>(&text, "dead letter")?).await?;
    Ok(Json(object(letter.ok_or_else(|| unknown("dead letter", &text))?)).into_response())
}

fn row(row: &DeadLetterRow) -> Value {
    json!({
        "id": row.id,
        "origin": row.origin,
        "reason": row.reason,
        "detail": row.detail,
        "delivery": row.delivery,
        "notification": row.notification,
        "method": row.method,
        "subject": row.subject,
        "attempt_count": row.attempts,
        "body_bytes": row.body_bytes,
        "died_at": row.died_at.to_string(),
    })
}

/// With the bytes: as text where they are text, or else in base64.
fn object(letter: DeadLetter) -> Value {
    let body_bytes = letter.body.len() as u64;
    let (body, encoding) = match String::from_utf8(letter.body) {
        Ok(text) => (text, "utf-8"),
        Err(error) => (BASE64_STANDARD.encode(error.as_bytes()), "base64"),
    };
    let mut object = row(&DeadLetterRow {
        id: letter.id,
        origin: letter.origin,
        reason: letter.reason,
        detail: letter.detail,
        delivery: letter.delivery,
        notification: letter.notification,
        method: letter.method,
        subject: letter.subject,
        attempts: letter.attempts,
        body_bytes,
        died_at: letter.died_at,
    });
    object["body"] = body.into();
    object["body_encoding"] = encoding.into();
    object
}
