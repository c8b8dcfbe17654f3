-- Which attempts of deliveries somebody sends by hand, and until when they are nobody else's by this database's clock.
CREATE TABLE sends (
    delivery BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX sends_ends_at ON sends (ends_at);
