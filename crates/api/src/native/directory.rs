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
    Account, DIRECTORY_VERSION, DirectoryChange, DirectoryDocument, DirectoryError, Permission, Put,
    Repository, Store, Team,
};
use http::{StatusCode, Uri};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Limit, limit, map, query, unknown};
use crate::{
    App,
    auth::Caller,
    body,
    contract::{Operation, Routes},
    now,
    problem::Problem,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AccountDraft")]
struct AccountBody {
    kind: AccountKind,
    email: Option<String>,
    /// Whether the address is known to be theirs.
    #[serde(default)]
    email_verified: bool,
    /// Whether it may do everything.
    #[serde(default)]
    superuser: bool,
    /// Whether it may do anything.
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PasswordDraft")]
struct PasswordBody {
    password: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccountsQuery {
    /// Of this kind alone.
    kind: Option<AccountKind>,
    /// From after this name on.
    after: Option<String>,
    #[schemars(with = "Option<Limit>")]
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RepositoriesQuery {
    /// Of this namespace alone.
    namespace: Option<NamespaceName>,
    /// From after this name on.
    after: Option<String>,
    #[schemars(with = "Option<Limit>")]
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TeamDraft")]
struct TeamBody {
    role: TeamRole,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RepositoryDraft")]
struct RepositoryBody {
    /// Whether everybody may pull from it.
    #[serde(default)]
    public: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PermissionQuery {
    repository: RepositoryName,
    /// What is granted to this one alone.
    grantee: Option<Grantee>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GranteeQuery {
    repository: RepositoryName,
    grantee: Grantee,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PermissionDraft")]
struct PermissionBody {
    role: RepositoryRole,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    /// Whether all of it is tried and none of it kept.
    #[serde(default)]
    dry_run: bool,
}

/// A user, an organization or a robot.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Account")]
struct AccountView<'a> {
    name: &'a AccountName,
    id: Uuid,
    kind: AccountKind,
    /// An organization's is that of its contact.
    email: Option<&'a str>,
    email_verified: bool,
    superuser: bool,
    enabled: bool,
    created_at: Timestamp,
}

/// A page of accounts.
#[derive(Debug, Serialize, JsonSchema)]
struct Accounts<'a> {
    accounts: Vec<AccountView<'a>>,
    /// The `after` of the next page; null at the end.
    next: Option<String>,
}

/// A team of an organization.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Team")]
struct TeamView<'a> {
    organization: &'a NamespaceName,
    name: &'a TeamName,
    role: TeamRole,
}

/// An organization's teams.
#[derive(Debug, Serialize, JsonSchema)]
struct Teams<'a> {
    teams: Vec<TeamView<'a>>,
}

/// A team's members.
#[derive(Debug, Serialize, JsonSchema)]
struct Members<'a> {
    members: Vec<AccountView<'a>>,
}

/// A repository.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Repository")]
struct RepositoryView<'a> {
    name: &'a RepositoryName,
    public: bool,
    created_at: Timestamp,
}

/// A page of repositories.
#[derive(Debug, Serialize, JsonSchema)]
struct Repositories<'a> {
    repositories: Vec<RepositoryView<'a>>,
    /// The `after` of the next page; null at the end.
    next: Option<String>,
}

/// A role that somebody has on a repository.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Permission")]
struct PermissionView<'a> {
    grantee: &'a Grantee,
    role: RepositoryRole,
}

/// Who may do what with a repository.
#[derive(Debug, Serialize, JsonSchema)]
struct Permissions<'a> {
    repository: &'a RepositoryName,
    permissions: Vec<PermissionView<'a>>,
}

/// A role that was granted.
#[derive(Debug, Serialize, JsonSchema)]
struct Granted<'a> {
    repository: &'a RepositoryName,
    grantee: &'a Grantee,
    role: RepositoryRole,
}

/// What a document changed, or would change.
#[derive(Debug, Serialize, JsonSchema)]
struct Imported {
    dry_run: bool,
    changes: Vec<DirectoryChange>,
}

/// `/v1/directory`.
pub(super) fn routes() -> Routes {
    accounts_routes().and(team_routes()).and(repository_routes()).serve(
        Operation::post(
            "/v1/directory/import",
            "Make the directory what a document says, wholly or not at all.",
        )
        .asks::<ImportQuery>()
        .takes::<DirectoryDocument>()
        .answers::<Imported>(200)
        .refuses([409, 415]),
        import,
    )
}

fn accounts_routes() -> Routes {
    const ONE: &str = "/v1/directory/accounts/{name}";
    const PASSWORD: &str = "/v1/directory/accounts/{name}/password";
    Routes::default()
        .serve(
            Operation::get("/v1/directory/accounts", "A page of users, organizations and robots, by name.")
                .asks::<AccountsQuery>()
                .answers::<Accounts<'_>>(200),
            accounts,
        )
        .serve(
            Operation::get(ONE, "An account.").answers::<AccountView<'_>>(200).refuses([400, 404]),
            get_account,
        )
        .serve(
            Operation::put(ONE, "Make an account, or change it.")
                .takes::<AccountBody>()
                .answers::<AccountView<'_>>(200)
                .answers::<AccountView<'_>>(201)
                .refuses([409, 415]),
            put_account,
        )
        .serve(
            Operation::delete(ONE, "Remove an account with what is its own.")
                .answers_nothing(204)
                .refuses([400, 404]),
            delete_account,
        )
        .serve(
            Operation::put(PASSWORD, "Set an account's password, which ends its logins.")
                .takes::<PasswordBody>()
                .answers_nothing(204)
                .refuses([404, 415]),
            put_password,
        )
        .serve(
            Operation::delete(PASSWORD, "Take an account's password away.")
                .answers_nothing(204)
                .refuses([400, 404]),
            delete_password,
        )
}

fn team_routes() -> Routes {
    const ALL: &str = "/v1/directory/organizations/{name}/teams";
    const ONE: &str = "/v1/directory/organizations/{name}/teams/{team}";
    const MEMBERS: &str = "/v1/directory/organizations/{name}/teams/{team}/members";
    const MEMBER: &str = "/v1/directory/organizations/{name}/teams/{team}/members/{member}";
    Routes::default()
        .serve(
            Operation::get(ALL, "An organization's teams.").answers::<Teams<'_>>(200).refuses([400]),
            teams,
        )
        .serve(
            Operation::put(ONE, "Make a team, or change it.")
                .takes::<TeamBody>()
                .answers::<TeamView<'_>>(200)
                .answers::<TeamView<'_>>(201)
                .refuses([409, 415]),
            put_team,
        )
        .serve(Operation::delete(ONE, "Remove a team.").answers_nothing(204).refuses([400, 404]), delete_team)
        .serve(
            Operation::get(MEMBERS, "A team's members.").answers::<Members<'_>>(200).refuses([400]),
            members,
        )
        .serve(
            Operation::put(MEMBER, "Make an account a member of a team.")
                .answers_nothing(204)
                .refuses([400, 409]),
            add_member,
        )
        .serve(
            Operation::delete(MEMBER, "Take an account out of a team.")
                .answers_nothing(204)
                .refuses([400, 404]),
            remove_member,
        )
}

fn repository_routes() -> Routes {
    const ONE: &str = "/v1/directory/repositories/{*name}";
    const PERMISSIONS: &str = "/v1/directory/permissions";
    Routes::default()
        .serve(
            Operation::get("/v1/directory/repositories", "A page of repositories, by name.")
                .asks::<RepositoriesQuery>()
                .answers::<Repositories<'_>>(200),
            repositories,
        )
        .serve(
            Operation::put(ONE, "Make a repository, or change it.")
                .takes::<RepositoryBody>()
                .answers::<RepositoryView<'_>>(200)
                .answers::<RepositoryView<'_>>(201)
                .refuses([409, 415]),
            put_repository,
        )
        .serve(
            Operation::delete(ONE, "Remove a repository with what is granted on it.")
                .answers_nothing(204)
                .refuses([400, 404]),
            delete_repository,
        )
        .serve(
            Operation::get(PERMISSIONS, "Who may do what with a repository.")
                .asks::<PermissionQuery>()
                .answers::<Permissions<'_>>(200),
            permissions,
        )
        .serve(
            Operation::put(PERMISSIONS, "Grant a role on a repository.")
                .asks::<GranteeQuery>()
                .takes::<PermissionBody>()
                .answers::<Granted<'_>>(200)
                .answers::<Granted<'_>>(201)
                .refuses([409, 415]),
            grant,
        )
        .serve(
            Operation::delete(PERMISSIONS, "Take a role on a repository back.")
                .asks::<GranteeQuery>()
                .answers_nothing(204)
                .refuses([404]),
            revoke,
        )
}

type Answer = Result<Response, Problem>;

async fn accounts(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer {
    caller.need_superuser(&app).await?;
    let wanted: AccountsQuery = query(&uri)?;
    let limit = limit(wanted.limit)?;
    let rows = app.api.store.accounts(wanted.kind, wanted.after.as_deref(), limit).await?;
    let next =
        rows.last().filter(|_| rows.len() as u64 >= u64::from(limit)).map(|last| last.name.to_string());
    Ok(Json(Accounts { accounts: rows.iter().map(AccountView::of).collect(), next }).into_response())
}

async fn get_account(State(app): State<Arc<App>>, caller: Caller, Path(text): Path<String>) -> Answer {
    caller.need_superuser(&app).await?;
    let found = app.api.store.account(&name(&text, AccountName::parse)?).await?;
    Ok(Json(AccountView::of(&found.ok_or_else(|| unknown("account", &text))?)).into_response())
}

async fn put_account(
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
    Ok((status(put), Json(AccountView::of(&stored))).into_response())
}

async fn delete_account(State(app): State<Arc<App>>, caller: Caller, Path(text): Path<String>) -> Answer {
    caller.need_superuser(&app).await?;
    let name = name(&text, AccountName::parse)?;
    let store = audited(&app, &caller, "account.delete", &text, Value::Null);
    gone(store.delete_account(&name).await?, "account", &text)
}

/// Sets an account's password, which ends its logins.
async fn put_password(
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

async fn delete_password(State(app): State<Arc<App>>, caller: Caller, Path(text): Path<String>) -> Answer {
    caller.need_superuser(&app).await?;
    let name = name(&text, AccountName::parse)?;
    let store = audited(&app, &caller, "account.password.delete", &text, Value::Null);
    gone(store.set_password(&name, None).await?, "account", &text)
}

async fn teams(State(app): State<Arc<App>>, caller: Caller, Path(text): Path<String>) -> Answer {
    caller.need_superuser(&app).await?;
    let teams = app.api.store.teams(&name(&text, NamespaceName::parse)?).await?;
    Ok(Json(Teams { teams: teams.iter().map(TeamView::of).collect() }).into_response())
}

async fn put_team(
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
    Ok((status(put), Json(TeamView::of(&wanted))).into_response())
}

async fn delete_team(
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

async fn members(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((organization, text)): Path<(String, String)>,
) -> Answer {
    caller.need_superuser(&app).await?;
    let (organization, name) = (name(&organization, NamespaceName::parse)?, name(&text, TeamName::parse)?);
    let members = app.api.store.members_of_team(&organization, &name).await?;
    Ok(Json(Members { members: members.iter().map(AccountView::of).collect() }).into_response())
}

async fn add_member(
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

async fn remove_member(
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

async fn repositories(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer {
    caller.need_superuser(&app).await?;
    let wanted: RepositoriesQuery = query(&uri)?;
    let limit = limit(wanted.limit)?;
    let store = &app.api.store;
    let rows = store.repositories(wanted.namespace.as_ref(), wanted.after.as_deref(), limit).await?;
    let next =
        rows.last().filter(|_| rows.len() as u64 >= u64::from(limit)).map(|last| last.name.to_string());
    let repositories = rows.iter().map(RepositoryView::of).collect();
    Ok(Json(Repositories { repositories, next }).into_response())
}

async fn put_repository(
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
    Ok((status(put), Json(RepositoryView::of(&stored))).into_response())
}

async fn delete_repository(State(app): State<Arc<App>>, caller: Caller, Path(text): Path<String>) -> Answer {
    caller.need_superuser(&app).await?;
    let name = name(&text, |text| RepositoryName::parse(text))?;
    let store = audited(&app, &caller, "repository.delete", &text, Value::Null);
    gone(store.delete_repository(&name).await?, "repository", &text)
}

async fn permissions(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer {
    caller.need_superuser(&app).await?;
    let wanted: PermissionQuery = query(&uri)?;
    let permissions = app.api.store.permissions(&wanted.repository).await?;
    let permissions = permissions
        .iter()
        .filter(|one| wanted.grantee.as_ref().is_none_or(|grantee| *grantee == one.grantee))
        .map(|one| PermissionView { grantee: &one.grantee, role: one.role })
        .collect();
    Ok(Json(Permissions { repository: &wanted.repository, permissions }).into_response())
}

async fn grant(State(app): State<Arc<App>>, caller: Caller, uri: Uri, request: Request) -> Answer {
    caller.need_superuser(&app).await?;
    let GranteeQuery { repository, grantee } = query(&uri)?;
    let PermissionBody { role } = read(&app, request).await?;
    let details = json!({ "grantee": grantee, "role": role });
    let store = audited(&app, &caller, "permission.put", repository.as_str(), details);
    let put = store.grant(&repository, &Permission { grantee: grantee.clone(), role }).await?;
    let granted = Granted { repository: &repository, grantee: &grantee, role };
    Ok((status(put), Json(granted)).into_response())
}

async fn revoke(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answer {
    caller.need_superuser(&app).await?;
    let GranteeQuery { repository, grantee } = query(&uri)?;
    let details = json!({ "grantee": grantee });
    let store = audited(&app, &caller, "permission.delete", repository.as_str(), details);
    gone(store.revoke(&repository, &grantee).await?, "permission of", &grantee.to_string())
}

/// A whole document at once, or a look at what it would change.
async fn import(State(app): State<Arc<App>>, caller: Caller, uri: Uri, request: Request) -> Answer {
    caller.need_superuser(&app).await?;
    let ImportQuery { dry_run } = query(&uri)?;
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.batch_bytes).await?;
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
    Ok(Json(Imported { dry_run, changes }).into_response())
}

/// The same store, whose next change of the directory is written down.
fn audited(app: &App, caller: &Caller, action: &str, target: &str, details: Value) -> Store {
    app.api.store.audited(caller.entry(action, &target, &Scope::Registry, map(details)))
}

fn name<T, E: std::fmt::Display>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Problem> {
    parse(text).map_err(|error| Problem::bad(error.to_string()))
}

async fn read<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
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

impl<'a> AccountView<'a> {
    fn of(account: &'a Account) -> Self {
        Self {
            name: &account.name,
            id: account.id,
            kind: account.kind,
            email: account.email.as_deref(),
            email_verified: account.email_verified,
            superuser: account.superuser,
            enabled: account.enabled,
            created_at: account.created_at,
        }
    }
}

impl<'a> TeamView<'a> {
    fn of(team: &'a Team) -> Self {
        Self { organization: &team.organization, name: &team.name, role: team.role }
    }
}

impl<'a> RepositoryView<'a> {
    fn of(repository: &'a Repository) -> Self {
        Self { name: &repository.name, public: repository.public, created_at: repository.created_at }
    }
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
