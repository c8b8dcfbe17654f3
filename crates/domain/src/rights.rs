//! Who may do what: one table, and how a caller is judged by it.
//!
//! A caller has a *standing* to a place (a repository, a namespace, the registry), which the directory or a signed
//! token says, and *scopes*, which bound what its credential may be used for. Both have to suffice.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{RepositoryRole, Scope, TeamRole, UnknownWord, directory::words};

/// What a caller is to a place, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// It may not even know that the place exists.
    Stranger,
    /// It may pull from it, or is a member of the organization: it knows that the place exists.
    Reader,
    /// It may push to it, or make repositories in the namespace.
    Writer,
    /// It administers the repository, or owns the namespace.
    Admin,
    /// It may do everything everywhere.
    Superuser,
}

words! {
    /// What a credential may be used for. Those that Quay has are called as there.
    TokenScope("scope of a token") {
        /// Administer the repositories that its account administers.
        RepositoryAdmin = "repo:admin",
        /// Administer the namespaces that its account owns.
        NamespaceAdmin = "org:admin",
        /// What is the account's own: its in-app area and its tokens.
        Account = "user:admin",
        /// Send events in.
        Publish = "events:publish",
        /// Read `/metrics`, and why `/readyz` fails.
        Metrics = "metrics:read",
        /// All of these, and what concerns the whole registry.
        Superuser = "super:user",
    }
}

/// What can be done at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Make, see, change, test and delete notifications, see their history, send deliveries again, replay and discard
    /// dead letters, see events and what they matched, authorize addresses.
    Notifications,
    /// Make a repository, where the place is its namespace; delete it, see and change who may do what with it.
    Repositories,
    /// Know what is there.
    Look,
    /// Send events in.
    Publish,
    /// Read metrics.
    Metrics,
    /// Read and change users, organizations, teams, repositories and permissions; everybody's tokens.
    Directory,
    /// Read who did what.
    Audit,
    /// Read and dismiss one's in-app items; make, list and revoke one's tokens. The place is the account's namespace.
    Account,
}

/// What a right takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The least standing.
    pub standing: Standing,
    /// The scope of the credential.
    pub scope: TokenScope,
}

impl Right {
    /// Every right.
    pub const ALL: &[Self] = &[
        Self::Notifications,
        Self::Repositories,
        Self::Look,
        Self::Publish,
        Self::Metrics,
        Self::Directory,
        Self::Audit,
        Self::Account,
    ];

    /// The table.
    pub fn need(self, place: &Scope) -> Need {
        use Right::{Account, Audit, Directory, Look, Metrics, Notifications, Publish, Repositories};
        let (standing, scope) = match (self, place) {
            (Notifications | Repositories, Scope::Repository(_)) => {
                (Standing::Admin, TokenScope::RepositoryAdmin)
            }
            (Repositories, Scope::Namespace(_)) => (Standing::Writer, TokenScope::RepositoryAdmin),
            (Look, Scope::Repository(_) | Scope::Namespace(_)) => {
                (Standing::Reader, TokenScope::RepositoryAdmin)
            }
            (Notifications, Scope::Namespace(_)) => (Standing::Admin, TokenScope::NamespaceAdmin),
            (Account, Scope::Namespace(_)) => (Standing::Admin, TokenScope::Account),
            (Publish, _) => (Standing::Superuser, TokenScope::Publish),
            (Metrics, _) => (Standing::Superuser, TokenScope::Metrics),
            (Notifications | Repositories | Look | Account | Directory | Audit, _) => {
                (Standing::Superuser, TokenScope::Superuser)
            }
        };
        Need { standing, scope }
    }
}

/// The scopes of a credential.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenScopes(Vec<TokenScope>);

impl TokenScopes {
    /// All of them: a password's, or the operator's.
    pub fn all() -> Self {
        Self(vec![TokenScope::Superuser])
    }

    /// These.
    pub fn new(scopes: impl IntoIterator<Item = TokenScope>) -> Self {
        let mut scopes: Vec<_> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes)
    }

    /// Whether a credential with these may be used for what needs `scope`.
    pub fn has(&self, scope: TokenScope) -> bool {
        self.0.contains(&scope) || self.0.contains(&TokenScope::Superuser)
    }

    /// Whether these allow no more than `other`: nobody gives a token what its own does not have.
    pub fn are_within(&self, other: &Self) -> bool {
        self.0.iter().all(|scope| other.has(*scope))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = TokenScope> + '_ {
        self.0.iter().copied()
    }
}

impl fmt::Display for TokenScopes {
    /// Joined by spaces, as OAuth writes scopes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|scope| scope.name()).collect();
        f.write_str(&words.join(" "))
    }
}

impl FromStr for TokenScopes {
    type Err = UnknownWord;

    /// Joined by spaces or commas.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        words.map(str::parse).collect::<Result<Vec<_>, _>>().map(Self::new)
    }
}

/// Whether a caller may, and what it is told if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// It may not, and knows of the place: 403.
    Forbidden,
    /// It may not know that the place exists: 404.
    Hidden,
}

/// Judges a caller with `standing` to `place` and a credential of `scopes`.
pub fn judge(right: Right, place: &Scope, standing: Standing, scopes: &TokenScopes) -> Verdict {
    let need = right.need(place);
    if standing >= need.standing && scopes.has(need.scope) {
        Verdict::Allowed
    } else if standing > Standing::Stranger || *place == Scope::Registry {
        Verdict::Forbidden
    } else {
        Verdict::Hidden
    }
}

/// What a role on a repository makes of somebody.
impl From<RepositoryRole> for Standing {
    fn from(role: RepositoryRole) -> Self {
        match role {
            RepositoryRole::Read => Self::Reader,
            RepositoryRole::Write => Self::Writer,
            RepositoryRole::Admin => Self::Admin,
        }
    }
}

/// What a role in an organization makes of somebody there.
impl From<TeamRole> for Standing {
    fn from(role: TeamRole) -> Self {
        match role {
            TeamRole::Member => Self::Reader,
            TeamRole::Creator => Self::Writer,
            TeamRole::Admin => Self::Admin,
        }
    }
}

/// What the `actions` that a registry token grants on a repository make of its holder, by the words of the
/// [token specification]: `pull`, `push`, and `*` for everything. Other words grant nothing here.
///
/// [token specification]: https://distribution.github.io/distribution/spec/auth/jwt/
pub fn standing_by_actions<'a>(actions: impl IntoIterator<Item = &'a str>) -> Standing {
    let standing = |action| match action {
        "pull" => Standing::Reader,
        "push" => Standing::Writer,
        "*" => Standing::Admin,
        _ => Standing::Stranger,
    };
    actions.into_iter().map(standing).max().unwrap_or(Standing::Stranger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RepositoryName;

    const STANDINGS: [Standing; 5] =
        [Standing::Stranger, Standing::Reader, Standing::Writer, Standing::Admin, Standing::Superuser];

    fn places() -> [Scope; 3] {
        let repository = RepositoryName::parse("acme/api").expect("a name");
        [Scope::Repository(repository), Scope::Namespace("acme".into()), Scope::Registry]
    }

    /// For each right and place (repository, namespace, registry), what every standing is told with every scope:
    /// `a`llowed, `f`orbidden, `h`idden, from stranger to superuser.
    const TABLE: &[(Right, [&str; 3])] = &[
        (Right::Notifications, ["hffaa", "hffaa", "ffffa"]),
        (Right::Repositories, ["hffaa", "hfaaa", "ffffa"]),
        (Right::Look, ["haaaa", "haaaa", "ffffa"]),
        (Right::Publish, ["hfffa", "hfffa", "ffffa"]),
        (Right::Metrics, ["hfffa", "hfffa", "ffffa"]),
        (Right::Directory, ["hfffa", "hfffa", "ffffa"]),
        (Right::Audit, ["hfffa", "hfffa", "ffffa"]),
        (Right::Account, ["hfffa", "hffaa", "ffffa"]),
    ];

    fn letter(verdict: Verdict) -> char {
        match verdict {
            Verdict::Allowed => 'a',
            Verdict::Forbidden => 'f',
            Verdict::Hidden => 'h',
        }
    }

    #[test]
    fn every_right_at_every_place_is_as_the_table_says() {
        assert_eq!(TABLE.iter().map(|(right, _)| *right).collect::<Vec<_>>(), Right::ALL);
        for (right, rows) in TABLE {
            for (place, expected) in places().iter().zip(rows) {
                let told: String = STANDINGS
                    .iter()
                    .map(|standing| letter(judge(*right, place, *standing, &TokenScopes::all())))
                    .collect();
                assert_eq!(told, *expected, "{right:?} at {place:?}");
            }
        }
    }

    #[test]
    fn without_its_scope_a_credential_allows_nothing_and_tells_no_more() {
        for right in Right::ALL {
            for place in &places() {
                let need = right.need(place);
                let others = TokenScope::ALL
                    .iter()
                    .copied()
                    .filter(|scope| *scope != need.scope && *scope != TokenScope::Superuser);
                let others = TokenScopes::new(others);
                for standing in STANDINGS {
                    let told = judge(*right, place, standing, &others);
                    assert_ne!(told, Verdict::Allowed, "{right:?} at {place:?}");
                    let hidden = standing == Standing::Stranger && *place != Scope::Registry;
                    assert_eq!(told == Verdict::Hidden, hidden, "{right:?} at {place:?}");
                }
                let alone = TokenScopes::new([need.scope]);
                assert_eq!(judge(*right, place, Standing::Superuser, &alone), Verdict::Allowed);
            }
        }
    }

    #[test]
    fn scopes_are_read_back_and_never_widen() {
        let some: TokenScopes = "metrics:read, repo:admin repo:admin".parse().expect("scopes");
        assert_eq!(some.to_string(), "repo:admin metrics:read");
        assert_eq!(some.to_string().parse(), Ok(some.clone()));
        assert!(some.are_within(&TokenScopes::all()) && !TokenScopes::all().are_within(&some));
        assert!(!TokenScopes::new([TokenScope::Publish]).are_within(&some));
        assert!("repo:admin everything".parse::<TokenScopes>().is_err());
        assert!("".parse::<TokenScopes>().expect("none").is_empty());
    }

    #[test]
    fn actions_of_a_registry_token_grant_what_the_specification_says() {
        for (actions, standing) in [
            (&[][..], Standing::Stranger),
            (&["delete", "PULL", ""], Standing::Stranger),
            (&["pull"], Standing::Reader),
            (&["push", "pull"], Standing::Writer),
            (&["pull", "*"], Standing::Admin),
        ] {
            assert_eq!(standing_by_actions(actions.iter().copied()), standing, "{actions:?}");
        }
    }
}
