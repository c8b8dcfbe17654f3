//! Docker Hub's payload: a push of one tag. Receivers written in Go decode times and counts as
//! integers, and refuse a push without a tag.

use serde_json::{Value, json};

use super::{Context, Format, Inexpressible, facts::Facts};
use crate::Event;

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let facts = Facts::of(event, Format::DockerHub)?;
    let tag = facts.need_tag()?;
    let repository = facts.repository;
    Ok(json!({
        "callback_url": context.callback_url,
        "push_data": {
            "images": [],
            "media_type": facts.config_media_type(),
            "pushed_at": event.time.as_second(),
            "pusher": facts.actor,
            "tag": tag,
        },
        "repository": {
            "comment_count": 0,
            "date_created": 0,
            "description": "",
            "dockerfile": "",
            "full_description": "",
            "is_official": false,
            // Not known; who shows private repositories to all should not do so by our word.
            "is_private": true,
            "is_trusted": false,
            "name": repository.short_name(),
            "namespace": repository.namespace(),
            "owner": repository.namespace(),
            "repo_name": repository,
            "repo_url": format!("{}/r/{repository}", context.registry.base()),
            "star_count": 0,
            "status": "Active",
        },
    }))
}
