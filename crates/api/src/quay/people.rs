//! Who there is, as far as automation asks before it makes a notification: the caller itself, an organization and its
//! teams, robots, and names.
//!
//! That there is a user or organization of a name is told to whoever names it whole, as in Quay; who else there is, to
//! superusers. What is within an organization is told to its members.

use std::{collections::BTreeMap, sync::Arc};

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
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{forbidden, not_found, written};
use crate::{App, auth::Caller, problem::Problem};

/// What the admin token is called where a user's name is asked for.
const OPERATOR: &str = "admin";

/// The most names that a search gives, as in Quay, and robots of one owner.
const MOST_NAMES: usize = 10;
const MOST_ROBOTS: u32 = 1000;

/// Who the caller is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayUser")]
#[expect(clippy::struct_excessive_bools, reason = "Quay has them so")]
pub(super) struct UserView<'a> {
    /// Always false.
    anonymous: bool,
    /// Always true.
    is_me: bool,
    username: &'a str,
    email: Option<&'a str>,
    /// Whether the address is known to be theirs.
    verified: bool,
    super_user: bool,
    /// Always true.
    can_create_repo: bool,
    organizations: Vec<MembershipView<'a>>,
}

/// An organization that the caller is in.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayMembership")]
struct MembershipView<'a> {
    name: &'a str,
    is_org_admin: bool,
    can_create_repo: bool,
    /// Always false.
    public: bool,
}

/// An organization.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayOrganization")]
pub(super) struct OrganizationView<'a> {
    name: &'a NamespaceName,
    /// For its members.
    email: Option<&'a str>,
    is_admin: bool,
    is_member: bool,
    /// Always false.
    public: bool,
    /// For its members, by name.
    teams: BTreeMap<&'a str, TeamView<'a>>,
    /// Their names in order.
    ordered_teams: Vec<&'a str>,
}

/// A team.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayTeam")]
struct TeamView<'a> {
    name: &'a str,
    /// Always empty.
    description: &'static str,
    role: TeamRole,
    /// Always true.
    can_view: bool,
    /// Always false.
    is_synced: bool,
}

/// A robot.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayRobot")]
pub(super) struct RobotView<'a> {
    name: &'a AccountName,
    /// Always empty.
    description: &'static str,
    /// In the form of RFC 2822.
    created: String,
    /// Always null.
    last_accessed: Option<String>,
    unstructured_metadata: NoMetadata,
}

/// Nothing is kept of a robot besides.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct NoMetadata {}

/// Robots.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayRobots")]
pub(super) struct RobotsView<'a> {
    robots: Vec<RobotView<'a>>,
}

/// A user, a robot, an organization or a team.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayEntity")]
struct EntityView {
    name: String,
    kind: EntityKind,
    /// Of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_robot: Option<bool>,
    /// Of a team: always true.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_org_member: Option<bool>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum EntityKind {
    User,
    Org,
    Team,
}

/// What there is of a name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuayEntities")]
pub(super) struct EntitiesView {
    results: Vec<EntityView>,
}

/// `GET /api/v1/user/`.
pub(crate) async fn user(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    let Some(account) = caller.account() else {
        // It is no user, but may do what one would ask to do.
        need_purpose(&caller)?;
        let (name, superuser) = caller.granted_to().map_or((OPERATOR, true), |name| (name, false));
        return Ok(Json(user_view(name, None, superuser, &[])).into_response());
    };
    let teams = app.api.store.teams_of(&account.name).await?;
    Ok(Json(user_view(account.name.as_str(), Some(account), account.superuser, &teams)).into_response())
}

fn user_view<'a>(
    username: &'a str,
    account: Option<&'a Account>,
    super_user: bool,
    teams: &'a [Team],
) -> UserView<'a> {
    let mut organizations: Vec<MembershipView<'_>> = Vec::new();
    for team in teams {
        let name = team.organization.as_str();
        if organizations.last().is_some_and(|last| last.name == name) {
            continue;
        }
        let roles = teams.iter().filter(|other| other.organization == team.organization);
        let role = roles.map(|other| other.role).max().unwrap_or(TeamRole::Member);
        organizations.push(MembershipView {
            name,
            is_org_admin: role == TeamRole::Admin,
            can_create_repo: role >= TeamRole::Creator,
            public: false,
        });
    }
    UserView {
        anonymous: false,
        is_me: true,
        username,
        email: account.and_then(|account| account.email.as_deref()),
        verified: account.is_none_or(|account| account.email_verified),
        super_user,
        can_create_repo: true,
        organizations,
    }
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
    let view = OrganizationView {
        name: &name,
        email: account.email.as_deref().filter(|_| is_member),
        is_admin: standing >= Standing::Admin,
        is_member,
        public: false,
        teams: teams.iter().map(|team| (team.name.as_str(), TeamView::of(team))).collect(),
        ordered_teams: teams.iter().map(|team| team.name.as_str()).collect(),
    };
    Ok(Json(view).into_response())
}

impl<'a> TeamView<'a> {
    fn of(team: &'a Team) -> Self {
        Self { name: team.name.as_str(), description: "", role: team.role, can_view: true, is_synced: false }
    }
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
    Ok(Json(RobotsView { robots: robots.iter().map(RobotView::of).collect() }).into_response())
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
    Ok(Json(RobotView::of(&found)).into_response())
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

impl<'a> RobotView<'a> {
    fn of(robot: &'a Account) -> Self {
        Self {
            name: &robot.name,
            description: "",
            created: written(robot.created_at),
            last_accessed: None,
            unstructured_metadata: NoMetadata {},
        }
    }
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct EntityQuery {
    /// `true` for teams of `namespace` as well.
    #[serde(default, rename = "includeTeams")]
    include_teams: String,
    /// `true` for organizations as well.
    #[serde(default, rename = "includeOrgs")]
    include_orgs: String,
    /// Whose teams.
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
            results.push(EntityView {
                name: account.name.to_string(),
                kind: if is_organization { EntityKind::Org } else { EntityKind::User },
                is_robot: Some(account.kind == AccountKind::Robot),
                is_org_member: None,
            });
        }
    }
    if says_yes(&wanted.include_teams) {
        results.extend(teams(&app, &caller, &wanted.namespace, &prefix).await?);
    }
    results.truncate(MOST_NAMES);
    Ok(Json(EntitiesView { results }).into_response())
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

async fn teams(
    app: &App,
    caller: &Caller,
    namespace: &str,
    prefix: &str,
) -> Result<Vec<EntityView>, Problem> {
    let Ok(name) = NamespaceName::parse(namespace) else { return Ok(Vec::new()) };
    if caller.standing(&app.api.store, &Scope::Namespace(name.to_string())).await? == Standing::Stranger {
        return Ok(Vec::new());
    }
    let teams = app.api.store.teams(&name).await?;
    let teams = teams.iter().filter(|team| team.name.as_str().starts_with(prefix));
    let view = |team: &Team| EntityView {
        name: team.name.to_string(),
        kind: EntityKind::Team,
        is_robot: None,
        is_org_member: Some(true),
    };
    Ok(teams.map(view).collect())
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
