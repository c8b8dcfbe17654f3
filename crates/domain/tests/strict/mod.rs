//! What widely used receivers demand of each format: continuous-delivery controllers, CI plugins, updaters. A payload
//! has to satisfy all of them.

use bellbuoy_domain::{Event, Format, Kind};
use jiff::Timestamp;
use serde_json::Value;

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
        }
        Format::Dtr => read.dtr(),
        Format::DockerHub => read.docker_hub(),
        Format::Harbor => {
            read.text("/type");
            read.integer("/occur_at");
            read.harbor("/event_data");
        }
        Format::HarborCloudEvents => {
            read.text("/type");
            read.is("/specversion", "1.0");
            read.harbor("/data");
        }
        Format::Acr => {
            read.notice("");
            read.text("/request/useragent");
        }
        Format::Distribution => {
            assert_eq!(payload["events"].as_array().map(Vec::len), Some(1), "{}", read.place("/events"));
            read.notice("/events/0");
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

    fn has_tag(&self) -> bool {
        matches!(self.event.kind, Kind::RepoPush | Kind::TagPull | Kind::TagDelete)
    }

    fn quay(&self) {
        if self.event.kind != Kind::RepoPush {
            return;
        }
        for member in ["repository", "namespace", "name", "docker_url", "homepage"] {
            self.text(&format!("/{member}"));
        }
        let tags = self.at("/updated_tags").as_array().expect("an array, and no object");
        assert!(!tags.is_empty() && tags.iter().all(Value::is_string), "{}", self.place("/updated_tags"));
        if self.payload.get("pruned_image_count").is_some() {
            self.integer("/pruned_image_count");
        }
    }

    fn dtr(&self) {
        assert_eq!(Some(self.text("/type")), self.event.kind.dtr_type());
        self.text("/createdAt").parse::<Timestamp>().expect("RFC 3339");
        assert!(self.at("/contents").is_object());
        if self.has_tag() {
            self.text("/contents/tag");
            // The one known parser takes what is before the first slash for the host.
            let image = self.text("/contents/imageName");
            assert!(image.starts_with("registry.example.com/"), "{image}");
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
        let has_no_image = [Kind::QuotaWarning, Kind::QuotaError, Kind::PushMirroring, Kind::PollMirroring];
        let is_image = !has_no_image.contains(&self.event.kind);
        if is_image {
            self.text(&format!("{data}/resources/0/resource_url"));
            self.text(&format!("{data}/resources/0/tag"));
            for member in ["name", "repo_full_name", "repo_type"] {
                self.text(&format!("{data}/repository/{member}"));
            }
        }
        assert!(self.at(data).is_object());
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
