-- Who made a notification (an account's id, which outlives its name), and when a receiver last took one of its
-- deliveries, to within a minute.
ALTER TABLE notifications ADD COLUMN author BLOB;
ALTER TABLE notifications ADD COLUMN succeeded_at INTEGER;

CREATE INDEX notifications_author ON notifications (author, created_at, id);

-- What receivers of Docker Hub's payload may call back, by delivery. `link` counts the URLs of a chain from 0, and
-- `first` is the delivery to the first of them. While `due_at` is not null, the next URL's delivery is to be queued.
CREATE TABLE callbacks (
    seq INTEGER PRIMARY KEY,
    delivery BLOB NOT NULL,
    first BLOB NOT NULL,
    link INTEGER NOT NULL,
    notification BLOB NOT NULL,
    source TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    state TEXT,
    answered_at INTEGER,
    description TEXT,
    context TEXT,
    target_url TEXT,
    due_at INTEGER
) STRICT;

CREATE UNIQUE INDEX callbacks_delivery ON callbacks (delivery);
CREATE INDEX callbacks_due ON callbacks (due_at) WHERE due_at IS NOT NULL;

-- `hash` is the SHA-256 of what stands in the URL. Each attempt has its own.
CREATE TABLE callback_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    callback_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX callback_tokens_callback ON callback_tokens (callback_seq);
