//! What an answer means for the delivery. Pure: the status, the headers and the time decide.

use std::time::Duration;

use bellbuoy_domain::{Cause, CauseCode};
use http::{HeaderMap, HeaderName, StatusCode, header};
use jiff::{Timestamp, fmt::strtime, tz::TimeZone};
use url::Url;

use crate::Report;

/// Where a receiver says what is to become of deliveries to it, as Standard Webhooks' senders offer it.
const STEERING: HeaderName = HeaderName::from_static("webhook-delivery");

/// What a receiver wants beside its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steering {
    /// No more of this notification.
    Disable,
    /// No more of this delivery.
    AbortMessage,
}

/// What the head of an answer says of it; of anything else than the two words, nothing.
pub(crate) fn steering(headers: &HeaderMap) -> Option<Steering> {
    let word = headers.get(STEERING)?.to_str().ok()?.trim();
    if word.eq_ignore_ascii_case("disable") {
        Some(Steering::Disable)
    } else if word.eq_ignore_ascii_case("abort-message") {
        Some(Steering::AbortMessage)
    } else {
        None
    }
}

/// Judges a head whose status does not mean success; `asked` is the URL that it answers.
pub(crate) fn judge(status: StatusCode, headers: &HeaderMap, asked: &Url, now: Timestamp) -> Report {
    let number = status.as_u16();
    match steering(headers) {
        Some(Steering::Disable) => {
            let detail = format!("answered {number} and that it wants no more of this notification");
            return Report::rejected(Some(number), CauseCode::Unwanted, detail);
        }
        Some(Steering::AbortMessage) => {
            let detail = format!("answered {number} and that it wants no more of this delivery");
            return Report::rejected(Some(number), CauseCode::Aborted, detail);
        }
        None => {}
    }
    let detail = match number {
        300..=399 => match redirected_to(headers, asked) {
            Some(host) => format!("answered {number} to {host}; this redirect is not followed"),
            None => format!("answered {number}; this redirect is not followed"),
        },
        410 => "answered 410: it wants no more of this notification".to_owned(),
        _ => format!("answered {number}"),
    };
    let code = match code_of(number) {
        CauseCode::Gone => return Report::rejected(Some(number), CauseCode::Gone, detail),
        code => code,
    };
    let hint = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, now));
    Report::deferred_after(Some(number), Cause::new(code, detail), hint)
}

/// What a status that does not mean success stands for.
pub(crate) fn code_of(status: u16) -> CauseCode {
    match status {
        300..=399 => CauseCode::Http3xx,
        410 => CauseCode::Gone,
        408 | 409 | 425 => CauseCode::HttpRetryable,
        401 | 403 | 407 => CauseCode::HttpAuth,
        429 => CauseCode::RateLimited,
        400..=499 => CauseCode::Http4xx,
        500..=599 => CauseCode::Http5xx,
        _ => CauseCode::HttpOther,
    }
}

/// The host of `Location`, and nothing else of it: the rest may hold secrets.
fn redirected_to(headers: &HeaderMap, asked: &Url) -> Option<String> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    let host = asked.join(location).ok()?.host_str()?.to_owned();
    (host.len() <= 253).then_some(host) // The longest name DNS has.
}

/// Reads a `Retry-After` value as a wait from `now`.
///
/// Accepts both forms of [RFC 9110, section 10.2.3]: whole seconds, or an HTTP date in any of the
/// three formats of section 5.6.7, where a date already past means no wait. Returns `None` for
/// anything else, because a malformed header must not cost a delivery. The caller caps the result.
///
/// [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number of seconds can have is still a very long time.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let wait = http_date(value)?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

fn http_date(value: &str) -> Option<Timestamp> {
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"].iter().find_map(
        |format| {
            let date = strtime::parse(format, value).ok()?.to_datetime().ok()?;
            date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        },
    )
}

#[cfg(test)]
mod tests {
    use bellbuoy_domain::Outcome;

    use super::*;

    fn judged(status: u16, headers: &[(&'static str, &str)]) -> Report {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a header's value")))
            .collect();
        let asked = Url::parse("https://receiver.example/hook?token=hunter2").expect("a URL");
        let status = StatusCode::from_u16(status).expect("a status");
        judge(status, &headers, &asked, "2026-11-20T12:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn each_status_has_its_cause() {
        for (statuses, code) in [
            (&[300, 301, 302, 303, 304, 307, 308][..], CauseCode::Http3xx),
            (&[400, 402, 404, 405, 406, 411, 413, 418, 422, 451, 499], CauseCode::Http4xx),
            (&[408, 409, 425], CauseCode::HttpRetryable),
            (&[401, 403, 407], CauseCode::HttpAuth),
            (&[429], CauseCode::RateLimited),
            (&[500, 501, 502, 503, 504, 507, 599], CauseCode::Http5xx),
            (&[101, 600, 999], CauseCode::HttpOther),
        ] {
            for &status in statuses {
                let report = judged(status, &[]);
                assert!(
                    matches!(&report.outcome, Outcome::Deferred { cause, hint: None } if cause.code == code)
                );
                assert_eq!(report.status, Some(status));
            }
        }
        let gone = judged(410, &[("retry-after", "7")]);
        assert!(matches!(gone.outcome, Outcome::Rejected { cause } if cause.code == CauseCode::Gone));
    }

    #[test]
    fn a_failure_that_says_what_is_to_become_of_it_is_final() {
        for status in [302, 404, 429, 503] {
            for (word, code) in [
                ("disable", CauseCode::Unwanted),
                (" Disable ", CauseCode::Unwanted),
                ("abort-message", CauseCode::Aborted),
            ] {
                let report = judged(status, &[("webhook-delivery", word), ("retry-after", "7")]);
                let cause = report.outcome.cause().expect("a cause").code;
                assert_eq!((cause, report.outcome.name(), report.status), (code, "rejected", Some(status)));
            }
            for word in ["", "disabled", "abort", "disable, abort-message", "\u{e9}"] {
                let report = judged(status, &[("webhook-delivery", word)]);
                assert_eq!(report.outcome.name(), "deferred", "{word:?} means nothing");
            }
        }
    }

    #[test]
    fn a_redirect_names_the_host_it_leads_to_and_nothing_more() {
        for (location, detail) in [
            (
                "https://other.example:8443/x?k=hunter2",
                "answered 302 to other.example; this redirect is not followed",
            ),
            ("//user:hunter2@third.example/", "answered 302 to third.example; this redirect is not followed"),
            ("/login", "answered 302 to receiver.example; this redirect is not followed"),
            ("http://[::1", "answered 302; this redirect is not followed"),
            ("mailto:x@y", "answered 302; this redirect is not followed"),
        ] {
            let report = judged(302, &[("location", location)]);
            assert_eq!(report.outcome.cause().expect("a cause").detail, detail);
        }
    }

    #[test]
    fn any_deferred_answer_may_ask_for_a_wait() {
        for status in [302, 429, 500, 503] {
            let report = judged(status, &[("retry-after", "7")]);
            assert!(
                matches!(report.outcome, Outcome::Deferred { hint: Some(hint), .. } if hint.as_secs() == 7)
            );
        }
    }

    #[test]
    fn a_wait_is_read_in_both_forms_and_nonsense_in_none() {
        let now = "2026-11-20T12:00:00Z".parse().expect("a time");
        for (value, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("1000000000000", Some(1_000_000_000_000)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("Fri, 20 Nov 2026 12:00:30 GMT", Some(30)),
            ("Friday, 20-Nov-26 12:00:30 GMT", Some(30)),
            ("Fri Nov 20 12:00:30 2026", Some(30)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun Nov  6 08:49:37 1994", Some(0)),
            ("Fri, 20 Nov 2026 12:00:30 CET", None),
            ("Fri, 20 Nov 2026 12:00:30 +0100", None),
            ("20.11.2026 12:00:30", None),
            ("Fri, 31 Nov 2026 12:00:30 GMT", None),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("1e3", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now).map(|wait| wait.as_secs()), seconds, "{value:?}");
        }
    }
}
