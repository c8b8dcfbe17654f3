//! Who there is in a registry, by name, and what they may do with a repository.
//!
//! Users and organizations share one space of names, because each is a namespace of repositories. A robot is named
//! after the user or organization that it belongs to.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NameError, RepositoryName, name::parse_namespace};

/// Closed sets of words, each written one way in the API, in files and in storage.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident ($what:literal) { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for it in the API, in files and in storage.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|one| one.name() == text)
                    .ok_or_else(|| UnknownWord::new($what, text, &[$($word),*]))
            }
        }
    };
}

pub(crate) use words;

/// A word that is none of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no {what}; choose one of {choices}")]
pub struct UnknownWord {
    what: &'static str,
    value: String,
    choices: String,
}

impl UnknownWord {
    pub(crate) fn new(what: &'static str, value: &str, choices: &[&str]) -> Self {
        Self { what, value: value.chars().take(80).collect(), choices: choices.join(", ") }
    }
}

words! {
    /// What an account is.
    AccountKind("kind of account") {
        /// A person. Also a namespace, which is theirs.
        User = "user",
        /// A namespace of several people, ordered in teams.
        Organization = "organization",
        /// A login for machines, which belongs to a user or an organization.
        Robot = "robot",
    }
}

words! {
    /// What the members of a team are to their organization, weakest first. Quay's words.
    TeamRole("role of a team") {
        /// They have what the team is granted on repositories.
        Member = "member",
        /// They may make repositories.
        Creator = "creator",
        /// They own the organization.
        Admin = "admin",
    }
}

words! {
    /// What somebody may do with a repository, weakest first: each role includes those before it.
    RepositoryRole("role on a repository") {
        /// Pull from it.
        Read = "read",
        /// Push to it.
        Write = "write",
        /// Change its settings, its notifications among them.
        Admin = "admin",
    }
}

/// The name of a user or an organization: one component of a repository's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamespaceName(String);

/// The name of a team within its organization: one component of a repository's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TeamName(String);

/// The name of any account: `ann`, `acme`, or a robot's `acme+ci`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

/// Who is granted a role on a repository, written `ann` (a user), `acme+ci` (a robot) or `acme/dev` (a team).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Grantee {
    /// A user or a robot.
    Account(AccountName),
    /// Every member of a team.
    Team {
        /// The team's organization.
        organization: NamespaceName,
        /// The team.
        team: TeamName,
    },
}

macro_rules! names {
    ($($name:ty),*) => {
        $(impl $name {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        })*
    };
}
names!(NamespaceName, TeamName, AccountName);

impl NamespaceName {
    /// Checks `text` against the grammar.
    ///
    /// # Errors
    ///
    /// When it is not one component of a repository's name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        parse_namespace(text).map(Self)
    }

    /// A robot of this user or organization.
    ///
    /// # Errors
    ///
    /// When `short` is not of the grammar of names.
    pub fn robot(&self, short: &str) -> Result<AccountName, NameError> {
        AccountName::parse(&format!("{self}+{short}"))
    }
}

impl TeamName {
    /// Checks `text` against the grammar.
    ///
    /// # Errors
    ///
    /// When it is not one component of a repository's name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match parse_namespace(text) {
            Ok(name) => Ok(Self(name)),
            Err(_) => Err(NameError::new("team", text)),
        }
    }
}

impl AccountName {
    /// Checks `text` against the grammar: a namespace's, or a namespace's and a short name joined by `+`.
    ///
    /// # Errors
    ///
    /// When it is not of that grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (owner, short) = text.split_once('+').unwrap_or((text, "robot"));
        if parse_namespace(owner).is_ok() && parse_namespace(short).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new("account", text))
        }
    }

    /// The user or organization that it belongs to, if it is a robot's.
    pub fn robot_of(&self) -> Option<NamespaceName> {
        self.0.split_once('+').map(|(owner, _)| NamespaceName(owner.to_owned()))
    }

    /// The namespace of that name, if it is not a robot's.
    pub fn as_namespace(&self) -> Option<NamespaceName> {
        (!self.0.contains('+')).then(|| NamespaceName(self.0.clone()))
    }
}

impl From<NamespaceName> for AccountName {
    fn from(name: NamespaceName) -> Self {
        Self(name.0)
    }
}

impl Grantee {
    /// Checks `text` against the three forms.
    ///
    /// # Errors
    ///
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            None => AccountName::parse(text).map(Self::Account),
            Some((organization, team)) => Ok(Self::Team {
                organization: NamespaceName::parse(organization)?,
                team: TeamName::parse(team)?,
            }),
        }
    }

    /// Whether it can be granted something on `repository`: a team can in its own organization only.
    pub fn fits(&self, repository: &RepositoryName) -> bool {
        match self {
            Self::Account(_) => true,
            Self::Team { organization, .. } => organization.as_str() == repository.namespace(),
        }
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => name.fmt(f),
            Self::Team { organization, team } => write!(f, "{organization}/{team}"),
        }
    }
}

impl From<Grantee> for String {
    fn from(grantee: Grantee) -> Self {
        grantee.to_string()
    }
}

impl TryFrom<String> for Grantee {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_namespace_or_a_robot_of_one() {
        for (text, owner) in
            [("ann", None), ("acme-2", None), ("acme+ci", Some("acme")), ("a.b+c_d", Some("a.b"))]
        {
            let name = AccountName::parse(text).expect(text);
            assert_eq!(name.robot_of().as_ref().map(NamespaceName::as_str), owner, "{text}");
            assert_eq!(name.as_namespace().is_none(), owner.is_some(), "{text}");
        }
        for bad in ["", "+", "acme+", "+ci", "acme+ci+x", "Ann", "a/b", "a b", "acme+../x", "é"] {
            assert!(AccountName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_grantee_is_read_back_from_its_text_and_a_team_fits_its_organization_only() {
        let fits = |text: &str, repository: &str| {
            let grantee = Grantee::parse(text).expect(text);
            assert_eq!(grantee.to_string(), text);
            grantee.fits(&RepositoryName::parse(repository).expect("a name"))
        };
        assert!(fits("ann", "acme/api") && fits("acme+ci", "other/api") && fits("acme/dev", "acme/api"));
        assert!(!fits("acme/dev", "acme2/api") && !fits("acme/dev", "acme"));
        for bad in ["", "/", "acme/", "/dev", "acme/dev/x", "acme+ci/dev", "A/dev"] {
            assert!(Grantee::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn roles_are_ordered_from_weakest_to_strongest() {
        assert!(RepositoryRole::ALL.is_sorted() && TeamRole::ALL.is_sorted());
        assert_eq!("admin".parse(), Ok(RepositoryRole::Admin));
        let error = "owner".parse::<RepositoryRole>().expect_err("no such word").to_string();
        assert_eq!(error, r#""owner" is no role on a repository; choose one of read, write, admin"#);
    }
}
