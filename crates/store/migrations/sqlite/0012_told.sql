-- Which message brought what is collected; of rows from before, nobody knows.
ALTER TABLE digest_items ADD COLUMN message BLOB NOT NULL DEFAULT X'00000000000000000000000000000000';

-- In which digest an event was told, and which message had brought it. Should the fan-out of that message be repeated
-- after that, the event is not told once more; by another message it was taken over since, and is.
CREATE TABLE told (
    delivery BLOB NOT NULL PRIMARY KEY,
    digest BLOB NOT NULL,
    message BLOB NOT NULL,
    source TEXT NOT NULL,
    told_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX told_told_at ON told (told_at);
