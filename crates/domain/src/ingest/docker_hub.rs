//! Docker Hub's notice, of which there is one: a push. So are the notices of those who copied its form.
//!
//! It is read in all the forms that it has had: `pushed_at` as an integer or with an exponent, no
//! `tag` (before 2015), no `images`, null texts, an official image without a namespace. It has no
//! id: the same bytes are the same push.
//!
//! Without a tag it is a `manifest_push`, as from every registry: Quay tells of no push without a tag, its
//! receivers refuse one whose `updated_tags` are empty, and which tag was meant is not for us to guess.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Item,
    notice::{
        Found, Meaning, NoticeError, Origin, id_of, items, json, known, lenient, needed, repository, text,
        time,
    },
};
use crate::{Kind, RepositoryName};

/// The registry, as errors name it.
const NAME: &str = "Docker Hub";

/// Reads one notice.
///
/// `registry` is the operator's name for the sender: the events' source. `now` stands in for a time
/// that is absent or can't be read.
///
/// # Errors
///
/// When it is no JSON object with `push_data` and `repository`.
pub fn classify(body: &[u8], registry: &str, now: Timestamp) -> Result<Vec<Item>, NoticeError> {
    let notice = json(NAME, body)?;
    let part = |name: &str| notice.get(name).filter(|part| part.is_object());
    let (Some(push), Some(of)) = (part("push_data"), part("repository")) else {
        let why = "no object with `push_data` and `repository`".to_owned();
        return Err(NoticeError::Foreign { registry: NAME, why });
    };
    let origin = Origin {
        member: "dockerhub",
        notice: &notice,
        id: id_of(body),
        source: if registry.is_empty() { "dockerhub" } else { registry },
        time: time(push.get("pushed_at")).unwrap_or(now),
    };
    Ok(items(&origin, meaning(push, of), now))
}

fn meaning(push: &Value, of: &Value) -> Result<Meaning, String> {
    let tag = text(push, "tag").map_err(|why| format!("`push_data`: {why}"))?;
    let mut pushed = known(json!({
        "digest": lenient(Some(push), "digest"),
        "actor": lenient(Some(push), "pusher").map(|name| json!({ "name": name })),
    }));
    let kind = match tag {
        Some(tag) => {
            pushed["updated_tags"] = json!([tag]);
            Kind::RepoPush
        }
        None => Kind::ManifestPush,
    };
    Ok(Meaning::Events(vec![Found::new(kind, &subject(of)?, pushed)]))
}

fn subject(of: &Value) -> Result<RepositoryName, String> {
    for name in ["repo_name", "repo_full_name"] {
        if let Some(whole) = text(of, name)? {
            return repository(whole);
        }
    }
    match text(of, "namespace")? {
        Some(namespace) => repository(&format!("{namespace}/{}", needed(of, "name")?)),
        None => repository(needed(of, "name")?),
    }
}
