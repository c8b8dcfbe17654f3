//! The in-app area: what people, teams and organizations are told inside the registry.

use bellbuoy_domain::{DeliveryId, Kind};
use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Cursor, Store, StoreError,
    page::{self, Stretch},
    sql,
    store::Statement,
    value::{from_json, kind, timestamp, to_json},
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
        let rows: Vec<(&InboxRow, String)> =
            rows.iter().map(|row| Ok((row, to_json(&row.metadata)?))).collect::<Result<_, StoreError>>()?;
        let mut writing = self.write().await?;
        writing.run_many(&sql::ADD_TO_INBOX, &rows, |(_, metadata)| metadata.len(), bind).await?;
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
        let rows = sqlx::query(sql::INBOX)
            .bind(target_kind)
            .bind(target)
            .bind(stretch.before)
            .bind(limit + 1)
            .fetch_all(self.readers())
            .await?;
        let (rows, next) = stretch.cut(rows, limit, LIST)?;
        let rows = rows.iter().map(|row| ItemRow::from_row(row)?.read()).collect::<Result<_, _>>()?;
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
        let statement =
            sqlx::query(sql::SET_DISMISSED).bind(target_kind).bind(target).bind(id).bind(dismissed);
        let mut writing = self.write().await?;
        let changed = writing.run(statement).await?;
        writing.commit().await?;
        Ok(changed > 0)
    }
}

impl InboxRow {
    /// UUID v5 of kind and name of the target, in the namespace of the delivery: one delivery tells a target once.
    fn id(&self) -> Uuid {
        let target = format!("{}\n{}", self.target_kind, self.target);
        Uuid::new_v5(&self.delivery.as_uuid(), target.as_bytes())
    }
}

fn bind(statement: Statement, (row, metadata): &(&InboxRow, String)) -> Statement {
    statement
        .bind(row.id())
        .bind(row.delivery.as_uuid())
        .bind(row.target_kind.as_str())
        .bind(row.target.as_str())
        .bind(row.kind.name())
        .bind(metadata.as_str())
        .bind(row.created_at.as_millisecond())
        .bind(false)
}

#[derive(FromRow)]
struct ItemRow {
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
