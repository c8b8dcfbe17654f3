//! The in-app area: what people, teams and organizations are told inside the registry.

use bellbuoy_domain::{DeliveryId, Kind};
use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Cursor, Store, StoreError,
    call::{self, values},
    page::{self, Stretch},
    sql,
    value::{from_json, kind, timestamp, to_json},
    writing::retried,
};

const LIST: char = 'i';

/// Something to tell one target.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// The delivery that it comes from; with the target it makes the row unique.
    pub delivery: DeliveryId,
    /// `user`, `team` or `org`.
    pub target_kind: String,
    /// The target's name.
    pub target: String,
    /// The kind of the event.
    pub kind: Kind,
    /// What is told.
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Something that a target was told.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxItem {
    /// Its id, the same however often it is added.
    pub id: Uuid,
    /// The delivery that it comes from.
    pub delivery: DeliveryId,
    /// The kind of the event.
    pub kind: Kind,
    /// What is told.
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether its reader has put it away.
    pub dismissed: bool,
}

/// A target's items, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxPage {
    /// The items.
    pub rows: Vec<InboxItem>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl Store {
    /// Adds items. One that is there already, by delivery and target, stays as it is, dismissed or not.
    pub async fn add_to_inbox(&self, rows: &[InboxRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows: Vec<Added<'_>> = rows
            .iter()
            .map(|row| Ok(Added { id: row.id(), row, metadata: to_json(&row.metadata)? }))
            .collect::<Result<_, StoreError>>()?;
        retried(|| self.add_once(&rows)).await
    }

    async fn add_once(&self, rows: &[Added<'_>]) -> Result<(), StoreError> {
        let mut writing = self.write().await?;
        writing.run_many(&sql::ADD_TO_INBOX, rows, |added| added.metadata.len(), Added::columns).await?;
        writing.commit().await
    }

    /// A page of a target's items, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadCursor`] when `after` is not of this list.
    pub async fn inbox(
        &self,
        target_kind: &str,
        target: &str,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<InboxPage, StoreError> {
        let stretch = Stretch::whole(Cursor::seq(after, LIST)?);
        let limit = page::limit(limit);
        let values = values![target_kind, target, stretch.before, limit + 1];
        let mut rows: Vec<ItemRow> = self.fetch(sql::INBOX, &values).await?;
        let next = stretch.cut(&mut rows, limit, LIST, |row| row.seq);
        let rows = rows.into_iter().map(ItemRow::read).collect::<Result<_, _>>()?;
        Ok(InboxPage { rows, next })
    }

    /// Puts an item of that target away, or back. False when the target has no such item.
    pub async fn set_dismissed(
        &self,
        target_kind: &str,
        target: &str,
        id: Uuid,
        dismissed: bool,
    ) -> Result<bool, StoreError> {
        Ok(self.write_one(sql::SET_DISMISSED, &values![target_kind, target, id, dismissed]).await? > 0)
    }
}

impl InboxRow {
    /// UUID v5 of kind and name of the target, in the namespace of the delivery: one delivery tells a target once.
    fn id(&self) -> Uuid {
        let target = format!("{}\n{}", self.target_kind, self.target);
        Uuid::new_v5(&self.delivery.as_uuid(), target.as_bytes())
    }
}

/// A row with what is derived from it.
struct Added<'a> {
    id: Uuid,
    row: &'a InboxRow,
    metadata: String,
}

impl Added<'_> {
    fn columns(&self) -> [call::Value<'_>; 8] {
        values![
            self.id,
            self.row.delivery.as_uuid(),
            self.row.target_kind.as_str(),
            self.row.target.as_str(),
            self.row.kind.name(),
            self.metadata.as_str(),
            self.row.created_at.as_millisecond(),
            false,
        ]
    }
}

#[derive(FromRow)]
struct ItemRow {
    seq: i64,
    id: Uuid,
    delivery: Uuid,
    kind: String,
    metadata: String,
    created_at: i64,
    dismissed: bool,
}

impl ItemRow {
    fn read(self) -> Result<InboxItem, StoreError> {
        Ok(InboxItem {
            id: self.id,
            delivery: self.delivery.into(),
            kind: kind(&self.kind)?,
            metadata: from_json(&self.metadata)?,
            created_at: timestamp(self.created_at)?,
            dismissed: self.dismissed,
        })
    }
}
