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

/// Most entries that are kept: a subject counts as one, and so does each notification in its list.
const MOST_ENTRIES: usize = 200_000;

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
    entries: usize,
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
        let mut cache = self.cache();
        // Understood once, however many subjects it covers.
        let found: Arc<[_]> =
            found.into_iter().map(|notification| cache.wish(version, notification)).collect();
        cache.keep(version, 1 + found.len(), |cache| {
            cache.by_subject.insert(subject.clone(), Arc::clone(&found));
        });
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
        // Apart, because it is large and rare: every delivery's task would be as large.
        let found = Box::pin(self.store.notification(id)).await?;
        let mut cache = self.cache();
        let found = found.map(|notification| cache.wish(version, notification));
        if found.is_none() {
            cache.keep(version, 1, |cache| drop(cache.by_id.insert(id, None)));
        }
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
        let version = Box::pin(self.store.notifications_version()).await?;
        let mut cache = self.cache();
        if cache.version != Some(version) {
            cache.forget();
        }
        cache.version = Some(version);
        cache.hint = hint;
        cache.looked_at = Some(Instant::now());
        Ok(version)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    // The wish that is known of a notification read at `version`, or a new one.
    fn wish(&mut self, version: i64, notification: Notification) -> Arc<Wish> {
        if self.version == Some(version)
            && let Some(Some(known)) = self.by_id.get(&notification.id)
        {
            return Arc::clone(known);
        }
        let id = notification.id;
        let wish = Arc::new(Wish::new(notification));
        self.keep(version, 1, |cache| drop(cache.by_id.insert(id, Some(Arc::clone(&wish)))));
        wish
    }

    // What was read before a change must not be kept after it.
    fn keep(&mut self, version: i64, entries: usize, insert: impl FnOnce(&mut Self)) {
        if self.version == Some(version) && entries <= MOST_ENTRIES {
            if self.entries + entries > MOST_ENTRIES {
                self.forget();
            }
            self.entries += entries;
            insert(self);
        }
    }

    fn forget(&mut self) {
        self.by_subject.clear();
        self.by_id.clear();
        self.entries = 0;
    }
}

impl Wish {
    fn new(notification: Notification) -> Self {
        Self { checked: notification.check(), notification }
    }
}
