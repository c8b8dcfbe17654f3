//! What is secret of a method's settings although it has to stand among them: the address of a chat channel, tokens of
//! chat services, and what the query of a webhook's URL holds. Shown when it is written, and masked ever after. So is what
//! the method does not know: it may be a secret whose name is misspelt.

use serde_json::{Map, Value};

use crate::{MASK, MethodName, SecretError};

type Config = Map<String, Value>;

/// The settings as they are shown later.
pub fn masked(method: &str, config: &Config) -> Config {
    let mut shown = config.clone();
    for (name, mask) in secrets_of(method) {
        if let Some(Value::String(text)) = shown.get_mut(*name) {
            *text = mask(text);
        }
    }
    for text in chain(&mut shown) {
        *text = without_query(text);
    }
    for (_, value) in unknown(method, &mut shown) {
        *value = hidden(value);
    }
    shown
}

/// The settings that the method does not know. Of a method that is not known itself, all.
fn unknown<'a>(method: &str, config: &'a mut Config) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    let known = method.parse::<MethodName>().map_or(&[][..], MethodName::settings);
    config.iter_mut().filter(|(name, _)| !known.contains(&name.as_str()))
}

/// A mask, whatever type the value has, but for what is blank.
fn hidden(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => all(text).into(),
        _ => MASK.into(),
    }
}

/// The further URLs of a chain of webhooks, which are shown as the first is.
fn chain(config: &mut Config) -> impl Iterator<Item = &mut String> {
    let items = config.get_mut("chain").and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(|item| match item {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// Puts back what was masked where its owner writes what it was shown; `old` is what is kept.
///
/// # Errors
///
/// Names the setting that holds a mask for which nothing is kept.
pub fn unmask(method: &str, config: &mut Config, old: &Config) -> Result<(), SecretError> {
    for (name, mask) in secrets_of(method) {
        let Some(Value::String(text)) = config.get_mut(*name) else { continue };
        if !text.contains(MASK) {
            continue;
        }
        match old.get(*name).and_then(Value::as_str) {
            Some(kept) if *text == mask(kept) => kept.clone_into(text),
            _ => return Err(not_kept(name)),
        }
    }
    let kept: Vec<String> = chain(&mut old.clone()).map(std::mem::take).collect();
    for (place, text) in chain(config).enumerate().filter(|(_, text)| text.contains(MASK)) {
        // At its own place first: two that differ in what is masked alone look the same.
        let same = |kept: &&String| without_query(kept) == *text;
        let found = kept.get(place).filter(same).or_else(|| kept.iter().find(same));
        found.ok_or_else(|| not_kept(&format!("chain[{place}]")))?.clone_into(text);
    }
    for (name, value) in unknown(method, config).filter(|(_, value)| **value == MASK) {
        let found = old.get(name).filter(|kept| hidden(kept) == MASK);
        value.clone_from(found.ok_or_else(|| not_kept(name))?);
    }
    Ok(())
}

fn not_kept(name: &str) -> SecretError {
    let problem = "is masked, but no such value is kept; give the whole value".to_owned();
    SecretError::Value { name: name.chars().take(80).collect(), problem }
}

type Mask = fn(&str) -> String;

/// The settings of a method that are secret, and how each is shown.
fn secrets_of(method: &str) -> &'static [(&'static str, Mask)] {
    const QUERY: &[(&str, Mask)] = &[("url", without_query)];
    const PATH: &[(&str, Mask)] = &[("url", without_path)];
    const ROOM: &[(&str, Mask)] = &[("notification_token", all)];
    const INBOX: &[(&str, Mask)] = &[("flow_api_token", all)];
    match method.parse() {
        Ok(MethodName::Webhook) => QUERY,
        Ok(
            MethodName::Slack
            | MethodName::Mattermost
            | MethodName::RocketChat
            | MethodName::Teams
            | MethodName::Discord,
        ) => PATH,
        Ok(MethodName::HipChat) => ROOM,
        Ok(MethodName::Flowdock) => INBOX,
        Ok(MethodName::QuayNotification | MethodName::Email) | Err(_) => &[],
    }
}

fn all(text: &str) -> String {
    if text.is_empty() { String::new() } else { MASK.to_owned() }
}

/// A URL without what comes after its host: whoever knows that can write into the channel.
fn without_path(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return all(url) };
    match rest.find(['/', '?', '#']) {
        Some(end) if rest.len() > end + 1 => format!("{scheme}://{}/{MASK}", &rest[..end]),
        _ => url.to_owned(),
    }
}

/// A URL without the values of its query, but for places that the event fills.
pub(crate) fn without_query(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let value = |text: &str| if is_filled(text) { text.to_owned() } else { MASK.to_owned() };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, text)) => format!("{name}={}", value(text)),
        None => value(pair),
    };
    format!("{path}?{}", query.split('&').map(pair).collect::<Vec<_>>().join("&"))
}

/// Whether a text is nothing but places such as `${tag}`.
fn is_filled(text: &str) -> bool {
    let mut rest = text;
    while let Some(place) = rest.strip_prefix("${") {
        let Some((_, after)) = place.split_once('}') else { return false };
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: &Value) -> Config {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn the_urls_of_a_chain_are_masked_as_the_first_and_put_back_wherever_they_were_moved() {
        let written = config(&json!({
            "url": "https://a.example/", "chain": ["https://b.example/?t=hunter1", "https://b.example/?t=hunter2", "https://c.example/?t=hunter3"],
        }));
        let seen = masked("webhook", &written);
        assert!(!Value::from(seen.clone()).to_string().contains("hunter"), "{seen:?}");
        let mut back = seen.clone();
        unmask("webhook", &mut back, &written).expect("unmasked");
        assert_eq!(back, written);
        let mut moved = config(&json!({"chain": [seen["chain"][2], "https://new.example/?t=hunter4"]}));
        unmask("webhook", &mut moved, &written).expect("unmasked");
        assert_eq!(moved["chain"], json!(["https://c.example/?t=hunter3", "https://new.example/?t=hunter4"]));
        let mut foreign = config(&json!({"chain": ["https://d.example/?t=********"]}));
        let refused = unmask("webhook", &mut foreign, &written).expect_err("refused").to_string();
        assert!(refused.contains("`config.chain[0]` is masked"), "{refused}");
    }

    #[test]
    fn each_secret_of_a_method_and_what_it_does_not_know_is_masked_and_nothing_else() {
        for (method, written, shown) in [
            (
                "webhook",
                json!({"url": "https://a.example/p/hunter?token=hunter2&x=&t=${tag}${digest}&${tag}"}),
                json!({"url": "https://a.example/p/hunter?token=********&x=&t=${tag}${digest}&${tag}"}),
            ),
            (
                "webhook",
                json!({"url": "https://a.example/?hunter2&a=${tag}hunter2&b=${hunter2#x"}),
                json!({"url": "https://a.example/?********&a=********&b=********"}),
            ),
            (
                "webhook",
                json!({"url": "https://a.example/hook", "bearer_token": "********"}),
                json!({"url": "https://a.example/hook", "bearer_token": "********"}),
            ),
            (
                "slack",
                json!({"url": "https://hooks.example:8443/services/T/hunter2", "text": "?a=b"}),
                json!({"url": "https://hooks.example:8443/********", "text": "?a=b"}),
            ),
            (
                "discord",
                json!({"url": "https://hooks.example?hunter2"}),
                json!({"url": "https://hooks.example/********"}),
            ),
            ("teams", json!({"url": "https://hooks.example/"}), json!({"url": "https://hooks.example/"})),
            (
                "hipchat",
                json!({"room_id": "12", "notification_token": "hunter2"}),
                json!({"room_id": "12", "notification_token": "********"}),
            ),
            ("flowdock", json!({"flow_api_token": "hunter2"}), json!({"flow_api_token": "********"})),
            ("email", json!({"email": "kim@example.com"}), json!({"email": "kim@example.com"})),
            (
                "webhook",
                json!({"url": "https://a.example/", "authorisation": "hunter2", "bearer": {"t": "hunter3"}, "a": 5, "b": null, "c": ""}),
                json!({"url": "https://a.example/", "authorisation": "********", "bearer": "********", "a": "********", "b": null, "c": ""}),
            ),
            (
                "slack",
                json!({"url": "https://a.example/", "chain": ["https://b.example/?t=hunter2"], "password": "hunter3"}),
                json!({"url": "https://a.example/", "chain": "********", "password": "********"}),
            ),
            ("unheard_of", json!({"url": 5}), json!({"url": "********"})),
        ] {
            let written = config(&written);
            let seen = masked(method, &written);
            assert_eq!(Value::from(seen.clone()), shown, "{method}");
            let mut back = seen;
            unmask(method, &mut back, &written).expect("what was shown can be written back");
            assert_eq!(back, written, "{method}");
        }
    }

    #[test]
    fn a_mask_without_a_kept_value_is_refused() {
        let old = config(&json!({"url": "https://a.example/?token=hunter2"}));
        for url in ["https://b.example/?token=********", "https://a.example/?token=********&x=1"] {
            let error = unmask("webhook", &mut config(&json!({"url": url})), &old).expect_err("refused");
            assert!(error.to_string().starts_with("`config.url` is masked"), "{error}");
        }
        let mut unknown = config(&json!({"authorisation": "********"}));
        for old in [config(&json!({})), config(&json!({"authorisation": ""}))] {
            let error = unmask("webhook", &mut unknown, &old).expect_err("refused").to_string();
            assert!(error.starts_with("`config.authorisation` is masked"), "{error}");
        }
        let mut fresh = config(&json!({"url": "https://b.example/?token=new"}));
        unmask("webhook", &mut fresh, &old).expect("another value");
        assert_eq!(fresh["url"], "https://b.example/?token=new");
    }
}
