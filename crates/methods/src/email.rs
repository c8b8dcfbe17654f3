//! The `email` method: a mail to those who have agreed to be written to.

use bellbuoy_domain::{
    CauseCode, EmailAddress, EmailConfig, NamespaceName, Registry, RepositoryName, Scope, Subject,
};
use bellbuoy_store::{Store, StoreError};

use crate::{
    Attempt, Report,
    attempt::OurStore,
    smtp::{Mail, Mailer},
};

/// The most that one mail is addressed to: what every server takes ([RFC 5321, section 4.5.3.1.8]). An organization has few
/// owners; of more than these the rest is not written to.
///
/// [RFC 5321, section 4.5.3.1.8]: https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1.8
const MOST_RECIPIENTS: usize = 100;

/// So many attempts wait for all recipients, who may be greylisted. Those that follow do without whoever is still refused for
/// now, so that one full mailbox keeps no mail from the others.
const ATTEMPTS_FOR_ALL: u32 = 3;

/// Sends the event as one mail, whatever number of people it goes to. The same delivery has the same `Message-ID` however often
/// it is tried, so that a mail which came twice can be told from two.
///
/// Nobody is written to who has not agreed, whatever the notification says: that is final, and so is a subject
/// or text of the owner's that can't be filled. Trouble of the store is our own fault.
pub(crate) async fn attempt(
    mailer: &Mailer,
    ours: OurStore<'_>,
    registry: &Registry,
    config: &EmailConfig,
    attempt: &Attempt<'_>,
) -> Report {
    let scope = &attempt.notification.scope;
    let asking = recipients(ours.store, scope, &attempt.event.subject, config.address.as_ref());
    let to = match ours.waited(asking).await {
        Ok(to) if to.is_empty() => return Report::rejected(None, CauseCode::NoRecipient, nobody(scope)),
        Ok(to) => to,
        Err(why) => return Report::deferred(CauseCode::Internal, why),
    };
    let letter = match config.letter(attempt.event, attempt.checked.format, registry) {
        Ok(letter) => letter,
        Err(error) => return Report::rejected(None, CauseCode::Template, error.to_string()),
    };
    let mail = Mail {
        to: &to,
        waits_for_all: attempt.number <= ATTEMPTS_FOR_ALL,
        letter: &letter,
        id: &attempt.delivery.to_string(),
        event: Some(attempt.event),
        now: attempt.now,
    };
    mailer.send(&mail).await
}

/// Why nobody is written to.
fn nobody(scope: &Scope) -> &'static str {
    match scope {
        Scope::Namespace(_) => "neither the namespace's contact nor any of its owners has a verified address",
        Scope::Repository(_) | Scope::Registry => "the address was not confirmed for the repository",
    }
}

/// Who is written to: whoever confirmed `address` for the event's repository; of a namespace's notification, those to whom
/// the namespace belongs at this moment, or the one of them whose address it is. A notification of the whole registry
/// is the operator's own, who answers for its address.
async fn recipients(
    store: &Store,
    scope: &Scope,
    subject: &Subject,
    address: Option<&EmailAddress>,
) -> Result<Vec<EmailAddress>, StoreError> {
    match (scope, subject) {
        (Scope::Registry, _) => Ok(Vec::from_iter(address.cloned())),
        (Scope::Repository(_), Subject::Repository(repository)) => {
            Ok(Vec::from_iter(confirmed(store, repository, address).await?))
        }
        (Scope::Repository(_), _) => Ok(Vec::new()),
        (Scope::Namespace(namespace), _) => of_namespace(store, namespace, subject, address).await,
    }
}

async fn confirmed(
    store: &Store,
    repository: &RepositoryName,
    address: Option<&EmailAddress>,
) -> Result<Option<EmailAddress>, StoreError> {
    let Some(address) = address else { return Ok(None) };
    Ok(store.email_confirmed(repository, address.as_str()).await?.then(|| address.clone()))
}

/// An address that was one of theirs and is not any more is passed over: the namespace's mail stays its people's.
async fn of_namespace(
    store: &Store,
    namespace: &str,
    subject: &Subject,
    address: Option<&EmailAddress>,
) -> Result<Vec<EmailAddress>, StoreError> {
    if let Subject::Repository(repository) = subject
        && let Some(address) = confirmed(store, repository, address).await?
    {
        return Ok(vec![address]);
    }
    let Ok(namespace) = NamespaceName::parse(namespace) else { return Ok(Vec::new()) };
    let mailboxes = store.mailboxes_of(&namespace).await?;
    if let Some(address) = address.filter(|address| mailboxes.has(address)) {
        return Ok(vec![address.clone()]);
    }
    let mut everybody = mailboxes.usual();
    everybody.truncate(MOST_RECIPIENTS);
    Ok(everybody)
}
