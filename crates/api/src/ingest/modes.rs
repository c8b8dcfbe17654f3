//! The three ways in which HTTP carries `CloudEvents` ([HTTP binding 1.0.2]): which one a request
//! speaks, and how the headers of the binary one become attributes.
//!
//! [HTTP binding 1.0.2]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md

use std::borrow::Cow;

use http::{HeaderMap, StatusCode, header};
use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use crate::{body, problem::Problem};

pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
pub(crate) const BATCHED: &str = "application/cloudevents-batch+json";
const PREFIX: &str = "ce-";

/// Which way a request carries its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One event, its attributes beside its data in the body.
    Structured,
    /// An array of such.
    Batched,
    /// One event: attributes in `ce-` headers, data as the body.
    Binary,
}

impl Mode {
    /// Judges by the media type first, as the binding asks.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        refuse_encoded(headers)?;
        let media_type = body::media_type(headers);
        if let Some((essence, Some(charset))) = &media_type
            && charset != "utf-8"
            && charset != "us-ascii"
        {
            return Err(unsupported(format!("`{essence}` in charset {charset:?} is not taken; send UTF-8")));
        }
        let is_binary = headers.contains_key("ce-specversion");
        match media_type.as_ref().map(|(essence, _)| essence.as_str()) {
            Some(STRUCTURED) => Ok(Self::Structured),
            Some(BATCHED) => Ok(Self::Batched),
            Some(other) if other.starts_with("application/cloudevents") => {
                Err(unsupported(format!("{other:?} is not taken; send {STRUCTURED} or {BATCHED}")))
            }
            None if is_binary => Ok(Self::Binary),
            Some(data) if is_binary && body::is_json(data) => Ok(Self::Binary),
            Some(data) if is_binary => {
                Err(unsupported(format!("event data of type {data:?} is not taken; send application/json")))
            }
            other => Err(unsupported(format!(
                "content type {} is not taken; send {STRUCTURED}, {BATCHED}, or application/json with `ce-` headers",
                other.map_or_else(|| "(none)".to_owned(), |essence| format!("{essence:?}"))
            ))),
        }
    }
}

fn refuse_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(encoding) if encoding.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(encoding) => Err(unsupported(format!(
            "content encoding {:?} is not taken; send the body as it is",
            String::from_utf8_lossy(encoding.as_bytes())
        ))),
    }
}

fn unsupported(detail: String) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

/// The attributes in the `ce-` headers.
///
/// # Errors
///
/// Names the header that will not do.
pub(super) fn attributes(headers: &HeaderMap) -> Result<Map<String, Value>, Problem> {
    let mut attributes = Map::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else { continue };
        let fault = |what: &str| {
            let detail = format!("header `{header}` {what}");
            Problem::bad(detail).with("attribute", name)
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return Err(fault("names no attribute: only letters and digits may follow `ce-`"));
        }
        if matches!(name, "data" | "datacontenttype") {
            return Err(fault(
                "is not an attribute of binary mode: the body is the data, `content-type` its type",
            ));
        }
        let text = decode(value.as_bytes()).ok_or_else(|| fault("is not UTF-8 once decoded"))?;
        if attributes.insert(name.to_owned(), text.into()).is_some() {
            return Err(fault("stands there twice"));
        }
    }
    Ok(attributes)
}

/// Undoes a header value's quoting (RFC 9110, section 5.6.4), then one round of percent-encoding,
/// as section 3.1.3.2 of the binding says.
fn decode(value: &[u8]) -> Option<String> {
    let unquoted = match value {
        [b'"', inner @ .., b'"'] => Cow::Owned(unescape(inner)),
        plain => Cow::Borrowed(plain),
    };
    let decoded: Vec<u8> = percent_decode(&unquoted).collect();
    String::from_utf8(decoded).ok()
}

fn unescape(inner: &[u8]) -> Vec<u8> {
    let mut bytes = inner.iter().copied();
    let mut plain = Vec::with_capacity(inner.len());
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
    }
    plain
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    type Pair = (&'static str, &'static str);

    fn headers(pairs: &[Pair]) -> HeaderMap {
        let pair = |(name, value): &Pair| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn the_mode_follows_from_the_content_type_and_the_ce_headers() {
        let version = ("ce-specversion", "1.0");
        let cases: &[(&[Pair], Result<Mode, u16>)] = &[
            (&[("content-type", "application/cloudevents+json")], Ok(Mode::Structured)),
            (
                &[("content-type", "Application/CloudEvents+JSON; charset=UTF-8"), version],
                Ok(Mode::Structured),
            ),
            (&[("content-type", "application/cloudevents-batch+json")], Ok(Mode::Batched)),
            (&[("content-type", "application/json"), version], Ok(Mode::Binary)),
            (&[("content-type", "application/vnd.acme+json"), version], Ok(Mode::Binary)),
            (&[version], Ok(Mode::Binary)),
            (&[], Err(415)),
            (&[("content-type", "application/json")], Err(415)),
            (&[("content-type", "text/plain")], Err(415)),
            (&[("content-type", "application/xml"), version], Err(415)),
            (&[("content-type", "application/cloudevents+avro")], Err(415)),
            (&[("content-type", "application/cloudevents+json; charset=utf-16")], Err(415)),
            (&[("content-type", "application/cloudevents+json"), ("content-encoding", "gzip")], Err(415)),
            (
                &[("content-type", "application/cloudevents+json"), ("content-encoding", "identity")],
                Ok(Mode::Structured),
            ),
        ];
        for (pairs, expected) in cases {
            let mode = Mode::of(&headers(pairs)).map_err(|problem| problem.status.as_u16());
            assert_eq!(mode, *expected, "{pairs:?}");
        }
    }

    #[test]
    fn header_values_are_unquoted_and_percent_decoded_once() {
        let cases: &[(&str, &str)] = &[
            ("plain", "plain"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("\"quoted \\\"inside\\\" %C3%A9\"", "quoted \"inside\" é"),
            ("%2541", "%41"),
            ("100%", "100%"),
            ("a%zzb", "a%zzb"),
            ("\"", "\""),
        ];
        for (value, expected) in cases {
            let attributes = attributes(&headers(&[("ce-x", value)])).expect("attributes");
            assert_eq!(attributes["x"], *expected, "{value}");
        }
    }

    #[test]
    fn a_header_that_is_no_attribute_is_named() {
        for (pairs, word) in [
            (&[("ce-id", "%ff")][..], "ce-id"),
            (&[("ce-id", "1"), ("ce-id", "2")], "twice"),
            (&[("ce-data", "x")], "ce-data"),
            (&[("ce-datacontenttype", "x")], "ce-datacontenttype"),
            (&[("ce-my-name", "x")], "ce-my-name"),
        ] {
            let problem = attributes(&headers(pairs)).expect_err(word);
            assert!(problem.detail.contains(word), "{}", problem.detail);
        }
    }
}
