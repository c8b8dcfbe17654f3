-- What is collected to be told together. A row goes when its digest is on its way as a delivery.

-- Of one notification and subject one digest at most takes more. `leased_until` is when another worker may send it,
-- should the one that took it have died.
CREATE TABLE digests (
    id BLOB NOT NULL PRIMARY KEY,
    notification BLOB NOT NULL,
    subject TEXT NOT NULL,
    method TEXT NOT NULL,
    source TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    open INTEGER NOT NULL,
    items INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    leased_until INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX digests_open ON digests (notification, subject) WHERE open;
CREATE INDEX digests_due ON digests (due_at);

-- `body` is the event's canonical JSON.
CREATE TABLE digest_items (
    delivery BLOB NOT NULL PRIMARY KEY,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX digest_items_digest ON digest_items (digest);

-- Who is told where nobody else looks after something.
CREATE INDEX accounts_superuser ON accounts (name) WHERE superuser;
