//! The notifications as the workers see them: cached, and never more than a moment old.
//!
//! A change made through this process is seen by the next look, because the store says so at
//! once; a change made elsewhere is seen after at most [`LOOK_AGAIN_AFTER`]. A change forgets the
//! whole cache: it is cheap to fill, and a rule that forgets too little would deliver to the
//! wrong address.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bellbuoy_domain::{CheckedNotification, Notification, NotificationError, NotificationId, Subject};
use bellbuoy_store::{Store, StoreError};
use tokio::{sync::watch, time::Instant};

/// How old what is cached may be.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Most subjects, and most notifications, that are kept.
const MOST_ENTRIES: usize = 50_000;

/// A notification with what was understood of it.
#[derive(Debug)]
pub struct Wish {
    /// As it is stored.
    pub notification: Notification,
    /// As it was understood. One that is not understood was stored by another version of the program.
    pub checked: Result<CheckedNotification, NotificationError>,
}

/// The cache.
#[derive(Debug)]
pub struct Wishes {
    store: Store,
    changes: watch::Receiver<i64>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    version: Option<i64>,
    hint: i64,
    looked_at: Option<Instant>,
    by_subject: HashMap<Subject, Arc<[Arc<Wish>]>>,
    by_id: HashMap<NotificationId, Option<Arc<Wish>>>,
}

impl Wishes {
    /// An empty cache over a store.
    pub fn new(store: Store) -> Self {
        Self { changes: store.changes(), store, cache: Mutex::default() }
    }

    /// Every notification whose scope covers the subject, in any state.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn covering(&self, subject: &Subject) -> Result<Arc<[Arc<Wish>]>, StoreError> {
        let version = self.look().await?;
        if let Some(found) = self.cache().by_subject.get(subject) {
            return Ok(Arc::clone(found));
        }
        let found = self.store.notifications_covering(subject).await?;
        let found: Arc<[_]> =
            found.into_iter().map(|notification| Arc::new(Wish::new(notification))).collect();
        self.keep(version, |cache| cache.by_subject.insert(subject.clone(), Arc::clone(&found)));
        Ok(found)
    }

    /// One notification, if it exists.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn get(&self, id: NotificationId) -> Result<Option<Arc<Wish>>, StoreError> {
        let version = self.look().await?;
        if let Some(found) = self.cache().by_id.get(&id) {
            return Ok(found.clone());
        }
        let found = self.store.notification(id).await?.map(|notification| Arc::new(Wish::new(notification)));
        self.keep(version, |cache| cache.by_id.insert(id, found.clone()));
        Ok(found)
    }

    // Forgets what is no longer true, and answers which version the cache then holds.
    async fn look(&self) -> Result<i64, StoreError> {
        let hint = *self.changes.borrow();
        {
            let cache = self.cache();
            let young = cache.looked_at.is_some_and(|at| at.elapsed() < LOOK_AGAIN_AFTER);
            if let Some(version) = cache.version
                && young
                && cache.hint == hint
            {
                return Ok(version);
            }
        }
        let version = self.store.notifications_version().await?;
        let mut cache = self.cache();
        if cache.version != Some(version) {
            cache.by_subject.clear();
            cache.by_id.clear();
        }
        cache.version = Some(version);
        cache.hint = hint;
        cache.looked_at = Some(Instant::now());
        Ok(version)
    }

    // What was read before a change must not be kept after it.
    fn keep<T>(&self, version: i64, insert: impl FnOnce(&mut Cache) -> T) {
        let mut cache = self.cache();
        if cache.version == Some(version) {
            if cache.by_subject.len() + cache.by_id.len() >= MOST_ENTRIES {
                cache.by_subject.clear();
                cache.by_id.clear();
            }
            insert(&mut cache);
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wish {
    fn new(notification: Notification) -> Self {
        Self { checked: notification.check(), notification }
    }
}
