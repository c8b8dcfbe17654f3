//! The key that a webhook is signed with, and what else is secret of its settings.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    pem,
    signing::{
        KeyKind, MOST_RETIRED, PrivateKey, PublicOf, Retired, SigningKey, StoredRetired, stored_private_key,
    },
    webhook::check_header_value,
};

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
pub(crate) const NAMES: &[&str] = &["bearer_token", "password", "authorization", "hmac_secret", CLIENT_KEY];

/// The setting that is a key in PEM.
pub(crate) const CLIENT_KEY: &str = "client_key";

/// The setting whose members are secret.
pub(crate) const HEADERS: &str = "secret_headers";

/// The version of what is stored.
const VERSION: u32 = 1;

/// What is secret of a webhook's settings. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    /// `secret`: the key of Standard Webhooks' `v1`.
    pub signing: Option<Secret>,
    /// `signing_key`: the key of its `v1a`.
    pub private: Option<PrivateKey>,
    /// Keys that sign along for a while, the newest first.
    pub retired: Vec<Retired>,
    /// All others by their names; a header's is `secret_headers.` and its name in lower case.
    others: BTreeMap<String, String>,
}

/// The stored form of more than a signing key.
#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_key: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<StoredRetired>,
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
            return Ok(Self { signing: Some(Secret::parse(stored)?), ..Self::default() });
        }
        let stored: Stored = serde_json::from_str(stored).map_err(|_| SecretError::Stored)?;
        if stored.v > VERSION {
            return Err(SecretError::Stored);
        }
        Ok(Self {
            signing: stored.secret.as_deref().map(Secret::parse).transpose()?,
            private: stored.signing_key.as_deref().map(stored_private_key).transpose()?,
            retired: stored.retired.iter().map(Retired::from_stored).collect::<Result<_, _>>()?,
            others: stored.others,
        })
    }

    /// The text to keep: the signing key's own if there is nothing else, as it was before there could
    /// be, so that an older program reads it.
    ///
    /// # Panics
    ///
    /// Never: texts have a JSON form.
    pub fn to_stored(&self) -> String {
        let alone = self.others.is_empty() && self.private.is_none() && self.retired.is_empty();
        match &self.signing {
            Some(signing) if alone => signing.reveal(),
            signing => {
                let stored = Stored {
                    v: VERSION,
                    secret: signing.as_ref().map(Secret::reveal),
                    signing_key: self.private.as_ref().map(PrivateKey::reveal),
                    retired: self.retired.iter().map(Retired::to_stored).collect(),
                    others: self.others.clone(),
                };
                serde_json::to_string(&stored).expect("texts have a JSON form")
            }
        }
    }

    /// Takes everything secret out of a webhook's settings and leaves [`MASK`] in its place, so that it
    /// is never stored or shown among them; `secret` and `signing_key` leave nothing. Where the mask itself is
    /// written, `old`'s value stays; those two stay if they are not written at all.
    ///
    /// # Errors
    ///
    /// Names the first that will not do. Never repeats it.
    pub fn take(
        config: &mut Map<String, Value>,
        old: &Self,
        public_of: PublicOf,
    ) -> Result<Self, SecretError> {
        let signing = take_secret(config)?.or_else(|| old.signing.clone());
        let private = take_text(config, KeyKind::SigningKey.name())?
            .map(|text| PrivateKey::parse(&text, public_of))
            .transpose()?
            .or_else(|| old.private.clone());
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
        Ok(Self { signing, private, retired: old.retired.clone(), others })
    }

    /// Puts `fresh` in the place of the current key of its kind, which signs along until `until`; at `now` what is
    /// over is forgotten.
    ///
    /// # Errors
    ///
    /// When [`MOST_RETIRED`] keys sign along already.
    pub fn rotate(&mut self, fresh: SigningKey, until: Timestamp, now: Timestamp) -> Result<(), SecretError> {
        let old = match fresh {
            SigningKey::Secret(fresh) => self.signing.replace(fresh).map(SigningKey::Secret),
            SigningKey::Private(fresh) => self.private.replace(fresh).map(SigningKey::Private),
        };
        self.retired.retain(|retired| retired.until > now);
        if let Some(key) = old.filter(|_| until > now) {
            self.retired.insert(0, Retired { key, until });
        }
        if self.retired.len() > MOST_RETIRED { Err(SecretError::TooManyKeys) } else { Ok(()) }
    }

    /// Every key that signs `v1` at `now`, the current one first.
    pub fn secrets_at(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        let retired = self.retired_at(now).filter_map(|retired| match &retired.key {
            SigningKey::Secret(secret) => Some(secret),
            SigningKey::Private(_) => None,
        });
        self.signing.iter().chain(retired)
    }

    /// Every key that signs `v1a` at `now`, the current one first.
    pub fn private_keys_at(&self, now: Timestamp) -> impl Iterator<Item = &PrivateKey> {
        let retired = self.retired_at(now).filter_map(|retired| match &retired.key {
            SigningKey::Private(key) => Some(key),
            SigningKey::Secret(_) => None,
        });
        self.private.iter().chain(retired)
    }

    /// The keys that sign along at `now`.
    pub fn retired_at(&self, now: Timestamp) -> impl Iterator<Item = &Retired> {
        self.retired.iter().filter(move |retired| retired.until > now)
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
    if name == CLIENT_KEY { pem::check_key(&text) } else { check_header_value(&text) }.map_err(fault)?;
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
    take_text(config, KeyKind::Secret.name())?.map(|text| Secret::parse(&text)).transpose()
}

/// Takes a text out of the settings; null and empty are none.
fn take_text(config: &mut Map<String, Value>, name: &str) -> Result<Option<String>, SecretError> {
    match config.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) if name == KeyKind::SigningKey.name() => {
            Err(SecretError::PrivateKey("should be a string: `whsk_` and 32 or 64 bytes in base64"))
        }
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
    /// The key of `v1a` has another form.
    #[error("`signing_key` {0}")]
    PrivateKey(&'static str),
    /// Replaced too often in too short a time.
    #[error(
        "{MOST_RETIRED} replaced keys sign along already; wait until one has ended, or rotate without grace"
    )]
    TooManyKeys,
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

    /// Not what ed25519 says, but as good here.
    fn public_of(seed: &[u8; 32]) -> [u8; 32] {
        *seed
    }

    fn taken(config: &mut Value, old: &Secrets) -> Result<Secrets, SecretError> {
        Secrets::take(config.as_object_mut().expect("an object"), old, public_of)
    }

    fn key(byte: u8) -> SigningKey {
        SigningKey::Secret(Secret::from_bytes(vec![byte; 24]).expect("a secret"))
    }

    fn private(byte: u8) -> SigningKey {
        SigningKey::Private(PrivateKey::from_seed([byte; 32], public_of))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_replaced_key_signs_along_until_its_end_and_not_at_it() {
        let mut secrets = Secrets::default();
        for (fresh, until, now) in
            [(key(1), 0, 0), (key(2), 20, 10), (private(8), 0, 10), (private(9), 30, 10), (key(3), 40, 15)]
        {
            secrets.rotate(fresh, at(until), at(now)).expect("rotated");
        }
        let bytes = |second| {
            let shared = secrets.secrets_at(at(second)).map(|secret| secret.key()[0]);
            shared.chain(secrets.private_keys_at(at(second)).map(|key| key.seed()[0])).collect::<Vec<_>>()
        };
        assert_eq!(bytes(19), [3, 2, 1, 9, 8], "the current one of each kind first, the newest next");
        assert_eq!((bytes(20), bytes(30), bytes(40)), (vec![3, 2, 9, 8], vec![3, 2, 9], vec![3, 9]));
        assert_eq!(Secrets::parse(&secrets.to_stored()), Ok(secrets.clone()));
    }

    #[test]
    fn without_grace_the_old_key_signs_no_more_and_what_is_over_is_forgotten() {
        let mut secrets = Secrets::default();
        for (fresh, until, now) in [(key(1), 0, 0), (key(2), 20, 10), (key(3), 20, 20)] {
            secrets.rotate(fresh, at(until), at(now)).expect("rotated");
        }
        assert!(secrets.retired.is_empty(), "{:?}", secrets.retired);
    }

    #[test]
    fn ten_keys_sign_along_and_no_more() {
        let mut secrets = Secrets::default();
        for byte in 0..=10 {
            secrets.rotate(key(byte), at(100), at(1)).expect("rotated");
        }
        assert_eq!(secrets.clone().rotate(key(11), at(100), at(1)), Err(SecretError::TooManyKeys));
        secrets.rotate(key(11), at(200), at(100)).expect("they have ended");
    }

    #[test]
    fn a_signing_key_leaves_the_settings_and_stays_until_another_is_given() {
        let seed = format!("whsk_{}", STANDARD.encode([5; 32]));
        let mut config = json!({"url": "u", "signing_key": seed});
        let secrets = taken(&mut config, &Secrets::default()).expect("secrets");
        assert_eq!(
            (config, secrets.private.as_ref().map(PrivateKey::seed)),
            (json!({"url": "u"}), Some(&[5; 32]))
        );
        assert_eq!(taken(&mut json!({"url": "u"}), &secrets), Ok(secrets.clone()));
        let error = taken(&mut json!({"signing_key": 5}), &secrets).expect_err("no text").to_string();
        assert!(error.starts_with("`signing_key` should be a string"), "{error}");
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
            (json!({"client_key": "hunter2"}), "`config.client_key` should be PEM"),
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
