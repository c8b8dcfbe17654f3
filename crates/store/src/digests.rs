//! What is collected to be told together, until it is.
//!
//! A digest is on its way as a delivery before its rows go. Whoever dies in between has it sent again by the next
//! worker, as the same delivery. Which events it told stays known without them, as long as history is kept: the
//! fan-out of one of them may still be repeated. One that another message brought again after its window is told anew.

use std::collections::{BTreeMap, HashMap};

use bellbuoy_domain::{
    DeliveryId, NotificationId,
    digest::{self, MOST_COLLECTED, MOST_COLLECTED_BYTES},
};
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError,
    call::{Value, values},
    sql,
    text::Text,
    value::{column, number, timestamp},
    writing::{Writing, retried},
};

/// An event that is to be told together with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The delivery that it would have been.
    pub delivery: DeliveryId,
    /// For which notification.
    pub notification: NotificationId,
    /// By which method.
    pub method: String,
    /// The event's source.
    pub source: String,
    /// The event's repository.
    pub subject: String,
    /// The id of the message that brought the event, or that took it over.
    pub message: Uuid,
    /// When the digest is due that it opens, if none is open.
    pub due_at: Timestamp,
    /// The event's canonical JSON.
    pub body: Vec<u8>,
}

/// The digest that an event went into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDigest {
    /// Its id.
    pub id: Uuid,
    /// The source of the event that opened it.
    pub source: String,
}

impl OpenDigest {
    /// The delivery that it becomes for the notification whose it is.
    pub fn delivery(&self, notification: NotificationId) -> DeliveryId {
        DeliveryId::derive(&self.source, &digest::event_id(self.id), notification)
    }
}

/// A digest whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDigest {
    /// Its id.
    pub id: Uuid,
    /// For which notification.
    pub notification: NotificationId,
    /// By which method, when it was opened.
    pub method: String,
    /// The source of the event that opened it.
    pub source: String,
    /// What all its events are about.
    pub subject: String,
    /// When it came to be due.
    pub due_at: Timestamp,
    /// The events' canonical JSON.
    pub items: Vec<Vec<u8>>,
}

/// A digest that was not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collecting {
    /// What its events are about.
    pub subject: String,
    /// How many they are.
    pub events: u64,
    /// When they are told.
    pub due_at: Timestamp,
}

impl Store {
    /// What a notification collects, the next due first, at most `most` digests.
    pub async fn collecting(
        &self,
        notification: NotificationId,
        most: u32,
    ) -> Result<Vec<Collecting>, StoreError> {
        let values = values![notification.as_uuid(), i64::from(most)];
        let rows: Vec<(Text, i64, i64)> = self.fetch(sql::DIGESTS_FOR, &values).await?;
        let read = |(subject, events, due_at): (Text, i64, i64)| {
            Ok(Collecting { subject: subject.0, events: number(events)?, due_at: timestamp(due_at)? })
        };
        rows.into_iter().map(read).collect()
    }

    /// Puts events into the open digests of their notifications and subjects, opening those that are missing, in one
    /// transaction; one answer per event. One that is in a digest already stays there, and one that was told since
    /// the same message brought it is not told again.
    pub async fn collect(&self, collected: &[Collected]) -> Result<Vec<OpenDigest>, StoreError> {
        if collected.is_empty() {
            return Ok(Vec::new());
        }
        retried(|| self.collect_once(collected)).await
    }

    async fn collect_once(&self, collected: &[Collected]) -> Result<Vec<OpenDigest>, StoreError> {
        let mut writing = self.write().await?;
        let mut places = known(&mut writing, collected).await?;
        // In one order, so that two that collect for the same ones never wait for each other.
        let mut groups: BTreeMap<(NotificationId, &str), Vec<&Collected>> = BTreeMap::new();
        for one in collected.iter().filter(|one| !places.contains_key(&one.delivery)) {
            groups.entry((one.notification, &one.subject)).or_default().push(one);
        }
        let mut added = Vec::new();
        for group in groups.into_values() {
            let mut rest = group.as_slice();
            while let Some(first) = rest.first() {
                let (digest, taken) = fill(&mut writing, first, rest).await?;
                let (now, later) = rest.split_at(taken);
                added.extend(now.iter().map(|one| (digest.id, *one)));
                places.extend(now.iter().map(|one| (one.delivery, digest.clone())));
                rest = later;
            }
        }
        writing.run_many(&sql::ADD_DIGEST_ITEMS, &added, |item| item.1.body.len(), item_values).await?;
        writing.commit().await?;
        let missing = || StoreError::corrupt("digest", "an event went into none");
        collected.iter().map(|one| places.get(&one.delivery).cloned().ok_or_else(missing)).collect()
    }

    /// Takes at most `limit` digests that are due at `now`, and no more events into them. Nobody else takes them before
    /// `until`; by then they are to be forgotten, or are taken again.
    pub async fn take_due_digests(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueDigest>, StoreError> {
        let values = values![now.as_millisecond(), i64::from(limit)];
        let due: Vec<(Uuid,)> = self.fetch(sql::DUE_DIGESTS, &values).await?;
        let mut taken = Vec::new();
        for (id,) in due {
            // Each by itself: two workers take different ones, in whatever order they come.
            if let Some(row) = self.take_digest(id, now, until).await? {
                let items: Vec<(Vec<u8>,)> = self.fetch(sql::DIGEST_ITEMS, &values![id]).await?;
                taken.push(row.read(id, items.into_iter().map(|(body,)| body).collect())?);
            }
        }
        Ok(taken)
    }

    async fn take_digest(
        &self,
        id: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<DigestRow>, StoreError> {
        let values = values![id, until.as_millisecond(), now.as_millisecond()];
        retried(async || {
            let mut writing = self.write().await?;
            let row = writing.fetch(sql::TAKE_DIGEST, &values).await?.pop();
            writing.commit().await?;
            Ok(row)
        })
        .await
    }

    /// Forgets a digest and what was collected for it: it is on its way. That its events were told `at` this time is
    /// kept.
    pub async fn forget_digest(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            writing.run(sql::KEEP_TOLD, &values![id, at.as_millisecond()]).await?;
            writing.run(sql::FORGET_DIGEST, &values![id]).await?;
            writing.run(sql::FORGET_DIGEST_ITEMS, &values![id]).await?;
            writing.commit().await
        })
        .await
    }
}

/// Those that are in a digest already, or were told in one as the same message brought them.
async fn known(
    writing: &mut Writing,
    collected: &[Collected],
) -> Result<HashMap<DeliveryId, OpenDigest>, StoreError> {
    let ids: Vec<Uuid> = collected.iter().map(|one| one.delivery.as_uuid()).collect();
    let mut rows: Vec<(Uuid, Uuid, Text)> =
        writing.fetch_many(&sql::DIGESTS_OF, &ids, |id| values![*id]).await?;
    let brought = |one: &Collected| values![one.delivery.as_uuid(), one.message];
    rows.extend(writing.fetch_many(&sql::TOLD, collected, brought).await?);
    Ok(rows
        .into_iter()
        .map(|(delivery, id, source)| (delivery.into(), OpenDigest { id, source: source.0 }))
        .collect())
}

/// Opens a digest for `first`, or finds the one that is open, and says how many of `group` it takes: at least one.
async fn fill(
    writing: &mut Writing,
    first: &Collected,
    group: &[&Collected],
) -> Result<(OpenDigest, usize), StoreError> {
    let opening = values![
        Uuid::new_v4(),
        first.notification.as_uuid(),
        first.subject.as_str(),
        first.method.as_str(),
        first.source.as_str(),
        first.due_at.as_millisecond(),
    ];
    let (id, source, items, bytes): (Uuid, Text, i64, i64) = writing.one(sql::OPEN_DIGEST, &opening).await?;
    let (mut items, mut bytes): (u32, u64) = (number(items)?, number(bytes)?);
    let mut taken = 0;
    let is_full = |items: u32, bytes: u64| items >= MOST_COLLECTED || bytes >= MOST_COLLECTED_BYTES;
    while taken < group.len() && (taken == 0 || !is_full(items, bytes)) {
        items = items.saturating_add(1);
        bytes = bytes.saturating_add(group[taken].body.len() as u64);
        taken += 1;
    }
    let filling = values![id, i64::from(items), column(bytes), !is_full(items, bytes)];
    writing.run(sql::FILL_DIGEST, &filling).await?;
    Ok((OpenDigest { id, source: source.0 }, taken))
}

fn item_values<'a>((digest, one): &'a (Uuid, &Collected)) -> [Value<'a>; 4] {
    values![one.delivery.as_uuid(), *digest, one.message, one.body.as_slice()]
}

#[derive(FromRow)]
struct DigestRow {
    notification: Uuid,
    subject: Text,
    method: Text,
    source: Text,
    due_at: i64,
}

impl DigestRow {
    fn read(self, id: Uuid, items: Vec<Vec<u8>>) -> Result<DueDigest, StoreError> {
        Ok(DueDigest {
            id,
            notification: self.notification.into(),
            method: self.method.0,
            source: self.source.0,
            subject: self.subject.0,
            due_at: timestamp(self.due_at)?,
            items,
        })
    }
}
