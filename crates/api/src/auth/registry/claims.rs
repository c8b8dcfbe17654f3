//! What a token whose signature is genuine says, and whether that is for us and for now.

use std::collections::BTreeMap;

use bellbuoy_domain::{RepositoryName, Standing, standing_by_actions};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Number;

use super::{Flaw, token::Token};

/// How far the issuer's clock may be from ours.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Longest subject that is kept, in characters.
const LONGEST_SUBJECT: usize = 255;

/// The claims that count. Others are passed over; one of these that comes twice or has another type makes all of them
/// void.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<Number>,
    nbf: Option<Number>,
    access: Option<Vec<Access>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct Access {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Vec<String>,
}

/// What a token grants its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Who the issuer says that it is; empty for somebody who did not say.
    pub(crate) subject: String,
    /// Until when.
    pub(crate) until: Timestamp,
    standings: BTreeMap<RepositoryName, Standing>,
}

impl Grant {
    /// What its holder is to a repository: nothing but what the token says.
    pub(crate) fn standing(&self, repository: &RepositoryName) -> Standing {
        self.standings.get(repository).copied().unwrap_or(Standing::Stranger)
    }
}

impl Claims {
    pub(super) fn read(token: &Token<'_>) -> Result<Self, Flaw> {
        serde_json::from_slice(&token.payload).map_err(|_| Flaw::Claims)
    }

    pub(super) fn judge(self, issuer: &str, audience: &str, now: Timestamp) -> Result<Grant, Flaw> {
        if self.iss.as_deref() != Some(issuer) {
            return Err(Flaw::Issuer);
        }
        let is_for_us = match &self.aud {
            None => false,
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Several(several)) => several.iter().any(|one| one == audience),
        };
        if !is_for_us {
            return Err(Flaw::Audience);
        }
        let until = time(&self.exp.ok_or(Flaw::Endless)?).ok_or(Flaw::Claims)?;
        if now.duration_since(until) >= SKEW {
            return Err(Flaw::Expired);
        }
        if let Some(from) = self.nbf {
            let from = time(&from).ok_or(Flaw::Claims)?;
            if from.duration_since(now) > SKEW {
                return Err(Flaw::NotYet);
            }
        }
        let subject = self.sub.unwrap_or_default();
        let subject = subject.chars().filter(|letter| !letter.is_control()).take(LONGEST_SUBJECT).collect();
        Ok(Grant { subject, until, standings: standings(&self.access.unwrap_or_default()) })
    }
}

/// Seconds since 1970, whole or not, as [RFC 7519, section 2] has it; `None` beyond what a time can be.
///
/// [RFC 7519, section 2]: https://www.rfc-editor.org/rfc/rfc7519#section-2
fn time(seconds: &Number) -> Option<Timestamp> {
    if let Some(whole) = seconds.as_i64() {
        return Timestamp::from_second(whole).ok();
    }
    let span = SignedDuration::try_from_secs_f64(seconds.as_f64()?).ok()?;
    Timestamp::from_duration(span).ok()
}

/// Access to anything but repositories says nothing here, and so does a name that no repository can have.
fn standings(access: &[Access]) -> BTreeMap<RepositoryName, Standing> {
    let mut standings = BTreeMap::new();
    for one in access.iter().filter(|one| one.kind == "repository") {
        if let Ok(name) = RepositoryName::parse(one.name.as_str()) {
            let standing = standing_by_actions(one.actions.iter().map(String::as_str));
            let known = standings.entry(name).or_insert(standing);
            *known = standing.max(*known);
        }
    }
    standings
}
