//! Which keys the stored secrets are sealed with, and how all of them come under the first.

use std::collections::BTreeMap;

use bellbuoy_domain::NotificationId;
use uuid::Uuid;

use crate::{
    Store, StoreError,
    call::values,
    seal::{Sealed, sealed_under},
    sql,
    text::Text,
    writing::retried,
};

/// Rows of one look at whole settings, and at their beginnings.
const PAGE: i64 = 200;
const HEADS: i64 = 1000;

/// How many notifications are stored under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealing {
    /// The key's name; `None` for those that are stored as they are.
    pub key: Option<String>,
    /// How many.
    pub notifications: u64,
    /// Whether this store has the key.
    pub readable: bool,
}

type Stored = (Uuid, String, Option<Text>, i64);

impl Store {
    /// What the stored secrets are sealed with, by key.
    ///
    /// # Errors
    ///
    /// As for every call to a store.
    pub async fn sealings(&self) -> Result<Vec<Sealing>, StoreError> {
        let (mut after, mut counts) = (None, BTreeMap::<Option<String>, u64>::new());
        loop {
            let rows: Vec<(Uuid, String)> = match after {
                None => self.fetch(sql::SEALED_HEADS_FROM_START, &values![HEADS]).await?,
                Some(after) => self.fetch(sql::SEALED_HEADS, &values![after, HEADS]).await?,
            };
            let Some(last) = rows.last() else { break };
            after = Some(last.0);
            for (_, head) in rows {
                *counts.entry(sealed_under(&head).map(str::to_owned)).or_default() += 1;
            }
        }
        let sealing = |(key, notifications): (Option<String>, u64)| Sealing {
            readable: key.as_ref().is_none_or(|key| self.keys.names().any(|name| name == key)),
            notifications,
            key,
        };
        Ok(counts.into_iter().map(sealing).collect())
    }

    /// Seals with the first key whatever is not, and says how many notifications that were. Without a key it changes
    /// nothing. Can be broken off and called again; what somebody changes meanwhile is sealed by that change. On
    /// `SQLite` the old texts are overwritten in the file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sealed`] where a row needs a key that is not there; and as for every call to a store.
    pub async fn seal_anew(&self) -> Result<u64, StoreError> {
        if self.keys.is_empty() {
            return Ok(0);
        }
        self.inner.engine.overwrite(true).await?;
        let sealed = self.seal_all().await;
        self.inner.engine.overwrite(false).await?;
        sealed
    }

    async fn seal_all(&self) -> Result<u64, StoreError> {
        let (mut after, mut sealed) = (None, 0);
        loop {
            let rows: Vec<Stored> = match after {
                None => self.fetch(sql::STORED_SECRETS_FROM_START, &values![PAGE]).await?,
                Some(after) => self.fetch(sql::STORED_SECRETS, &values![after, PAGE]).await?,
            };
            let Some(last) = rows.last() else { return Ok(sealed) };
            after = Some(last.0);
            for row in rows {
                sealed += self.seal_row(row).await?;
            }
        }
    }

    async fn seal_row(&self, (id, stored, secret, updated_at): Stored) -> Result<u64, StoreError> {
        if sealed_under(&stored) == self.keys.names().next() {
            return Ok(0);
        }
        let anew = |text: String, column| {
            let opened = self.keys.open(text, id, column)?;
            self.keys.seal(&opened, id, column)
        };
        let config = anew(stored.clone(), Sealed::Config)?;
        let secret = secret.map(|text| anew(text.0, Sealed::Secret)).transpose()?;
        let id: NotificationId = id.into();
        retried(async || {
            let mut writing = self.write().await?;
            let values =
                values![id.as_uuid(), config.as_str(), secret.as_deref(), stored.as_str(), updated_at];
            let changed = writing.run(sql::SEAL_ANEW, &values).await?;
            writing.commit().await?;
            Ok(changed)
        })
        .await
    }
}
