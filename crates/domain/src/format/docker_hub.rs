//! Docker Hub's payload: a push of one tag. Receivers written in Go decode times and counts as
//! integers, and refuse a push without a tag.

#![expect(clippy::struct_field_names, reason = "members are called as receivers know them")]

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, Format, Inexpressible, facts::Facts};
use crate::{Event, RepositoryName};

#[derive(Serialize, JsonSchema)]
struct Push<'a> {
    callback_url: &'a str,
    push_data: PushData<'a>,
    repository: Repository<'a>,
}

#[derive(Serialize, JsonSchema)]
struct PushData<'a> {
    /// Always empty.
    images: [&'a str; 0],
    /// Of the image's configuration.
    media_type: &'a str,
    /// Seconds since 1970.
    pushed_at: i64,
    pusher: &'a str,
    tag: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct Repository<'a> {
    comment_count: u64,
    date_created: i64,
    description: &'a str,
    dockerfile: &'a str,
    full_description: &'a str,
    is_official: bool,
    is_private: bool,
    is_trusted: bool,
    name: &'a str,
    namespace: &'a str,
    owner: &'a str,
    repo_name: &'a RepositoryName,
    repo_url: String,
    star_count: u64,
    status: &'a str,
}

/// The schema of a payload.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Push<'_>>()
}

pub(super) fn payload(event: &Event, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let facts = Facts::of(event, Format::DockerHub)?;
    let tag = facts.need_tag()?;
    let repository = facts.repository;
    Ok(json!(Push {
        callback_url: context.callback_url,
        push_data: PushData {
            images: [],
            media_type: facts.config_media_type(),
            pushed_at: event.time.as_second(),
            pusher: facts.actor,
            tag,
        },
        repository: Repository {
            comment_count: 0,
            date_created: 0,
            description: "",
            dockerfile: "",
            full_description: "",
            is_official: false,
            // Not known; who shows private repositories to all should not do so by our word.
            is_private: true,
            is_trusted: false,
            name: repository.short_name(),
            namespace: repository.namespace(),
            owner: repository.namespace(),
            repo_name: repository,
            repo_url: format!("{}/r/{repository}", context.registry.base()),
            star_count: 0,
            status: "Active",
        },
    }))
}
