//! How the API sends a mail: by a function that the binary hands in, for only the methods open connections.

use std::{fmt, pin::Pin, sync::Arc};

use bellbuoy_domain::{EmailAddress, Letter};

type Sending = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Sends one mail and says whether the mail server took it. Clones share it.
#[derive(Clone)]
pub struct Mailer(Arc<dyn Fn(EmailAddress, Letter) -> Sending + Send + Sync>);

impl Mailer {
    /// By `send`, which returns once the mail server has taken the mail, or with why it did not.
    pub fn new<F>(send: impl Fn(EmailAddress, Letter) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Arc::new(move |to, letter| Box::pin(send(to, letter))))
    }

    pub(crate) async fn send(&self, to: EmailAddress, letter: Letter) -> Result<(), String> {
        (self.0)(to, letter).await
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailer(..)")
    }
}
