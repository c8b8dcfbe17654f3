//! Every query text, in the SQL that `SQLite` and PostgreSQL share.
//!
//! Placeholders of single statements are numbered. In the values of a [`Many`] they are bare question marks, because
//! `SQLite` finds a named placeholder by searching through all of them, for each that is bound.

use std::sync::{Arc, OnceLock};

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*

        /// Every single statement, for the test that prepares them.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

macro_rules! many {
    ($($(#[$doc:meta])* $name:ident = [$columns:literal] $before:expr, $after:expr;)*) => {
        $($(#[$doc])* pub(crate) static $name: Many = Many::new($columns, $before, $after);)*

        /// Every statement over many rows, for the test that prepares them.
        #[cfg(test)]
        pub(crate) static ALL_MANY: &[(&str, &Many)] = &[$((stringify!($name), &$name),)*];
    };
}

/// A statement over a list of rows, `before VALUES (?, ?), (?, ?) after`, in few sizes, so that each is prepared once.
pub(crate) struct Many {
    columns: usize,
    before: &'static str,
    after: &'static str,
    texts: OnceLock<Vec<Arc<str>>>,
}

/// The most rows in one statement is `2^LARGEST`. With the 16 values of a delivery that makes 4,096 placeholders, of
/// 32,766 that `SQLite` takes and 65,535 that PostgreSQL takes.
pub(crate) const LARGEST: usize = 8;

impl Many {
    const fn new(columns: usize, before: &'static str, after: &'static str) -> Self {
        Self { columns, before, after, texts: OnceLock::new() }
    }

    /// The text for `2^exponent` rows.
    pub(crate) fn text(&self, exponent: usize) -> Arc<str> {
        let texts = self.texts.get_or_init(|| (0..=LARGEST).map(|exponent| self.write(exponent)).collect());
        Arc::clone(&texts[exponent])
    }

    fn write(&self, exponent: usize) -> Arc<str> {
        let row = format!("({})", vec!["?"; self.columns].join(","));
        let rows = vec![row; 1 << exponent].join(",");
        format!("{} VALUES {rows} {}", self.before, self.after).into()
    }
}

macro_rules! notification_columns {
    () => {
        "id, title, scope, scope_name, kinds, event_config, method, config, secret, format, retry, state, \
         state_reason, failures, created_at, updated_at"
    };
}

macro_rules! delivery_columns {
    () => {
        "seq, id, notification, method, source, event, kind, subject, accepted_at, state, attempts, next_due_at, \
         updated_at, cause_code, cause_detail, status"
    };
}

/// A list of deliveries, driven by one index; `$1` is the cursor and `$2` how far down one call looks.
macro_rules! deliveries_where {
    ($driver:literal $(, $filter:literal)*) => {
        concat!(
            "SELECT ", delivery_columns!(), " FROM deliveries WHERE seq < $1 AND seq >= $2 AND ", $driver,
            $(" AND ", $filter,)*
            " AND ($4 IS NULL OR method = $4) AND ($5 IS NULL OR kind = $5) AND ($7 IS NULL OR subject = $7) \
              AND ($8 IS NULL OR source = $8) ORDER BY seq DESC LIMIT $10"
        )
    };
}

texts! {
    BEGIN = "BEGIN IMMEDIATE";
    COMMIT = "COMMIT";
    ROLLBACK = "ROLLBACK";
    PING = "SELECT value FROM counters WHERE name = 'notifications'";

    CREATE_NOTIFICATION = concat!(
        "INSERT INTO notifications (", notification_columns!(), ") \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT (id) DO NOTHING"
    );
    UPDATE_NOTIFICATION =
        "UPDATE notifications SET title = $2, scope = $3, scope_name = $4, kinds = $5, event_config = $6, \
         method = $7, config = $8, secret = $9, format = $10, retry = $11, state = $12, state_reason = $13, \
         created_at = $14, updated_at = $15 WHERE id = $1";
    DELETE_NOTIFICATION = "DELETE FROM notifications WHERE id = $1";
    NOTIFICATION = concat!("SELECT ", notification_columns!(), " FROM notifications WHERE id = $1");
    NOTIFICATIONS_IN = concat!(
        "SELECT ", notification_columns!(), " FROM notifications WHERE scope = $1 AND scope_name = $2 \
         ORDER BY created_at, id"
    );
    NOTIFICATIONS_COVERING = concat!(
        "SELECT ", notification_columns!(), " FROM notifications WHERE (scope = 'registry' AND scope_name = '') \
         OR (scope = 'namespace' AND scope_name = $1) OR (scope = 'repository' AND scope_name = $2) \
         ORDER BY created_at, id"
    );
    LIST_NOTIFICATIONS =
        concat!("SELECT ", notification_columns!(), " FROM notifications WHERE id > $1 ORDER BY id LIMIT $2");
    LIST_NOTIFICATIONS_FROM_START =
        concat!("SELECT ", notification_columns!(), " FROM notifications ORDER BY id LIMIT $1");
    RESET_FAILURES =
        "UPDATE notifications SET failures = 0, \
         state_reason = CASE WHEN state = 'disabled' THEN NULL ELSE state_reason END, \
         state = CASE WHEN state = 'disabled' THEN 'active' ELSE state END WHERE id = $1";
    DISABLE_NOTIFICATION =
        "UPDATE notifications SET state = 'disabled', state_reason = $2, \
         failures = CASE WHEN failures < $3 THEN $3 ELSE failures END WHERE id = $1";
    MOVE_FAILURES =
        "UPDATE notifications SET failures = (CASE WHEN $2 THEN 0 ELSE failures END) + $3 WHERE id = $1";
    BUMP_VERSION = "UPDATE counters SET value = value + 1 WHERE name = 'notifications' RETURNING value";
    VERSION = "SELECT value FROM counters WHERE name = 'notifications'";

    TAKE_OVER_EVENT =
        "UPDATE events SET kind = $3, subject = $4, message = $5, accepted_at = $6, fanned_out = FALSE, body = $7 \
         WHERE id = $1 AND source = $2";
    EVENT =
        "SELECT source, id, kind, subject, accepted_at, fanned_out, body FROM events WHERE id = $1 \
         AND ($2 IS NULL OR source = $2) ORDER BY source";

    DELIVERY = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE id = $1");
    ATTEMPTS =
        "SELECT attempt, started_at, duration_ms, outcome, cause_code, cause_detail, status FROM attempts \
         WHERE delivery_seq = $1 ORDER BY attempt";
    DELIVERIES = deliveries_where!("($3 IS NULL OR state = $3)", "($6 IS NULL OR notification = $6)",
        "($9 IS NULL OR event = $9)");
    DELIVERIES_BY_STATE = deliveries_where!("state = $3", "($6 IS NULL OR notification = $6)",
        "($9 IS NULL OR event = $9)");
    DELIVERIES_BY_NOTIFICATION = deliveries_where!("notification = $6", "($3 IS NULL OR state = $3)",
        "($9 IS NULL OR event = $9)");
    /// A delivery whose event was not known when it was recorded has no `event_seq`.
    DELIVERIES_BY_EVENT = deliveries_where!(
        "(event_seq IN (SELECT e.seq FROM events e WHERE e.id = $9) OR (event_seq IS NULL AND event = $9))",
        "($3 IS NULL OR state = $3)", "($6 IS NULL OR notification = $6)");
    DELIVERY_ENDS =
        "SELECT coalesce((SELECT min(seq) FROM deliveries), 0), coalesce((SELECT max(seq) FROM deliveries), 0)";
    DELIVERY_COUNTS = "SELECT method, state, count(*) FROM deliveries GROUP BY state, method ORDER BY method, state";

    DEAD_LETTERS =
        "SELECT seq, id, origin, reason, detail, delivery, notification, method, subject, attempts, died_at, \
         length(body) AS body_bytes FROM dead_letters WHERE seq < $1 AND seq >= $2 AND ($3 IS NULL OR origin = $3) \
         AND ($4 IS NULL OR reason = $4) AND ($5 IS NULL OR method = $5) AND ($6 IS NULL OR notification = $6) \
         AND ($7 IS NULL OR subject = $7) ORDER BY seq DESC LIMIT $8";
    DEAD_LETTER_ENDS =
        "SELECT coalesce((SELECT min(seq) FROM dead_letters), 0), coalesce((SELECT max(seq) FROM dead_letters), 0)";
    DEAD_LETTER =
        "SELECT id, origin, reason, detail, delivery, notification, method, subject, attempts, died_at, body \
         FROM dead_letters WHERE id = $1";
    DISCARD_DEAD_LETTER = "DELETE FROM dead_letters WHERE id = $1";

    INBOX =
        "SELECT seq, id, delivery, kind, metadata, created_at, dismissed FROM inbox WHERE target_kind = $1 \
         AND target = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4";
    SET_DISMISSED = "UPDATE inbox SET dismissed = $4 WHERE id = $3 AND target_kind = $1 AND target = $2";

    /// The sweeps of retention: the next rows in order, whether each is old, and whether it may go.
    SWEEP_DELIVERIES =
        "SELECT seq, accepted_at < $3 AS old, \
         updated_at < $3 AND state IN ('delivered', 'dead', 'cancelled') AS removable \
         FROM deliveries WHERE seq > $1 ORDER BY seq LIMIT $2";
    SWEEP_EVENTS =
        "SELECT seq, accepted_at < $3 AS old, accepted_at < $3 \
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = events.seq) AS removable \
         FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";
    SWEEP_DEAD_LETTERS =
        "SELECT seq, died_at < $3 AS old, died_at < $3 AS removable FROM dead_letters WHERE seq > $1 \
         ORDER BY seq LIMIT $2";
    SWEEP_INBOX =
        "SELECT seq, created_at < $3 AS old, created_at < $3 AS removable FROM inbox WHERE seq > $1 \
         ORDER BY seq LIMIT $2";
}

many! {
    ADMIT = [8]
        "INSERT INTO events (id, source, kind, subject, message, accepted_at, fanned_out, body)",
        "ON CONFLICT (id, source) DO NOTHING";
    SEEN = [2]
        "SELECT id, source, message, accepted_at, fanned_out FROM events WHERE (id, source) IN (",
        ")";
    FANNED_OUT = [2]
        "UPDATE events SET fanned_out = TRUE WHERE fanned_out = FALSE AND (id, source) IN (",
        ")";
    RECORD_DELIVERIES = [16]
        "WITH given (id, notification, method, source, event, kind, subject, accepted_at, progress, state, attempts, \
         next_due_at, updated_at, cause_code, cause_detail, status) AS (",
        ") INSERT INTO deliveries (event_seq, id, notification, method, source, event, kind, subject, accepted_at, \
         progress, state, attempts, next_due_at, updated_at, cause_code, cause_detail, status) \
         SELECT e.seq, given.id, given.notification, given.method, given.source, given.event, given.kind, \
         given.subject, given.accepted_at, given.progress, given.state, given.attempts, given.next_due_at, \
         given.updated_at, given.cause_code, given.cause_detail, given.status \
         FROM given LEFT JOIN events e ON e.id = given.event AND e.source = given.source WHERE TRUE \
         ON CONFLICT (id) DO UPDATE SET progress = excluded.progress, state = excluded.state, \
         attempts = excluded.attempts, next_due_at = excluded.next_due_at, updated_at = excluded.updated_at, \
         cause_code = excluded.cause_code, cause_detail = excluded.cause_detail, status = excluded.status \
         WHERE (excluded.progress, excluded.updated_at) > (deliveries.progress, deliveries.updated_at)";
    RECORDED_ATTEMPTS = [1]
        "SELECT d.id, a.attempt FROM deliveries d JOIN attempts a ON a.delivery_seq = d.seq WHERE d.id IN (",
        ")";
    /// Each attempt's delivery is there; the outer join keeps the planner from going through all deliveries first.
    RECORD_ATTEMPTS = [8]
        "WITH given (delivery, attempt, started_at, duration_ms, outcome, cause_code, cause_detail, status) AS (",
        ") INSERT INTO attempts (delivery_seq, attempt, started_at, duration_ms, outcome, cause_code, cause_detail, \
         status) SELECT d.seq, given.attempt, given.started_at, given.duration_ms, given.outcome, given.cause_code, \
         given.cause_detail, given.status FROM given LEFT JOIN deliveries d ON d.id = given.delivery WHERE TRUE \
         ON CONFLICT (delivery_seq, attempt) DO NOTHING";
    FAILURES = [1]
        "SELECT id, failures, state FROM notifications WHERE id IN (",
        ")";
    ARCHIVE_DEAD_LETTERS = [11]
        "INSERT INTO dead_letters (id, origin, reason, detail, delivery, notification, method, subject, attempts, \
         died_at, body)",
        "ON CONFLICT (id) DO NOTHING";
    ADD_TO_INBOX = [8]
        "INSERT INTO inbox (id, delivery, target_kind, target, kind, metadata, created_at, dismissed)",
        "ON CONFLICT (id) DO NOTHING";

    REMOVE_DELIVERIES = [1]
        "DELETE FROM deliveries WHERE state IN ('delivered', 'dead', 'cancelled') AND seq IN (",
        ")";
    REMOVE_ATTEMPTS = [1]
        "DELETE FROM attempts WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = attempts.delivery_seq) \
         AND delivery_seq IN (",
        ")";
    REMOVE_EVENTS = [1]
        "DELETE FROM events WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = events.seq) AND seq IN (",
        ")";
    REMOVE_DEAD_LETTERS = [1] "DELETE FROM dead_letters WHERE seq IN (", ")";
    REMOVE_INBOX = [1] "DELETE FROM inbox WHERE seq IN (", ")";
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr, SqlStr};

    use super::*;
    use crate::Store;

    async fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open_sqlite(&directory.path().join("store.db")).await.expect("a store");
        (directory, store)
    }

    fn every_text() -> impl Iterator<Item = (&'static str, SqlStr)> {
        let single = ALL.iter().map(|(name, text)| (*name, text.into_sql_str()));
        let many = ALL_MANY.iter().flat_map(|(name, many)| {
            (0..=LARGEST).map(|exponent| (*name, AssertSqlSafe(many.text(exponent)).into_sql_str()))
        });
        single.chain(many)
    }

    #[tokio::test]
    async fn every_text_prepares() {
        let (_directory, store) = store().await;
        for (name, text) in every_text() {
            if let Err(error) = store.readers().prepare(text).await {
                panic!("{name}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn every_text_is_answered_by_an_index() {
        // They list all, or count all.
        const WHOLE: &[&str] = &["SCAN deliveries USING COVERING INDEX", "SCAN notifications USING INDEX"];
        let given =
            |step: &str| ["given", "CONSTANT ROW", "VALUES CLAUSE"].iter().any(|given| step.contains(given));
        let (_directory, store) = store().await;
        for (name, text) in every_text().filter(|(name, _)| !["BEGIN", "COMMIT", "ROLLBACK"].contains(name)) {
            let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", text.as_str()));
            for step in sqlx::query(plan).fetch_all(store.readers()).await.expect(name) {
                let step: String = step.try_get("detail").expect("a step");
                let whole = WHOLE.iter().any(|whole| step.starts_with(whole));
                assert!(!step.starts_with("SCAN") || given(&step) || whole, "{name}: {step}");
                assert!(!step.contains("AUTOMATIC"), "{name}: {step}");
            }
        }
    }
}
