//! One attempt of a delivery, by whichever method its notification names.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bellbuoy_domain::{
    Cause, CauseCode, CheckedNotification, DeliveryId, EmailAddress, Event, Letter, MethodConfig,
    Notification, Outcome, Pace, Registry,
};
use bellbuoy_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    Callbacks, ChannelKey, Outbound, Services, SetupError, chat, email,
    http::{Client, MayFollow, Target},
    in_app,
    smtp::{Mail, Mailer},
    webhook,
};

/// Every delivery method, ready for use. Made once for a process and shared.
pub struct Methods {
    ways: RwLock<Arc<Ways>>,
    services: Services,
    registry: Registry,
    store: Store,
    deadline: Duration,
    callbacks: Option<Callbacks>,
}

/// The ways out, made with the certificates of the moment.
struct Ways {
    client: Client,
    mailer: Mailer,
}

impl Ways {
    fn new(settings: Outbound, title: &str) -> Result<Arc<Self>, SetupError> {
        Ok(Arc::new(Self { mailer: Mailer::new(&settings, title)?, client: Client::new(settings)? }))
    }
}

/// What an attempt is made of.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The delivery: the receiver's idempotency key.
    pub delivery: DeliveryId,
    /// The attempt's number, from 1.
    pub number: u32,
    /// What is told.
    pub event: &'a Event,
    /// For which wish.
    pub notification: &'a Notification,
    /// That wish, understood.
    pub checked: &'a CheckedNotification,
    /// The time of this attempt: signed, and what a receiver's dates are measured from.
    pub now: Timestamp,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it came to.
    pub outcome: Outcome,
    /// The HTTP status of the answer, if its head came.
    pub status: Option<u16>,
    /// Whether the receiver took it and said that it wants no more of the notification.
    pub was_last: bool,
}

/// Whom an attempt would load, for whoever decides when it may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The host and port that it goes to, as they are shared by notifications.
    pub host: Option<String>,
    /// The channel of a chat service that it goes to, as it is shared by notifications.
    pub channel: Option<ChannelKey>,
    /// How fast requests of one notification, or into one channel, may follow one another, if its owner or its service says so.
    pub pace: Option<Pace>,
}

impl Methods {
    /// Whom an attempt for this notification would load; `None` for nobody but ourselves.
    pub fn receiver(&self, checked: &CheckedNotification) -> Option<Receiver> {
        match &checked.method {
            MethodConfig::Webhook(config) => {
                let host = Target::parse(&config.url).ok().map(|target| target.authority());
                Some(Receiver { host, channel: None, pace: config.options.rate.map(Pace::per_minute) })
            }
            // Each of these services takes about one message a second for one channel.
            MethodConfig::Chat(config) => {
                let url = chat::address(config, &self.services)?;
                let host = Target::parse(&url).ok().map(|target| target.authority());
                let channel = Some(ChannelKey::of(&url));
                Some(Receiver { host, channel, pace: Some(Pace::every(Duration::from_secs(1))) })
            }
            MethodConfig::Email(_) => {
                let smtp = self.services.smtp.as_ref()?;
                let host = Some(format!("{}:{}", smtp.host, smtp.port));
                Some(Receiver { host, channel: None, pace: None })
            }
            MethodConfig::QuayNotification(_) => None,
        }
    }

    /// Reads certificates and builds the one HTTP client.
    ///
    /// # Errors
    ///
    /// When a certificate, a key or the user agent of `settings` is not usable.
    pub fn new(settings: Outbound, registry: Registry, store: Store) -> Result<Self, SetupError> {
        Ok(Self {
            deadline: settings.deadline,
            services: settings.services.clone(),
            ways: RwLock::new(Ways::new(settings, &registry.title)?),
            registry,
            store,
            callbacks: None,
        })
    }

    /// Lets receivers of Docker Hub's payload call back. Without this, their `callback_url` is empty.
    #[must_use]
    pub fn with_callbacks(mut self, callbacks: Callbacks) -> Self {
        self.callbacks = Some(callbacks);
        self
    }

    /// Makes every further attempt over connections of its own, with the certificates of `settings`; attempts in
    /// flight end over theirs. For certificates that were replaced; what else has changed in `settings` since
    /// [`Methods::new`] may count or not.
    ///
    /// # Errors
    ///
    /// When a certificate or a key of `settings` is not usable; then everything stays as it is.
    pub fn renew(&self, settings: Outbound) -> Result<(), SetupError> {
        let fresh = Ways::new(settings, &self.registry.title)?;
        *self.ways.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn ways(&self) -> Arc<Ways> {
        Arc::clone(&self.ways.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a mail that is no delivery, such as [`Letter::confirmation`], at once: who asked for it
    /// waits, and asks again.
    ///
    /// # Errors
    ///
    /// Why the mail server did not take it.
    pub async fn mail(&self, to: &EmailAddress, letter: &Letter, now: Timestamp) -> Result<(), Cause> {
        let id = Uuid::new_v4().to_string();
        let to = std::slice::from_ref(to);
        let mail = Mail { to, waits_for_all: true, letter, id: &id, event: None, now };
        let report = self.ways().mailer.send(&mail).await;
        report.outcome.cause().cloned().map_or(Ok(()), Err)
    }

    /// Fetches a document that is no delivery, such as a registry's public keys, by the rules of every other request.
    ///
    /// # Errors
    ///
    /// Why it did not come.
    pub async fn fetch(&self, url: &str, now: Timestamp) -> Result<Vec<u8>, Cause> {
        self.ways().client.fetch(url, now).await.map(Vec::from)
    }

    /// Makes one attempt. Never fails otherwise than by its report, and ends within the settings' deadline, or the mail
    /// server's, and the same again where our own store is asked before. Dropping it closes its connection; the receiver may have got the request.
    pub async fn attempt(&self, attempt: Attempt<'_>) -> Report {
        self.attempt_where(attempt, None).await
    }

    /// The same, where `may_follow` says whether it may go on to another host, to which a redirect leads.
    pub async fn attempt_where(&self, attempt: Attempt<'_>, may_follow: Option<&dyn MayFollow>) -> Report {
        let ways = self.ways();
        let ours = OurStore { store: &self.store, patience: self.deadline };
        match &attempt.checked.method {
            MethodConfig::Webhook(config) => {
                let awaits = webhook::awaits_callback(&attempt);
                let callbacks = self.callbacks.as_ref().filter(|_| awaits);
                let callbacks = callbacks.map(|callbacks| (callbacks, ours));
                webhook::attempt(&ways.client, &self.registry, config, callbacks, &attempt, may_follow).await
            }
            MethodConfig::Email(config) => {
                // Apart, because it is large: an attempt by any other method would be as large.
                Box::pin(email::attempt(&ways.mailer, ours, &self.registry, config, &attempt)).await
            }
            MethodConfig::Chat(config) => {
                chat::attempt(&ways.client, &self.services, &self.registry, config, &attempt).await
            }
            MethodConfig::QuayNotification(target) => {
                let adding = Box::pin(in_app::attempt(&self.store, &self.registry, target, &attempt));
                let added = timeout(self.deadline, adding).await;
                added.unwrap_or_else(|_| Report::deferred(CauseCode::Internal, ours.silent()))
            }
        }
    }
}

/// Our own store, and for how long an attempt waits for what it asks of it.
#[derive(Clone, Copy)]
pub(crate) struct OurStore<'a> {
    pub(crate) store: &'a Store,
    pub(crate) patience: Duration,
}

impl OurStore<'_> {
    /// What was found by `asking`, or why nothing was: our own fault.
    pub(crate) async fn waited<T>(
        self,
        asking: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, String> {
        match timeout(self.patience, asking).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(self) -> String {
        format!("the store did not answer within {:?}", self.patience)
    }
}

impl Report {
    pub(crate) fn delivered(status: Option<u16>) -> Self {
        Self { outcome: Outcome::Delivered, status, was_last: false }
    }

    pub(crate) fn deferred(code: CauseCode, detail: impl Into<String>) -> Self {
        Self::deferred_after(None, Cause::new(code, detail), None)
    }

    pub(crate) fn deferred_after(status: Option<u16>, cause: Cause, hint: Option<Duration>) -> Self {
        Self { outcome: Outcome::Deferred { cause, hint }, status, was_last: false }
    }

    pub(crate) fn rejected(status: Option<u16>, code: CauseCode, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Rejected { cause: Cause::new(code, detail) }, status, was_last: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_is_silent_keeps_no_attempt_longer_than_its_patience() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_sqlite(&folder.path().join("bellbuoy.db")).await.expect("a store");
        let ours = OurStore { store: &store, patience: Duration::from_millis(1) };
        let waited = ours.waited(std::future::pending::<Result<(), StoreError>>()).await;
        assert_eq!(waited, Err("the store did not answer within 1ms".to_owned()));
        assert_eq!(ours.waited(std::future::ready(Ok(7))).await, Ok(7));
    }
}
