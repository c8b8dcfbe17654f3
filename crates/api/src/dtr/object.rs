//! A webhook as DTR shows it.

use bellbuoy_domain::{Notification, NotificationId, NotificationState, dtr};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::form::{TRUSTED, UNVERIFIED, is_plain};
use crate::draft::shown_config;

/// What stands for a time that never was: the zero time of the language that DTR is written in.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A webhook as DTR shows it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DtrWebhook")]
pub(super) struct WebhookView<'a> {
    id: NotificationId,
    /// The event type, or of one with a kind that DTR has no word for its own name.
    r#type: String,
    /// `namespace/repository`, `namespace`, or nothing for the registry.
    key: &'a str,
    endpoint: String,
    #[serde(rename = "authorID")]
    author_id: Uuid,
    created_at: Timestamp,
    /// Year 1 for never.
    #[schemars(with = "Timestamp")]
    last_successful_at: String,
    inactive: bool,
    /// The authority that the endpoint's server is known by, in PEM; empty for the system's.
    tls_cert: String,
    #[serde(rename = "skipTLSVerification")]
    skip_tls_verification: bool,
}

/// One of several kinds shows the first for which DTR has a type. `is_new` shows its endpoint as it was written.
pub(super) fn view(notification: &Notification, is_new: bool) -> WebhookView<'_> {
    let config = shown_config(notification, is_new);
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let unverified = config.get(UNVERIFIED).and_then(Value::as_bool).unwrap_or(false);
    WebhookView {
        id: notification.id,
        r#type: dtr::type_name(&notification.kinds),
        key: notification.scope.name(),
        endpoint: text("url"),
        author_id: notification.author.unwrap_or_default(),
        created_at: notification.created_at,
        last_successful_at: notification.succeeded_at.map_or_else(|| NEVER.to_owned(), |at| at.to_string()),
        inactive: is_inactive(notification.state),
        tls_cert: text(TRUSTED),
        skip_tls_verification: unverified || is_plain(&notification.config),
    }
}

/// Whether DTR would send it nothing: what is on probation is served, if slowly.
pub(super) fn is_inactive(state: NotificationState) -> bool {
    matches!(state, NotificationState::Paused | NotificationState::Disabled)
}
