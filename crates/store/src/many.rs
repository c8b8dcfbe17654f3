//! Statements over many rows, and the pieces in which they are run.

use crate::{
    Store, StoreError,
    call::{Call, Value},
    engine::Fetched,
    sql::{LARGEST, Many},
};

/// A large body is not put into one statement with many others: `SQLite`'s prepared statement keeps its last values,
/// and PostgreSQL's side of the connection builds the message whole.
const STATEMENT_BYTES: usize = 1024 * 1024;

/// The most rows in one statement of PostgreSQL.
const POSTGRES_ROWS: usize = 4096;

impl Store {
    /// Runs a query over all `rows` outside of any transaction, in few pieces, and collects what it gives back.
    pub(crate) async fn fetch_many<'a, F: Fetched, T, V: IntoIterator<Item = Value<'a>>>(
        &self,
        many: &'static Many,
        rows: &'a [T],
        values: impl Fn(&'a T) -> V,
    ) -> Result<Vec<F>, StoreError> {
        let engine = &self.inner.engine;
        let mut found = Vec::new();
        for piece in pieces(rows, |_| 0, fitting(engine.is_postgres())) {
            let values: Vec<Value<'_>> = piece.iter().flat_map(&values).collect();
            found.extend(engine.fetch(call(engine.is_postgres(), many, piece.len(), &values)).await?);
        }
        Ok(found)
    }
}

/// How many of so many rows go into one statement.
pub(crate) fn fitting(is_postgres: bool) -> fn(usize) -> usize {
    if is_postgres { |rows| rows.min(POSTGRES_ROWS) } else { |rows| 1 << rows.ilog2().min(LARGEST) }
}

/// The statement over one piece, whose values are those of its rows one after the other.
pub(crate) fn call<'a>(
    is_postgres: bool,
    many: &'static Many,
    rows: usize,
    values: &'a [Value<'a>],
) -> Call<'a> {
    debug_assert_eq!(values.len(), rows * many.columns.len(), "a value for each column");
    if is_postgres {
        Call { text: many.postgres(), values, columns: many.columns }
    } else {
        Call::one(many.sqlite(rows.ilog2()), values)
    }
}

/// Cuts `rows` into pieces, each as large as its rows' bytes allow and `fitting` rounds that down to.
pub(crate) fn pieces<T>(
    rows: &[T],
    bytes: impl Fn(&T) -> usize,
    fitting: fn(usize) -> usize,
) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut room = STATEMENT_BYTES;
        let taken = rest.iter().take_while(|row| {
            let left = room.checked_sub(bytes(row));
            room = left.unwrap_or(0);
            left.is_some()
        });
        let count = taken.take(POSTGRES_ROWS).count().max(1);
        let (piece, after) = rest.split_at_checked(fitting(count))?;
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rows: &[usize], fitting: fn(usize) -> usize) -> Vec<usize> {
        pieces(rows, |bytes| *bytes, fitting).map(<[usize]>::len).collect()
    }

    fn powers(rows: usize) -> usize {
        1 << rows.ilog2().min(LARGEST)
    }

    #[test]
    fn pieces_are_of_the_sizes_that_fit_and_leave_no_row_out() {
        assert_eq!(sizes(&[], powers), [0; 0]);
        assert_eq!(sizes(&[0; 1], powers), [1]);
        assert_eq!(sizes(&[0; 500], powers), [256, 128, 64, 32, 16, 4]);
        assert_eq!(sizes(&[0; 500], |rows| rows.min(300)), [300, 200]);
    }

    #[test]
    fn large_rows_are_written_in_small_pieces() {
        for fitting in [powers, |rows| rows] as [fn(usize) -> usize; 2] {
            assert_eq!(sizes(&[STATEMENT_BYTES / 2; 5], fitting), [2, 2, 1]);
            assert_eq!(sizes(&[STATEMENT_BYTES * 2; 3], fitting), [1, 1, 1]);
        }
    }
}
