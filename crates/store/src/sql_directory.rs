//! The query texts of the directory: accounts, teams, repositories, permissions, authorized addresses.
//!
//! What belongs to a namespace is found by its names: robots lie from `NAME+` to `NAME,`, repositories and teams from
//! `NAME/` to `NAME0`, which are the next characters.

use crate::sql::{Column, Many, many, texts};

macro_rules! account_columns {
    () => {
        "name, id, kind, email, email_verified, superuser, enabled, created_at"
    };
}

macro_rules! token_columns {
    () => {
        "id, title, account, scopes, created_by, created_at, expires_at, last_used_at"
    };
}

/// The members of some teams of an organization.
macro_rules! members_where {
    ($condition:literal) => {
        concat!(
            "SELECT ", account_columns!(), " FROM accounts a WHERE a.name IN (SELECT m.member FROM team_members m \
             JOIN teams t ON t.organization = m.organization AND t.name = m.team WHERE m.organization = $1 AND ",
            $condition, ") ORDER BY a.name"
        )
    };
}

texts! {
    ACCOUNT = concat!("SELECT ", account_columns!(), " FROM accounts WHERE name = $1");
    ACCOUNT_BY_ID = concat!("SELECT ", account_columns!(), " FROM accounts WHERE id = $1");
    ACCOUNTS = concat!(
        "SELECT ", account_columns!(), " FROM accounts WHERE name > $1 AND (kind = $2 OR $2 IS NULL) \
         ORDER BY name LIMIT $3"
    );
    SUPERUSERS = concat!(
        "SELECT ", account_columns!(), " FROM accounts WHERE superuser AND enabled AND name > '' ORDER BY name"
    );
    PUT_ACCOUNT = concat!(
        "INSERT INTO accounts (", account_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (name) DO UPDATE SET email = excluded.email, email_verified = excluded.email_verified, \
         superuser = excluded.superuser, enabled = excluded.enabled WHERE accounts.kind = excluded.kind"
    );
    PASSWORD = "SELECT password FROM accounts WHERE name = $1";
    BEGIN_SESSION =
        "INSERT INTO sessions (hash, account, created_at, expires_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (hash) DO NOTHING";
    SESSION = "SELECT account FROM sessions WHERE hash = $1 AND expires_at > $2";
    END_SESSION = "DELETE FROM sessions WHERE hash = $1";
    END_SESSIONS_OF = "DELETE FROM sessions WHERE account = $1";
    FORGET_SESSIONS = "DELETE FROM sessions WHERE expires_at <= $1";
    SET_PASSWORD = "UPDATE accounts SET password = $2 WHERE name = $1";
    DELETE_ACCOUNT = "DELETE FROM accounts WHERE name = $1";
    DELETE_ROBOTS_OF = "DELETE FROM accounts WHERE name > $1 AND name < $2";
    DELETE_TOKENS_OF = "DELETE FROM tokens WHERE account = $1 OR (account > $2 AND account < $3)";
    DELETE_MEMBERSHIPS_OF = "DELETE FROM team_members WHERE member = $1 OR (member > $2 AND member < $3)";
    DELETE_GRANTS_TO = "DELETE FROM permissions WHERE grantee = $1 OR (grantee > $2 AND grantee < $3)";
    DELETE_INBOX_OF = "DELETE FROM inbox WHERE target_kind = $1 AND target = $2";
    DELETE_INBOX_OF_TEAMS = "DELETE FROM inbox WHERE target_kind = 'team' AND target > $1 AND target < $2";

    TEAM = "SELECT organization, name, role FROM teams WHERE organization = $1 AND name = $2";
    TEAMS = "SELECT organization, name, role FROM teams WHERE organization = $1 ORDER BY name";
    PUT_TEAM =
        "INSERT INTO teams (organization, name, role) VALUES ($1, $2, $3) \
         ON CONFLICT (organization, name) DO UPDATE SET role = excluded.role";
    DELETE_TEAM = "DELETE FROM teams WHERE organization = $1 AND name = $2";
    DELETE_TEAMS = "DELETE FROM teams WHERE organization = $1";
    DELETE_MEMBERS = "DELETE FROM team_members WHERE organization = $1 AND team = $2";
    DELETE_ALL_MEMBERS = "DELETE FROM team_members WHERE organization = $1";
    ADD_MEMBER =
        "INSERT INTO team_members (organization, team, member) VALUES ($1, $2, $3) \
         ON CONFLICT (organization, team, member) DO NOTHING";
    REMOVE_MEMBER = "DELETE FROM team_members WHERE organization = $1 AND team = $2 AND member = $3";
    MEMBER_NAMES = "SELECT member FROM team_members WHERE organization = $1 AND team = $2 ORDER BY member";
    MEMBERS_OF_TEAM = members_where!("m.team = $2");
    MEMBERS_OF_ORGANIZATION = members_where!("(t.role = $2 OR $2 IS NULL)");
    TEAMS_OF =
        "SELECT t.organization, t.name, t.role FROM team_members m JOIN teams t ON t.organization = m.organization \
         AND t.name = m.team WHERE m.member = $1 ORDER BY t.organization, t.name";

    REPOSITORY = "SELECT name, public, created_at FROM repositories WHERE name = $1";
    REPOSITORIES = "SELECT name, public, created_at FROM repositories WHERE name > $1 ORDER BY name LIMIT $2";
    REPOSITORIES_IN =
        "SELECT name, public, created_at FROM repositories WHERE namespace = $1 AND name > $2 ORDER BY name LIMIT $3";
    PUT_REPOSITORY =
        "INSERT INTO repositories (name, namespace, public, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name) DO UPDATE SET public = excluded.public";
    ADD_REPOSITORY =
        "INSERT INTO repositories (name, namespace, public, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name) DO NOTHING";
    DELETE_REPOSITORY = "DELETE FROM repositories WHERE name = $1";
    DELETE_REPOSITORIES = "DELETE FROM repositories WHERE name > $1 AND name < $2";
    DELETE_GRANTS_ON = "DELETE FROM permissions WHERE repository = $1 OR (repository > $2 AND repository < $3)";
    DELETE_EMAILS_OF =
        "DELETE FROM authorized_emails WHERE repository = $1 OR (repository > $2 AND repository < $3)";
    DELETE_NOTIFICATIONS_IN =
        "DELETE FROM notifications WHERE (scope = $1 AND scope_name = $2) \
         OR (scope = 'repository' AND scope_name > $3 AND scope_name < $4)";

    GRANTED = "SELECT role FROM permissions WHERE repository = $1 AND grantee = $2";
    GRANT =
        "INSERT INTO permissions (repository, grantee, role) VALUES ($1, $2, $3) \
         ON CONFLICT (repository, grantee) DO UPDATE SET role = excluded.role";
    REVOKE = "DELETE FROM permissions WHERE repository = $1 AND grantee = $2";
    PERMISSIONS = "SELECT grantee, role FROM permissions WHERE repository = $1 ORDER BY grantee";
    ROLES_ON =
        "SELECT role FROM permissions WHERE repository = $1 AND grantee = $2 \
         UNION ALL SELECT p.role FROM team_members m JOIN permissions p ON p.repository = $1 \
         AND p.grantee = m.organization || '/' || m.team WHERE m.member = $2 AND m.organization = $3";
    ROLES_IN =
        "SELECT t.role FROM team_members m JOIN teams t ON t.organization = m.organization AND t.name = m.team \
         WHERE m.member = $1 AND m.organization = $2";

    EMAIL = "SELECT repository, email, confirmed, requested_at FROM authorized_emails WHERE repository = $1 \
             AND email = $2";
    EMAIL_BY_CODE = "SELECT repository, email, confirmed, requested_at FROM authorized_emails WHERE code = $1";
    EMAILS = "SELECT repository, email, confirmed, requested_at FROM authorized_emails WHERE repository = $1 \
              ORDER BY email";
    REQUEST_EMAIL =
        "INSERT INTO authorized_emails (repository, email, code, confirmed, requested_at) \
         VALUES ($1, $2, $3, FALSE, $4) ON CONFLICT (repository, email) DO UPDATE SET code = excluded.code, \
         requested_at = excluded.requested_at WHERE authorized_emails.confirmed = FALSE";
    VOUCH_FOR_EMAIL =
        "INSERT INTO authorized_emails (repository, email, code, confirmed, requested_at) \
         VALUES ($1, $2, $3, TRUE, $4) ON CONFLICT (repository, email) DO UPDATE SET confirmed = TRUE";
    CONFIRM_EMAIL =
        "UPDATE authorized_emails SET confirmed = TRUE WHERE code = $1 AND confirmed = FALSE AND requested_at >= $2";
    FORGET_EMAIL = "DELETE FROM authorized_emails WHERE repository = $1 AND email = $2";

    CREATE_TOKEN =
        "INSERT INTO tokens (id, hash, title, account, scopes, created_by, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
    TOKEN_BY_HASH = concat!("SELECT ", token_columns!(), " FROM tokens WHERE hash = $1");
    TOKEN = concat!("SELECT ", token_columns!(), " FROM tokens WHERE id = $1");
    TOKENS = concat!("SELECT ", token_columns!(), " FROM tokens WHERE id > $1 ORDER BY id LIMIT $2");
    TOKENS_OF = concat!(
        "SELECT ", token_columns!(), " FROM tokens WHERE account = $1 AND id > $2 ORDER BY id LIMIT $3"
    );
    TOKEN_USED = "UPDATE tokens SET last_used_at = $2 WHERE id = $1";
    REVOKE_TOKEN = "DELETE FROM tokens WHERE id = $1";

    ADD_AUDIT =
        "INSERT INTO audit (id, at, actor, address, action, target, place, details) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
    AUDIT =
        "SELECT seq, id, at, actor, address, action, target, place, details FROM audit WHERE seq < $1 AND seq >= $2 \
         AND (actor = $3 OR $3 IS NULL) AND (action = $4 OR $4 IS NULL) AND (target = $5 OR $5 IS NULL) \
         AND (place = $6 OR $6 IS NULL) ORDER BY seq DESC LIMIT $7";
    AUDIT_ENDS = "SELECT coalesce((SELECT min(seq) FROM audit), 0), coalesce((SELECT max(seq) FROM audit), 0)";
    SWEEP_AUDIT =
        "SELECT seq, (at < $3 OR at > $4) AS astray, at < $3 AS removable FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
}

many! {
    SEE_REPOSITORIES = [Text Text Bool Int]
        "INSERT INTO repositories (name, namespace, public, created_at)",
        "ON CONFLICT (name) DO NOTHING";
    REMOVE_AUDIT = [Int] "DELETE FROM audit WHERE seq IN (", ")";
}
