//! What is said of each kind. The order of the parts is that of Quay's templates.

use serde_json::{Map, Value};
use url::form_urlencoded;

use super::Message;
use crate::{Event, Kind, Registry, Subject, format::quay, python};

/// Most tags of a vulnerable image that are named; the others are counted.
const MAX_TAGS: usize = 3;

/// Most tags that are named elsewhere.
const MAX_LISTED: usize = 50;

pub(super) fn write(message: &mut Message, event: &Event, registry: &Registry) {
    let mut words = Words { message, event, data: &event.data, registry };
    match event.kind {
        Kind::RepoPush => words.push(),
        Kind::BuildQueued => words.build("queued"),
        Kind::BuildStart => words.build("started"),
        Kind::BuildSuccess => words.build("completed"),
        Kind::BuildFailure => words.build("failure"),
        Kind::BuildCancelled => words.build("canceled"),
        Kind::VulnerabilityFound => words.vulnerability(),
        Kind::RepoMirrorSyncStarted | Kind::RepoMirrorSyncSuccess | Kind::RepoMirrorSyncFailed => {
            words.mirror();
        }
        Kind::RepoImageExpiry => words.expiry(),
        Kind::QuotaWarning => {
            let threshold = words.percent("threshold_percent").unwrap_or("?".to_owned());
            words.quota("has reached", &format!("{threshold}%"), "of its quota limit.");
        }
        Kind::QuotaError => words.quota("has", "exceeded", "its quota limit."),
        _ => words.other(),
    }
}

struct Words<'a> {
    message: &'a mut Message,
    event: &'a Event,
    data: &'a Map<String, Value>,
    registry: &'a Registry,
}

impl Words<'_> {
    fn push(&mut self) {
        match actor(self.data) {
            Some(actor) => self.message.text(&format!("{actor} pushed ")),
            None => self.message.text("Push of "),
        }
        let tags = list(self.data, "updated_tags");
        if !tags.is_empty() {
            self.tags(&tags, MAX_LISTED);
            self.message.text(" in ");
        }
        self.message.text("repository ");
        self.repository();
    }

    fn build(&mut self, verb: &str) {
        let id = text(self.data, "build_id");
        let short: String = id.unwrap_or("?").chars().take(7).collect();
        let page = id.map_or(String::new(), |id| format!("{}/build/{id}", self.page()));
        self.message.link(&format!("Build {short}"), &page);
        self.message.text(&format!(" {verb} for "));
        self.trigger();
        self.message.text(" for repository ");
        self.repository();
        if let Some(error) = text(self.data, "error_message") {
            self.message.line_break();
            self.message.text(error);
        }
    }

    /// What the build was started by.
    fn trigger(&mut self) {
        if text(self.data, "trigger_id").is_none() {
            return self.message.text("uploaded Dockerfile");
        }
        let metadata = self.data.get("trigger_metadata").and_then(Value::as_object);
        let Some(metadata) = metadata.filter(|metadata| !metadata.is_empty()) else {
            let kind = text(self.data, "trigger_kind").unwrap_or("git");
            return self.message.text(&format!("change to {kind} repository"));
        };
        let commit: String = text(metadata, "commit").unwrap_or("?").chars().take(7).collect();
        self.message.text("change ");
        let Some(info) = metadata.get("commit_info").and_then(Value::as_object) else {
            return self.message.text(&commit);
        };
        self.message.link(&commit, text(info, "url").unwrap_or_default());
        let reference = text(metadata, "ref").unwrap_or_default();
        if let Some(branch) = reference.strip_prefix("refs/heads/") {
            self.message.text(&format!(" to branch {branch}"));
        } else if let Some(tag) = reference.strip_prefix("refs/tags/") {
            self.message.text(&format!(" to tag {tag}"));
        }
        if let Some(author) = info.get("author").and_then(Value::as_object)
            && let Some(name) = text(author, "username")
        {
            self.message.text(" by ");
            self.message.link(name, text(author, "url").unwrap_or_default());
        }
    }

    fn vulnerability(&mut self) {
        let several = self.data.get("vulnerabilities").and_then(Value::as_array).map_or(0, Vec::len);
        let one = self.data.get("vulnerability").and_then(Value::as_object);
        match one {
            Some(one) if several == 0 => {
                let priority = text(one, "priority").unwrap_or("Unknown");
                // Some scanners give several URLs, separated by spaces.
                let link = text(one, "link").and_then(|links| links.split_whitespace().next());
                self.message.text("A ");
                self.message.link(&format!("{priority} vulnerability"), link.unwrap_or_default());
                let id = text(one, "id").map_or(String::new(), |id| format!(" ({id})"));
                self.message.text(&format!("{id} was detected in "));
            }
            _ => self.message.text(&format!("{} vulnerabilities were detected in ", several.max(1))),
        }
        let tags = list(self.data, "tags");
        if !tags.is_empty() {
            self.message.text(if several == 0 { "tags/manifests " } else { "tags " });
            self.tags(&tags, MAX_TAGS);
            self.message.text(" in ");
        }
        self.message.text("repository ");
        self.repository();
    }

    fn mirror(&mut self) {
        if let Some(actor) = actor(self.data) {
            self.message.text(&format!("{actor} "));
        }
        if let Some(message) = text(self.data, "message") {
            self.message.text(message);
        } else {
            self.message.text(&format!("{} of repository ", self.event.kind.title()));
            self.repository();
        }
    }

    fn expiry(&mut self) {
        self.message.text("Images of repository ");
        self.repository();
        let within = text(self.data, "expiring_in").map_or(String::new(), |days| format!(" in {days}"));
        self.message.text(&format!(" are due to expire{within} :"));
        self.message.line_break();
        self.tags(&list(self.data, "tags"), MAX_LISTED);
    }

    fn quota(&mut self, verb: &str, much: &str, rest: &str) {
        self.message.text("Namespace ");
        self.message.bold(self.event.subject.name().unwrap_or_default());
        self.message.text(&format!(" storage usage {verb} "));
        self.message.bold(much);
        self.message.text(&format!(" {rest}"));
        let usage = text(self.data, "usage_bytes_formatted").zip(text(self.data, "limit_bytes_formatted"));
        if let Some((usage, limit)) = usage {
            let percent = self.percent("usage_percent").map_or(String::new(), |used| format!(" ({used}%)"));
            self.message.line_break();
            self.message.line_break();
            self.message.text(&format!("Current usage: {usage} of {limit}{percent}"));
        } else if let Some(details) = text(self.data, "details") {
            self.message.line_break();
            self.message.line_break();
            self.message.text(details);
        }
    }

    fn percent(&self, member: &str) -> Option<String> {
        self.data.get(member).map(python::str)
    }

    /// The kinds that Quay does not have.
    fn other(&mut self) {
        self.message.text(self.event.kind.title());
        if let Some(actor) = actor(self.data) {
            self.message.text(&format!(" by {actor}"));
        }
        if self.event.subject.name().is_some() {
            self.message.text(": ");
            self.image();
        }
        self.origin();
        self.findings();
        if let Some(error) = text(self.data, "error") {
            self.message.line_break();
            self.message.text(error);
        }
    }

    /// The repository, with the tag, manifest or chart that the event is about.
    fn image(&mut self) {
        let name = self.event.subject.name().unwrap_or_default();
        let chart = text(self.data, "chart");
        let version = text(self.data, "version").filter(|_| chart.is_some());
        if let Some(chart) = chart {
            let version = version.map_or(String::new(), |version| format!(" {version}"));
            self.message.text(&format!("{chart}{version} in "));
        }
        match (text(self.data, "tag"), text(self.data, "digest")) {
            (Some(tag), _) => self.message.link(&format!("{name}:{tag}"), &self.tag_page(tag)),
            (None, Some(digest)) => self.message.link(&format!("{name}@{digest}"), &self.tag_page(digest)),
            (None, None) => self.repository(),
        }
    }

    /// Where an image was promoted from, or mirrored from or to.
    fn origin(&mut self) {
        let (member, image, tag, word) = match self.event.kind {
            Kind::Promotion => ("promotion", "sourceRepository", "sourceTag", "from"),
            Kind::PushMirroring => ("mirroring", "remoteRepository", "remoteTag", "to"),
            Kind::PollMirroring => ("mirroring", "remoteRepository", "remoteTag", "from"),
            _ => return,
        };
        let Some(about) = self.data.get(member).and_then(Value::as_object) else { return };
        let Some(image) = text(about, image) else { return };
        let tag = text(about, tag).map_or(String::new(), |tag| format!(":{tag}"));
        self.message.text(&format!(" {word} {image}{tag}"));
    }

    fn findings(&mut self) {
        let Some(found) = self.data.get("scanSummary").and_then(Value::as_object) else { return };
        let count = |name: &str| found.get(name).and_then(Value::as_u64).unwrap_or_default();
        self.message.line_break();
        let (critical, major, minor) = (count("critical"), count("major"), count("minor"));
        self.message.text(&format!("{critical} critical, {major} major, {minor} minor"));
    }

    fn repository(&mut self) {
        let name = self.event.subject.name().unwrap_or_default();
        self.message.link(name, &self.page());
    }

    /// The page of what the event is about.
    fn page(&self) -> String {
        let base = self.registry.base();
        match &self.event.subject {
            Subject::Repository(name) => format!("{base}/repository/{name}"),
            Subject::Namespace(name) => format!("{base}/organization/{name}"),
            Subject::Registry => base.to_owned(),
        }
    }

    /// A tag's page; a manifest's where the tag is a digest, as it is of an untagged image.
    fn tag_page(&self, tag: &str) -> String {
        if tag.starts_with("sha256:") || tag.starts_with("sha512:") {
            return format!("{}/manifest/{tag}", self.page());
        }
        let tag: String = form_urlencoded::byte_serialize(tag.as_bytes()).collect();
        format!("{}?tag={tag}&tab=tags", self.page())
    }

    /// Links to tags, at most `most` of them.
    fn tags(&mut self, tags: &[&str], most: usize) {
        for (place, tag) in tags.iter().take(most).enumerate() {
            if place > 0 {
                self.message.text(", ");
            }
            self.message.link(tag, &self.tag_page(tag));
        }
        if tags.len() > most {
            self.message.text(&format!(" (and {} more)", tags.len() - most));
        }
    }
}

/// Who did it, if that is known.
fn actor(data: &Map<String, Value>) -> Option<&str> {
    let actor = data.get("actor").and_then(Value::as_object);
    actor.and_then(|actor| text(actor, "name")).or_else(|| text(data, "author"))
}

fn text<'a>(data: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    quay::text(data, member)
}

fn list<'a>(data: &'a Map<String, Value>, member: &str) -> Vec<&'a str> {
    let items = data.get(member).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).collect()
}
