//! Names of repositories and namespaces, checked once where they enter.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest repository name, in bytes: the limit of the distribution specification and of registries.
pub(crate) const MAX_BYTES: usize = 255;

/// A repository's full name without the registry's host: `namespace/name`, where `name` may hold
/// further slashes, or a bare `name` in a registry without namespaces.
///
/// The grammar is the [distribution specification's]: components of `[a-z0-9]`, joined inside by
/// `.`, `_`, `__` or dashes. That refuses control characters, `..` and markup by construction.
///
/// [distribution specification's]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

impl RepositoryName {
    /// Checks `text` against the grammar.
    ///
    /// # Errors
    ///
    /// When it is empty, longer than 255 bytes, or not of that grammar.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let fits = !text.is_empty() && text.len() <= MAX_BYTES && text.split('/').all(is_component);
        if fits { Ok(Self(text)) } else { Err(NameError::new("repository", &text)) }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first slash; empty for a name without one.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// What stands after the first slash; all of a name without one.
    pub fn short_name(&self) -> &str {
        self.0.split_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> Self {
        name.0
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One repository.
    Repository(RepositoryName),
    /// A namespace: an organization's or a user's.
    Namespace(String),
    /// The registry as a whole.
    Registry,
}

impl Subject {
    /// The repository or namespace name; `None` for the registry.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Repository(name) => Some(name.as_str()),
            Self::Namespace(name) => Some(name),
            Self::Registry => None,
        }
    }

    /// The namespace the subject lies in; `None` for the registry.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Repository(name) => Some(name.namespace()),
            Self::Namespace(name) => Some(name),
            Self::Registry => None,
        }
    }
}

/// Checks a namespace's name: one component of a repository's.
///
/// # Errors
///
/// When it is not of that grammar.
pub(crate) fn parse_namespace(text: &str) -> Result<String, NameError> {
    if text.len() <= MAX_BYTES && is_component(text) {
        Ok(text.to_owned())
    } else {
        Err(NameError::new("namespace", text))
    }
}

fn is_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    word(first)
        && word(last)
        && bytes.iter().all(|byte| word(byte) || matches!(byte, b'.' | b'_' | b'-'))
        && text.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit()).all(
            |separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
            },
        )
}

/// A name that no registry would accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{thing} name {value:?} is not valid; use up to 255 lower-case letters and digits, separated by `.`, `_`, `-` or `/`"
)]
pub struct NameError {
    thing: &'static str,
    value: String,
}

impl NameError {
    pub(crate) fn new(thing: &'static str, value: &str) -> Self {
        Self { thing, value: value.chars().take(80).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_name_follows_the_distribution_grammar() {
        for good in ["acme/api", "acme/team/api", "a", "a.b/c_d/e__f/g--h", "library/ubuntu-22.04"] {
            assert!(RepositoryName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "Acme/api",
            "a..b",
            "../../etc/passwd",
            "a/b\r\nX: y",
            "<script>",
            "{{7*7}}",
            "%s%n",
            "a'b",
            "-a",
            "a-",
            "a._b",
            "a\u{202e}b",
            "a\u{200b}b",
            "é",
            long.as_str(),
        ] {
            assert!(RepositoryName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_namespace_ends_at_the_first_slash() {
        let name = RepositoryName::parse("acme/team/api").expect("a name");
        assert_eq!((name.namespace(), name.short_name()), ("acme", "team/api"));
        let bare = RepositoryName::parse("api").expect("a name");
        assert_eq!((bare.namespace(), bare.short_name()), ("", "api"));
    }

    #[test]
    fn the_error_never_repeats_a_long_name_whole() {
        let error = RepositoryName::parse("A".repeat(100_000)).expect_err("not a name");
        assert!(error.to_string().len() < 300);
    }
}
