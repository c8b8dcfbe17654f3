//! Every route with what every role is answered there.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{self, push_event};

/// Whoever asks. `narrow` is the admin, with a token for its own account alone; `registry` holds a token of the
/// registry's own that grants everything on the repository.
pub(crate) const ROLES: [&str; 13] = [
    "anonymous",
    "stranger",
    "reader",
    "writer",
    "admin",
    "owner",
    "neighbour",
    "narrow",
    "producer",
    "metrics",
    "superuser",
    "operator",
    "registry",
];

/// More of them, each answered like one of the others but for [`OTHERWISE`]: the admin signed in by a cookie, a robot that
/// may read the repository, one whose team may make repositories in the namespace, and a read-only superuser, which is
/// a stranger wherever something changes, and a [`SUPERUSER`] to what is only read.
pub(crate) const ALIKE: [(&str, &str); 4] =
    [("cookie", "admin"), ("robot", "reader"), ("creator", "stranger"), ("auditor", "stranger")];
pub(crate) const SUPERUSER: &str = "superuser";

/// Where one of [`ALIKE`] is answered otherwise. Whose team may make repositories in the namespace is a member of it and
/// knows that it is there; a robot has no namespace of its own. A role, a verb, a path, what the body speaks of, the status.
pub(crate) const OTHERWISE: &[(&str, &str, &str, &str, u16)] = &[
    ("creator", "GET", "/api/v0/accounts/acme/webhooks", "", 403),
    ("creator", "GET", "/api/v0/repositories/acme/webhooks", "", 403),
    ("creator", "POST", "/api/v0/webhooks", r#""acme""#, 403),
    ("creator", "GET", "/api/v1/organization/acme/robots", "", 200),
    ("creator", "GET", "/api/v1/organization/acme/robots/ci", "", 200),
    ("creator", "POST", "/api/v1/repository", "", 201),
    ("creator", "POST", "/v1/notifications", r#""acme""#, 403),
    ("creator", "GET", "/v1/notifications?namespace=acme", "", 403),
    ("robot", "GET", "/api/v1/user/namespacenotifications", "", 403),
    ("robot", "POST", "/api/v1/user/namespacenotifications", "", 403),
    ("robot", "DELETE", "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009", "", 403),
    ("robot", "GET", "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009", "", 403),
    ("robot", "POST", "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009", "", 403),
    ("robot", "PUT", "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009", "", 403),
    (
        "robot",
        "POST",
        "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009/pause",
        "",
        403,
    ),
    (
        "robot",
        "POST",
        "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009/resume",
        "",
        403,
    ),
    (
        "robot",
        "POST",
        "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009/test",
        "",
        403,
    ),
    ("robot", "DELETE", "/api/v1/user/namespacenotifications/A", "", 403),
    ("robot", "GET", "/api/v1/user/namespacenotifications/A", "", 403),
    ("robot", "POST", "/api/v1/user/namespacenotifications/A", "", 403),
    ("robot", "PUT", "/api/v1/user/namespacenotifications/A", "", 403),
    ("robot", "POST", "/api/v1/user/namespacenotifications/A/pause", "", 403),
    ("robot", "POST", "/api/v1/user/namespacenotifications/A/resume", "", 403),
    ("robot", "POST", "/api/v1/user/namespacenotifications/A/test", "", 403),
];

/// What each role is answered, in their order, where those who may are answered `ok`.
type Answers = fn(u16) -> [u16; 13];

/// A repository that is named: whoever may not know of it is told that there is none.
const REPOSITORY: Answers = |ok| [401, 404, 403, 403, ok, ok, 404, 403, 403, 403, ok, ok, ok];
/// What is a repository's, by its id: its existence is a secret.
const OF_REPOSITORY: Answers = |ok| [401, 404, 404, 404, ok, ok, 404, 404, 404, 404, ok, ok, ok];
/// A namespace that is named. The writer is a member of a team there.
const NAMESPACE: Answers = |ok| [401, 404, 404, 403, 404, ok, 404, 404, 403, 403, ok, ok, 404];
/// What is a namespace's, by its id.
const OF_NAMESPACE: Answers = |ok| [401, 404, 404, 404, 404, ok, 404, 404, 404, 404, ok, ok, 404];
/// What concerns the registry.
const REGISTRY: Answers = |ok| [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, ok, ok, 403];
/// What is the registry's, by its id.
const OF_REGISTRY: Answers = |ok| [401, 404, 404, 404, 404, 404, 404, 404, 404, 404, ok, ok, 404];
/// An event of the repository, for the namespace's notification.
const EVENT_AND_NAMESPACE: Answers = OF_NAMESPACE;
/// Quay's surface tells nobody which repositories there are.
const QUAY: Answers = |ok| [401, 403, 403, 403, ok, ok, 403, 403, 403, 403, ok, ok, ok];
/// The same where something changes: without a credential Quay takes it for a browser's doing that was misled.
const QUAY_CHANGE: Answers = |ok| [403, 403, 403, 403, ok, ok, 403, 403, 403, 403, ok, ok, ok];
/// Who may do what there, which a token that ends must not change for longer.
const QUAY_PERMISSION: Answers = |ok| [403, 403, 403, 403, ok, ok, 403, 403, 403, 403, ok, ok, 403];
/// What its readers see; to others it is not there.
const QUAY_READ: Answers = |ok| [401, 404, ok, ok, ok, ok, 404, 403, 403, 403, ok, ok, ok];
/// What is the namespace's owner's.
const QUAY_NAMESPACE: Answers = |ok| [401, 403, 403, 403, 403, ok, 403, 403, 403, 403, ok, ok, 403];
const QUAY_NAMESPACE_CHANGE: Answers = |ok| [403, 403, 403, 403, 403, ok, 403, 403, 403, 403, ok, ok, 403];
/// What members see.
const QUAY_MEMBER: Answers = |ok| [401, 404, 404, ok, 404, ok, 404, 403, 403, 403, ok, ok, 404];
/// What automation asks before it makes a notification.
const AUTOMATION: Answers = |ok| [401, ok, ok, ok, ok, ok, ok, 403, 403, 403, ok, ok, ok];
/// Each account's own. The operator has none, and nothing is told to it.
const OWN_SPACE: Answers = |ok| [401, ok, ok, ok, ok, ok, ok, ok, 403, 403, ok, 403, 403];
const OWN_SPACE_CHANGE: Answers = |ok| [403, ok, ok, ok, ok, ok, ok, ok, 403, 403, ok, 403, 403];
const QUAY_INBOX_OF_ADMIN: Answers = |ok| [401, 404, 404, 404, ok, 404, 404, ok, 403, 403, 404, 404, 403];
const QUAY_INBOX_OF_ADMIN_CHANGE: Answers =
    |ok| [403, 404, 404, 404, ok, 404, 404, ok, 403, 403, 404, 404, 403];
const ANYBODY_CHANGE: Answers = |ok| [403, ok, ok, ok, ok, ok, ok, ok, ok, ok, ok, ok, ok];
/// What is in the admin's own namespace: each account asks there for its own alone.
const OWN_OF_ADMIN: Answers = |ok| [401, 404, 404, 404, ok, 404, 404, ok, 403, 403, 404, 403, 403];
const OWN_OF_ADMIN_CHANGE: Answers = |ok| [403, 404, 404, 404, ok, 404, 404, ok, 403, 403, 404, 403, 403];
/// A public repository, which every account may look at, and only its owner knows the notifications of. A registry's
/// token opens what it names alone.
const PUBLIC_READ: Answers = |ok| [401, ok, ok, ok, ok, ok, ok, 403, 403, 403, ok, ok, 404];
const OF_PUBLIC: Answers = |ok| [401, 403, 403, 403, 403, ok, 403, 403, 403, 403, ok, ok, 403];
/// The same where a registry's token is told apart from those who may look at it.
const OF_PUBLIC_BY_NAME: Answers = |ok| [401, 403, 403, 403, 403, ok, 403, 403, 403, 403, ok, ok, 404];
const OF_PUBLIC_CHANGE: Answers = |ok| [403, 403, 403, 403, 403, ok, 403, 403, 403, 403, ok, ok, 403];
/// Everybody, known or not.
const OPEN_TO_ALL: Answers = |ok| [ok; 13];
const PUBLISH: Answers = |ok| [401, 403, 403, 403, 403, 403, 403, 403, ok, 403, ok, ok, 403];
const METRICS: Answers = |ok| [401, 403, 403, 403, 403, 403, 403, 403, 403, ok, ok, ok, 403];
/// The admin's own, also with its narrow token.
const TO_ADMIN: Answers = |ok| [401, 403, 403, 403, ok, 403, 403, ok, 403, 403, ok, ok, 403];
const OF_ADMIN: Answers = |ok| [401, 404, 404, 404, ok, 404, 404, ok, 404, 404, ok, ok, 404];
const ACCOUNTS: Answers = |ok| [401, ok, ok, ok, ok, ok, ok, ok, 403, 403, ok, 403, 403];
const ACCOUNTS_OR_ALL: Answers = |ok| [401, ok, ok, ok, ok, ok, ok, ok, 403, 403, ok, ok, 403];
const INBOX_OF_ADMIN: Answers = |ok| [401, 404, 404, 404, ok, 404, 404, ok, 403, 403, 404, 403, 403];
/// Whoever could make a webhook somewhere.
const SUBSCRIBERS: Answers = |ok| [401, ok, ok, ok, ok, ok, ok, 403, 403, 403, ok, ok, 403];
const ANYBODY: Answers = |ok| [401, ok, ok, ok, ok, ok, ok, ok, ok, ok, ok, ok, ok];

/// A verb, a path, a body, what those who may are answered, and who may.
pub(crate) type Row = (&'static str, &'static str, Value, u16, Answers);

/// Every route, a body, what those who may are answered, and who may. In paths stand `R`, `N` and `G` for the
/// notification of the repository, the namespace and the registry, and so on: see [`Made::path`].
pub(crate) fn table() -> Vec<Row> {
    // People last: by then somebody has become a member.
    [notifications(), ingest(), history(), dtr(), people(), quay(), quay_namespaces(), quay_people()].concat()
}

fn none() -> Value {
    Value::Null
}

fn since() -> Value {
    json!({"since": "2026-01-01T00:00:00Z"})
}

/// Each registry's, in both spellings. What can't be read is kept, and taken all the same.
fn ingest() -> Vec<Row> {
    let row = |path| ("POST", path, none(), 202, PUBLISH);
    [
        "/v1/ingest/distribution",
        "/v1/ingest/distribution/",
        "/v1/ingest/harbor",
        "/v1/ingest/harbor/",
        "/v1/ingest/zot",
        "/v1/ingest/zot/",
        "/v1/ingest/acr",
        "/v1/ingest/acr/",
        "/v1/ingest/gitlab",
        "/v1/ingest/gitlab/",
        "/v1/ingest/dockerhub",
        "/v1/ingest/dockerhub/",
        "/v1/ingest/ecr",
        "/v1/ingest/ecr/",
        "/v1/ingest/ghcr",
        "/v1/ingest/ghcr/",
    ]
    .map(row)
    .to_vec()
}

fn notifications() -> Vec<Row> {
    let wish = |scope: Value| {
        json!({
            "scope": scope, "kinds": ["repo_push"], "method": "webhook", "config": {"url": "https://ci.example.com/"},
        })
    };
    let on_repository = || wish(json!({"repository": "acme/api"}));
    let on_namespace = || wish(json!({"namespace": "acme"}));
    let on_registry = || wish(json!({"registry": true}));
    vec![
        ("GET", "/metrics", none(), 200, METRICS),
        ("POST", "/v1/events", push_event("new"), 202, PUBLISH),
        ("POST", "/v1/events/", push_event("new"), 202, PUBLISH),
        ("GET", "/v1/events/of-repository", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/events/nothing", none(), 404, OF_REPOSITORY),
        ("GET", "/v1/notifications", none(), 200, REGISTRY),
        ("GET", "/v1/notifications?repository=acme/api", none(), 200, REPOSITORY),
        ("GET", "/v1/notifications?namespace=acme", none(), 200, NAMESPACE),
        ("POST", "/v1/notifications", on_repository(), 201, REPOSITORY),
        ("POST", "/v1/notifications", on_namespace(), 201, NAMESPACE),
        ("POST", "/v1/notifications", on_registry(), 201, REGISTRY),
        ("GET", "/v1/notifications/R", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/notifications/N", none(), 200, OF_NAMESPACE),
        ("GET", "/v1/notifications/G", none(), 200, OF_REGISTRY),
        ("PUT", "/v1/notifications/R", on_repository(), 200, OF_REPOSITORY),
        ("PUT", "/v1/notifications/R", on_registry(), 409, OF_REPOSITORY),
        ("PUT", "/v1/notifications/N", on_namespace(), 200, OF_NAMESPACE),
        ("PUT", "/v1/notifications/G", on_registry(), 200, OF_REGISTRY),
        ("DELETE", "/v1/notifications/R", none(), 204, OF_REPOSITORY),
        ("DELETE", "/v1/notifications/N", none(), 204, OF_NAMESPACE),
        ("DELETE", "/v1/notifications/G", none(), 204, OF_REGISTRY),
        ("POST", "/v1/notifications/R/pause", none(), 200, OF_REPOSITORY),
        ("POST", "/v1/notifications/R/resume", none(), 200, OF_REPOSITORY),
        ("POST", "/v1/notifications/R/reset", none(), 200, OF_REPOSITORY),
        ("POST", "/v1/notifications/N/pause", none(), 200, OF_NAMESPACE),
        ("POST", "/v1/notifications/N/resume", none(), 200, OF_NAMESPACE),
        ("POST", "/v1/notifications/N/reset", none(), 200, OF_NAMESPACE),
        ("POST", "/v1/notifications/G/pause", none(), 200, OF_REGISTRY),
        ("POST", "/v1/notifications/G/resume", none(), 200, OF_REGISTRY),
        ("POST", "/v1/notifications/G/reset", none(), 200, OF_REGISTRY),
        ("POST", "/v1/notifications/R/test", none(), 202, OF_REPOSITORY),
        ("POST", "/v1/notifications/N/test", none(), 202, OF_NAMESPACE),
        ("POST", "/v1/notifications/G/test", none(), 202, OF_REGISTRY),
        ("GET", "/v1/notifications/R/keys", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/notifications/N/keys", none(), 200, OF_NAMESPACE),
        ("GET", "/v1/notifications/G/keys", none(), 200, OF_REGISTRY),
        ("POST", "/v1/notifications/R/rotate", none(), 200, OF_REPOSITORY),
        ("POST", "/v1/notifications/N/rotate", none(), 200, OF_NAMESPACE),
        ("POST", "/v1/notifications/G/rotate", none(), 200, OF_REGISTRY),
        ("GET", "/v1/notifications?repository=acme/open", none(), 200, OF_PUBLIC_BY_NAME),
        ("GET", "/v1/notifications/R/explain", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/notifications/N/explain", none(), 200, OF_NAMESPACE),
        ("GET", "/v1/notifications/G/explain", none(), 200, OF_REGISTRY),
        ("GET", "/v1/events/of-repository?notification=R", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/events/of-repository?notification=N", none(), 200, EVENT_AND_NAMESPACE),
        ("POST", "/v1/notifications/R/catch-up", since(), 202, OF_REPOSITORY),
        ("POST", "/v1/notifications/N/catch-up", since(), 202, OF_NAMESPACE),
        ("POST", "/v1/notifications/G/catch-up", since(), 202, OF_REGISTRY),
    ]
}

fn history() -> Vec<Row> {
    vec![
        ("GET", "/v1/deliveries", none(), 200, REGISTRY),
        ("GET", "/v1/deliveries?notification=R", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/deliveries?notification=N", none(), 200, OF_NAMESPACE),
        ("GET", "/v1/deliveries?notification=G", none(), 200, OF_REGISTRY),
        ("GET", "/v1/deliveries/DR", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/deliveries/DN", none(), 200, OF_NAMESPACE),
        ("GET", "/v1/deliveries/DG", none(), 200, OF_REGISTRY),
        ("POST", "/v1/deliveries/DR/resend", none(), 202, OF_REPOSITORY),
        ("POST", "/v1/deliveries/DN/resend", none(), 202, OF_NAMESPACE),
        ("POST", "/v1/deliveries/DG/resend", none(), 202, OF_REGISTRY),
        ("GET", "/v1/dead-letters", none(), 200, REGISTRY),
        ("GET", "/v1/dead-letters?notification=R", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/dead-letters?notification=N", none(), 200, OF_NAMESPACE),
        ("GET", "/v1/dead-letters/LR", none(), 200, OF_REPOSITORY),
        ("GET", "/v1/dead-letters/LN", none(), 200, OF_NAMESPACE),
        ("GET", "/v1/dead-letters/LX", none(), 200, OF_REGISTRY),
        ("DELETE", "/v1/dead-letters/LR", none(), 204, OF_REPOSITORY),
        ("DELETE", "/v1/dead-letters/LN", none(), 204, OF_NAMESPACE),
        ("DELETE", "/v1/dead-letters/LX", none(), 204, OF_REGISTRY),
        ("POST", "/v1/dead-letters/LR/replay", none(), 409, OF_REPOSITORY),
        ("POST", "/v1/dead-letters/LN/replay", none(), 409, OF_NAMESPACE),
        ("POST", "/v1/dead-letters/LX/replay", none(), 409, OF_REGISTRY),
    ]
}

fn people() -> Vec<Row> {
    let user = || json!({"kind": "user"});
    vec![
        ("GET", "/v1/tokens", none(), 200, ACCOUNTS_OR_ALL),
        ("GET", "/v1/tokens?account=admin", none(), 200, TO_ADMIN),
        (
            "POST",
            "/v1/tokens",
            json!({"title": "x", "scopes": ["user:admin"], "account": "admin"}),
            201,
            TO_ADMIN,
        ),
        ("POST", "/v1/tokens", json!({"title": "x", "scopes": ["metrics:read"]}), 201, REGISTRY),
        ("DELETE", "/v1/tokens/T", none(), 204, OF_ADMIN),
        ("GET", "/v1/inbox", none(), 200, ACCOUNTS),
        ("PUT", "/v1/inbox/I", json!({"dismissed": true}), 204, INBOX_OF_ADMIN),
        ("GET", "/v1/audit", none(), 200, REGISTRY),
        ("GET", "/v1/secrets", none(), 200, REGISTRY),
        ("POST", "/v1/secrets/rewrite", none(), 409, REGISTRY),
        ("GET", "/v1/directory/accounts", none(), 200, REGISTRY),
        ("GET", "/v1/directory/accounts/admin", none(), 200, REGISTRY),
        ("PUT", "/v1/directory/accounts/admin", user(), 200, REGISTRY),
        ("DELETE", "/v1/directory/accounts/nobody", none(), 404, REGISTRY),
        ("PUT", "/v1/directory/accounts/admin/password", json!({"password": "x"}), 400, REGISTRY),
        ("DELETE", "/v1/directory/accounts/admin/password", none(), 204, REGISTRY),
        ("GET", "/v1/directory/organizations/acme/teams", none(), 200, REGISTRY),
        ("PUT", "/v1/directory/organizations/acme/teams/x", json!({"role": "member"}), 200, REGISTRY),
        ("DELETE", "/v1/directory/organizations/acme/teams/nobody", none(), 404, REGISTRY),
        ("GET", "/v1/directory/organizations/acme/teams/x/members", none(), 200, REGISTRY),
        ("PUT", "/v1/directory/organizations/acme/teams/x/members/stranger", none(), 204, REGISTRY),
        ("DELETE", "/v1/directory/organizations/acme/teams/x/members/nobody", none(), 404, REGISTRY),
        ("GET", "/v1/directory/repositories", none(), 200, REGISTRY),
        ("PUT", "/v1/directory/repositories/acme/api", json!({}), 200, REGISTRY),
        ("DELETE", "/v1/directory/repositories/acme/none", none(), 404, REGISTRY),
        ("GET", "/v1/directory/permissions?repository=acme/api", none(), 200, REGISTRY),
        (
            "PUT",
            "/v1/directory/permissions?repository=acme/api&grantee=admin",
            json!({"role": "admin"}),
            200,
            REGISTRY,
        ),
        ("DELETE", "/v1/directory/permissions?repository=acme/api&grantee=nobody", none(), 404, REGISTRY),
        ("POST", "/v1/directory/import?dry_run=true", json!({"version": 1}), 200, REGISTRY),
    ]
}

fn quay() -> Vec<Row> {
    let role = || json!({"role": "read"});
    vec![
        ("GET", "/api/v1/repository/acme/api/notification/", none(), 200, QUAY),
        ("POST", "/api/v1/repository/acme/api/notification/", common::webhook_body(), 201, QUAY_CHANGE),
        ("GET", "/api/v1/repository/acme/api/notification/R", none(), 200, QUAY),
        ("PUT", "/api/v1/repository/acme/api/notification/R", common::webhook_body(), 200, QUAY_CHANGE),
        ("DELETE", "/api/v1/repository/acme/api/notification/R", none(), 204, QUAY_CHANGE),
        ("POST", "/api/v1/repository/acme/api/notification/R", none(), 204, QUAY_CHANGE),
        ("POST", "/api/v1/repository/acme/api/notification/R/test", none(), 200, QUAY_CHANGE),
        ("POST", "/api/v1/repository/acme/api/notification/R/pause", none(), 200, QUAY_CHANGE),
        ("POST", "/api/v1/repository/acme/api/notification/R/resume", none(), 200, QUAY_CHANGE),
        ("GET", "/api/v1/repository/acme/api/authorizedemail/none@example.com", none(), 404, QUAY),
        ("POST", "/api/v1/repository/acme/api/authorizedemail/a@example.com", none(), 200, QUAY_CHANGE),
        (
            "POST",
            "/api/v1/repository",
            json!({"namespace": "acme", "repository": "new"}),
            201,
            QUAY_NAMESPACE_CHANGE,
        ),
        ("GET", "/api/v1/repository/acme/api", none(), 200, QUAY_READ),
        ("DELETE", "/api/v1/repository/acme/old", none(), 204, QUAY_NAMESPACE_CHANGE),
        ("GET", "/api/v1/repository/acme/api/permissions/team/", none(), 200, QUAY),
        ("GET", "/api/v1/repository/acme/api/permissions/user/", none(), 200, QUAY),
        ("GET", "/api/v1/repository/acme/api/permissions/user/reader", none(), 200, QUAY),
        ("PUT", "/api/v1/repository/acme/api/permissions/user/reader", role(), 200, QUAY_PERMISSION),
        ("DELETE", "/api/v1/repository/acme/api/permissions/user/nobody", none(), 404, QUAY_PERMISSION),
        ("GET", "/api/v1/repository/acme/api/permissions/team/none", none(), 404, QUAY),
        ("PUT", "/api/v1/repository/acme/api/permissions/team/none", role(), 400, QUAY_PERMISSION),
        ("DELETE", "/api/v1/repository/acme/api/permissions/team/none", none(), 404, QUAY_PERMISSION),
        ("DELETE", "/api/v1/repository/acme/api/permissions/user/reader", none(), 204, QUAY_PERMISSION),
        ("GET", "/api/v1/repository/acme/api/permissions/team/dev", none(), 200, QUAY),
        ("PUT", "/api/v1/repository/acme/api/permissions/team/dev", role(), 200, QUAY_PERMISSION),
        ("DELETE", "/api/v1/repository/acme/api/permissions/team/dev", none(), 204, QUAY_PERMISSION),
        ("GET", "/api/v1/repository/acme/open", none(), 200, PUBLIC_READ),
        ("GET", "/api/v1/repository/acme/open/notification/", none(), 200, OF_PUBLIC),
        ("POST", "/api/v1/repository/acme/open/notification/", common::webhook_body(), 201, OF_PUBLIC_CHANGE),
        ("GET", "/api/v1/error/not_found", none(), 200, ANYBODY),
        ("GET", "/v1/nothing", none(), 404, ANYBODY),
    ]
}

fn quay_namespaces() -> Vec<Row> {
    let quota = || json!({"event": "quota_error", "method": "webhook", "config": {"url": "https://ci.example.com/"}, "eventConfig": {}});
    let nothing = "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009";
    let nothing_tested = "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009/test";
    let nothing_paused = "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009/pause";
    let nothing_resumed = "/api/v1/user/namespacenotifications/00000000-0000-0000-0000-000000000009/resume";
    vec![
        ("GET", "/api/v1/organization/acme/notifications", none(), 200, QUAY_NAMESPACE),
        ("POST", "/api/v1/organization/acme/notifications", quota(), 201, QUAY_NAMESPACE_CHANGE),
        ("GET", "/api/v1/organization/acme/notifications/N", none(), 200, QUAY_NAMESPACE),
        ("PUT", "/api/v1/organization/acme/notifications/N", quota(), 200, QUAY_NAMESPACE_CHANGE),
        ("DELETE", "/api/v1/organization/acme/notifications/N", none(), 204, QUAY_NAMESPACE_CHANGE),
        ("POST", "/api/v1/organization/acme/notifications/N", none(), 204, QUAY_NAMESPACE_CHANGE),
        ("POST", "/api/v1/organization/acme/notifications/N/test", none(), 200, QUAY_NAMESPACE_CHANGE),
        ("POST", "/api/v1/organization/acme/notifications/N/pause", none(), 200, QUAY_NAMESPACE_CHANGE),
        ("POST", "/api/v1/organization/acme/notifications/N/resume", none(), 200, QUAY_NAMESPACE_CHANGE),
        ("GET", "/api/v1/user/namespacenotifications/A", none(), 200, OWN_OF_ADMIN),
        ("PUT", "/api/v1/user/namespacenotifications/A", quota(), 200, OWN_OF_ADMIN_CHANGE),
        ("POST", "/api/v1/user/namespacenotifications/A", none(), 204, OWN_OF_ADMIN_CHANGE),
        ("DELETE", "/api/v1/user/namespacenotifications/A", none(), 204, OWN_OF_ADMIN_CHANGE),
        ("POST", "/api/v1/user/namespacenotifications/A/test", none(), 200, OWN_OF_ADMIN_CHANGE),
        ("POST", "/api/v1/user/namespacenotifications/A/pause", none(), 200, OWN_OF_ADMIN_CHANGE),
        ("POST", "/api/v1/user/namespacenotifications/A/resume", none(), 200, OWN_OF_ADMIN_CHANGE),
        ("GET", "/api/v1/user/namespacenotifications", none(), 200, OWN_SPACE),
        ("POST", "/api/v1/user/namespacenotifications", quota(), 201, OWN_SPACE_CHANGE),
        ("GET", nothing, none(), 404, OWN_SPACE),
        ("PUT", nothing, none(), 404, OWN_SPACE_CHANGE),
        ("DELETE", nothing, none(), 404, OWN_SPACE_CHANGE),
        ("POST", nothing, none(), 404, OWN_SPACE_CHANGE),
        ("POST", nothing_tested, none(), 404, OWN_SPACE_CHANGE),
        ("POST", nothing_paused, none(), 404, OWN_SPACE_CHANGE),
        ("POST", nothing_resumed, none(), 404, OWN_SPACE_CHANGE),
    ]
}

fn quay_people() -> Vec<Row> {
    let away = || json!({"dismissed": true});
    vec![
        ("GET", "/csrf_token", none(), 200, OPEN_TO_ALL),
        ("POST", "/api/v1/signin", json!({"username": "a", "password": "b"}), 403, OPEN_TO_ALL),
        ("GET", "/authrepoemail?code=x", none(), 400, OPEN_TO_ALL),
        ("POST", "/api/v1/signout", none(), 200, ANYBODY_CHANGE),
        ("GET", "/api/v1/user", none(), 308, ANYBODY),
        ("GET", "/api/v1/user/", none(), 200, |ok| [401, ok, ok, ok, ok, ok, ok, ok, 403, 403, ok, ok, ok]),
        ("GET", "/api/v1/user/robots", none(), 200, ANYBODY),
        ("GET", "/api/v1/user/robots/none", none(), 404, ANYBODY),
        ("GET", "/api/v1/user/notifications", none(), 200, ACCOUNTS_OR_ALL),
        ("GET", "/api/v1/user/notifications/I", none(), 200, QUAY_INBOX_OF_ADMIN),
        ("PUT", "/api/v1/user/notifications/I", away(), 200, QUAY_INBOX_OF_ADMIN_CHANGE),
        ("GET", "/api/v1/organization/acme", none(), 200, AUTOMATION),
        ("GET", "/api/v1/organization/acme/robots", none(), 200, QUAY_MEMBER),
        ("GET", "/api/v1/organization/acme/robots/ci", none(), 200, QUAY_MEMBER),
        ("GET", "/api/v1/entities/admin", none(), 200, AUTOMATION),
    ]
}

fn dtr() -> Vec<Row> {
    let of = |key: &str| json!({"type": "TAG_PUSH", "key": key, "endpoint": "https://ci.example.com/"});
    let changed = |number: u128| json!({"id": Uuid::from_u128(number), "inactive": true});
    vec![
        ("GET", "/api/v0/webhooks", none(), 200, ACCOUNTS_OR_ALL),
        ("POST", "/api/v0/webhooks", of("acme/api"), 201, REPOSITORY),
        ("POST", "/api/v0/webhooks", of("acme"), 201, NAMESPACE),
        ("POST", "/api/v0/webhooks", of(""), 201, REGISTRY),
        ("POST", "/api/v0/webhooks/test", of(""), 200, SUBSCRIBERS),
        ("POST", "/api/v0/webhooks/update", changed(1), 200, OF_REPOSITORY),
        ("POST", "/api/v0/webhooks/update", changed(2), 200, OF_NAMESPACE),
        ("POST", "/api/v0/webhooks/update", changed(3), 200, OF_REGISTRY),
        ("DELETE", "/api/v0/webhooks/R", none(), 204, OF_REPOSITORY),
        ("DELETE", "/api/v0/webhooks/N", none(), 204, OF_NAMESPACE),
        ("DELETE", "/api/v0/webhooks/G", none(), 204, OF_REGISTRY),
        ("GET", "/api/v0/repositories/acme/api/webhooks", none(), 200, REPOSITORY),
        ("GET", "/api/v0/repositories/acme/webhooks", none(), 200, NAMESPACE),
        ("GET", "/api/v0/accounts/acme/webhooks", none(), 200, NAMESPACE),
        ("POST", "/api/v0/api_tokens?username=admin", json!({"tokenLabel": "x"}), 201, TO_ADMIN),
    ]
}
