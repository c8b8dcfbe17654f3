//! To whom the mail of a namespace goes.

use bellbuoy_domain::{EmailAddress, NamespaceName};

use crate::{Account, Store, StoreError};

/// The addresses of those to whom a namespace belongs: verified ones, of accounts that are not shut out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mailboxes {
    /// The organization's own, which is its contact's; a user's, where the namespace is a user's.
    pub contact: Option<EmailAddress>,
    /// Those of the organization's owners, each once.
    pub owners: Vec<EmailAddress>,
}

impl Mailboxes {
    /// Whether somebody to whom the namespace belongs reads the mail of `address`.
    pub fn has(&self, address: &EmailAddress) -> bool {
        self.contact.as_ref() == Some(address) || self.owners.contains(address)
    }

    /// To whom is written what is for all of them: to the contact or, where there is none, to every owner.
    pub fn usual(self) -> Vec<EmailAddress> {
        self.contact.map_or(self.owners, |contact| vec![contact])
    }
}

impl Store {
    /// The addresses of those to whom a namespace belongs at this moment.
    pub async fn mailboxes_of(&self, namespace: &NamespaceName) -> Result<Mailboxes, StoreError> {
        let contact = self.account(&namespace.clone().into()).await?;
        let mut owners = Vec::new();
        for owner in self.owners_of_organization(namespace).await? {
            owners.extend(mailbox(owner).filter(|address| !owners.contains(address)));
        }
        Ok(Mailboxes { contact: contact.and_then(mailbox), owners })
    }
}

fn mailbox(account: Account) -> Option<EmailAddress> {
    let email = account.email.filter(|_| account.email_verified && account.enabled);
    email.and_then(|email| EmailAddress::parse(&email))
}
