-- What the processes of a fleet know together of a receiver that has failed or asked for peace, in this database's time.
-- Each change has a `changed_at` later than all before it, so that who has heard of one asks for what came after.
CREATE TABLE health (
    receiver TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    open_until BIGINT,
    pause BIGINT NOT NULL,
    peace_until BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX health_changed_at ON health (changed_at);
