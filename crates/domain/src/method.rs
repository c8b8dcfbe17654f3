//! By which method a delivery goes out, and its settings: checked when they are written, with
//! the messages that Quay's clients know.

mod chat;
mod chat_answer;
mod email;
mod settings;

use std::{borrow::Cow, fmt, str::FromStr};

use serde_json::{Map, Value};
use url::Url;

pub use chat::{Channel, ChatConfig, ChatService};
pub use chat_answer::{CHAT_ANSWER_BYTES, ChatAnswer};
pub use email::{EmailAddress, EmailConfig, Letter};
pub(crate) use settings::Settings;

use crate::{
    DeliveryId, Event, OptionError, Scope, Template, TemplateError, TextTemplate, WebhookOptions, masked,
    url_template,
};

/// How a delivery reaches its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MethodName {
    /// An HTTP POST to the receiver's own address.
    Webhook,
    /// The in-app notification area.
    QuayNotification,
    /// A mail.
    Email,
    /// A message in a Slack channel.
    Slack,
    /// A message in a Mattermost channel.
    Mattermost,
    /// A message in a Rocket.Chat channel.
    RocketChat,
    /// A message in a Microsoft Teams channel.
    Teams,
    /// A message in a Discord channel.
    Discord,
    /// A message in a room of `HipChat`.
    HipChat,
    /// A message in an inbox of Flowdock.
    Flowdock,
}

impl MethodName {
    /// Every method.
    pub const ALL: &[Self] = &[
        Self::Webhook,
        Self::QuayNotification,
        Self::Email,
        Self::Slack,
        Self::Mattermost,
        Self::RocketChat,
        Self::Teams,
        Self::Discord,
        Self::HipChat,
        Self::Flowdock,
    ];

    /// Quay's name of it, or ours where Quay does not have it; also the last word of its queue's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::QuayNotification => "quay_notification",
            Self::Email => "email",
            Self::Slack => "slack",
            Self::Mattermost => "mattermost",
            Self::RocketChat => "rocketchat",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::HipChat => "hipchat",
            Self::Flowdock => "flowdock",
        }
    }

    /// The chat service whose method this is.
    pub fn chat_service(self) -> Option<ChatService> {
        match self {
            Self::Webhook | Self::QuayNotification | Self::Email => None,
            Self::Slack => Some(ChatService::Slack),
            Self::Mattermost => Some(ChatService::Mattermost),
            Self::RocketChat => Some(ChatService::RocketChat),
            Self::Teams => Some(ChatService::Teams),
            Self::Discord => Some(ChatService::Discord),
            Self::HipChat => Some(ChatService::HipChat),
            Self::Flowdock => Some(ChatService::Flowdock),
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
    /// For [`MethodName::Email`].
    Email(EmailConfig),
    /// For the method of each chat service.
    Chat(ChatConfig),
}

/// Where a webhook goes and what it says.
#[derive(Clone, PartialEq)]
pub struct WebhookConfig {
    /// As its owner wrote it: `http` or `https`, with a host, without user and password. Its path and
    /// query may have places for what an event is about: see [`WebhookConfig::url_for`].
    pub url: String,
    /// The owner's own body instead of the format's.
    pub template: Option<Template>,
    /// How the request looks, who it says it is from, and which answer means that it was taken.
    pub options: Box<WebhookOptions>,
}

/// Without what may be secret of the URL.
impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("url", &masked::without_query(&self.url))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl WebhookConfig {
    /// Where the request of a delivery goes: `${repository}`, `${namespace}`, `${name}`, `${tag}`,
    /// `${digest}`, `${kind}`, `${event}` and `${delivery}` filled, percent-encoded.
    pub fn url_for(&self, event: &Event, delivery: DeliveryId) -> Cow<'_, str> {
        url_template::filled(&self.url, event, delivery)
    }
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
    /// Whether a user or team exists is the directory's to say; whether a webhook's host may be dialled is the operator's
    /// network rules' to say, so `localhost` passes here although Quay refuses it.
    ///
    /// # Errors
    ///
    /// The first thing that will not do, in Quay's words where Quay has any.
    pub fn parse(
        method: MethodName,
        config: &Map<String, Value>,
        scope: &Scope,
    ) -> Result<Self, ConfigError> {
        let config = Settings::new(method, config);
        if let Some(service) = method.chat_service() {
            return chat::parse(service, config).map(Self::Chat);
        }
        match method {
            MethodName::QuayNotification => in_app(config, scope).map(Self::QuayNotification),
            MethodName::Email => email::parse(config, scope).map(Self::Email),
            _ => webhook(config).map(Self::Webhook),
        }
    }
}

/// Longest webhook URL, in bytes: what receivers' servers commonly take.
pub(crate) const MAX_URL_BYTES: usize = 2048;

fn webhook(config: Settings<'_>) -> Result<WebhookConfig, ConfigError> {
    let url = match config.get("url") {
        None | Some(Value::Null) => return Err(ConfigError::MissingUrl),
        Some(Value::String(url)) if url.is_empty() => return Err(ConfigError::MissingUrl),
        Some(Value::String(url)) => url,
        Some(_) => return Err(ConfigError::InvalidUrl),
    };
    if !is_receiver_url(&url_template::check(url).map_err(ConfigError::UrlTemplate)?) {
        return Err(ConfigError::InvalidUrl);
    }
    let template = match config.get("template") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(Template::parse(text)?),
        Some(_) => return Err(ConfigError::TemplateNotText),
    };
    Ok(WebhookConfig { url: url.clone(), template, options: Box::new(WebhookOptions::read(config)?) })
}

/// Whether a text will do as a webhook's URL, with its places for what an event is about.
pub(crate) fn is_webhook_url(text: &str) -> bool {
    url_template::check(text).is_ok_and(|filled| is_receiver_url(&filled))
}

/// Whether a text is a URL that a request can be sent to and that everyone reads alike.
fn is_receiver_url(text: &str) -> bool {
    // The URL parser mends what others would read differently, such as a backslash or a line feed
    // within; what needs mending is refused, so that everyone reads the same host.
    if text.len() > MAX_URL_BYTES || text.chars().any(|c| c.is_control() || c == ' ' || c == '\\') {
        return false;
    }
    // `http:host` and `http:///host` would be mended likewise.
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return false;
    }
    let has_host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
    // Nobody listens on port 0.
    let has_port = |url: &Url| url.port() != Some(0);
    Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && has_host(&url) && has_port(&url))
}

/// A setting that is a text, or a number as some clients send ids; `None` if it is missing, empty or anything else.
fn given(config: Settings<'_>, name: &str) -> Option<String> {
    match config.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The owner's own words for a message, if there are any.
fn owners_text(config: Settings<'_>, name: &'static str) -> Result<Option<TextTemplate>, ConfigError> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(TextTemplate::parse(text)?)),
        Some(_) => Err(ConfigError::NotText(name)),
    }
}

fn in_app(config: Settings<'_>, scope: &Scope) -> Result<InAppTarget, ConfigError> {
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
    /// The URL has places that can't be filled.
    #[error("Invalid webhook URL: it {0}")]
    UrlTemplate(String),
    /// Another setting of a webhook.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The template is not understood.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The template is not a string that holds JSON.
    #[error("Could not parse template: the template must be a string that holds JSON")]
    TemplateNotText,
    /// A mail without `email`, of a repository or of the whole registry.
    #[error("Missing e-mail address")]
    MissingEmail,
    /// `email` is not exactly one address.
    #[error("Invalid e-mail address")]
    InvalidEmail,
    /// `email` was not confirmed for the repository: asked of the directory, after all else.
    #[error("The specified e-mail address is not authorized to receive notifications for this repository")]
    UnconfirmedEmail,
    /// `email` is no verified address of somebody to whom the namespace belongs: asked of the directory, after all else.
    #[error("The specified e-mail address is not authorized to receive notifications for this namespace")]
    ForeignEmail,
    /// A Flowdock inbox without `flow_api_token`.
    #[error("Missing Flowdock API Token")]
    MissingFlowdockToken,
    /// A `HipChat` room without `notification_token`.
    #[error("Missing Hipchat Room Notification Token")]
    MissingHipChatToken,
    /// A `HipChat` room without `room_id`.
    #[error("Missing Hipchat Room ID")]
    MissingHipChatRoom,
    /// A channel without `url`.
    #[error("Missing {} Callback URL", .0.title())]
    MissingChatUrl(ChatService),
    /// `url` is not `http` or `https`, has no host, or is readable in two ways. Quay stores it, and fails at sending.
    #[error("Invalid {} Callback URL", .0.title())]
    InvalidChatUrl(ChatService),
    /// The owner's words are no string.
    #[error("`{0}` should be a string")]
    NotText(&'static str),
    /// An in-app notification without `target` or its `kind`.
    #[error("Missing target")]
    MissingTarget,
    /// `target.kind` is not `user`, `team` or `org`.
    #[error("Unknown target kind {0}; known are user, team, org")]
    UnknownTargetKind(String),
    /// No such user: asked of the directory, after all else.
    #[error("Unknown user {0}")]
    UnknownUser(String),
    /// No such organization: asked of the directory, after all else.
    #[error("Unknown organization {0}")]
    UnknownOrganization(String),
    /// No such team in the namespace: asked of the directory, after all else.
    #[error("Unknown team {0}")]
    UnknownTeam(String),
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
