//! Notifications, and the version that tells caches when to look again.

use bellbuoy_domain::{Notification, NotificationId, RepositoryName, Scope, Subject};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Page, Store, StoreError,
    page::limit,
    sql,
    store::{Statement, Writing},
    value::{from_json, kind, notification_state, notification_state_name, number, timestamp, to_json},
};

/// From so many failures on, Quay's clients show a notification as disabled.
const FAILURES_OF_DISABLED: i64 = 3;

impl Store {
    /// Adds a notification.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when its id is taken.
    pub async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        let statement = bind(sqlx::query(sql::CREATE_NOTIFICATION), notification, true)?;
        if self.change(statement).await? { Ok(()) } else { Err(StoreError::Exists { id: notification.id }) }
    }

    /// Writes the whole row of that id, except `failures`. False when there is none.
    pub async fn update_notification(&self, notification: &Notification) -> Result<bool, StoreError> {
        self.change(bind(sqlx::query(sql::UPDATE_NOTIFICATION), notification, false)?).await
    }

    /// Removes a notification; its history stays. False when there is none.
    pub async fn delete_notification(&self, id: NotificationId) -> Result<bool, StoreError> {
        self.change(sqlx::query(sql::DELETE_NOTIFICATION).bind(id.as_uuid())).await
    }

    /// One notification.
    pub async fn notification(&self, id: NotificationId) -> Result<Option<Notification>, StoreError> {
        let found = self.read_notifications(sqlx::query(sql::NOTIFICATION).bind(id.as_uuid())).await?;
        Ok(found.into_iter().next())
    }

    /// Those of exactly that scope, oldest first.
    pub async fn notifications_in(&self, scope: &Scope) -> Result<Vec<Notification>, StoreError> {
        let query = sqlx::query(sql::NOTIFICATIONS_IN).bind(scope.word()).bind(scope.name());
        self.read_notifications(query).await
    }

    /// Those of every scope that covers `subject`, whatever their state, oldest first.
    pub async fn notifications_covering(&self, subject: &Subject) -> Result<Vec<Notification>, StoreError> {
        let repository = match subject {
            Subject::Repository(name) => Some(name.as_str()),
            Subject::Namespace(_) | Subject::Registry => None,
        };
        let query = sqlx::query(sql::NOTIFICATIONS_COVERING).bind(subject.namespace()).bind(repository);
        self.read_notifications(query).await
    }

    /// A page of all, in the order of their ids.
    pub async fn list_notifications(&self, page: &Page) -> Result<Vec<Notification>, StoreError> {
        let query = match page.after {
            Some(after) => sqlx::query(sql::LIST_NOTIFICATIONS).bind(after.as_uuid()),
            None => sqlx::query(sql::LIST_NOTIFICATIONS_FROM_START),
        };
        self.read_notifications(query.bind(limit(page.limit))).await
    }

    /// Sets `failures` to 0, and a disabled notification to active without a reason. False when there is none.
    pub async fn reset_failures(&self, id: NotificationId) -> Result<bool, StoreError> {
        self.change(sqlx::query(sql::RESET_FAILURES).bind(id.as_uuid())).await
    }

    /// Disables a notification for `reason`, and raises `failures` to at least 3, which is how Quay's clients see
    /// it. False when there is none.
    pub async fn disable_notification(&self, id: NotificationId, reason: &str) -> Result<bool, StoreError> {
        let statement = sqlx::query(sql::DISABLE_NOTIFICATION).bind(id.as_uuid()).bind(reason);
        self.change(statement.bind(FAILURES_OF_DISABLED)).await
    }

    /// Grows with every change made by the methods above, in the same transaction, whichever process makes it. Does
    /// not grow when [`Store::record`] moves `failures`, which would empty every cache with every dead letter.
    pub async fn notifications_version(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(sql::VERSION).fetch_one(self.readers()).await?)
    }

    async fn read_notifications(&self, query: Statement) -> Result<Vec<Notification>, StoreError> {
        let rows = query.fetch_all(self.readers()).await?;
        rows.iter().map(|row| NotificationRow::from_row(row)?.read()).collect()
    }

    /// Runs a statement that changes at most one notification, and moves the version if it did.
    async fn change(&self, statement: Statement) -> Result<bool, StoreError> {
        let mut writing = self.write().await?;
        if writing.run(statement).await? == 0 {
            writing.give_up().await?;
            return Ok(false);
        }
        let version = bump_version(&mut writing).await?;
        writing.commit().await?;
        // Two commits can get here in the other order.
        self.inner.version.send_if_modified(|seen| {
            let newer = version > *seen;
            *seen = version.max(*seen);
            newer
        });
        Ok(true)
    }
}

async fn bump_version(writing: &mut Writing) -> Result<i64, StoreError> {
    let row = writing.one(sqlx::query(sql::BUMP_VERSION)).await?;
    Ok(sqlx::Row::try_get(&row, 0)?)
}

/// Binds every column in the order of the texts; `failures` is written at creation alone.
fn bind(
    statement: Statement,
    notification: &Notification,
    with_failures: bool,
) -> Result<Statement, StoreError> {
    let statement = statement
        .bind(notification.id.as_uuid())
        .bind(notification.title.as_deref())
        .bind(notification.scope.word())
        .bind(notification.scope.name())
        .bind(to_json(&notification.kinds)?)
        .bind(to_json(&notification.event_config)?)
        .bind(notification.method.as_str())
        .bind(to_json(&notification.config)?)
        .bind(notification.secret.as_deref())
        .bind(notification.format.as_str())
        .bind(notification.retry.as_ref().map(to_json).transpose()?)
        .bind(notification_state_name(notification.state))
        .bind(notification.state_reason.as_deref());
    let statement = if with_failures { statement.bind(i64::from(notification.failures)) } else { statement };
    Ok(statement
        .bind(notification.created_at.as_millisecond())
        .bind(notification.updated_at.as_millisecond()))
}

#[derive(FromRow)]
struct NotificationRow {
    id: Uuid,
    title: Option<String>,
    scope: String,
    scope_name: String,
    kinds: String,
    event_config: String,
    method: String,
    config: String,
    secret: Option<String>,
    format: String,
    retry: Option<String>,
    state: String,
    state_reason: Option<String>,
    failures: i64,
    created_at: i64,
    updated_at: i64,
}

impl NotificationRow {
    fn read(self) -> Result<Notification, StoreError> {
        let kinds: Vec<String> = from_json(&self.kinds)?;
        Ok(Notification {
            id: self.id.into(),
            title: self.title,
            scope: scope(&self.scope, self.scope_name)?,
            kinds: kinds.iter().map(|name| kind(name)).collect::<Result<_, _>>()?,
            event_config: from_json(&self.event_config)?,
            method: self.method,
            config: from_json(&self.config)?,
            secret: self.secret,
            format: self.format,
            retry: self.retry.as_deref().map(from_json).transpose()?,
            state: notification_state(&self.state)?,
            state_reason: self.state_reason,
            failures: number(self.failures)?,
            created_at: timestamp(self.created_at)?,
            updated_at: timestamp(self.updated_at)?,
        })
    }
}

fn scope(word: &str, name: String) -> Result<Scope, StoreError> {
    match word {
        "repository" => RepositoryName::parse(name)
            .map(Scope::Repository)
            .map_err(|error| StoreError::corrupt("scope", error)),
        "namespace" => Ok(Scope::Namespace(name)),
        "registry" => Ok(Scope::Registry),
        other => Err(StoreError::corrupt("scope", format!("{other:?} is unknown"))),
    }
}
