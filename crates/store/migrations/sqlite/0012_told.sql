-- In which digest an event was told. Should its fan-out be repeated after that, it is not told once more.
CREATE TABLE told (
    delivery BLOB NOT NULL PRIMARY KEY,
    digest BLOB NOT NULL,
    source TEXT NOT NULL,
    told_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX told_told_at ON told (told_at);
