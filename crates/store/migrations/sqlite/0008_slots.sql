-- Which process may have how many attempts in flight to a receiver, until when by this database's clock. A row without
-- slots is a wish.
CREATE TABLE slots (
    receiver TEXT NOT NULL,
    process BLOB NOT NULL,
    held INTEGER NOT NULL,
    wanted INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (receiver, process)
) STRICT, WITHOUT ROWID;

CREATE INDEX slots_ends_at ON slots (ends_at);

-- When a disabled notification is tried again by itself.
ALTER TABLE notifications ADD COLUMN back_at INTEGER;

CREATE INDEX notifications_back_at ON notifications (back_at) WHERE back_at IS NOT NULL;
