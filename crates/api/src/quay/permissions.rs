//! Who may do what with a repository, by team and by user, for those who administer it.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{AccountName, Grantee, NamespaceName, RepositoryName, RepositoryRole, Scope, TeamName};
use bellbuoy_store::Permission;
use http::{Method, StatusCode, request::Parts};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{forbidden, not_found, path::Whose, read_json, schema, shown, verb, wrong_verb};
use crate::{App, auth::Caller, contract::Operation, problem::Problem};

/// What somebody may do with a repository.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayPermission")]
struct PermissionView {
    name: String,
    role: RepositoryRole,
    /// Of a user or robot.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_robot: Option<bool>,
    /// Of a user or robot.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_org_member: Option<bool>,
}

/// All of them, by name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayPermissions")]
struct PermissionsView {
    permissions: BTreeMap<String, PermissionView>,
}

/// What is served of the permissions of teams, or of users and robots.
pub(super) fn operations() -> impl Iterator<Item = Operation> {
    let of = |all: &'static str, one: &'static str| {
        [
            Operation::get(all, "Who may do what with a repository.")
                .answers::<PermissionsView>(200)
                .refuses([400]),
            Operation::get(one, "What one of them may do.")
                .answers::<PermissionView>(200)
                .refuses([400, 404]),
            Operation::put(one, "Grant a role.")
                .takes::<schema::RoleBody>()
                .answers::<PermissionView>(200)
                .refuses([404, 409, 415]),
            Operation::delete(one, "Take it back.").answers_nothing(204).refuses([400, 404]),
        ]
    };
    let teams = of(
        "/api/v1/repository/{repository}/permissions/team/",
        "/api/v1/repository/{repository}/permissions/team/{member}",
    );
    let users = of(
        "/api/v1/repository/{repository}/permissions/user/",
        "/api/v1/repository/{repository}/permissions/user/{member}",
    );
    teams.into_iter().chain(users)
}

pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    repository: &str,
    whose: &Whose,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let repository = RepositoryName::parse(repository).map_err(|error| Problem::bad(error.to_string()))?;
    let Some(name) = &whose.name else {
        return match *verb(parts) {
            Method::GET => list(app, &repository, whose.teams).await,
            _ => Ok(wrong_verb(app, "GET,HEAD")),
        };
    };
    let grantee = grantee(&repository, whose.teams, name);
    // It would outlive the token.
    if *verb(parts) != Method::GET && caller.granted_to().is_some() {
        return Err(forbidden());
    }
    match *verb(parts) {
        Method::GET => get(app, &repository, &grantee.ok_or_else(not_found)?).await,
        Method::PUT => {
            let body = read_json(app, parts, body).await?;
            let role = schema::role(&body).map_err(Problem::bad)?;
            let kind = if whose.teams { "team" } else { "user" };
            let unknown = || Problem::bad(format!("Unknown {kind} {}", shown(name)));
            let permission = Permission { grantee: grantee.ok_or_else(unknown)?, role };
            put(app, caller, &repository, &permission).await
        }
        Method::DELETE => delete(app, caller, &repository, &grantee.ok_or_else(not_found)?).await,
        _ => Ok(wrong_verb(app, "GET,HEAD,PUT,DELETE")),
    }
}

/// Whom a name in a path means: a team of the repository's organization, a user or a robot.
fn grantee(repository: &RepositoryName, is_team: bool, name: &str) -> Option<Grantee> {
    if !is_team {
        return AccountName::parse(name).ok().map(Grantee::Account);
    }
    let organization = NamespaceName::parse(repository.namespace()).ok()?;
    Some(Grantee::Team { organization, team: TeamName::parse(name).ok()? })
}

async fn list(app: &App, repository: &RepositoryName, teams: bool) -> Result<Response, Problem> {
    let mut permissions = BTreeMap::new();
    for permission in app.api.store.permissions(repository).await? {
        if matches!(permission.grantee, Grantee::Team { .. }) == teams {
            let view = view(app, repository, &permission).await?;
            permissions.insert(view.name.clone(), view);
        }
    }
    Ok(Json(PermissionsView { permissions }).into_response())
}

async fn get(app: &App, repository: &RepositoryName, grantee: &Grantee) -> Result<Response, Problem> {
    let all = app.api.store.permissions(repository).await?;
    let one = all.into_iter().find(|one| one.grantee == *grantee).ok_or_else(not_found)?;
    Ok(Json(view(app, repository, &one).await?).into_response())
}

async fn put(
    app: &App,
    caller: &Caller,
    repository: &RepositoryName,
    permission: &Permission,
) -> Result<Response, Problem> {
    let details = json!({ "grantee": permission.grantee, "role": permission.role });
    let store = audited(app, caller, "permission.put", repository, details);
    store.grant(repository, permission).await?;
    Ok(Json(view(app, repository, permission).await?).into_response())
}

async fn delete(
    app: &App,
    caller: &Caller,
    repository: &RepositoryName,
    grantee: &Grantee,
) -> Result<Response, Problem> {
    let store = audited(app, caller, "permission.delete", repository, json!({ "grantee": grantee }));
    let found = store.revoke(repository, grantee).await?;
    if found { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(not_found()) }
}

fn audited(
    app: &App,
    caller: &Caller,
    action: &str,
    repository: &RepositoryName,
    details: Value,
) -> bellbuoy_store::Store {
    let details = match details {
        Value::Object(details) => details,
        _ => Map::new(),
    };
    let entry = caller.entry(action, repository, &Scope::Repository(repository.clone()), details);
    app.api.store.audited(entry)
}

fn short_name(grantee: &Grantee) -> &str {
    match grantee {
        Grantee::Account(name) => name.as_str(),
        Grantee::Team { team, .. } => team.as_str(),
    }
}

async fn view(
    app: &App,
    repository: &RepositoryName,
    permission: &Permission,
) -> Result<PermissionView, Problem> {
    let (name, role) = (short_name(&permission.grantee).to_owned(), permission.role);
    let mut view = PermissionView { name, role, is_robot: None, is_org_member: None };
    if let Grantee::Account(name) = &permission.grantee {
        let member = app.api.store.role_in(name, repository.namespace()).await?.is_some();
        view.is_robot = Some(name.robot_of().is_some());
        view.is_org_member = Some(member);
    }
    Ok(view)
}
