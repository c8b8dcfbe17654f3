-- What the processes of a fleet know together of a receiver that has failed or asked for peace, in this database's time.
-- Each change has a `changed_at` later than all before it, so that who has heard of one asks for what came after.
CREATE TABLE health (
    receiver TEXT NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    open_until INTEGER,
    pause INTEGER NOT NULL,
    peace_until INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX health_changed_at ON health (changed_at);
