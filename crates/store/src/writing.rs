//! One transaction that writes, and how it ends.

use std::sync::Arc;

use crate::{
    AuditEntry, Put, StoreError, audit,
    call::{Call, Value, values},
    cell::Cell,
    engine::{Engine, Fetched, Held},
    error::is_conflict,
    many::{call, fitting, pieces},
    sql::{self, Column, Many},
};

/// How often a transaction is run again that PostgreSQL gave up for the sake of another.
const CONFLICTS: u32 = 10;

/// A transaction. Dropped unfinished (an error, a cancelled call), it leaves no trace.
pub(crate) struct Writing {
    held: Held,
    audit: Option<Arc<AuditEntry>>,
}

impl Writing {
    /// Begins one that `audit`, if any, is written down with.
    pub(crate) async fn begin(engine: &Engine, audit: Option<Arc<AuditEntry>>) -> Result<Self, StoreError> {
        Ok(Self { held: engine.writer().await?, audit })
    }

    /// Runs one statement and says how many rows it changed.
    pub(crate) async fn run(&mut self, text: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        Ok(self.held.execute(Call::one(text, values)).await?)
    }

    /// Runs one statement that gives back exactly one row.
    pub(crate) async fn one<T: Fetched>(
        &mut self,
        text: &'static str,
        values: &[Value<'_>],
    ) -> Result<T, StoreError> {
        let mut rows = self.held.fetch(Call::one(text, values)).await?;
        Ok(rows.pop().ok_or(sqlx::Error::RowNotFound)?)
    }

    /// Runs a query and reads all its rows.
    pub(crate) async fn fetch<T: Fetched>(
        &mut self,
        text: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        Ok(self.held.fetch(Call::one(text, values)).await?)
    }

    /// Runs a statement over all `rows`, in few pieces, and says how many rows it changed.
    pub(crate) async fn run_many<'a, T, V: IntoIterator<Item = Value<'a>>>(
        &mut self,
        many: &'static Many,
        rows: &'a [T],
        bytes: impl Fn(&T) -> usize,
        values: impl Fn(&'a T) -> V,
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        for piece in pieces(rows, bytes, fitting(self.held.is_postgres())) {
            let values: Vec<Value<'_>> = piece.iter().flat_map(&values).collect();
            changed += self.held.execute(call(self.held.is_postgres(), many, piece.len(), &values)).await?;
        }
        Ok(changed)
    }

    /// Runs a query over all `rows`, in few pieces, and collects what it gives back.
    pub(crate) async fn fetch_many<'a, F: Fetched, T, V: IntoIterator<Item = Value<'a>>>(
        &mut self,
        many: &'static Many,
        rows: &'a [T],
        values: impl Fn(&'a T) -> V,
    ) -> Result<Vec<F>, StoreError> {
        let mut found = Vec::new();
        for piece in pieces(rows, |_| 0, fitting(self.held.is_postgres())) {
            let values: Vec<Value<'_>> = piece.iter().flat_map(&values).collect();
            found.extend(self.held.fetch(call(self.held.is_postgres(), many, piece.len(), &values)).await?);
        }
        Ok(found)
    }

    /// The same, of rows whose columns are known at run time only.
    pub(crate) async fn cells_many<'a, T, V: IntoIterator<Item = Value<'a>>>(
        &mut self,
        many: &'static Many,
        columns: &[Column],
        rows: &'a [T],
        values: impl Fn(&'a T) -> V,
    ) -> Result<Vec<Vec<Cell>>, StoreError> {
        let mut found = Vec::new();
        for piece in pieces(rows, |_| 0, fitting(self.held.is_postgres())) {
            let values: Vec<Value<'_>> = piece.iter().flat_map(&values).collect();
            found.extend(
                self.held.cells(call(self.held.is_postgres(), many, piece.len(), &values), columns).await?,
            );
        }
        Ok(found)
    }

    /// Lets no other recorder in until the end of the transaction. The writer of `SQLite` is alone already.
    pub(crate) async fn lock_records(&mut self) -> Result<(), StoreError> {
        if self.held.is_postgres() {
            self.run(sql::POSTGRES_LOCK_RECORDS, &[]).await?;
        }
        Ok(())
    }

    /// Lets nobody else hand out slots until the end of the transaction, and says what time it is then, in Unix
    /// milliseconds of the database's clock.
    pub(crate) async fn lock_slots(&mut self) -> Result<i64, StoreError> {
        if self.held.is_postgres() {
            self.run(sql::POSTGRES_LOCK_SLOTS, &[]).await?;
        }
        self.now().await
    }

    /// What time it is, in Unix milliseconds of the database's clock.
    pub(crate) async fn now(&mut self) -> Result<i64, StoreError> {
        let text = if self.held.is_postgres() { sql::POSTGRES_NOW } else { sql::SQLITE_NOW };
        let (now,) = self.one(text, &[]).await?;
        Ok(now)
    }

    /// Lets nobody remove an account, if it is there, until the end of the transaction: what is written of it would be
    /// inherited by whoever takes its name then. The writer of `SQLite` is alone already.
    pub(crate) async fn keep_account(&mut self, name: &str) -> Result<(), StoreError> {
        self.keep(sql::POSTGRES_KEEP_ACCOUNT, &values![name]).await
    }

    /// The same of a team.
    pub(crate) async fn keep_team(&mut self, organization: &str, team: &str) -> Result<(), StoreError> {
        self.keep(sql::POSTGRES_KEEP_TEAM, &values![organization, team]).await
    }

    /// The same of a repository.
    pub(crate) async fn keep_repository(&mut self, name: &str) -> Result<(), StoreError> {
        self.keep(sql::POSTGRES_KEEP_REPOSITORY, &values![name]).await
    }

    async fn keep(&mut self, text: &'static str, values: &[Value<'_>]) -> Result<(), StoreError> {
        if self.held.is_postgres() {
            self.run(text, values).await?;
        }
        Ok(())
    }

    /// Lets nobody change or remove an account until the end of the transaction. The writer of `SQLite` is alone
    /// already.
    pub(crate) async fn lock_account(&mut self, name: &str) -> Result<(), StoreError> {
        self.keep(sql::POSTGRES_LOCK_ACCOUNT, &values![name]).await
    }

    /// Tells other processes at the commit that notifications have changed. `SQLite` has one process.
    pub(crate) async fn notify(&mut self) -> Result<(), StoreError> {
        if self.held.is_postgres() {
            self.run(sql::POSTGRES_NOTIFY, &[]).await?;
        }
        Ok(())
    }

    /// Fails where the server takes no writes. `SQLite` has shown by beginning that it does.
    pub(crate) async fn check_may_write(&mut self) -> Result<(), StoreError> {
        if self.held.is_postgres() {
            self.run(sql::POSTGRES_MAY_WRITE, &[]).await?;
        }
        Ok(())
    }

    /// Makes the transaction durable.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        if let Some(entry) = self.audit.take() {
            audit::write(&mut self, &entry).await?;
        }
        self.run(sql::COMMIT, &[]).await?;
        self.held.give_back();
        Ok(())
    }

    /// Ends the transaction without a trace, and keeps the connection.
    pub(crate) async fn give_up(mut self) -> Result<(), StoreError> {
        self.run(sql::ROLLBACK, &[]).await?;
        self.held.give_back();
        Ok(())
    }

    /// Makes what was put durable, or ends without a trace where it was there already.
    pub(crate) async fn end_put(self, put: Put) -> Result<Put, StoreError> {
        match put {
            Put::Created | Put::Changed => self.commit().await?,
            Put::Same => self.give_up().await?,
        }
        Ok(put)
    }
}

/// Runs a whole transaction, and again when the database gave it up for the sake of another.
pub(crate) async fn retried<T, F>(mut transaction: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut conflicts = 0;
    loop {
        match transaction().await {
            Err(StoreError::Unavailable { source }) if is_conflict(&source) && conflicts < CONFLICTS => {
                conflicts += 1;
            }
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_failures_are_not_tried_again() {
        let mut tries = 0;
        let ended: Result<(), _> = retried(|| {
            tries += 1;
            async { Err(StoreError::Unavailable { source: sqlx::Error::PoolTimedOut }) }
        })
        .await;
        assert!(ended.is_err() && tries == 1);
    }
}
