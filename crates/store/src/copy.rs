//! From one store into another, table by table.
//!
//! A row is the same row by its key (an event's source and id, a delivery's id...), never by its place in a table, so
//! that a copy can be broken off anywhere and begun again, and the destination may hold rows of its own.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    SecretKeys, Store, StoreError,
    call::{Call, Value, values},
    cell::Cell,
    seal::Sealed,
    sql::{self, Column},
    tables::{TABLES, Table},
    writing::{Writing, retried},
};

/// The most rows of one page. Each page is one transaction of the destination.
const PAGE_ROWS: i64 = 1000;

/// The most bytes of text and bodies in one page, unless one row alone has more.
const PAGE_BYTES: i64 = 4 << 20;

/// The table with columns that are sealed, and their places among its fields.
const NOTIFICATIONS: &str = "notifications";
const ID: usize = 0;
const SEALED: &[(usize, Sealed)] = &[(7, Sealed::Config), (8, Sealed::Secret)];

/// A table that a copy carries, rows and all.
#[derive(Clone, Copy)]
pub struct CopiedTable(&'static Table);

/// What became of the rows of one table in another store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many rows there are to be found.
    pub rows: u64,
    /// Those that the other store has, equal in every column.
    pub same: u64,
    /// Those that it lacks.
    pub missing: u64,
    /// Those of which it has another form.
    pub different: u64,
    /// The key of the first that is different, for people.
    pub first_different: Option<String>,
}

impl std::fmt::Debug for CopiedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl CopiedTable {
    /// Every table that holds state, each after those that it refers to.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLES.iter().map(Self)
    }

    /// What the database calls it.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// How many rows it has in `store`.
    ///
    /// # Errors
    ///
    /// As for every call to a store.
    pub async fn count(self, store: &Store) -> Result<u64, StoreError> {
        let rows: Option<(i64,)> = store.fetch_one(self.0.count, &[]).await?;
        Ok(rows.map_or(0, |(count,)| count.unsigned_abs()))
    }

    /// Whether it has no row in `store`.
    ///
    /// # Errors
    ///
    /// As for every call to a store.
    pub async fn is_empty(self, store: &Store) -> Result<bool, StoreError> {
        let first: Option<(i64,)> = store.fetch_one(self.0.sizes[0], &values![1]).await?;
        Ok(first.is_none())
    }

    /// Adds to `to` what it lacks of the rows in `from`, in their order and a page at a time; gives back how many it
    /// added, and tells `seen` of every row that it has dealt with. A row that `to` has stays there as it is. What is
    /// added is durable page by page: called again, it goes on. In memory is one page, a few MiB or one row.
    ///
    /// Nobody may write to `from` meanwhile.
    ///
    /// # Errors
    ///
    /// As for every call to a store.
    pub async fn copy(self, from: &Store, to: &Store, mut seen: impl FnMut(u64)) -> Result<u64, StoreError> {
        let (mut pages, mut added) = (Pages::of(self.0), 0);
        while let Some(mut rows) = pages.next(from).await? {
            self.opened(&from.keys, &mut rows)?;
            self.sealed(&to.keys, &mut rows)?;
            added += retried(|| self.add(to, &rows)).await?;
            seen(rows.len() as u64);
        }
        Ok(added)
    }

    async fn add(self, to: &Store, rows: &[Vec<Cell>]) -> Result<u64, StoreError> {
        let bytes = |row: &Vec<Cell>| row.iter().map(Cell::bytes).sum();
        let mut writing = to.write().await?;
        let added = writing.run_many(self.0.add, rows, bytes, |row| row.iter().map(Cell::value)).await?;
        if added > 0 && self.0.name == NOTIFICATIONS {
            // Processes that run on `to` already learn of them.
            let _version: (i64,) = writing.one(sql::BUMP_VERSION, &[]).await?;
            writing.notify().await?;
        }
        writing.commit().await?;
        Ok(added)
    }

    /// Looks for every row of `from` in `to`, column by column; tells `seen` of every row that it has dealt with.
    /// Rows that only `to` has don't matter.
    ///
    /// # Errors
    ///
    /// As for every call to a store.
    pub async fn compare(
        self,
        from: &Store,
        to: &Store,
        mut seen: impl FnMut(u64),
    ) -> Result<Comparison, StoreError> {
        let (mut pages, mut comparison) = (Pages::of(self.0), Comparison::default());
        while let Some(mut rows) = pages.next(from).await? {
            self.opened(&from.keys, &mut rows)?;
            let mut writing = to.write().await?;
            let mut found = self.find(&mut writing, &rows).await?;
            self.opened(&to.keys, found.values_mut())?;
            writing.give_up().await?;
            for row in &rows {
                let key: Vec<Cell> = self.key(row).cloned().collect();
                comparison.count(row, found.get(&key), || self.shown(row));
            }
            seen(rows.len() as u64);
        }
        Ok(comparison)
    }

    /// Opens what is sealed of the rows; each store has keys of its own.
    fn opened<'a>(
        self,
        keys: &SecretKeys,
        rows: impl IntoIterator<Item = &'a mut Vec<Cell>>,
    ) -> Result<(), StoreError> {
        self.change(rows, |text, id, column| keys.open(text, id, column))
    }

    fn sealed<'a>(
        self,
        keys: &SecretKeys,
        rows: impl IntoIterator<Item = &'a mut Vec<Cell>>,
    ) -> Result<(), StoreError> {
        self.change(rows, |text, id, column| keys.seal(&text, id, column))
    }

    /// Changes the columns that can be sealed.
    fn change<'a>(
        self,
        rows: impl IntoIterator<Item = &'a mut Vec<Cell>>,
        change: impl Fn(String, Uuid, Sealed) -> Result<String, StoreError>,
    ) -> Result<(), StoreError> {
        if self.0.name != NOTIFICATIONS {
            return Ok(());
        }
        for row in rows {
            let Some(Cell::Uuid(Some(id))) = row.get(ID) else { continue };
            let id = *id;
            for (place, column) in SEALED {
                if let Some(Cell::Text(Some(text))) = row.get_mut(*place) {
                    *text = change(std::mem::take(text), id, *column)?;
                }
            }
        }
        Ok(())
    }

    /// Those of the rows that the other store has, by their keys.
    async fn find(
        self,
        writing: &mut Writing,
        rows: &[Vec<Cell>],
    ) -> Result<HashMap<Vec<Cell>, Vec<Cell>>, StoreError> {
        let Table { find, key, fields, .. } = self.0;
        let columns: Vec<Column> =
            find.columns.iter().chain(&[Column::Bool]).chain(*fields).copied().collect();
        let found = writing
            .cells_many(find, &columns, rows, |row| key.iter().map(|place| row[*place].value()))
            .await?;
        let is_there = |row: &Vec<Cell>| row[key.len()] == Cell::Bool(Some(true));
        Ok(found
            .into_iter()
            .filter(is_there)
            .map(|mut row| {
                let own = row.split_off(key.len() + 1);
                row.truncate(key.len());
                (row, own)
            })
            .collect())
    }

    fn key(self, row: &[Cell]) -> impl Iterator<Item = &Cell> {
        self.0.key.iter().map(|place| &row[*place])
    }

    fn shown(self, row: &[Cell]) -> String {
        let part = |cell: &Cell| match cell {
            Cell::Int(Some(value)) => value.to_string(),
            Cell::Text(Some(value)) => value.clone(),
            Cell::Uuid(Some(value)) => value.to_string(),
            Cell::Bool(Some(value)) => value.to_string(),
            Cell::Bytes(Some(value)) => format!("{} bytes", value.len()),
            Cell::Int(None) | Cell::Text(None) | Cell::Uuid(None) | Cell::Bool(None) | Cell::Bytes(None) => {
                "-".to_owned()
            }
        };
        self.key(row).map(part).collect::<Vec<_>>().join(" ")
    }
}

impl Comparison {
    /// Whether the other store has all of them as they are.
    pub fn is_same(&self) -> bool {
        self.same == self.rows
    }

    fn count(&mut self, row: &Vec<Cell>, found: Option<&Vec<Cell>>, shown: impl FnOnce() -> String) {
        self.rows += 1;
        match found {
            None => self.missing += 1,
            Some(found) if found == row => self.same += 1,
            Some(_) => {
                self.different += 1;
                self.first_different.get_or_insert_with(shown);
            }
        }
    }
}

/// A table read from its beginning to its end, a bounded page at a time.
struct Pages {
    table: &'static Table,
    /// The order of the last row; nothing before the first page.
    after: Vec<Cell>,
}

impl Pages {
    fn of(table: &'static Table) -> Self {
        Self { table, after: Vec::new() }
    }

    /// The next rows; `None` behind the last.
    async fn next(&mut self, store: &Store) -> Result<Option<Vec<Vec<Cell>>>, StoreError> {
        let goes_on = usize::from(!self.after.is_empty());
        let sizes: Vec<(i64,)> = store.fetch(self.table.sizes[goes_on], &self.values(PAGE_ROWS)).await?;
        let fitting = fitting(sizes.iter().map(|(bytes,)| *bytes));
        if fitting == 0 {
            return Ok(None);
        }
        let columns: Vec<Column> = self.table.order.iter().chain(self.table.fields).copied().collect();
        let values = self.values(fitting);
        let mut reader = store.inner.engine.reader().await?;
        let rows = reader.cells(Call::one(self.table.page[goes_on], &values), &columns).await?;
        reader.give_back();
        let places = self.table.order.len();
        let mut page = Vec::with_capacity(rows.len());
        for mut row in rows {
            let fields = row.split_off(places);
            self.after = row;
            page.push(fields);
        }
        Ok((!page.is_empty()).then_some(page))
    }

    fn values(&self, limit: i64) -> Vec<Value<'_>> {
        std::iter::once(Value::Int(Some(limit))).chain(self.after.iter().map(Cell::value)).collect()
    }
}

/// How many of the next rows one page takes: at least one, if there is one.
fn fitting(sizes: impl Iterator<Item = i64>) -> i64 {
    let (mut rows, mut bytes) = (0, 0_i64);
    for size in sizes {
        bytes = bytes.saturating_add(size);
        if rows > 0 && bytes > PAGE_BYTES {
            break;
        }
        rows += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_its_bytes_do_and_a_large_row_has_one_to_itself() {
        assert_eq!(fitting(std::iter::empty()), 0);
        assert_eq!(fitting([PAGE_BYTES * 10, 1].into_iter()), 1);
        assert_eq!(fitting([1, PAGE_BYTES * 10, 1].into_iter()), 1);
        assert_eq!(fitting([PAGE_BYTES / 2; 5].into_iter()), 2);
        assert_eq!(fitting([0; 700].into_iter()), 700);
    }
}
