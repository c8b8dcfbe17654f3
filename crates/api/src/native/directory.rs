//! `/v1/directory`: users, organizations, robots, teams, repositories and who may do what, for superusers.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    AccountKind, AccountName, Grantee, NamespaceName, RepositoryName, RepositoryRole, Scope, TeamName,
    TeamRole,
};
use bellbuoy_store::{
    Account, DIRECTORY_VERSION, DirectoryDocument, DirectoryError, Permission, Put, Repository, Store, Team,
};
use http::{StatusCode, Uri};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{limit, map, query, unknown};
use crate::{App, auth::Caller, body, now, problem::Problem};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountBody {
    kind: AccountKind,
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
    #[serde(default)]
    superuser: bool,
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsQuery {
    kind: Option<AccountKind>,
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoriesQuery {
    namespace: Option<NamespaceName>,
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TeamBody {
    role: TeamRole,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoryBody {
    #[serde(default)]
    public: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionQuery {
    repository: RepositoryName,
    grantee: Option<Grantee>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionBody {
    role: RepositoryRole,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    #[serde(default)]
    dry_run: bool,
}

type Answer = Result<Response, Problem>;

pub(crate) async fn accounts(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer {
    caller.need_superuser(&app).await?;
    let wanted: AccountsQuery = query(&uri)?;
    let limit = limit(wanted.limit)?;
    let rows = app.api.store.accounts(wanted.kind, wanted.after.as_deref(), limit).await?;
    let next =
        rows.last().filter(|_| rows.len() as u64 >= u64::from(limit)).map(|last| last.name.to_string());
    let rows: Vec<Value> = rows.iter().map(account).collect();
    Ok(Json(json!({ "accounts": rows, "next": next })).into_response())
}

pub(crate) async fn get_account(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let found = app.api.store.account(&name(&text, AccountName::parse)?).await?;
    Ok(Json(account(&found.ok_or_else(|| unknown("account", &text))?)).into_response())
}

pub(crate) async fn put_account(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
    request: Request,
) -> Answer {
    caller.need_superuser(&app).await?;
    let body: AccountBody = read(&app, request).await?;
    let wanted = Account {
        name: name(&text, AccountName::parse)?,
        id: Uuid::new_v4(),
        kind: body.kind,
        email: body.email,
        email_verified: body.email_verified,
        superuser: body.superuser,
        enabled: body.enabled,
        created_at: now(),
    };
    let details = json!({ "kind": wanted.kind, "superuser": wanted.superuser, "enabled": wanted.enabled });
    let put = audited(&app, &caller, "account.put", &text, details).put_account(&wanted).await?;
    let stored = app.api.store.account(&wanted.name).await?.unwrap_or(wanted);
    Ok((status(put), Json(account(&stored))).into_response())
}

pub(crate) async fn delete_account(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let name = name(&text, AccountName::parse)?;
    let store = audited(&app, &caller, "account.delete", &text, Value::Null);
    gone(store.delete_account(&name).await?, "account", &text)
}

/// Sets an account's password, which ends its logins.
pub(crate) async fn put_password(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
    request: Request,
) -> Answer {
    caller.need_superuser(&app).await?;
    let PasswordBody { password } = read(&app, request).await?;
    let name = name(&text, AccountName::parse)?;
    let account = app.api.store.account(&name).await?.ok_or_else(|| unknown("account", &text))?;
    if account.kind != AccountKind::User {
        return Err(Problem::bad(format!("{name} is of kind {}; only users sign in", account.kind)));
    }
    let hash = app.passwords.hash(password).await?;
    let store = audited(&app, &caller, "account.password.put", &text, Value::Null);
    gone(store.set_password(&name, Some(&hash)).await?, "account", &text)
}

pub(crate) async fn delete_password(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let name = name(&text, AccountName::parse)?;
    let store = audited(&app, &caller, "account.password.delete", &text, Value::Null);
    gone(store.set_password(&name, None).await?, "account", &text)
}

pub(crate) async fn teams(State(app): State<Arc<App>>, caller: Caller, Path(text): Path<String>) -> Answer {
    caller.need_superuser(&app).await?;
    let teams = app.api.store.teams(&name(&text, NamespaceName::parse)?).await?;
    let teams: Vec<Value> = teams.iter().map(team).collect();
    Ok(Json(json!({ "teams": teams })).into_response())
}

pub(crate) async fn put_team(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((organization, text)): Path<(String, String)>,
    request: Request,
) -> Answer {
    caller.need_superuser(&app).await?;
    let body: TeamBody = read(&app, request).await?;
    let (organization, name) = (name(&organization, NamespaceName::parse)?, name(&text, TeamName::parse)?);
    let wanted = Team { organization, name, role: body.role };
    let target = format!("{}/{}", wanted.organization, wanted.name);
    let store = audited(&app, &caller, "team.put", &target, json!({ "role": wanted.role }));
    let put = store.put_team(&wanted).await?;
    Ok((status(put), Json(team(&wanted))).into_response())
}

pub(crate) async fn delete_team(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((organization, text)): Path<(String, String)>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let (organization, name) = (name(&organization, NamespaceName::parse)?, name(&text, TeamName::parse)?);
    let target = format!("{organization}/{name}");
    let store = audited(&app, &caller, "team.delete", &target, Value::Null);
    gone(store.delete_team(&organization, &name).await?, "team", &target)
}

pub(crate) async fn members(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((organization, text)): Path<(String, String)>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let (organization, name) = (name(&organization, NamespaceName::parse)?, name(&text, TeamName::parse)?);
    let members = app.api.store.members_of_team(&organization, &name).await?;
    let members: Vec<Value> = members.iter().map(account).collect();
    Ok(Json(json!({ "members": members })).into_response())
}

pub(crate) async fn add_member(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((organization, team, member)): Path<(String, String, String)>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let (organization, team) = (name(&organization, NamespaceName::parse)?, name(&team, TeamName::parse)?);
    let member = name(&member, AccountName::parse)?;
    let target = format!("{organization}/{team}");
    let store = audited(&app, &caller, "team.member.add", &target, json!({ "member": member }));
    store.add_member(&organization, &team, &member).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn remove_member(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((organization, team, member)): Path<(String, String, String)>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let (organization, team) = (name(&organization, NamespaceName::parse)?, name(&team, TeamName::parse)?);
    let member = name(&member, AccountName::parse)?;
    let target = format!("{organization}/{team}");
    let store = audited(&app, &caller, "team.member.remove", &target, json!({ "member": member }));
    gone(store.remove_member(&organization, &team, &member).await?, "member", member.as_str())
}

pub(crate) async fn repositories(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer {
    caller.need_superuser(&app).await?;
    let wanted: RepositoriesQuery = query(&uri)?;
    let limit = limit(wanted.limit)?;
    let store = &app.api.store;
    let rows = store.repositories(wanted.namespace.as_ref(), wanted.after.as_deref(), limit).await?;
    let next =
        rows.last().filter(|_| rows.len() as u64 >= u64::from(limit)).map(|last| last.name.to_string());
    let rows: Vec<Value> = rows.iter().map(repository).collect();
    Ok(Json(json!({ "repositories": rows, "next": next })).into_response())
}

pub(crate) async fn put_repository(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
    request: Request,
) -> Answer {
    caller.need_superuser(&app).await?;
    let body: RepositoryBody = read(&app, request).await?;
    let wanted = Repository {
        name: name(&text, |text| RepositoryName::parse(text))?,
        public: body.public,
        created_at: now(),
    };
    let store = audited(&app, &caller, "repository.put", &text, json!({ "public": wanted.public }));
    let put = store.put_repository(&wanted).await?;
    let stored = app.api.store.repository(&wanted.name).await?.unwrap_or(wanted);
    Ok((status(put), Json(repository(&stored))).into_response())
}

pub(crate) async fn delete_repository(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let name = name(&text, |text| RepositoryName::parse(text))?;
    let store = audited(&app, &caller, "repository.delete", &text, Value::Null);
    gone(store.delete_repository(&name).await?, "repository", &text)
}

pub(crate) async fn permissions(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer {
    caller.need_superuser(&app).await?;
    let wanted: PermissionQuery = query(&uri)?;
    let permissions = app.api.store.permissions(&wanted.repository).await?;
    let permissions: Vec<Value> = permissions
        .iter()
        .filter(|one| wanted.grantee.as_ref().is_none_or(|grantee| *grantee == one.grantee))
        .map(|one| json!({ "grantee": one.grantee, "role": one.role }))
        .collect();
    Ok(Json(json!({ "repository": wanted.repository, "permissions": permissions })).into_response())
}

pub(crate) async fn grant(State(app): State<Arc<App>>, caller: Caller, uri: Uri, request: Request) -> Answer {
    caller.need_superuser(&app).await?;
    let (repository, grantee) = permission(&uri)?;
    let PermissionBody { role } = read(&app, request).await?;
    let details = json!({ "grantee": grantee, "role": role });
    let store = audited(&app, &caller, "permission.put", repository.as_str(), details);
    let put = store.grant(&repository, &Permission { grantee: grantee.clone(), role }).await?;
    let object = json!({ "repository": repository, "grantee": grantee, "role": role });
    Ok((status(put), Json(object)).into_response())
}

pub(crate) async fn revoke(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer {
    caller.need_superuser(&app).await?;
    let (repository, grantee) = permission(&uri)?;
    let details = json!({ "grantee": grantee });
    let store = audited(&app, &caller, "permission.delete", repository.as_str(), details);
    gone(store.revoke(&repository, &grantee).await?, "permission of", &grantee.to_string())
}

/// A whole document at once, or a look at what it would change.
pub(crate) async fn import(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
    request: Request,
) -> Answer {
    caller.need_superuser(&app).await?;
    let ImportQuery { dry_run } = query(&uri)?;
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts.headers, body, app.api.limits.batch_bytes).await?;
    body::require_json(&parts.headers)?;
    let document: DirectoryDocument = body::object_from_json(&read.bytes)?;
    if document.version != DIRECTORY_VERSION {
        let detail = format!("`version` is {}, but should be {DIRECTORY_VERSION}", document.version);
        return Err(Problem::bad(detail));
    }
    let details = json!({
        "users": document.users.len(),
        "organizations": document.organizations.len(),
        "robots": document.robots.len(),
        "repositories": document.repositories.len(),
    });
    let store = audited(&app, &caller, "directory.import", "", details);
    let changes = store.import_directory(&document, now(), dry_run).await?;
    Ok(Json(json!({ "dry_run": dry_run, "changes": changes })).into_response())
}

/// The same store, whose next change of the directory is written down.
fn audited(app: &App, caller: &Caller, action: &str, target: &str, details: Value) -> Store {
    app.api.store.audited(caller.entry(action, &target, &Scope::Registry, map(details)))
}

fn permission(uri: &Uri) -> Result<(RepositoryName, Grantee), Problem> {
    let wanted: PermissionQuery = query(uri)?;
    let grantee = wanted.grantee.ok_or_else(|| Problem::bad("query: `grantee` is missing"))?;
    Ok((wanted.repository, grantee))
}

fn name<T, E: std::fmt::Display>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Problem> {
    parse(text).map_err(|error| Problem::bad(error.to_string()))
}

async fn read<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts.headers, body, app.api.limits.event_bytes).await?;
    body::require_json(&parts.headers)?;
    body::object_from_json(&read.bytes)
}

fn status(put: Put) -> StatusCode {
    match put {
        Put::Created => StatusCode::CREATED,
        Put::Changed | Put::Same => StatusCode::OK,
    }
}

fn gone(found: bool, what: &str, name: &str) -> Answer {
    if found { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown(what, name)) }
}

fn account(account: &Account) -> Value {
    json!({
        "name": account.name,
        "id": account.id,
        "kind": account.kind,
        "email": account.email,
        "email_verified": account.email_verified,
        "superuser": account.superuser,
        "enabled": account.enabled,
        "created_at": account.created_at.to_string(),
    })
}

fn team(team: &Team) -> Value {
    json!({ "organization": team.organization, "name": team.name, "role": team.role })
}

fn repository(repository: &Repository) -> Value {
    json!({
        "name": repository.name,
        "public": repository.public,
        "created_at": repository.created_at.to_string(),
    })
}

impl From<DirectoryError> for Problem {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Store(error) => error.into(),
            DirectoryError::Missing { .. } | DirectoryError::BadName { .. } => Self::bad(error.to_string()),
            DirectoryError::OtherKind { .. } => Self::conflict(error.to_string()),
        }
    }
}
