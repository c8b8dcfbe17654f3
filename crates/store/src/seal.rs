//! What of a notification is encrypted at rest: its settings and its secrets, whole, since either may hold a token in a
//! URL or a template.
//!
//! A sealed text is `sealed:1:KEY:` and, in base64, a random nonce and what ChaCha20-Poly1305 makes of the text. `KEY`
//! tells which key it takes. The notification's id and the column's name are bound in, so that no row's text can be
//! put into another.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use uuid::Uuid;

use crate::StoreError;

/// What a sealed text begins with; neither settings nor secrets do.
const PREFIX: &str = "sealed:1:";

/// Characters of a key's name.
const NAME: usize = 8;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// The keys that secrets are stored under: any of them opens, the first seals. None: secrets are stored as they are.
/// Clones share them; the `Debug` form hides them.
#[derive(Clone, Default)]
pub struct SecretKeys(Arc<Vec<Named>>);

struct Named {
    name: String,
    key: LessSafeKey,
}

/// A column whose text is sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sealed {
    Config,
    Secret,
}

impl Sealed {
    fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Secret => "secret",
        }
    }
}

impl SecretKeys {
    /// Reads keys separated by commas, each 32 bytes in base64 or in hex. `None` for anything else, and for a key
    /// that comes twice.
    pub fn parse(text: &str) -> Option<Self> {
        let mut keys: Vec<Named> = Vec::new();
        for text in text.split(',').map(str::trim) {
            let bytes = key_bytes(text)?;
            let name = name_of(&bytes);
            if keys.iter().any(|known| known.name == name) {
                return None;
            }
            let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes).ok()?);
            keys.push(Named { name, key });
        }
        Some(Self(Arc::new(keys)))
    }

    /// A new key, as [`SecretKeys::parse`] reads it.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn generate() -> Result<String, ring::error::Unspecified> {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(STANDARD.encode(bytes))
    }

    /// The names of the keys, the one that seals first. A name is no secret.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|named| &*named.name)
    }

    /// Whether there is none, so that secrets are stored as they are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text as it is stored.
    pub(crate) fn seal(&self, text: &str, id: Uuid, column: Sealed) -> Result<String, StoreError> {
        let Some(Named { name, key }) = self.0.first() else { return Ok(text.to_owned()) };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| StoreError::corrupt("random number", "the system gave none"))?;
        let mut sealed = nonce.to_vec();
        let mut bytes = text.as_bytes().to_vec();
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound(id, column)),
                &mut bytes,
            )
            .map_err(|_| StoreError::corrupt("secret", "it is too long to be sealed"))?;
        sealed.extend(bytes);
        sealed.extend(tag.as_ref());
        Ok(format!("{PREFIX}{name}:{}", STANDARD.encode(sealed)))
    }

    /// What was sealed; a text that is not sealed as it is.
    pub(crate) fn open(&self, stored: String, id: Uuid, column: Sealed) -> Result<String, StoreError> {
        let Some((name, encoded)) = parts(&stored) else { return Ok(stored) };
        let Some(named) = self.0.iter().find(|named| named.name == name) else {
            return Err(StoreError::Sealed { id: id.into(), key: name.to_owned() });
        };
        let broken = || StoreError::corrupt("sealed text", "it is not what its key sealed for this row");
        let mut bytes = STANDARD.decode(encoded).map_err(|_| broken())?;
        if bytes.len() < NONCE_LEN {
            return Err(broken());
        }
        let mut sealed = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| broken())?;
        let opened = named.key.open_in_place(nonce, Aad::from(bound(id, column)), &mut sealed);
        let length = opened.map_err(|_| broken())?.len();
        sealed.truncate(length);
        String::from_utf8(sealed).map_err(|_| broken())
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The name of the key that a text is sealed under; `None` if it is not sealed.
pub(crate) fn sealed_under(stored: &str) -> Option<&str> {
    parts(stored).map(|(name, _)| name)
}

fn parts(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(PREFIX)?.split_once(':')
}

fn bound(id: Uuid, column: Sealed) -> Vec<u8> {
    [id.as_bytes(), column.name().as_bytes()].concat()
}

fn key_bytes(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mut bytes = [0; KEY_BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        return Some(bytes);
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn name_of(key: &[u8; KEY_BYTES]) -> String {
    let hash = digest(&SHA256, &[b"bellbuoy secret key\0".as_slice(), key].concat());
    let half = |bits: u8| char::from_digit(u32::from(bits), 16).unwrap_or('0');
    hash.as_ref().iter().take(NAME / 2).flat_map(|byte| [half(byte >> 4), half(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; KEY_BYTES])
    }

    fn keys(text: &str) -> SecretKeys {
        SecretKeys::parse(text).expect("keys")
    }

    const ID: Uuid = Uuid::from_u128(7);

    #[test]
    fn what_is_sealed_is_opened_by_its_key_wherever_that_stands_and_is_never_the_same_twice() {
        let one = keys(&key(1));
        let sealed = one.seal("hunter2", ID, Sealed::Secret).expect("sealed");
        assert!(sealed.starts_with(PREFIX) && !sealed.contains("hunter2"), "{sealed}");
        assert_ne!(one.seal("hunter2", ID, Sealed::Secret).expect("sealed"), sealed);
        let rotated = keys(&format!("{}, {}", key(2), key(1)));
        assert_eq!(rotated.open(sealed.clone(), ID, Sealed::Secret).expect("opened"), "hunter2");
        assert_eq!(sealed_under(&sealed), one.names().next());
        assert_ne!(rotated.names().next(), one.names().next(), "the first seals");
    }

    #[test]
    fn a_text_of_another_row_column_or_key_or_one_that_was_touched_is_not_opened() {
        let one = keys(&key(1));
        let sealed = one.seal("hunter2", ID, Sealed::Secret).expect("sealed");
        let mut touched = sealed.clone();
        let last_but = touched.len() - 12;
        let other = if touched.remove(last_but) == 'A' { 'B' } else { 'A' };
        touched.insert(last_but, other);
        for (keys, stored, id, column) in [
            (&one, sealed.clone(), Uuid::from_u128(8), Sealed::Secret),
            (&one, sealed.clone(), ID, Sealed::Config),
            (&one, touched, ID, Sealed::Secret),
            (&one, sealed[..sealed.len() - 8].to_owned(), ID, Sealed::Secret),
            (&one, format!("{PREFIX}{}:AAAA", one.names().next().expect("a key")), ID, Sealed::Secret),
        ] {
            let error = keys.open(stored.clone(), id, column).expect_err("refused");
            assert!(matches!(error, StoreError::Corrupt { .. }), "{stored}: {error:?}");
        }
        for other in [keys(&key(2)), SecretKeys::default()] {
            let error = other.open(sealed.clone(), ID, Sealed::Secret).expect_err("refused");
            assert!(matches!(&error, StoreError::Sealed { .. }), "{error:?}");
            assert!(error.to_string().contains("store.secret_key"), "{error}");
        }
    }

    #[test]
    fn without_a_key_texts_are_stored_as_they_are_and_such_are_read_with_one() {
        let none = SecretKeys::default();
        for text in ["whsec_AAAA", "{}", ""] {
            assert_eq!(none.seal(text, ID, Sealed::Config).expect("stored"), text);
            assert_eq!(keys(&key(1)).open(text.to_owned(), ID, Sealed::Config).expect("read"), text);
        }
    }

    #[test]
    fn a_key_is_32_bytes_in_base64_or_hex_and_comes_once() {
        let hex = "01".repeat(KEY_BYTES);
        assert_eq!(keys(&hex).names().next(), keys(&key(1)).names().next());
        assert!(SecretKeys::parse(&SecretKeys::generate().expect("random bytes")).is_some());
        for wrong in
            ["", "hunter2", &STANDARD.encode([1; 31]), &format!("{},{hex}", key(1)), &format!("{},", key(1))]
        {
            assert!(SecretKeys::parse(wrong).is_none(), "{wrong}");
        }
        assert!(!format!("{:?}", keys(&key(1))).contains(&key(1)));
    }
}
