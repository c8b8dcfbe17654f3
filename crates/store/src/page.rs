//! Lists in pages by key, never by offset: a page costs the same wherever it lies.

use std::fmt;

use crate::{Store, StoreError, call::Value};
use bellbuoy_domain::NotificationId;

/// The most rows that one page holds; a larger limit is lowered to it, and 0 is raised to 1.
pub const MAX_PAGE: u32 = 1000;

/// Where the next page begins. Opaque: hand it back as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl From<String> for Cursor {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Cursor {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Cursor {
    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A cursor below `seq` in the list called `list`.
    pub(crate) fn below(list: char, seq: i64) -> Self {
        Self(format!("{list}{seq:x}"))
    }

    /// The `seq` to stay below; the highest there can be without a cursor.
    pub(crate) fn seq(cursor: Option<&Self>, list: char) -> Result<i64, StoreError> {
        let Some(Self(text)) = cursor else { return Ok(i64::MAX) };
        text.strip_prefix(list)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| i64::from_str_radix(digits, 16).ok())
            .ok_or_else(|| StoreError::BadCursor { cursor: text.chars().take(40).collect() })
    }
}

/// A page of notifications, in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Begin after this id; from the first without it. It need not exist any more.
    pub after: Option<NotificationId>,
    /// At most so many, from 1 to [`MAX_PAGE`].
    pub limit: u32,
}

pub(crate) fn limit(wanted: u32) -> i64 {
    i64::from(wanted.clamp(1, MAX_PAGE))
}

/// How many rows one call looks at when no index leads to what is wanted: some tenth of a second's reading.
const STRETCH: i64 = 100_000;

/// The stretch of a table, by `seq`, that one page is taken from.
pub(crate) struct Stretch {
    /// Only below this.
    pub(crate) before: i64,
    /// Not below this.
    pub(crate) floor: i64,
    more_below: bool,
}

impl Stretch {
    /// Everything below `before`.
    pub(crate) fn whole(before: i64) -> Self {
        Self { before, floor: 0, more_below: false }
    }

    /// Everything below `before` or, when it is to be searched through, a bounded part of it. `ends` gives the lowest
    /// and highest `seq` that there are.
    pub(crate) async fn find(
        store: &Store,
        ends: &'static str,
        before: i64,
        searched: bool,
    ) -> Result<Self, StoreError> {
        if !searched {
            return Ok(Self::whole(before));
        }
        let (lowest, highest): (i64, i64) = store.fetch_one(ends, &[]).await?.unwrap_or_default();
        let before = before.min(highest.saturating_add(1));
        let floor = before.saturating_sub(STRETCH).max(0);
        Ok(Self { before, floor, more_below: floor > lowest })
    }

    /// A bounded part of what an index leads to for `key` below `before`. `end` gives the `seq` of the first row after
    /// so many of it.
    pub(crate) async fn along(
        store: &Store,
        end: &'static str,
        key: Value<'_>,
        before: i64,
    ) -> Result<Self, StoreError> {
        let next: Option<(i64,)> = store.fetch_one(end, &[key, before.into(), STRETCH.into()]).await?;
        let floor = next.map_or(0, |(seq,)| seq.saturating_add(1));
        Ok(Self { before, floor, more_below: next.is_some() })
    }

    /// Cuts `rows`, of which one more was asked for than `limit`, and says where the next page begins.
    pub(crate) fn cut<T>(
        &self,
        rows: &mut Vec<T>,
        limit: i64,
        list: char,
        seq: impl Fn(&T) -> i64,
    ) -> Option<Cursor> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if rows.len() <= limit {
            return self.more_below.then(|| Cursor::below(list, self.floor));
        }
        rows.truncate(limit);
        rows.last().map(|lowest| Cursor::below(list, seq(lowest)))
    }
}
