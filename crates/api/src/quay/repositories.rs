//! Repositories: made, looked at, deleted.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    AccountKind, NamespaceName, RepositoryName, Right, Scope, Standing, TeamRole, Verdict,
};
use bellbuoy_store::Repository;
use http::{Method, StatusCode, request::Parts};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{forbidden, not_found, read_json, schema, verb, wrong_verb};
use crate::{App, auth::Caller, now, problem::Problem};

/// A repository that was made.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayRepositoryMade")]
pub(super) struct Made<'a> {
    namespace: &'a NamespaceName,
    name: &'a str,
    /// Always `image`.
    kind: &'static str,
}

/// A repository as Quay shows it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayRepository")]
#[expect(clippy::struct_excessive_bools, reason = "Quay has them so")]
pub(super) struct RepositoryView<'a> {
    namespace: &'a str,
    name: &'a str,
    /// Always `image`.
    kind: &'static str,
    /// Always `NORMAL`.
    state: &'static str,
    /// Always empty.
    description: &'static str,
    is_public: bool,
    is_organization: bool,
    /// Always false.
    is_starred: bool,
    can_write: bool,
    can_admin: bool,
}

/// `POST /api/v1/repository`.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = read_json(&app, &parts, body).await?;
    let wanted = schema::new_repository(body).map_err(Problem::bad)?;
    let namespace = wanted.namespace.or_else(|| caller.account().map(|account| account.name.to_string()));
    let namespace = NamespaceName::parse(&namespace.unwrap_or_default());
    let place = namespace.as_ref().map_or(Scope::Registry, |name| Scope::Namespace(name.to_string()));
    if caller.judge(&app, Right::Repositories, &place).await? != Verdict::Allowed {
        return Err(forbidden());
    }
    let namespace = namespace.map_err(|error| Problem::bad(error.to_string()))?;
    let name = RepositoryName::parse(format!("{namespace}/{}", wanted.repository));
    let name = name.map_err(|_| Problem::bad("Invalid repository name"))?;
    let repository = Repository { name: name.clone(), public: wanted.public, created_at: now() };
    let admin = admin_to_be(&app, &caller, &namespace).await?;
    let details = Map::from_iter([("public".to_owned(), Value::from(wanted.public))]);
    let entry = caller.entry("repository.create", &name, &Scope::Repository(name.clone()), details);
    if !app.api.store.audited(entry).create_repository(&repository, admin.as_ref()).await? {
        return Err(Problem::bad("Repository already exists"));
    }
    let made = Made { namespace: &namespace, name: name.short_name(), kind: "image" };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// Whoever makes a repository administers it: who does not own its namespace is granted that.
async fn admin_to_be(
    app: &App,
    caller: &Caller,
    namespace: &NamespaceName,
) -> Result<Option<bellbuoy_domain::AccountName>, Problem> {
    let Some(account) = caller.account() else { return Ok(None) };
    let role = app.api.store.role_in(&account.name, namespace.as_str()).await?;
    Ok((role == Some(TeamRole::Creator)).then(|| account.name.clone()))
}

/// Everything at a repository's own path.
pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    repository: &str,
    parts: &Parts,
) -> Result<Response, Problem> {
    match *verb(parts) {
        Method::GET => get(app, caller, repository).await,
        Method::DELETE => delete(app, caller, repository).await,
        _ => Ok(wrong_verb(app, "GET,HEAD,DELETE")),
    }
}

async fn get(app: &App, caller: &Caller, text: &str) -> Result<Response, Problem> {
    let name = RepositoryName::parse(text).map_err(|_| not_found())?;
    let place = Scope::Repository(name.clone());
    match caller.judge(app, Right::Look, &place).await? {
        Verdict::Allowed => {}
        Verdict::Forbidden => return Err(forbidden()),
        Verdict::Hidden => return Err(not_found()),
    }
    let known = app.api.store.repository(&name).await?.ok_or_else(not_found)?;
    let standing = caller.standing(&app.api.store, &place).await?;
    let owner = match NamespaceName::parse(name.namespace()) {
        Ok(owner) => app.api.store.account(&owner.into()).await?,
        Err(_) => None,
    };
    let view = RepositoryView {
        namespace: name.namespace(),
        name: name.short_name(),
        kind: "image",
        state: "NORMAL",
        description: "",
        is_public: known.public,
        is_organization: owner.is_some_and(|owner| owner.kind == AccountKind::Organization),
        is_starred: false,
        can_write: standing >= Standing::Writer,
        can_admin: standing >= Standing::Admin,
    };
    Ok(Json(view).into_response())
}

async fn delete(app: &App, caller: &Caller, text: &str) -> Result<Response, Problem> {
    let name = RepositoryName::parse(text);
    let place = name.as_ref().map_or(Scope::Registry, |name| Scope::Repository(name.clone()));
    if caller.judge(app, Right::Repositories, &place).await? != Verdict::Allowed {
        return Err(forbidden());
    }
    let name = name.map_err(|_| not_found())?;
    let entry = caller.entry("repository.delete", &name, &place, Map::new());
    let found = app.api.store.audited(entry).delete_repository(&name).await?;
    if found { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(not_found()) }
}
