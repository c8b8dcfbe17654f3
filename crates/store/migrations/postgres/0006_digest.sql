-- What is collected to be told together. A row goes when its digest is on its way as a delivery.

-- Of one notification and subject one digest at most takes more. `leased_until` is when another worker may send it,
-- should the one that took it have died.
CREATE TABLE digests (
    id UUID NOT NULL PRIMARY KEY,
    notification UUID NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    due_at BIGINT NOT NULL,
    open BOOLEAN NOT NULL,
    items BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    leased_until BIGINT NOT NULL
);

CREATE UNIQUE INDEX digests_open ON digests (notification, subject) WHERE open;
CREATE INDEX digests_due ON digests (due_at);

-- `body` is the event's canonical JSON.
CREATE TABLE digest_items (
    delivery UUID NOT NULL PRIMARY KEY,
    digest UUID NOT NULL,
    body BYTEA NOT NULL
);

CREATE INDEX digest_items_digest ON digest_items (digest);

-- Who is told where nobody else looks after something.
CREATE INDEX accounts_superuser ON accounts (name) WHERE superuser;
