//! Which events of its kinds a notification wants: Quay's `event_config`, with keys of ours beside
//! Quay's. Every key is a line, and every line must agree.
//!
//! | Line | For | Takes |
//! |---|---|---|
//! | `ref-regex` | builds | events whose `trigger_metadata.ref` the expression matches from its start on (not up to its end, as Python's `re.match`) |
//! | `level` | vulnerabilities | events at least as severe: 0 Critical, 1 High, 2 Medium, 3 Low, 4 Negligible, 5 Unknown |
//! | `days` | expiry | events of tags that expire within so many days |
//! | `tags` | any kind | events of which one tag matches one of these patterns: globs, or expressions written `/re/` |
//! | `condition` | any kind | events of which one value at `path` is what `equals`, `in`, `matches` or `exists` says |
//!
//! One line filters nothing: `digest`, for vulnerabilities, has them collected and told together; see
//! [`digest`](crate::digest).
//!
//! An absent, null or empty line takes everything. A line for kinds that the notification does
//! not listen to, and any unknown key, is kept and ignored, as Quay does; our own API refuses unknown keys when
//! they are written ([`Filter::check_keys`]).
//!
//! Where Quay is silent we are not: it stores an expression that it can't compile and never fires
//! for it, and stores a `level` that is no number and fails at every delivery; both are refused when the
//! notification is written. Python's look-around and back-references are not to be had, and are
//! refused likewise. And `level` holds for every vulnerability; Quay passes over it for findings
//! on first index.

mod read;

pub(crate) use read::{is_blank, whole_number};

use std::fmt;

use globset::GlobMatcher;
use regex::Regex;
use serde_json::{Map, Value};

use crate::{
    Event, Kind, UnknownKey,
    format::quay,
    python,
    severity::Severity,
    template::{Budget, Path},
    unknown_key::Keys,
};

/// Every line.
const LINES: Keys<'static> = Keys {
    of: "filter",
    reader: "a filter",
    known: &["ref-regex", "level", "days", "tags", "condition", "digest"],
};

/// A notification's filter, understood.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    reference: Option<Regex>,
    level: Option<Severity>,
    days: Option<u32>,
    tags: Vec<Pattern>,
    condition: Option<Condition>,
}

#[derive(Debug, Clone)]
enum Pattern {
    Glob(GlobMatcher),
    Regex(Regex),
}

#[derive(Debug, Clone)]
struct Condition {
    written: String,
    path: Path,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equals(Value),
    In(Vec<Value>),
    Matches(Regex),
    Exists(bool),
}

impl Filter {
    /// Refuses keys that are no line, but for those that `kept` has with the same value.
    ///
    /// # Errors
    ///
    /// Names the first, and what was meant perhaps.
    pub fn check_keys(
        event_config: &Map<String, Value>,
        kept: &Map<String, Value>,
    ) -> Result<(), UnknownKey> {
        LINES.check(event_config, kept)
    }

    /// The keys that are no line, and so filter nothing.
    pub fn unknown_keys(event_config: &Map<String, Value>) -> impl Iterator<Item = &str> {
        LINES.unknown_of(event_config)
    }

    /// Reads a filter as written in `event_config`, for a notification that listens to `kinds`.
    ///
    /// # Errors
    ///
    /// Names the first line that will not do.
    pub fn parse(event_config: &Map<String, Value>, kinds: &[Kind]) -> Result<Self, FilterError> {
        let line = |name: &'static str, wanted: fn(Kind) -> bool| {
            debug_assert!(LINES.known.contains(&name), "`{name}` is read, so it belongs into the lines");
            let written = event_config.get(name).filter(|value| !is_blank(value));
            read::Line { name, written: written.filter(|_| kinds.iter().any(|kind| wanted(*kind))) }
        };
        Ok(Self {
            reference: line("ref-regex", Kind::is_build).read(read::reference)?,
            level: line("level", is_vulnerability).read(read::level)?,
            days: line("days", is_expiry).read(read::days)?,
            tags: line("tags", |_| true).read(read::tags)?.unwrap_or_default(),
            condition: line("condition", |_| true).read(read::condition)?,
        })
    }

    /// Whether it takes the event.
    ///
    /// # Errors
    ///
    /// The line that says no.
    pub fn allows(&self, event: &Event) -> Result<(), Refusal> {
        self.reference_allows(event)?;
        self.level_allows(event)?;
        self.days_allow(event)?;
        self.tags_allow(event)?;
        self.condition_allows(event)
    }

    /// Whether what it takes can differ with an event's tags.
    pub(crate) fn asks_for_tags(&self) -> bool {
        !self.tags.is_empty() || self.condition.is_some()
    }

    /// Within how many days a tag must expire to be announced.
    pub fn days(&self) -> Option<u32> {
        self.days
    }

    fn reference_allows(&self, event: &Event) -> Result<(), Refusal> {
        let Some(regex) = self.reference.as_ref().filter(|_| event.kind.is_build()) else { return Ok(()) };
        let metadata = event.data.get("trigger_metadata");
        match metadata.and_then(|metadata| metadata.get("ref")).and_then(Value::as_str) {
            None => refuse("ref-regex", "needs a git reference, and the build has none"),
            // The leftmost match begins at 0 exactly if there is one that does.
            Some(reference) if regex.find(reference).is_some_and(|found| found.start() == 0) => Ok(()),
            Some(reference) => refuse("ref-regex", format!("does not match {}", shown(reference))),
        }
    }

    fn level_allows(&self, event: &Event) -> Result<(), Refusal> {
        let Some(level) = self.level.filter(|_| is_vulnerability(event.kind)) else { return Ok(()) };
        match quay::severity(&event.data) {
            None => refuse("level", "needs a severity, and the event has none that is known"),
            Some(severity) if severity <= level => Ok(()),
            Some(severity) => refuse(
                "level",
                format!("asks for {} or worse, and this is {}", level.word(), severity.word()),
            ),
        }
    }

    /// Tags that expire later than asked for. An event that does not say when is let through.
    fn days_allow(&self, event: &Event) -> Result<(), Refusal> {
        let Some(days) = self.days.filter(|_| is_expiry(event.kind)) else { return Ok(()) };
        let expiring = event.data.get("expiring_in").and_then(Value::as_str).unwrap_or_default();
        let within = expiring.split_whitespace().next().and_then(|count| count.parse::<u32>().ok());
        match within {
            Some(within) if within > days => {
                refuse("days", format!("asks for {days} or less, and these expire in {within}"))
            }
            _ => Ok(()),
        }
    }

    fn tags_allow(&self, event: &Event) -> Result<(), Refusal> {
        if self.tags.is_empty() {
            return Ok(());
        }
        let tags = tags(event);
        if tags.iter().any(|tag| self.tags.iter().any(|pattern| pattern.matches(tag))) {
            Ok(())
        } else if tags.is_empty() {
            refuse("tags", "needs a tag, and the event has none")
        } else {
            let listed: Vec<_> = tags.iter().take(5).map(|tag| shown(tag)).collect();
            let more = if tags.len() > 5 { ", ..." } else { "" };
            refuse("tags", format!("takes none of {}{more}", listed.join(", ")))
        }
    }

    fn condition_allows(&self, event: &Event) -> Result<(), Refusal> {
        let Some(condition) = &self.condition else { return Ok(()) };
        let document = document(event);
        let Ok(found) = condition.path.find(&document, &mut Budget::for_one_path()) else {
            return refuse("condition", format!("`{}` finds too much in this event", condition.written));
        };
        if condition.test.holds(&found) {
            return Ok(());
        }
        let seen = match found.as_slice() {
            [] => "nothing".to_owned(),
            [one] => shown(&one.to_string()),
            several => format!("{} values", several.len()),
        };
        refuse("condition", format!("does not hold: `{}` is {seen}", condition.written))
    }
}

impl Pattern {
    fn matches(&self, tag: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.is_match(tag),
            Self::Regex(regex) => regex.is_match(tag),
        }
    }
}

impl Test {
    /// Whether one of the values found is what is asked for.
    fn holds(&self, found: &[&Value]) -> bool {
        match self {
            Self::Equals(wanted) => found.iter().any(|value| same(value, wanted)),
            Self::In(wanted) => found.iter().any(|value| wanted.iter().any(|wanted| same(value, wanted))),
            Self::Matches(regex) => {
                found.iter().any(|value| !value.is_null() && regex.is_match(&python::str(value)))
            }
            Self::Exists(wanted) => *wanted != found.is_empty(),
        }
    }
}

/// Equal as JSON, where 1 and 1.0 are one number.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn is_vulnerability(kind: Kind) -> bool {
    kind == Kind::VulnerabilityFound
}

fn is_expiry(kind: Kind) -> bool {
    kind == Kind::RepoImageExpiry
}

/// The event's tags, whatever its kind calls them.
fn tags(event: &Event) -> Vec<&str> {
    let lists = ["updated_tags", "tags", "docker_tags"];
    let listed = lists.iter().filter_map(|name| event.data.get(*name)?.as_array()).flatten();
    listed.chain(event.data.get("tag")).filter_map(Value::as_str).filter(|tag| !tag.is_empty()).collect()
}

/// What a condition looks into: the data, with what the event is about.
fn document(event: &Event) -> Value {
    let mut document = event.data.clone();
    document.insert("kind".to_owned(), event.kind.name().into());
    if let crate::Subject::Repository(repository) = &event.subject {
        document.insert("repository".to_owned(), repository.as_str().into());
        document.insert("name".to_owned(), repository.short_name().into());
    }
    if let Some(namespace) = event.subject.namespace() {
        document.insert("namespace".to_owned(), namespace.into());
    }
    Value::Object(document)
}

/// A text in backquotes, cut where it is long.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(80).collect();
    if cut.len() < text.len() {
        cut.push_str("...");
    }
    format!("`{cut}`")
}

pub(crate) fn shown_json(value: &Value) -> String {
    shown(&value.to_string())
}

fn refuse(line: &'static str, reason: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal { line, reason: reason.into() })
}

/// A line of a filter that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` {problem}")]
pub struct FilterError {
    line: &'static str,
    problem: String,
}

impl FilterError {
    pub(crate) fn new(line: &'static str, problem: String) -> Self {
        Self { line, problem }
    }

    /// The line, such as `ref-regex`.
    pub fn line(&self) -> &'static str {
        self.line
    }
}

/// Why a filter does not take an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The line of the filter that says no, such as `ref-regex`.
    pub line: &'static str,
    /// What the event has instead, for its owner.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.line, self.reason)
    }
}
