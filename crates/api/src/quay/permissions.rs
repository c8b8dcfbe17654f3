//! Who may do what with a repository, by team and by user, for those who administer it.

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{AccountName, Grantee, NamespaceName, RepositoryName, Scope, TeamName};
use bellbuoy_store::Permission;
use http::{Method, StatusCode, request::Parts};
use serde_json::{Map, Value, json};

use super::{forbidden, not_found, path::Whose, read_json, schema, shown, verb, wrong_verb};
use crate::{App, auth::Caller, problem::Problem};

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
            let body = read_json(app, &parts.headers, body).await?;
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
    let mut objects = Map::new();
    for permission in app.api.store.permissions(repository).await? {
        if matches!(permission.grantee, Grantee::Team { .. }) == teams {
            let object = object(app, repository, &permission).await?;
            objects.insert(short_name(&permission.grantee).to_owned(), object);
        }
    }
    Ok(Json(json!({ "permissions": objects })).into_response())
}

async fn get(app: &App, repository: &RepositoryName, grantee: &Grantee) -> Result<Response, Problem> {
    let all = app.api.store.permissions(repository).await?;
    let one = all.into_iter().find(|one| one.grantee == *grantee).ok_or_else(not_found)?;
    Ok(Json(object(app, repository, &one).await?).into_response())
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
    Ok(Json(object(app, repository, permission).await?).into_response())
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

async fn object(app: &App, repository: &RepositoryName, permission: &Permission) -> Result<Value, Problem> {
    let mut object = json!({ "name": short_name(&permission.grantee), "role": permission.role });
    if let Grantee::Account(name) = &permission.grantee {
        let member = app.api.store.role_in(name, repository.namespace()).await?.is_some();
        object["is_robot"] = name.robot_of().is_some().into();
        object["is_org_member"] = member.into();
    }
    Ok(object)
}
