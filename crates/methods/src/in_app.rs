//! The `quay_notification` method: rows in the in-app area.

use bellbuoy_domain::{
    AccountKind, AccountName, CauseCode, InAppTarget, NamespaceName, Registry, Scope, TargetKind, TeamName,
    quay,
};
use bellbuoy_store::{InboxRow, Store, StoreError};

use crate::{Attempt, Report};

/// Adds the event to the in-app area of whoever the target is, once for each however often it is called for a
/// delivery. A target that nobody is (any more) is delivered to nobody, as Quay has it.
///
/// Trouble of the store is our own fault and never spends an attempt.
pub(crate) async fn attempt(
    store: &Store,
    registry: &Registry,
    target: &InAppTarget,
    attempt: &Attempt<'_>,
) -> Report {
    match tell(store, registry, target, attempt).await {
        Ok(()) => Report::delivered(None),
        Err(error) => Report::deferred(CauseCode::Internal, error.to_string()),
    }
}

async fn tell(
    store: &Store,
    registry: &Registry,
    target: &InAppTarget,
    attempt: &Attempt<'_>,
) -> Result<(), StoreError> {
    let (target_kind, readers) = readers(store, target, &attempt.notification.scope).await?;
    if readers.is_empty() {
        tracing::debug!(
            delivery.id = %attempt.delivery,
            "delivery {} is for nobody: there is no {} {}", attempt.delivery, target.kind.name(), target.name
        );
        return Ok(());
    }
    let metadata = quay::payload(attempt.event, registry);
    let row = |name: String| InboxRow {
        delivery: attempt.delivery,
        target_kind: target_kind.name().to_owned(),
        target: name,
        kind: attempt.event.kind.into(),
        metadata: metadata.clone(),
        created_at: attempt.now,
    };
    store.add_to_inbox(&readers.into_iter().map(row).collect::<Vec<_>>()).await
}

/// Whose area the target is: a user's own; that of each member that a team has at this moment, robots among them, so
/// that each puts away what is theirs; an organization's, which its owners share.
async fn readers(
    store: &Store,
    target: &InAppTarget,
    scope: &Scope,
) -> Result<(TargetKind, Vec<String>), StoreError> {
    let readers = match target.kind {
        TargetKind::User => account(store, &target.name, &[AccountKind::User, AccountKind::Robot]).await?,
        TargetKind::Org => account(store, &target.name, &[AccountKind::Organization]).await?,
        TargetKind::Team => members(store, &target.name, scope).await?,
    };
    let kind = if target.kind == TargetKind::Org { TargetKind::Org } else { TargetKind::User };
    Ok((kind, readers))
}

/// What nobody is now must wait for nobody who takes the name later.
async fn account(store: &Store, name: &str, kinds: &[AccountKind]) -> Result<Vec<String>, StoreError> {
    let Ok(name) = AccountName::parse(name) else { return Ok(Vec::new()) };
    let found = store.account(&name).await?.filter(|account| kinds.contains(&account.kind));
    Ok(found.into_iter().map(|account| account.name.to_string()).collect())
}

/// A team is one of the notification's own namespace: every organization may have a team of the same name.
async fn members(store: &Store, team: &str, scope: &Scope) -> Result<Vec<String>, StoreError> {
    let namespace = match scope {
        Scope::Repository(repository) => repository.namespace(),
        Scope::Namespace(namespace) => namespace,
        Scope::Registry => return Ok(Vec::new()),
    };
    let (Ok(namespace), Ok(team)) = (NamespaceName::parse(namespace), TeamName::parse(team)) else {
        return Ok(Vec::new());
    };
    let members = store.members_of_team(&namespace, &team).await?;
    Ok(members.into_iter().map(|account| account.name.to_string()).collect())
}
