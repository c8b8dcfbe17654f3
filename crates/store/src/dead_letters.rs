//! Dead letters: what was given up or could not be read, kept with its reason.

use bellbuoy_domain::{DeliveryId, NotificationId};
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Cursor, Store, StoreError,
    call::{Value, values},
    page::{self, Stretch},
    sql,
    text::Text,
    value::{number, timestamp},
    writing::retried,
};

const LIST: char = 'l';

/// A dead letter with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id of the message that died.
    pub id: Uuid,
    /// The queue or the ingest that it came from.
    pub origin: String,
    /// Why, as a word of a closed set.
    pub reason: String,
    /// Why, as a sentence.
    pub detail: String,
    /// The delivery, if it was one.
    pub delivery: Option<DeliveryId>,
    /// Its notification.
    pub notification: Option<NotificationId>,
    /// Its method.
    pub method: Option<String>,
    /// The repository or namespace; empty for the registry, `None` when not known.
    pub subject: Option<String>,
    /// How many attempts it had spent.
    pub attempts: u32,
    /// The message's bytes, as they came.
    pub body: Vec<u8>,
    /// When it died.
    pub died_at: Timestamp,
}

/// A dead letter in a list: all but its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// The id of the message that died.
    pub id: Uuid,
    /// The queue or the ingest that it came from.
    pub origin: String,
    /// Why, as a word of a closed set.
    pub reason: String,
    /// Why, as a sentence.
    pub detail: String,
    /// The delivery, if it was one.
    pub delivery: Option<DeliveryId>,
    /// Its notification.
    pub notification: Option<NotificationId>,
    /// Its method.
    pub method: Option<String>,
    /// The repository or namespace; empty for the registry, `None` when not known.
    pub subject: Option<String>,
    /// How many attempts it had spent.
    pub attempts: u32,
    /// How many bytes its body has.
    pub body_bytes: u64,
    /// When it died.
    pub died_at: Timestamp,
}

/// Which dead letters are wanted. What is `None` does not restrict.
#[derive(Debug, Clone)]
pub struct DeadLetterQuery {
    /// From this queue or ingest.
    pub origin: Option<String>,
    /// For this reason.
    pub reason: Option<String>,
    /// By this method.
    pub method: Option<String>,
    /// For this notification.
    pub notification: Option<NotificationId>,
    /// About this repository or namespace.
    pub subject: Option<String>,
    /// From where on; from the newest without it.
    pub after: Option<Cursor>,
    /// At most so many, from 1 to [`MAX_PAGE`](crate::MAX_PAGE).
    pub limit: u32,
}

impl Default for DeadLetterQuery {
    /// The newest 50.
    fn default() -> Self {
        Self {
            origin: None,
            reason: None,
            method: None,
            notification: None,
            subject: None,
            after: None,
            limit: 50,
        }
    }
}

/// Dead letters, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The letters.
    pub rows: Vec<DeadLetterRow>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl Store {
    /// Keeps dead letters. One that is kept already stays as it is.
    pub async fn archive_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        if letters.is_empty() {
            return Ok(());
        }
        retried(|| self.archive_once(letters)).await
    }

    async fn archive_once(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        let mut writing = self.write().await?;
        let bytes = |letter: &DeadLetter| letter.body.len() + letter.detail.len();
        writing.run_many(&sql::ARCHIVE_DEAD_LETTERS, letters, bytes, DeadLetter::columns).await?;
        writing.commit().await
    }

    /// A page of dead letters, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadCursor`] when `after` is not of this list.
    pub async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        let filtered =
            [&query.origin, &query.reason, &query.method, &query.subject].iter().any(|f| f.is_some())
                || query.notification.is_some();
        let stretch =
            Stretch::find(self, sql::DEAD_LETTER_ENDS, Cursor::seq(query.after.as_ref(), LIST)?, filtered)
                .await?;
        let limit = page::limit(query.limit);
        let values = values![
            stretch.before,
            stretch.floor,
            query.origin.as_deref(),
            query.reason.as_deref(),
            query.method.as_deref(),
            query.notification.map(NotificationId::as_uuid),
            query.subject.as_deref(),
            limit + 1,
        ];
        let mut rows: Vec<ListedRow> = self.fetch(sql::DEAD_LETTERS, &values).await?;
        let next = stretch.cut(&mut rows, limit, LIST, |row| row.seq);
        let rows = rows.into_iter().map(ListedRow::read).collect::<Result<_, _>>()?;
        Ok(DeadLetterPage { rows, next })
    }

    /// One dead letter with its bytes.
    pub async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
        let row: Option<WholeRow> = self.fetch_one(sql::DEAD_LETTER, &values![id]).await?;
        row.map(WholeRow::read).transpose()
    }

    /// Forgets a dead letter that was replayed or is not wanted. False when there is none.
    pub async fn discard_dead_letter(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.write_one(sql::DISCARD_DEAD_LETTER, &values![id]).await? > 0)
    }
}

impl DeadLetter {
    fn columns(&self) -> [Value<'_>; 11] {
        values![
            self.id,
            self.origin.as_str(),
            self.reason.as_str(),
            self.detail.as_str(),
            self.delivery.map(DeliveryId::as_uuid),
            self.notification.map(NotificationId::as_uuid),
            self.method.as_deref(),
            self.subject.as_deref(),
            i64::from(self.attempts),
            self.died_at.as_millisecond(),
            self.body.as_slice(),
        ]
    }
}

#[derive(FromRow)]
struct LetterRow {
    id: Uuid,
    origin: Text,
    reason: Text,
    detail: Text,
    delivery: Option<Uuid>,
    notification: Option<Uuid>,
    method: Option<Text>,
    subject: Option<Text>,
    attempts: i64,
    died_at: i64,
}

#[derive(FromRow)]
struct ListedRow {
    seq: i64,
    #[sqlx(flatten)]
    letter: LetterRow,
    body_bytes: i64,
}

impl ListedRow {
    fn read(self) -> Result<DeadLetterRow, StoreError> {
        Ok(DeadLetterRow {
            id: self.letter.id,
            attempts: number(self.letter.attempts)?,
            died_at: timestamp(self.letter.died_at)?,
            origin: self.letter.origin.0,
            reason: self.letter.reason.0,
            detail: self.letter.detail.0,
            delivery: self.letter.delivery.map(DeliveryId::from),
            notification: self.letter.notification.map(NotificationId::from),
            method: self.letter.method.map(|text| text.0),
            subject: self.letter.subject.map(|text| text.0),
            body_bytes: number(self.body_bytes)?,
        })
    }
}

#[derive(FromRow)]
struct WholeRow {
    #[sqlx(flatten)]
    letter: LetterRow,
    body: Vec<u8>,
}

impl WholeRow {
    fn read(self) -> Result<DeadLetter, StoreError> {
        Ok(DeadLetter {
            id: self.letter.id,
            attempts: number(self.letter.attempts)?,
            died_at: timestamp(self.letter.died_at)?,
            origin: self.letter.origin.0,
            reason: self.letter.reason.0,
            detail: self.letter.detail.0,
            delivery: self.letter.delivery.map(DeliveryId::from),
            notification: self.letter.notification.map(NotificationId::from),
            method: self.letter.method.map(|text| text.0),
            subject: self.letter.subject.map(|text| text.0),
            body: self.body,
        })
    }
}
