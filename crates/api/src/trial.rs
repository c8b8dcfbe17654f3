//! How the API tries an endpoint out: by a function that the binary hands in, for only the methods open connections.
//!
//! A trial goes past the caps on deliveries, so that trials have a cap of their own, which leaves the deliveries theirs.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bellbuoy_domain::{Event, Notification};
use http::Uri;
use jiff::Timestamp;

/// Most trials of a process at once.
const AT_ONCE: usize = 8;

/// Most of them to one host.
const TO_ONE_HOST: usize = 2;

type Making = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Makes one attempt for a notification that need not be stored, and says whether its receiver took it. Clones share it.
#[derive(Clone)]
pub struct Trial {
    make: Arc<dyn Fn(Notification, Event, Timestamp) -> Making + Send + Sync>,
    /// The hosts of those that are under way.
    under_way: Arc<Mutex<Vec<String>>>,
}

/// Why a trial was none, or came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// As many as may be at once are under way; nothing was sent.
    Busy,
    /// The receiver did not take it, with why.
    NotTaken(String),
}

impl Trial {
    /// By `make`, which returns once the receiver has answered, or with why it did not take it.
    pub fn new<F>(make: impl Fn(Notification, Event, Timestamp) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let make =
            Arc::new(move |notification, event, now| Box::pin(make(notification, event, now)) as Making);
        Self { make, under_way: Arc::default() }
    }

    pub(crate) async fn make(
        &self,
        notification: Notification,
        event: Event,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let _place = self.enter(host_of(&notification)).ok_or(Failure::Busy)?;
        (self.make)(notification, event, now).await.map_err(Failure::NotTaken)
    }

    fn enter(&self, host: String) -> Option<Place<'_>> {
        let mut hosts = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let there = hosts.iter().filter(|other| **other == host).count();
        if hosts.len() >= AT_ONCE || there >= TO_ONE_HOST {
            return None;
        }
        hosts.push(host.clone());
        Some(Place { trial: self, host })
    }
}

/// One trial's, until it is dropped.
struct Place<'a> {
    trial: &'a Trial,
    host: String,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut hosts = self.trial.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = hosts.iter().position(|host| *host == self.host) {
            hosts.swap_remove(at);
        }
    }
}

/// Whose connections it takes. Those whose URL shows no host are counted together.
fn host_of(notification: &Notification) -> String {
    let url = notification.config.get("url").and_then(|url| url.as_str()?.parse::<Uri>().ok());
    let host = url.as_ref().and_then(Uri::host).unwrap_or_default();
    host.trim_end_matches('.').to_ascii_lowercase()
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trial(..)")
    }
}
