//! What the formats of other registries say of an image event, found once in an event's data
//! whichever producer wrote it.

use serde_json::{Map, Value};

use super::{Format, Inexpressible, Registry};
use crate::{Event, Kind, RepositoryName, Subject};

/// An event about a repository, its parts found. Texts that are absent or empty are `None`.
pub(super) struct Facts<'a> {
    pub(super) event: &'a Event,
    pub(super) repository: &'a RepositoryName,
    pub(super) tag: Option<&'a str>,
    pub(super) digest: Option<&'a str>,
    pub(super) media_type: Option<&'a str>,
    pub(super) size: u64,
    /// Who did it; empty for an anonymous client.
    pub(super) actor: &'a str,
    format: Format,
}

impl<'a> Facts<'a> {
    /// # Errors
    ///
    /// When the event is about no repository, or about more tags than one.
    pub(super) fn of(event: &'a Event, format: Format) -> Result<Self, Inexpressible> {
        let refused = |why: String| Inexpressible { format, kind: event.kind, why };
        let Subject::Repository(repository) = &event.subject else {
            return Err(refused("it is about no repository".to_owned()));
        };
        let data = &event.data;
        let tag = match event.pushed_tags()[..] {
            _ if event.kind != Kind::RepoPush => text(data, "tag"),
            [] => None,
            [tag] => Some(tag),
            ref several => {
                let why = format!("it has {} tags, and a request in this format names one", several.len());
                return Err(refused(why));
            }
        };
        Ok(Self {
            event,
            repository,
            tag,
            digest: text(data, "digest"),
            media_type: text(data, "media_type"),
            size: data.get("size").and_then(Value::as_u64).unwrap_or(0),
            actor: actor(event),
            format,
        })
    }

    /// The tag, for what can't be told without.
    pub(super) fn need_tag(&self) -> Result<&'a str, Inexpressible> {
        self.tag.ok_or_else(|| self.lacks("tag"))
    }

    /// The digest, for what can't be told without.
    pub(super) fn need_digest(&self) -> Result<&'a str, Inexpressible> {
        self.digest.ok_or_else(|| self.lacks("digest"))
    }

    /// The tag or, without one, the digest.
    pub(super) fn need_reference(&self) -> Result<&'a str, Inexpressible> {
        self.tag.or(self.digest).ok_or_else(|| self.lacks("tag or digest"))
    }

    pub(super) fn lacks(&self, what: &str) -> Inexpressible {
        let why = format!("it has no {what}");
        Inexpressible { format: self.format, kind: self.event.kind, why }
    }

    /// The image as a client would pull it, by tag or else by digest: `host/namespace/name:tag`.
    pub(super) fn image(&self, registry: &Registry) -> String {
        let (host, name) = (registry.host(), self.repository);
        match (self.tag, self.digest) {
            (Some(tag), _) => format!("{host}/{name}:{tag}"),
            (None, Some(digest)) => format!("{host}/{name}@{digest}"),
            (None, None) => format!("{host}/{name}"),
        }
    }

    /// The media type of the image's configuration, by which a chart is told from an image.
    pub(super) fn config_media_type(&self) -> &'a str {
        let references = self.event.data.get("distribution").and_then(|notice| {
            notice.get("target")?.get("references")?.as_array()?.iter().find_map(|reference| {
                reference.get("mediaType")?.as_str().filter(|media_type| is_config(media_type))
            })
        });
        references.unwrap_or(match self.media_type {
            Some(media_type) if media_type.starts_with("application/vnd.oci.") => {
                "application/vnd.oci.image.config.v1+json"
            }
            _ => "application/vnd.docker.container.image.v1+json",
        })
    }
}

fn is_config(media_type: &str) -> bool {
    media_type.contains(".config.") || media_type.starts_with("application/vnd.docker.container.image.")
}

/// Who did it; empty where the event does not say.
pub(super) fn actor(event: &Event) -> &str {
    let name = event.data.get("actor").and_then(|actor| actor.get("name")).and_then(Value::as_str);
    name.or_else(|| text(&event.data, "author")).unwrap_or_default()
}

/// A member that is a text and not empty.
pub(super) fn text<'a>(data: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    data.get(member).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A member that is a whole number; 0 where it is none.
pub(super) fn integer(object: Option<&Value>, member: &str) -> u64 {
    object.and_then(|object| object.get(member)).and_then(Value::as_u64).unwrap_or(0)
}
