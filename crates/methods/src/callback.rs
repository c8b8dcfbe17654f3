//! Where a receiver of Docker Hub's payload may call back: a URL with a token that nobody can guess, known to the store
//! before the request is sent.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bellbuoy_domain::{Place, Subject};
use bellbuoy_store::AwaitedCallback;
use jiff::{SignedDuration, Timestamp};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};

use crate::{Attempt, attempt::OurStore};

/// Random bytes of a token.
const BYTES: usize = 32;

/// What receivers may call back.
#[derive(Debug, Clone)]
pub struct Callbacks {
    /// Base URL under which they reach the API.
    pub public_url: String,
    /// How long they may take, from the last request on.
    pub patience: Duration,
}

impl Callbacks {
    /// The URL for one attempt, once the store knows it. Earlier attempts' stay good.
    ///
    /// # Errors
    ///
    /// Says why there is none: our own fault.
    pub(crate) async fn url(
        &self,
        ours: OurStore<'_>,
        attempt: &Attempt<'_>,
        place: &Place<'_>,
    ) -> Result<String, String> {
        let Subject::Repository(repository) = &attempt.event.subject else {
            return Err("an event of no repository has no callback".to_owned());
        };
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gave no random bytes".to_owned())?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let awaited = AwaitedCallback {
            delivery: attempt.delivery,
            first: place.first,
            link: place.link,
            notification: attempt.notification.id,
            source: attempt.event.source.clone(),
            event: attempt.event.id.clone(),
            subject: repository.as_str().to_owned(),
            expires_at: self.expires_at(attempt.now),
        };
        ours.waited(ours.store.await_callback(&awaited, &hash)).await?;
        // As Docker Hub writes the name of an official image, which has no namespace.
        let place = if repository.namespace().is_empty() { "_" } else { "u" };
        Ok(format!("{}/{place}/{repository}/hook/{token}/", self.public_url.trim_end_matches('/')))
    }

    fn expires_at(&self, now: Timestamp) -> Timestamp {
        let patience = SignedDuration::try_from(self.patience).unwrap_or(SignedDuration::MAX);
        now.checked_add(patience).unwrap_or(Timestamp::MAX)
    }
}
