//! The in-app area: what people, teams and organizations are told inside the registry.

use bellbuoy_domain::{DeliveryId, InAppKind};
use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Cursor, Store, StoreError,
    call::{self, values},
    page::{self, Stretch},
    sql,
    text::Text,
    value::{from_json, in_app_kind, timestamp, to_json},
    writing::{Writing, retried},
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
    /// What it tells of.
    pub kind: InAppKind,
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
    /// `user`, `team` or `org`.
    pub target_kind: String,
    /// The target's name.
    pub target: String,
    /// The delivery that it comes from.
    pub delivery: DeliveryId,
    /// What it tells of.
    pub kind: InAppKind,
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
        retried(async || {
            let mut writing = self.write().await?;
            add(&mut writing, rows).await?;
            writing.commit().await
        })
        .await
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
        self.inbox_of(&[(target_kind, target)], after, limit).await
    }

    /// A page of the items of several targets (kind and name, each once) as one list, newest first.
    ///
    /// # Errors
    ///
    /// As for [`Store::inbox`]. Its cursors are good for this list as well, and these for that.
    pub async fn inbox_of(
        &self,
        targets: &[(&str, &str)],
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<InboxPage, StoreError> {
        let stretch = Stretch::whole(Cursor::seq(after, LIST)?);
        let limit = page::limit(limit);
        let mut rows = Vec::new();
        // An index leads to each target's newest, and to nothing of several targets at once.
        for (kind, name) in targets {
            let values = values![*kind, *name, stretch.before, limit + 1];
            let found: Vec<ItemRow> = self.fetch(sql::INBOX, &values).await?;
            rows.extend(found.into_iter().map(|row| ((*kind, *name), row)));
        }
        rows.sort_unstable_by_key(|(_, row)| std::cmp::Reverse(row.seq));
        let next = stretch.cut(&mut rows, limit, LIST, |(_, row)| row.seq);
        let rows = rows.into_iter().map(|(target, row)| row.read(target)).collect::<Result<_, _>>()?;
        Ok(InboxPage { rows, next })
    }

    /// What several targets (kind and name, each once) were told and have not put away, newest first: `most` of it
    /// after the first `skip`.
    pub async fn undismissed(
        &self,
        targets: &[(&str, &str)],
        skip: u32,
        most: u32,
    ) -> Result<Vec<InboxItem>, StoreError> {
        let wanted = i64::from(skip) + i64::from(most);
        let mut found: Vec<i64> = Vec::new();
        for (kind, name) in targets {
            let rows: Vec<(i64,)> =
                self.fetch(sql::INBOX_UNDISMISSED, &values![*kind, *name, wanted]).await?;
            found.extend(rows.into_iter().map(|(seq,)| seq));
        }
        found.sort_unstable_by_key(|seq| std::cmp::Reverse(*seq));
        // What lies before a page is counted by an index, and not read.
        let page: Vec<i64> = found.into_iter().skip(skip as usize).take(most as usize).collect();
        let mut rows: Vec<TargetedRow> =
            self.fetch_many(&sql::INBOX_ITEMS, &page, |seq| values![*seq]).await?;
        rows.retain(|row| !row.item.dismissed);
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.item.seq));
        rows.into_iter().map(TargetedRow::read).collect()
    }

    /// The item of that id, dismissed or not.
    pub async fn inbox_item(&self, id: Uuid) -> Result<Option<InboxItem>, StoreError> {
        let row: Option<TargetedRow> = self.fetch_one(sql::INBOX_ITEM, &values![id]).await?;
        row.map(TargetedRow::read).transpose()
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

/// Adds items that are not there yet.
pub(crate) async fn add(writing: &mut Writing, rows: &[InboxRow]) -> Result<(), StoreError> {
    let rows: Vec<Added<'_>> = rows
        .iter()
        .map(|row| Ok(Added { id: row.id(), row, metadata: to_json(&row.metadata)? }))
        .collect::<Result<_, StoreError>>()?;
    writing.run_many(&sql::ADD_TO_INBOX, &rows, |added| added.metadata.len(), Added::columns).await.map(drop)
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

#[derive(FromRow)]
struct TargetedRow {
    #[sqlx(flatten)]
    item: ItemRow,
    target_kind: String,
    target: Text,
}

impl TargetedRow {
    fn read(self) -> Result<InboxItem, StoreError> {
        self.item.read((&self.target_kind, &self.target.0))
    }
}

impl ItemRow {
    fn read(self, (target_kind, target): (&str, &str)) -> Result<InboxItem, StoreError> {
        Ok(InboxItem {
            id: self.id,
            target_kind: target_kind.to_owned(),
            target: target.to_owned(),
            delivery: self.delivery.into(),
            kind: in_app_kind(&self.kind)?,
            metadata: from_json(&self.metadata)?,
            created_at: timestamp(self.created_at)?,
            dismissed: self.dismissed,
        })
    }
}
