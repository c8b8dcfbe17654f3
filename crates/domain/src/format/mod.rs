//! What a receiver is sent: an event as bytes, in one of several forms.

pub(crate) mod acr;
mod cloudevents;
pub(crate) mod distribution;
pub(crate) mod docker_hub;
pub mod dtr;
mod facts;
pub(crate) mod harbor;
pub mod quay;

use std::{fmt, str::FromStr};

use serde_json::{Value, json};

use crate::{DeliveryId, Event, Kind, NotificationId, Template, TemplateError};

/// Members of an event's data that are the operator's matter, such as clients' addresses, and no receiver's: what a
/// registry sent, as it came.
const INTERNAL: &[&str] =
    &["distribution", "harbor", "zot", "acr", "dockerhub", "ecr", "ghcr", "request", "instance"];

/// The form of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Quay's own, which Quay's receivers parse.
    Quay,
    /// A structured `CloudEvents` 1.0 event.
    CloudEvents,
    /// Docker Trusted Registry's and Mirantis Secure Registry's.
    Dtr,
    /// Docker Hub's, of which there is one: for a push.
    DockerHub,
    /// Harbor's `Default`.
    Harbor,
    /// Harbor's `CloudEvents`.
    HarborCloudEvents,
    /// Azure Container Registry's.
    Acr,
    /// A Distribution registry's envelope with one notice.
    Distribution,
}

impl Format {
    /// Every format.
    pub const ALL: &[Self] = &[
        Self::Quay,
        Self::CloudEvents,
        Self::Dtr,
        Self::DockerHub,
        Self::Harbor,
        Self::HarborCloudEvents,
        Self::Acr,
        Self::Distribution,
    ];

    /// Its name in a notification's `format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quay => "quay",
            Self::CloudEvents => "cloudevents",
            Self::Dtr => "dtr",
            Self::DockerHub => "dockerhub",
            Self::Harbor => "harbor",
            Self::HarborCloudEvents => "harbor-cloudevents",
            Self::Acr => "acr",
            Self::Distribution => "distribution",
        }
    }

    /// Whether the registry that the format is of has a word for what happened. A notification whose
    /// format lacks the word for one of its kinds is refused.
    pub fn expresses(self, kind: Kind) -> bool {
        match self {
            Self::Quay | Self::CloudEvents => true,
            Self::Dtr => kind.dtr_type().is_some(),
            Self::DockerHub => kind == Kind::RepoPush,
            Self::Harbor | Self::HarborCloudEvents => harbor::event_type(kind).is_some(),
            Self::Acr => acr::action(kind).is_some(),
            Self::Distribution => distribution::action(kind).is_some(),
        }
    }

    /// Whether a payload has room for one tag alone, so that a push of several is several requests.
    pub fn names_one_tag(self) -> bool {
        !matches!(self, Self::Quay | Self::CloudEvents)
    }

    /// What a request in this format calls itself, where receivers look for that; `None` where they
    /// don't, for our own name.
    pub fn user_agent(self) -> Option<&'static str> {
        match self {
            // Argo CD Image Updater, Flux and Kargo know Azure's requests by this beginning.
            Self::Acr => Some("AzureContainerRegistry/1.0"),
            _ => None,
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::CloudEvents | Self::HarborCloudEvents => cloudevents::CONTENT_TYPE,
            Self::Distribution => distribution::CONTENT_TYPE,
            _ => "application/json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .iter()
            .copied()
            .find(|format| format.name() == text)
            .ok_or_else(|| UnknownFormat { value: text.chars().take(80).collect() })
    }
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {value:?}; known are {}", Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownFormat {
    value: String,
}

/// The registry whose events are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// What people call it.
    pub title: String,
    /// Its public base URL, such as `https://registry.example.com`.
    pub url: String,
}

impl Registry {
    /// The base URL without a trailing slash.
    pub fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// The base URL without its scheme: what stands before a repository's name in an image reference.
    pub fn host(&self) -> &str {
        self.base().split_once("://").map_or(self.base(), |(_, rest)| rest)
    }
}

/// What a payload tells beside the event.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The registry.
    pub registry: &'a Registry,
    /// The delivery: where a format has an id for its message, this is it, so that it stays the same
    /// over retries and differs between the requests of one event.
    pub delivery: DeliveryId,
    /// The notification.
    pub notification: NotificationId,
    /// Docker Hub's `callback_url`; empty for none.
    pub callback_url: &'a str,
    /// The event type that a DTR client subscribed to, if it is not the event's own: `REPO_EVENT`.
    pub dtr_type: Option<&'a str>,
}

/// A request's body and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// For the `content-type` header.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// An event of a kind that the format has a word for, but without what that word needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("format `{format}` can't tell of this {kind}: {why}")]
pub struct Inexpressible {
    format: Format,
    kind: Kind,
    why: String,
}

/// Why an event can't be written for a receiver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The owner's template can't be applied to it.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The format can't tell of it.
    #[error(transparent)]
    Inexpressible(#[from] Inexpressible),
}

/// Writes `event` for a webhook, in `format` or, where there is one, by the owner's template.
///
/// The template is applied to the JSON document that `format` would have sent, and its own result
/// is sent as `application/json`.
///
/// # Errors
///
/// When the template can't be applied to this event, or the format can't tell of it.
pub fn webhook_payload(
    event: &Event,
    format: Format,
    template: Option<&Template>,
    context: &Context<'_>,
) -> Result<Payload, PayloadError> {
    let document = document(event, format, context)?;
    if let Some(template) = template {
        return Ok(quay::body(&template.apply(&document)?));
    }
    Ok(match format {
        Format::Quay => quay::body(&document),
        _ => Payload { content_type: format.media_type(), body: document.to_string().into_bytes() },
    })
}

fn document(event: &Event, format: Format, context: &Context<'_>) -> Result<Value, Inexpressible> {
    if !format.expresses(event.kind) {
        return Err(Inexpressible { format, kind: event.kind, why: "it has no word for it".to_owned() });
    }
    match format {
        Format::Quay => Ok(quay::payload(event, context.registry).into()),
        Format::CloudEvents => Ok(cloudevents::payload(event)),
        Format::Dtr => dtr::payload(event, context),
        Format::DockerHub => docker_hub::payload(event, context),
        Format::Harbor => harbor::payload(event, context),
        Format::HarborCloudEvents => harbor::cloud_event(event, context),
        Format::Acr => acr::payload(event, context),
        Format::Distribution => distribution::payload(event, context),
    }
}

/// What the text of a mail or a chat message is filled from: Quay's payload, or the event where the format says
/// so; and beside their members `event`, `summary` and `level`, where they have none of these names themselves.
pub(crate) fn told(event: &Event, format: Format, registry: &Registry) -> Value {
    let mut told = match format {
        Format::CloudEvents => cloudevents::payload(event),
        _ => quay::payload(event, registry).into(),
    };
    if let Value::Object(members) = &mut told {
        for (name, value) in [
            ("event", json!(event.kind)),
            ("summary", quay::summary(event).into()),
            ("level", json!(quay::level(event))),
        ] {
            members.entry(name).or_insert(value);
        }
    }
    told
}
