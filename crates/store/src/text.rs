//! Text of any sort in columns of either engine.
//!
//! PostgreSQL refuses the character NUL in text, and a text that no database takes must not stop what carries it. So
//! there NUL stands as U+0001 `0`, and U+0001 itself as U+0001 `1`: different texts stay different, so that they can
//! be compared as they are stored, and all but the strangest stand as they are. In JSON neither can occur bare.

use std::borrow::Cow;

use sqlx::{Database, Decode, Postgres, Sqlite, Type, error::BoxDynError};

const MARK: char = '\u{1}';

/// The form in which PostgreSQL keeps a text.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => escaped.extend([MARK, '0']),
            MARK => escaped.extend([MARK, '1']),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

fn unescaped(stored: String) -> Result<String, BoxDynError> {
    if !stored.contains(MARK) {
        return Ok(stored);
    }
    let mut text = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        text.push(match (character, (character == MARK).then(|| characters.next()).flatten()) {
            (MARK, Some('0')) => '\0',
            (MARK, Some('1')) => MARK,
            (MARK, _) => return Err("a U+0001 stands alone".into()),
            (other, _) => other,
        });
    }
    Ok(text)
}

/// A column of text as the caller gave it; text that is a word of ours or JSON needs no such care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl<DB: Database> Type<DB> for Text
where
    String: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        String::type_info()
    }

    fn compatible(info: &DB::TypeInfo) -> bool {
        String::compatible(info)
    }
}

impl Decode<'_, Sqlite> for Text {
    fn decode(value: <Sqlite as Database>::ValueRef<'_>) -> Result<Self, BoxDynError> {
        <String as Decode<Sqlite>>::decode(value).map(Self)
    }
}

impl Decode<'_, Postgres> for Text {
    fn decode(value: <Postgres as Database>::ValueRef<'_>) -> Result<Self, BoxDynError> {
        <String as Decode<Postgres>>::decode(value).and_then(unescaped).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_read_back_and_none_stands_for_two() {
        let parts = ["", "\0", "\u{1}", "\u{2}", "0", "1", "é", "a"];
        let mut stored = std::collections::HashMap::new();
        for text in parts.iter().flat_map(|a| parts.iter().map(move |b| [*a, *b].concat())) {
            let escaped = escaped(&text).into_owned();
            assert!(!escaped.contains('\0'), "{text:?}");
            assert_eq!(unescaped(escaped.clone()).expect("ours"), text);
            assert_eq!(stored.entry(escaped).or_insert_with(|| text.clone()), &text);
        }
    }

    #[test]
    fn plain_text_is_kept_as_it_is_and_not_copied() {
        assert!(matches!(escaped("registry.example.com/\n\u{1f514}"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_was_not_written_by_us_is_not_guessed_at() {
        for foreign in ["\u{1}", "a\u{1}2", "\u{1}\u{1}"] {
            assert!(unescaped(foreign.into()).is_err(), "{foreign:?}");
        }
    }
}
