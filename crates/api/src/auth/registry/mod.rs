//! Tokens of the registry's own: what it gives its users for pulling and pushing says here what they may do with the
//! same repositories, until it ends.
//!
//! A JSON Web Token as the [Docker registry token specification] has it: signed by a key that the operator named, for
//! our audience, with its `access`. Nothing that the token itself says of keys (`jwk`, `jku`, `x5c`) is listened to.
//!
//! [Docker registry token specification]: https://distribution.github.io/distribution/spec/auth/jwt/

mod claims;
mod keys;
mod source;
mod token;

pub(super) use claims::Grant;

use std::{fmt, future::Future, sync::Arc};

use jiff::Timestamp;

use claims::Claims;
use source::{Fetched, Source};
use token::Token;

/// Whose tokens are taken, and the keys that they are signed with.
#[derive(Clone)]
pub struct RegistryTokens {
    issuer: Arc<str>,
    audience: Arc<str>,
    source: Arc<Source>,
}

/// Why a registry token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    TooLong,
    Malformed,
    Algorithm,
    Critical,
    UnknownKey,
    Signature,
    Claims,
    Issuer,
    Audience,
    Endless,
    Expired,
    NotYet,
    /// Its account here is disabled.
    Disabled,
    /// Not its own fault: there are no keys to check it with.
    NoKeys,
}

impl RegistryTokens {
    /// Takes tokens of `issuer` for `audience`, signed with a key of the document that `fetch` brings: PEM, a JWK, or a
    /// set of JWKs. It is fetched again now and then, and when a token names a key that is not in it, but at most
    /// every half a minute, so it should answer within some seconds and be bounded.
    pub fn new<F>(issuer: &str, audience: &str, fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<u8>, String>> + Send + 'static,
    {
        let fetch = move || -> Fetched { Box::pin(fetch()) };
        let source = Arc::new(Source::new(Box::new(fetch)));
        Self { issuer: issuer.into(), audience: audience.into(), source }
    }

    /// Fetches the keys, and says how many there are.
    ///
    /// # Errors
    ///
    /// When they can't be fetched, or what is fetched is no document of public keys.
    pub async fn load(&self) -> Result<usize, String> {
        self.source.load().await
    }

    /// What a token grants, if it is one.
    pub(super) async fn find(&self, text: &[u8], now: Timestamp) -> Result<Grant, Flaw> {
        let token = Token::read(text)?;
        let keys = self.source.keys_for(&token).await?;
        if !keys.candidates(&token).any(|key| key.verifies(&token)) {
            return Err(Flaw::Signature);
        }
        Claims::read(&token)?.judge(&self.issuer, &self.audience, now)
    }
}

impl fmt::Debug for RegistryTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, audience, .. } = self;
        f.debug_struct("RegistryTokens")
            .field("issuer", issuer)
            .field("audience", audience)
            .finish_non_exhaustive()
    }
}

/// Whether a credential can be one of the registry's: JSON in base64 begins so.
pub(super) fn is_one(presented: &[u8]) -> bool {
    presented.starts_with(b"ey") && presented.contains(&b'.')
}

impl Flaw {
    /// What its holder is told: what is wrong, and what to do.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::TooLong => {
                "the registry token is longer than 16384 bytes; ask for access to fewer repositories"
            }
            Self::Malformed => "the registry token is no JSON Web Token of three parts in base64url",
            Self::Algorithm => "the registry token is not signed by RS256, ES256 or EdDSA",
            Self::Critical => "the registry token has critical headers, and none are understood here",
            Self::UnknownKey => {
                "the registry token is signed with a key that is not among those of its issuer"
            }
            Self::Signature => "the registry token's signature is not genuine",
            Self::Claims => "the registry token's claims are not those of the registry token specification",
            Self::Issuer => "the registry token is of another issuer than the one that is trusted here",
            Self::Audience => "the registry token is for another service; ask for one with our audience",
            Self::Endless => "the registry token has no end (`exp`), and is not taken without one",
            Self::Expired => "the registry token has expired; ask its issuer for another",
            Self::NotYet => "the registry token is not valid yet (`nbf`)",
            Self::Disabled => "the registry token's account is disabled here",
            Self::NoKeys => "the keys of registry tokens can't be had just now; try again",
        }
    }

    /// Whether a token that has it was made up, rather than given by the issuer.
    pub(super) fn is_a_guess(self) -> bool {
        matches!(self, Self::TooLong | Self::Malformed | Self::Algorithm | Self::Critical | Self::Signature)
    }
}
