//! Values of the API in words for people, and people's words for them.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A member's value as a cell shows it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A time to the second.
pub(crate) fn time(value: &Value) -> String {
    let parsed = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let seconds = parsed.and_then(|time| Timestamp::from_second(time.as_second()).ok());
    seconds.map_or_else(|| text(value), |time| time.to_string())
}

/// A cause: its word and its sentence.
pub(crate) fn cause(value: &Value) -> String {
    match (value["code"].as_str(), value["detail"].as_str()) {
        (Some(code), Some(detail)) if !detail.is_empty() => format!("{code}: {detail}"),
        (Some(code), _) => code.to_owned(),
        _ => "-".to_owned(),
    }
}

/// A scope: what the notification listens to.
pub(crate) fn scope(value: &Value) -> String {
    match (value["repository"].as_str(), value["namespace"].as_str()) {
        (Some(repository), _) => repository.to_owned(),
        (_, Some(namespace)) => format!("{namespace}/*"),
        _ => "(registry)".to_owned(),
    }
}

/// An id, as a command is given it.
pub(crate) fn id<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "should be an id such as 7d3a2c0e-2b1f-4c59-9a57-6a4f7f1f4b0d")
}

/// `1 dead letter`, `2 dead letters`.
pub(crate) fn count(how_many: usize, what: &str) -> String {
    format!("{how_many} {what}{}", if how_many == 1 { "" } else { "s" })
}

/// A point in time: RFC 3339, a day (UTC), or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When(Timestamp);

impl When {
    fn parse(text: &str, now: Timestamp) -> Option<Self> {
        let day = || format!("{text}T00:00:00Z").parse().ok();
        let ago = || now.checked_sub(SignedDuration::try_from(wait(text)?).ok()?).ok();
        text.parse().ok().or_else(day).or_else(ago).map(Self)
    }
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, Timestamp::now()).ok_or(
            "should be a time (2026-11-20T12:00:00Z), a day (2026-11-20), or how long ago (90m, 2h, 7d)",
        )
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads `90s`, `5m`, `2h`, `7d`.
fn wait(text: &str) -> Option<Duration> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 24 * 3600,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(unit)?))
}

/// At most so many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Between two.
    pub(crate) each: Duration,
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let span = match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            _ => None,
        };
        let count = count.parse::<u32>().ok().filter(|count| (1..=1000).contains(count));
        match (count, span) {
            (Some(count), Some(seconds)) => Ok(Self { each: Duration::from_secs(seconds) / count }),
            _ => Err("should be from 1 to 1000 in a time, such as 50/s, 600/m or 1000/h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_given_as_a_moment_a_day_or_how_long_ago() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("2026-11-20T12:00:00+02:00", Some("2026-11-20T10:00:00Z")),
            ("2026-11-20", Some("2026-11-20T00:00:00Z")),
            ("90s", Some("2026-11-21T11:58:30Z")),
            ("2h", Some("2026-11-21T10:00:00Z")),
            ("7d", Some("2026-11-14T12:00:00Z")),
            ("0m", Some("2026-11-21T12:00:00Z")),
            ("", None),
            ("h", None),
            ("-2h", None),
            ("2 hours", None),
            ("99999999999d", None),
            ("18446744073709551615d", None),
            ("2h\u{e9}", None),
        ] {
            let found = When::parse(text, now).map(|when| when.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_rate_is_so_many_in_a_second_minute_or_hour() {
        for (text, expected) in [
            ("50/s", Some(20)),
            ("50", Some(20)),
            ("600/m", Some(100)),
            ("1/m", Some(60_000)),
            ("1000/h", Some(3600)),
            ("0/s", None),
            ("1001/s", None),
            ("1/d", None),
            ("/s", None),
            ("1.5/s", None),
        ] {
            let found = text.parse::<Rate>().ok().map(|rate| rate.each.as_millis());
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn members_are_shown_in_few_words() {
        assert_eq!(text(&json!(["repo_push", "tag_delete"])), "repo_push,tag_delete");
        assert_eq!((text(&json!(null)), text(&json!(""))), ("-".to_owned(), "-".to_owned()));
        assert_eq!(time(&json!("2026-11-21T12:00:00.123Z")), "2026-11-21T12:00:00Z");
        assert_eq!(time(&json!("soon")), "soon");
        assert_eq!(cause(&json!({"code": "timeout", "detail": "15 s"})), "timeout: 15 s");
        assert_eq!(scope(&json!({"namespace": "acme"})), "acme/*");
        assert_eq!(scope(&json!({"registry": true})), "(registry)");
        assert_eq!([count(1, "row"), count(0, "row")], ["1 row", "0 rows"]);
    }
}
