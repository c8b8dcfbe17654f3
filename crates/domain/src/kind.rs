//! The closed catalogue of what can happen in a registry: Quay's events and Docker Trusted
//! Registry's, united. A DTR type that says what a Quay event says shares its kind.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What an event of a kind is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindScope {
    /// One repository.
    Repository,
    /// A namespace as a whole.
    Namespace,
    /// The registry as a whole.
    Registry,
}

/// How much an event asks for attention, with Quay's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something ordinary.
    Info,
    /// Look at it some time.
    Warning,
    /// Look at it now.
    Error,
    /// The ordinary work of a registry: a push.
    Primary,
    /// Something that was hoped for.
    Success,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $scope:ident, $level:ident, $dtr:expr, $title:literal;)*) => {
        /// What happened. The name is the CloudEvents `type`, the AMQP routing key and Quay's `event`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The kind's one name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What its events are about.
            pub fn scope(self) -> KindScope {
                match self { $(Self::$variant => KindScope::$scope,)* }
            }

            /// What people call it.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The level of its events, where the payload does not decide it.
            pub fn usual_level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)* }
            }

            /// The DTR event type that names the same thing, if there is one.
            pub fn dtr_type(self) -> Option<&'static str> {
                match self { $(Self::$variant => $dtr,)* }
            }
        }
    };
}

kinds! {
    /// A tag was pushed: DTR's `TAG_PUSH`.
    RepoPush = "repo_push", Repository, Primary, Some("TAG_PUSH"), "Push to repository";
    /// A build waits for a builder.
    BuildQueued = "build_queued", Repository, Info, None, "Image build queued";
    /// A builder took the build.
    BuildStart = "build_start", Repository, Info, None, "Image build started";
    /// The build made an image.
    BuildSuccess = "build_success", Repository, Success, None, "Image build success";
    /// The build failed.
    BuildFailure = "build_failure", Repository, Error, None, "Image build failed";
    /// Somebody stopped the build.
    BuildCancelled = "build_cancelled", Repository, Info, None, "Image build cancelled";
    /// A scanner found a vulnerability in tagged images.
    VulnerabilityFound = "vulnerability_found", Repository, Info, None, "Package vulnerability found";
    /// Mirroring from another registry began.
    RepoMirrorSyncStarted = "repo_mirror_sync_started", Repository, Info, None, "Repository mirror started";
    /// Mirroring from another registry ended well.
    RepoMirrorSyncSuccess = "repo_mirror_sync_success", Repository, Success, None, "Repository mirror successful";
    /// Mirroring from another registry failed.
    RepoMirrorSyncFailed = "repo_mirror_sync_failed", Repository, Error, None, "Repository mirror unsuccessful";
    /// Tags will expire soon.
    RepoImageExpiry = "repo_image_expiry", Repository, Info, None, "Image expiry trigger";
    /// A namespace uses more than its quota's warning threshold.
    QuotaWarning = "quota_warning", Namespace, Warning, None, "Quota warning";
    /// A namespace uses more than its quota.
    QuotaError = "quota_error", Namespace, Error, None, "Quota error";
    /// A manifest was pushed by digest, without a tag.
    ManifestPush = "manifest_push", Repository, Primary, Some("MANIFEST_PUSH"), "Manifest pushed";
    /// A tag was pulled.
    TagPull = "tag_pull", Repository, Info, Some("TAG_PULL"), "Tag pulled";
    /// A manifest was pulled by digest.
    ManifestPull = "manifest_pull", Repository, Info, Some("MANIFEST_PULL"), "Manifest pulled";
    /// A tag was deleted.
    TagDelete = "tag_delete", Repository, Warning, Some("TAG_DELETE"), "Tag deleted";
    /// A manifest was deleted; also a deleted object that the registry does not describe further.
    ManifestDelete = "manifest_delete", Repository, Warning, Some("MANIFEST_DELETE"), "Manifest deleted";
    /// A scan of an image ended.
    ScanCompleted = "scan_completed", Repository, Info, Some("SCAN_COMPLETED"), "Scan completed";
    /// A scan of an image failed.
    ScanFailed = "scan_failed", Repository, Error, Some("SCAN_FAILED"), "Scan failed";
    /// An image was promoted to another repository.
    Promotion = "promotion", Repository, Success, Some("PROMOTION"), "Image promoted";
    /// An image was mirrored to another registry.
    PushMirroring = "push_mirroring", Repository, Success, Some("PUSH_MIRRORING"), "Image mirrored to a remote repository";
    /// An image was mirrored from another registry.
    PollMirroring = "poll_mirroring", Repository, Success, Some("POLL_MIRRORING"), "Image mirrored from a remote repository";
    /// A repository was created.
    RepoCreated = "repo_created", Repository, Info, Some("REPO_CREATED"), "Repository created";
    /// A repository's settings were changed.
    RepoUpdated = "repo_updated", Repository, Info, Some("REPO_UPDATED"), "Repository updated";
    /// A repository was deleted.
    RepoDeleted = "repo_deleted", Repository, Warning, Some("REPO_DELETED"), "Repository deleted";
    /// The scanner has a new database of vulnerabilities.
    ScannerUpdateCompleted = "scanner_update_completed", Registry, Info, Some("SCANNER_UPDATE_COMPLETED"), "Scanner update completed";
    /// A Helm chart was pushed.
    ChartPush = "chart_push", Repository, Primary, Some("CHART_PUSH"), "Chart pushed";
    /// A Helm chart was pulled.
    ChartPull = "chart_pull", Repository, Info, Some("CHART_PULL"), "Chart pulled";
    /// A Helm chart was deleted.
    ChartDelete = "chart_delete", Repository, Warning, Some("CHART_DELETE"), "Chart deleted";
    /// A Helm chart was checked.
    ChartLinted = "chart_linted", Repository, Info, Some("CHART_LINTED"), "Chart linted";
}

impl Kind {
    /// Whether it tells of a build.
    pub(crate) fn is_build(self) -> bool {
        matches!(
            self,
            Self::BuildQueued
                | Self::BuildStart
                | Self::BuildSuccess
                | Self::BuildFailure
                | Self::BuildCancelled
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownKind { value: text.chars().take(80).collect() })
    }
}

impl TryFrom<String> for Kind {
    type Error = UnknownKind;

    fn try_from(text: String) -> Result<Self, UnknownKind> {
        text.parse()
    }
}

impl From<Kind> for &'static str {
    fn from(kind: Kind) -> Self {
        kind.name()
    }
}

/// A word that is not in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind {value:?}; known are {}", Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownKind {
    value: String,
}
