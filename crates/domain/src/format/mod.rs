//! What a receiver is sent: an event as bytes, in one of several forms.

mod cloudevents;
pub mod quay;

use std::{fmt, str::FromStr};

use crate::{Event, Template, TemplateError};

/// The form of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Quay's own, which Quay's receivers parse.
    Quay,
    /// A structured `CloudEvents` 1.0 event.
    CloudEvents,
}

impl Format {
    /// Every format.
    pub const ALL: &[Self] = &[Self::Quay, Self::CloudEvents];

    /// Its name in a notification's `format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quay => "quay",
            Self::CloudEvents => "cloudevents",
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

/// A request's body and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// For the `content-type` header.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// Writes `event` for a webhook, in `format` or, where there is one, by the owner's template.
///
/// The template is applied to the JSON document that `format` would have sent, and its own result
/// is sent as `application/json`.
///
/// # Errors
///
/// When the template can't be applied to this event.
pub fn webhook_payload(
    event: &Event,
    format: Format,
    template: Option<&Template>,
    registry: &Registry,
) -> Result<Payload, TemplateError> {
    if let Some(template) = template {
        let document = match format {
            Format::Quay => quay::payload(event, registry).into(),
            Format::CloudEvents => event.to_value(),
        };
        return Ok(quay::body(&template.apply(&document)?));
    }
    Ok(match format {
        Format::Quay => quay::body(&quay::payload(event, registry).into()),
        Format::CloudEvents => cloudevents::body(event),
    })
}
