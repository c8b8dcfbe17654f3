//! What a path below `/api/v1/repository/` names. A repository's name may hold slashes, and even be called
//! `notification`, so a path is read from its end.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What follows `/api/v1/repository/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A collection without its slash, which Quay redirects.
    WithoutSlash,
    /// `{repository}/notification/...`.
    Notifications {
        /// The repository as written.
        repository: String,
        /// What of its notifications.
        part: Part,
    },
    /// `{repository}/authorizedemail/{email}`.
    Email {
        /// The repository as written.
        repository: String,
        /// The address as written.
        email: String,
    },
    /// `{repository}/permissions/...`.
    Permissions {
        /// The repository as written.
        repository: String,
        /// Whose permissions.
        whose: Whose,
    },
    /// `{repository}` itself.
    Repository {
        /// The repository as written.
        repository: String,
    },
}

/// What of the notifications of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of them.
    All,
    /// The one of that id, as written.
    One(String),
    /// Something to be done with it.
    Act(String, Act),
}

/// What can be done with a notification, beside Quay's verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Send a sample.
    Test,
    /// Hold its deliveries back.
    Pause,
    /// Let them go.
    Resume,
}

/// Whose permissions on a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whose {
    /// Those of teams, else of users and robots.
    pub(super) teams: bool,
    /// Of this one, as written; of all without it.
    pub(super) name: Option<String>,
}

impl Part {
    /// Of which notification.
    pub(super) fn uuid(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::One(uuid) | Self::Act(uuid, _) => Some(uuid),
        }
    }
}

impl Act {
    /// The act of that word.
    pub(super) fn read(word: &str) -> Option<Self> {
        match word {
            "test" => Some(Self::Test),
            "pause" => Some(Self::Pause),
            "resume" => Some(Self::Resume),
            _ => None,
        }
    }
}

/// Reads a path. Percent-encoding is undone first, once, as Quay's server does; `None` when the
/// path names nothing of ours.
pub(super) fn parse(raw: &str) -> Option<Target> {
    let path: Cow<'_, str> = percent_decode_str(raw).decode_utf8().ok()?;
    let segments: Vec<&str> = path.split('/').collect();
    notifications(&segments).or_else(|| permissions(&segments)).or_else(|| email(&segments)).or_else(|| {
        let is_name = segments.iter().all(|segment| !segment.is_empty());
        is_name.then(|| Target::Repository { repository: segments.join("/") })
    })
}

fn notifications(segments: &[&str]) -> Option<Target> {
    let (name, part) = match segments {
        [name @ .., "notification", ""] => (name, Part::All),
        [name @ .., "notification"] if !name.is_empty() => return Some(Target::WithoutSlash),
        [name @ .., "notification", uuid, act] if Act::read(act).is_some() => {
            (name, Part::Act((*uuid).to_owned(), Act::read(act)?))
        }
        [name @ .., "notification", uuid] => (name, Part::One((*uuid).to_owned())),
        _ => return None,
    };
    Some(Target::Notifications { repository: repository(name)?, part })
}

fn permissions(segments: &[&str]) -> Option<Target> {
    let (name, kind, of) = match segments {
        [name @ .., "permissions", "team" | "user"] if !name.is_empty() => return Some(Target::WithoutSlash),
        [name @ .., "permissions", kind @ ("team" | "user"), of] => (name, kind, of),
        _ => return None,
    };
    let name_of = (!of.is_empty()).then(|| (*of).to_owned());
    let whose = Whose { teams: *kind == "team", name: name_of };
    Some(Target::Permissions { repository: repository(name)?, whose })
}

/// An address may hold slashes too.
fn email(segments: &[&str]) -> Option<Target> {
    let at = segments.iter().rposition(|segment| *segment == "authorizedemail")?;
    let email = segments[at + 1..].join("/");
    let repository = repository(&segments[..at])?;
    (!email.is_empty()).then_some(Target::Email { repository, email })
}

fn repository(words: &[&str]) -> Option<String> {
    (!words.is_empty()).then(|| words.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(repository: &str, part: Part) -> Target {
        Target::Notifications { repository: repository.into(), part }
    }

    fn all(repository: &str) -> Target {
        part(repository, Part::All)
    }

    fn one(repository: &str, uuid: &str) -> Target {
        part(repository, Part::One(uuid.into()))
    }

    fn act(repository: &str, uuid: &str, act: Act) -> Target {
        part(repository, Part::Act(uuid.into(), act))
    }

    fn itself(repository: &str) -> Target {
        Target::Repository { repository: repository.into() }
    }

    fn email(repository: &str, email: &str) -> Target {
        Target::Email { repository: repository.into(), email: email.into() }
    }

    fn granted(repository: &str, teams: bool, name: Option<&str>) -> Target {
        let whose = Whose { teams, name: name.map(str::to_owned) };
        Target::Permissions { repository: repository.into(), whose }
    }

    #[test]
    fn a_path_is_read_from_its_end_because_names_hold_slashes() {
        let cases = [
            ("acme/api/notification/", all("acme/api")),
            ("acme/team/api/notification/", all("acme/team/api")),
            ("api/notification/", all("api")),
            ("acme/api/notification", Target::WithoutSlash),
            ("acme/api/notification/u", one("acme/api", "u")),
            ("acme/api/notification/u/test", act("acme/api", "u", Act::Test)),
            ("acme/api/notification/u/pause", act("acme/api", "u", Act::Pause)),
            ("acme/api/notification/u/resume", act("acme/api", "u", Act::Resume)),
            ("acme/notification/notification/", all("acme/notification")),
            ("acme/notification/notification/u", one("acme/notification", "u")),
            ("acme/notification/u/test/notification/u/test", act("acme/notification/u/test", "u", Act::Test)),
            ("acme%2Fapi/notification/", all("acme/api")),
            ("acme/api/authorizedemail/a@b.c", email("acme/api", "a@b.c")),
            ("acme/api/authorizedemail/a/x%40b.c", email("acme/api", "a/x@b.c")),
            ("acme/authorizedemail/authorizedemail/a@b.c", email("acme/authorizedemail", "a@b.c")),
            ("acme/authorizedemail/notification/", all("acme/authorizedemail")),
            ("acme/api/permissions/team/", granted("acme/api", true, None)),
            ("acme/api/permissions/user/", granted("acme/api", false, None)),
            ("acme/api/permissions/user/acme+ci", granted("acme/api", false, Some("acme+ci"))),
            ("acme/a/b/permissions/team/dev", granted("acme/a/b", true, Some("dev"))),
            ("acme/api/permissions/team", Target::WithoutSlash),
            ("acme/api", itself("acme/api")),
            ("alpine", itself("alpine")),
            ("acme/api/notification/u/tests", itself("acme/api/notification/u/tests")),
            ("acme/api/permissions", itself("acme/api/permissions")),
        ];
        for (path, expected) in cases {
            assert_eq!(parse(path), Some(expected), "{path}");
        }
        for path in [
            "acme/api/notification/u/",
            "acme/api/",
            "acme/api/permissions/team/dev/",
            "acme/api/authorizedemail/",
            "notification/",
            "",
            "acme/%ff/notification/",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
