//! The in-app area: what people, teams and organizations are told inside the registry.

use bellbuoy_domain::{DeliveryId, Kind};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{Cursor, Store, StoreError};

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
        todo!()
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
        todo!()
    }

    /// Puts an item of that target away, or back. False when the target has no such item.
    pub async fn set_dismissed(
        &self,
        target_kind: &str,
        target: &str,
        id: Uuid,
        dismissed: bool,
    ) -> Result<bool, StoreError> {
        todo!()
    }
}
