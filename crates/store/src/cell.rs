//! A value of a row whose columns are known at run time only.

use std::borrow::Cow;

use sqlx::{Row, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{call::Value, sql::Column, text::Text};

/// What stands in one column of one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Cell {
    Int(Option<i64>),
    Text(Option<String>),
    Uuid(Option<Uuid>),
    Bool(Option<bool>),
    Bytes(Option<Vec<u8>>),
}

impl Cell {
    /// As a statement takes it.
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Int(value) => Value::Int(*value),
            Self::Text(value) => Value::Text(value.as_deref().map(Cow::Borrowed)),
            Self::Uuid(value) => Value::Uuid(*value),
            Self::Bool(value) => Value::Bool(*value),
            Self::Bytes(value) => Value::Bytes(value.as_deref()),
        }
    }

    /// How much memory its content takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(value) => value.as_ref().map_or(0, String::len),
            Self::Bytes(value) => value.as_ref().map_or(0, Vec::len),
            Self::Int(_) | Self::Uuid(_) | Self::Bool(_) => 0,
        }
    }
}

/// A row of either engine whose first columns are of given types.
pub(crate) trait Cells {
    fn cells(&self, columns: &[Column]) -> Result<Vec<Cell>, sqlx::Error>;
}

macro_rules! cells {
    ($($row:ty)*) => {
        $(impl Cells for $row {
            fn cells(&self, columns: &[Column]) -> Result<Vec<Cell>, sqlx::Error> {
                let cell = |(place, column): (usize, &Column)| {
                    Ok(match column {
                        Column::Int => Cell::Int(self.try_get(place)?),
                        Column::Text => Cell::Text(self.try_get::<Option<Text>, _>(place)?.map(|text| text.0)),
                        Column::Uuid => Cell::Uuid(self.try_get(place)?),
                        Column::Bool => Cell::Bool(self.try_get(place)?),
                        Column::Bytes => Cell::Bytes(self.try_get(place)?),
                    })
                };
                columns.iter().enumerate().map(cell).collect()
            }
        })*
    };
}

cells! { SqliteRow PgRow }
