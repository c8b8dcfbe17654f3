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
        Ok(MethodConfig::Email(email)) => has_agreed(store, &email.address, scope).await?,
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

/// Whoever reads a repository's mail agreed to it. A namespace's goes to its own people, and the registry's where
/// its operator says: that is judged when it is sent.
async fn has_agreed(
    store: &Store,
    address: &EmailAddress,
    scope: &Scope,
) -> Result<Result<(), ConfigError>, StoreError> {
    let Scope::Repository(repository) = scope else { return Ok(Ok(())) };
    let agreed = store.email_confirmed(repository, address.as_str()).await?;
    Ok(if agreed { Ok(()) } else { Err(ConfigError::UnconfirmedEmail) })
}

fn unknown(kind: TargetKind, name: &str) -> ConfigError {
    let name = name.chars().filter(|letter| !letter.is_control()).take(80).collect();
    match kind {
        TargetKind::User => ConfigError::UnknownUser(name),
        TargetKind::Team => ConfigError::UnknownTeam(name),
        TargetKind::Org => ConfigError::UnknownOrganization(name),
    }
}
