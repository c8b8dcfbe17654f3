//! The directory: users, organizations and robots, and the teams of organizations.
//!
//! What belongs to an account goes with it, in the same transaction, so that one who takes its name later inherits
//! nothing: robots, teams, memberships, permissions, repositories, their notifications, tokens and in-app items.

use bellbuoy_domain::{AccountKind, AccountName, NamespaceName, TeamName, TeamRole, UnknownWord};
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError,
    call::{Value, values},
    follow::raise,
    page::limit,
    sql, sql_directory as texts,
    text::Text,
    value::timestamp,
    writing::{Writing, retried},
};

/// A user, an organization or a robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: AccountName,
    /// Its id, which outlives no deletion.
    pub id: Uuid,
    /// What it is.
    pub kind: AccountKind,
    /// Its address; an organization's is that of its contact.
    pub email: Option<String>,
    /// Whether the address is known to be theirs.
    pub email_verified: bool,
    /// Whether it may do everything.
    pub superuser: bool,
    /// Whether it may do anything.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A team of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its organization.
    pub organization: NamespaceName,
    /// Its name there.
    pub name: TeamName,
    /// What its members are to the organization.
    pub role: TeamRole,
}

/// What writing something did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Created,
    /// It was there and is different now.
    Changed,
    /// It was there just so.
    Same,
}

/// Why the directory did not take a change.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The store's own trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the change refers to is not there.
    #[error("there is no {what} {name}; make it first")]
    Missing {
        /// What should be there.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The name belongs to an account of another kind.
    #[error("{name} is the name of an account of kind {kind}; choose another")]
    OtherKind {
        /// The name.
        name: AccountName,
        /// What has it.
        kind: AccountKind,
    },
    /// The name is not of the form of this kind of account: a robot's has a `+`, and no other.
    #[error("{name} can't be the name of a {kind}; a robot's is OWNER+NAME, any other's has no `+`")]
    BadName {
        /// The name.
        name: AccountName,
        /// What was to have it.
        kind: AccountKind,
    },
}

impl From<sqlx::Error> for DirectoryError {
    fn from(source: sqlx::Error) -> Self {
        Self::Store(source.into())
    }
}

/// Runs a transaction of the directory, and again when the database gave it up for the sake of another.
pub(crate) async fn again<T, F>(mut transaction: impl FnMut() -> F) -> Result<T, DirectoryError>
where
    F: Future<Output = Result<T, DirectoryError>>,
{
    // The inner result is an answer; only the store's own trouble can be worth another try.
    retried(|| {
        let running = transaction();
        async {
            match running.await {
                Err(DirectoryError::Store(error)) => Err(error),
                other => Ok(other),
            }
        }
    })
    .await?
}

impl Store {
    /// The account of that name.
    pub async fn account(&self, name: &AccountName) -> Result<Option<Account>, StoreError> {
        let row: Option<AccountRow> = self.fetch_one(texts::ACCOUNT, &values![name.as_str()]).await?;
        row.map(AccountRow::read).transpose()
    }

    /// The account of that id.
    pub async fn account_by_id(&self, id: Uuid) -> Result<Option<Account>, StoreError> {
        let row: Option<AccountRow> = self.fetch_one(texts::ACCOUNT_BY_ID, &values![id]).await?;
        row.map(AccountRow::read).transpose()
    }

    /// A page of all accounts, or those of one kind, in the order of their names from after `after`.
    pub async fn accounts(
        &self,
        kind: Option<AccountKind>,
        after: Option<&str>,
        most: u32,
    ) -> Result<Vec<Account>, StoreError> {
        let values = values![after.unwrap_or_default(), kind.map(AccountKind::name), limit(most)];
        read_accounts(self.fetch(texts::ACCOUNTS, &values).await?)
    }

    /// Adds an account, or changes the one of that name in all but id, kind, password and time.
    ///
    /// # Errors
    ///
    /// When the name is another kind's, or a robot's owner is not there.
    pub async fn put_account(&self, account: &Account) -> Result<Put, DirectoryError> {
        again(async || {
            let mut writing = self.write().await?;
            let put = put_account(&mut writing, account).await?;
            Ok(writing.end_put(put).await?)
        })
        .await
    }

    /// Removes an account and all that belongs to it. False when there is none.
    pub async fn delete_account(&self, name: &AccountName) -> Result<bool, StoreError> {
        let version = retried(|| self.delete_account_once(name)).await?;
        if let Some(version) = version {
            raise(&self.inner.version, version);
        }
        Ok(version.is_some())
    }

    async fn delete_account_once(&self, name: &AccountName) -> Result<Option<i64>, StoreError> {
        let mut writing = self.write().await?;
        if writing.run(texts::DELETE_ACCOUNT, &values![name.as_str()]).await? == 0 {
            writing.give_up().await?;
            return Ok(None);
        }
        let robots = [format!("{name}+"), format!("{name},")];
        let within = [format!("{name}/"), format!("{name}0")];
        let with_robots = || values![name.as_str(), robots[0].as_str(), robots[1].as_str()];
        let range = |[from, to]: &[String; 2]| values![from.clone(), to.clone()];
        writing.run(texts::DELETE_ROBOTS_OF, &range(&robots)).await?;
        for text in [texts::DELETE_TOKENS_OF, texts::DELETE_MEMBERSHIPS_OF, texts::DELETE_GRANTS_TO] {
            writing.run(text, &with_robots()).await?;
        }
        writing.run(texts::END_SESSIONS_OF, &values![name.as_str()]).await?;
        writing.run(texts::DELETE_TEAMS, &values![name.as_str()]).await?;
        writing.run(texts::DELETE_ALL_MEMBERS, &values![name.as_str()]).await?;
        for kind in ["user", "org"] {
            writing.run(texts::DELETE_INBOX_OF, &values![kind, name.as_str()]).await?;
        }
        writing.run(texts::DELETE_INBOX_OF_TEAMS, &range(&within)).await?;
        writing.run(texts::DELETE_REPOSITORIES, &range(&within)).await?;
        let version = forget_repositories(&mut writing, "namespace", name.as_str()).await?;
        writing.commit().await?;
        Ok(Some(version))
    }

    /// The hash of an account's password, in the PHC string format, if it has one.
    pub async fn password(&self, name: &AccountName) -> Result<Option<String>, StoreError> {
        let row: Option<(Option<String>,)> = self.fetch_one(texts::PASSWORD, &values![name.as_str()]).await?;
        Ok(row.and_then(|(password,)| password))
    }

    /// Sets the hash of an account's password, or takes it away, and ends its sessions. False when there is no such
    /// account.
    pub async fn set_password(&self, name: &AccountName, hash: Option<&str>) -> Result<bool, StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            if writing.run(texts::SET_PASSWORD, &values![name.as_str(), hash]).await? == 0 {
                writing.give_up().await?;
                return Ok(false);
            }
            writing.run(texts::END_SESSIONS_OF, &values![name.as_str()]).await?;
            writing.commit().await?;
            Ok(true)
        })
        .await
    }

    /// One team.
    pub async fn team(
        &self,
        organization: &NamespaceName,
        team: &TeamName,
    ) -> Result<Option<Team>, StoreError> {
        let row: Option<TeamRow> =
            self.fetch_one(texts::TEAM, &values![organization.as_str(), team.as_str()]).await?;
        row.map(TeamRow::read).transpose()
    }

    /// All teams of an organization.
    pub async fn teams(&self, organization: &NamespaceName) -> Result<Vec<Team>, StoreError> {
        read_teams(self.fetch(texts::TEAMS, &values![organization.as_str()]).await?)
    }

    /// All teams that an account is a member of.
    pub async fn teams_of(&self, account: &AccountName) -> Result<Vec<Team>, StoreError> {
        read_teams(self.fetch(texts::TEAMS_OF, &values![account.as_str()]).await?)
    }

    /// Adds a team, or changes its role.
    ///
    /// # Errors
    ///
    /// When there is no such organization.
    pub async fn put_team(&self, team: &Team) -> Result<Put, DirectoryError> {
        again(async || {
            let mut writing = self.write().await?;
            let put = put_team(&mut writing, team).await?;
            Ok(writing.end_put(put).await?)
        })
        .await
    }

    /// Removes a team with its memberships, permissions and in-app items. False when there is none.
    pub async fn delete_team(
        &self,
        organization: &NamespaceName,
        team: &TeamName,
    ) -> Result<bool, StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            let place = values![organization.as_str(), team.as_str()];
            if writing.run(texts::DELETE_TEAM, &place).await? == 0 {
                writing.give_up().await?;
                return Ok(false);
            }
            writing.run(texts::DELETE_MEMBERS, &place).await?;
            let grantee = format!("{organization}/{team}");
            // No name continues a team's.
            let alone = values![grantee.as_str(), grantee.as_str(), grantee.as_str()];
            writing.run(texts::DELETE_GRANTS_TO, &alone).await?;
            writing.run(texts::DELETE_INBOX_OF, &values!["team", grantee.as_str()]).await?;
            writing.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Puts a user or robot into a team. [`Put::Same`] when it is there.
    ///
    /// # Errors
    ///
    /// When there is no such team or account.
    pub async fn add_member(
        &self,
        organization: &NamespaceName,
        team: &TeamName,
        member: &AccountName,
    ) -> Result<Put, DirectoryError> {
        again(async || {
            let mut writing = self.write().await?;
            need_team(&mut writing, organization, team).await?;
            let put = add_member(&mut writing, organization, team, member).await?;
            Ok(writing.end_put(put).await?)
        })
        .await
    }

    /// Takes a member out of a team. False when it was not in it.
    pub async fn remove_member(
        &self,
        organization: &NamespaceName,
        team: &TeamName,
        member: &AccountName,
    ) -> Result<bool, StoreError> {
        let values = values![organization.as_str(), team.as_str(), member.as_str()];
        Ok(self.write_one(texts::REMOVE_MEMBER, &values).await? > 0)
    }

    /// The members of a team, robots among them; none of a team that is not there.
    pub async fn members_of_team(
        &self,
        organization: &NamespaceName,
        team: &TeamName,
    ) -> Result<Vec<Account>, StoreError> {
        let values = values![organization.as_str(), team.as_str()];
        read_accounts(self.fetch(texts::MEMBERS_OF_TEAM, &values).await?)
    }

    /// Everybody in any team of an organization, each once.
    pub async fn members_of_organization(
        &self,
        organization: &NamespaceName,
    ) -> Result<Vec<Account>, StoreError> {
        let values = values![organization.as_str(), None::<&str>];
        read_accounts(self.fetch(texts::MEMBERS_OF_ORGANIZATION, &values).await?)
    }

    /// The owners of an organization: everybody in a team with the role `admin`, each once.
    pub async fn owners_of_organization(
        &self,
        organization: &NamespaceName,
    ) -> Result<Vec<Account>, StoreError> {
        let values = values![organization.as_str(), TeamRole::Admin.name()];
        read_accounts(self.fetch(texts::MEMBERS_OF_ORGANIZATION, &values).await?)
    }
}

/// What was about a namespace's repositories, or about one: `scope` and `name` are a notification's. Gives back the
/// version of the notifications.
pub(crate) async fn forget_repositories(
    writing: &mut Writing,
    scope: &'static str,
    name: &str,
) -> Result<i64, StoreError> {
    // A repository's name can continue another's: `acme/api` and `acme/api/v2` are strangers.
    let (from, to) = match scope {
        "namespace" => (format!("{name}/"), format!("{name}0")),
        _ => (name.to_owned(), name.to_owned()),
    };
    let range = values![name, from.as_str(), to.as_str()];
    writing.run(texts::DELETE_GRANTS_ON, &range).await?;
    writing.run(texts::DELETE_EMAILS_OF, &range).await?;
    let scoped = values![scope, name, from.as_str(), to.as_str()];
    writing.run(texts::DELETE_NOTIFICATIONS_IN, &scoped).await?;
    let (version,) = writing.one(sql::BUMP_VERSION, &[]).await?;
    writing.notify().await?;
    Ok(version)
}

pub(crate) async fn put_account(writing: &mut Writing, account: &Account) -> Result<Put, DirectoryError> {
    let name = &account.name;
    let owner = name.robot_of();
    if owner.is_some() != (account.kind == AccountKind::Robot) {
        return Err(DirectoryError::BadName { name: name.clone(), kind: account.kind });
    }
    if let Some(owner) = owner {
        need_account(writing, "account", &owner.into()).await?;
    }
    let known = find_account(writing, name).await?;
    match &known {
        Some(known) if known.kind != account.kind => {
            return Err(DirectoryError::OtherKind { name: name.clone(), kind: known.kind });
        }
        Some(known)
            if *known == (Account { id: known.id, created_at: known.created_at, ..account.clone() }) =>
        {
            return Ok(Put::Same);
        }
        _ => {}
    }
    writing.run(texts::PUT_ACCOUNT, &account.columns()).await?;
    Ok(if known.is_some() { Put::Changed } else { Put::Created })
}

pub(crate) async fn put_team(writing: &mut Writing, team: &Team) -> Result<Put, DirectoryError> {
    let name = AccountName::from(team.organization.clone());
    writing.keep_account(name.as_str()).await?;
    let organization = find_account(writing, &name).await?;
    if organization.is_none_or(|found| found.kind != AccountKind::Organization) {
        return Err(DirectoryError::Missing { what: "organization", name: name.to_string() });
    }
    let place = values![team.organization.as_str(), team.name.as_str()];
    let known: Option<TeamRow> = writing.fetch(texts::TEAM, &place).await?.pop();
    let known = known.map(TeamRow::read).transpose()?;
    if known.as_ref() == Some(team) {
        return Ok(Put::Same);
    }
    let values = values![team.organization.as_str(), team.name.as_str(), team.role.name()];
    writing.run(texts::PUT_TEAM, &values).await?;
    Ok(if known.is_some() { Put::Changed } else { Put::Created })
}

/// Of a team that is known to be there.
pub(crate) async fn add_member(
    writing: &mut Writing,
    organization: &NamespaceName,
    team: &TeamName,
    member: &AccountName,
) -> Result<Put, DirectoryError> {
    let account = need_account(writing, "account", member).await?;
    if account.kind == AccountKind::Organization {
        return Err(DirectoryError::Missing { what: "user or robot", name: member.to_string() });
    }
    let values = values![organization.as_str(), team.as_str(), member.as_str()];
    let added = writing.run(texts::ADD_MEMBER, &values).await?;
    Ok(if added > 0 { Put::Created } else { Put::Same })
}

pub(crate) async fn find_account(
    writing: &mut Writing,
    name: &AccountName,
) -> Result<Option<Account>, StoreError> {
    let row: Option<AccountRow> = writing.fetch(texts::ACCOUNT, &values![name.as_str()]).await?.pop();
    row.map(AccountRow::read).transpose()
}

/// The account of that name, which stays until the transaction ends.
pub(crate) async fn need_account(
    writing: &mut Writing,
    what: &'static str,
    name: &AccountName,
) -> Result<Account, DirectoryError> {
    writing.keep_account(name.as_str()).await?;
    let found = find_account(writing, name).await?;
    found.ok_or_else(|| DirectoryError::Missing { what, name: name.to_string() })
}

/// That there is such a team, until the transaction ends.
pub(crate) async fn need_team(
    writing: &mut Writing,
    organization: &NamespaceName,
    team: &TeamName,
) -> Result<(), DirectoryError> {
    writing.keep_team(organization.as_str(), team.as_str()).await?;
    let place = values![organization.as_str(), team.as_str()];
    let found: Vec<TeamRow> = writing.fetch(texts::TEAM, &place).await?;
    if found.is_empty() {
        return Err(DirectoryError::Missing { what: "team", name: format!("{organization}/{team}") });
    }
    Ok(())
}

pub(crate) fn read_accounts(rows: Vec<AccountRow>) -> Result<Vec<Account>, StoreError> {
    rows.into_iter().map(AccountRow::read).collect()
}

fn read_teams(rows: Vec<TeamRow>) -> Result<Vec<Team>, StoreError> {
    rows.into_iter().map(TeamRow::read).collect()
}

impl Account {
    fn columns(&self) -> [Value<'_>; 8] {
        values![
            self.name.as_str(),
            self.id,
            self.kind.name(),
            self.email.as_deref(),
            self.email_verified,
            self.superuser,
            self.enabled,
            self.created_at.as_millisecond(),
        ]
    }
}

#[derive(FromRow)]
pub(crate) struct AccountRow {
    name: String,
    id: Uuid,
    kind: String,
    email: Option<Text>,
    email_verified: bool,
    superuser: bool,
    enabled: bool,
    created_at: i64,
}

impl AccountRow {
    pub(crate) fn read(self) -> Result<Account, StoreError> {
        Ok(Account {
            name: account_name(&self.name)?,
            id: self.id,
            kind: word(&self.kind)?,
            email: self.email.map(|text| text.0),
            email_verified: self.email_verified,
            superuser: self.superuser,
            enabled: self.enabled,
            created_at: timestamp(self.created_at)?,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct TeamRow {
    organization: String,
    name: String,
    role: String,
}

impl TeamRow {
    fn read(self) -> Result<Team, StoreError> {
        Ok(Team {
            organization: NamespaceName::parse(&self.organization)
                .map_err(|error| StoreError::corrupt("organization", error))?,
            name: TeamName::parse(&self.name).map_err(|error| StoreError::corrupt("team", error))?,
            role: word(&self.role)?,
        })
    }
}

pub(crate) fn account_name(text: &str) -> Result<AccountName, StoreError> {
    AccountName::parse(text).map_err(|error| StoreError::corrupt("account name", error))
}

pub(crate) fn word<T: std::str::FromStr<Err = UnknownWord>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error| StoreError::corrupt("word", error))
}
