//! Every query text, in the SQL that `SQLite` and PostgreSQL share; the few that only one of them has are named after it.
//!
//! Placeholders of single statements are numbered; PostgreSQL tells the type of one by the place where it stands first.
//! How the rows of a [`Many`] are handed over is each engine's own.

use std::sync::OnceLock;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*

        /// Every single statement that both engines take, for the tests that prepare them.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

macro_rules! many {
    ($($(#[$doc:meta])* $name:ident = [$($column:ident)*] $before:expr, $after:expr $(, postgres: $own:expr)?;)*) => {
        $($(#[$doc])* pub(crate) static $name: Many =
            Many::new(&[$(Column::$column),*], $before, $after, concat!($after, $(" ", $own)?));)*

        /// Every statement over many rows, for the tests that prepare them.
        #[cfg(test)]
        pub(crate) static ALL_MANY: &[(&str, &Many)] = &[$((stringify!($name), &$name),)*];
    };
}

pub(crate) use {many, texts};

/// The type of a column of rows that are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Int,
    Text,
    Uuid,
    Bool,
    Bytes,
}

/// A statement over a list of rows: `before ROWS after`.
pub(crate) struct Many {
    pub(crate) columns: &'static [Column],
    before: &'static str,
    after: &'static str,
    postgres_after: &'static str,
    sqlite: OnceLock<Vec<String>>,
    postgres: OnceLock<String>,
}

/// The most rows in one statement of `SQLite` is `2^LARGEST`. With the 16 values of a delivery that makes 4,096
/// placeholders, of 32,766 that it takes.
pub(crate) const LARGEST: u32 = 8;

impl Many {
    pub(crate) const fn new(
        columns: &'static [Column],
        before: &'static str,
        after: &'static str,
        postgres_after: &'static str,
    ) -> Self {
        Self { columns, before, after, postgres_after, sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    /// The text for `2^exponent` rows, `VALUES (?, ?), (?, ?)`: few sizes, so that each is prepared once. The marks
    /// are bare, because `SQLite` finds a named placeholder by searching through all of them, for each that is bound.
    pub(crate) fn sqlite(&'static self, exponent: u32) -> &'static str {
        let texts = self.sqlite.get_or_init(|| {
            let row = format!("({})", vec!["?"; self.columns.len()].join(","));
            let text = |exponent| {
                let rows = vec![&*row; 1_usize << exponent].join(",");
                format!("{} VALUES {rows} {}", self.before, self.after)
            };
            (0..=LARGEST).map(text).collect()
        });
        &texts[exponent as usize]
    }

    /// The text for any number of rows, an array per column: it is planned once, where thousands of placeholders
    /// would cost more to read and plan than to run.
    pub(crate) fn postgres(&'static self) -> &'static str {
        self.postgres.get_or_init(|| {
            let array = |(place, column): (usize, &Column)| {
                let column = match column {
                    Column::Int => "bigint",
                    Column::Text => "text",
                    Column::Uuid => "uuid",
                    Column::Bool => "boolean",
                    Column::Bytes => "bytea",
                };
                format!("${}::{column}[]", place + 1)
            };
            let arrays = self.columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ");
            format!("{} SELECT * FROM unnest({arrays}) {}", self.before, self.postgres_after)
        })
    }
}

/// Begins a transaction that may write.
pub(crate) const SQLITE_BEGIN: &str = "BEGIN IMMEDIATE";
/// What is deleted is overwritten with zeros: <https://www.sqlite.org/pragma.html#pragma_secure_delete>.
pub(crate) const SQLITE_OVERWRITE: &str = "PRAGMA secure_delete = ON";
pub(crate) const SQLITE_OVERWRITE_NOT: &str = "PRAGMA secure_delete = OFF";
/// Moves the log into the file, as far as readers let it, and empties it.
pub(crate) const SQLITE_EMPTY_LOG: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
/// Whatever the server's default is: every statement sees what was committed before it.
pub(crate) const POSTGRES_BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// Refused by a server that takes no writes, and waits for no other writer of the row.
pub(crate) const POSTGRES_MAY_WRITE: &str =
    "SELECT value FROM counters WHERE name = 'notifications' FOR KEY SHARE";
/// One recorder at a time, until its transaction ends: two with the same deliveries in different order would wait for
/// each other. The numbers are ours alone, "bell" and 1.
pub(crate) const POSTGRES_LOCK_RECORDS: &str = "SELECT pg_advisory_xact_lock(1650814060, 1)";
/// One process at a time is handed slots, until its transaction ends; one that stands still in the middle of it keeps
/// the others waiting for two seconds at most. The numbers are ours alone, "bell" and 2.
pub(crate) const POSTGRES_LOCK_SLOTS: &str = "SELECT pg_advisory_xact_lock(1650814060, 2), \
     set_config('idle_in_transaction_session_timeout', '2000', true)";
/// Nobody removes the account until the transaction ends, nor what else is named.
pub(crate) const POSTGRES_KEEP_ACCOUNT: &str = "SELECT name FROM accounts WHERE name = $1 FOR KEY SHARE";
/// The same.
pub(crate) const POSTGRES_KEEP_TEAM: &str =
    "SELECT name FROM teams WHERE organization = $1 AND name = $2 FOR KEY SHARE";
/// The same.
pub(crate) const POSTGRES_KEEP_REPOSITORY: &str =
    "SELECT name FROM repositories WHERE name = $1 FOR KEY SHARE";
/// Nobody changes the account until the transaction ends.
pub(crate) const POSTGRES_LOCK_ACCOUNT: &str = "SELECT name FROM accounts WHERE name = $1 FOR SHARE";
/// The database's time, in Unix milliseconds.
pub(crate) const POSTGRES_NOW: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
/// The same.
pub(crate) const SQLITE_NOW: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
/// Tells the listeners at the commit.
pub(crate) const POSTGRES_NOTIFY: &str = "SELECT pg_notify('bellbuoy_notifications', '')";
/// What [`POSTGRES_NOTIFY`] tells.
pub(crate) const POSTGRES_CHANNEL: &str = "bellbuoy_notifications";

macro_rules! notification_columns {
    () => {
        "id, title, scope, scope_name, kinds, event_config, method, config, secret, format, retry, state, \
         state_reason, failures, created_at, updated_at, author, succeeded_at"
    };
}

macro_rules! update_notification {
    ($condition:literal) => {
        concat!(
            "UPDATE notifications SET title = $2, scope = $3, scope_name = $4, kinds = $5, event_config = $6, \
             method = $7, config = $8, secret = $9, format = $10, retry = $11, state = $12, state_reason = $13, \
             created_at = $14, updated_at = $15 WHERE id = $1",
            $condition
        )
    };
}

macro_rules! callback_columns {
    () => {
        "delivery, first, link, notification, source, event, subject, expires_at, state, answered_at, description, \
         context, target_url, due_at"
    };
}

macro_rules! delivery_columns {
    () => {
        "seq, id, notification, method, source, event, kind, subject, accepted_at, progress, state, attempts, \
         next_due_at, updated_at, cause_code, cause_detail, status"
    };
}

/// The deliveries of an event. One whose event was not known when it was recorded has no `event_seq`.
macro_rules! of_event {
    ($event:literal) => {
        concat!(
            "seq IN (SELECT d.seq FROM events e JOIN deliveries d ON d.event_seq = e.seq WHERE e.id = ",
            $event,
            " UNION ALL SELECT d.seq FROM deliveries d WHERE d.event_seq IS NULL AND d.event = ",
            $event,
            ")"
        )
    };
}

/// A list of deliveries, driven by one index; `$1` is the cursor and `$2` how far down one call looks.
macro_rules! deliveries_where {
    ($driver:expr $(, $filter:literal)*) => {
        concat!(
            "SELECT ", delivery_columns!(), " FROM deliveries WHERE seq < $1 AND seq >= $2 AND ", $driver,
            $(" AND ", $filter,)*
            " AND (method = $4 OR $4 IS NULL) AND (kind = $5 OR $5 IS NULL) AND (subject = $7 OR $7 IS NULL) \
              AND (source = $8 OR $8 IS NULL) ORDER BY seq DESC LIMIT $10"
        )
    };
}

texts! {
    COMMIT = "COMMIT";
    ROLLBACK = "ROLLBACK";
    PING = "SELECT value FROM counters WHERE name = 'notifications'";

    CREATE_NOTIFICATION = concat!(
        "INSERT INTO notifications (", notification_columns!(), ") \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
         ON CONFLICT (id) DO NOTHING"
    );
    UPDATE_NOTIFICATION = update_notification!("");
    REPLACE_NOTIFICATION = update_notification!(" AND state = $16 AND updated_at = $17");
    DELETE_NOTIFICATION = "DELETE FROM notifications WHERE id = $1";
    NOTIFICATION = concat!("SELECT ", notification_columns!(), " FROM notifications WHERE id = $1");
    NOTIFICATIONS_IN = concat!(
        "SELECT ", notification_columns!(), " FROM notifications WHERE scope = $1 AND scope_name = $2 \
         ORDER BY created_at, id"
    );
    COUNT_NOTIFICATIONS_IN = "SELECT count(*) FROM notifications WHERE scope = $1 AND scope_name = $2";
    NOTIFICATIONS_COVERING = concat!(
        "SELECT ", notification_columns!(), " FROM notifications WHERE (scope = 'registry' AND scope_name = '') \
         OR (scope = 'namespace' AND scope_name = $1) OR (scope = 'repository' AND scope_name = $2) \
         ORDER BY created_at, id"
    );
    NOTIFICATIONS_BY = concat!(
        "SELECT ", notification_columns!(), " FROM notifications WHERE author = $1 ORDER BY created_at, id LIMIT $2"
    );
    LIST_NOTIFICATIONS =
        concat!("SELECT ", notification_columns!(), " FROM notifications WHERE id > $1 ORDER BY id LIMIT $2");
    LIST_NOTIFICATIONS_FROM_START =
        concat!("SELECT ", notification_columns!(), " FROM notifications ORDER BY id LIMIT $1");
    RESET_FAILURES =
        "UPDATE notifications SET failures = 0, back_at = CASE WHEN state = 'disabled' THEN $2 ELSE back_at END, \
         state = CASE WHEN state = 'disabled' THEN 'probation' ELSE state END WHERE id = $1";
    DISABLE_NOTIFICATION =
        "UPDATE notifications SET state = 'disabled', state_reason = $2, back_at = $4, \
         failures = CASE WHEN failures < $3 THEN $3 ELSE failures END WHERE id = $1 AND state <> 'disabled' \
         AND ((state = 'probation' AND (back_at IS NULL OR back_at <= $5)) OR $5 IS NULL)";
    END_PAUSES =
        "UPDATE notifications SET state = 'probation', failures = 0 \
         WHERE back_at <= $1 AND state = 'disabled'";
    END_PROBATION =
        "UPDATE notifications SET state = 'active', state_reason = NULL, failures = 0, back_at = NULL \
         WHERE id = $1 AND state = 'probation' AND (back_at IS NULL OR back_at <= $2)";
    MOVE_FAILURES =
        "UPDATE notifications SET failures = (CASE WHEN $2 THEN 0 ELSE failures END) + $3 WHERE id = $1";
    SEALED_HEADS =
        "SELECT id, substr(config, 1, 18) FROM notifications WHERE id > $1 ORDER BY id LIMIT $2";
    SEALED_HEADS_FROM_START = "SELECT id, substr(config, 1, 18) FROM notifications ORDER BY id LIMIT $1";
    STORED_SECRETS = "SELECT id, config, secret, updated_at FROM notifications WHERE id > $1 ORDER BY id LIMIT $2";
    STORED_SECRETS_FROM_START = "SELECT id, config, secret, updated_at FROM notifications ORDER BY id LIMIT $1";
    SEAL_ANEW =
        "UPDATE notifications SET config = $2, secret = $3 WHERE id = $1 AND config = $4 AND updated_at = $5";
    NOTE_SUCCESS = "UPDATE notifications SET succeeded_at = $2 WHERE id = $1";
    BUMP_VERSION = "UPDATE counters SET value = value + 1 WHERE name = 'notifications' RETURNING value";
    VERSION = "SELECT value FROM counters WHERE name = 'notifications'";

    TAKE_OVER_EVENT =
        "UPDATE events SET kind = $3, subject = $4, message = $5, accepted_at = $6, fanned_out = FALSE, body = $7 \
         WHERE id = $1 AND source = $2";
    EVENT =
        "SELECT source, id, kind, subject, message, accepted_at, fanned_out, body FROM events WHERE id = $1 \
         AND (source = $2 OR $2 IS NULL) ORDER BY source LIMIT $3";
    EVENTS =
        "SELECT seq, source, id, kind, subject, message, accepted_at, fanned_out, body FROM events WHERE seq < $1 \
         ORDER BY seq DESC LIMIT $2";

    /// The caller looks closer at what the events are about.
    RECENT_EVENTS =
        "SELECT source, id, kind, subject, message, accepted_at, fanned_out, body FROM events WHERE seq > $1 \
         AND (subject = $2 OR (subject > $3 AND subject < $4) OR $2 IS NULL) ORDER BY seq DESC LIMIT $5";
    LAST_EVENT = "SELECT coalesce((SELECT max(seq) FROM events), 0)";

    DELIVERY = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE id = $1");
    ATTEMPTS =
        "SELECT attempt, started_at, duration_ms, outcome, cause_code, cause_detail, status FROM attempts \
         WHERE delivery_seq = $1 ORDER BY attempt";
    DELIVERIES = deliveries_where!("(state = $3 OR $3 IS NULL)", "(notification = $6 OR $6 IS NULL)",
        "(event = $9 OR $9 IS NULL)");
    DELIVERIES_BY_STATE = deliveries_where!("state = $3", "(notification = $6 OR $6 IS NULL)",
        "(event = $9 OR $9 IS NULL)");
    DELIVERIES_BY_NOTIFICATION = deliveries_where!("notification = $6", "(state = $3 OR $3 IS NULL)",
        "(event = $9 OR $9 IS NULL)");
    DELIVERIES_BY_EVENT = deliveries_where!(of_event!("$9"), "(state = $3 OR $3 IS NULL)",
        "(notification = $6 OR $6 IS NULL)");
    /// Where a stretch of each of these ends: the first row after so many.
    END_BY_STATE = "SELECT seq FROM deliveries WHERE state = $1 AND seq < $2 ORDER BY seq DESC LIMIT 1 OFFSET $3";
    END_BY_NOTIFICATION =
        "SELECT seq FROM deliveries WHERE notification = $1 AND seq < $2 ORDER BY seq DESC LIMIT 1 OFFSET $3";
    END_BY_EVENT = concat!(
        "SELECT seq FROM deliveries WHERE ", of_event!("$1"), " AND seq < $2 ORDER BY seq DESC LIMIT 1 OFFSET $3"
    );
    DELIVERY_ENDS =
        "SELECT coalesce((SELECT min(seq) FROM deliveries), 0), coalesce((SELECT max(seq) FROM deliveries), 0)";
    DELIVERY_COUNTS = "SELECT method, state, count(*) FROM deliveries GROUP BY state, method ORDER BY method, state";

    DEAD_LETTERS =
        "SELECT seq, id, origin, reason, detail, delivery, notification, method, subject, attempts, died_at, \
         CAST(length(body) AS BIGINT) AS body_bytes FROM dead_letters WHERE seq < $1 AND seq >= $2 AND (origin = $3 OR $3 IS NULL) \
         AND (reason = $4 OR $4 IS NULL) AND (method = $5 OR $5 IS NULL) AND (notification = $6 OR $6 IS NULL) \
         AND (subject = $7 OR $7 IS NULL) ORDER BY seq DESC LIMIT $8";
    DEAD_LETTER_ENDS =
        "SELECT coalesce((SELECT min(seq) FROM dead_letters), 0), coalesce((SELECT max(seq) FROM dead_letters), 0)";
    DEAD_LETTER =
        "SELECT id, origin, reason, detail, delivery, notification, method, subject, attempts, died_at, body \
         FROM dead_letters WHERE id = $1";
    DISCARD_DEAD_LETTER = "DELETE FROM dead_letters WHERE id = $1";

    AWAIT_CALLBACK =
        "INSERT INTO callbacks (delivery, first, link, notification, source, event, subject, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (delivery) DO UPDATE \
         SET expires_at = excluded.expires_at, expired = FALSE RETURNING seq";
    ADD_CALLBACK_TOKEN =
        "INSERT INTO callback_tokens (hash, callback_seq) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
    CALLBACK_BY_TOKEN = concat!(
        "SELECT ", callback_columns!(), " FROM callbacks \
         WHERE seq = (SELECT t.callback_seq FROM callback_tokens t WHERE t.hash = $1)"
    );
    CALLBACK = concat!("SELECT ", callback_columns!(), " FROM callbacks WHERE delivery = $1");
    CALLBACKS_OF = concat!(
        "SELECT ", callback_columns!(), " FROM callbacks WHERE notification = $1 ORDER BY seq DESC LIMIT $2"
    );
    UNANSWERED_CALLBACKS =
        "SELECT seq FROM callbacks WHERE state IS NULL AND NOT expired AND expires_at <= $1 ORDER BY expires_at LIMIT $2";
    CALL_BACK =
        "UPDATE callbacks SET state = $2, answered_at = $3, description = $4, context = $5, target_url = $6, \
         due_at = $7 WHERE delivery = $1 AND state IS NULL";
    DUE_LINKS = concat!(
        "SELECT ", callback_columns!(), " FROM callbacks WHERE due_at <= $1 ORDER BY due_at LIMIT $2"
    );
    TAKE_LINK = "UPDATE callbacks SET due_at = $3 WHERE delivery = $1 AND due_at = $2";
    LINK_QUEUED = "UPDATE callbacks SET due_at = NULL WHERE delivery = $1";

    INBOX =
        "SELECT seq, id, delivery, kind, metadata, created_at, dismissed FROM inbox WHERE target_kind = $1 \
         AND target = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4";
    INBOX_UNDISMISSED =
        "SELECT seq FROM inbox WHERE target_kind = $1 AND target = $2 AND dismissed = FALSE \
         ORDER BY seq DESC LIMIT $3";
    INBOX_ITEM =
        "SELECT seq, id, delivery, kind, metadata, created_at, dismissed, target_kind, target FROM inbox \
         WHERE id = $1";
    SET_DISMISSED = "UPDATE inbox SET dismissed = $4 WHERE id = $3 AND target_kind = $1 AND target = $2";

    /// The open digest of a notification and a subject, which is made if there is none; and no other process's until
    /// the transaction ends.
    OPEN_DIGEST =
        "INSERT INTO digests (id, notification, subject, method, source, due_at, open, items, bytes, leased_until) \
         VALUES ($1, $2, $3, $4, $5, $6, TRUE, 0, 0, 0) ON CONFLICT (notification, subject) WHERE open \
         DO UPDATE SET items = digests.items RETURNING id, source, items, bytes";
    FILL_DIGEST = "UPDATE digests SET items = $2, bytes = $3, open = $4 WHERE id = $1";
    DUE_DIGESTS =
        "SELECT id FROM digests WHERE due_at <= $1 AND leased_until <= $1 ORDER BY due_at LIMIT $2";
    TAKE_DIGEST =
        "UPDATE digests SET open = FALSE, leased_until = $2 WHERE id = $1 AND leased_until <= $3 \
         RETURNING notification, subject, method, source, due_at";
    DIGESTS_FOR = "SELECT subject, items, due_at FROM digests WHERE notification = $1 ORDER BY due_at LIMIT $2";
    DIGEST_ITEMS = "SELECT body FROM digest_items WHERE digest = $1 ORDER BY delivery";
    KEEP_TOLD =
        "INSERT INTO told (delivery, digest, message, source, told_at) \
         SELECT i.delivery, d.id, i.message, d.source, CAST($2 AS BIGINT) FROM digest_items i \
         JOIN digests d ON d.id = i.digest WHERE i.digest = $1 ON CONFLICT (delivery) DO UPDATE \
         SET digest = excluded.digest, message = excluded.message, source = excluded.source, \
         told_at = excluded.told_at";
    FORGET_DIGEST = "DELETE FROM digests WHERE id = $1";
    FORGET_DIGEST_ITEMS = "DELETE FROM digest_items WHERE digest = $1";
    FORGET_TOLD =
        "DELETE FROM told WHERE delivery IN (SELECT t.delivery FROM told t WHERE t.told_at < $1 \
         ORDER BY t.told_at LIMIT $2)";

    FORGET_SENDS = "DELETE FROM sends WHERE ends_at <= $1 OR ends_at > $2";

    FORGET_SLOTS = "DELETE FROM slots WHERE ends_at <= $1";
    FORGET_SLOTS_ENDING_LATER = "DELETE FROM slots WHERE ends_at > $1";

    HEALTH_SINCE =
        "SELECT receiver, failures, open_until, pause, peace_until, changed_at FROM health WHERE changed_at > $1";
    LAST_HEALTH = "SELECT coalesce(max(changed_at), 0) FROM health";
    FORGET_HEALTH = "DELETE FROM health WHERE changed_at <= $1";

    /// The sweeps of retention: the next rows in order, whether each is out of the order of times (older than what is
    /// kept, or later than now), and whether it may go.
    SWEEP_DELIVERIES =
        "SELECT seq, (accepted_at < $3 OR accepted_at > $4) AS astray, \
         updated_at < $3 AND state IN ('delivered', 'dead', 'cancelled') AS removable \
         FROM deliveries WHERE seq > $1 ORDER BY seq LIMIT $2";
    SWEEP_EVENTS =
        "SELECT seq, (accepted_at < $3 OR accepted_at > $4) AS astray, accepted_at < $3 \
         AND (SELECT min(d.seq) FROM deliveries d WHERE d.event_seq = events.seq) IS NULL AS removable \
         FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";
    SWEEP_DEAD_LETTERS =
        "SELECT seq, (died_at < $3 OR died_at > $4) AS astray, died_at < $3 AS removable FROM dead_letters WHERE seq > $1 \
         ORDER BY seq LIMIT $2";
    /// The end of one that is awaited lies ahead; astray is what ends later than history is kept.
    SWEEP_CALLBACKS =
        "SELECT seq, (expires_at < $3 OR expires_at > $4 + ($4 - $3)) AS astray, expires_at < $3 AND due_at IS NULL AS removable FROM callbacks \
         WHERE seq > $1 ORDER BY seq LIMIT $2";
    SWEEP_INBOX =
        "SELECT seq, (created_at < $3 OR created_at > $4) AS astray, created_at < $3 AS removable FROM inbox WHERE seq > $1 \
         ORDER BY seq LIMIT $2";
}

many! {
    ADMIT = [Text Text Text Text Uuid Int Bool Bytes]
        "INSERT INTO events (id, source, kind, subject, message, accepted_at, fanned_out, body)",
        "ON CONFLICT (id, source) DO NOTHING";
    /// Two admitters could otherwise both take over the same old event.
    SEEN = [Text Text]
        "SELECT id, source, message, accepted_at, fanned_out FROM events WHERE (id, source) IN (",
        ")", postgres: "ORDER BY id, source FOR UPDATE";
    FANNED_OUT = [Text Text]
        "UPDATE events SET fanned_out = TRUE WHERE fanned_out = FALSE AND (id, source) IN (",
        ")";
    RECORD_DELIVERIES = [Uuid Uuid Text Text Text Text Text Int Int Text Int Int Int Text Text Int]
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
    KNOWN_DELIVERIES = [Uuid] "SELECT id FROM deliveries WHERE id IN (", ")";
    RECORDED_ATTEMPTS = [Uuid]
        "SELECT d.id, a.attempt FROM deliveries d JOIN attempts a ON a.delivery_seq = d.seq WHERE d.id IN (",
        ")";
    /// Each attempt's delivery is there; the outer join keeps the planner from going through all deliveries first.
    RECORD_ATTEMPTS = [Uuid Int Int Int Text Text Text Int]
        "WITH given (delivery, attempt, started_at, duration_ms, outcome, cause_code, cause_detail, status) AS (",
        ") INSERT INTO attempts (delivery_seq, attempt, started_at, duration_ms, outcome, cause_code, cause_detail, \
         status) SELECT d.seq, given.attempt, given.started_at, given.duration_ms, given.outcome, given.cause_code, \
         given.cause_detail, given.status FROM given LEFT JOIN deliveries d ON d.id = given.delivery WHERE TRUE \
         ON CONFLICT (delivery_seq, attempt) DO NOTHING";
    FAILURES = [Uuid]
        "SELECT id, failures, state, succeeded_at FROM notifications WHERE id IN (",
        ")";
    ARCHIVE_DEAD_LETTERS = [Uuid Text Text Text Uuid Uuid Text Text Int Int Bytes]
        "INSERT INTO dead_letters (id, origin, reason, detail, delivery, notification, method, subject, attempts, \
         died_at, body)",
        "ON CONFLICT (id) DO NOTHING";
    ADD_TO_INBOX = [Uuid Uuid Text Text Text Text Int Bool]
        "INSERT INTO inbox (id, delivery, target_kind, target, kind, metadata, created_at, dismissed)",
        "ON CONFLICT (id) DO NOTHING";
    INBOX_ITEMS = [Int]
        "SELECT seq, id, delivery, kind, metadata, created_at, dismissed, target_kind, target FROM inbox \
         WHERE seq IN (",
        ")";

    DIGESTS_OF = [Uuid]
        "SELECT i.delivery, d.id, d.source FROM digest_items i JOIN digests d ON d.id = i.digest WHERE i.delivery IN (",
        ")";
    TOLD = [Uuid Uuid]
        "SELECT delivery, digest, source FROM told WHERE (delivery, message) IN (",
        ")";
    ADD_DIGEST_ITEMS = [Uuid Uuid Uuid Bytes]
        "INSERT INTO digest_items (delivery, digest, message, body)",
        "ON CONFLICT (delivery) DO NOTHING";

    TAKE_SENDS = [Uuid Int Int]
        "INSERT INTO sends (delivery, attempt, ends_at)",
        "ON CONFLICT (delivery, attempt) DO NOTHING RETURNING delivery";
    FREE_SENDS = [Uuid Int] "DELETE FROM sends WHERE (delivery, attempt) IN (", ")";

    SLOTS = [Text] "SELECT receiver, process, held, wanted FROM slots WHERE receiver IN (", ")";
    LEASE_SLOTS = [Text Uuid Int Int Int]
        "INSERT INTO slots (receiver, process, held, wanted, ends_at)",
        "ON CONFLICT (receiver, process) DO UPDATE SET held = excluded.held, wanted = excluded.wanted, \
         ends_at = excluded.ends_at";
    RETURN_SLOTS = [Text Uuid] "DELETE FROM slots WHERE (receiver, process) IN (", ")";

    HEALTH = [Text]
        "SELECT receiver, failures, open_until, pause, peace_until, changed_at FROM health WHERE receiver IN (",
        ")";
    KEEP_HEALTH = [Text Int Int Int Int Int]
        "INSERT INTO health (receiver, failures, open_until, pause, peace_until, changed_at)",
        "ON CONFLICT (receiver) DO UPDATE SET failures = excluded.failures, open_until = excluded.open_until, \
         pause = excluded.pause, peace_until = excluded.peace_until, changed_at = excluded.changed_at";

    REMOVE_DELIVERIES = [Int]
        "DELETE FROM deliveries WHERE state IN ('delivered', 'dead', 'cancelled') AND seq IN (",
        ")";
    REMOVE_ATTEMPTS = [Int]
        "DELETE FROM attempts WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = attempts.delivery_seq) \
         AND delivery_seq IN (",
        ")";
    REMOVE_EVENTS = [Int]
        "DELETE FROM events WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = events.seq) AND seq IN (",
        ")";
    REMOVE_DEAD_LETTERS = [Int] "DELETE FROM dead_letters WHERE seq IN (", ")";
    EXPIRE_CALLBACKS = [Int]
        "UPDATE callbacks SET expired = TRUE WHERE state IS NULL AND NOT expired AND seq IN (",
        ")";
    REMOVE_CALLBACKS = [Int] "DELETE FROM callbacks WHERE due_at IS NULL AND seq IN (", ")";
    REMOVE_CALLBACK_TOKENS = [Int]
        "DELETE FROM callback_tokens WHERE NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.seq = callback_tokens.callback_seq) \
         AND callback_seq IN (",
        ")";
    REMOVE_INBOX = [Int] "DELETE FROM inbox WHERE seq IN (", ")";
}

#[cfg(test)]
mod tests {
    use bellbuoy_testkit::postgres::Postgres;
    use sqlx::{
        AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection,
        postgres::PgConnectOptions,
    };

    use super::*;
    use crate::{
        Store,
        open_postgres::{READERS_SETTINGS, SETTINGS},
        sql_directory,
        tables::{TABLES, Table},
    };

    const SQLITE_OWN: &[(&str, &str)] = &[("SQLITE_BEGIN", SQLITE_BEGIN), ("SQLITE_NOW", SQLITE_NOW)];
    const POSTGRES_OWN: &[(&str, &str)] = &[
        ("POSTGRES_BEGIN", POSTGRES_BEGIN),
        ("POSTGRES_MAY_WRITE", POSTGRES_MAY_WRITE),
        ("POSTGRES_LOCK_RECORDS", POSTGRES_LOCK_RECORDS),
        ("POSTGRES_LOCK_SLOTS", POSTGRES_LOCK_SLOTS),
        ("POSTGRES_KEEP_ACCOUNT", POSTGRES_KEEP_ACCOUNT),
        ("POSTGRES_KEEP_TEAM", POSTGRES_KEEP_TEAM),
        ("POSTGRES_KEEP_REPOSITORY", POSTGRES_KEEP_REPOSITORY),
        ("POSTGRES_LOCK_ACCOUNT", POSTGRES_LOCK_ACCOUNT),
        ("POSTGRES_NOW", POSTGRES_NOW),
        ("POSTGRES_NOTIFY", POSTGRES_NOTIFY),
    ];
    /// They have no plan.
    const CONTROL: &[&str] = &["SQLITE_BEGIN", "POSTGRES_BEGIN", "COMMIT", "ROLLBACK"];

    fn sqlite_texts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let many = ALL_MANY
            .iter()
            .chain(sql_directory::ALL_MANY)
            .flat_map(|(name, many)| (0..=LARGEST).map(move |exponent| (*name, many.sqlite(exponent))));
        let found = |table: &'static Table| {
            (0..=LARGEST).flat_map(|exponent| [table.find, table.add].map(|many| many.sqlite(exponent)))
        };
        let copies = TABLES.iter().flat_map(move |table| found(table).map(|text| (table.name, text)));
        ALL.iter()
            .chain(sql_directory::ALL)
            .chain(SQLITE_OWN)
            .copied()
            .chain(many)
            .chain(copies)
            .chain(pages())
    }

    fn postgres_texts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let many =
            ALL_MANY.iter().chain(sql_directory::ALL_MANY).map(|(name, many)| (*name, many.postgres()));
        let found = |table: &'static Table| [table.find, table.add].map(|many| (table.name, many.postgres()));
        ALL.iter()
            .chain(sql_directory::ALL)
            .chain(POSTGRES_OWN)
            .copied()
            .chain(many)
            .chain(TABLES.iter().flat_map(found))
            .chain(pages())
    }

    /// How a copy reads a table, once it has begun.
    fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
        TABLES.iter().flat_map(|table| [(table.name, table.sizes[1]), (table.name, table.page[1])])
    }

    async fn sqlite() -> (tempfile::TempDir, SqliteConnection) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        Store::open_sqlite(&path).await.expect("a store").close().await;
        let connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await;
        (directory, connection.expect("a connection"))
    }

    async fn postgres() -> (Postgres, PgConnection) {
        let server = Postgres::start().await;
        let url = server.database().await;
        Store::open(&url).await.expect("a store").close().await;
        let options = url.parse::<PgConnectOptions>().expect("a URL").options(SETTINGS.iter().copied());
        let connection = PgConnection::connect_with(&options).await.expect("a connection");
        (server, connection)
    }

    #[tokio::test]
    async fn every_text_prepares_on_sqlite() {
        let (_directory, mut connection) = sqlite().await;
        for (name, text) in sqlite_texts() {
            if let Err(error) = connection.prepare(AssertSqlSafe(text).into_sql_str()).await {
                panic!("{name}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn every_text_prepares_on_postgresql() {
        let (_server, mut connection) = postgres().await;
        for (name, text) in postgres_texts() {
            if let Err(error) = connection.prepare(AssertSqlSafe(text).into_sql_str()).await {
                panic!("{name}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn every_text_is_answered_by_an_index_of_sqlite() {
        // They list all, or count all.
        const WHOLE: &[&str] = &["SCAN deliveries USING COVERING INDEX", "SCAN notifications USING INDEX"];
        let given =
            |step: &str| ["given", "CONSTANT ROW", "VALUES CLAUSE"].iter().any(|given| step.contains(given));
        let (_directory, mut connection) = sqlite().await;
        for (name, text) in sqlite_texts().filter(|(name, _)| !CONTROL.contains(name)) {
            let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
            let steps: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(plan).fetch_all(&mut connection).await.expect(name);
            for (.., step) in steps {
                let whole = WHOLE.iter().any(|whole| step.starts_with(whole));
                assert!(!step.starts_with("SCAN") || given(&step) || whole, "{name}: {step}");
                assert!(!step.contains("AUTOMATIC"), "{name}: {step}");
            }
        }
    }

    /// So many rows that reading all of a table costs more than any search in it. One delivery in a hundred is not
    /// delivered, and one in a thousand belongs to the same notification.
    const FILL: &str = "
        INSERT INTO notifications SELECT gen_random_uuid(), NULL, 'repository', 'acme/' || i, '[]', '{}', 'webhook',
            '{}', NULL, 'quay', NULL, 'active', NULL, 0, 0, 0 FROM generate_series(1, 5000) i;
        INSERT INTO events (id, source, kind, subject, message, accepted_at, fanned_out, body)
            SELECT i::text, 'registry', 'repo_push', 'acme/api', gen_random_uuid(), i, true, '{}'
            FROM generate_series(1, 50000) i;
        INSERT INTO deliveries (id, event_seq, notification, method, source, event, kind, subject, accepted_at,
            progress, state, attempts, updated_at)
            SELECT gen_random_uuid(), e.seq, ('00000000-0000-0000-0000-' || lpad((e.seq % 1000)::text, 12, '0'))::uuid,
                'webhook', e.source, e.id, e.kind, e.subject, e.accepted_at, 7,
                CASE WHEN e.seq % 100 = 0 THEN 'waiting' ELSE 'delivered' END, 1, e.seq FROM events e;
        INSERT INTO attempts SELECT seq, 1, 0, 0, 'delivered' FROM deliveries;
        INSERT INTO dead_letters (id, origin, reason, detail, attempts, died_at, body)
            SELECT gen_random_uuid(), 'events', 'undecodable', '', 0, i, '{}' FROM generate_series(1, 50000) i;
        INSERT INTO inbox (id, delivery, target_kind, target, kind, metadata, created_at, dismissed)
            SELECT gen_random_uuid(), gen_random_uuid(), 'user', (i % 1000)::text, 'repo_push', '{}', i, false
            FROM generate_series(1, 50000) i;
        INSERT INTO slots SELECT 'host:' || i, gen_random_uuid(), 1, 1, i FROM generate_series(1, 50000) i;
        INSERT INTO health SELECT 'host:' || i, 1, NULL, 0, 0, i FROM generate_series(1, 50000) i;
        INSERT INTO callbacks (delivery, first, link, notification, source, event, subject, expires_at)
            SELECT gen_random_uuid(), gen_random_uuid(), 0, gen_random_uuid(), 'registry', i::text, 'acme/api', i
            FROM generate_series(1, 50000) i;
        INSERT INTO callback_tokens SELECT i::text::bytea, i FROM generate_series(1, 50000) i;
        INSERT INTO accounts SELECT 'user-' || i, gen_random_uuid(), 'user', NULL, false, false, true, NULL, 0
            FROM generate_series(1, 50000) i;
        INSERT INTO teams SELECT 'org-' || i / 10, 'team-' || i % 10, 'member' FROM generate_series(1, 5000) i;
        INSERT INTO team_members SELECT 'org-' || i / 100, 'team-' || i % 10, 'user-' || i
            FROM generate_series(1, 50000) i;
        INSERT INTO repositories SELECT 'org-' || i / 10 || '/' || i, 'org-' || i / 10, false, 0
            FROM generate_series(1, 50000) i;
        INSERT INTO permissions SELECT 'org-' || i / 10 || '/' || i, 'user-' || i, 'read'
            FROM generate_series(1, 50000) i;
        INSERT INTO authorized_emails SELECT 'org-' || i / 10 || '/' || i, 'a@b', i::text::bytea, false, 0
            FROM generate_series(1, 50000) i;
        INSERT INTO tokens SELECT gen_random_uuid(), i::text::bytea, '', 'user-' || i, '', '', 0, NULL, NULL
            FROM generate_series(1, 50000) i;
        INSERT INTO sessions SELECT i::text::bytea, 'user-' || i, 0, i FROM generate_series(1, 50000) i;
        INSERT INTO audit (id, at, actor, address, action, target, place, details)
            SELECT gen_random_uuid(), i, 'user-' || i, NULL, 'notification.create', i::text, '', '{}'
            FROM generate_series(1, 50000) i;
        INSERT INTO digests SELECT gen_random_uuid(), gen_random_uuid(), 'acme/api', 'webhook', 'registry', i, true,
            1, 2, 0 FROM generate_series(1, 5000) i;
        INSERT INTO digest_items SELECT gen_random_uuid(), id, '{}', gen_random_uuid() FROM digests;
        INSERT INTO told SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'registry', i FROM generate_series(1, 50000) i;
    ";

    /// What PostgreSQL would do, for any values.
    async fn generic_plan(connection: &mut PgConnection, text: &str) -> Vec<String> {
        connection.execute(AssertSqlSafe(format!("PREPARE one AS {text}"))).await.expect("prepared");
        let count: i32 = sqlx::query_scalar(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'one'",
        )
        .fetch_one(&mut *connection)
        .await
        .expect("counted");
        let nulls = (0..count).map(|_| "NULL").collect::<Vec<_>>().join(", ");
        let values = if nulls.is_empty() { nulls } else { format!("({nulls})") };
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE one {values}"));
        let plan = sqlx::query_scalar(explain).fetch_all(&mut *connection).await.expect("explained");
        connection.execute("DEALLOCATE one").await.expect("forgotten");
        plan
    }

    async fn check_plans(connection: &mut PgConnection) {
        for (name, text) in postgres_texts().filter(|(name, _)| !CONTROL.contains(name)) {
            let plan = generic_plan(connection, text).await;
            for step in &plan {
                let bad = ["Seq Scan", "Hash Join", "Merge Join", "Hash Left Join", "Hash Anti Join"];
                assert!(!bad.iter().any(|bad| step.contains(bad)), "{name}:\n{}", plan.join("\n"));
            }
        }
    }

    #[tokio::test]
    async fn every_text_is_answered_by_an_index_of_postgresql_however_large_the_tables_are() {
        let (_server, mut connection) = postgres().await;
        connection.execute("SET plan_cache_mode = force_generic_plan").await.expect("set");
        check_plans(&mut connection).await;
        for statement in [FILL, "VACUUM ANALYZE"] {
            connection.execute(statement).await.expect(statement);
        }
        check_plans(&mut connection).await;
        for (name, value) in READERS_SETTINGS {
            connection.execute(AssertSqlSafe(format!("SET {name} = {value}"))).await.expect(name);
        }
        let some = "'00000000-0000-0000-0000-000000000007'";
        let everything =
            ["9000000000000000000", "0", "NULL", "NULL", "NULL", "NULL::uuid", "NULL", "NULL", "NULL", "51"];
        let mut waiting = everything;
        waiting[2] = "'waiting'";
        let mut of_one = everything;
        of_one[5] = some;
        for (text, values, index) in [
            (DELIVERIES_BY_STATE, waiting, "deliveries_state"),
            (DELIVERIES_BY_NOTIFICATION, of_one, "deliveries_notification"),
            (DELIVERIES, everything, "deliveries_pkey"),
        ] {
            // From the last, for $1 begins $10 too.
            let places = values.iter().enumerate().rev();
            let text =
                places.fold(text.to_owned(), |text, (i, value)| text.replace(&format!("${}", i + 1), value));
            let explain = AssertSqlSafe(format!("EXPLAIN {text}"));
            let plan: Vec<String> =
                sqlx::query_scalar(explain).fetch_all(&mut connection).await.expect("explained");
            assert!(plan.iter().any(|step| step.contains(index)), "{}", plan.join("\n"));
        }
    }
}
