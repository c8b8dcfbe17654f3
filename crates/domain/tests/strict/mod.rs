//! What widely used receivers demand of each format: continuous-delivery controllers, CI plugins, updaters. A payload
//! has to satisfy all of them.

use bellbuoy_domain::{Event, Format, Kind, Subject};
use jiff::Timestamp;
use serde_json::Value;

/// What registries call what happened, of a kind: DTR its `type`, Harbor its two, Azure and Distribution their `action`.
/// `-` where one has no word. Docker Hub has none for what it sends, which is a push by tag; Quay and `CloudEvents` have
/// the kind's own name for each.
type Words = (Kind, [&'static str; 5]);

const REPLICATION: [&str; 2] = ["REPLICATION", "harbor.replication.status.changed"];

const NOWHERE: [&str; 5] = ["-"; 5];

#[rustfmt::skip]
const WORDS: &[Words] = &[
    (Kind::RepoPush, ["TAG_PUSH", "PUSH_ARTIFACT", "harbor.artifact.pushed", "push", "push"]),
    (Kind::BuildQueued, NOWHERE),
    (Kind::BuildStart, NOWHERE),
    (Kind::BuildSuccess, NOWHERE),
    (Kind::BuildFailure, NOWHERE),
    (Kind::BuildCancelled, NOWHERE),
    (Kind::VulnerabilityFound, NOWHERE),
    (Kind::RepoMirrorSyncStarted, NOWHERE),
    (Kind::RepoMirrorSyncSuccess, ["-", REPLICATION[0], REPLICATION[1], "-", "-"]),
    (Kind::RepoMirrorSyncFailed, ["-", REPLICATION[0], REPLICATION[1], "-", "-"]),
    (Kind::RepoImageExpiry, NOWHERE),
    (Kind::QuotaWarning, ["-", "QUOTA_WARNING", "harbor.quota.warned", "-", "-"]),
    (Kind::QuotaError, ["-", "QUOTA_EXCEED", "harbor.quota.exceeded", "-", "-"]),
    (Kind::ManifestPush, ["MANIFEST_PUSH", "PUSH_ARTIFACT", "harbor.artifact.pushed", "push", "push"]),
    (Kind::TagPull, ["TAG_PULL", "PULL_ARTIFACT", "harbor.artifact.pulled", "-", "pull"]),
    (Kind::ManifestPull, ["MANIFEST_PULL", "PULL_ARTIFACT", "harbor.artifact.pulled", "-", "pull"]),
    (Kind::TagDelete, ["TAG_DELETE", "-", "-", "-", "delete"]),
    (Kind::ManifestDelete, ["MANIFEST_DELETE", "DELETE_ARTIFACT", "harbor.artifact.deleted", "delete", "delete"]),
    (Kind::ScanCompleted, ["SCAN_COMPLETED", "SCANNING_COMPLETED", "harbor.scan.completed", "-", "-"]),
    (Kind::ScanFailed, ["SCAN_FAILED", "SCANNING_FAILED", "harbor.scan.failed", "-", "-"]),
    (Kind::Promotion, ["PROMOTION", "-", "-", "-", "-"]),
    (Kind::PushMirroring, ["PUSH_MIRRORING", REPLICATION[0], REPLICATION[1], "-", "-"]),
    (Kind::PollMirroring, ["POLL_MIRRORING", REPLICATION[0], REPLICATION[1], "-", "-"]),
    (Kind::RepoCreated, ["REPO_CREATED", "-", "-", "-", "-"]),
    (Kind::RepoUpdated, ["REPO_UPDATED", "-", "-", "-", "-"]),
    (Kind::RepoDeleted, ["REPO_DELETED", "-", "-", "-", "delete"]),
    (Kind::ScannerUpdateCompleted, ["SCANNER_UPDATE_COMPLETED", "-", "-", "-", "-"]),
    (Kind::ChartPush, ["CHART_PUSH", "-", "-", "chart_push", "-"]),
    (Kind::ChartPull, ["CHART_PULL", "-", "-", "-", "-"]),
    (Kind::ChartDelete, ["CHART_DELETE", "-", "-", "chart_delete", "-"]),
    (Kind::ChartLinted, ["CHART_LINTED", "-", "-", "-", "-"]),
];

/// What a format calls an event of a kind; `None` where it has no word for it.
pub(crate) fn word(format: Format, kind: Kind) -> Option<&'static str> {
    let (_, words) = WORDS.iter().find(|(of, _)| *of == kind).unwrap_or_else(|| panic!("{kind} has no row"));
    let word = match format {
        Format::Quay | Format::CloudEvents => kind.name(),
        Format::DockerHub if kind == Kind::RepoPush => kind.name(),
        Format::DockerHub => "-",
        Format::Dtr => words[0],
        Format::Harbor => words[1],
        Format::HarborCloudEvents => words[2],
        Format::Acr => words[3],
        Format::Distribution => words[4],
    };
    Some(word).filter(|word| *word != "-")
}

/// Holds that a payload is one that strict receivers of its format take.
#[track_caller]
pub(crate) fn check(format: Format, event: &Event, payload: &Value) {
    let read = Read { format, event, payload };
    match format {
        Format::Quay => read.quay(),
        Format::CloudEvents => {
            for attribute in ["id", "source", "type", "time"] {
                read.text(&format!("/{attribute}"));
            }
            read.is("/specversion", "1.0");
            read.is("/type", read.word());
        }
        Format::Dtr => read.dtr(),
        Format::DockerHub => read.docker_hub(),
        Format::Harbor => {
            read.is("/type", read.word());
            read.integer("/occur_at");
            read.harbor("/event_data");
        }
        Format::HarborCloudEvents => {
            read.is("/type", read.word());
            read.is("/specversion", "1.0");
            read.harbor("/data");
        }
        Format::Acr => {
            read.notice("");
            read.is("/action", read.word());
            read.text("/request/useragent");
        }
        Format::Distribution => {
            assert_eq!(payload["events"].as_array().map(Vec::len), Some(1), "{}", read.place("/events"));
            read.notice("/events/0");
            read.is("/events/0/action", read.word());
        }
    }
}

struct Read<'a> {
    format: Format,
    event: &'a Event,
    payload: &'a Value,
}

impl Read<'_> {
    fn place(&self, pointer: &str) -> String {
        format!("{} {pointer} of {}: {}", self.format, self.event.kind, self.payload)
    }

    #[track_caller]
    fn at(&self, pointer: &str) -> &Value {
        self.payload.pointer(pointer).unwrap_or_else(|| panic!("no {}", self.place(pointer)))
    }

    /// A text that is not empty.
    #[track_caller]
    fn text(&self, pointer: &str) -> &str {
        let text = self.at(pointer).as_str().unwrap_or_else(|| panic!("no text: {}", self.place(pointer)));
        assert!(!text.is_empty(), "empty: {}", self.place(pointer));
        text
    }

    #[track_caller]
    fn is(&self, pointer: &str, expected: &str) {
        assert_eq!(self.text(pointer), expected, "{}", self.place(pointer));
    }

    /// A number without a point or an exponent, as Go decodes into an integer.
    #[track_caller]
    fn integer(&self, pointer: &str) {
        assert!(self.at(pointer).is_i64() || self.at(pointer).is_u64(), "{}", self.place(pointer));
    }

    /// What the format calls what happened: a scan that was stopped has words of Harbor's own.
    fn word(&self) -> &'static str {
        let is_stopped = self.event.data.get("stopped") == Some(&true.into());
        match self.format {
            Format::Harbor if is_stopped => "SCANNING_STOPPED",
            Format::HarborCloudEvents if is_stopped => "harbor.scan.stopped",
            format => word(format, self.event.kind).unwrap_or_else(|| panic!("{}", self.place(""))),
        }
    }

    /// Texts, none of them missing or of another type; one may be empty.
    #[track_caller]
    fn texts(&self, pointer: &str) {
        let list = self.at(pointer).as_array().unwrap_or_else(|| panic!("no array: {}", self.place(pointer)));
        assert!(!list.is_empty() && list.iter().all(Value::is_string), "{}", self.place(pointer));
    }

    #[track_caller]
    fn string(&self, pointer: &str) {
        assert!(self.at(pointer).is_string(), "{}", self.place(pointer));
    }

    fn has(&self, pointer: &str) -> bool {
        self.payload.pointer(pointer).is_some()
    }

    fn has_tag(&self) -> bool {
        matches!(self.event.kind, Kind::RepoPush | Kind::TagPull | Kind::TagDelete)
    }

    /// What Quay's own code always sends of a kind; of a kind that it has not, what the event is about.
    fn quay(&self) {
        self.text("/homepage");
        let members: &[&str] = match self.event.subject {
            Subject::Repository(_) => &["repository", "namespace", "name", "docker_url"],
            Subject::Namespace(_) => &["namespace"],
            Subject::Registry => &[],
        };
        for member in members {
            self.text(&format!("/{member}"));
        }
        match self.event.kind {
            Kind::RepoPush => {
                // As an object, which the oldest documents have, it is refused by most.
                self.texts("/updated_tags");
                if self.has("/pruned_image_count") {
                    self.integer("/pruned_image_count");
                }
            }
            Kind::BuildQueued
            | Kind::BuildStart
            | Kind::BuildSuccess
            | Kind::BuildFailure
            | Kind::BuildCancelled => self.quay_build(),
            Kind::VulnerabilityFound => {
                self.texts("/tags");
                for member in ["id", "description", "link", "priority"] {
                    self.string(&format!("/vulnerability/{member}"));
                }
            }
            Kind::RepoMirrorSyncStarted | Kind::RepoMirrorSyncSuccess | Kind::RepoMirrorSyncFailed => {
                self.text("/message");
            }
            Kind::RepoImageExpiry => {
                self.texts("/tags");
                assert!(self.text("/expiring_in").ends_with(" days"), "{}", self.place("/expiring_in"));
            }
            Kind::QuotaWarning | Kind::QuotaError => self.quay_quota(),
            _ => {}
        }
    }

    fn quay_build(&self) {
        let id = self.text("/build_id");
        assert!(self.text("/homepage").ends_with(&format!("/build/{id}")), "{}", self.place("/homepage"));
        self.texts("/docker_tags");
        for member in ["build_name", "trigger_id", "trigger_kind"] {
            self.string(&format!("/{member}"));
        }
        for member in ["commit", "ref", "default_branch"] {
            self.text(&format!("/trigger_metadata/{member}"));
        }
        if self.event.kind == Kind::BuildFailure {
            self.text("/error_message");
        }
    }

    /// Of another registry's quota some of the figures are not known; none is of another type.
    fn quay_quota(&self) {
        let figures = ["threshold_percent", "usage_bytes", "limit_bytes", "usage_percent"];
        for member in figures.map(|member| format!("/{member}")) {
            if self.has(&member) {
                self.integer(&member);
            }
        }
        let is_of_quay = !self.event.data.contains_key("details");
        for member in ["/usage_bytes_formatted", "/limit_bytes_formatted"] {
            if is_of_quay || self.has(member) {
                self.text(member);
            }
        }
    }

    fn dtr(&self) {
        self.is("/type", self.word());
        self.text("/createdAt").parse::<Timestamp>().expect("RFC 3339");
        assert!(self.at("/contents").is_object());
        let has_image = !matches!(
            self.event.kind,
            Kind::RepoCreated
                | Kind::RepoUpdated
                | Kind::RepoDeleted
                | Kind::ScannerUpdateCompleted
                | Kind::ChartPush
                | Kind::ChartPull
                | Kind::ChartDelete
                | Kind::ChartLinted
        );
        if has_image {
            // The one known parser takes what is before the first slash for the host.
            let image = self.text("/contents/imageName");
            assert!(image.starts_with("registry.example.com/"), "{image}");
        }
        if self.has_tag() {
            self.text("/contents/tag");
        } else if self.has("/contents/tag") {
            self.string("/contents/tag");
        }
        if self.event.kind == Kind::ScanCompleted {
            for member in ["critical", "major", "minor", "last_scan_status"] {
                self.integer(&format!("/contents/scanSummary/{member}"));
            }
        }
    }

    fn docker_hub(&self) {
        self.integer("/push_data/pushed_at");
        for member in ["date_created", "star_count", "comment_count"] {
            self.integer(&format!("/repository/{member}"));
        }
        self.text("/push_data/tag");
        self.text("/repository/repo_name");
        assert!(self.at("/push_data/images").is_array());
        for member in ["/callback_url", "/push_data/pusher", "/push_data/media_type"] {
            assert!(self.at(member).is_string(), "{}", self.place(member));
        }
        let texts = [
            "namespace",
            "name",
            "owner",
            "repo_url",
            "status",
            "description",
            "full_description",
            "dockerfile",
        ];
        for member in texts.map(|member| format!("/repository/{member}")) {
            assert!(self.at(&member).is_string(), "{}", self.place(&member));
        }
        for member in
            ["is_official", "is_private", "is_trusted"].map(|member| format!("/repository/{member}"))
        {
            assert!(self.at(&member).is_boolean(), "{}", self.place(&member));
        }
    }

    fn harbor(&self, data: &str) {
        let at = |member: &str| format!("{data}/{member}");
        match self.event.kind {
            Kind::QuotaWarning | Kind::QuotaError => {
                self.text(&at("custom_attributes/Details"));
                self.text(&at("repository/namespace"));
            }
            kind if word(Format::Harbor, kind) == Some(REPLICATION[0]) => {
                self.replication(&at("replication"));
            }
            _ => {
                self.text(&at("resources/0/resource_url"));
                self.text(&at("resources/0/tag"));
                self.string(&at("resources/0/digest"));
                for member in ["name", "repo_full_name", "repo_type"] {
                    self.text(&at(&format!("repository/{member}")));
                }
            }
        }
    }

    /// Each artifact stands in the list of how it ended, and its status is the job's.
    fn replication(&self, at: &str) {
        for member in ["execution_timestamp", "execution_id", "task_id"] {
            self.integer(&format!("{at}/{member}"));
        }
        let has_failed = self.event.kind == Kind::RepoMirrorSyncFailed;
        let (list, other, status) = if has_failed {
            ("failed_artifact", "successful_artifact", "Error")
        } else {
            ("successful_artifact", "failed_artifact", "Success")
        };
        self.is(&format!("{at}/job_status"), status);
        self.is(&format!("{at}/{list}/0/status"), status);
        self.text(&format!("{at}/{list}/0/name_tag"));
        assert!(!self.has(&format!("{at}/{other}")), "{}", self.place(other));
        if has_failed {
            self.text(&format!("{at}/{list}/0/fail_reason"));
        }
        for side in ["src_resource", "dest_resource"] {
            for member in ["registry_name", "registry_type", "endpoint", "namespace"] {
                self.string(&format!("{at}/{side}/{member}"));
            }
        }
    }

    /// A notice of a Distribution registry, or Azure's own of the same form.
    fn notice(&self, at: &str) {
        self.text(&format!("{at}/timestamp")).parse::<Timestamp>().expect("RFC 3339");
        for member in ["id", "action", "target/repository", "request/host"] {
            self.text(&format!("{at}/{member}"));
        }
        if self.has_tag() {
            self.text(&format!("{at}/target/tag"));
        }
        // A deletion has none, nor has what a registry told without a digest.
        if let Some(url) = self.payload.pointer(&format!("{at}/target/url")).and_then(Value::as_str) {
            assert_eq!(url.rsplit('/').nth(1), Some("manifests"), "{url}");
            if self.event.data.contains_key("digest") {
                self.text(&format!("{at}/target/digest"));
            }
        }
        for member in ["size", "length"].map(|member| format!("{at}/target/{member}")) {
            if self.payload.pointer(&member).is_some() {
                self.integer(&member);
            }
        }
    }
}
