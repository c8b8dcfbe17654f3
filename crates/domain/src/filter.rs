//! Which events of its kinds a notification wants.

use std::fmt;

use serde_json::{Map, Value};

use crate::{Event, Kind};

/// A notification's filter, understood.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    days: Option<u32>,
}

impl Filter {
    /// Reads a filter as written in `event_config`.
    ///
    /// # Errors
    ///
    /// Names the first line that will not do.
    pub fn parse(_event_config: &Map<String, Value>, _kinds: &[Kind]) -> Result<Self, FilterError> {
        Ok(Self::default())
    }

    /// Whether it takes the event.
    ///
    /// # Errors
    ///
    /// The line that says no.
    pub fn allows(&self, _event: &Event) -> Result<(), Refusal> {
        Ok(())
    }

    /// How many days ahead expiring tags are announced, if it says.
    pub fn days(&self) -> Option<u32> {
        self.days
    }
}

/// A line of a filter that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` {problem}")]
pub struct FilterError {
    line: &'static str,
    problem: String,
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
