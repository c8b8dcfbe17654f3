//! Repositories: who may do what with each, and which addresses may be written to about it.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use bellbuoy_domain::{AccountName, Grantee, NamespaceName, RepositoryName, RepositoryRole, TeamRole};
use jiff::Timestamp;
use sqlx::FromRow;

use crate::{
    Store, StoreError,
    call::values,
    directory::{DirectoryError, Put, again, forget_repositories, need_account, need_team, word},
    follow::raise,
    page::limit,
    sql_directory as texts,
    text::Text,
    value::timestamp,
    writing::{Writing, retried},
};

/// The most names that are remembered as known.
const REMEMBERED: usize = 10_000;

/// Repositories that the directory is known to hold: events tell of the same ones over and over. Each deletion, by
/// whatever process, raises the version of the notifications, and then all are forgotten.
#[derive(Default)]
pub(crate) struct KnownRepositories(Mutex<Known>);

#[derive(Default)]
struct Known {
    names: HashSet<RepositoryName>,
    /// At which version of the notifications they were there.
    version: i64,
}

impl KnownRepositories {
    /// Those that are not known to be there at `version`.
    fn new_ones<'a>(&self, names: &'a [RepositoryName], version: i64) -> Vec<&'a RepositoryName> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.go_on_to(version);
        names.iter().filter(|name| !known.names.contains(*name)).collect()
    }

    /// Remembers what was written after `version` was read: one that was read later could be that of a deletion that
    /// came in between.
    fn add(&self, names: &[&RepositoryName], version: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.go_on_to(version);
        if known.version > version {
            return;
        }
        if known.names.len() + names.len() > REMEMBERED {
            known.names.clear();
        }
        known.names.extend(names.iter().take(REMEMBERED).map(|name| (*name).clone()));
    }
}

impl Known {
    fn go_on_to(&mut self, version: i64) {
        if version > self.version {
            self.names.clear();
            self.version = version;
        }
    }
}

/// A repository that is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its name.
    pub name: RepositoryName,
    /// Whether everybody may pull from it, and so know that it exists.
    pub public: bool,
    /// When it was made or first heard of.
    pub created_at: Timestamp,
}

/// A role that somebody is granted on a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// Who.
    pub grantee: Grantee,
    /// What they may do.
    pub role: RepositoryRole,
}

/// An address that asked, or was asked, to be written to about a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedEmail {
    /// The repository.
    pub repository: RepositoryName,
    /// The address as it was given. Compared byte by byte.
    pub email: String,
    /// Whether whoever reads its mail has agreed.
    pub confirmed: bool,
    /// When a code was last sent to it.
    pub requested_at: Timestamp,
}

impl Store {
    /// One repository.
    pub async fn repository(&self, name: &RepositoryName) -> Result<Option<Repository>, StoreError> {
        let row: Option<RepositoryRow> = self.fetch_one(texts::REPOSITORY, &values![name.as_str()]).await?;
        row.map(RepositoryRow::read).transpose()
    }

    /// A page of all repositories, or of one namespace's, in the order of their names from after `after`.
    pub async fn repositories(
        &self,
        namespace: Option<&NamespaceName>,
        after: Option<&str>,
        most: u32,
    ) -> Result<Vec<Repository>, StoreError> {
        let (after, limit) = (after.unwrap_or_default(), limit(most));
        let rows: Vec<RepositoryRow> = match namespace {
            Some(namespace) => {
                self.fetch(texts::REPOSITORIES_IN, &values![namespace.as_str(), after, limit]).await?
            }
            None => self.fetch(texts::REPOSITORIES, &values![after, limit]).await?,
        };
        rows.into_iter().map(RepositoryRow::read).collect()
    }

    /// Adds a repository, or changes whether it is public.
    pub async fn put_repository(&self, repository: &Repository) -> Result<Put, StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            let put = put_repository(&mut writing, repository).await?;
            writing.end_put(put).await
        })
        .await
    }

    /// Adds a repository that is not there yet, and makes `admin` its administrator. False when it is there already,
    /// and then it stays as it is.
    ///
    /// # Errors
    ///
    /// When there is no such account.
    pub async fn create_repository(
        &self,
        repository: &Repository,
        admin: Option<&AccountName>,
    ) -> Result<bool, DirectoryError> {
        let name = &repository.name;
        again(async || {
            let mut writing = self.write().await?;
            let at = repository.created_at.as_millisecond();
            let values = values![name.as_str(), name.namespace(), repository.public, at];
            if writing.run(texts::ADD_REPOSITORY, &values).await? == 0 {
                writing.give_up().await?;
                return Ok(false);
            }
            if let Some(admin) = admin {
                let grantee = Grantee::Account(admin.clone());
                let permission = Permission { grantee, role: RepositoryRole::Admin };
                grant(&mut writing, name, &permission).await?;
            }
            writing.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Adds those that are not known yet, as private: events tell of repositories that nobody has entered. What comes
    /// before this process has heard of a deletion by another one ([`Store::changes`]) counts as before the deletion.
    pub async fn see_repositories(&self, names: &[RepositoryName], at: Timestamp) -> Result<(), StoreError> {
        let version = *self.inner.version.borrow();
        // In one order, so that two that see the same ones never wait for each other.
        let mut names: Vec<&RepositoryName> = self.inner.known.new_ones(names, version);
        if names.is_empty() {
            return Ok(());
        }
        names.sort_unstable();
        names.dedup();
        retried(async || {
            let mut writing = self.write().await?;
            writing
                .run_many(
                    &texts::SEE_REPOSITORIES,
                    &names,
                    |_| 0,
                    |name| values![name.as_str(), name.namespace(), false, at.as_millisecond()],
                )
                .await?;
            writing.commit().await
        })
        .await?;
        self.inner.known.add(&names, version);
        Ok(())
    }

    /// Removes a repository with its permissions, authorized addresses and notifications. False when there is none.
    pub async fn delete_repository(&self, name: &RepositoryName) -> Result<bool, StoreError> {
        let version = retried(async || {
            let mut writing = self.write().await?;
            if writing.run(texts::DELETE_REPOSITORY, &values![name.as_str()]).await? == 0 {
                writing.give_up().await?;
                return Ok(None);
            }
            let version = forget_repositories(&mut writing, "repository", name.as_str()).await?;
            writing.commit().await?;
            Ok(Some(version))
        })
        .await?;
        if let Some(version) = version {
            raise(&self.inner.version, version);
        }
        Ok(version.is_some())
    }

    /// Grants a role on a repository; whoever has another role there has this one now.
    ///
    /// # Errors
    ///
    /// When there is no such repository or grantee, or a team of another organization is named.
    pub async fn grant(
        &self,
        repository: &RepositoryName,
        permission: &Permission,
    ) -> Result<Put, DirectoryError> {
        again(async || {
            let mut writing = self.write().await?;
            writing.keep_repository(repository.as_str()).await?;
            let known: Vec<RepositoryRow> =
                writing.fetch(texts::REPOSITORY, &values![repository.as_str()]).await?;
            if known.is_empty() {
                return Err(DirectoryError::Missing { what: "repository", name: repository.to_string() });
            }
            let put = grant(&mut writing, repository, permission).await?;
            Ok(writing.end_put(put).await?)
        })
        .await
    }

    /// Takes away what somebody is granted on a repository. False when it was nothing.
    pub async fn revoke(&self, repository: &RepositoryName, grantee: &Grantee) -> Result<bool, StoreError> {
        let values = values![repository.as_str(), grantee.to_string()];
        Ok(self.write_one(texts::REVOKE, &values).await? > 0)
    }

    /// Everything that is granted on a repository.
    pub async fn permissions(&self, repository: &RepositoryName) -> Result<Vec<Permission>, StoreError> {
        let rows: Vec<PermissionRow> = self.fetch(texts::PERMISSIONS, &values![repository.as_str()]).await?;
        rows.into_iter().map(PermissionRow::read).collect()
    }

    /// The strongest role that an account has on a repository by permissions, its own and its teams'. Owning the
    /// namespace is apart: see [`Store::role_in`].
    pub async fn role_on(
        &self,
        account: &AccountName,
        repository: &RepositoryName,
    ) -> Result<Option<RepositoryRole>, StoreError> {
        let values = values![repository.as_str(), account.as_str(), repository.namespace()];
        strongest(&self.fetch(texts::ROLES_ON, &values).await?)
    }

    /// The strongest role that an account has in an organization by its teams.
    pub async fn role_in(
        &self,
        account: &AccountName,
        organization: &str,
    ) -> Result<Option<TeamRole>, StoreError> {
        strongest(&self.fetch(texts::ROLES_IN, &values![account.as_str(), organization]).await?)
    }

    /// Whether whoever reads the mail of `address` has agreed to hear of the repository.
    pub async fn email_confirmed(
        &self,
        repository: &RepositoryName,
        address: &str,
    ) -> Result<bool, StoreError> {
        Ok(self.authorized_email(repository, address).await?.is_some_and(|email| email.confirmed))
    }

    /// What is known of an address and a repository.
    pub async fn authorized_email(
        &self,
        repository: &RepositoryName,
        address: &str,
    ) -> Result<Option<AuthorizedEmail>, StoreError> {
        let row: Option<EmailRow> =
            self.fetch_one(texts::EMAIL, &values![repository.as_str(), address]).await?;
        row.map(EmailRow::read).transpose()
    }

    /// Every address of a repository, confirmed or not.
    pub async fn authorized_emails(
        &self,
        repository: &RepositoryName,
    ) -> Result<Vec<AuthorizedEmail>, StoreError> {
        let rows: Vec<EmailRow> = self.fetch(texts::EMAILS, &values![repository.as_str()]).await?;
        rows.into_iter().map(EmailRow::read).collect()
    }

    /// Notes that a code was sent to an address. `code` is the SHA-256 of it; it replaces an earlier one.
    /// False when the address is confirmed already.
    pub async fn request_email(
        &self,
        repository: &RepositoryName,
        address: &str,
        code: &[u8; 32],
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let values = values![repository.as_str(), address, code.as_slice(), at.as_millisecond()];
        Ok(self.write_one(texts::REQUEST_EMAIL, &values).await? > 0)
    }

    /// Confirms the address that was sent the code of that SHA-256, if it was sent at `since` or later. One that is
    /// confirmed already stays so, whenever its last code comes again. `None` when there is no such code, or no more:
    /// with an address that is forgotten its code is.
    pub async fn confirm_email(
        &self,
        code: &[u8; 32],
        since: Timestamp,
    ) -> Result<Option<AuthorizedEmail>, StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            let values = values![code.as_slice(), since.as_millisecond()];
            if writing.run(texts::CONFIRM_EMAIL, &values).await? == 0 {
                writing.give_up().await?;
                let known = self.email_by_code(code).await?;
                return Ok(known.filter(|known| known.confirmed));
            }
            let row: EmailRow = writing.one(texts::EMAIL_BY_CODE, &values![code.as_slice()]).await?;
            writing.commit().await?;
            row.read().map(Some)
        })
        .await
    }

    /// The address that was sent the code of that SHA-256.
    pub async fn email_by_code(&self, code: &[u8; 32]) -> Result<Option<AuthorizedEmail>, StoreError> {
        let row: Option<EmailRow> = self.fetch_one(texts::EMAIL_BY_CODE, &values![code.as_slice()]).await?;
        row.map(EmailRow::read).transpose()
    }

    /// Forgets an address, confirmed or not: it is written to no more. False when it was not known.
    pub async fn forget_email(&self, repository: &RepositoryName, address: &str) -> Result<bool, StoreError> {
        Ok(self.write_one(texts::FORGET_EMAIL, &values![repository.as_str(), address]).await? > 0)
    }
}

pub(crate) async fn put_repository(
    writing: &mut Writing,
    repository: &Repository,
) -> Result<Put, StoreError> {
    let name = repository.name.as_str();
    let known: Option<RepositoryRow> = writing.fetch(texts::REPOSITORY, &values![name]).await?.pop();
    if known.as_ref().is_some_and(|known| known.public == repository.public) {
        return Ok(Put::Same);
    }
    let values =
        values![name, repository.name.namespace(), repository.public, repository.created_at.as_millisecond()];
    writing.run(texts::PUT_REPOSITORY, &values).await?;
    Ok(if known.is_some() { Put::Changed } else { Put::Created })
}

/// On a repository that is known to be there.
pub(crate) async fn grant(
    writing: &mut Writing,
    repository: &RepositoryName,
    permission: &Permission,
) -> Result<Put, DirectoryError> {
    let grantee = permission.grantee.to_string();
    if !permission.grantee.fits(repository) {
        let what = "team of the repository's organization";
        return Err(DirectoryError::Missing { what, name: grantee });
    }
    match &permission.grantee {
        Grantee::Account(name) => need_account(writing, "account", name).await.map(drop)?,
        Grantee::Team { organization, team } => need_team(writing, organization, team).await?,
    }
    let place = values![repository.as_str(), grantee.as_str()];
    let known: Option<(String,)> = writing.fetch(texts::GRANTED, &place).await?.pop();
    if known.as_ref().is_some_and(|(role,)| role == permission.role.name()) {
        return Ok(Put::Same);
    }
    let values = values![repository.as_str(), grantee.as_str(), permission.role.name()];
    writing.run(texts::GRANT, &values).await?;
    Ok(if known.is_some() { Put::Changed } else { Put::Created })
}

fn strongest<T>(rows: &[(String,)]) -> Result<Option<T>, StoreError>
where
    T: Ord + std::str::FromStr<Err = bellbuoy_domain::UnknownWord>,
{
    let mut roles = rows.iter().map(|(role,)| word(role)).collect::<Result<Vec<T>, _>>()?;
    roles.sort_unstable();
    Ok(roles.pop())
}

fn repository_name(text: String) -> Result<RepositoryName, StoreError> {
    RepositoryName::parse(text).map_err(|error| StoreError::corrupt("repository", error))
}

#[derive(FromRow)]
pub(crate) struct RepositoryRow {
    name: String,
    public: bool,
    created_at: i64,
}

impl RepositoryRow {
    fn read(self) -> Result<Repository, StoreError> {
        Ok(Repository {
            name: repository_name(self.name)?,
            public: self.public,
            created_at: timestamp(self.created_at)?,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct PermissionRow {
    grantee: String,
    role: String,
}

impl PermissionRow {
    pub(crate) fn read(self) -> Result<Permission, StoreError> {
        let grantee = Grantee::parse(&self.grantee).map_err(|error| StoreError::corrupt("grantee", error))?;
        Ok(Permission { grantee, role: word(&self.role)? })
    }
}

#[derive(FromRow)]
pub(crate) struct EmailRow {
    repository: String,
    email: Text,
    confirmed: bool,
    requested_at: i64,
}

impl EmailRow {
    pub(crate) fn read(self) -> Result<AuthorizedEmail, StoreError> {
        Ok(AuthorizedEmail {
            repository: repository_name(self.repository)?,
            email: self.email.0,
            confirmed: self.confirmed,
            requested_at: timestamp(self.requested_at)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_a_deletion_is_not_remembered_after_it() {
        let known = KnownRepositories::default();
        let names = [RepositoryName::parse("acme/api").expect("a name")];
        let is_known = |version| known.new_ones(&names, version).is_empty();
        let remember = |version| known.add(&names.iter().collect::<Vec<_>>(), version);
        remember(4);
        assert!(is_known(4));
        assert!(!is_known(5), "a deletion");
        remember(4);
        assert!(!is_known(5), "written before it, perhaps, and told of after it");
        remember(6);
        assert!(is_known(6), "a version that was never asked for");
    }
}
