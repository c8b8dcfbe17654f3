//! A webhook as DTR shows it.

use bellbuoy_domain::{Notification, NotificationState, dtr};
use serde_json::{Value, json};

use super::form::{TRUSTED, UNVERIFIED, is_plain};
use crate::draft::shown_config;

/// What stands for a time that never was: the zero time of the language that DTR is written in.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// One of several kinds shows the first for which DTR has a type. `is_new` shows its endpoint as it was written.
pub(super) fn object(notification: &Notification, is_new: bool) -> Value {
    let config = shown_config(notification, is_new);
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let unverified = config.get(UNVERIFIED).and_then(Value::as_bool).unwrap_or(false);
    json!({
        "id": notification.id,
        "type": dtr::type_name(&notification.kinds),
        "key": notification.scope.name(),
        "endpoint": text("url"),
        "authorID": notification.author.unwrap_or_default(),
        "createdAt": notification.created_at.to_string(),
        "lastSuccessfulAt": notification.succeeded_at.map_or_else(|| NEVER.to_owned(), |at| at.to_string()),
        "inactive": notification.state != NotificationState::Active,
        "tlsCert": text(TRUSTED),
        "skipTLSVerification": unverified || is_plain(&notification.config),
    })
}
