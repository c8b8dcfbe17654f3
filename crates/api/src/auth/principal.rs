//! Who asks, and what they may do.
//!
//! A handler takes a [`Caller`]; [`crate::auth::guard`] has put it there. It asks for a right at a place before it does
//! anything there: [`Caller::need`] where the caller named the place, [`Caller::owns`] where it named an id, whose
//! existence is a secret.

use std::{net::IpAddr, sync::Arc};

use axum::extract::FromRequestParts;
use bellbuoy_domain::{
    Notification, NotificationId, RepositoryName, Right, Scope, Standing, TeamRole, TokenScopes, Verdict,
    judge,
};
use bellbuoy_store::{Account, AuditEntry, Store};
use http::{StatusCode, request::Parts};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::registry::Grant;
use crate::{App, now, problem::Problem, server::Peer};

/// Who made a request, by which credential, from where.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    who: Who,
    scopes: TokenScopes,
    until: Option<Timestamp>,
    address: Option<IpAddr>,
    sees_all: bool,
}

/// Whose credential it is.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// The holder of the settings' admin token.
    Operator,
    /// The holder of a token that is nobody's in particular: it stands for the registry, within its scopes.
    Registry {
        /// The token.
        token: Uuid,
    },
    /// An account that is enabled.
    Account(Box<Account>),
    /// The holder of a token of the registry's own, which is to repositories what the token says.
    Granted(Box<Grant>),
}

impl Caller {
    pub(crate) fn new(who: Who, scopes: TokenScopes, address: Option<IpAddr>) -> Self {
        Self::ending(who, scopes, None, address)
    }

    /// One whose credential is good until then.
    pub(crate) fn ending(
        who: Who,
        scopes: TokenScopes,
        until: Option<Timestamp>,
        address: Option<IpAddr>,
    ) -> Self {
        Self(Arc::new(Inner { who, scopes, until, address, sees_all: false }))
    }

    /// The same, for a request that it is to be shown the answer to as if it were a superuser's.
    pub(super) fn seeing_all(self) -> Self {
        Self(Arc::new(Inner { sees_all: true, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// Until when its credential is good, if it is one with an end: what it makes must not outlive it.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        self.0.until
    }

    /// An account that has just shown its password.
    pub(crate) fn signed_in(account: Account, peer: Option<Peer>) -> Self {
        Self::new(Who::Account(Box::new(account)), TokenScopes::all(), peer.map(|Peer(address)| address))
    }

    /// What its credential may be used for.
    pub(crate) fn scopes(&self) -> &TokenScopes {
        &self.0.scopes
    }

    /// Its account, if it has one.
    pub(crate) fn account(&self) -> Option<&Account> {
        match &self.0.who {
            Who::Account(account) => Some(account),
            Who::Operator | Who::Registry { .. } | Who::Granted(_) => None,
        }
    }

    /// Whom a token of the registry's own was given to, if that is its credential. What it may do ends with that, so it
    /// must change nothing of who may do what.
    pub(crate) fn granted_to(&self) -> Option<&str> {
        match &self.0.who {
            Who::Granted(grant) => Some(&grant.subject),
            Who::Operator | Who::Registry { .. } | Who::Account(_) => None,
        }
    }

    /// A new notification, with who made it.
    pub(crate) fn authored(&self, notification: Notification) -> Notification {
        Notification { author: self.account().map(|account| account.id), ..notification }
    }

    /// How the audit calls it.
    pub(crate) fn actor(&self) -> String {
        match &self.0.who {
            Who::Operator => "token:admin".to_owned(),
            Who::Registry { token } => format!("token:{token}"),
            Who::Account(account) => account.name.to_string(),
            Who::Granted(grant) => format!("registry:{}", grant.subject),
        }
    }

    /// What it is to `place`.
    pub(crate) async fn standing(&self, store: &Store, place: &Scope) -> Result<Standing, Problem> {
        let account = match &self.0.who {
            Who::Operator | Who::Registry { .. } => return Ok(Standing::Superuser),
            Who::Account(account) if account.superuser || self.0.sees_all => return Ok(Standing::Superuser),
            Who::Account(account) => account,
            Who::Granted(grant) => {
                return Ok(match place {
                    Scope::Repository(name) => grant.standing(name),
                    Scope::Namespace(_) | Scope::Registry => Standing::Stranger,
                });
            }
        };
        match place {
            Scope::Registry => Ok(Standing::Stranger),
            Scope::Namespace(namespace) => in_namespace(store, account, namespace).await,
            Scope::Repository(name) => on_repository(store, account, name).await,
        }
    }

    /// Whether it has `right` at `place`, and what it is told if not.
    pub(crate) async fn judge(&self, app: &App, right: Right, place: &Scope) -> Result<Verdict, Problem> {
        let mut standing = self.standing(&app.api.store, place).await?;
        if self.granted_to().is_some() && right == Right::Repositories {
            standing = standing.min(Standing::Writer);
        }
        Ok(judge(right, place, standing, &self.0.scopes))
    }

    /// Refuses a caller without `right` at a place that it named: 403, or 404 where it may not know of the place.
    pub(crate) async fn need(&self, app: &App, right: Right, place: &Scope) -> Result<(), Problem> {
        match self.judge(app, right, place).await? {
            Verdict::Allowed => Ok(()),
            Verdict::Forbidden => Err(forbidden(right, place)),
            Verdict::Hidden => {
                let (word, name) = (place.word(), place.name());
                Err(Problem::not_found(format!("there is no {word} {name} that this credential may see")))
            }
        }
    }

    /// Refuses a caller that is no superuser with [`Right::Directory`].
    pub(crate) async fn need_superuser(&self, app: &App) -> Result<(), Problem> {
        self.need(app, Right::Directory, &Scope::Registry).await
    }

    /// Whether it administers what notifications of `place` do, so that it may know what exists there.
    pub(crate) async fn owns(&self, app: &App, place: &Scope) -> Result<bool, Problem> {
        Ok(self.judge(app, Right::Notifications, place).await? == Verdict::Allowed)
    }

    /// The notification of that id, if there is one and the caller administers it. Whose it is otherwise is a secret.
    pub(crate) async fn notification(
        &self,
        app: &App,
        id: NotificationId,
    ) -> Result<Option<Notification>, Problem> {
        let Some(found) = app.api.store.notification(id).await? else { return Ok(None) };
        Ok(self.owns(app, &found.scope).await?.then_some(found))
    }

    /// Whether it may know what became of a notification's events. Those of one that is gone, or that never belonged
    /// to any, are for superusers.
    pub(crate) async fn knows(&self, app: &App, id: Option<NotificationId>) -> Result<bool, Problem> {
        if self.owns(app, &Scope::Registry).await? {
            return Ok(true);
        }
        let Some(id) = id else { return Ok(false) };
        Ok(self.notification(app, id).await?.is_some())
    }

    /// What the audit keeps of a change.
    pub(crate) fn entry(
        &self,
        action: &str,
        target: &impl ToString,
        place: &Scope,
        details: Map<String, Value>,
    ) -> AuditEntry {
        AuditEntry {
            id: Uuid::new_v4(),
            at: now(),
            actor: self.actor(),
            address: self.0.address.map(|address| address.to_string()),
            action: action.to_owned(),
            target: target.to_string(),
            place: place.name().to_owned(),
            details,
        }
    }

    /// The store, whose next change is written down as `action` by this caller.
    pub(crate) fn audited(&self, app: &App, action: &str, notification: &Notification) -> Store {
        let mut details = Map::new();
        details.insert("method".to_owned(), notification.method.as_str().into());
        details.insert("title".to_owned(), notification.title.as_deref().into());
        details.insert("kinds".to_owned(), notification.kinds.iter().map(|kind| kind.name()).collect());
        app.api.store.audited(self.entry(action, &notification.id, &notification.scope, details))
    }
}

pub(crate) fn forbidden(right: Right, place: &Scope) -> Problem {
    let need = right.need(place);
    let (word, name) = (place.word(), place.name());
    let of = if name.is_empty() { word.to_owned() } else { format!("{word} {name}") };
    let who = match need.standing {
        Standing::Superuser => "a superuser",
        _ => "an administrator",
    };
    let detail = format!("this takes {who} of the {of}, and a credential with the scope `{}`", need.scope);
    Problem::new(StatusCode::FORBIDDEN, detail)
}

async fn in_namespace(store: &Store, account: &Account, namespace: &str) -> Result<Standing, Problem> {
    if account.name.as_str() == namespace {
        return Ok(Standing::Admin);
    }
    let role = store.role_in(&account.name, namespace).await?;
    Ok(role.map_or(Standing::Stranger, Standing::from))
}

/// Being a member of the organization is nothing to a repository there; owning it is everything.
async fn on_repository(store: &Store, account: &Account, name: &RepositoryName) -> Result<Standing, Problem> {
    let namespace = name.namespace();
    let owns = account.name.as_str() == namespace
        || store.role_in(&account.name, namespace).await? == Some(TeamRole::Admin);
    if owns {
        return Ok(Standing::Admin);
    }
    if let Some(role) = store.role_on(&account.name, name).await? {
        return Ok(role.into());
    }
    let is_public = store.repository(name).await?.is_some_and(|repository| repository.public);
    Ok(if is_public { Standing::Reader } else { Standing::Stranger })
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("{} is served without anybody having been asked for", parts.uri.path());
            Problem::internal()
        })
    }
}
