//! What an item of the in-app area tells of.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{Kind, UnknownKind};

/// What an item of the in-app area tells of: an event, or something that befell what its reader looks after. The
/// latter is no [`Kind`], so that nobody can send it in and no notification can listen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InAppKind {
    /// An event of this kind.
    Event(Kind),
    /// A notification was disabled, because its receiver is gone or keeps failing.
    NotificationDisabled,
}

impl InAppKind {
    /// The word for it in the API and in storage: an event's is its kind's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Event(kind) => kind.name(),
            Self::NotificationDisabled => "notification_disabled",
        }
    }
}

impl From<Kind> for InAppKind {
    fn from(kind: Kind) -> Self {
        Self::Event(kind)
    }
}

impl fmt::Display for InAppKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for InAppKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        if text == Self::NotificationDisabled.name() {
            return Ok(Self::NotificationDisabled);
        }
        text.parse().map(Self::Event)
    }
}

impl Serialize for InAppKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_only_the_app_itself_tells_of_a_disabling() {
        for kind in Kind::ALL.iter().copied().map(InAppKind::Event).chain([InAppKind::NotificationDisabled]) {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("notification_disabled".parse::<Kind>().is_err(), "no event can say so");
        assert!("".parse::<InAppKind>().is_err());
    }
}
