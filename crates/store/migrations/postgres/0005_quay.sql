-- Logins by password. `hash` is the SHA-256 of the cookie.
CREATE TABLE sessions (
    hash BYTEA NOT NULL PRIMARY KEY,
    account TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX sessions_account ON sessions (account);
CREATE INDEX sessions_expires_at ON sessions (expires_at);

-- What nobody has put away yet: little beside all that was.
CREATE INDEX inbox_undismissed ON inbox (target_kind, target, seq) WHERE dismissed = FALSE;
