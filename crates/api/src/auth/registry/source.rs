//! Where the keys come from, and for how long they are good: a key that its issuer gave up is not trusted for ever, and
//! a token that names an unknown one makes nobody fetch keys all day.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{Flaw, keys::Keys, token::Token};

/// How old the keys may be before they are fetched again, beside the work.
const FRESH: Duration = Duration::from_mins(5);

/// How old they may be at most. Beyond that none are known.
const STALE: Duration = Duration::from_hours(24);

/// The least between two fetches, whoever asks for them.
const PAUSE: Duration = Duration::from_secs(30);

/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) type Fetched = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// Brings the document of keys.
pub(super) type Fetch = Box<dyn Fn() -> Fetched + Send + Sync>;

/// The keys, fetched when they are needed.
pub(super) struct Source {
    fetch: Fetch,
    known: watch::Sender<Known>,
    fetching: Mutex<Fetching>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    keys: Arc<Keys>,
    /// When they were fetched.
    at: Option<Instant>,
    /// Fetches that have ended, well or not.
    ended: u64,
}

#[derive(Debug, Default)]
struct Fetching {
    begun: Option<Instant>,
    /// Whether one is under way.
    busy: bool,
}

impl Known {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.at.is_some_and(|at| at.elapsed() < age)
    }
}

impl Source {
    pub(super) fn new(fetch: Fetch) -> Self {
        Self { fetch, known: watch::Sender::default(), fetching: Mutex::default() }
    }

    /// Keys, among which is one that can have signed the token.
    pub(super) async fn keys_for(self: &Arc<Self>, token: &Token<'_>) -> Result<Arc<Keys>, Flaw> {
        let mut known = self.known.borrow().clone();
        if !known.is_younger_than(FRESH) {
            self.begin();
        }
        let is_there = |known: &Known| known.keys.candidates(token).next().is_some();
        if !known.is_younger_than(STALE) || !is_there(&known) {
            self.renew(known.ended).await;
            known = self.known.borrow().clone();
        }
        if !known.is_younger_than(STALE) {
            return Err(Flaw::NoKeys);
        }
        if is_there(&known) { Ok(known.keys) } else { Err(Flaw::UnknownKey) }
    }

    /// Begins a fetch, if it is time, and waits for the one under way to end; not for long.
    async fn renew(self: &Arc<Self>, ended: u64) {
        let mut known = self.known.subscribe();
        if self.begin() {
            // Whether it came to anything is looked at by whoever waits.
            let _ = timeout(PATIENCE, known.wait_for(|known| known.ended > ended)).await;
        }
    }

    /// Whether a fetch is under way now.
    fn begin(self: &Arc<Self>) -> bool {
        {
            let mut fetching = self.fetching();
            if fetching.busy {
                return true;
            }
            if fetching.begun.is_some_and(|begun| begun.elapsed() < PAUSE) {
                return false;
            }
            *fetching = Fetching { begun: Some(Instant::now()), busy: true };
        }
        let source = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(problem) = source.load().await {
                warn!(
                    "can't read the keys of registry tokens: {problem}; those that are known go on for a day"
                );
            }
        });
        true
    }

    /// Fetches the keys now, and says how many there are.
    pub(super) async fn load(&self) -> Result<usize, String> {
        let done = Done(self);
        let read = (self.fetch)().await.and_then(|document| Keys::read(&document));
        let read = read.map(|keys| {
            let count = keys.len();
            self.known.send_modify(|known| {
                if known.at.is_none() {
                    info!("{count} keys of registry tokens are known");
                }
                (known.keys, known.at) = (Arc::new(keys), Some(Instant::now()));
            });
            count
        });
        drop(done);
        read
    }

    fn fetching(&self) -> std::sync::MutexGuard<'_, Fetching> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// However a fetch ends, those who wait for it are told.
struct Done<'a>(&'a Source);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetching().busy = false;
        self.0.known.send_modify(|known| known.ended += 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;

    use super::*;

    struct Rig {
        source: Arc<Source>,
        fetches: Arc<AtomicU64>,
        document: Arc<Mutex<Result<String, String>>>,
    }

    fn set(id: &str) -> String {
        json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43), "kid": id}).to_string()
    }

    impl Rig {
        fn new(document: Result<String, String>) -> Self {
            let (fetches, document) = (Arc::<AtomicU64>::default(), Arc::new(Mutex::new(document)));
            let (count, brought) = (Arc::clone(&fetches), Arc::clone(&document));
            let fetch = move || -> Fetched {
                count.fetch_add(1, Ordering::SeqCst);
                let document = brought.lock().expect("not poisoned").clone();
                Box::pin(async move { document.map(String::into_bytes) })
            };
            Self { source: Arc::new(Source::new(Box::new(fetch))), fetches, document }
        }

        async fn ask(&self, id: &str) -> Option<Flaw> {
            use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
            let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": "EdDSA", "kid": id}).to_string());
            let text = format!("{header}.e30.AA");
            let token = Token::read(text.as_bytes()).expect("a token");
            self.source.keys_for(&token).await.err()
        }

        fn becomes(&self, document: Result<String, String>) {
            *self.document.lock().expect("not poisoned") = document;
        }

        fn fetches(&self) -> u64 {
            self.fetches.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_once_for_all_and_again_when_they_are_old() {
        let rig = Rig::new(Ok(set("a")));
        let (one, other) = tokio::join!(rig.ask("a"), rig.ask("a"));
        assert_eq!((one, other, rig.fetches()), (None, None, 1));
        tokio::time::advance(FRESH).await;
        rig.becomes(Ok(set("b")));
        assert_eq!(rig.ask("a").await, None, "the old ones serve while new ones come");
        assert_eq!((rig.ask("b").await, rig.fetches()), (None, 2));
        assert_eq!(rig.ask("a").await, Some(Flaw::UnknownKey), "one that was given up is not trusted");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_fetched_for_at_most_twice_a_minute() {
        let rig = Rig::new(Ok(set("a")));
        assert_eq!(rig.ask("a").await, None);
        for _ in 0..100 {
            assert_eq!(rig.ask("b").await, Some(Flaw::UnknownKey));
        }
        assert_eq!(rig.fetches(), 1);
        tokio::time::advance(PAUSE).await;
        rig.becomes(Ok(set("b")));
        assert_eq!((rig.ask("b").await, rig.fetches()), (None, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_is_away_is_outlasted_for_a_day_and_no_longer() {
        let rig = Rig::new(Err("away".to_owned()));
        assert_eq!(
            (rig.ask("a").await, rig.ask("a").await, rig.fetches()),
            (Some(Flaw::NoKeys), Some(Flaw::NoKeys), 1)
        );
        tokio::time::advance(PAUSE).await;
        rig.becomes(Ok(set("a")));
        assert_eq!(rig.ask("a").await, None);
        for broken in [Err("away".to_owned()), Ok("<html>".to_owned())] {
            tokio::time::advance(STALE / 3).await;
            rig.becomes(broken);
            assert_eq!(rig.ask("a").await, None);
        }
        tokio::time::advance(STALE / 3).await;
        assert_eq!(rig.ask("a").await, Some(Flaw::NoKeys));
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_never_answers_holds_a_request_for_some_seconds() {
        let source = Arc::new(Source::new(Box::new(|| -> Fetched { Box::pin(std::future::pending()) })));
        let fetches = Arc::default();
        let rig = Rig { source, fetches, document: Arc::new(Mutex::new(Ok(set("a")))) };
        let begun = Instant::now();
        assert_eq!(rig.ask("a").await, Some(Flaw::NoKeys));
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
