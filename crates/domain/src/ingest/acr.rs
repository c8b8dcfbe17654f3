//! Azure Container Registry's notices: one at a time, without an envelope, else a Distribution
//! registry's.
//!
//! | Action | Becomes |
//! |---|---|
//! | `push` | `repo_push`, or `manifest_push` without a tag |
//! | `delete` | `manifest_delete`: Azure does not tell of a tag that is deleted alone |
//! | `chart_push`, `chart_delete` | the same |
//! | `ping` | nothing |
//! | `quarantine` | nothing: the push is told of when the image leaves it |

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Dropped, Item, distribution,
    notice::{
        Found, Meaning, NoticeError, Origin, count, id_of, items, json, known, lenient, needed, repository,
        text, time,
    },
};
use crate::Kind;

/// The registry, as errors name it.
const NAME: &str = "Azure Container Registry";

/// Reads one notice.
///
/// `registry` is the operator's name for the sender: the events' source. `now` stands in for a time
/// that is absent or can't be read.
///
/// # Errors
///
/// When it is no JSON object with an `action`, or an envelope with more than `most` notices.
pub fn classify(body: &[u8], registry: &str, most: usize, now: Timestamp) -> Result<Vec<Item>, NoticeError> {
    let notice = json(NAME, body)?;
    if notice.get("events").is_some() {
        return distribution::classify(body, registry, most, now);
    }
    let Some(action) = lenient(Some(&notice), "action") else {
        return Err(NoticeError::Foreign { registry: NAME, why: "no object with an `action`".to_owned() });
    };
    match action {
        "ping" => Ok(vec![Item::Dropped(Dropped::Ping)]),
        "quarantine" => Ok(vec![Item::Dropped(Dropped::NoKind)]),
        "chart_push" => Ok(chart(&notice, body, Kind::ChartPush, registry, now)),
        "chart_delete" => Ok(chart(&notice, body, Kind::ChartDelete, registry, now)),
        _ => Ok(distribution::notices(&[notice], registry, now)),
    }
}

fn chart(notice: &Value, body: &[u8], kind: Kind, registry: &str, now: Timestamp) -> Vec<Item> {
    let host = lenient(notice.get("request"), "host");
    let origin = Origin {
        member: "acr",
        notice,
        id: lenient(Some(notice), "id").map_or_else(|| id_of(body), str::to_owned),
        source: Some(registry).filter(|name| !name.is_empty()).or(host).unwrap_or("acr"),
        time: time(notice.get("timestamp")).unwrap_or(now),
    };
    items(&origin, chart_meaning(notice, kind), now)
}

fn chart_meaning(notice: &Value, kind: Kind) -> Result<Meaning, String> {
    let target = notice.get("target").filter(|target| target.is_object()).ok_or("`target` is missing")?;
    let repository = repository(needed(target, "repository")?)?;
    let name =
        text(target, "name")?.unwrap_or_else(|| repository.as_str().rsplit('/').next().unwrap_or_default());
    let version = match text(target, "version")? {
        Some(version) => Some(version),
        None => text(target, "tag")?,
    };
    let data = known(json!({
        "chart": name, "version": version, "digest": text(target, "digest")?,
        "media_type": text(target, "mediaType")?, "size": count(target.get("size")).filter(|size| *size > 0),
    }));
    Ok(Meaning::Events(vec![Found::new(kind, &repository, data)]))
}
