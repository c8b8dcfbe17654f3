//! `/v1/inbox`: what an account is told inside the registry: itself, and as an owner of an organization. What an
//! organization is told its owners share, so that one puts it away for all.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{DeliveryId, InAppKind, Right, Scope, TargetKind, TeamRole};
use bellbuoy_store::{Account, Cursor, InboxItem};
use http::{StatusCode, Uri};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Limit, id, limit, list_fault, query, unknown};
use crate::{
    App,
    auth::Caller,
    body,
    contract::{Operation, Routes},
    problem::Problem,
};

/// One whose in-app items an account reads: `kind` and the name by which the store keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: TargetKind,
    pub(crate) name: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// `user/ann`, `team/acme/dev` or `org/acme`; everything that the account reads without it.
    target: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    #[schemars(with = "Option<Limit>")]
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Dismissal")]
struct Body {
    /// Whether it is put away.
    dismissed: bool,
}

/// An item of the in-app area.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "InboxItem")]
struct ItemView<'a> {
    id: Uuid,
    /// Whom it tells: `user/ann`, `team/acme/dev` or `org/acme`.
    target: String,
    delivery: DeliveryId,
    kind: InAppKind,
    /// What is told, in the form of Quay's payload.
    metadata: &'a Map<String, Value>,
    created_at: Timestamp,
    dismissed: bool,
}

/// A page of items, and whose there are.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Inbox")]
struct InboxView<'a> {
    items: Vec<ItemView<'a>>,
    /// The `after` of the next page; null at the end.
    next: Option<String>,
    /// Everybody whose items the caller reads.
    targets: Vec<String>,
}

/// `/v1/inbox`.
pub(super) fn routes() -> Routes {
    Routes::default()
        .serve(
            Operation::get(
                "/v1/inbox",
                "A page of the in-app items of the caller, or of a team or organization whose items it reads.",
            )
            .asks::<ListQuery>()
            .answers::<InboxView<'_>>(200)
            .refuses([404]),
            list,
        )
        .serve(
            Operation::put("/v1/inbox/{id}", "Dismiss an item, or bring it back.")
                .takes::<Body>()
                .answers_nothing(204)
                .refuses([404, 415]),
            dismiss,
        )
}

/// Everybody whose items `account` reads, itself first.
pub(crate) async fn targets(app: &App, account: &Account) -> Result<Vec<Target>, Problem> {
    let mut targets = vec![Target { kind: TargetKind::User, name: account.name.to_string() }];
    let teams = app.api.store.teams_of(&account.name).await?;
    for team in &teams {
        let name = format!("{}/{}", team.organization, team.name);
        targets.push(Target { kind: TargetKind::Team, name });
    }
    for team in teams.iter().filter(|team| team.role == TeamRole::Admin) {
        let organization = Target { kind: TargetKind::Org, name: team.organization.to_string() };
        if !targets.contains(&organization) {
            targets.push(organization);
        }
    }
    Ok(targets)
}

async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let targets = readable(&app, &caller).await?;
    let wanted: ListQuery = query(&uri)?;
    let is_wanted = |target: &&Target| wanted.target.as_ref().is_none_or(|text| target.text() == *text);
    let of: Vec<_> =
        targets.iter().filter(is_wanted).map(|target| (target.kind.name(), target.name.as_str())).collect();
    if let (true, Some(text)) = (of.is_empty(), &wanted.target) {
        return Err(unknown("inbox", text));
    }
    let after = wanted.after.map(Cursor::from);
    let limit = limit(wanted.limit)?;
    let page = app.api.store.inbox_of(&of, after.as_ref(), limit).await.map_err(list_fault)?;
    let items = page.rows.iter().map(ItemView::of).collect();
    let next = page.next.map(|next| next.to_string());
    let targets = targets.iter().map(Target::text).collect();
    Ok(Json(InboxView { items, next, targets }).into_response())
}

async fn dismiss(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
    body::require_json(&parts.headers)?;
    let Body { dismissed } = body::object_from_json(&read.bytes)?;
    let item = id::<Uuid>(&text, "item")?;
    for target in readable(&app, &caller).await? {
        if app.api.store.set_dismissed(target.kind.name(), &target.name, item, dismissed).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(unknown("item", &text))
}

async fn readable(app: &App, caller: &Caller) -> Result<Vec<Target>, Problem> {
    let Some(account) = caller.account() else {
        let detail = "an inbox is an account's, and this credential is none's; use a token of the account";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    };
    caller.need(app, Right::Account, &Scope::Namespace(account.name.to_string())).await?;
    targets(app, account).await
}

impl Target {
    fn text(&self) -> String {
        format!("{}/{}", self.kind.name(), self.name)
    }
}

impl<'a> ItemView<'a> {
    fn of(item: &'a InboxItem) -> Self {
        Self {
            id: item.id,
            target: format!("{}/{}", item.target_kind, item.target),
            delivery: item.delivery,
            kind: item.kind,
            metadata: &item.metadata,
            created_at: item.created_at,
            dismissed: item.dismissed,
        }
    }
}
