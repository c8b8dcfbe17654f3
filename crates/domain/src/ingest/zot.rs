//! zot's events: `CloudEvents` over HTTP in binary mode, attributes in headers and the data as the body.
//!
//! | zot's type, after any prefix | Becomes |
//! |---|---|
//! | `repository.created` | `repo_created` |
//! | `image.updated` | `repo_push` by a tag, `manifest_push` by a digest |
//! | `image.deleted` | `tag_delete`, `manifest_delete`, likewise |
//! | `image.scanned` | `scan_completed` |
//! | `image.lint_failed` | nothing |

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Dropped, Item,
    notice::{
        Found, Meaning, NoticeError, Origin, count, id_of, is_digest, items, json, known, lenient, needed,
        repository, text, time,
    },
};
use crate::Kind;

/// The registry, as errors name it.
const NAME: &str = "zot";

/// Reads one event: `attributes` are those of the `ce-` headers, `body` is the data. Where the body is
/// a structured event, as other transports of zot carry it, its own attributes count.
///
/// `registry` is the operator's name for the sender: the events' source. `now` stands in for a time
/// that is absent or can't be read.
///
/// # Errors
///
/// When it is no JSON, or nothing says of which type it is.
pub fn classify(
    attributes: &Map<String, Value>,
    body: &[u8],
    registry: &str,
    now: Timestamp,
) -> Result<Vec<Item>, NoticeError> {
    let notice = json(NAME, body)?;
    let headers = Value::Object(attributes.clone());
    let (attributes, data) = match notice.get("specversion") {
        Some(_) => (&notice, notice.get("data").unwrap_or(&Value::Null)),
        None => (&headers, &notice),
    };
    let Some(name) = lenient(Some(attributes), "type") else {
        return Err(NoticeError::Foreign {
            registry: NAME,
            why: "no `ce-type` says what happened".to_owned(),
        });
    };
    let own = lenient(Some(attributes), "source");
    let origin = Origin {
        member: "zot",
        notice: data,
        id: lenient(Some(attributes), "id").map_or_else(|| id_of(body), str::to_owned),
        source: Some(registry).filter(|name| !name.is_empty()).or(own).unwrap_or("zot"),
        time: time(attributes.get("time")).unwrap_or(now),
    };
    Ok(items(&origin, meaning(name, data, origin.time), now))
}

fn meaning(name: &str, data: &Value, at: Timestamp) -> Result<Meaning, String> {
    // The part before is an operator's to change.
    let event = name.rmatch_indices('.').nth(1).map_or(name, |(at, _)| &name[at + 1..]);
    if event == "image.lint_failed" {
        return Ok(Meaning::Nothing(Dropped::NoKind));
    }
    let repository = repository(needed(data, "name")?)?;
    let actor = lenient(data.get("actor"), "name").map(|name| json!({ "name": name }));
    if event == "repository.created" {
        let created = json!({ "event": "REPO_CREATED", "actor": actor });
        return Ok(Meaning::Events(vec![Found::new(Kind::RepoCreated, &repository, created)]));
    }
    let image = Image::read(data)?;
    let mut of = known(json!({
        "digest": image.digest, "media_type": lenient(Some(data), "mediaType"), "actor": actor,
    }));
    let kind = match (event, image.tag) {
        ("image.updated", Some(tag)) => {
            of["updated_tags"] = json!([tag]);
            Kind::RepoPush
        }
        ("image.updated", None) => Kind::ManifestPush,
        ("image.deleted", Some(tag)) => {
            of["tag"] = tag.into();
            Kind::TagDelete
        }
        ("image.deleted", None) => {
            of["certain"] = true.into();
            Kind::ManifestDelete
        }
        ("image.scanned", tag) => {
            if let Some(tag) = tag {
                of["tag"] = tag.into();
            }
            of["scanSummary"] = summary(data.get("summary"), tag, at);
            Kind::ScanCompleted
        }
        _ => {
            let shown: String = name.chars().take(80).collect();
            return Err(format!("`type` is {shown:?}, which is none of zot's"));
        }
    };
    Ok(Meaning::Events(vec![Found::new(kind, &repository, of)]))
}

/// What `reference` and `digest` name.
struct Image<'a> {
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    fn read(data: &'a Value) -> Result<Self, String> {
        let (reference, digest) = (text(data, "reference")?, text(data, "digest")?);
        let by_digest = reference.filter(|reference| is_digest(reference));
        let tag = reference.filter(|reference| !is_digest(reference));
        match (tag, digest.or(by_digest)) {
            (None, None) => Err("`reference` is missing".to_owned()),
            (tag, digest) => Ok(Self { tag, digest }),
        }
    }
}

/// zot's severities in DTR's three classes.
fn summary(found: Option<&Value>, tag: Option<&str>, at: Timestamp) -> Value {
    let of = |name: &str| found.and_then(|found| count(found.get(name))).unwrap_or(0);
    known(json!({
        "tag": tag,
        "critical": of("criticalCount").saturating_add(of("highCount")),
        "major": of("mediumCount"),
        "minor": of("lowCount"),
        "last_scan_status": 6,
        "check_completed_at": at.to_string(),
        "should_rescan": false,
        "has_foreign_layers": false,
    }))
}
