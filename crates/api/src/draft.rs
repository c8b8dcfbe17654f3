//! What an owner writes of a notification, checked and made whole. Both REST surfaces end here, so
//! that a notification means the same whichever way it came.

use bellbuoy_domain::{
    Filter, Kind, KindScope, MethodName, Notification, NotificationState, RetryPolicy, Scope, Secrets,
    SignatureStyle, UnknownKey, check_certificates, masked, unmask,
};
use bellbuoy_store::Store;
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{keys, problem::Problem, reach::Reach, recipients};

/// Longest title, in characters: Quay's column.
pub(crate) const MAX_TITLE: usize = 255;

/// The most that is kept of a notification's settings, its kinds, filter and schedule among them, in bytes of JSON. A
/// place has many, and all of them are read at once.
const MAX_SETTINGS_BYTES: usize = 128 * 1024;

/// A notification as its owner writes it.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) title: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) event_config: Map<String, Value>,
    pub(crate) method: String,
    /// May hold a `secret`, which ends up beside it.
    pub(crate) config: Map<String, Value>,
    pub(crate) format: String,
    pub(crate) retry: Option<RetryPolicy>,
}

impl Draft {
    /// Asks the directory of those whom it would tell: see [`recipients::check`].
    pub(crate) async fn check_recipients(&self, store: &Store) -> Result<(), Problem> {
        match self.method.parse() {
            Ok(method @ (MethodName::QuayNotification | MethodName::Email)) => {
                recipients::check(store, method, &self.config, &self.scope).await
            }
            // Nobody of the directory; or refused by `Notification::check`.
            _ => Ok(()),
        }
    }

    /// Refuses receivers that no request may go to, as far as their URLs show it.
    pub(crate) fn check_reach(&self, reach: &Reach) -> Result<(), Problem> {
        // A method that is not known is refused by `Notification::check`.
        let Ok(method) = self.method.parse::<MethodName>() else { return Ok(()) };
        reach.check(method, &self.config).map_err(|out_of_reach| Problem::bad(out_of_reach.to_string()))
    }

    /// Refuses settings that the method does not know, and keys of the filter that are no line, so that a misspelt one is
    /// not taken for what it was meant to be. Those that `old` has by another surface stay when they are written as they
    /// are shown.
    pub(crate) fn check_keys(&self, old: Option<&Notification>) -> Result<(), Problem> {
        let kept = old.map(|old| old.event_config.clone()).unwrap_or_default();
        Filter::check_keys(&self.event_config, &kept).map_err(|fault| unknown_key(&fault))?;
        // A method that is not known is refused by `Notification::check`.
        let Ok(method) = self.method.parse::<MethodName>() else { return Ok(()) };
        let old = old.filter(|old| old.method == self.method);
        let kept = old.map(|old| masked(&old.method, &old.config)).unwrap_or_default();
        method.check_settings(&self.config, &kept).map_err(|fault| unknown_key(&fault))
    }

    /// Refuses a webhook that asks for no verification where the operator does not permit that. One that `old` asks for
    /// stays, and its deliveries say why they can't be made.
    pub(crate) fn check_verification(
        &self,
        is_permitted: bool,
        old: Option<&Notification>,
    ) -> Result<(), Problem> {
        let is_wanted = signs(&self.method) && skips_verification(&self.config);
        if is_permitted || !is_wanted || old.is_some_and(|old| skips_verification(&old.config)) {
            return Ok(());
        }
        let detail = "`config.skip_tls_verification` is not permitted here: give the receiver's authority as `extra_ca`, \
                      or have the operator set outbound.allow_skip_verification";
        Err(Problem::bad(detail).with("path", "config.skip_tls_verification"))
    }

    /// A new notification.
    pub(crate) fn create(self, now: Timestamp) -> Result<Notification, Problem> {
        let blank = Notification {
            id: Uuid::new_v4().into(),
            title: None,
            scope: Scope::Registry,
            kinds: Vec::new(),
            event_config: Map::new(),
            method: String::new(),
            config: Map::new(),
            secret: None,
            format: String::new(),
            retry: None,
            state: NotificationState::Active,
            state_reason: None,
            failures: 0,
            created_at: now,
            updated_at: now,
            author: None,
            succeeded_at: None,
        };
        self.replace(blank, now)
    }

    /// `old` with everything that its owner writes replaced. Without a secret in the draft the old
    /// one stays.
    pub(crate) fn replace(mut self, old: Notification, now: Timestamp) -> Result<Notification, Problem> {
        check_title(self.title.as_deref())?;
        let kept = if old.method == self.method { old.config.clone() } else { Map::new() };
        unmask(&self.method, &mut self.config, &kept).map_err(|error| Problem::bad(error.to_string()))?;
        let secret = if signs(&self.method) {
            check_certificates(&self.config, &kept).map_err(|error| Problem::bad(error.to_string()))?;
            Some(self.take_secrets(old.secret.as_deref())?.to_stored())
        } else {
            None
        };
        let notification = Notification {
            title: self.title,
            scope: self.scope,
            kinds: self.kinds,
            event_config: self.event_config,
            method: self.method,
            config: self.config,
            secret,
            format: self.format,
            retry: self.retry,
            updated_at: now,
            ..old
        };
        notification.check().map_err(|error| Problem::bad(error.to_string()))?;
        check_size(&notification)?;
        Ok(notification)
    }

    /// What is secret of the settings, taken out of them. What is stored but can't be read is replaced
    /// like any other: its owner can only write it anew.
    fn take_secrets(&mut self, old: Option<&str>) -> Result<Secrets, Problem> {
        let old = old.and_then(|old| Secrets::parse(old).ok()).unwrap_or_default();
        let mut secrets = Secrets::take(&mut self.config, &old, keys::public_of)
            .map_err(|error| Problem::bad(error.to_string()))?;
        if secrets.signing.is_none() {
            secrets.signing = Some(keys::make_secret()?);
        }
        if secrets.private.is_none() && self.signs_asymmetrically() {
            secrets.private = Some(keys::make_private_key()?);
        }
        Ok(secrets)
    }

    /// Whether its requests are signed with a key that its receiver does not know.
    fn signs_asymmetrically(&self) -> bool {
        let name = SignatureStyle::Asymmetric.name();
        let wanted = |style: &Value| style.as_str().is_some_and(|style| style.eq_ignore_ascii_case(name));
        self.config
            .get("signatures")
            .and_then(Value::as_array)
            .is_some_and(|styles| styles.iter().any(wanted))
    }
}

fn unknown_key(fault: &UnknownKey) -> Problem {
    Problem::bad(fault.to_string()).with("path", fault.path())
}

/// Whether a method's requests are signed, so that its notifications need a secret.
pub(crate) fn signs(method: &str) -> bool {
    method == MethodName::Webhook.name()
}

/// Whether a webhook's settings say that any certificate of its receiver will do.
pub(crate) fn skips_verification(config: &Map<String, Value>) -> bool {
    config.get("skip_tls_verification").and_then(Value::as_bool).unwrap_or(false)
}

/// Members that no method knows are kept, and each has limits of its own only where one reads it.
fn check_size(notification: &Notification) -> Result<(), Problem> {
    let Notification { kinds, event_config, config, retry, secret, .. } = notification;
    let written = serde_json::to_vec(&(kinds, event_config, config, retry, secret)).map_err(|error| {
        tracing::error!("the settings of a notification can't be written: {error}");
        Problem::internal()
    })?;
    if written.len() > MAX_SETTINGS_BYTES {
        return Err(Problem::bad(format!(
            "the notification's settings are {} bytes of JSON, but may be {MAX_SETTINGS_BYTES} at most; leave out \
             what its method does not need",
            written.len()
        )));
    }
    Ok(())
}

fn check_title(title: Option<&str>) -> Result<(), Problem> {
    let title = title.unwrap_or_default();
    if title.chars().count() > MAX_TITLE {
        return Err(Problem::bad(format!("`title` is longer than {MAX_TITLE} characters")));
    }
    if title.chars().any(char::is_control) {
        return Err(Problem::bad("`title` holds control characters"));
    }
    Ok(())
}

/// The settings as their owner may see them: as they were written, and with the key to sign with, only when it is
/// shown for once; else with a mask for whatever is secret.
pub(crate) fn shown_config(notification: &Notification, with_secret: bool) -> Map<String, Value> {
    let mut config = if with_secret {
        notification.config.clone()
    } else {
        masked(&notification.method, &notification.config)
    };
    let stored = notification.secret.as_deref().filter(|_| with_secret);
    if let Some(signing) = stored.and_then(|stored| Secrets::parse(stored).ok()?.signing) {
        config.insert("secret".to_owned(), signing.reveal().into());
    }
    config
}

/// The first kind that can never happen within `scope`.
pub(crate) fn kind_outside(scope: &Scope, kinds: &[Kind]) -> Option<Kind> {
    let within = |kind: &Kind| match scope {
        Scope::Registry => true,
        Scope::Namespace(_) => kind.scope() != KindScope::Registry,
        Scope::Repository(_) => kind.scope() == KindScope::Repository,
    };
    kinds.iter().copied().find(|kind| !within(kind))
}

#[cfg(test)]
mod tests {
    use bellbuoy_domain::{RepositoryName, Secret};
    use serde_json::json;

    use super::*;

    fn draft(config: &Value) -> Draft {
        Draft {
            title: None,
            scope: Scope::Repository(RepositoryName::parse("acme/api").expect("a name")),
            kinds: vec![Kind::RepoPush],
            event_config: Map::new(),
            method: "webhook".to_owned(),
            config: config.as_object().expect("an object").clone(),
            format: "quay".to_owned(),
            retry: None,
        }
    }

    fn created(config: &Value) -> Notification {
        draft(config).create(Timestamp::UNIX_EPOCH).expect("a notification")
    }

    #[test]
    fn a_secret_is_made_if_absent_and_never_stands_in_the_settings() {
        let url = json!({"url": "https://ci.example.com/hook"});
        let (one, two) = (created(&url), created(&url));
        let secret = one.secret.clone().expect("a secret");
        assert_eq!(Secret::parse(&secret).expect("a secret").key().len(), 24);
        assert_ne!(one.secret, two.secret);
        assert_eq!(Value::from(shown_config(&one, false)), url);
        assert_eq!(shown_config(&one, true)["secret"], secret);
    }

    #[test]
    fn replacing_keeps_the_secret_unless_another_is_given() {
        let old = created(&json!({"url": "https://ci.example.com/hook"}));
        let now = Timestamp::UNIX_EPOCH;
        let same = draft(&json!({"url": "https://new.example.com/"})).replace(old.clone(), now).expect("one");
        assert_eq!((same.id, &same.secret), (old.id, &old.secret));
        let given = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let other = draft(&json!({"url": "https://new.example.com/", "secret": given}));
        assert_eq!(other.replace(old, now).expect("one").secret.as_deref(), Some(given));
    }

    #[test]
    fn whatever_else_is_secret_is_never_shown_and_stays_when_its_mask_is_written() {
        let url = "https://ci.example.com/hook";
        let made =
            created(&json!({"url": url, "bearer_token": "hunter2", "secret_headers": {"X-A": "hunter3"}}));
        let shown = Value::from(shown_config(&made, true));
        assert!(!shown.to_string().contains("hunter"), "{shown}");
        assert!(!format!("{made:?}").contains("hunter"), "{made:?}");
        assert!(shown["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
        let again = draft(&Value::from(shown_config(&made, false)));
        let again = again.replace(made.clone(), Timestamp::UNIX_EPOCH).expect("one");
        assert_eq!((&again.secret, &again.config), (&made.secret, &made.config));
        let secrets = Secrets::parse(again.secret.as_deref().expect("secrets")).expect("secrets");
        assert_eq!((secrets.get("bearer_token"), secrets.header("x-a")), (Some("hunter2"), Some("hunter3")));
    }

    #[test]
    fn a_url_s_secrets_are_shown_when_they_are_written_and_stay_when_their_mask_is() {
        let made = created(&json!({"url": "https://ci.example.com/hook?token=hunter2"}));
        assert_eq!(shown_config(&made, true)["url"], "https://ci.example.com/hook?token=hunter2");
        let shown = Value::from(shown_config(&made, false));
        assert_eq!(shown["url"], "https://ci.example.com/hook?token=********");
        let again = draft(&shown).replace(made.clone(), Timestamp::UNIX_EPOCH).expect("one");
        assert_eq!(again.config, made.config);
        let elsewhere = draft(&json!({"url": "https://other.example.com/?token=********"}));
        let refused = elsewhere.replace(made, Timestamp::UNIX_EPOCH).expect_err("refused");
        assert!(refused.detail.contains("`config.url` is masked"), "{}", refused.detail);
    }

    #[test]
    fn a_signing_key_is_made_when_the_signature_wants_one_and_then_stays() {
        let url = "https://ci.example.com/hook";
        let made = created(&json!({"url": url, "signatures": ["standard-webhooks-v1a"]}));
        let private = |one: &Notification| {
            Secrets::parse(one.secret.as_deref().expect("secrets")).expect("secrets").private
        };
        assert!(private(&made).is_some() && private(&created(&json!({"url": url}))).is_none());
        let again = draft(&json!({"url": url})).replace(made.clone(), Timestamp::UNIX_EPOCH).expect("one");
        assert_eq!(private(&again), private(&made));
    }

    #[test]
    fn settings_that_are_too_large_to_keep_are_refused_when_they_are_written_and_when_they_are_changed() {
        let url = "https://ci.example.com/hook";
        let of = |bytes: usize| draft(&json!({"url": url, "unknown": "x".repeat(bytes)}));
        let now = Timestamp::UNIX_EPOCH;
        let made = of(127 * 1024).create(now).expect("a notification");
        let refused = [of(128 * 1024).create(now), of(128 * 1024).replace(made, now)];
        for refused in refused.map(|answer| answer.expect_err("refused")) {
            assert_eq!(refused.status, 400);
            assert!(refused.detail.contains("but may be 131072 at most"), "{}", refused.detail);
        }
    }

    #[test]
    fn a_kind_that_can_never_happen_in_the_scope_is_found() {
        let repository = Scope::Repository(RepositoryName::parse("acme/api").expect("a name"));
        let kinds = [Kind::RepoPush, Kind::QuotaError, Kind::ScannerUpdateCompleted];
        assert_eq!(kind_outside(&repository, &kinds), Some(Kind::QuotaError));
        assert_eq!(
            kind_outside(&Scope::Namespace("acme".into()), &kinds),
            Some(Kind::ScannerUpdateCompleted)
        );
        assert_eq!(kind_outside(&Scope::Registry, &kinds), None);
    }
}
