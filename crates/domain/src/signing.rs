//! The keys that a webhook's requests are signed with: those in use, and those that sign along until their end.
//!
//! An asymmetric key is ed25519, as [Standard Webhooks 1.0.0] has it under `v1a`. What follows from a seed is not
//! computed here: the caller passes the function in.
//!
//! [Standard Webhooks 1.0.0]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Secret, SecretError};

const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// Bytes of a seed, and of a public key.
const HALF: usize = 32;

/// Most keys that sign along with the current ones.
pub const MOST_RETIRED: usize = 10;

/// What the public key of an ed25519 seed is.
pub type PublicOf = fn(&[u8; HALF]) -> [u8; HALF];

/// An ed25519 key to sign with. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    seed: [u8; HALF],
    public: [u8; HALF],
}

impl PrivateKey {
    /// Reads `whsk_` and, in padded base64, the seed alone or the seed and its public key.
    ///
    /// # Errors
    ///
    /// When it has another form, or the public key is another seed's. The error never repeats it.
    pub fn parse(text: &str, public_of: PublicOf) -> Result<Self, SecretError> {
        let bytes = decode(text)?;
        let seed = bytes.first_chunk().copied().ok_or(SecretError::PrivateKey(LENGTH))?;
        let key = Self::from_seed(seed, public_of);
        match bytes.get(HALF..) {
            Some([]) => Ok(key),
            Some(public) if public == key.public => Ok(key),
            Some(public) if public.len() == HALF => {
                Err(SecretError::PrivateKey("holds a public key that is not its own"))
            }
            _ => Err(SecretError::PrivateKey(LENGTH)),
        }
    }

    /// The key of a seed, which should be 32 random bytes.
    pub fn from_seed(seed: [u8; HALF], public_of: PublicOf) -> Self {
        Self { public: public_of(&seed), seed }
    }

    /// Reads what [`PrivateKey::reveal`] wrote; whether its halves belong together was asked before.
    fn from_stored(text: &str) -> Result<Self, SecretError> {
        let bytes = decode(text)?;
        let halves =
            bytes.first_chunk().copied().zip(bytes.get(HALF..).and_then(|half| half.try_into().ok()));
        halves.map(|(seed, public)| Self { seed, public }).ok_or(SecretError::Stored)
    }

    /// What it is derived from.
    pub fn seed(&self) -> &[u8; HALF] {
        &self.seed
    }

    /// What its signatures are checked with.
    pub fn public(&self) -> &[u8; HALF] {
        &self.public
    }

    /// Its text, to keep: `whsk_` and both halves.
    pub fn reveal(&self) -> String {
        format!("{PRIVATE}{}", STANDARD.encode([self.seed, self.public].concat()))
    }

    /// The text of its public half, for everybody: `whpk_...`.
    pub fn public_text(&self) -> String {
        format!("{PUBLIC}{}", STANDARD.encode(self.public))
    }
}

const LENGTH: &str = "should hold 32 bytes, a seed, or 64, a seed and its public key";

fn decode(text: &str) -> Result<Vec<u8>, SecretError> {
    let encoded = text.strip_prefix(PRIVATE).ok_or(SecretError::PrivateKey("should begin with `whsk_`"))?;
    STANDARD.decode(encoded).map_err(|_| SecretError::PrivateKey("should be padded base64 after `whsk_`"))
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// One of the two kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `secret`: known to both sides, signs `v1`.
    Secret,
    /// `signing_key`: known to us alone, signs `v1a`.
    SigningKey,
}

impl KeyKind {
    /// Both.
    pub const ALL: &[Self] = &[Self::Secret, Self::SigningKey];

    /// The setting that holds it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::SigningKey => "signing_key",
        }
    }
}

/// A key to sign with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SigningKey {
    /// Signs `v1`.
    Secret(Secret),
    /// Signs `v1a`.
    Private(PrivateKey),
}

impl SigningKey {
    /// Which kind it is.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Secret(_) => KeyKind::Secret,
            Self::Private(_) => KeyKind::SigningKey,
        }
    }
}

/// A key that was replaced and signs along, so that receivers can change over in their own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Which.
    pub key: SigningKey,
    /// From then on it signs no more.
    pub until: Timestamp,
}

/// Its stored form.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredRetired {
    key: String,
    /// Unix seconds.
    until: i64,
}

impl Retired {
    pub(crate) fn to_stored(&self) -> StoredRetired {
        let key = match &self.key {
            SigningKey::Secret(secret) => secret.reveal(),
            SigningKey::Private(key) => key.reveal(),
        };
        StoredRetired { key, until: self.until.as_second() }
    }

    pub(crate) fn from_stored(stored: &StoredRetired) -> Result<Self, SecretError> {
        let key = if stored.key.starts_with(PRIVATE) {
            SigningKey::Private(PrivateKey::from_stored(&stored.key)?)
        } else {
            SigningKey::Secret(Secret::parse(&stored.key)?)
        };
        let until = Timestamp::from_second(stored.until).map_err(|_| SecretError::Stored)?;
        Ok(Self { key, until })
    }
}

pub(crate) fn stored_private_key(text: &str) -> Result<PrivateKey, SecretError> {
    PrivateKey::from_stored(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not what ed25519 says, but as good to tell whether it was asked.
    fn public_of(seed: &[u8; HALF]) -> [u8; HALF] {
        seed.map(|byte| !byte)
    }

    fn whsk(bytes: &[u8]) -> String {
        format!("{PRIVATE}{}", STANDARD.encode(bytes))
    }

    #[test]
    fn a_private_key_is_a_seed_with_or_without_its_public_half_and_is_kept_with_it() {
        let both = [[7; HALF], [!7; HALF]].concat();
        for given in [whsk(&[7; HALF]), whsk(&both)] {
            let key = PrivateKey::parse(&given, public_of).expect("a key");
            assert_eq!((key.seed(), key.public()), (&[7; HALF], &[!7; HALF]));
            assert_eq!(key.reveal(), whsk(&both));
            assert_eq!(PrivateKey::from_stored(&key.reveal()), Ok(key.clone()));
            assert_eq!(key.public_text(), format!("whpk_{}", STANDARD.encode([!7; HALF])));
            assert_eq!(format!("{key:?}"), "PrivateKey(..)");
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused_and_not_repeated() {
        for (text, word) in [
            ("hunter2".to_owned(), "should begin with `whsk_`"),
            ("whsk_hunter2!".to_owned(), "padded base64"),
            (whsk(&[]), "32 bytes"),
            (whsk(&[1; 31]), "32 bytes"),
            (whsk(&[1; 33]), "32 bytes"),
            (whsk(&[1; 65]), "32 bytes"),
            (whsk(&[1; 64]), "not its own"),
        ] {
            let error = PrivateKey::parse(&text, public_of).expect_err("refused").to_string();
            assert!(error.contains(word) && !error.contains("hunter2"), "{text}: {error}");
        }
        assert!(PrivateKey::from_stored(&whsk(&[1; HALF])).is_err(), "half of it is kept by nobody");
    }
}
