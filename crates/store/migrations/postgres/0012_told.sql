-- Which message brought what is collected; of rows from before, nobody knows.
ALTER TABLE digest_items ADD COLUMN message UUID NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';

-- In which digest an event was told, and which message had brought it. Should the fan-out of that message be repeated
-- after that, the event is not told once more; by another message it was taken over since, and is.
CREATE TABLE told (
    delivery UUID NOT NULL PRIMARY KEY,
    digest UUID NOT NULL,
    message UUID NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    told_at BIGINT NOT NULL
);

CREATE INDEX told_told_at ON told (told_at);
