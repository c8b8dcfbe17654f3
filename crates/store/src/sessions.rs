//! Logins by password: whose, and until when. Of the cookie itself only its SHA-256 is kept.

use bellbuoy_domain::AccountName;
use jiff::Timestamp;

use crate::{
    Store, StoreError, call::values, directory::account_name, sql_directory as texts, writing::retried,
};

impl Store {
    /// Begins a session of an account, known by this SHA-256, and forgets those of everybody that have expired.
    pub async fn begin_session(
        &self,
        account: &AccountName,
        hash: &[u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            writing.run(texts::FORGET_SESSIONS, &values![now.as_millisecond()]).await?;
            let values =
                values![hash.as_slice(), account.as_str(), now.as_millisecond(), expires_at.as_millisecond()];
            writing.run(texts::BEGIN_SESSION, &values).await?;
            writing.commit().await
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
