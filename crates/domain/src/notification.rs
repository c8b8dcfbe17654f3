//! A standing wish to hear of events.

use std::{borrow::Cow, fmt, time::Duration};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    ConfigError, DeliveryId, Event, Filter, FilterError, Format, Grain, Kind, MASK, MethodConfig, MethodName,
    NotificationId, Refusal, RepositoryName, RetryPolicy, Subject, UnknownFormat, UnknownMethod,
    WebhookConfig, digest,
};

/// Whose events a notification is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One repository's.
    Repository(RepositoryName),
    /// Everything in a namespace, and the namespace itself.
    Namespace(String),
    /// Everything in the registry.
    Registry,
}

impl Scope {
    /// Whether an event about `subject` lies within.
    pub fn covers(&self, subject: &Subject) -> bool {
        match (self, subject) {
            (Self::Registry, _) => true,
            (Self::Namespace(namespace), subject) => subject.namespace() == Some(namespace),
            (Self::Repository(own), Subject::Repository(name)) => own == name,
            (Self::Repository(_), _) => false,
        }
    }

    /// The word for it in the API and in storage.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Repository(_) => "repository",
            Self::Namespace(_) => "namespace",
            Self::Registry => "registry",
        }
    }

    /// The repository's or namespace's name; empty for the registry.
    pub fn name(&self) -> &str {
        match self {
            Self::Repository(name) => name.as_str(),
            Self::Namespace(name) => name,
            Self::Registry => "",
        }
    }
}

/// Whether a notification is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotificationState {
    /// It is.
    Active,
    /// Its owner wants no deliveries for now: they are held, not lost.
    Paused,
    /// It was switched off and is served again, by one delivery at a time until one has succeeded; the others are held.
    Probation,
    /// It was switched off because its receiver is gone or keeps failing; new events are not fanned out to it.
    Disabled,
}

/// A standing wish: whose events, which kinds, which of those, by which method, in which form.
///
/// `config` and `event_config` are kept as their owner wrote them (Quay's API shows them so);
/// `method`, `filter` and `format` are what was understood of them when it was checked.
#[derive(Clone, PartialEq)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// What its owner calls it.
    pub title: Option<String>,
    /// Whose events.
    pub scope: Scope,
    /// Which kinds; never empty.
    pub kinds: Vec<Kind>,
    /// The filter as written: Quay's `event_config`, with our own keys beside its.
    pub event_config: Map<String, Value>,
    /// The method's name as written, such as `webhook`.
    pub method: String,
    /// The method's settings as written, without secrets.
    pub config: Map<String, Value>,
    /// What is secret of a webhook's settings, as [`Secrets::to_stored`](crate::Secrets::to_stored) writes
    /// it: without more than a key to sign with it is `whsec_...`.
    pub secret: Option<String>,
    /// The payload format's name as written, such as `quay`.
    pub format: String,
    /// Its own retry schedule, if it has one.
    pub retry: Option<RetryPolicy>,
    /// Whether it is served.
    pub state: NotificationState,
    /// Why it is disabled, for its owner.
    pub state_reason: Option<String>,
    /// Deliveries in a row that ended in dead letters, as Quay's clients read it: 3 or more means disabled.
    pub failures: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner last changed it.
    pub updated_at: Timestamp,
    /// The id of the account that made it, if an account did.
    pub author: Option<Uuid>,
    /// When its receiver last took a delivery, to within a minute.
    pub succeeded_at: Option<Timestamp>,
}

/// Without its secrets: this is what a log or a failed assertion shows.
impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("id", &self.id)
            .field("title", &self.title)
            .field("scope", &self.scope)
            .field("kinds", &self.kinds)
            .field("method", &self.method)
            .field("format", &self.format)
            .field("secret", &self.secret.as_ref().map(|_| MASK))
            .field("state", &self.state)
            .field("state_reason", &self.state_reason)
            .field("failures", &self.failures)
            .field("created_at", &self.created_at)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

impl Notification {
    /// Whether its scope and kinds take the event. The filter is a further question.
    pub fn listens_to(&self, event: &Event) -> bool {
        self.hears_as(event).is_some() && self.scope.covers(&event.subject)
    }

    /// As which of its kinds it hears of an event, if as any: as the event's own, where it listens to that.
    ///
    /// DTR tells of a push by tag by two webhooks, as `TAG_PUSH` and as `MANIFEST_PUSH`. So in its format one that
    /// listens to `manifest_push` and not to `repo_push` hears of a push by tag as of the manifest that it was; one that
    /// listens to both hears of it once, as what it is.
    pub fn hears_as(&self, event: &Event) -> Option<Kind> {
        let listens = |kind: &Kind| self.kinds.contains(kind);
        let second = || {
            let is_dtr = self.format.parse() == Ok(Format::Dtr);
            Some(Kind::ManifestPush).filter(|kind| is_dtr && event.tells_of(*kind))
        };
        Some(event.kind).filter(listens).or_else(|| second().filter(listens))
    }

    /// Understands what its owner wrote, in the one way that everybody does.
    ///
    /// # Errors
    ///
    /// The first member that is not understood.
    pub fn check(&self) -> Result<CheckedNotification, NotificationError> {
        if self.kinds.is_empty() {
            return Err(NotificationError::NoKinds);
        }
        let format = self.format.parse::<Format>()?;
        if let Some(kind) = self.kinds.iter().copied().find(|kind| !format.expresses(*kind)) {
            return Err(NotificationError::Inexpressible { format, kind });
        }
        let method = MethodConfig::parse(self.method.parse::<MethodName>()?, &self.config, &self.scope)?;
        if let MethodConfig::Webhook(webhook) = &method {
            webhook.options.check_format(format).map_err(ConfigError::from)?;
        }
        let filter = Filter::parse(&self.event_config, &self.kinds)?;
        let digest = digest::window(&self.event_config, &self.kinds)?;
        Ok(CheckedNotification { filter, digest, method, format })
    }
}

/// What was understood of a notification's members as written.
#[derive(Debug, Clone)]
pub struct CheckedNotification {
    /// Which events it wants.
    pub filter: Filter,
    /// For how long vulnerabilities are collected to be told together, if they are.
    pub digest: Option<Duration>,
    /// How, and where to.
    pub method: MethodConfig,
    /// In which form.
    pub format: Format,
}

impl CheckedNotification {
    /// What a delivery to the `link`th URL of a webhook chain after the first goes by: the same but for the URL.
    /// `None` where the chain is not that long, or no longer.
    pub fn at_link(&self, link: u32) -> Option<Cow<'_, Self>> {
        if link == 0 {
            return Some(Cow::Borrowed(self));
        }
        let MethodConfig::Webhook(webhook) = &self.method else { return None };
        let url = webhook.options.chain.get(usize::try_from(link - 1).ok()?)?.clone();
        let method = MethodConfig::Webhook(WebhookConfig { url, ..webhook.clone() });
        Some(Cow::Owned(Self { method, ..self.clone() }))
    }

    /// Into how many requests an event goes: as a webhook's owner says or, without a word, as its format
    /// needs it.
    pub fn grain(&self) -> Grain {
        let MethodConfig::Webhook(webhook) = &self.method else { return Grain::Event };
        let usual = if self.format.names_one_tag() { Grain::Tag } else { Grain::Event };
        webhook.options.grain.unwrap_or(usual)
    }

    /// The deliveries that an event becomes, as [`Event::split`] has them, without those that the filter does not
    /// take: of a push of several tags, each must be what it takes, as if its tag alone had been pushed.
    ///
    /// # Errors
    ///
    /// When it takes none, with the line that says no.
    pub fn wanted<'e>(
        &self,
        event: &'e Event,
        notification: NotificationId,
    ) -> Result<Vec<(DeliveryId, Option<&'e str>)>, Refusal> {
        self.filter.allows(event)?;
        let parts = event.split(notification, self.grain());
        if !self.filter.asks_for_tags() {
            return Ok(parts);
        }
        let (mut wanted, mut refusal) = (Vec::new(), None);
        for (delivery, tag) in parts {
            match tag.map_or(Ok(()), |tag| self.filter.allows(&event.with_tag_alone(tag))) {
                Ok(()) => wanted.push((delivery, tag)),
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        refusal.filter(|_| wanted.is_empty()).map_or(Ok(wanted), Err)
    }
}

/// Why a notification will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// It listens to nothing.
    #[error("the notification names no kind of event")]
    NoKinds,
    /// Its filter is not understood.
    #[error("event config: {0}")]
    Filter(#[from] FilterError),
    /// Its method is not known.
    #[error(transparent)]
    Method(#[from] UnknownMethod),
    /// Its method's settings will not do. The text is Quay's own.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its format has no word for one of its kinds.
    #[error("format `{format}` has no word for {kind}; it can tell of {}", told(*format))]
    Inexpressible {
        /// The format.
        format: Format,
        /// The first such kind.
        kind: Kind,
    },
    /// Its format is not known.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
}

/// The kinds that a format has words for.
fn told(format: Format) -> String {
    let kinds: Vec<&str> =
        Kind::ALL.iter().filter(|kind| format.expresses(**kind)).map(|kind| kind.name()).collect();
    kinds.join(", ")
}
