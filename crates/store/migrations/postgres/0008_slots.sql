-- Which process may have how many attempts in flight to a receiver, until when by this database's clock. A row without
-- slots is a wish.
CREATE TABLE slots (
    receiver TEXT COLLATE "C" NOT NULL,
    process UUID NOT NULL,
    held BIGINT NOT NULL,
    wanted BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (receiver, process)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX slots_ends_at ON slots (ends_at);

-- When a disabled notification is tried again by itself.
ALTER TABLE notifications ADD COLUMN back_at BIGINT;

CREATE INDEX notifications_back_at ON notifications (back_at) WHERE back_at IS NOT NULL;
