//! Notices of a Distribution registry (`registry:2`, `registry:3`): which of them tell of something.
//!
//! One `docker push` makes a notice for every layer, one `docker pull` two for the manifest. What
//! remains of them here is what people mean by a push and a pull.
//!
//! | Action | Of | Becomes |
//! |---|---|---|
//! | `push` | manifest with a tag | `repo_push` |
//! | `push` | manifest without | `manifest_push` |
//! | `pull` | manifest with a tag, HEAD or GET | `tag_pull` |
//! | `pull` | manifest without, GET | `manifest_pull`, unless it completes a HEAD: see [`Pull`] |
//! | `pull` | manifest without, HEAD | nothing: a client looks whether it is there |
//! | `delete` | tag | `tag_delete` |
//! | `delete` | digest | `manifest_delete`, with `certain: false` as it may have been a layer |
//! | `delete` | neither | `repo_deleted` |
//! | any | layer or configuration | nothing |
//!
//! An event's id is the notice's own, the same on each of the registry's retries. Its source is
//! the operator's name for the registry or, without one, the host that the client asked; never
//! the registry's `instanceID`, which is another after every restart.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Dropped, Item, Pull, PullHalf, PullKey,
    notice::{NoticeError, json as read_json, text, whole_or_bare, within},
};
use crate::{Event, Kind, RepositoryName};

/// The registry, as errors name it.
const NAME: &str = "Distribution";

/// Media types of manifests; anything that begins so is one ([Distribution 2.8 and 3.1] send no other).
///
/// [Distribution 2.8 and 3.1]: https://github.com/distribution/distribution/tree/v3.1.1/manifest
const MANIFESTS: &[&str] = &[
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

/// Beginnings of the `User-Agent` of those whose pulls are no use of an image: we, and Harbor's jobs.
const OWN_AGENTS: &[&str] = &["bellbuoy/", "harbor-registry-client"];

/// How long after a HEAD with a tag a GET by digest counts as the same pull.
pub const MERGE_WINDOW: Duration = Duration::from_secs(10);

/// Reads an envelope, one item for each of its notices, in their order.
///
/// `registry` is the operator's name for the sender, empty for none: the events' source. `now`
/// stands in for a time that is absent or can't be read.
///
/// # Errors
///
/// When it is no envelope at all: not JSON, or no object with an array `events`; or when it holds more
/// than `most` notices.
pub fn classify(
    envelope: &[u8],
    registry: &str,
    most: usize,
    now: Timestamp,
) -> Result<Vec<Item>, NoticeError> {
    let envelope = read_json(NAME, envelope)?;
    let Some(events) = envelope.get("events").and_then(Value::as_array) else {
        return Err(NoticeError::Foreign {
            registry: NAME,
            why: "no object with an array `events`".to_owned(),
        });
    };
    within(most, events.len(), NAME)?;
    Ok(notices(events, registry, now))
}

/// Reads notices without their envelope.
pub(super) fn notices(notices: &[Value], registry: &str, now: Timestamp) -> Vec<Item> {
    notices.iter().enumerate().map(|(index, notice)| read(index, notice, registry, now)).collect()
}

fn read(index: usize, notice: &Value, registry: &str, now: Timestamp) -> Item {
    let read = Notice::read(notice).and_then(|notice| match notice.meaning() {
        Meaning::Nothing(dropped) => Ok(Item::Dropped(dropped)),
        Meaning::Kind(kind) => {
            let pull = notice.pull();
            notice.event(kind, registry, now).map(|event| Item::Event { event: Box::new(event), pull })
        }
    });
    read.unwrap_or_else(|why| Item::Undecodable { index, why, raw: notice.to_string().into_bytes() })
}

/// A notice, its parts found. Empty texts and zero stand for absent ones: registry 3 writes them so.
struct Notice<'a> {
    raw: &'a Value,
    id: &'a str,
    action: Action,
    repository: RepositoryName,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
    media_type: Option<&'a str>,
    url: Option<&'a str>,
    size: Option<u64>,
    request: Request<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Push,
    Pull,
    Mount,
    Delete,
}

struct Request<'a> {
    method: &'a str,
    host: Option<&'a str>,
    user_agent: Option<&'a str>,
}

enum Meaning {
    Kind(Kind),
    Nothing(Dropped),
}

impl<'a> Notice<'a> {
    /// Finds the parts that a meaning hangs on. Where one has another type than it should, it can't be
    /// passed over: a deleted tag must not be taken for a deleted repository.
    fn read(raw: &'a Value) -> Result<Self, String> {
        let target = raw.get("target").filter(|target| target.is_object()).ok_or("`target` is missing")?;
        let request = raw.get("request");
        let lenient = |name| request.and_then(|request| text(request, name).ok().flatten());
        Ok(Self {
            raw,
            id: text(raw, "id")?.ok_or("`id` is missing")?,
            action: Action::read(text(raw, "action")?.ok_or("`action` is missing")?)?,
            repository: RepositoryName::parse(
                text(target, "repository")?.ok_or("`target.repository` is missing")?,
            )
            .map_err(|error| format!("`target.repository`: {error}"))?,
            tag: text(target, "tag")?,
            digest: text(target, "digest")?,
            media_type: text(target, "mediaType")?,
            url: text(target, "url")?,
            size: ["size", "length"]
                .iter()
                .find_map(|name| target.get(*name).and_then(Value::as_u64).filter(|size| *size > 0)),
            request: Request {
                method: lenient("method").unwrap_or_default(),
                host: lenient("host"),
                user_agent: lenient("useragent"),
            },
        })
    }

    fn meaning(&self) -> Meaning {
        match (self.action, self.tag) {
            (Action::Mount, _) => Meaning::Nothing(Dropped::Mount),
            (Action::Push | Action::Pull, _) if !self.is_manifest() => Meaning::Nothing(Dropped::Blob),
            (Action::Push, Some(_)) => Meaning::Kind(Kind::RepoPush),
            (Action::Push, None) => Meaning::Kind(Kind::ManifestPush),
            (Action::Pull, _) if self.is_own_traffic() => Meaning::Nothing(Dropped::OwnTraffic),
            (Action::Pull, Some(_)) => Meaning::Kind(Kind::TagPull),
            (Action::Pull, None) if self.request.method == "HEAD" => Meaning::Nothing(Dropped::Probe),
            (Action::Pull, None) => Meaning::Kind(Kind::ManifestPull),
            (Action::Delete, Some(_)) => Meaning::Kind(Kind::TagDelete),
            (Action::Delete, None) if self.digest.is_some() => Meaning::Kind(Kind::ManifestDelete),
            (Action::Delete, None) => Meaning::Kind(Kind::RepoDeleted),
        }
    }

    /// By its media type or, as some registries send manifests as `application/octet-stream` and
    /// artifacts have types of their own, by its URL: `.../manifests/sha256:...`.
    fn is_manifest(&self) -> bool {
        self.media_type.is_some_and(is_manifest_type)
            || self.url.and_then(|url| url.rsplit('/').nth(1)) == Some("manifests")
    }

    fn is_own_traffic(&self) -> bool {
        self.request.user_agent.is_some_and(|agent| OWN_AGENTS.iter().any(|own| agent.starts_with(own)))
    }

    fn pull(&self) -> Option<Pull> {
        let half = match (self.action, self.tag, self.request.method) {
            (Action::Pull, Some(_), "HEAD") => PullHalf::HeadWithTag,
            (Action::Pull, None, "GET") => PullHalf::GetWithoutTag,
            _ => return None,
        };
        let key = PullKey {
            repository: self.repository.clone(),
            digest: self.digest?.to_owned(),
            user_agent: self.request.user_agent.unwrap_or_default().to_owned(),
        };
        Some(Pull { key, half })
    }

    /// The event, checked as any other.
    fn event(&self, kind: Kind, registry: &str, now: Timestamp) -> Result<Event, String> {
        let envelope = |data: &Map<String, Value>| self.envelope(kind, registry, now, data);
        whole_or_bare(self.data(kind), "distribution", self.raw, envelope, now)
            .map_err(|error| error.to_string())
    }

    fn envelope(&self, kind: Kind, registry: &str, now: Timestamp, data: &Map<String, Value>) -> Value {
        let time = self.raw.get("timestamp").and_then(Value::as_str);
        let time = time.and_then(|text| text.parse().ok()).unwrap_or(now);
        json!({
            "specversion": "1.0", "id": self.id, "source": self.source(registry), "type": kind,
            "subject": self.repository, "time": time.to_string(), "data": data,
        })
    }

    fn source(&self, registry: &'a str) -> &'a str {
        let node = self.raw.get("source").and_then(|source| text(source, "addr").ok().flatten());
        let known = Some(registry).filter(|name| !name.is_empty());
        known.or(self.request.host).or(node).unwrap_or("distribution")
    }

    fn data(&self, kind: Kind) -> Map<String, Value> {
        let mut data = Map::new();
        let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
        match (kind, self.tag) {
            (Kind::RepoPush, Some(tag)) => put("updated_tags", json!([tag])),
            (_, Some(tag)) => put("tag", json!(tag)),
            (_, None) => None,
        };
        if let Some(digest) = self.digest {
            put("digest", json!(digest));
        }
        if let Some(media_type) = self.media_type {
            put("media_type", json!(media_type));
        }
        if let Some(size) = self.size {
            put("size", json!(size));
        }
        if kind == Kind::ManifestDelete {
            put("certain", json!(self.media_type.is_some_and(is_manifest_type)));
        }
        if let Some(name) = self.raw.get("actor").and_then(|actor| text(actor, "name").ok().flatten()) {
            put("actor", json!({"name": name}));
        }
        put("request", json!({"host": self.request.host, "user_agent": self.request.user_agent}));
        let instance = self.raw.get("source").and_then(|source| text(source, "instanceID").ok().flatten());
        if let Some(instance) = instance {
            put("instance", json!(instance));
        }
        data
    }
}

impl Action {
    fn read(word: &str) -> Result<Self, String> {
        match word {
            "push" => Ok(Self::Push),
            "pull" => Ok(Self::Pull),
            "mount" => Ok(Self::Mount),
            "delete" => Ok(Self::Delete),
            other => {
                let shown: String = other.chars().take(40).collect();
                Err(format!("`action` is {shown:?}, but should be push, pull, mount or delete"))
            }
        }
    }
}

fn is_manifest_type(media_type: &str) -> bool {
    MANIFESTS.iter().any(|known| media_type.starts_with(known))
}
