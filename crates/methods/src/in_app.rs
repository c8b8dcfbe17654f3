//! The `quay_notification` method: a row in the in-app area.

use bellbuoy_domain::{CauseCode, InAppTarget, Registry, Scope, TargetKind, quay};
use bellbuoy_store::{InboxRow, Store};

use crate::{Attempt, Report};

/// Adds the event to the target's in-app area, once however often it is called for a delivery.
///
/// Trouble of the store is our own fault and never spends an attempt.
pub(crate) async fn attempt(
    store: &Store,
    registry: &Registry,
    target: &InAppTarget,
    attempt: &Attempt<'_>,
) -> Report {
    let row = InboxRow {
        delivery: attempt.delivery,
        target_kind: target.kind.name().to_owned(),
        target: address(target, &attempt.notification.scope),
        kind: attempt.event.kind,
        metadata: quay::payload(attempt.event, registry),
        created_at: attempt.now,
    };
    match store.add_to_inbox(&[row]).await {
        Ok(()) => Report::delivered(None),
        Err(error) => Report::deferred(CauseCode::Internal, error.to_string()),
    }
}

/// The target's name in the store. A team's is `namespace/team`, because every organization may
/// have a team of the same name, and none may read another's.
fn address(target: &InAppTarget, scope: &Scope) -> String {
    let namespace = match scope {
        Scope::Repository(repository) => repository.namespace(),
        Scope::Namespace(namespace) => namespace,
        Scope::Registry => "",
    };
    match target.kind {
        TargetKind::Team => format!("{namespace}/{}", target.name),
        TargetKind::User | TargetKind::Org => target.name.clone(),
    }
}
