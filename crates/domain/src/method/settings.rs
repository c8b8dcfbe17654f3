//! Which settings each method knows. What reads them reads no others, and what shows them hides all others.

use serde_json::{Map, Value};

use crate::{
    MethodName, UnknownKey,
    secret::{CLIENT_KEY, HEADERS},
    unknown_key::Keys,
};

const WEBHOOK: &[&str] = &[
    "url",
    "template",
    "one_request_per",
    "http_method",
    "headers",
    HEADERS,
    "bearer_token",
    "username",
    "password",
    "authorization",
    "success_statuses",
    "rate",
    "follow_redirects",
    "signatures",
    "secret",
    "signing_key",
    "hmac_secret",
    "extra_ca",
    "client_certificate",
    CLIENT_KEY,
    "skip_tls_verification",
    "chain",
    "dtr_type",
    "version",
];

impl MethodName {
    /// The settings that it knows, those that are secret among them. Any other means nothing to it.
    pub fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Webhook => WEBHOOK,
            Self::QuayNotification => &["target"],
            Self::Email => &["email", "subject", "text"],
            Self::Slack | Self::Mattermost | Self::RocketChat | Self::Teams | Self::Discord => {
                &["url", "text"]
            }
            Self::HipChat => &["notification_token", "room_id", "text"],
            Self::Flowdock => &["flow_api_token", "text"],
        }
    }

    /// Refuses settings that it does not know, but for those that `kept` has with the same value.
    ///
    /// # Errors
    ///
    /// Names the first, and what was meant perhaps.
    pub fn check_settings(
        self,
        config: &Map<String, Value>,
        kept: &Map<String, Value>,
    ) -> Result<(), UnknownKey> {
        let reader = format!("the method {self}");
        Keys { of: "config", reader: &reader, known: self.settings() }.check(config, kept)
    }
}

/// What is written for a method, to be read by the names that it knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    method: MethodName,
    written: &'a Map<String, Value>,
}

impl<'a> Settings<'a> {
    pub(crate) fn new(method: MethodName, written: &'a Map<String, Value>) -> Self {
        Self { method, written }
    }

    /// One of those that the method knows: in a build for tests, another panics.
    pub(crate) fn get(self, name: &str) -> Option<&'a Value> {
        let is_known = self.method.settings().contains(&name);
        debug_assert!(is_known, "`{name}` is read, so it belongs into the settings of {}", self.method);
        self.written.get(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{KeyKind, MethodConfig, Scope, secret, settings_schema};

    /// Settings of a method that are whole, so that all of them are read.
    fn whole(method: MethodName) -> Value {
        match method {
            MethodName::QuayNotification => json!({"target": {"kind": "user", "name": "ann"}}),
            MethodName::Email => json!({"email": "ann@example.com"}),
            MethodName::HipChat => json!({"room_id": "7", "notification_token": "t"}),
            MethodName::Flowdock => json!({"flow_api_token": "t"}),
            _ => json!({"url": "https://ci.example.com/"}),
        }
    }

    #[test]
    fn every_setting_that_is_read_is_known() {
        for method in MethodName::ALL.iter().copied() {
            let config = whole(method);
            // Reading one that is not known panics: see `Settings::get`.
            MethodConfig::parse(method, config.as_object().expect("an object"), &Scope::Registry)
                .unwrap_or_else(|error| panic!("{method}: {error}"));
        }
        let taken_out = KeyKind::ALL.iter().map(|kind| kind.name());
        for name in taken_out.chain(secret::NAMES.iter().copied()).chain([HEADERS]) {
            assert!(WEBHOOK.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_schema_of_a_methods_settings_has_those_that_it_knows_and_no_others() {
        for method in MethodName::ALL.iter().copied() {
            let schema = settings_schema(method);
            let mut published: Vec<&str> =
                schema["properties"].as_object().expect("an object").keys().map(String::as_str).collect();
            let mut known = method.settings().to_vec();
            published.sort_unstable();
            known.sort_unstable();
            assert_eq!(published, known, "{method}");
        }
    }

    #[test]
    fn a_setting_of_another_method_is_unknown() {
        let config = json!({"url": "https://ci.example.com/", "bearer_token": "hunter2"});
        let config = config.as_object().expect("an object");
        assert_eq!(MethodName::Webhook.check_settings(config, &Map::new()), Ok(()));
        let refused = MethodName::Slack.check_settings(config, &Map::new()).expect_err("unknown").to_string();
        assert_eq!(refused, "`config.bearer_token` means nothing to the method slack; known are url, text");
    }
}
