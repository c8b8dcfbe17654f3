//! How values of the domain stand in columns, and how they are read back.

use std::str::FromStr;

use bellbuoy_domain::{Cause, CauseCode, DeliveryState, InAppKind, Kind, NotificationState};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::{StoreError, text::Text};

/// Not by `from_millisecond`, which refuses the last second of what a `Timestamp` can hold.
pub(crate) fn timestamp(millis: i64) -> Result<Timestamp, StoreError> {
    let nanoseconds = i32::try_from(millis.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    Timestamp::new(millis.div_euclid(1000), nanoseconds).map_err(|error| StoreError::corrupt("time", error))
}

pub(crate) fn kind(name: &str) -> Result<Kind, StoreError> {
    Kind::from_str(name).map_err(|error| StoreError::corrupt("kind", error))
}

pub(crate) fn in_app_kind(name: &str) -> Result<InAppKind, StoreError> {
    InAppKind::from_str(name).map_err(|error| StoreError::corrupt("in-app kind", error))
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
    const ALL: &[NotificationState] = &[
        NotificationState::Active,
        NotificationState::Paused,
        NotificationState::Probation,
        NotificationState::Disabled,
    ];
    named(ALL, notification_state_name, name, "notification state")
}

pub(crate) fn notification_state_name(state: NotificationState) -> &'static str {
    match state {
        NotificationState::Active => "active",
        NotificationState::Paused => "paused",
        NotificationState::Probation => "probation",
        NotificationState::Disabled => "disabled",
    }
}

pub(crate) fn cause(code: Option<&str>, detail: Option<Text>) -> Result<Option<Cause>, StoreError> {
    let Some(code) = code else { return Ok(None) };
    let code = named(CauseCode::ALL, CauseCode::name, code, "cause")?;
    Ok(Some(Cause { code, detail: detail.map_or_else(String::new, |text| text.0) }))
}

pub(crate) fn named<T: Copy>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_of_whole_milliseconds_is_read_back() {
        for time in
            [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX, Timestamp::constant(-1, -1_000_000)]
        {
            let millis = time.as_millisecond();
            assert_eq!(timestamp(millis).expect("a time").as_millisecond(), millis);
        }
    }

    #[test]
    fn every_word_is_read_back_and_no_other() {
        for state in DeliveryState::ALL {
            assert_eq!(delivery_state(state.name()).expect("a state"), *state);
        }
        for code in CauseCode::ALL {
            let read = cause(Some(code.name()), None).expect("a cause").expect("a cause");
            assert_eq!(read, Cause::new(*code, ""));
        }
        assert!(delivery_state("lost").is_err() && notification_state("").is_err() && kind("x").is_err());
        assert!(cause(Some("x"), None).is_err() && number::<u32>(-1).is_err());
    }
}
