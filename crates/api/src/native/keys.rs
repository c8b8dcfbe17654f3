//! The keys of a webhook: which sign now, and how they are replaced without a receiver missing a request.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    KeyKind, MethodConfig, Notification, PrivateKey, Secret, Secrets, SignatureStyle, SigningKey,
};
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::notifications::{find, object, update};
use crate::{App, auth::Caller, body, draft::signs, keys, now, problem::Problem};

/// How long a replaced key signs along if the request does not say: a day, as others do it.
const USUAL_GRACE: i64 = 24 * 3600;

/// The longest that it can: a week.
const LONGEST_GRACE: i64 = 7 * 24 * 3600;

/// What a rotation can be told. Nothing makes new keys of every kind that signs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    /// Which kind alone.
    key: Option<String>,
    /// The new one, instead of one of ours: `whsec_...`
    secret: Option<String>,
    /// or `whsk_...`
    signing_key: Option<String>,
    /// Seconds that the old one signs along.
    grace_seconds: Option<i64>,
}

/// Which keys sign, without those that are secret.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let notification = find(&app, &caller, &id).await?;
    Ok(Json(json!({ "keys": shown(&notification, now()) })).into_response())
}

/// Replaces keys; the old ones sign along for the grace.
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts.headers, body, app.api.limits.event_bytes).await?;
    let wanted: Rotation =
        if read.bytes.is_empty() { Rotation::default() } else { body::object_from_json(&read.bytes)? };
    let (grace, given) = (wanted.grace()?, wanted.given()?);
    let mut rotated = Vec::new();
    let notification = update(&app, &caller, "notification.rotate", &id, |old| {
        let fresh = if given.is_empty() { wanted.made(&old)? } else { given.clone() };
        rotated = fresh.iter().map(SigningKey::kind).collect();
        replaced(old, fresh, grace, now()).map(Some)
    });
    let notification = notification.await?;
    let mut answer = object(&notification, false);
    if rotated.contains(&KeyKind::Secret)
        && let Some(secret) = secrets_of(&notification).and_then(|secrets| secrets.signing)
    {
        // Shown for once, as at its making.
        answer["config"]["secret"] = secret.reveal().into();
    }
    Ok(Json(answer).into_response())
}

fn replaced(
    old: Notification,
    fresh: Vec<SigningKey>,
    grace: SignedDuration,
    now: Timestamp,
) -> Result<Notification, Problem> {
    if !signs(&old.method) {
        let detail = format!("a notification by {} signs nothing, so it has no key to rotate", old.method);
        return Err(Problem::conflict(detail));
    }
    let mut secrets = match old.secret.as_deref() {
        Some(stored) => Secrets::parse(stored).map_err(|error| Problem::conflict(error.to_string()))?,
        None => Secrets::default(),
    };
    let until = now.saturating_add(grace).unwrap_or(now);
    for key in fresh {
        secrets.rotate(key, until, now).map_err(|error| Problem::conflict(error.to_string()))?;
    }
    Ok(Notification { secret: Some(secrets.to_stored()), updated_at: now, ..old })
}

impl Rotation {
    fn grace(&self) -> Result<SignedDuration, Problem> {
        let seconds = self.grace_seconds.unwrap_or(USUAL_GRACE);
        if (0..=LONGEST_GRACE).contains(&seconds) {
            return Ok(SignedDuration::from_secs(seconds));
        }
        let detail = format!("`grace_seconds` is {seconds}, but should be from 0 to {LONGEST_GRACE}, a week");
        Err(Problem::bad(detail).with("path", "grace_seconds"))
    }

    /// The keys of the request's own.
    fn given(&self) -> Result<Vec<SigningKey>, Problem> {
        let refused = |error: bellbuoy_domain::SecretError| Problem::bad(error.to_string());
        let secret = self.secret.as_deref().map(Secret::parse).transpose().map_err(refused)?;
        let private = self.signing_key.as_deref().map(|text| PrivateKey::parse(text, keys::public_of));
        let private = private.transpose().map_err(refused)?;
        if self.key.is_some() && (secret.is_some() || private.is_some()) {
            return Err(Problem::bad("give `key`, or the new key itself, not both").with("path", "key"));
        }
        Ok(secret.map(SigningKey::Secret).into_iter().chain(private.map(SigningKey::Private)).collect())
    }

    /// New keys of the kind that is asked for or, without a word, of those that the notification signs with.
    fn made(&self, old: &Notification) -> Result<Vec<SigningKey>, Problem> {
        let kinds = match &self.key {
            Some(name) => vec![kind(name)?],
            None => kinds_in_use(old),
        };
        kinds.into_iter().map(keys::make).collect()
    }
}

fn kind(name: &str) -> Result<KeyKind, Problem> {
    let known = KeyKind::ALL.iter().copied().find(|kind| kind.name() == name);
    known.ok_or_else(|| {
        let name: String = name.chars().take(80).collect();
        Problem::bad(format!("`key` is {name:?}, but should be \"secret\" or \"signing_key\""))
            .with("path", "key")
    })
}

/// The secret signs unless `v1a` is all that is wanted.
fn kinds_in_use(notification: &Notification) -> Vec<KeyKind> {
    let styles = styles(notification);
    let asymmetric = styles.contains(&SignatureStyle::Asymmetric);
    let only = asymmetric && styles.len() == 1;
    let kinds = [(KeyKind::Secret, !only), (KeyKind::SigningKey, asymmetric)];
    kinds.into_iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| kind).collect()
}

fn styles(notification: &Notification) -> Vec<SignatureStyle> {
    match notification.check().map(|checked| checked.method) {
        Ok(MethodConfig::Webhook(webhook)) => webhook.options.signatures,
        _ => Vec::new(),
    }
}

fn secrets_of(notification: &Notification) -> Option<Secrets> {
    Secrets::parse(notification.secret.as_deref()?).ok()
}

/// Each key that signs: its kind, how to tell it from others, and when it ends. A public key is shown whole.
pub(crate) fn shown(notification: &Notification, now: Timestamp) -> Vec<Value> {
    let Some(secrets) = secrets_of(notification) else { return Vec::new() };
    let secret = secrets.signing.iter().map(|key| shown_secret(key, None));
    let private = secrets.private.iter().map(|key| shown_private(key, None));
    let retired = secrets.retired_at(now).map(|retired| match &retired.key {
        SigningKey::Secret(key) => shown_secret(key, Some(retired.until)),
        SigningKey::Private(key) => shown_private(key, Some(retired.until)),
    });
    secret.chain(private).chain(retired).collect()
}

/// The public keys alone: what a receiver checks `v1a` with.
pub(crate) fn public(notification: &Notification, now: Timestamp) -> Vec<Value> {
    shown(notification, now).into_iter().filter(|key| key["public_key"].is_string()).collect()
}

fn shown_secret(secret: &Secret, until: Option<Timestamp>) -> Value {
    // Enough to see whether the other side has the same, too little to guess it by.
    let hash = digest(&SHA256, secret.reveal().as_bytes());
    let half = |bits: u8| char::from_digit(u32::from(bits), 16).unwrap_or('0');
    let short: String =
        hash.as_ref().iter().take(4).flat_map(|byte| [half(byte >> 4), half(byte & 15)]).collect();
    entry(json!({ "signature": "v1", "sha256": short }), until)
}

fn shown_private(key: &PrivateKey, until: Option<Timestamp>) -> Value {
    entry(json!({ "signature": "v1a", "public_key": key.public_text() }), until)
}

fn entry(mut key: Value, until: Option<Timestamp>) -> Value {
    key["until"] = until.map_or(Value::Null, |until| until.to_string().into());
    key
}

/// What is put beside a notification's settings.
pub(crate) fn members(notification: &Notification, now: Timestamp) -> Map<String, Value> {
    let keys = public(notification, now);
    if keys.is_empty() { Map::new() } else { super::map(json!({ "public_keys": keys })) }
}
