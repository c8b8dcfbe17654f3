//! `/api/v1/user/notifications`: what the calling user was told, itself, its teams, and the organizations it owns.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{InAppKind, Right, Scope, TargetKind, TokenScope, Verdict};
use bellbuoy_store::InboxItem;
use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{forbidden, not_found, read_json, schema, written};
use crate::{
    App,
    auth::Caller,
    native::inbox::{Target, targets},
    problem::Problem,
};

/// Rows of a page if the query does not say, as in Quay, and the most.
const USUAL_PAGE: u32 = 5;
const LARGEST_PAGE: u32 = 100;

/// How many rows may lie before a page: whoever has more of them puts some away.
const DEEPEST: u32 = 10_000;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListQuery {
    /// From 1.
    #[serde(default)]
    page: u32,
    /// Rows of a page; 5 if it is left out, as in Quay, and 100 at most.
    limit: Option<u32>,
}

/// An item of the in-app area as Quay shows it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayInboxItem")]
pub(super) struct ItemView<'a> {
    id: Uuid,
    /// Which one it tells, if it tells one.
    organization: Option<&'a str>,
    kind: InAppKind,
    /// In the form of RFC 2822.
    created: String,
    metadata: &'a Map<String, Value>,
    dismissed: bool,
}

/// A page of items.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayInbox")]
pub(super) struct InboxView<'a> {
    notifications: Vec<ItemView<'a>>,
    /// Whether there are more.
    additional: bool,
}

/// Newest first, without what was put away. Pages 0 and 1 are the same, as in Quay; unlike there, none is left out.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let readable = readable(&app, &caller).await?;
    let Query(wanted) =
        Query::<ListQuery>::try_from_uri(&uri).map_err(|error| Problem::bad(error.body_text()))?;
    let limit = wanted.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE);
    let skip = wanted.page.saturating_sub(1).saturating_mul(limit);
    if skip > DEEPEST {
        return Err(Problem::bad(format!("`page` is {}: dismiss some before you look so deep", wanted.page)));
    }
    let pairs: Vec<(&str, &str)> =
        readable.iter().map(|target| (target.kind.name(), target.name.as_str())).collect();
    let mut rows = app.api.store.undismissed(&pairs, skip, limit + 1).await?;
    let additional = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let notifications = rows.iter().map(ItemView::of).collect();
    Ok(Json(InboxView { notifications, additional }).into_response())
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(uuid): Path<String>,
) -> Result<Response, Problem> {
    Ok(Json(ItemView::of(&find(&app, &caller, &uuid).await?)).into_response())
}

/// Puts an item away; without a word of it, back.
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(uuid): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let item = find(&app, &caller, &uuid).await?;
    let (parts, body) = request.into_parts();
    let body = read_json(&app, &parts, body).await?;
    let dismissed = schema::dismissed(&body).map_err(Problem::bad)?;
    let found = app.api.store.set_dismissed(&item.target_kind, &item.target, item.id, dismissed).await?;
    if !found {
        return Err(not_found());
    }
    Ok(Json(ItemView::of(&InboxItem { dismissed, ..item })).into_response())
}

/// The item, if the caller reads those of its target.
async fn find(app: &App, caller: &Caller, uuid: &str) -> Result<InboxItem, Problem> {
    let readable = readable(app, caller).await?;
    let id = uuid.parse::<Uuid>().map_err(|_| not_found())?;
    let item = app.api.store.inbox_item(id).await?.ok_or_else(not_found)?;
    let is_its = |target: &Target| target.kind.name() == item.target_kind && target.name == item.target;
    if readable.iter().any(is_its) { Ok(item) } else { Err(not_found()) }
}

/// Everybody whose items the caller reads: nobody's, if its credential is no account's.
async fn readable(app: &App, caller: &Caller) -> Result<Vec<Target>, Problem> {
    let Some(account) = caller.account() else {
        return if caller.scopes().has(TokenScope::Account) { Ok(Vec::new()) } else { Err(forbidden()) };
    };
    let place = Scope::Namespace(account.name.to_string());
    if caller.judge(app, Right::Account, &place).await? != Verdict::Allowed {
        return Err(forbidden());
    }
    targets(app, account).await
}

impl<'a> ItemView<'a> {
    fn of(item: &'a InboxItem) -> Self {
        Self {
            id: item.id,
            organization: (item.target_kind == TargetKind::Org.name()).then_some(&item.target),
            kind: item.kind,
            created: written(item.created_at),
            metadata: &item.metadata,
            dismissed: item.dismissed,
        }
    }
}
