//! Who did what: written in the same transaction as what was done, so that neither stands without the other.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Cursor, Store, StoreError,
    call::values,
    page::{self, Stretch},
    sql_directory as texts,
    text::Text,
    value::{from_json, timestamp, to_json},
    writing::Writing,
};

const LIST: char = 'a';

/// Somebody did something.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its id. Kept once.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who: an account's name, `token:ID` for a token without one, `token:admin` for the admin token of the settings,
    /// `registry:SUBJECT` for a token of the registry's own.
    pub actor: String,
    /// From which network address, if the request came over a network.
    pub address: Option<String>,
    /// What, such as `notification.create`.
    pub action: String,
    /// To what: an id or a name.
    pub target: String,
    /// The repository or namespace that it is about; empty for the registry.
    pub place: String,
    /// What else is worth knowing. No secrets.
    pub details: Map<String, Value>,
}

/// Which entries are wanted. What is `None` does not restrict.
#[derive(Debug, Clone)]
pub struct AuditQuery {
    /// By this one.
    pub actor: Option<String>,
    /// This action.
    pub action: Option<String>,
    /// To this target.
    pub target: Option<String>,
    /// About this repository or namespace.
    pub place: Option<String>,
    /// From where on; from the newest without it.
    pub after: Option<Cursor>,
    /// At most so many, from 1 to [`MAX_PAGE`](crate::MAX_PAGE).
    pub limit: u32,
}

/// Entries, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditPage {
    /// The entries.
    pub rows: Vec<AuditEntry>,
    /// Where the next page begins; `None` at the end. A page can be short, even empty, before that.
    pub next: Option<Cursor>,
}

impl Store {
    /// The same store, whose next change is written down with `entry`: in its transaction, and only if it changes
    /// something.
    #[must_use]
    pub fn audited(&self, entry: AuditEntry) -> Self {
        Self { audit: Some(Arc::new(entry)), ..self.clone() }
    }

    /// Writes down what is no change of the store, such as a delivery that was sent again.
    pub async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        crate::writing::retried(async || self.audited(entry.clone()).write().await?.commit().await).await
    }

    /// A page of entries, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadCursor`] when `after` is not of this list.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let searched =
            [&query.actor, &query.action, &query.target, &query.place].iter().any(|one| one.is_some());
        let before = Cursor::seq(query.after.as_ref(), LIST)?;
        let stretch = Stretch::find(self, texts::AUDIT_ENDS, before, searched).await?;
        let limit = page::limit(query.limit);
        let values = values![
            stretch.before,
            stretch.floor,
            query.actor.as_deref(),
            query.action.as_deref(),
            query.target.as_deref(),
            query.place.as_deref(),
            limit + 1,
        ];
        let mut rows: Vec<AuditRow> = self.fetch(texts::AUDIT, &values).await?;
        let next = stretch.cut(&mut rows, limit, LIST, |row| row.seq);
        let rows = rows.into_iter().map(AuditRow::read).collect::<Result<_, _>>()?;
        Ok(AuditPage { rows, next })
    }
}

/// Writes an entry, once.
pub(crate) async fn write(writing: &mut Writing, entry: &AuditEntry) -> Result<(), StoreError> {
    let values = values![
        entry.id,
        entry.at.as_millisecond(),
        entry.actor.as_str(),
        entry.address.as_deref(),
        entry.action.as_str(),
        entry.target.as_str(),
        entry.place.as_str(),
        to_json(&entry.details)?,
    ];
    writing.run(texts::ADD_AUDIT, &values).await.map(drop)
}

#[derive(FromRow)]
struct AuditRow {
    seq: i64,
    id: Uuid,
    at: i64,
    actor: Text,
    address: Option<Text>,
    action: String,
    target: Text,
    place: Text,
    details: String,
}

impl AuditRow {
    fn read(self) -> Result<AuditEntry, StoreError> {
        Ok(AuditEntry {
            id: self.id,
            at: timestamp(self.at)?,
            actor: self.actor.0,
            address: self.address.map(|text| text.0),
            action: self.action,
            target: self.target.0,
            place: self.place.0,
            details: from_json(&self.details)?,
        })
    }
}
