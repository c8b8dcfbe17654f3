-- Which attempts of deliveries somebody sends by hand, and until when they are nobody else's by this database's clock.
CREATE TABLE sends (
    delivery UUID NOT NULL,
    attempt BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (delivery, attempt)
);

CREATE INDEX sends_ends_at ON sends (ends_at);
