//! What only the directory can say of a notification's settings: whether those whom it would tell are there, and have
//! agreed to be told.

use bellbuoy_domain::{
    AccountKind, AccountName, ConfigError, EmailAddress, InAppTarget, MethodConfig, MethodName,
    NamespaceName, Scope, TargetKind, TeamName,
};
use bellbuoy_store::{Store, StoreError};
use serde_json::{Map, Value};

use crate::problem::Problem;

/// Checks the settings of `method`, the directory's part last.
///
/// # Errors
///
/// 400 with the first thing that will not do, in Quay's words where Quay has any.
pub(crate) async fn check(
    store: &Store,
    method: MethodName,
    config: &Map<String, Value>,
    scope: &Scope,
) -> Result<(), Problem> {
    let fault = match MethodConfig::parse(method, config, scope) {
        Ok(MethodConfig::QuayNotification(target)) => is_there(store, &target, scope).await?,
        Ok(MethodConfig::Email(email)) => match &email.address {
            Some(address) => has_agreed(store, address, scope).await?,
            None => Ok(()),
        },
        Ok(_) => Ok(()),
        // An organization that is not there is none, whosesoever it would be.
        Err(ConfigError::OtherOrganization) => {
            let name = config.get("target").and_then(|target| target["name"].as_str()).unwrap_or_default();
            let known = is_account(store, name, AccountKind::Organization).await?;
            Err(if known { ConfigError::OtherOrganization } else { unknown(TargetKind::Org, name) })
        }
        Err(fault) => Err(fault),
    };
    fault.map_err(|fault| Problem::bad(fault.to_string()))
}

async fn is_there(
    store: &Store,
    target: &InAppTarget,
    scope: &Scope,
) -> Result<Result<(), ConfigError>, StoreError> {
    let found = match target.kind {
        TargetKind::User => is_account(store, &target.name, AccountKind::User).await?,
        TargetKind::Org => is_account(store, &target.name, AccountKind::Organization).await?,
        TargetKind::Team => is_team(store, scope, &target.name).await?,
    };
    Ok(if found { Ok(()) } else { Err(unknown(target.kind, &target.name)) })
}

async fn is_account(store: &Store, name: &str, kind: AccountKind) -> Result<bool, StoreError> {
    let Ok(name) = AccountName::parse(name) else { return Ok(false) };
    Ok(store.account(&name).await?.is_some_and(|account| account.kind == kind))
}

async fn is_team(store: &Store, scope: &Scope, team: &str) -> Result<bool, StoreError> {
    let namespace = match scope {
        Scope::Repository(repository) => repository.namespace(),
        Scope::Namespace(namespace) => namespace,
        Scope::Registry => "",
    };
    match (NamespaceName::parse(namespace), TeamName::parse(team)) {
        (Ok(organization), Ok(team)) => Ok(store.team(&organization, &team).await?.is_some()),
        _ => Ok(false),
    }
}

/// Whoever reads a repository's mail agreed to it, and a namespace's is for its own people. The registry's goes where its
/// operator says.
async fn has_agreed(
    store: &Store,
    address: &EmailAddress,
    scope: &Scope,
) -> Result<Result<(), ConfigError>, StoreError> {
    let (agreed, fault) = match scope {
        Scope::Repository(repository) => {
            (store.email_confirmed(repository, address.as_str()).await?, ConfigError::UnconfirmedEmail)
        }
        Scope::Namespace(namespace) => match NamespaceName::parse(namespace) {
            Ok(name) => (store.mailboxes_of(&name).await?.has(address), ConfigError::ForeignEmail),
            Err(_) => (false, ConfigError::ForeignEmail),
        },
        Scope::Registry => return Ok(Ok(())),
    };
    Ok(if agreed { Ok(()) } else { Err(fault) })
}

fn unknown(kind: TargetKind, name: &str) -> ConfigError {
    let name = name.chars().filter(|letter| !letter.is_control()).take(80).collect();
    match kind {
        TargetKind::User => ConfigError::UnknownUser(name),
        TargetKind::Team => ConfigError::UnknownTeam(name),
        TargetKind::Org => ConfigError::UnknownOrganization(name),
    }
}
