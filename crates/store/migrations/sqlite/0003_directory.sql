-- Who there is in the registry, what they may do, and what they did.

-- Users, organizations and robots: one space of names. A robot's is that of its owner, `+` and its own.
CREATE TABLE accounts (
    name TEXT NOT NULL PRIMARY KEY,
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    email TEXT,
    email_verified INTEGER NOT NULL,
    superuser INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    -- Argon2, in the PHC string format.
    password TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX accounts_id ON accounts (id);

CREATE TABLE teams (
    organization TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (organization, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE team_members (
    organization TEXT NOT NULL,
    team TEXT NOT NULL,
    member TEXT NOT NULL,
    PRIMARY KEY (organization, team, member)
) STRICT, WITHOUT ROWID;

CREATE INDEX team_members_member ON team_members (member);

CREATE TABLE repositories (
    name TEXT NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    public INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX repositories_namespace ON repositories (namespace, name);

-- `grantee` is an account's name, or `organization/team`.
CREATE TABLE permissions (
    repository TEXT NOT NULL,
    grantee TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (repository, grantee)
) STRICT, WITHOUT ROWID;

CREATE INDEX permissions_grantee ON permissions (grantee);

-- Addresses that may be written to about a repository. `code` is the SHA-256 of what was sent to the address.
CREATE TABLE authorized_emails (
    repository TEXT NOT NULL,
    email TEXT NOT NULL,
    code BLOB NOT NULL,
    confirmed INTEGER NOT NULL,
    requested_at INTEGER NOT NULL,
    PRIMARY KEY (repository, email)
) STRICT;

CREATE UNIQUE INDEX authorized_emails_code ON authorized_emails (code);

-- `hash` is the SHA-256 of the token. One without an account acts for the registry itself.
CREATE TABLE tokens (
    id BLOB NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL,
    title TEXT NOT NULL,
    account TEXT,
    scopes TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_account ON tokens (account, id);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    address TEXT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    -- The namespace or repository that it is about; empty for the registry.
    place TEXT NOT NULL,
    details TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX audit_id ON audit (id);
