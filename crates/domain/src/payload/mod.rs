//! What an event of each kind carries in `data`: what a producer must and may send, by type.
//!
//! Members that are not listed are taken and kept. Of the listed ones only `updated_tags` of a
//! push is mandatory, because its receivers depend on it; any other may be absent or null, but
//! not of another type.

mod data;
mod sample;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

pub use data::{
    Actor, Build, Chart, CommitInfo, Image, ImageExpiry, MirrorSync, ParsedRef, Quota, RepoPush, Repository,
    Scan, ScanSummary, ScannerUpdate, TriggerMetadata, Vulnerability, VulnerabilityFound,
};
pub use sample::sample;

use crate::{Kind, MAX_TAGS};

/// Calls a function of the type of a kind's data.
macro_rules! of_kind {
    ($kind:expr, $call:ident($($argument:expr),*)) => {
        match $kind {
            Kind::RepoPush => $call::<RepoPush>($($argument),*),
            Kind::BuildQueued
            | Kind::BuildStart
            | Kind::BuildSuccess
            | Kind::BuildFailure
            | Kind::BuildCancelled => $call::<Build>($($argument),*),
            Kind::VulnerabilityFound => $call::<VulnerabilityFound>($($argument),*),
            Kind::RepoMirrorSyncStarted | Kind::RepoMirrorSyncSuccess | Kind::RepoMirrorSyncFailed => {
                $call::<MirrorSync>($($argument),*)
            }
            Kind::RepoImageExpiry => $call::<ImageExpiry>($($argument),*),
            Kind::QuotaWarning | Kind::QuotaError => $call::<Quota>($($argument),*),
            Kind::ManifestPush
            | Kind::TagPull
            | Kind::ManifestPull
            | Kind::TagDelete
            | Kind::ManifestDelete
            | Kind::Promotion
            | Kind::PushMirroring
            | Kind::PollMirroring => $call::<Image>($($argument),*),
            Kind::ScanCompleted | Kind::ScanFailed => $call::<Scan>($($argument),*),
            Kind::RepoCreated | Kind::RepoUpdated | Kind::RepoDeleted => $call::<Repository>($($argument),*),
            Kind::ScannerUpdateCompleted => $call::<ScannerUpdate>($($argument),*),
            Kind::ChartPush | Kind::ChartPull | Kind::ChartDelete | Kind::ChartLinted => {
                $call::<Chart>($($argument),*)
            }
        }
    };
}

/// Checks that `data` is what an event of `kind` may carry.
///
/// # Errors
///
/// Names the first member of another type, or a mandatory one that is missing.
pub fn check(kind: Kind, data: &Map<String, Value>) -> Result<(), DataError> {
    if kind == Kind::RepoPush {
        return check_tags(&read::<RepoPush>(data)?);
    }
    of_kind!(kind, check_as(data))
}

fn check_as<'a, T: serde::Deserialize<'a>>(data: &'a Map<String, Value>) -> Result<(), DataError> {
    read::<T>(data).map(drop)
}

/// The schema of what an event of `kind` may carry.
pub(crate) fn schema(kind: Kind, generator: &mut SchemaGenerator) -> Schema {
    of_kind!(kind, schema_of(generator))
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn check_tags(push: &RepoPush) -> Result<(), DataError> {
    let count = push.updated_tags.len();
    if count <= MAX_TAGS {
        return Ok(());
    }
    let problem = format!("holds {count} tags, but may hold {MAX_TAGS}; send the push as several events");
    Err(DataError { member: "data.updated_tags".to_owned(), problem })
}

/// Reads `data` as one of the types here.
///
/// # Errors
///
/// Names the first member of another type, or a mandatory one that is missing.
pub fn read<'a, T: serde::Deserialize<'a>>(data: &'a Map<String, Value>) -> Result<T, DataError> {
    // Where a fault lies costs much to follow, and hardly any event has one.
    T::deserialize(data).or_else(|_| serde_path_to_error::deserialize(data)).map_err(|error| {
        let member = match error.path().to_string().as_str() {
            "." => "data".to_owned(),
            path => format!("data.{path}"),
        };
        let problem: String = error.inner().to_string().chars().take(200).collect();
        DataError { member: member.chars().take(100).collect(), problem }
    })
}

/// A member of an event's `data` that will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{member}`: {problem}")]
pub struct DataError {
    member: String,
    problem: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(kind: Kind, data: &Value) -> Result<(), String> {
        check(kind, data.as_object().expect("an object")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kinds_sample_is_what_the_kind_may_carry() {
        for kind in Kind::ALL {
            let data = sample(*kind, &Map::new(), jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(check(*kind, &data), Ok(()), "{kind}");
            assert!(!data.is_empty(), "{kind}");
        }
    }

    #[test]
    fn a_member_of_another_type_is_refused_by_name() {
        let rows = [
            (
                Kind::RepoPush,
                json!({"updated_tags": "v1"}),
                "`data.updated_tags`: invalid type: string \"v1\"",
            ),
            (Kind::RepoPush, json!({"updated_tags": {"v1": "id"}}), "`data.updated_tags`: invalid type: map"),
            (
                Kind::RepoPush,
                json!({"updated_tags": [1]}),
                "`data.updated_tags[0]`: invalid type: integer `1`",
            ),
            (Kind::RepoPush, json!({"updated_tags": null}), "`data.updated_tags`: invalid type: null"),
            (Kind::RepoPush, json!({}), "`data`: missing field `updated_tags`"),
            (
                Kind::RepoPush,
                json!({"updated_tags": [], "actor": "kim"}),
                "`data.actor`: invalid type: string",
            ),
            (Kind::BuildStart, json!({"trigger_metadata": {"ref": 5}}), "`data.trigger_metadata.ref`: "),
            (Kind::BuildQueued, json!({"docker_tags": "latest"}), "`data.docker_tags`: "),
            (Kind::VulnerabilityFound, json!({"vulnerability": "CVE"}), "`data.vulnerability`: "),
            (
                Kind::VulnerabilityFound,
                json!({"vulnerability": {"priority": 1}}),
                "`data.vulnerability.priority`: ",
            ),
            (Kind::RepoMirrorSyncFailed, json!({"message": ["x"]}), "`data.message`: "),
            (Kind::RepoImageExpiry, json!({"expiring_in": 7}), "`data.expiring_in`: "),
            (Kind::QuotaWarning, json!({"usage_percent": "80"}), "`data.usage_percent`: "),
            (Kind::TagDelete, json!({"digest": 5}), "`data.digest`: "),
            (Kind::ScanCompleted, json!({"scanSummary": {"critical": "5"}}), "`data.scanSummary.critical`: "),
            (Kind::RepoCreated, json!({"data": []}), "`data.data`: "),
            (Kind::ScannerUpdateCompleted, json!({"success": "yes"}), "`data.success`: "),
            (Kind::ChartPush, json!({"chart": 1}), "`data.chart`: "),
        ];
        for (kind, data, beginning) in rows {
            let error = checked(kind, &data).expect_err("refused");
            assert!(error.starts_with(beginning), "{kind} {data}: {error}");
        }
    }

    #[test]
    fn unknown_members_absent_ones_and_null_are_fine() {
        for kind in Kind::ALL {
            let data = json!({"updated_tags": [], "actor": null, "digest": null, "of_ours": {"x": [1]}});
            assert_eq!(checked(*kind, &data), Ok(()), "{kind}");
        }
    }

    #[test]
    fn an_error_never_repeats_a_long_value_whole() {
        let error =
            checked(Kind::RepoPush, &json!({"updated_tags": "x".repeat(100_000)})).expect_err("refused");
        assert!(error.len() < 400);
    }
}
