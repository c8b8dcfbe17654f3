//! A whole directory from one document, in one transaction: as often as wanted, with the same end.
//!
//! What the document names, it describes completely where it lists it: a team's `members`, an organization's `owners`,
//! a repository's `permissions` are afterwards just those. What it does not name or list stays as it is.

use std::collections::BTreeSet;

use bellbuoy_domain::{
    AccountKind, AccountName, EmailAddress, Grantee, NamespaceName, RepositoryName, RepositoryRole, TeamName,
    TeamRole,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Account, Permission, Put, Repository, Store, StoreError, Team,
    call::values,
    directory::{DirectoryError, add_member, again, put_account, put_team},
    repositories::{EmailRow, grant, put_repository},
    sql_directory as texts,
    writing::Writing,
};

/// The only version of the document.
pub const DIRECTORY_VERSION: u32 = 1;

/// The team that an organization's `owners` are in.
const OWNERS: &str = "owners";

/// Who there is, as a file says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryDocument {
    /// The version of this form.
    #[schemars(extend("const" = DIRECTORY_VERSION))]
    pub version: u32,
    /// Users.
    #[serde(default)]
    pub users: Vec<UserEntry>,
    /// Organizations and their teams.
    #[serde(default)]
    pub organizations: Vec<OrganizationEntry>,
    /// Robots.
    #[serde(default)]
    pub robots: Vec<RobotEntry>,
    /// Repositories and who may do what with them.
    #[serde(default)]
    pub repositories: Vec<RepositoryEntry>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    /// Its name.
    pub name: NamespaceName,
    /// Its address.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether the address is known to be theirs.
    #[serde(default)]
    pub email_verified: bool,
    /// Whether it may do everything.
    #[serde(default)]
    pub superuser: bool,
    /// Whether it may do anything.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganizationEntry {
    /// Its name.
    pub name: NamespaceName,
    /// The address of its contact.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether the address is known to be theirs.
    #[serde(default)]
    pub email_verified: bool,
    /// All who own it: the members of its team `owners`.
    #[serde(default)]
    pub owners: Option<Vec<AccountName>>,
    /// Some of its teams.
    #[serde(default)]
    pub teams: Vec<TeamEntry>,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamEntry {
    /// Its name.
    pub name: TeamName,
    /// What its members are to the organization.
    #[serde(default = "member")]
    pub role: TeamRole,
    /// All its members.
    #[serde(default)]
    pub members: Option<Vec<AccountName>>,
}

/// A robot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RobotEntry {
    /// Its name, `OWNER+NAME`.
    pub name: AccountName,
    /// Whether it may do anything.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryEntry {
    /// Its name.
    pub name: RepositoryName,
    /// Whether everybody may pull from it.
    #[serde(default)]
    pub public: bool,
    /// All who are granted something on it.
    #[serde(default)]
    pub permissions: Option<Vec<PermissionEntry>>,
    /// All addresses that agreed to get its mail.
    #[serde(default)]
    pub emails: Option<Vec<EmailAddress>>,
}

/// A role that somebody is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionEntry {
    /// Who: `ann`, `acme+ci` or, for a team, `acme/dev`.
    pub grantee: Grantee,
    /// What they may do.
    pub role: RepositoryRole,
}

/// What an import did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DirectoryChange {
    /// `create`, `change` or `remove`.
    pub action: String,
    /// `user`, `organization`, `robot`, `team`, `member`, `repository`, `permission` or `email`.
    pub what: String,
    /// Its name; a member's is `acme/dev: ann`, a permission's `acme/api: acme/dev`, an
    /// e-mail's `acme/api: ann@example.com`.
    pub name: String,
}

fn yes() -> bool {
    true
}

fn member() -> TeamRole {
    TeamRole::Member
}

impl Store {
    /// Makes the directory what `document` says, and tells what that changed: nothing the second time. With `dry_run`
    /// all of it is tried and none of it kept.
    ///
    /// # Errors
    ///
    /// The first entry that will not do; then nothing of the document is kept.
    pub async fn import_directory(
        &self,
        document: &DirectoryDocument,
        at: Timestamp,
        dry_run: bool,
    ) -> Result<Vec<DirectoryChange>, DirectoryError> {
        again(async || {
            let mut import = Import { writing: self.write().await?, at, changes: Vec::new() };
            import.run(document).await?;
            let Import { writing, changes, .. } = import;
            if dry_run || changes.is_empty() {
                writing.give_up().await?;
            } else {
                writing.commit().await?;
            }
            Ok(changes)
        })
        .await
    }
}

struct Import {
    writing: Writing,
    at: Timestamp,
    changes: Vec<DirectoryChange>,
}

impl Import {
    async fn run(&mut self, document: &DirectoryDocument) -> Result<(), DirectoryError> {
        for user in &document.users {
            self.account(AccountKind::User, &user.name.clone().into(), |account| Account {
                email: user.email.clone(),
                email_verified: user.email_verified,
                superuser: user.superuser,
                enabled: user.enabled,
                ..account
            })
            .await?;
        }
        for organization in &document.organizations {
            self.account(AccountKind::Organization, &organization.name.clone().into(), |account| Account {
                email: organization.email.clone(),
                email_verified: organization.email_verified,
                ..account
            })
            .await?;
        }
        for robot in &document.robots {
            self.account(AccountKind::Robot, &robot.name, |account| Account {
                enabled: robot.enabled,
                ..account
            })
            .await?;
        }
        for organization in &document.organizations {
            self.teams(organization).await?;
        }
        for repository in &document.repositories {
            self.repository(repository).await?;
        }
        Ok(())
    }

    async fn account(
        &mut self,
        kind: AccountKind,
        name: &AccountName,
        fill: impl FnOnce(Account) -> Account,
    ) -> Result<(), DirectoryError> {
        let account = fill(Account {
            name: name.clone(),
            id: Uuid::new_v4(),
            kind,
            email: None,
            email_verified: false,
            superuser: false,
            enabled: true,
            created_at: self.at,
        });
        let put = put_account(&mut self.writing, &account).await?;
        self.told(put, kind.name(), name);
        Ok(())
    }

    async fn teams(&mut self, organization: &OrganizationEntry) -> Result<(), DirectoryError> {
        if let Some(owners) = &organization.owners {
            let name = TeamName::parse(OWNERS).map_err(|error| StoreError::corrupt("team", error))?;
            self.team(&organization.name, name, TeamRole::Admin, Some(owners)).await?;
        }
        for team in &organization.teams {
            let members = team.members.as_deref();
            self.team(&organization.name, team.name.clone(), team.role, members).await?;
        }
        Ok(())
    }

    async fn team(
        &mut self,
        organization: &NamespaceName,
        name: TeamName,
        role: TeamRole,
        members: Option<&[AccountName]>,
    ) -> Result<(), DirectoryError> {
        let shown = format!("{organization}/{name}");
        let team = Team { organization: organization.clone(), name, role };
        let put = put_team(&mut self.writing, &team).await?;
        self.told(put, "team", &shown);
        let Some(members) = members else { return Ok(()) };
        let place = values![organization.as_str(), team.name.as_str()];
        let known: Vec<(String,)> = self.writing.fetch(texts::MEMBER_NAMES, &place).await?;
        let wanted: BTreeSet<&str> = members.iter().map(AccountName::as_str).collect();
        for (gone,) in known.iter().filter(|(name,)| !wanted.contains(name.as_str())) {
            let values = values![organization.as_str(), team.name.as_str(), gone.as_str()];
            self.writing.run(texts::REMOVE_MEMBER, &values).await?;
            self.change("remove", "member", &format!("{shown}: {gone}"));
        }
        for member in members {
            let put = add_member(&mut self.writing, organization, &team.name, member).await?;
            self.told(put, "member", &format!("{shown}: {member}"));
        }
        Ok(())
    }

    async fn repository(&mut self, entry: &RepositoryEntry) -> Result<(), DirectoryError> {
        let name = &entry.name;
        let repository = Repository { name: name.clone(), public: entry.public, created_at: self.at };
        let put = put_repository(&mut self.writing, &repository).await?;
        self.told(put, "repository", name);
        if let Some(permissions) = &entry.permissions {
            self.permissions(name, permissions).await?;
        }
        if let Some(emails) = &entry.emails {
            self.emails(name, emails).await?;
        }
        Ok(())
    }

    // Whoever runs the registry vouches for them: no code was sent, so none can confirm them.
    async fn emails(&mut self, name: &RepositoryName, emails: &[EmailAddress]) -> Result<(), DirectoryError> {
        let known = self.writing.fetch::<EmailRow>(texts::EMAILS, &values![name.as_str()]).await?;
        let known = known.into_iter().map(EmailRow::read).collect::<Result<Vec<_>, _>>()?;
        for gone in known.iter().filter(|one| !emails.iter().any(|wanted| wanted.as_str() == one.email)) {
            self.writing.run(texts::FORGET_EMAIL, &values![name.as_str(), gone.email.as_str()]).await?;
            self.change("remove", "email", &format!("{name}: {}", gone.email));
        }
        for email in emails {
            let before = known.iter().find(|one| one.email == email.as_str());
            if before.is_some_and(|one| one.confirmed) {
                continue;
            }
            let code = Uuid::new_v4();
            let values =
                values![name.as_str(), email.as_str(), code.as_bytes().as_slice(), self.at.as_millisecond()];
            self.writing.run(texts::VOUCH_FOR_EMAIL, &values).await?;
            let action = if before.is_some() { "change" } else { "create" };
            self.change(action, "email", &format!("{name}: {email}"));
        }
        Ok(())
    }

    async fn permissions(
        &mut self,
        name: &RepositoryName,
        permissions: &[PermissionEntry],
    ) -> Result<(), DirectoryError> {
        let known: Vec<(String, String)> =
            self.writing.fetch(texts::PERMISSIONS, &values![name.as_str()]).await?;
        let wanted: BTreeSet<String> = permissions.iter().map(|one| one.grantee.to_string()).collect();
        for (gone, _) in known.iter().filter(|(grantee, _)| !wanted.contains(grantee)) {
            self.writing.run(texts::REVOKE, &values![name.as_str(), gone.as_str()]).await?;
            self.change("remove", "permission", &format!("{name}: {gone}"));
        }
        for PermissionEntry { grantee, role } in permissions {
            let permission = Permission { grantee: grantee.clone(), role: *role };
            let put = grant(&mut self.writing, name, &permission).await?;
            self.told(put, "permission", &format!("{name}: {grantee}"));
        }
        Ok(())
    }

    fn told(&mut self, put: Put, what: &str, name: &impl ToString) {
        match put {
            Put::Created => self.change("create", what, name),
            Put::Changed => self.change("change", what, name),
            Put::Same => {}
        }
    }

    fn change(&mut self, action: &str, what: &str, name: &impl ToString) {
        let (action, what) = (action.to_owned(), what.to_owned());
        self.changes.push(DirectoryChange { action, what, name: name.to_string() });
    }
}
