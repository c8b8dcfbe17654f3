//! What receivers may call back, what they did, and which links of chains are to be queued for that. Of a token only
//! its SHA-256 is kept.

use bellbuoy_domain::{Callback, CallbackState, DeliveryId, NotificationId};
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError,
    call::values,
    sql,
    text::Text,
    value::{named, number, timestamp},
    writing::retried,
};

/// A delivery whose receiver may call back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedCallback {
    /// The delivery.
    pub delivery: DeliveryId,
    /// That to the first URL of its chain: itself, where there is no chain.
    pub first: DeliveryId,
    /// Which URL of the chain it goes to, from 0.
    pub link: u32,
    /// For which notification.
    pub notification: NotificationId,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event: String,
    /// The event's repository.
    pub subject: String,
    /// From when on it is too late to call back.
    pub expires_at: Timestamp,
}

/// Such a delivery and what was called back for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackRow {
    /// The delivery.
    pub awaited: AwaitedCallback,
    /// What was called back.
    pub callback: Option<Callback>,
    /// When.
    pub answered_at: Option<Timestamp>,
    /// When the delivery to the chain's next URL is to be queued, until it is.
    pub due_at: Option<Timestamp>,
}

impl Store {
    /// Awaits a callback by whoever shows the token of this SHA-256, beside those that its delivery's earlier attempts
    /// gave out, until `expires_at`, whatever was said before. What was called back stays.
    pub async fn await_callback(
        &self,
        awaited: &AwaitedCallback,
        token_hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        retried(|| self.await_once(awaited, token_hash)).await
    }

    async fn await_once(&self, awaited: &AwaitedCallback, token_hash: &[u8; 32]) -> Result<(), StoreError> {
        let values = values![
            awaited.delivery.as_uuid(),
            awaited.first.as_uuid(),
            i64::from(awaited.link),
            awaited.notification.as_uuid(),
            awaited.source.as_str(),
            awaited.event.as_str(),
            awaited.subject.as_str(),
            awaited.expires_at.as_millisecond(),
        ];
        let mut writing = self.write().await?;
        let (seq,): (i64,) = writing.one(sql::AWAIT_CALLBACK, &values).await?;
        writing.run(sql::ADD_CALLBACK_TOKEN, &values![token_hash.as_slice(), seq]).await?;
        writing.commit().await
    }

    /// What the token of this SHA-256 is for.
    pub async fn callback_by_token(&self, hash: &[u8; 32]) -> Result<Option<CallbackRow>, StoreError> {
        let row: Option<StoredCallback> =
            self.fetch_one(sql::CALLBACK_BY_TOKEN, &values![hash.as_slice()]).await?;
        row.map(StoredCallback::read).transpose()
    }

    /// What is awaited or was called back for a delivery.
    pub async fn callback(&self, delivery: DeliveryId) -> Result<Option<CallbackRow>, StoreError> {
        let row: Option<StoredCallback> = self.fetch_one(sql::CALLBACK, &values![delivery.as_uuid()]).await?;
        row.map(StoredCallback::read).transpose()
    }

    /// What is awaited or was called back for a notification's deliveries, the newest first, at most `most`.
    pub async fn callbacks_of(
        &self,
        notification: NotificationId,
        most: u32,
    ) -> Result<Vec<CallbackRow>, StoreError> {
        let values = values![notification.as_uuid(), i64::from(most)];
        let rows: Vec<StoredCallback> = self.fetch(sql::CALLBACKS_OF, &values).await?;
        rows.into_iter().map(StoredCallback::read).collect()
    }

    /// How many callbacks did not come by `now` that were awaited until then. Each is told of once, by whichever process
    /// asks first, unless it is awaited again; at most `most` at a time.
    pub async fn expire_callbacks(&self, now: Timestamp, most: u32) -> Result<u64, StoreError> {
        let values = values![now.as_millisecond(), i64::from(most)];
        let rows: Vec<(i64,)> = self.fetch(sql::UNANSWERED_CALLBACKS, &values).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        retried(async || {
            let mut writing = self.write().await?;
            let expired =
                writing.run_many(&sql::EXPIRE_CALLBACKS, &rows, |_| 0, |row| values![row.0]).await?;
            writing.commit().await?;
            Ok(expired)
        })
        .await
    }

    /// Writes down what was called back for a delivery, at `now`. After a success the chain's next link is due at once.
    /// False when something was called back before, which stands.
    pub async fn call_back(
        &self,
        delivery: DeliveryId,
        callback: &Callback,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let due = callback.state == CallbackState::Success;
        let values = values![
            delivery.as_uuid(),
            callback.state.name(),
            now.as_millisecond(),
            callback.description.as_deref(),
            callback.context.as_deref(),
            callback.target_url.as_deref(),
            due.then(|| now.as_millisecond()),
        ];
        Ok(self.write_one(sql::CALL_BACK, &values).await? > 0)
    }

    /// Those whose next link is due by `now`, at most `most`, earliest first.
    pub async fn due_links(&self, now: Timestamp, most: u32) -> Result<Vec<CallbackRow>, StoreError> {
        let rows: Vec<StoredCallback> =
            self.fetch(sql::DUE_LINKS, &values![now.as_millisecond(), i64::from(most)]).await?;
        rows.into_iter().map(StoredCallback::read).collect()
    }

    /// Makes a due link the caller's until `until`, when it is due again unless [`Store::link_queued`] was told. False
    /// when another process took it.
    pub async fn take_link(&self, row: &CallbackRow, until: Timestamp) -> Result<bool, StoreError> {
        let Some(due_at) = row.due_at else { return Ok(false) };
        let values = values![row.awaited.delivery.as_uuid(), due_at.as_millisecond(), until.as_millisecond()];
        Ok(self.write_one(sql::TAKE_LINK, &values).await? > 0)
    }

    /// Says that there is nothing more to do after a delivery's callback.
    pub async fn link_queued(&self, delivery: DeliveryId) -> Result<(), StoreError> {
        self.write_one(sql::LINK_QUEUED, &values![delivery.as_uuid()]).await.map(drop)
    }
}

#[derive(FromRow)]
struct StoredCallback {
    delivery: Uuid,
    first: Uuid,
    link: i64,
    notification: Uuid,
    source: Text,
    event: Text,
    subject: Text,
    expires_at: i64,
    state: Option<String>,
    answered_at: Option<i64>,
    description: Option<Text>,
    context: Option<Text>,
    target_url: Option<Text>,
    due_at: Option<i64>,
}

impl StoredCallback {
    fn read(self) -> Result<CallbackRow, StoreError> {
        let text = |text: Option<Text>| text.map(|text| text.0);
        let callback = match self.state.as_deref() {
            None => None,
            Some(word) => Some(Callback {
                state: named(CallbackState::ALL, CallbackState::name, word, "callback")?,
                description: text(self.description),
                context: text(self.context),
                target_url: text(self.target_url),
            }),
        };
        Ok(CallbackRow {
            awaited: AwaitedCallback {
                delivery: self.delivery.into(),
                first: self.first.into(),
                link: number(self.link)?,
                notification: self.notification.into(),
                source: self.source.0,
                event: self.event.0,
                subject: self.subject.0,
                expires_at: timestamp(self.expires_at)?,
            },
            callback,
            answered_at: self.answered_at.map(timestamp).transpose()?,
            due_at: self.due_at.map(timestamp).transpose()?,
        })
    }
}
