//! Dead letters: what was given up or could not be read, kept with its reason.

use bellbuoy_domain::{DeliveryId, NotificationId};
use jiff::Timestamp;
use sqlx::{FromRow, Row, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{
    Cursor, Store, StoreError,
    page::{self, Stretch},
    sql,
    store::Statement,
    value::{number, timestamp},
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
        let mut writing = self.write().await?;
        writing.run_many(&sql::ARCHIVE_DEAD_LETTERS, letters, |letter| letter.body.len(), bind).await?;
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
        let stretch = Stretch::find(
            self.readers(),
            sql::DEAD_LETTER_ENDS,
            Cursor::seq(query.after.as_ref(), LIST)?,
            filtered,
        )
        .await?;
        let limit = page::limit(query.limit);
        let rows = sqlx::query(sql::DEAD_LETTERS)
            .bind(stretch.before)
            .bind(stretch.floor)
            .bind(query.origin.as_deref())
            .bind(query.reason.as_deref())
            .bind(query.method.as_deref())
            .bind(query.notification.map(NotificationId::as_uuid))
            .bind(query.subject.as_deref())
            .bind(limit + 1)
            .fetch_all(self.readers())
            .await?;
        let (rows, next) = stretch.cut(rows, limit, LIST)?;
        let rows = rows.iter().map(|row| ListedRow::from_row(row)?.read()).collect::<Result<_, _>>()?;
        Ok(DeadLetterPage { rows, next })
    }

    /// One dead letter with its bytes.
    pub async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
        let row = sqlx::query(sql::DEAD_LETTER).bind(id).fetch_optional(self.readers()).await?;
        row.map(|row| read(&row)).transpose()
    }

    /// Forgets a dead letter that was replayed or is not wanted. False when there is none.
    pub async fn discard_dead_letter(&self, id: Uuid) -> Result<bool, StoreError> {
        let mut writing = self.write().await?;
        let removed = writing.run(sqlx::query(sql::DISCARD_DEAD_LETTER).bind(id)).await?;
        writing.commit().await?;
        Ok(removed > 0)
    }
}

fn bind(statement: Statement, letter: &DeadLetter) -> Statement {
    statement
        .bind(letter.id)
        .bind(letter.origin.as_str())
        .bind(letter.reason.as_str())
        .bind(letter.detail.as_str())
        .bind(letter.delivery.map(DeliveryId::as_uuid))
        .bind(letter.notification.map(NotificationId::as_uuid))
        .bind(letter.method.as_deref())
        .bind(letter.subject.as_deref())
        .bind(i64::from(letter.attempts))
        .bind(letter.died_at.as_millisecond())
        .bind(letter.body.as_slice())
}

#[derive(FromRow)]
struct LetterRow {
    id: Uuid,
    origin: String,
    reason: String,
    detail: String,
    delivery: Option<Uuid>,
    notification: Option<Uuid>,
    method: Option<String>,
    subject: Option<String>,
    attempts: i64,
    died_at: i64,
}

#[derive(FromRow)]
struct ListedRow {
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
            origin: self.letter.origin,
            reason: self.letter.reason,
            detail: self.letter.detail,
            delivery: self.letter.delivery.map(DeliveryId::from),
            notification: self.letter.notification.map(NotificationId::from),
            method: self.letter.method,
            subject: self.letter.subject,
            body_bytes: number(self.body_bytes)?,
        })
    }
}

fn read(row: &SqliteRow) -> Result<DeadLetter, StoreError> {
    let letter = LetterRow::from_row(row)?;
    Ok(DeadLetter {
        id: letter.id,
        attempts: number(letter.attempts)?,
        died_at: timestamp(letter.died_at)?,
        origin: letter.origin,
        reason: letter.reason,
        detail: letter.detail,
        delivery: letter.delivery.map(DeliveryId::from),
        notification: letter.notification.map(NotificationId::from),
        method: letter.method,
        subject: letter.subject,
        body: row.try_get("body")?,
    })
}
