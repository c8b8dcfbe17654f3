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
    writing::{Writing, retried},
};

/// The most notifications of one place: a repository, a namespace without its repositories, the registry. Its list is
/// one answer, and each of its events is held against all of them.
pub const MOST_NOTIFICATIONS: u32 = 1000;

/// From so many failures on, Quay's clients show a notification as disabled.
const FAILURES_OF_DISABLED: i64 = 3;

impl Store {
    /// Adds a notification.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when its id is taken, and [`StoreError::Full`] when its place has [`MOST_NOTIFICATIONS`]
    /// already.
    pub async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        self.create_within(notification, MOST_NOTIFICATIONS).await
    }

    async fn create_within(&self, notification: &Notification, most: u32) -> Result<(), StoreError> {
        let mut values = columns(&self.keys, notification, true)?;
        let succeeded_at = notification.succeeded_at.map(Timestamp::as_millisecond);
        values.extend(values![notification.author, succeeded_at]);
        let room = Some(Room { place: &notification.scope, most });
        if self.change_within(room, sql::CREATE_NOTIFICATION, &values).await? {
            Ok(())
        } else {
            Err(StoreError::Exists { id: notification.id })
        }
    }

    /// Writes the whole row of that id, except `failures`, `author` and `succeeded_at`, if it is still in the state and of the time that `was` shows;
    /// a worker may have disabled it meanwhile, which must not be undone. False when it is not, or is gone.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] when it comes from another place to one that has [`MOST_NOTIFICATIONS`] already.
    pub async fn replace_notification(
        &self,
        notification: &Notification,
        was: &Notification,
    ) -> Result<bool, StoreError> {
        let mut values = columns(&self.keys, notification, false)?;
        values.extend(values![notification_state_name(was.state), was.updated_at.as_millisecond()]);
        let comes = notification.scope != was.scope;
        let room = comes.then_some(Room { place: &notification.scope, most: MOST_NOTIFICATIONS });
        self.change_within(room, sql::REPLACE_NOTIFICATION, &values).await
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

    /// Sets `failures` to 0, and a disabled notification on probation from `at` on; the reason stays until it has passed.
    /// False when there is none.
    pub async fn reset_failures(&self, id: NotificationId, at: Timestamp) -> Result<bool, StoreError> {
        self.change(sql::RESET_FAILURES, &values![id.as_uuid(), at.as_millisecond()]).await
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
        self.disable(id, (reason, None), at, back_at).await
    }

    /// The same of one that is on probation, since before `seen_at`: what an attempt found that began then says nothing of
    /// a later probation. False as well when it is not.
    pub async fn disable_on_probation(
        &self,
        id: NotificationId,
        (reason, seen_at): (&str, Timestamp),
        at: Timestamp,
        back_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.disable(id, (reason, Some(seen_at)), at, back_at).await
    }

    async fn disable(
        &self,
        id: NotificationId,
        why: (&str, Option<Timestamp>),
        at: Timestamp,
        back_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let version = retried(|| self.disable_once(id, why, at, back_at)).await?;
        if let Some(version) = version {
            raise(&self.inner.version, version);
        }
        Ok(version.is_some())
    }

    async fn disable_once(
        &self,
        id: NotificationId,
        (reason, seen_at): (&str, Option<Timestamp>),
        at: Timestamp,
        back_at: Option<Timestamp>,
    ) -> Result<Option<i64>, StoreError> {
        let mut writing = self.write().await?;
        let back_at = back_at.map(Timestamp::as_millisecond);
        let seen_at = seen_at.map(Timestamp::as_millisecond);
        let values = values![id.as_uuid(), reason, FAILURES_OF_DISABLED, back_at, seen_at];
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

    /// Makes a notification active that is on probation, since before `seen_at`: what an attempt found that began then says
    /// nothing of a later probation. False when it is not, or there is none.
    pub async fn end_probation(&self, id: NotificationId, seen_at: Timestamp) -> Result<bool, StoreError> {
        self.change(sql::END_PROBATION, &values![id.as_uuid(), seen_at.as_millisecond()]).await
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
        self.change_within(None, text, values).await
    }

    /// The same, unless more notifications than there is room for would then be in a place.
    async fn change_within(
        &self,
        room: Option<Room<'_>>,
        text: &'static str,
        values: &[Value<'_>],
    ) -> Result<bool, StoreError> {
        let version = retried(|| self.change_once(room, text, values)).await?;
        if let Some(version) = version {
            raise(&self.inner.version, version);
        }
        Ok(version.is_some())
    }

    /// The new version, if there is one.
    async fn change_once(
        &self,
        room: Option<Room<'_>>,
        text: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<i64>, StoreError> {
        let mut writing = self.write().await?;
        if writing.run(text, values).await? == 0 {
            writing.give_up().await?;
            return Ok(None);
        }
        let (version,) = writing.one(sql::BUMP_VERSION, &[]).await?;
        // Only now: whoever else moves the version waits, so that two never count at the same time.
        if let Some(room) = room
            && !room.is_kept(&mut writing).await?
        {
            writing.give_up().await?;
            return Err(StoreError::Full { place: named(room.place), most: room.most });
        }
        writing.notify().await?;
        writing.commit().await?;
        Ok(Some(version))
    }
}

/// How many notifications may be in a place.
#[derive(Clone, Copy)]
struct Room<'a> {
    place: &'a Scope,
    most: u32,
}

impl Room<'_> {
    async fn is_kept(self, writing: &mut Writing) -> Result<bool, StoreError> {
        let values = values![self.place.word(), self.place.name()];
        let (count,): (i64,) = writing.one(sql::COUNT_NOTIFICATIONS_IN, &values).await?;
        Ok(count <= i64::from(self.most))
    }
}

fn named(place: &Scope) -> String {
    match place {
        Scope::Registry => "the registry".to_owned(),
        Scope::Namespace(_) | Scope::Repository(_) => format!("{} {}", place.word(), place.name()),
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

#[cfg(test)]
mod tests {
    use bellbuoy_domain::{Kind, NotificationState};
    use bellbuoy_testkit::postgres::Postgres;
    use serde_json::Map;
    use tokio::task::JoinSet;

    use super::*;

    fn notification(number: u128, repository: &str) -> Notification {
        Notification {
            id: Uuid::from_u128(number).into(),
            title: None,
            scope: Scope::Repository(RepositoryName::parse(repository).expect("a name")),
            kinds: vec![Kind::RepoPush],
            event_config: Map::new(),
            method: "webhook".to_owned(),
            config: Map::new(),
            secret: None,
            format: "quay".to_owned(),
            retry: None,
            state: NotificationState::Active,
            state_reason: None,
            failures: 0,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            author: None,
            succeeded_at: None,
        }
    }

    /// Many at once, through all of `stores`, into a place with room for three.
    async fn fill(stores: &[Store]) {
        let mut tasks = JoinSet::new();
        for number in 0..12 {
            let store = stores[number % stores.len()].clone();
            tasks.spawn(async move {
                store.create_within(&notification(number as u128, "acme/api"), 3).await.is_ok()
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|made| *made).count(), 3);
        let store = &stores[0];
        let version = store.notifications_version().await.expect("read");
        let refused = store.create_within(&notification(20, "acme/api"), 3).await.expect_err("full");
        let said = refused.to_string();
        assert!(
            said.starts_with("repository acme/api can have 3 notifications and has as many; delete"),
            "{said}"
        );
        assert_eq!(store.notifications_version().await.expect("read"), version, "nothing has changed");
        store.create_within(&notification(21, "acme/web"), 3).await.expect("a place of its own");
        let own = &store.notifications_in(&notification(0, "acme/api").scope).await.expect("read")[0];
        assert!(store.delete_notification(own.id).await.expect("deleted"));
        store.create_within(&notification(20, "acme/api"), 3).await.expect("room");
    }

    #[tokio::test]
    async fn a_place_takes_as_many_notifications_as_it_may_have_and_no_more_on_sqlite() {
        let directory = tempfile::tempdir().expect("a directory");
        fill(&[Store::open_sqlite(&directory.path().join("store.db")).await.expect("a store")]).await;
    }

    #[tokio::test]
    async fn a_place_takes_as_many_notifications_as_it_may_have_and_no_more_on_postgresql() {
        let server = Postgres::start().await;
        let url = server.database().await;
        fill(&[Store::open(&url).await.expect("a store"), Store::open(&url).await.expect("another")]).await;
    }
}
