//! Notifications, and the version that tells caches when to look again.

use bellbuoy_domain::{Notification, NotificationId, Scope, Subject};

use crate::{Page, Store, StoreError};

impl Store {
    /// Adds a notification.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when its id is taken.
    pub async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        todo!()
    }

    /// Writes the whole row of that id, except `failures`. False when there is none.
    pub async fn update_notification(&self, notification: &Notification) -> Result<bool, StoreError> {
        todo!()
    }

    /// Removes a notification; its history stays. False when there is none.
    pub async fn delete_notification(&self, id: NotificationId) -> Result<bool, StoreError> {
        todo!()
    }

    /// One notification.
    pub async fn notification(&self, id: NotificationId) -> Result<Option<Notification>, StoreError> {
        todo!()
    }

    /// Those of exactly that scope, oldest first.
    pub async fn notifications_in(&self, scope: &Scope) -> Result<Vec<Notification>, StoreError> {
        todo!()
    }

    /// Those of every scope that covers `subject`, whatever their state, oldest first.
    pub async fn notifications_covering(&self, subject: &Subject) -> Result<Vec<Notification>, StoreError> {
        todo!()
    }

    /// A page of all, in the order of their ids.
    pub async fn list_notifications(&self, page: &Page) -> Result<Vec<Notification>, StoreError> {
        todo!()
    }

    /// Sets `failures` to 0, and a disabled notification to active without a reason. False when there is none.
    pub async fn reset_failures(&self, id: NotificationId) -> Result<bool, StoreError> {
        todo!()
    }

    /// Disables a notification for `reason`, and raises `failures` to at least 3, which is how Quay's clients see
    /// it. False when there is none.
    pub async fn disable_notification(&self, id: NotificationId, reason: &str) -> Result<bool, StoreError> {
        todo!()
    }

    /// Grows with every change made by the methods above, in the same transaction, whichever process makes it.
    pub async fn notifications_version(&self) -> Result<i64, StoreError> {
        todo!()
    }
}
