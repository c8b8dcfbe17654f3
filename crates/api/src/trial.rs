//! How the API tries an endpoint out: by a function that the binary hands in, for only the methods open connections.

use std::{fmt, pin::Pin, sync::Arc};

use bellbuoy_domain::{Event, Notification};
use jiff::Timestamp;

type Making = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Makes one attempt for a notification that need not be stored, and says whether its receiver took it. Clones share it.
#[derive(Clone)]
pub struct Trial(Arc<dyn Fn(Notification, Event, Timestamp) -> Making + Send + Sync>);

impl Trial {
    /// By `make`, which returns once the receiver has answered, or with why it did not take it.
    pub fn new<F>(make: impl Fn(Notification, Event, Timestamp) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Arc::new(move |notification, event, now| Box::pin(make(notification, event, now))))
    }

    pub(crate) async fn make(
        &self,
        notification: Notification,
        event: Event,
        now: Timestamp,
    ) -> Result<(), String> {
        (self.0)(notification, event, now).await
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trial(..)")
    }
}
