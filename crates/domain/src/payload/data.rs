//! The types.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Number, Value};

/// A kind's data: its own members, and those that any event may carry.
macro_rules! data {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $member:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
        pub struct $name {
            $($(#[$about])* pub $member: $type,)*
            /// The manifest, such as `sha256:...`.
            pub digest: Option<String>,
            /// The manifest's media type.
            pub media_type: Option<String>,
            /// The manifest's length in bytes.
            pub size: Option<u64>,
            /// An image's name or id, as the producer has it.
            pub image: Option<String>,
            /// Who did it.
            pub actor: Option<Actor>,
        }
    };
}

/// Who did something in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Actor {
    /// Their name; absent for an anonymous client.
    pub name: Option<String>,
}

data! {
    /// Of a push by tag.
    RepoPush {
        /// The tags that now point at what was pushed. An array: receivers decode it so.
        #[schemars(extend("maxItems" = crate::MAX_TAGS))]
        updated_tags: Vec<String>,
        /// Only in Quay's test.
        pruned_image_count: Option<u64>,
    }
}

data! {
    /// Of a build.
    Build {
        /// Usually a UUID.
        build_id: Option<String>,
        /// For people; absent of a queued build.
        build_name: Option<String>,
        /// What the image is or would be tagged.
        docker_tags: Option<Vec<String>>,
        /// What started it; null for an upload by hand.
        trigger_id: Option<String>,
        /// `github`, `gitlab`, `bitbucket`, `custom-git`.
        trigger_kind: Option<String>,
        /// What the trigger knows of the commit.
        trigger_metadata: Option<TriggerMetadata>,
        /// Started by hand through a trigger; of a queued build.
        trigger_manual: Option<bool>,
        /// Started by hand; of a queued build.
        is_manual: Option<bool>,
        /// By whom.
        manual_user: Option<String>,
        /// The image that was built.
        image_id: Option<String>,
        /// What was pushed.
        manifest_digests: Option<Vec<String>>,
        /// Why it failed.
        error_message: Option<String>,
    }
}

/// What started a build.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct TriggerMetadata {
    /// The commit's hash in hex, 7 digits or more.
    pub commit: Option<String>,
    /// Where from.
    pub git_url: Option<String>,
    /// `refs/heads/...`, `refs/tags/...` or `refs/remotes/...`.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The repository's main branch.
    pub default_branch: Option<String>,
    /// What `ref` means.
    pub parsed_ref: Option<ParsedRef>,
    /// More of the commit.
    pub commit_info: Option<CommitInfo>,
}

/// What a reference means: one of these.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ParsedRef {
    /// A branch's name.
    pub branch: Option<String>,
    /// A tag's name.
    pub tag: Option<String>,
    /// A remote's name.
    pub remote: Option<String>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct CommitInfo {
    /// Its message.
    pub message: Option<String>,
    /// Its short hash.
    pub short_sha: Option<String>,
    /// Where to see it.
    pub url: Option<String>,
    /// A text in real events, seconds as a float in Quay's test.
    pub date: Option<Value>,
    /// `username`, `url`, `avatar_url`.
    pub author: Option<Map<String, Value>>,
    /// Likewise.
    pub committer: Option<Map<String, Value>>,
}

data! {
    /// Of a vulnerability in tagged images.
    VulnerabilityFound {
        /// Tags of the images; at most 100 from Quay.
        tags: Option<Vec<String>>,
        /// What was found.
        vulnerability: Option<Vulnerability>,
        /// What was found, of several.
        vulnerabilities: Option<Vec<Vulnerability>>,
    }
}

/// A vulnerability.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Vulnerability {
    /// Such as `CVE-2026-1234`.
    pub id: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// One or more URLs, separated by spaces.
    pub link: Option<String>,
    /// `Critical` to `Unknown`, or a vendor's word.
    pub priority: Option<String>,
    /// Whether a fixed version exists.
    pub has_fix: Option<bool>,
}

data! {
    /// Of mirroring into a repository.
    MirrorSync {
        /// For people: what is mirrored or why it failed.
        message: Option<String>,
        /// The tag, where it is one's.
        tag: Option<String>,
        /// `remoteRepository`, `remoteTag`.
        mirroring: Option<Map<String, Value>>,
        /// Whether it was to go out to the other registry, and not to come from there.
        outbound: Option<bool>,
    }
}

data! {
    /// Of tags that will expire.
    ImageExpiry {
        /// Which.
        tags: Option<Vec<String>>,
        /// `7 days`.
        expiring_in: Option<String>,
        /// For which of Quay's notifications it was looked for.
        notification_uuid: Option<String>,
    }
}

data! {
    /// Of a namespace near or over its quota.
    Quota {
        /// The threshold that was passed.
        threshold_percent: Option<Number>,
        /// What is used.
        usage_bytes: Option<Number>,
        /// The whole quota.
        limit_bytes: Option<Number>,
        /// Used of the quota, rounded down.
        usage_percent: Option<Number>,
        /// For people, such as `819.20 MB`.
        usage_bytes_formatted: Option<String>,
        /// Likewise.
        limit_bytes_formatted: Option<String>,
    }
}

data! {
    /// Of a manifest or tag that was pushed, pulled, deleted, promoted or mirrored.
    Image {
        /// The tag.
        tag: Option<String>,
        /// The whole reference with the registry's host.
        #[serde(rename = "imageName")]
        image_name: Option<String>,
        /// Of the image, such as `linux`.
        os: Option<String>,
        /// Of the image, such as `amd64`.
        architecture: Option<String>,
        /// Who did it, in DTR's form.
        author: Option<String>,
        /// When, in DTR's form.
        #[serde(rename = "pushedAt")]
        pushed_at: Option<String>,
        /// Likewise.
        #[serde(rename = "pulledAt")]
        pulled_at: Option<String>,
        /// Likewise.
        #[serde(rename = "deletedAt")]
        deleted_at: Option<String>,
        /// Of a deletion: false where the registry does not say whether it was a manifest.
        certain: Option<bool>,
        /// `promotionPolicyID`, `sourceRepository`, `sourceTag`.
        promotion: Option<Map<String, Value>>,
        /// `mirroringPolicyID`, `digest`, `remoteRepository`, `remoteTag`.
        mirroring: Option<Map<String, Value>>,
    }
}

data! {
    /// Of a scan.
    Scan {
        /// The tag that was scanned.
        tag: Option<String>,
        /// The whole reference with the registry's host.
        #[serde(rename = "imageName")]
        image_name: Option<String>,
        /// What was found.
        #[serde(rename = "scanSummary")]
        scan_summary: Option<ScanSummary>,
        /// Why it failed.
        error: Option<String>,
        /// Of one that failed: whether somebody stopped it.
        stopped: Option<bool>,
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ScanSummary {
    /// Findings with a CVSS score of 7 and more.
    pub critical: Option<u64>,
    /// From 4 to below 7.
    pub major: Option<u64>,
    /// Above 0 to below 4.
    pub minor: Option<u64>,
    /// 0 failed, 1 unscanned, 2 scanning, 3 pending, 4 scanned, 5 checking, 6 completed.
    pub last_scan_status: Option<u64>,
    /// When it was checked against the database, in RFC 3339.
    pub check_completed_at: Option<String>,
    /// Whether the database is newer.
    pub should_rescan: Option<bool>,
    /// Whether some layers are not in the registry.
    pub has_foreign_layers: Option<bool>,
}

data! {
    /// Of a repository that was created, changed or deleted.
    Repository {
        /// `REPO_CREATED`, `REPO_UPDATED` or `REPO_DELETED`.
        event: Option<String>,
        /// Who did it, in DTR's form.
        author: Option<String>,
        /// The repository's settings.
        data: Option<Map<String, Value>>,
    }
}

data! {
    /// Of a scanner's new database.
    ScannerUpdate {
        /// The scanner's own.
        scanner_version: Option<String>,
        /// In RFC 3339.
        scanner_updated_at: Option<String>,
        /// Counts up.
        db_version: Option<u64>,
        /// In RFC 3339.
        db_updated_at: Option<String>,
        /// Whether every replica has it.
        success: Option<bool>,
        /// By replica: `db_updated_at`, `version`, `replica_id`.
        replicas: Option<Map<String, Value>>,
    }
}

data! {
    /// Of a Helm chart.
    Chart {
        /// Its name.
        chart: Option<String>,
        /// Its version.
        version: Option<String>,
        /// Who did it, in DTR's form.
        author: Option<String>,
    }
}
