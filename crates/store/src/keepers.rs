//! Who looks after a notification, and how they are told what befell it.

use std::collections::BTreeSet;

use bellbuoy_domain::{
    AccountKind, AccountName, Grantee, InAppKind, Notification, RepositoryName, RepositoryRole, Scope,
    TeamRole,
};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    InboxRow, StoreError,
    call::values,
    directory::{Account, AccountRow, find_account, read_accounts},
    inbox,
    repositories::PermissionRow,
    sql_directory as texts,
    writing::Writing,
};

/// Adds one item for each user who looks after `notification`.
pub(crate) async fn tell_of_disabling(
    writing: &mut Writing,
    notification: &Notification,
    reason: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    // Not derived from anything: each disabling is told of anew.
    let delivery = Uuid::new_v4().into();
    let metadata = what_was_disabled(notification, reason);
    let rows = keepers(writing, &notification.scope).await?.into_iter().map(|name| InboxRow {
        delivery,
        target_kind: "user".to_owned(),
        target: name.to_string(),
        kind: InAppKind::NotificationDisabled,
        metadata: metadata.clone(),
        created_at: at,
    });
    inbox::add(writing, &rows.collect::<Vec<_>>()).await
}

/// Nothing of its settings: a URL can be a secret.
fn what_was_disabled(notification: &Notification, reason: &str) -> Map<String, Value> {
    let mut told = Map::new();
    match &notification.scope {
        Scope::Registry => {}
        scope => drop(told.insert(scope.word().to_owned(), scope.name().into())),
    }
    told.insert("notification_uuid".to_owned(), notification.id.to_string().into());
    told.insert("title".to_owned(), notification.title.as_deref().into());
    told.insert("method".to_owned(), notification.method.as_str().into());
    told.insert("message".to_owned(), reason.into());
    told
}

/// The users who administer a place: those who own its namespace, and those who are granted a repository's
/// administration by themselves or with their team. The superusers where there is nobody else.
async fn keepers(writing: &mut Writing, scope: &Scope) -> Result<BTreeSet<AccountName>, StoreError> {
    let mut found = match scope {
        Scope::Registry => Vec::new(),
        Scope::Namespace(namespace) => owners(writing, namespace).await?,
        Scope::Repository(name) => {
            let mut found = owners(writing, name.namespace()).await?;
            found.extend(admins(writing, name).await?);
            found
        }
    };
    found.retain(is_reader);
    if found.is_empty() {
        found = read_accounts(writing.fetch(texts::SUPERUSERS, &[]).await?)?;
        found.retain(is_reader);
    }
    Ok(found.into_iter().map(|account| account.name).collect())
}

/// Robots read nothing, and who may not sign in reads nothing either.
fn is_reader(account: &Account) -> bool {
    account.kind == AccountKind::User && account.enabled
}

async fn owners(writing: &mut Writing, namespace: &str) -> Result<Vec<Account>, StoreError> {
    let Ok(name) = AccountName::parse(namespace) else { return Ok(Vec::new()) };
    match find_account(writing, &name).await? {
        Some(account) if account.kind == AccountKind::Organization => {
            let values = values![namespace, TeamRole::Admin.name()];
            read_accounts(writing.fetch(texts::MEMBERS_OF_ORGANIZATION, &values).await?)
        }
        account => Ok(account.into_iter().collect()),
    }
}

async fn admins(writing: &mut Writing, repository: &RepositoryName) -> Result<Vec<Account>, StoreError> {
    let rows: Vec<PermissionRow> = writing.fetch(texts::PERMISSIONS, &values![repository.as_str()]).await?;
    let mut found = Vec::new();
    for row in rows {
        let permission = row.read()?;
        if permission.role != RepositoryRole::Admin {
            continue;
        }
        let accounts: Vec<AccountRow> = match &permission.grantee {
            Grantee::Account(name) => writing.fetch(texts::ACCOUNT, &values![name.as_str()]).await?,
            Grantee::Team { organization, team } => {
                let values = values![organization.as_str(), team.as_str()];
                writing.fetch(texts::MEMBERS_OF_TEAM, &values).await?
            }
        };
        found.extend(read_accounts(accounts)?);
    }
    Ok(found)
}
