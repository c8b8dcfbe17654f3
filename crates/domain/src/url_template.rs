//! A receiver's URL with places for what an event is about: `https://ci.example.com/${name}?tag=${tag}`.

use std::borrow::Cow;

use serde_json::Value;

use crate::{DeliveryId, Event, Kind};

/// What may stand in a URL as `${...}`.
const VARIABLES: &[&str] = &["repository", "namespace", "name", "tag", "digest", "kind", "event", "delivery"];

/// Refuses a URL with places that can't be filled, or in the scheme and host: an event must not choose
/// the server. What is returned is the URL with each place filled by a plain letter, to be checked as
/// any other.
///
/// # Errors
///
/// Says what is wrong with the first such place.
pub(crate) fn check(url: &str) -> Result<Cow<'_, str>, String> {
    let Some(first) = url.find("${") else { return Ok(Cow::Borrowed(url)) };
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    if first < path {
        return Err("has `${` before its path; an event can't choose the server".to_owned());
    }
    let known = VARIABLES.join("}, ${");
    fill(url, |name| VARIABLES.contains(&name).then(|| "x".to_owned()))
        .map(Cow::Owned)
        .map_err(|name| format!("names `${{{name}`, but known are ${{{known}}}"))
}

/// Fills a checked URL. What an event does not have is empty, and so is `.` or `..`, which would lead up
/// the receiver's path. Everything that could end a part of the URL is percent-encoded, but the slashes
/// of a name.
pub(crate) fn filled<'a>(url: &'a str, event: &Event, delivery: DeliveryId) -> Cow<'a, str> {
    if !url.contains("${") {
        return Cow::Borrowed(url);
    }
    let data = |member: &str| event.data.get(member).and_then(Value::as_str).unwrap_or_default();
    let value = |name: &str| {
        let repository = event.subject.name().unwrap_or_default();
        Some(match name {
            "repository" => encoded(repository, true),
            "namespace" => encoded(event.subject.namespace().unwrap_or_default(), false),
            "name" => encoded(repository.split_once('/').map_or(repository, |(_, name)| name), true),
            "tag" if event.kind == Kind::RepoPush => {
                encoded(event.pushed_tags().first().copied().unwrap_or_default(), false)
            }
            "tag" => encoded(data("tag"), false),
            "digest" => encoded(data("digest"), false),
            "kind" => event.kind.name().to_owned(),
            "event" => encoded(&event.id, false),
            "delivery" => delivery.to_string(),
            _ => return None,
        })
    };
    fill(url, value).map_or(Cow::Borrowed(url), Cow::Owned)
}

/// Replaces each `${name}` by its value; the text after `${` of the first that has none is the error.
fn fill(url: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut parts = url.split("${");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let found = part.split_once('}').and_then(|(name, rest)| Some((value(name)?, rest)));
        let (text, rest) = found.ok_or_else(|| part.chars().take(40).collect::<String>())?;
        whole.push_str(&text);
        whole.push_str(rest);
    }
    Ok(whole)
}

/// Percent-encodes all but what RFC 3986 calls unreserved. `.` and `..` become nothing: encoded they
/// lead up a path all the same.
fn encoded(text: &str, keep_slashes: bool) -> String {
    if matches!(text, "." | "..") {
        return String::new();
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slashes && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for half in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(half)]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn push(tag: &str) -> Event {
        let event = json!({
            "specversion": "1.0", "id": "4 2", "source": "s", "type": "repo_push", "subject": "acme/team/api",
            "data": {"updated_tags": [tag], "digest": "sha256:6f"},
        });
        Event::from_value(event, Timestamp::UNIX_EPOCH).expect("an event")
    }

    #[test]
    fn each_place_is_filled_and_nothing_in_it_ends_a_part_of_the_url() {
        let delivery = DeliveryId::from(Uuid::nil());
        for (url, tag, expected) in [
            ("https://ci.example/hook", "v1", "https://ci.example/hook"),
            ("https://ci.example/${repository}/${tag}", "v1", "https://ci.example/acme/team/api/v1"),
            ("https://ci.example/${namespace}?n=${name}", "v1", "https://ci.example/acme?n=team/api"),
            (
                "https://ci.example/?t=${tag}&x=1",
                "a&x=2#é/..",
                "https://ci.example/?t=a%26x%3D2%23%C3%A9%2F..&x=1",
            ),
            ("https://ci.example/${kind}/${digest}", "v1", "https://ci.example/repo_push/sha256%3A6f"),
            (
                "https://ci.example/${event}/${delivery}",
                "v1",
                "https://ci.example/4%202/00000000-0000-0000-0000-000000000000",
            ),
        ] {
            assert!(check(url).is_ok(), "{url}");
            assert_eq!(filled(url, &push(tag), delivery), expected);
        }
        let empty_first = Event {
            data: json!({"updated_tags": ["", "v1"]}).as_object().expect("an object").clone(),
            ..push("")
        };
        assert_eq!(filled("https://ci.example/${tag}", &empty_first, delivery), "https://ci.example/v1");
        let mut deletion = push("v1");
        deletion.kind = Kind::ManifestDelete;
        assert_eq!(filled("https://ci.example/${tag}", &deletion, delivery), "https://ci.example/");
    }

    #[test]
    fn no_value_leads_up_the_receivers_path() {
        let delivery = DeliveryId::from(Uuid::nil());
        for (value, expected) in [(".", ""), ("..", ""), ("...", "..."), ("v1.", "v1."), ("../x", "..%2Fx")] {
            let mut event = push(value);
            event.id = value.to_owned();
            event.data.insert("digest".to_owned(), value.into());
            for place in ["${tag}", "${digest}", "${event}"] {
                let url = format!("https://ci.example/hooks/team/{place}/run");
                let expected = format!("https://ci.example/hooks/team/{expected}/run");
                assert_eq!(filled(&url, &event, delivery), expected, "{value}");
            }
        }
    }

    #[test]
    fn an_event_can_not_choose_the_server_and_an_unknown_place_is_named() {
        for (url, word) in [
            ("https://${tag}.example/", "before its path"),
            ("https://ci.example${tag}", "before its path"),
            ("${tag}://ci.example/", "before its path"),
            ("https://ci.example:${tag}/", "before its path"),
            ("https://ci.example/${tags}", "`${tags}`"),
            ("https://ci.example/${", "known are ${repository}"),
            ("https://ci.example/${tag", "`${tag`"),
        ] {
            let problem = check(url).expect_err(url);
            assert!(problem.contains(word), "{url}: {problem}");
        }
    }
}
