-- Times are Unix milliseconds. Ids are the 16 bytes of a UUID. `seq` counts rows as they come in, so that new rows
-- are appended to their table and to every index that begins with it: only `deliveries.id` and `events (id, source)`
-- are written at random places.

CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES ('notifications', 0);

CREATE TABLE notifications (
    id BLOB NOT NULL PRIMARY KEY,
    title TEXT,
    scope TEXT NOT NULL,
    scope_name TEXT NOT NULL,
    kinds TEXT NOT NULL,
    event_config TEXT NOT NULL,
    method TEXT NOT NULL,
    config TEXT NOT NULL,
    secret TEXT,
    format TEXT NOT NULL,
    retry TEXT,
    state TEXT NOT NULL,
    state_reason TEXT,
    failures INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX notifications_scope ON notifications (scope, scope_name);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    message BLOB NOT NULL,
    accepted_at INTEGER NOT NULL,
    fanned_out INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_id ON events (id, source);

-- `progress` orders what is known of a delivery: four times the attempt's number, plus 0 for a plan, 1 for a hold,
-- 2 for a failed attempt, 3 for an end.
CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    event_seq INTEGER,
    notification BLOB NOT NULL,
    method TEXT NOT NULL,
    source TEXT NOT NULL,
    event TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    progress INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_due_at INTEGER,
    updated_at INTEGER NOT NULL,
    cause_code TEXT,
    cause_detail TEXT,
    status INTEGER
) STRICT;

CREATE UNIQUE INDEX deliveries_id ON deliveries (id);
CREATE INDEX deliveries_event ON deliveries (event_seq);
CREATE INDEX deliveries_notification ON deliveries (notification);
-- With the method it also answers the counts by itself.
CREATE INDEX deliveries_state ON deliveries (state, seq, method);

CREATE TABLE attempts (
    delivery_seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    cause_code TEXT,
    cause_detail TEXT,
    status INTEGER,
    PRIMARY KEY (delivery_seq, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    origin TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    delivery BLOB,
    notification BLOB,
    method TEXT,
    subject TEXT,
    attempts INTEGER NOT NULL,
    died_at INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX dead_letters_id ON dead_letters (id);

-- `id` is derived from the delivery and the target, which makes their pair unique.
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    delivery BLOB NOT NULL,
    target_kind TEXT NOT NULL,
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    dismissed INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX inbox_id ON inbox (id);
CREATE INDEX inbox_target ON inbox (target_kind, target);
