-- Whether it was counted that nothing was called back in time. Awaited again, it may be counted again.
ALTER TABLE callbacks ADD COLUMN expired BOOLEAN NOT NULL DEFAULT FALSE;

CREATE INDEX callbacks_unanswered ON callbacks (expires_at) WHERE state IS NULL AND NOT expired;

-- What stands between a notification and its receivers: links of its chains, and what it collects.
CREATE INDEX callbacks_notification ON callbacks (notification, seq);
CREATE INDEX digests_notification ON digests (notification, due_at);
