//! Logins by password: whose, and until when. Of the cookie itself only its SHA-256 is kept.

use bellbuoy_domain::AccountName;
use jiff::Timestamp;

use crate::{
    Account, Store, StoreError,
    call::values,
    directory::{account_name, find_account},
    sql_directory as texts,
    writing::{Writing, retried},
};

impl Store {
    /// Begins a session of an account, known by this SHA-256, and forgets those of everybody that have expired. False
    /// when whoever had the password has it no more: the account is gone or disabled, its name is another one's, or
    /// `password` is not the hash of its password any longer.
    pub async fn begin_session(
        &self,
        account: &Account,
        password: &str,
        hash: &[u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            if !still_holds(&mut writing, account, password).await? {
                writing.give_up().await?;
                return Ok(false);
            }
            writing.run(texts::FORGET_SESSIONS, &values![now.as_millisecond()]).await?;
            let values = values![
                hash.as_slice(),
                account.name.as_str(),
                now.as_millisecond(),
                expires_at.as_millisecond()
            ];
            writing.run(texts::BEGIN_SESSION, &values).await?;
            writing.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Whose session has this SHA-256, if it has not ended by `now`.
    pub async fn session(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<AccountName>, StoreError> {
        let values = values![hash.as_slice(), now.as_millisecond()];
        let row: Option<(String,)> = self.fetch_one(texts::SESSION, &values).await?;
        row.map(|(name,)| account_name(&name)).transpose()
    }

    /// Ends a session. False when there is none.
    pub async fn end_session(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.write_one(texts::END_SESSION, &values![hash.as_slice()]).await? > 0)
    }
}

/// Whether the account has this password, and goes on to until the end of the transaction.
async fn still_holds(writing: &mut Writing, account: &Account, password: &str) -> Result<bool, StoreError> {
    writing.lock_account(account.name.as_str()).await?;
    let known = find_account(writing, &account.name).await?;
    let row: Option<(Option<String>,)> =
        writing.fetch(texts::PASSWORD, &values![account.name.as_str()]).await?.pop();
    Ok(known.is_some_and(|known| known.enabled && known.id == account.id)
        && row.and_then(|(hash,)| hash).as_deref() == Some(password))
}
