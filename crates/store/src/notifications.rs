//! Notifications, and the version that tells caches when to look again.

use bellbuoy_domain::{Notification, NotificationId, RepositoryName, Scope, Subject};
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Page, SecretKeys, Store, StoreError,
    call::{Value, values},
    follow::raise,
    keepers,
    page::limit,
    seal::Sealed,
    sql,
    text::Text,
    value::{from_json, kind, notification_state, notification_state_name, number, timestamp, to_json},
    writing::retried,
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
        let mut values = columns(&self.keys, notification, true)?;
        let succeeded_at = notification.succeeded_at.map(Timestamp::as_millisecond);
        values.extend(values![notification.author, succeeded_at]);
        if self.change(sql::CREATE_NOTIFICATION, &values).await? {
            Ok(())
        } else {
            Err(StoreError::Exists { id: notification.id })
        }
    }

    /// Writes the whole row of that id, except `failures`, `author` and `succeeded_at`, if it is still in the state and of the time that `was` shows;
    /// a worker may have disabled it meanwhile, which must not be undone. False when it is not, or is gone.
    pub async fn replace_notification(
        &self,
        notification: &Notification,
        was: &Notification,
    ) -> Result<bool, StoreError> {
        let mut values = columns(&self.keys, notification, false)?;
        values.extend(values![notification_state_name(was.state), was.updated_at.as_millisecond()]);
        self.change(sql::REPLACE_NOTIFICATION, &values).await
    }

    /// Writes the whole row of that id, except those three, whatever it is by now. False when there is none.
    pub async fn update_notification(&self, notification: &Notification) -> Result<bool, StoreError> {
        self.change(sql::UPDATE_NOTIFICATION, &columns(&self.keys, notification, false)?).await
    }

    /// Removes a notification; its history stays. False when there is none.
    pub async fn delete_notification(&self, id: NotificationId) -> Result<bool, StoreError> {
        self.change(sql::DELETE_NOTIFICATION, &values![id.as_uuid()]).await
    }

    /// One notification.
    pub async fn notification(&self, id: NotificationId) -> Result<Option<Notification>, StoreError> {
        let found = self.read_notifications(sql::NOTIFICATION, &values![id.as_uuid()]).await?;
        Ok(found.into_iter().next())
    }

    /// Those of exactly that scope, oldest first.
    pub async fn notifications_in(&self, scope: &Scope) -> Result<Vec<Notification>, StoreError> {
        self.read_notifications(sql::NOTIFICATIONS_IN, &values![scope.word(), scope.name()]).await
    }

    /// Those of every scope that covers `subject`, whatever their state, oldest first.
    pub async fn notifications_covering(&self, subject: &Subject) -> Result<Vec<Notification>, StoreError> {
        let repository = match subject {
            Subject::Repository(name) => Some(name.as_str()),
            Subject::Namespace(_) | Subject::Registry => None,
        };
        self.read_notifications(sql::NOTIFICATIONS_COVERING, &values![subject.namespace(), repository]).await
    }

    /// Those that an account made and that are left, oldest first, at most `most`.
    pub async fn notifications_by(&self, author: Uuid, most: u32) -> Result<Vec<Notification>, StoreError> {
        self.read_notifications(sql::NOTIFICATIONS_BY, &values![author, i64::from(most)]).await
    }

    /// A page of all, in the order of their ids.
    pub async fn list_notifications(&self, page: &Page) -> Result<Vec<Notification>, StoreError> {
        let limit = limit(page.limit);
        match page.after {
            Some(after) => {
                self.read_notifications(sql::LIST_NOTIFICATIONS, &values![after.as_uuid(), limit]).await
            }
            None => self.read_notifications(sql::LIST_NOTIFICATIONS_FROM_START, &values![limit]).await,
        }
    }

    /// Sets `failures` to 0, and a disabled notification on probation; the reason stays until it has passed. False when
    /// there is none.
    pub async fn reset_failures(&self, id: NotificationId) -> Result<bool, StoreError> {
        self.change(sql::RESET_FAILURES, &values![id.as_uuid()]).await
    }

    /// Disables a notification for `reason` at `at`, and raises `failures` to at least 3, which is how Quay's clients
    /// see it. In the same transaction, whoever looks after the notification is told in the in-app area: one item for
    /// each of them and each time that it is disabled. False, and nobody is told, when there is none or it is disabled
    /// already.
    pub async fn disable_notification(
        &self,
        id: NotificationId,
        reason: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.disable_notification_until(id, reason, at, None).await
    }

    /// The same, until `back_at` or for as long as its owner leaves it so.
    pub async fn disable_notification_until(
        &self,
        id: NotificationId,
        reason: &str,
        at: Timestamp,
        back_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let version = retried(|| self.disable_once(id, reason, at, back_at)).await?;
        if let Some(version) = version {
            raise(&self.inner.version, version);
        }
        Ok(version.is_some())
    }

    async fn disable_once(
        &self,
        id: NotificationId,
        reason: &str,
        at: Timestamp,
        back_at: Option<Timestamp>,
    ) -> Result<Option<i64>, StoreError> {
        let mut writing = self.write().await?;
        let back_at = back_at.map(Timestamp::as_millisecond);
        let values = values![id.as_uuid(), reason, FAILURES_OF_DISABLED, back_at];
        if writing.run(sql::DISABLE_NOTIFICATION, &values).await? == 0 {
            writing.give_up().await?;
            return Ok(None);
        }
        let row: NotificationRow = writing.one(sql::NOTIFICATION, &values![id.as_uuid()]).await?;
        keepers::tell_of_disabling(&mut writing, &row.read(&self.keys)?, reason, at).await?;
        let (version,) = writing.one(sql::BUMP_VERSION, &[]).await?;
        writing.notify().await?;
        writing.commit().await?;
        Ok(Some(version))
    }

    /// Sets all disabled notifications on probation whose time to come back is `now` or was before. False when there
    /// are none.
    pub async fn end_pauses(&self, now: Timestamp) -> Result<bool, StoreError> {
        self.change(sql::END_PAUSES, &values![now.as_millisecond()]).await
    }

    /// Makes a notification active that is on probation. False when it is not, or there is none.
    pub async fn end_probation(&self, id: NotificationId) -> Result<bool, StoreError> {
        self.change(sql::END_PROBATION, &values![id.as_uuid()]).await
    }

    /// Grows with every change made by the methods above, in the same transaction, whichever process makes it. Does
    /// not grow when [`Store::record`] moves `failures` or notes a success, which would empty every cache with every dead letter.
    pub async fn notifications_version(&self) -> Result<i64, StoreError> {
        let (version,) = self.fetch_one(sql::VERSION, &[]).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(version)
    }

    async fn read_notifications(
        &self,
        text: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Notification>, StoreError> {
        let rows: Vec<NotificationRow> = self.fetch(text, values).await?;
        rows.into_iter().map(|row| row.read(&self.keys)).collect()
    }

    /// Runs a statement that changes at most one notification, and moves the version if it did.
    async fn change(&self, text: &'static str, values: &[Value<'_>]) -> Result<bool, StoreError> {
        let version = retried(|| self.change_once(text, values)).await?;
        if let Some(version) = version {
            raise(&self.inner.version, version);
        }
        Ok(version.is_some())
    }

    /// The new version, if there is one.
    async fn change_once(&self, text: &'static str, values: &[Value<'_>]) -> Result<Option<i64>, StoreError> {
        let mut writing = self.write().await?;
        if writing.run(text, values).await? == 0 {
            writing.give_up().await?;
            return Ok(None);
        }
        let (version,) = writing.one(sql::BUMP_VERSION, &[]).await?;
        writing.notify().await?;
        writing.commit().await?;
        Ok(Some(version))
    }
}

/// Every column in the order of the texts but the last two, which creation alone writes, as it does `failures`.
fn columns<'a>(
    keys: &SecretKeys,
    notification: &'a Notification,
    with_failures: bool,
) -> Result<Vec<Value<'a>>, StoreError> {
    let id = notification.id.as_uuid();
    let secret =
        notification.secret.as_deref().map(|secret| keys.seal(secret, id, Sealed::Secret)).transpose()?;
    let mut columns = values![
        notification.id.as_uuid(),
        notification.title.as_deref(),
        notification.scope.word(),
        notification.scope.name(),
        to_json(&notification.kinds)?,
        to_json(&notification.event_config)?,
        notification.method.as_str(),
        keys.seal(&to_json(&notification.config)?, id, Sealed::Config)?,
        secret,
        notification.format.as_str(),
        notification.retry.as_ref().map(to_json).transpose()?,
        notification_state_name(notification.state),
        notification.state_reason.as_deref(),
    ]
    .to_vec();
    columns.extend(with_failures.then(|| i64::from(notification.failures).into()));
    columns
        .extend(values![notification.created_at.as_millisecond(), notification.updated_at.as_millisecond()]);
    Ok(columns)
}

#[derive(FromRow)]
struct NotificationRow {
    id: Uuid,
    title: Option<Text>,
    scope: String,
    scope_name: Text,
    kinds: String,
    event_config: String,
    method: Text,
    config: String,
    secret: Option<Text>,
    format: Text,
    retry: Option<String>,
    state: String,
    state_reason: Option<Text>,
    failures: i64,
    created_at: i64,
    updated_at: i64,
    author: Option<Uuid>,
    succeeded_at: Option<i64>,
}

impl NotificationRow {
    fn read(self, keys: &SecretKeys) -> Result<Notification, StoreError> {
        let open = |text, column| keys.open(text, self.id, column);
        let kinds: Vec<String> = from_json(&self.kinds)?;
        Ok(Notification {
            id: self.id.into(),
            title: self.title.map(|text| text.0),
            scope: scope(&self.scope, self.scope_name.0)?,
            kinds: kinds.iter().map(|name| kind(name)).collect::<Result<_, _>>()?,
            event_config: from_json(&self.event_config)?,
            method: self.method.0,
            config: from_json(&open(self.config, Sealed::Config)?)?,
            secret: self.secret.map(|text| open(text.0, Sealed::Secret)).transpose()?,
            format: self.format.0,
            retry: self.retry.as_deref().map(from_json).transpose()?,
            state: notification_state(&self.state)?,
            state_reason: self.state_reason.map(|text| text.0),
            failures: number(self.failures)?,
            created_at: timestamp(self.created_at)?,
            updated_at: timestamp(self.updated_at)?,
            author: self.author,
            succeeded_at: self.succeeded_at.map(timestamp).transpose()?,
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
