//! Tokens: how they are made, and how one that is presented is found.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bellbuoy_domain::TokenScopes;
use bellbuoy_store::{Account, Store, StoreError, Token};
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

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
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<[u8; 32], (Instant, Known)>>);

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
        let remembered = self.remembered(&hash);
        let known = match remembered {
            Some((at, known)) if at.elapsed() < FRESH => Some(known),
            remembered => match look_up(store, &hash, now).await {
                Ok(known) => {
                    self.remember(hash, known.clone());
                    known
                }
                Err(StoreError::Unavailable { source }) => match remembered {
                    Some((at, known)) if at.elapsed() < STALE => Some(known),
                    _ => return Err(StoreError::Unavailable { source }),
                },
                Err(error) => return Err(error),
            },
        };
        Ok(known.filter(|known| known.is_valid(now)).map(Known::holder))
    }

    fn remembered(&self, hash: &[u8; 32]) -> Option<(Instant, Known)> {
        // A table keyed by a digest of 256 random bits: how long the search takes tells nothing of the token.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    fn remember(&self, hash: [u8; 32], known: Option<Known>) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known else {
            tokens.remove(&hash);
            return;
        };
        if tokens.len() >= REMEMBERED {
            tokens.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if tokens.len() < REMEMBERED || tokens.contains_key(&hash) {
            tokens.insert(hash, (Instant::now(), known));
        }
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
    use super::*;

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
