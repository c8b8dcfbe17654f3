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
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::notifications::{NotificationView, find, update, view};
use crate::{
    App,
    auth::Caller,
    body,
    contract::{Operation, Routes},
    draft::signs,
    keys, now,
    problem::Problem,
};

/// How long a replaced key signs along if the request does not say: a day, as others do it.
const USUAL_GRACE: i64 = 24 * 3600;

/// The longest that it can: a week.
const LONGEST_GRACE: i64 = 7 * 24 * 3600;

/// What a rotation can be told. Nothing makes new keys of every kind that signs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    /// Which kind alone.
    #[schemars(with = "Option<KeyKind>")]
    key: Option<String>,
    /// The new one, instead of one of ours: `whsec_...`
    secret: Option<String>,
    /// or `whsk_...`
    signing_key: Option<String>,
    /// Seconds that the old one signs along.
    #[schemars(range(min = 0, max = LONGEST_GRACE))]
    grace_seconds: Option<i64>,
}

/// A key that signs: how to tell it from others, and when it ends.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(super) struct KeyView {
    /// What it signs: `v1` or `v1a`.
    signature: &'static str,
    /// Of a secret: the first 8 digits of its SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Of a key of `v1a`: `whpk_...`
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// When one that was replaced signs no more; null for the current one.
    until: Option<Timestamp>,
}

/// The keys of a notification.
#[derive(Debug, Serialize, JsonSchema)]
struct Keys {
    keys: Vec<KeyView>,
}

/// A notification's keys.
pub(super) fn routes() -> Routes {
    Routes::default()
        .serve(
            Operation::get(
                "/v1/notifications/{id}/keys",
                "The keys that a webhook's requests are signed with; of secret ones a digest.",
            )
            .answers::<Keys>(200)
            .refuses([404]),
            list,
        )
        .serve(
            Operation::post(
                "/v1/notifications/{id}/rotate",
                "Give a webhook a new signing key; the old one signs along for a while. The key is shown in this answer and \
                 never again.",
            )
            .may_take::<Rotation>()
            .answers::<NotificationView<'_>>(200)
            .refuses([404, 409]),
            rotate,
        )
}

/// Which keys sign, without those that are secret.
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let notification = find(&app, &caller, &id).await?;
    Ok(Json(Keys { keys: shown(&notification, now()) }).into_response())
}

/// Replaces keys; the old ones sign along for the grace.
async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
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
    let mut answer = view(&notification, false);
    if rotated.contains(&KeyKind::Secret)
        && let Some(secret) = secrets_of(&notification).and_then(|secrets| secrets.signing)
    {
        // Shown for once, as at its making.
        answer.config.insert("secret".to_owned(), secret.reveal().into());
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
fn shown(notification: &Notification, now: Timestamp) -> Vec<KeyView> {
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
pub(super) fn public(notification: &Notification, now: Timestamp) -> Vec<KeyView> {
    shown(notification, now).into_iter().filter(|key| key.public_key.is_some()).collect()
}

fn shown_secret(secret: &Secret, until: Option<Timestamp>) -> KeyView {
    // Enough to see whether the other side has the same, too little to guess it by.
    let hash = digest(&SHA256, secret.reveal().as_bytes());
    let half = |bits: u8| char::from_digit(u32::from(bits), 16).unwrap_or('0');
    let short: String =
        hash.as_ref().iter().take(4).flat_map(|byte| [half(byte >> 4), half(byte & 15)]).collect();
    KeyView { signature: "v1", sha256: Some(short), public_key: None, until }
}

fn shown_private(key: &PrivateKey, until: Option<Timestamp>) -> KeyView {
    KeyView { signature: "v1a", sha256: None, public_key: Some(key.public_text()), until }
}
