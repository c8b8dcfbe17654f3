//! How values of the domain stand in columns, and how they are read back.

use std::str::FromStr;

use bellbuoy_domain::{Cause, CauseCode, DeliveryState, Kind, NotificationState};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::StoreError;

pub(crate) fn timestamp(millis: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millis).map_err(|error| StoreError::corrupt("time", error))
}

pub(crate) fn kind(name: &str) -> Result<Kind, StoreError> {
    Kind::from_str(name).map_err(|error| StoreError::corrupt("kind", error))
}

/// A number that is never negative, in the type that it has in the domain.
pub(crate) fn number<T: TryFrom<i64>>(stored: i64) -> Result<T, StoreError> {
    T::try_from(stored).map_err(|_| StoreError::corrupt("number", format!("{stored} is out of range")))
}

/// A number for a column; larger than any column holds is as good as the largest.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::corrupt("value", error))
}

pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt("JSON column", error))
}

pub(crate) fn delivery_state(name: &str) -> Result<DeliveryState, StoreError> {
    named(DeliveryState::ALL, DeliveryState::name, name, "delivery state")
}

pub(crate) fn notification_state(name: &str) -> Result<NotificationState, StoreError> {
    const ALL: &[NotificationState] =
        &[NotificationState::Active, NotificationState::Paused, NotificationState::Disabled];
    named(ALL, notification_state_name, name, "notification state")
}

pub(crate) fn notification_state_name(state: NotificationState) -> &'static str {
    match state {
        NotificationState::Active => "active",
        NotificationState::Paused => "paused",
        NotificationState::Disabled => "disabled",
    }
}

pub(crate) fn cause(code: Option<&str>, detail: Option<String>) -> Result<Option<Cause>, StoreError> {
    let Some(code) = code else { return Ok(None) };
    let code = named(CauseCode::ALL, CauseCode::name, code, "cause")?;
    Ok(Some(Cause { code, detail: detail.unwrap_or_default() }))
}

fn named<T: Copy>(
    all: &[T],
    name: impl Fn(T) -> &'static str,
    wanted: &str,
    what: &'static str,
) -> Result<T, StoreError> {
    all.iter()
        .copied()
        .find(|value| name(*value) == wanted)
        .ok_or_else(|| StoreError::corrupt(what, format!("{wanted:?} is unknown")))
}
