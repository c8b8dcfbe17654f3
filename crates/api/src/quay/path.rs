//! Which notification a path names. A repository's name may hold slashes, and even be called
//! `notification`, so a path is read from its end.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What follows `/api/v1/repository/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `{repository}/notification/`.
    All {
        /// The repository as written.
        repository: String,
    },
    /// `{repository}/notification`, which Quay redirects.
    AllWithoutSlash,
    /// `{repository}/notification/{uuid}`.
    One {
        /// The repository as written.
        repository: String,
        /// The notification as written.
        uuid: String,
    },
    /// `{repository}/notification/{uuid}/test`.
    Test {
        /// The repository as written.
        repository: String,
        /// The notification as written.
        uuid: String,
    },
}

/// Reads a path. Percent-encoding is undone first, once, as Quay's server does; `None` when the
/// path names nothing of ours.
pub(super) fn parse(raw: &str) -> Option<Target> {
    let path: Cow<'_, str> = percent_decode_str(raw).decode_utf8().ok()?;
    let segments: Vec<&str> = path.split('/').collect();
    let repository = |words: &[&str]| (!words.is_empty()).then(|| words.join("/"));
    match segments.as_slice() {
        [name @ .., "notification", ""] => Some(Target::All { repository: repository(name)? }),
        [name @ .., "notification"] => repository(name).map(|_| Target::AllWithoutSlash),
        [name @ .., "notification", uuid, "test"] => {
            Some(Target::Test { repository: repository(name)?, uuid: (*uuid).to_owned() })
        }
        [name @ .., "notification", uuid] => {
            Some(Target::One { repository: repository(name)?, uuid: (*uuid).to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(repository: &str) -> Target {
        Target::All { repository: repository.into() }
    }

    fn one(repository: &str, uuid: &str) -> Target {
        Target::One { repository: repository.into(), uuid: uuid.into() }
    }

    fn test(repository: &str, uuid: &str) -> Target {
        Target::Test { repository: repository.into(), uuid: uuid.into() }
    }

    #[test]
    fn a_path_is_read_from_its_end_because_names_hold_slashes() {
        let cases = [
            ("acme/api/notification/", Some(all("acme/api"))),
            ("acme/team/api/notification/", Some(all("acme/team/api"))),
            ("api/notification/", Some(all("api"))),
            ("acme/api/notification", Some(Target::AllWithoutSlash)),
            ("acme/api/notification/u", Some(one("acme/api", "u"))),
            ("acme/api/notification/u/test", Some(test("acme/api", "u"))),
            ("acme/notification/notification/", Some(all("acme/notification"))),
            ("acme/notification/notification/u", Some(one("acme/notification", "u"))),
            ("acme/notification/u/test/notification/u/test", Some(test("acme/notification/u/test", "u"))),
            ("acme%2Fapi/notification/", Some(all("acme/api"))),
            ("acme/api/notification/u/", None),
            ("acme/api/notification/u/tests", None),
            ("acme/api", None),
            ("notification/", None),
            ("notification", None),
            ("", None),
            ("acme/%ff/notification/", None),
        ];
        for (path, expected) in cases {
            assert_eq!(parse(path), expected, "{path}");
        }
    }
}
