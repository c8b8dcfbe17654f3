//! By which method a delivery goes out, and its settings: checked when they are written, with
//! the messages that Quay's clients know.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};
use url::Url;

use crate::{Scope, Template, TemplateError};

/// How a delivery reaches its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MethodName {
    /// An HTTP POST to the receiver's own address.
    Webhook,
    /// The in-app notification area.
    QuayNotification,
}

impl MethodName {
    /// Every method.
    pub const ALL: &[Self] = &[Self::Webhook, Self::QuayNotification];

    /// Quay's name of it; also the last word of its queue's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::QuayNotification => "quay_notification",
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MethodName {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.name() == text)
            .ok_or_else(|| UnknownMethod { value: text.chars().take(80).collect() })
    }
}

/// A word that names no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown method {value:?}; known are {}", MethodName::ALL.iter().map(|method| method.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownMethod {
    value: String,
}

/// A method's settings, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum MethodConfig {
    /// For [`MethodName::Webhook`].
    Webhook(WebhookConfig),
    /// For [`MethodName::QuayNotification`].
    QuayNotification(InAppTarget),
}

/// Where a webhook goes and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookConfig {
    /// As its owner wrote it: `http` or `https`, with a host, without user and password.
    pub url: String,
    /// The owner's own body instead of the format's.
    pub template: Option<Template>,
}

/// Whose in-app area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InAppTarget {
    /// What `name` names.
    pub kind: TargetKind,
    /// A user, a team of the notification's namespace, or the namespace's organization itself.
    pub name: String,
}

/// What an in-app target names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// One user.
    User,
    /// Every member of a team.
    Team,
    /// The admins of an organization.
    Org,
}

impl TargetKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::User, Self::Team, Self::Org];

    /// Quay's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
            Self::Org => "org",
        }
    }
}

impl MethodConfig {
    /// Reads the settings of `method` for a notification in `scope`.
    ///
    /// Whether a user or team exists is the directory's to say; whether a webhook's host may be
    /// dialled is judged when it is dialled, on the very address and by the operator's network
    /// rules, so `localhost` passes here although Quay refuses it.
    ///
    /// # Errors
    ///
    /// The first thing that will not do, in Quay's words where Quay has any.
    pub fn parse(
        method: MethodName,
        config: &Map<String, Value>,
        scope: &Scope,
    ) -> Result<Self, ConfigError> {
        match method {
            MethodName::Webhook => webhook(config).map(Self::Webhook),
            MethodName::QuayNotification => in_app(config, scope).map(Self::QuayNotification),
        }
    }

    /// Whose settings these are.
    pub fn method(&self) -> MethodName {
        match self {
            Self::Webhook(_) => MethodName::Webhook,
            Self::QuayNotification(_) => MethodName::QuayNotification,
        }
    }
}

/// Longest webhook URL, in bytes: what receivers' servers commonly take.
const MAX_URL_BYTES: usize = 2048;

fn webhook(config: &Map<String, Value>) -> Result<WebhookConfig, ConfigError> {
    let url = match config.get("url") {
        None | Some(Value::Null) => return Err(ConfigError::MissingUrl),
        Some(Value::String(url)) if url.is_empty() => return Err(ConfigError::MissingUrl),
        Some(Value::String(url)) => url,
        Some(_) => return Err(ConfigError::InvalidUrl),
    };
    check_url(url)?;
    let template = match config.get("template") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(Template::parse(text)?),
        Some(_) => return Err(ConfigError::TemplateNotText),
    };
    Ok(WebhookConfig { url: url.clone(), template })
}

fn check_url(text: &str) -> Result<(), ConfigError> {
    // The URL parser mends what others would read differently, such as a backslash or a line feed
    // within; what needs mending is refused, so that everyone reads the same host.
    if text.len() > MAX_URL_BYTES || text.chars().any(|c| c.is_control() || c == ' ' || c == '\\') {
        return Err(ConfigError::InvalidUrl);
    }
    // `http:host` and `http:///host` would be mended likewise.
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return Err(ConfigError::InvalidUrl);
    }
    let url = Url::parse(text).map_err(|_| ConfigError::InvalidUrl)?;
    let fits =
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
    if fits { Ok(()) } else { Err(ConfigError::InvalidUrl) }
}

fn in_app(config: &Map<String, Value>, scope: &Scope) -> Result<InAppTarget, ConfigError> {
    let Some(Value::Object(target)) = config.get("target") else { return Err(ConfigError::MissingTarget) };
    let word = match target.get("kind") {
        None | Some(Value::Null) => return Err(ConfigError::MissingTarget),
        Some(Value::String(word)) if word.is_empty() => return Err(ConfigError::MissingTarget),
        Some(Value::String(word)) => word.as_str(),
        Some(other) => return Err(ConfigError::UnknownTargetKind(shown(&other.to_string()))),
    };
    let kind = TargetKind::ALL
        .iter()
        .copied()
        .find(|kind| kind.name() == word)
        .ok_or_else(|| ConfigError::UnknownTargetKind(shown(word)))?;
    let name = match target.get("name") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        _ => return Err(ConfigError::MissingTargetName),
    };
    let namespace = match scope {
        Scope::Repository(repository) => Some(repository.namespace()),
        Scope::Namespace(namespace) => Some(namespace.as_str()),
        Scope::Registry => None,
    };
    match (kind, namespace) {
        (TargetKind::Org, Some(namespace)) if name != namespace => Err(ConfigError::OtherOrganization),
        (TargetKind::Team, None) => Err(ConfigError::TeamWithoutNamespace),
        _ => Ok(InAppTarget { kind, name }),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Why a method's settings will not do. The text is what Quay's API answers as `detail`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A webhook without `url`.
    #[error("Missing webhook URL")]
    MissingUrl,
    /// Not `http` or `https`, no host, with user or password, or readable in two ways.
    #[error("Invalid webhook URL")]
    InvalidUrl,
    /// The template is not understood.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The template is not a string that holds JSON.
    #[error("Could not parse template: the template must be a string that holds JSON")]
    TemplateNotText,
    /// An in-app notification without `target` or its `kind`.
    #[error("Missing target")]
    MissingTarget,
    /// `target.kind` is not `user`, `team` or `org`.
    #[error("Unknown target kind {0}; known are user, team, org")]
    UnknownTargetKind(String),
    /// `target.name` is not there.
    #[error("Missing target name")]
    MissingTargetName,
    /// An organization that is not the notification's namespace.
    #[error("Organization name must match repository namespace")]
    OtherOrganization,
    /// A team, for a notification over the whole registry: teams belong to a namespace.
    #[error("A team belongs to a namespace, so a notification of the whole registry can't name one")]
    TeamWithoutNamespace,
}
