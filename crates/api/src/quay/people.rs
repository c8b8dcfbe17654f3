//! Who there is, as far as automation asks before it makes a notification: the caller itself, an organization and its
//! teams, robots, and names.
//!
//! That there is a user or organization of a name is told to whoever names it whole, as in Quay; who else there is, to
//! superusers. What is within an organization is told to its members.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, RawPathParams, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    AccountKind, AccountName, NamespaceName, Right, Scope, Standing, TeamRole, TokenScope, Verdict,
};
use bellbuoy_store::{Account, Team};
use http::Uri;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{forbidden, not_found, written};
use crate::{App, auth::Caller, problem::Problem};

/// What the admin token is called where a user's name is asked for.
const OPERATOR: &str = "admin";

/// The most names that a search gives, as in Quay, and robots of one owner.
const MOST_NAMES: usize = 10;
const MOST_ROBOTS: u32 = 1000;

/// `GET /api/v1/user/`.
pub(crate) async fn user(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    let Some(account) = caller.account() else {
        // It is no user, but may do what one would ask to do.
        need_purpose(&caller)?;
        let (name, superuser) = caller.granted_to().map_or((OPERATOR, true), |name| (name, false));
        return Ok(Json(object(name, None, superuser, &[])).into_response());
    };
    let teams = app.api.store.teams_of(&account.name).await?;
    Ok(Json(object(account.name.as_str(), Some(account), account.superuser, &teams)).into_response())
}

fn object(username: &str, account: Option<&Account>, superuser: bool, teams: &[Team]) -> Value {
    let mut organizations: Vec<Value> = Vec::new();
    for team in teams {
        let of_team = |team: &Team| team.organization.to_string();
        if organizations.last().is_some_and(|last| last["name"] == of_team(team)) {
            continue;
        }
        let roles = teams.iter().filter(|other| other.organization == team.organization);
        let role = roles.map(|other| other.role).max().unwrap_or(TeamRole::Member);
        organizations.push(json!({
            "name": of_team(team),
            "is_org_admin": role == TeamRole::Admin,
            "can_create_repo": role >= TeamRole::Creator,
            "public": false,
        }));
    }
    json!({
        "anonymous": false,
        "is_me": true,
        "username": username,
        "email": account.and_then(|account| account.email.as_deref()),
        "verified": account.is_none_or(|account| account.email_verified),
        "super_user": superuser,
        "can_create_repo": true,
        "organizations": organizations,
    })
}

/// `GET /api/v1/organization/{org}`.
pub(crate) async fn organization(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    need_purpose(&caller)?;
    let name = NamespaceName::parse(&text).map_err(|_| not_found())?;
    let account = app.api.store.account(&name.clone().into()).await?;
    let account = account.filter(|one| one.kind == AccountKind::Organization).ok_or_else(not_found)?;
    let standing = caller.standing(&app.api.store, &Scope::Namespace(name.to_string())).await?;
    let is_member = standing > Standing::Stranger;
    let teams = if is_member { app.api.store.teams(&name).await? } else { Vec::new() };
    let names: Vec<&str> = teams.iter().map(|team| team.name.as_str()).collect();
    let objects: Map<String, Value> =
        teams.iter().map(|team| (team.name.to_string(), team_object(team))).collect();
    let object = json!({
        "name": name,
        "email": account.email.filter(|_| is_member),
        "is_admin": standing >= Standing::Admin,
        "is_member": is_member,
        "public": false,
        "teams": objects,
        "ordered_teams": names,
    });
    Ok(Json(object).into_response())
}

fn team_object(team: &Team) -> Value {
    json!({ "name": team.name, "description": "", "role": team.role, "can_view": true, "is_synced": false })
}

/// `GET /api/v1/organization/{org}/robots`, and `/api/v1/user/robots` for one's own.
pub(crate) async fn robots(
    State(app): State<Arc<App>>,
    caller: Caller,
    params: RawPathParams,
) -> Result<Response, Problem> {
    let robots = match owner(&app, &caller, &params).await? {
        Some(owner) => robots_of(&app, &owner).await?,
        None => Vec::new(),
    };
    let robots: Vec<Value> = robots.iter().map(robot_object).collect();
    Ok(Json(json!({ "robots": robots })).into_response())
}

/// `GET /api/v1/organization/{org}/robots/{name}`, and `/api/v1/user/robots/{name}` for one's own.
pub(crate) async fn robot(
    State(app): State<Arc<App>>,
    caller: Caller,
    params: RawPathParams,
) -> Result<Response, Problem> {
    let owner = owner(&app, &caller, &params).await?.ok_or_else(not_found)?;
    let name = owner.robot(param(&params, "name").unwrap_or_default()).map_err(|_| not_found())?;
    let found = app.api.store.account(&name).await?.ok_or_else(not_found)?;
    Ok(Json(robot_object(&found)).into_response())
}

/// Whose robots are asked for: those of an organization that the caller knows from within, or the caller's own, if it
/// can have some.
async fn owner(app: &App, caller: &Caller, params: &RawPathParams) -> Result<Option<NamespaceName>, Problem> {
    let Some(text) = param(params, "org") else {
        return Ok(caller.account().and_then(|account| account.name.as_namespace()));
    };
    need_purpose(caller)?;
    let name = NamespaceName::parse(text).map_err(|_| not_found())?;
    let place = Scope::Namespace(name.to_string());
    if caller.standing(&app.api.store, &place).await? > Standing::Stranger {
        Ok(Some(name))
    } else {
        Err(not_found())
    }
}

async fn robots_of(app: &App, owner: &NamespaceName) -> Result<Vec<Account>, Problem> {
    // The names of robots follow each other, and `OWNER+` itself is none.
    let first = format!("{owner}+");
    let page = app.api.store.accounts(Some(AccountKind::Robot), Some(&first), MOST_ROBOTS).await?;
    Ok(page.into_iter().take_while(|robot| robot.name.as_str().starts_with(&first)).collect())
}

fn robot_object(robot: &Account) -> Value {
    json!({
        "name": robot.name,
        "description": "",
        "created": written(robot.created_at),
        "last_accessed": null,
        "unstructured_metadata": {},
    })
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[derive(Debug, Deserialize)]
struct EntityQuery {
    #[serde(default, rename = "includeTeams")]
    include_teams: String,
    #[serde(default, rename = "includeOrgs")]
    include_orgs: String,
    #[serde(default)]
    namespace: String,
}

/// `GET /api/v1/entities/{prefix}`.
pub(crate) async fn entities(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(prefix): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    need_purpose(&caller)?;
    let Query(wanted) =
        Query::<EntityQuery>::try_from_uri(&uri).map_err(|error| Problem::bad(error.body_text()))?;
    let mut results = Vec::new();
    for account in named(&app, &caller, &prefix).await? {
        let is_organization = account.kind == AccountKind::Organization;
        if account.enabled && (!is_organization || says_yes(&wanted.include_orgs)) {
            results.push(json!({
                "name": account.name,
                "kind": if is_organization { "org" } else { "user" },
                "is_robot": account.kind == AccountKind::Robot,
            }));
        }
    }
    if says_yes(&wanted.include_teams) {
        results.extend(teams(&app, &caller, &wanted.namespace, &prefix).await?);
    }
    results.truncate(MOST_NAMES);
    Ok(Json(json!({ "results": results })).into_response())
}

fn says_yes(word: &str) -> bool {
    word.eq_ignore_ascii_case("true") || word == "1"
}

/// The account of that name, and for superusers those whose names begin so.
async fn named(app: &App, caller: &Caller, prefix: &str) -> Result<Vec<Account>, Problem> {
    let mut found = Vec::new();
    if let Ok(name) = AccountName::parse(prefix)
        && let Some(account) = app.api.store.account(&name).await?
        && knows(app, caller, &account).await?
    {
        found.push(account);
    }
    if caller.judge(app, Right::Directory, &Scope::Registry).await? == Verdict::Allowed {
        let page = app.api.store.accounts(None, Some(prefix), 10).await?;
        found.extend(page.into_iter().take_while(|account| account.name.as_str().starts_with(prefix)));
    }
    Ok(found)
}

/// A robot is known to those who know its owner from within.
async fn knows(app: &App, caller: &Caller, account: &Account) -> Result<bool, Problem> {
    let Some(owner) = account.name.robot_of() else { return Ok(true) };
    Ok(caller.standing(&app.api.store, &Scope::Namespace(owner.to_string())).await? > Standing::Stranger)
}

async fn teams(app: &App, caller: &Caller, namespace: &str, prefix: &str) -> Result<Vec<Value>, Problem> {
    let Ok(name) = NamespaceName::parse(namespace) else { return Ok(Vec::new()) };
    if caller.standing(&app.api.store, &Scope::Namespace(name.to_string())).await? == Standing::Stranger {
        return Ok(Vec::new());
    }
    let teams = app.api.store.teams(&name).await?;
    let teams = teams.iter().filter(|team| team.name.as_str().starts_with(prefix));
    Ok(teams.map(|team| json!({ "name": team.name, "kind": "team", "is_org_member": true })).collect())
}

/// Refuses a credential that makes no notifications: it has no use for names.
pub(super) fn need_purpose(caller: &Caller) -> Result<(), Problem> {
    let has = |scope| caller.scopes().has(scope);
    if has(TokenScope::RepositoryAdmin) || has(TokenScope::NamespaceAdmin) {
        Ok(())
    } else {
        Err(forbidden())
    }
}
