//! `/v1/dead-letters`: what was given up or could not be read, with its bytes and the reason.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bellbuoy_domain::{DeadReason, DeliveryId, NotificationId, Scope};
use bellbuoy_store::{
    AuditEntry, Cursor, DeadLetter, DeadLetterPage, DeadLetterQuery, DeadLetterRow, StoreError,
};
use http::{StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{Limit, id, limit, list_fault, map, need_list, query, unknown};
use crate::{
    App,
    auth::Caller,
    contract::{Operation, Routes},
    problem::Problem,
};

/// Pages of the archive that one call looks at for letters of the wanted times.
const LOOKED_AT_ONCE: u32 = 20;

/// How far the clocks of the recorders may be apart: the archive is in the order of arrival, so only
/// a letter that is older than wanted by more than this says that all behind it are.
const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// From this queue or way in.
    origin: Option<String>,
    /// For this reason.
    reason: Option<String>,
    /// By this method.
    method: Option<String>,
    /// For this notification.
    notification: Option<NotificationId>,
    /// About this repository or namespace.
    subject: Option<String>,
    /// That died then or later.
    since: Option<Timestamp>,
    /// That died before.
    until: Option<Timestamp>,
    /// The `next` of the page before.
    after: Option<String>,
    #[schemars(with = "Option<Limit>")]
    limit: Option<u32>,
}

/// What was given up or could not be read.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetter")]
struct DeadLetterView<'a> {
    id: Uuid,
    /// The queue that it died on, or the way in.
    origin: &'a str,
    #[schemars(with = "DeadReason")]
    reason: &'a str,
    detail: &'a str,
    delivery: Option<DeliveryId>,
    notification: Option<NotificationId>,
    method: Option<&'a str>,
    /// The repository or namespace.
    subject: Option<&'a str>,
    /// Attempts that were spent.
    attempt_count: u32,
    body_bytes: u64,
    died_at: Timestamp,
}

/// A dead letter with its bytes.
#[derive(Debug, Serialize, JsonSchema)]
struct WholeDeadLetter<'a> {
    #[serde(flatten)]
    letter: DeadLetterView<'a>,
    /// As text, where they are text.
    body: String,
    body_encoding: Encoding,
}

/// How bytes stand in a text.
#[derive(Debug, Serialize, JsonSchema)]
enum Encoding {
    #[serde(rename = "utf-8")]
    Text,
    #[serde(rename = "base64")]
    Base64,
}

/// A page of dead letters.
#[derive(Debug, Serialize, JsonSchema)]
struct DeadLetters<'a> {
    dead_letters: Vec<DeadLetterView<'a>>,
    /// The `after` of the next page; null at the end. A page can be short although more follow.
    next: Option<String>,
}

/// `/v1/dead-letters`, but for replays.
pub(super) fn routes() -> Routes {
    const ONE: &str = "/v1/dead-letters/{id}";
    Routes::default()
        .serve(
            Operation::get(
                "/v1/dead-letters",
                "What was given up or could not be read, newest first, without bytes.",
            )
            .asks::<ListQuery>()
            .answers::<DeadLetters<'_>>(200)
            .refuses([404]),
            list,
        )
        .serve(
            Operation::get(ONE, "One, with its bytes.").answers::<WholeDeadLetter<'_>>(200).refuses([404]),
            get,
        )
        .serve(Operation::delete(ONE, "Forget it.").answers_nothing(204).refuses([404]), discard)
}

/// When dead letters died that are wanted.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// Then or later.
    since: Option<Timestamp>,
    /// Before.
    until: Option<Timestamp>,
}

async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
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
    let dead_letters = page.rows.iter().map(DeadLetterView::of).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(DeadLetters { dead_letters, next }).into_response())
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

async fn discard(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let letter = find(&app, &caller, &text).await?;
    let entry = entry(&caller, "dead_letter.discard", &letter);
    let found = app.api.store.audited(entry).discard_dead_letter(letter.id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(unknown("dead letter", &text)) }
}

async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let mut letter = find(&app, &caller, &text).await?;
    let body = std::mem::take(&mut letter.body);
    Ok(Json(WholeDeadLetter::of(&letter, body)).into_response())
}

/// What is written down of an act on a dead letter: at the place that it is about, as far as that is known.
pub(super) fn entry(caller: &Caller, action: &str, letter: &DeadLetter) -> AuditEntry {
    let details = json!({ "reason": letter.reason, "origin": letter.origin, "subject": letter.subject });
    let entry = caller.entry(action, &letter.id, &Scope::Registry, map(details));
    AuditEntry { place: letter.subject.clone().unwrap_or_default(), ..entry }
}

/// The dead letter, if there is one and the caller may know of it.
pub(super) async fn find(app: &App, caller: &Caller, text: &str) -> Result<DeadLetter, Problem> {
    let found = app.api.store.dead_letter(id::<Uuid>(text, "dead letter")?).await?;
    match found {
        Some(found) if caller.knows(app, found.notification).await? => Ok(found),
        _ => Err(unknown("dead letter", text)),
    }
}

impl<'a> DeadLetterView<'a> {
    fn of(row: &'a DeadLetterRow) -> Self {
        Self {
            id: row.id,
            origin: &row.origin,
            reason: &row.reason,
            detail: &row.detail,
            delivery: row.delivery,
            notification: row.notification,
            method: row.method.as_deref(),
            subject: row.subject.as_deref(),
            attempt_count: row.attempts,
            body_bytes: row.body_bytes,
            died_at: row.died_at,
        }
    }
}

impl<'a> WholeDeadLetter<'a> {
    /// With the bytes: as text where they are text, or else in base64.
    fn of(letter: &'a DeadLetter, body: Vec<u8>) -> Self {
        let body_bytes = body.len() as u64;
        let (body, body_encoding) = match String::from_utf8(body) {
            Ok(text) => (text, Encoding::Text),
            Err(error) => (BASE64_STANDARD.encode(error.as_bytes()), Encoding::Base64),
        };
        let letter = DeadLetterView {
            id: letter.id,
            origin: &letter.origin,
            reason: &letter.reason,
            detail: &letter.detail,
            delivery: letter.delivery,
            notification: letter.notification,
            method: letter.method.as_deref(),
            subject: letter.subject.as_deref(),
            attempt_count: letter.attempts,
            body_bytes,
            died_at: letter.died_at,
        };
        Self { letter, body, body_encoding }
    }
}
