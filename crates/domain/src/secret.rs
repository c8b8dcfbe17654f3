//! The key that a webhook is signed with.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// What every secret's text begins with ([Standard Webhooks 1.0.0], "Signature scheme").
///
/// [Standard Webhooks 1.0.0]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const PREFIX: &str = "whsec_";

/// Fewest and most bytes of a key, by the same text.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A webhook's signing key. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads `whsec_` and the key in padded base64.
    ///
    /// # Errors
    ///
    /// When it has another form, or the key is not 24 to 64 bytes long. The error never repeats it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        Self::from_bytes(STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?)
    }

    /// A key of the caller's own random bytes.
    ///
    /// # Errors
    ///
    /// When there are not 24 to 64 of them.
    pub fn from_bytes(key: Vec<u8>) -> Result<Self, SecretError> {
        if LENGTHS.contains(&key.len()) { Ok(Self(key)) } else { Err(SecretError::Length(key.len())) }
    }

    /// The key, to sign with.
    pub fn key(&self) -> &[u8] {
        &self.0
    }

    /// Its text, to show its owner once and to keep.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Takes `secret` out of a webhook's settings, so that it is never stored or shown among them.
/// `None` if there is none, or it is null or empty. The others keep their order.
///
/// # Errors
///
/// When it is there but no secret. It is taken out all the same.
pub fn take_secret(config: &mut Map<String, Value>) -> Result<Option<Secret>, SecretError> {
    match config.shift_remove("secret") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Secret::parse(&text).map(Some),
        Some(_) => Err(SecretError::NotText),
    }
}

/// Why a text is no secret. Never repeats it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not a string.
    #[error("`secret` should be a string: `whsec_` and 24 to 64 bytes in base64")]
    NotText,
    /// Another beginning.
    #[error("`secret` should begin with `whsec_`")]
    Prefix,
    /// What follows is not base64.
    #[error("`secret` should be padded base64 after `whsec_`")]
    Base64,
    /// Too short to be safe or too long to be meant.
    #[error("`secret` holds {0} bytes, but should hold 24 to 64")]
    Length(usize),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(length: usize) -> String {
        format!("whsec_{}", STANDARD.encode(vec![7; length]))
    }

    #[test]
    fn a_secret_is_a_prefix_and_24_to_64_bytes() {
        for length in [24, 32, 64] {
            let secret = Secret::parse(&of(length)).expect("a secret");
            assert_eq!((secret.key().len(), secret.reveal()), (length, of(length)));
        }
        for (text, error) in [
            (of(23), SecretError::Length(23)),
            (of(65), SecretError::Length(65)),
            ("whsec_".to_owned(), SecretError::Length(0)),
            ("whsec_!!".to_owned(), SecretError::Base64),
            ("hunter2".to_owned(), SecretError::Prefix),
            (of(24).to_uppercase(), SecretError::Prefix),
        ] {
            assert_eq!(Secret::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn no_error_and_no_debug_form_shows_it() {
        let secret = Secret::parse(&of(24)).expect("a secret");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let error = Secret::parse("whsec_hunter2hunter2!").expect_err("not base64").to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn it_leaves_the_settings_and_the_others_keep_their_order() {
        let mut config = json!({"url": "u", "secret": of(24), "x": 1, "y": 2});
        let config = config.as_object_mut().expect("an object");
        assert!(take_secret(config).expect("a secret").is_some());
        assert_eq!(config.keys().collect::<Vec<_>>(), ["url", "x", "y"]);
        for none in [json!(null), json!("")] {
            config.insert("secret".into(), none);
            assert_eq!(take_secret(config), Ok(None));
        }
        config.insert("secret".into(), json!(5));
        assert_eq!(take_secret(config), Err(SecretError::NotText));
        assert!(!config.contains_key("secret"));
    }
}
