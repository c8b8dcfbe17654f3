//! The key that a webhook is signed with, and what else is secret of its settings.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::webhook::check_header_value;

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

/// What stands in the settings for a value that is kept but never shown. Written back, it keeps the value.
pub const MASK: &str = "********";

/// The settings that are secret, but for `secret` itself.
const NAMES: &[&str] = &["bearer_token", "password", "authorization", "hmac_secret"];

/// The setting whose members are secret.
pub(crate) const HEADERS: &str = "secret_headers";

/// The version of what is stored.
const VERSION: u32 = 1;

/// What is secret of a webhook's settings. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    /// `secret`: the key of Standard Webhooks.
    pub signing: Option<Secret>,
    /// All others by their names; a header's is `secret_headers.` and its name in lower case.
    others: BTreeMap<String, String>,
}

/// The stored form of more than a signing key.
#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default)]
    others: BTreeMap<String, String>,
}

impl Secrets {
    /// Reads what [`Secrets::to_stored`] wrote.
    ///
    /// # Errors
    ///
    /// When it is neither a signing key nor such an object, or one of a newer version.
    pub fn parse(stored: &str) -> Result<Self, SecretError> {
        if !stored.starts_with('{') {
            return Ok(Self { signing: Some(Secret::parse(stored)?), others: BTreeMap::new() });
        }
        let stored: Stored = serde_json::from_str(stored).map_err(|_| SecretError::Stored)?;
        if stored.v > VERSION {
            return Err(SecretError::Stored);
        }
        let signing = stored.secret.as_deref().map(Secret::parse).transpose()?;
        Ok(Self { signing, others: stored.others })
    }

    /// The text to keep: the signing key's own if there is nothing else, as it was before there could
    /// be, so that an older program reads it.
    ///
    /// # Panics
    ///
    /// Never: texts have a JSON form.
    pub fn to_stored(&self) -> String {
        match &self.signing {
            Some(signing) if self.others.is_empty() => signing.reveal(),
            signing => {
                let secret = signing.as_ref().map(Secret::reveal);
                let stored = Stored { v: VERSION, secret, others: self.others.clone() };
                serde_json::to_string(&stored).expect("texts have a JSON form")
            }
        }
    }

    /// Takes everything secret out of a webhook's settings and leaves [`MASK`] in its place, so that it
    /// is never stored or shown among them; `secret` leaves nothing. Where the mask itself is written,
    /// `old`'s value stays; `secret` stays if it is not written at all.
    ///
    /// # Errors
    ///
    /// Names the first that will not do. Never repeats it.
    pub fn take(config: &mut Map<String, Value>, old: &Self) -> Result<Self, SecretError> {
        let signing = take_secret(config)?.or_else(|| old.signing.clone());
        let mut others = BTreeMap::new();
        for name in NAMES {
            if let Some(value) = config.get_mut(*name) {
                take_one(name, value, old, &mut others)?;
            }
        }
        if let Some(Value::Object(headers)) = config.get_mut(HEADERS) {
            for (name, value) in headers {
                take_one(&format!("{HEADERS}.{}", name.to_ascii_lowercase()), value, old, &mut others)?;
            }
        }
        Ok(Self { signing, others })
    }

    /// The value of a setting, such as `bearer_token`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.others.get(name).map(String::as_str)
    }

    /// The value of a secret header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.get(&format!("{HEADERS}.{name}"))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// Moves one value; null and empty are none.
fn take_one(
    name: &str,
    value: &mut Value,
    old: &Secrets,
    others: &mut BTreeMap<String, String>,
) -> Result<(), SecretError> {
    let fault = |problem: String| SecretError::Value { name: name.chars().take(80).collect(), problem };
    let is_header = name.starts_with(HEADERS);
    let text = match value {
        Value::Null if !is_header => return Ok(()),
        Value::String(text) if text.is_empty() && !is_header => return Ok(()),
        Value::String(text) if text == MASK => old
            .get(name)
            .ok_or_else(|| fault("is masked, but no value of it is kept; give the value".to_owned()))?
            .to_owned(),
        Value::String(text) => std::mem::take(text),
        _ => return Err(fault("should be a string".to_owned())),
    };
    check_header_value(&text).map_err(fault)?;
    others.insert(name.to_owned(), text);
    *value = MASK.into();
    Ok(())
}

/// Takes `secret` out of a webhook's settings, so that it is never stored or shown among them.
/// `None` if there is none, or it is null or empty. The others keep their order.
///
/// # Errors
///
/// When it is there but no secret. It is taken out all the same.
fn take_secret(config: &mut Map<String, Value>) -> Result<Option<Secret>, SecretError> {
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
    /// Another of the secret settings.
    #[error("`config.{name}` {problem}")]
    Value {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What is stored can't be read: it was written by a newer version, perhaps.
    #[error("the stored secrets can't be read; a newer version may have written them")]
    Stored,
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

    fn taken(config: &mut Value, old: &Secrets) -> Result<Secrets, SecretError> {
        Secrets::take(config.as_object_mut().expect("an object"), old)
    }

    #[test]
    fn everything_secret_leaves_a_mask_that_keeps_it_when_written_back() {
        let mut config = json!({
            "url": "u", "bearer_token": "hunter2", "secret_headers": {"X-Token": "hunter3"}, "headers": {"A": "b"},
        });
        let secrets = taken(&mut config, &Secrets::default()).expect("secrets");
        assert_eq!(
            (secrets.get("bearer_token"), secrets.header("x-token")),
            (Some("hunter2"), Some("hunter3"))
        );
        let masked = json!({
            "url": "u", "bearer_token": MASK, "secret_headers": {"X-Token": MASK}, "headers": {"A": "b"},
        });
        assert_eq!(config, masked);
        assert_eq!(format!("{secrets:?}"), "Secrets(..)");

        assert_eq!(taken(&mut config, &secrets).expect("secrets"), secrets, "written back");
        let mut other = json!({"secret_headers": {"x-token": MASK, "X-New": "hunter4"}});
        let changed = taken(&mut other, &secrets).expect("secrets");
        assert_eq!(changed.get("bearer_token"), None, "what is left out is gone");
        assert_eq!((changed.header("x-token"), changed.header("x-new")), (Some("hunter3"), Some("hunter4")));
    }

    #[test]
    fn what_is_stored_is_read_back_and_a_signing_key_alone_is_stored_as_ever() {
        let mut config = json!({"secret": of(24), "password": "hunter2"});
        let secrets = taken(&mut config, &Secrets::default()).expect("secrets");
        let stored = secrets.to_stored();
        assert_eq!(
            stored,
            format!(r#"{{"v":1,"secret":"{}","others":{{"password":"hunter2"}}}}"#, of(24)),
            "stored rows are read by other versions"
        );
        assert_eq!(Secrets::parse(&stored), Ok(secrets));
        let alone =
            Secrets { signing: Some(Secret::parse(&of(24)).expect("a secret")), ..Secrets::default() };
        assert_eq!((alone.to_stored(), Secrets::parse(&of(24))), (of(24), Ok(alone)));
        for unreadable in ["{}", r#"{"v":2}"#, "{", r#"{"v":1,"others":{"a":1}}"#] {
            assert_eq!(Secrets::parse(unreadable), Err(SecretError::Stored), "{unreadable}");
        }
    }

    #[test]
    fn a_secret_that_will_not_do_is_named_and_not_shown() {
        for (config, word) in [
            (json!({"bearer_token": MASK}), "no value of it is kept"),
            (json!({"password": 7}), "`config.password` should be a string"),
            (json!({"authorization": "hunter2\r\nX: y"}), "control characters"),
            (json!({"hmac_secret": "hunter2é"}), "outside ASCII"),
            (json!({"bearer_token": "hunter2".repeat(1000)}), "longer than 4096 bytes"),
            (
                json!({"secret_headers": {"X-A": ["hunter2"]}}),
                "`config.secret_headers.x-a` should be a string",
            ),
        ] {
            let error = taken(&mut config.clone(), &Secrets::default()).expect_err("refused").to_string();
            assert!(error.contains(word) && !error.contains("hunter2"), "{config}: {error}");
        }
    }
}
