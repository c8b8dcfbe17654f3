//! Tokens: how they are made, and how one that is presented is found.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bellbuoy_domain::TokenScopes;
use bellbuoy_store::{Account, Store, StoreError, Token};
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, timeout};

use super::{Who, fingerprint};
use crate::problem::Problem;

/// What every token of ours begins with, so that scanners of code and logs can tell one.
const PREFIX: &str = "bbt_";

/// Random bytes of a token: nobody guesses 256 bits, so a plain SHA-256 hides it well enough.
const BYTES: usize = 32;

/// How long what was read of a token serves further requests: a revoked one is refused after that, everywhere.
const FRESH: Duration = Duration::from_secs(1);

/// How long it serves while the store is out of reach, so that producers known by then can go on.
const STALE: Duration = Duration::from_mins(10);

/// How long a request with a token that is remembered waits for the store.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Tokens remembered for that.
const REMEMBERED: usize = 4096;

/// How old the note of a token's last use may be.
const NOTED: SignedDuration = SignedDuration::from_hours(1);

/// A new token and its SHA-256.
///
/// # Errors
///
/// When the system gives no random bytes.
pub(crate) fn make() -> Result<(String, [u8; 32]), Problem> {
    make_secret(PREFIX)
}

/// 256 random bits behind `prefix`, and the SHA-256 of all of it.
///
/// # Errors
///
/// When the system gives no random bytes.
pub(crate) fn make_secret(prefix: &str) -> Result<(String, [u8; 32]), Problem> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        tracing::error!("the system gave no random bytes for a secret");
        Problem::internal()
    })?;
    let secret = format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let hash = fingerprint(secret.as_bytes());
    Ok((secret, hash))
}

/// Whether a text can be a token of ours: what can't is not looked up.
pub(super) fn is_one(presented: &[u8]) -> bool {
    is_secret(PREFIX, presented)
}

/// Whether a text can be a secret of ours behind `prefix`.
pub(super) fn is_secret(prefix: &str, presented: &[u8]) -> bool {
    let digits = presented.strip_prefix(prefix.as_bytes());
    digits.is_some_and(|digits| {
        digits.len() == BYTES.div_ceil(3) * 4 - 1
            && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// What is known of tokens that were presented lately.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tokens(Arc<Mutex<HashMap<[u8; 32], Remembered>>>);

#[derive(Debug, Clone)]
struct Remembered {
    known: Known,
    /// When the look-up that found it began.
    read_at: Instant,
    /// When the store was last asked in vain since then.
    missed_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Known {
    token: Token,
    /// `None` for a token of nobody's.
    account: Option<Account>,
}

impl Tokens {
    /// Whose a presented token is, what it may be used for and until when. `None` when it is none of ours, expired, revoked, or of
    /// an account that is disabled or gone.
    pub(super) async fn find(
        &self,
        store: &Store,
        presented: &[u8],
        now: Timestamp,
    ) -> Result<Option<(Who, TokenScopes, Option<Timestamp>)>, StoreError> {
        let hash = fingerprint(presented);
        let known = match self.remembered(&hash) {
            Some(one) if one.serves() => Some(one.known),
            Some(one) => self.ask_again(store, hash, one, now).await?,
            None => self.ask(store, hash, now).await?,
        };
        Ok(known.filter(|known| known.is_valid(now)).map(Known::holder))
    }

    /// What was remembered of a token, where that still serves while the store is out of reach.
    fn remembered(&self, hash: &[u8; 32]) -> Option<Remembered> {
        // A table keyed by a digest of 256 random bits: how long the search takes tells nothing of the token.
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(hash).filter(|one| one.read_at.elapsed() < STALE).cloned()
    }

    async fn ask(&self, store: &Store, hash: [u8; 32], now: Timestamp) -> Result<Option<Known>, StoreError> {
        let began = Instant::now();
        let known = look_up(store, &hash, now).await?;
        self.remember(hash, began, known.clone());
        Ok(known)
    }

    /// The token as the store has it or, where that does not answer at once, as it was `remembered`. The look-up goes on
    /// meanwhile, so that a store that is merely slow is heard as well.
    async fn ask_again(
        &self,
        store: &Store,
        hash: [u8; 32],
        remembered: Remembered,
        now: Timestamp,
    ) -> Result<Option<Known>, StoreError> {
        if remembered.missed_at.is_some() {
            // It has failed already: one request in a second finds out whether it is back.
            self.missed(&hash);
        }
        let (tokens, store) = (self.clone(), store.clone());
        let asking = tokio::spawn(async move { tokens.ask(&store, hash, now).await });
        match timeout(AT_ONCE, asking).await {
            Ok(Ok(Ok(known))) => Ok(known),
            Ok(Ok(Err(error))) if !matches!(error, StoreError::Unavailable { .. }) => Err(error),
            _ => {
                self.missed(&hash);
                Ok(Some(remembered.known))
            }
        }
    }

    /// Notes that the store was asked for a token in vain, which leaves it alone for a while.
    fn missed(&self, hash: &[u8; 32]) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = tokens.get_mut(hash) {
            one.missed_at = Some(Instant::now());
        }
    }

    fn remember(&self, hash: [u8; 32], read_at: Instant, known: Option<Known>) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.get(&hash).is_some_and(|one| one.read_at > read_at) {
            // An answer that was long on its way, of what has been read since.
            return;
        }
        let Some(known) = known else {
            tokens.remove(&hash);
            return;
        };
        if tokens.len() >= REMEMBERED {
            tokens.retain(|_, one| one.read_at.elapsed() < FRESH);
        }
        if tokens.len() < REMEMBERED || tokens.contains_key(&hash) {
            tokens.insert(hash, Remembered { known, read_at, missed_at: None });
        }
    }
}

impl Remembered {
    /// Whether it serves without the store being asked: it was just read, or the store just did not answer.
    fn serves(&self) -> bool {
        let is_recent = |at: Instant| at.elapsed() < FRESH;
        is_recent(self.read_at) || self.missed_at.is_some_and(is_recent)
    }
}

async fn look_up(store: &Store, hash: &[u8; 32], now: Timestamp) -> Result<Option<Known>, StoreError> {
    let Some(token) = store.token_by_hash(hash).await? else { return Ok(None) };
    let account = match &token.account {
        None => None,
        Some(name) => match store.account(name).await? {
            Some(account) => Some(account),
            None => return Ok(None),
        },
    };
    let known = Known { token, account };
    if known.is_valid(now) && known.token.last_used_at.is_none_or(|at| now.duration_since(at) > NOTED) {
        // A note that can't be made must not keep anybody out.
        if let Err(error) = store.token_used(known.token.id, now).await {
            tracing::debug!("can't note the use of token {}: {error}", known.token.id);
        }
    }
    Ok(Some(known))
}

impl Known {
    fn is_valid(&self, now: Timestamp) -> bool {
        self.token.expires_at.is_none_or(|at| now < at)
            && self.account.as_ref().is_none_or(|account| account.enabled)
    }

    fn holder(self) -> (Who, TokenScopes, Option<Timestamp>) {
        let who = match self.account {
            Some(account) => Who::Account(Box::new(account)),
            None => Who::Registry { token: self.token.id },
        };
        (who, self.token.scopes, self.token.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use bellbuoy_testkit::postgres::Postgres;
    use tokio::time::{advance, pause, resume};
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_token_that_was_seen_goes_on_at_once_while_the_store_does_not_answer_and_ends_when_it_does_again()
     {
        let server = Postgres::start().await;
        let store = Store::open(&server.database().await).await.expect("a store");
        let (text, hash) = make().expect("a token");
        let token = Token {
            id: Uuid::new_v4(),
            title: "producer".to_owned(),
            account: None,
            scopes: TokenScopes::all(),
            created_by: "admin".to_owned(),
            created_at: Timestamp::now(),
            expires_at: None,
            last_used_at: None,
        };
        store.create_token(&token, &hash).await.expect("kept");
        let tokens = Tokens::default();
        let find = async || tokens.find(&store, text.as_bytes(), Timestamp::now()).await;
        assert!(find().await.expect("an answer").is_some());
        server.freeze();
        pause();
        for _ in 0..2 {
            advance(FRESH).await;
            let asked_at = Instant::now();
            assert!(find().await.expect("as it was remembered").is_some());
            assert_eq!(
                asked_at.elapsed().as_millis() / 100,
                AT_ONCE.as_millis() / 100,
                "one request waits a little"
            );
            let served_at = Instant::now();
            for _ in 0..100 {
                assert!(find().await.expect("as it was remembered").is_some());
            }
            assert_eq!(served_at.elapsed(), Duration::ZERO, "the others do not wait");
        }
        resume();
        server.thaw();
        assert!(store.revoke_token(token.id).await.expect("revoked"));
        while find().await.expect("an answer").is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_token_looks_like_one_and_no_two_are_the_same() {
        let (one, hash) = make().expect("a token");
        let (two, _) = make().expect("a token");
        assert!(is_one(one.as_bytes()) && one != two);
        assert_eq!(hash, fingerprint(one.as_bytes()));
        for bad in
            ["", PREFIX, &one[1..], &one[..one.len() - 1], &format!("{one}x"), &one.replace("bbt_", "bbt.")]
        {
            assert!(!is_one(bad.as_bytes()), "{bad}");
        }
    }
}
