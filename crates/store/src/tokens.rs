//! Tokens: what they may be used for, and until when. Of a token itself only its SHA-256 is kept.

use bellbuoy_domain::{AccountName, TokenScopes};
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError,
    call::values,
    directory::{DirectoryError, account_name, again, need_account, word},
    page::limit,
    sql_directory as texts,
    text::Text,
    value::timestamp,
};

/// A token, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub title: String,
    /// Whose rights it carries; of the registry itself if nobody's.
    pub account: Option<AccountName>,
    /// What it may be used for.
    pub scopes: TokenScopes,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is no longer valid.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to within the hour.
    pub last_used_at: Option<Timestamp>,
}

impl Store {
    /// Adds a token with this SHA-256.
    ///
    /// # Errors
    ///
    /// When its account is not there.
    pub async fn create_token(&self, token: &Token, hash: &[u8; 32]) -> Result<(), DirectoryError> {
        let values = values![
            token.id,
            hash.as_slice(),
            token.title.as_str(),
            token.account.as_ref().map(AccountName::as_str),
            token.scopes.to_string(),
            token.created_by.as_str(),
            token.created_at.as_millisecond(),
            token.expires_at.map(Timestamp::as_millisecond),
        ];
        again(async || {
            let mut writing = self.write().await?;
            if let Some(account) = &token.account {
                need_account(&mut writing, "account", account).await?;
            }
            let is_new = writing.run(texts::CREATE_TOKEN, &values).await? > 0;
            let ended = if is_new { writing.commit().await } else { writing.give_up().await };
            Ok(ended?)
        })
        .await
    }

    /// The token with this SHA-256, expired or not.
    pub async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let row: Option<TokenRow> = self.fetch_one(texts::TOKEN_BY_HASH, &values![hash.as_slice()]).await?;
        row.map(TokenRow::read).transpose()
    }

    /// The token of that id.
    pub async fn token(&self, id: Uuid) -> Result<Option<Token>, StoreError> {
        let row: Option<TokenRow> = self.fetch_one(texts::TOKEN, &values![id]).await?;
        row.map(TokenRow::read).transpose()
    }

    /// A page of all tokens, or of one account's, in the order of their ids from after `after`.
    pub async fn tokens(
        &self,
        account: Option<&AccountName>,
        after: Option<Uuid>,
        most: u32,
    ) -> Result<Vec<Token>, StoreError> {
        let (after, limit) = (after.unwrap_or_default(), limit(most));
        let rows: Vec<TokenRow> = match account {
            Some(account) => self.fetch(texts::TOKENS_OF, &values![account.as_str(), after, limit]).await?,
            None => self.fetch(texts::TOKENS, &values![after, limit]).await?,
        };
        rows.into_iter().map(TokenRow::read).collect()
    }

    /// Notes when a token was used. Not worth an error to whoever uses it.
    pub async fn token_used(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        self.write_one(texts::TOKEN_USED, &values![id, at.as_millisecond()]).await.map(drop)
    }

    /// Makes a token invalid for good. False when there is none.
    pub async fn revoke_token(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.write_one(texts::REVOKE_TOKEN, &values![id]).await? > 0)
    }
}

#[derive(FromRow)]
struct TokenRow {
    id: Uuid,
    title: Text,
    account: Option<String>,
    scopes: String,
    created_by: Text,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl TokenRow {
    fn read(self) -> Result<Token, StoreError> {
        Ok(Token {
            id: self.id,
            title: self.title.0,
            account: self.account.as_deref().map(account_name).transpose()?,
            scopes: word(&self.scopes)?,
            created_by: self.created_by.0,
            created_at: timestamp(self.created_at)?,
            expires_at: self.expires_at.map(timestamp).transpose()?,
            last_used_at: self.last_used_at.map(timestamp).transpose()?,
        })
    }
}
