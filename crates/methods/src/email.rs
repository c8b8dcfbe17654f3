//! The `email` method: a mail to an address that its owner has confirmed.

use bellbuoy_domain::{
    AccountName, CauseCode, EmailAddress, EmailConfig, Event, NamespaceName, Registry, Scope, Subject,
};
use bellbuoy_store::{Account, Store, StoreError};

use crate::{
    Attempt, Report,
    smtp::{Mail, Mailer},
};

/// Sends the event as a mail. The same delivery has the same `Message-ID` however often it is tried,
/// so that a mail which came twice can be told from two.
///
/// Nobody is written to who has not agreed, whatever the notification says: that is final, and so is a subject
/// or text of the owner's that can't be filled. Trouble of the store is our own fault.
pub(crate) async fn attempt(
    mailer: &Mailer,
    store: &Store,
    registry: &Registry,
    config: &EmailConfig,
    attempt: &Attempt<'_>,
) -> Report {
    match has_agreed(store, &attempt.notification.scope, attempt.event, &config.address).await {
        Ok(true) => {}
        Ok(false) => {
            let detail = "the address was not confirmed for the repository (for a namespace: is none of its owners' own)";
            return Report::rejected(None, CauseCode::NoRecipient, detail);
        }
        Err(error) => return Report::deferred(CauseCode::Internal, error.to_string()),
    }
    let letter = match config.letter(attempt.event, attempt.checked.format, registry) {
        Ok(letter) => letter,
        Err(error) => return Report::rejected(None, CauseCode::Template, error.to_string()),
    };
    let mail = Mail {
        to: &config.address,
        letter: &letter,
        id: &attempt.delivery.to_string(),
        event: Some(attempt.event),
        now: attempt.now,
    };
    mailer.send(&mail).await
}

/// Whether whoever reads the mail of `address` wants to hear of this: they confirmed it for the event's repository;
/// or it is the verified address of the event's namespace's contact or of one of its owners. A notification of the
/// whole registry is the operator's own, who answers for its address.
async fn has_agreed(
    store: &Store,
    scope: &Scope,
    event: &Event,
    address: &EmailAddress,
) -> Result<bool, StoreError> {
    if *scope == Scope::Registry {
        return Ok(true);
    }
    match &event.subject {
        Subject::Repository(repository) => store.email_confirmed(repository, address.as_str()).await,
        Subject::Namespace(namespace) => owns(store, namespace, address).await,
        Subject::Registry => Ok(false),
    }
}

async fn owns(store: &Store, namespace: &str, address: &EmailAddress) -> Result<bool, StoreError> {
    let Ok(namespace) = NamespaceName::parse(namespace) else { return Ok(false) };
    let mut accounts = store.owners_of_organization(&namespace).await?;
    if let Ok(name) = AccountName::parse(namespace.as_str()) {
        accounts.extend(store.account(&name).await?);
    }
    let is_theirs =
        |account: &Account| account.email_verified && account.email.as_deref() == Some(address.as_str());
    Ok(accounts.iter().any(is_theirs))
}
