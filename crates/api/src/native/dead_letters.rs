//! `/v1/dead-letters`: what was given up or could not be read, with its bytes and the reason.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bellbuoy_domain::{NotificationId, Scope};
use bellbuoy_store::{Cursor, DeadLetter, DeadLetterPage, DeadLetterQuery, DeadLetterRow, StoreError};
use http::{StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{id, limit, list_fault, map, need_list, query, unknown};
use crate::{App, auth::Caller, problem::Problem};

/// Pages of the archive that one call looks at for letters of the wanted times.
const LOOKED_AT_ONCE: u32 = 20;

/// How far the clocks of the recorders may be apart: the archive is in the order of arrival, so only
/// a letter that is older than wanted by more than this says that all behind it are.
const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    origin: Option<String>,
    reason: Option<String>,
    method: Option<String>,
    notification: Option<NotificationId>,
    subject: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    after: Option<String>,
    limit: Option<u32>,
}

/// When dead letters died that are wanted.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// Then or later.
    since: Option<Timestamp>,
    /// Before.
    until: Option<Timestamp>,
}

pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let wanted: ListQuery = query(&uri)?;
    need_list(&app, &caller, wanted.notification).await?;
    let times = Times { since: wanted.since, until: wanted.until };
    let wanted = DeadLetterQuery {
        origin: wanted.origin,
        reason: wanted.reason,
        method: wanted.method,
        notification: wanted.notification,
        subject: wanted.subject,
        after: wanted.after.map(Cursor::from),
        limit: limit(wanted.limit)?,
    };
    let page = page(&app, wanted, times).await.map_err(list_fault)?;
    let rows: Vec<Value> = page.rows.iter().map(row).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(json!({ "dead_letters": rows, "next": next })).into_response())
}

/// A page of those that died at the wanted times. It can be short, even empty, though more follow:
/// one call looks at a bounded stretch of the archive.
async fn page(app: &App, mut wanted: DeadLetterQuery, times: Times) -> Result<DeadLetterPage, StoreError> {
    let mut looked = 0;
    loop {
        looked += 1;
        let mut page = app.api.store.dead_letters(&wanted).await?;
        if page.rows.last().is_some_and(|last| times.is_over(last.died_at)) {
            page.next = None;
        }
        page.rows.retain(|row| times.contains(row.died_at));
        if !page.rows.is_empty() || page.next.is_none() || looked == LOOKED_AT_ONCE {
            return Ok(page);
        }
        wanted.after = page.next;
    }
}

impl Times {
    fn contains(self, died_at: Timestamp) -> bool {
        self.since.is_none_or(|since| died_at >= since) && self.until.is_none_or(|until| died_at < until)
    }

    /// Whether nothing older can be wanted.
    fn is_over(self, died_at: Timestamp) -> bool {
        self.since.is_some_and(|since| since.duration_since(died_at) > CLOCKS_APART)
    }
}

pub(crate) async fn discard(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let letter = find(&app, &caller, &text).await?;
    let details = json!({ "reason": letter.reason, "origin": letter.origin, "subject": letter.subject });
    let entry = caller.entry("dead_letter.discard", &letter.id, &Scope::Registry, map(details));
    let found = app.api.store.audited(entry).discard_dead_letter(letter.id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(unknown("dead letter", &text)) }
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    Ok(Json(object(find(&app, &caller, &text).await?)).into_response())
}

/// The dead letter, if there is one and the caller may know of it.
pub(super) async fn find(app: &App, caller: &Caller, text: &str) -> Result<DeadLetter, Problem> {
    let found = app.api.store.dead_letter(id::<Uuid>(text, "dead letter")?).await?;
    match found {
        Some(found) if caller.knows(app, found.notification).await? => Ok(found),
        _ => Err(unknown("dead letter", text)),
    }
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
