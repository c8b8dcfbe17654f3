//! A statement with its values, before an engine is known, and what each driver makes of it.

use std::borrow::Cow;

use sqlx::{Postgres, Sqlite, postgres::PgArguments, query::Query, sqlite::SqliteArguments};
use uuid::Uuid;

use crate::{sql::Column, text::escaped};

/// What one placeholder stands for.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Int(Option<i64>),
    Text(Option<Cow<'a, str>>),
    Uuid(Option<Uuid>),
    Bool(Option<bool>),
    Bytes(Option<&'a [u8]>),
}

/// Values in the order of their placeholders.
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::call::Value::from($value)),*] };
}
pub(crate) use values;

macro_rules! from {
    ($($given:ty => |$value:ident| $made:expr;)*) => {
        $(impl<'a> From<$given> for Value<'a> {
            fn from($value: $given) -> Self {
                $made
            }
        })*
    };
}

from! {
    i64 => |value| Self::Int(Some(value));
    Option<i64> => |value| Self::Int(value);
    &'a str => |value| Self::Text(Some(Cow::Borrowed(value)));
    Option<&'a str> => |value| Self::Text(value.map(Cow::Borrowed));
    String => |value| Self::Text(Some(Cow::Owned(value)));
    Option<String> => |value| Self::Text(value.map(Cow::Owned));
    Uuid => |value| Self::Uuid(Some(value));
    Option<Uuid> => |value| Self::Uuid(value);
    bool => |value| Self::Bool(Some(value));
    &'a [u8] => |value| Self::Bytes(Some(value));
}

/// A text and its values: those of one statement or, with `columns`, of many rows one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) text: &'static str,
    pub(crate) values: &'a [Value<'a>],
    pub(crate) columns: &'static [Column],
}

impl<'a> Call<'a> {
    /// One statement.
    pub(crate) fn one(text: &'static str, values: &'a [Value<'a>]) -> Self {
        Self { text, values, columns: &[] }
    }

    pub(crate) fn sqlite(self) -> Query<'static, Sqlite, SqliteArguments> {
        self.values.iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Int(value) => query.bind(*value),
            Value::Text(value) => query.bind(value.as_deref()),
            Value::Uuid(value) => query.bind(*value),
            Value::Bool(value) => query.bind(*value),
            Value::Bytes(value) => query.bind(*value),
        })
    }

    pub(crate) fn postgres(self) -> Query<'static, Postgres, PgArguments> {
        let query = sqlx::query(self.text);
        if self.columns.is_empty() {
            return self.values.iter().fold(query, |query, value| match value {
                Value::Int(value) => query.bind(*value),
                Value::Text(value) => query.bind(value.as_deref().map(escaped)),
                Value::Uuid(value) => query.bind(*value),
                Value::Bool(value) => query.bind(*value),
                Value::Bytes(value) => query.bind(*value),
            });
        }
        self.columns.iter().enumerate().fold(query, |query, (place, column)| {
            let values = self.values.iter().skip(place).step_by(self.columns.len());
            array(query, *column, values)
        })
    }
}

/// Binds one column of many rows. A value of another type than its column's is NULL, which no column takes that can
/// hold no NULL; [`Many`](crate::sql::Many) and its values stand side by side in `sql` and its callers.
fn array<'a>(
    query: Query<'static, Postgres, PgArguments>,
    column: Column,
    values: impl Iterator<Item = &'a Value<'a>>,
) -> Query<'static, Postgres, PgArguments> {
    macro_rules! gather {
        ($kind:ident, $value:ident => $made:expr) => {
            query.bind(
                values
                    .map(|value| match value {
                        Value::$kind($value) => $made,
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            )
        };
    }
    match column {
        Column::Int => gather!(Int, value => *value),
        Column::Text => gather!(Text, value => value.as_deref().map(escaped)),
        Column::Uuid => gather!(Uuid, value => *value),
        Column::Bool => gather!(Bool, value => *value),
        Column::Bytes => gather!(Bytes, value => *value),
    }
}
