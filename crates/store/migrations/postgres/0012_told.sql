-- In which digest an event was told. Should its fan-out be repeated after that, it is not told once more.
CREATE TABLE told (
    delivery UUID NOT NULL PRIMARY KEY,
    digest UUID NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    told_at BIGINT NOT NULL
);

CREATE INDEX told_told_at ON told (told_at);
