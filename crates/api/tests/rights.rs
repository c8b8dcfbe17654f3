//! Who may do what: every route with every role, and what a role learns of what is not its own.

mod common;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bellbuoy_api::{Api, Auth, RegistryTokens, ServerLimits};
use bellbuoy_domain::{
    AccountKind, AccountName, AttemptRecord, DeliveryId, DeliveryState, FannedOut, Grantee, Kind,
    NamespaceName, Notification, NotificationId, NotificationState, PlannedDelivery, Record, RepositoryName,
    RepositoryRole, Scope, TeamName, TeamRole, TokenScope, TokenScopes, WIRE_VERSION,
};
use bellbuoy_store::{Account, DeadLetter, InboxRow, Permission, Repository, SeenEvent, Store, Team, Token};
use common::{JSON, Rig, TOKEN, contract, problem, push_event, registry};
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

/// Whoever asks. `narrow` is the admin, with a token for its own account alone; `registry` holds a token of the
/// registry's own that grants everything on the repository.
const ROLES: [&str; 13] = [
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
const ALIKE: [(&str, &str); 4] =
    [("cookie", "admin"), ("robot", "reader"), ("creator", "stranger"), ("auditor", "stranger")];
const SUPERUSER: &str = "superuser";

/// Where one of [`ALIKE`] is answered otherwise. Whose team may make repositories in the namespace is a member of it and
/// knows that it is there; a robot has no namespace of its own. A role, a verb, a path, what the body speaks of, the status.
const OTHERWISE: &[(&str, &str, &str, &str, u16)] = &[
    ("creator", "GET", "/api/v0/accounts/acme/webhooks", "", 403),
    ("creator", "GET", "/api/v0/repositories/acme/webhooks", "", 403),
    ("creator", "POST", "/api/v0/webhooks", r#""acme""#, 403),
    ("creator", "GET", "/api/v1/organization/acme/robots", "", 200),
    ("creator", "GET", "/api/v1/organization/acme/robots/ci", "", 200),
    ("creator", "POST", "/api/v1/repository", "", 201),
    ("creator", "POST", "/v1/notifications", r#""acme""#, 403),
    ("creator", "PUT", "/v1/notifications/N", "", 403),
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
type Row = (&'static str, &'static str, Value, u16, Answers);

/// Every route, a body, what those who may are answered, and who may. In paths stand `R`, `N` and `G` for the
/// notification of the repository, the namespace and the registry, and so on: see [`Made::path`].
fn table() -> Vec<Row> {
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
        ("PUT", "/v1/notifications/R", on_repository(), 200, REPOSITORY),
        ("PUT", "/v1/notifications/R", on_registry(), 200, REGISTRY),
        ("PUT", "/v1/notifications/N", on_namespace(), 200, NAMESPACE),
        ("PUT", "/v1/notifications/G", on_registry(), 200, REGISTRY),
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

#[test]
fn the_table_has_every_operation_that_takes_a_credential() {
    let of = |(verb, path, ..): &Row| contract::operation(verb, path);
    let known: BTreeSet<String> = table().iter().filter_map(of).collect();
    let guarded = contract::guarded_operations();
    assert!(guarded.len() > 100, "{guarded:?}");
    let missing: Vec<_> = guarded.difference(&known).collect();
    assert!(missing.is_empty(), "these are not in the table: {missing:?}");
}

/// What the roles meet.
struct Made {
    delivery: [DeliveryId; 4],
    item: Uuid,
}

const NUMBERS: [(&str, u128); 4] = [("R", 1), ("N", 2), ("G", 3), ("A", 4)];
const LETTERS: [(&str, u128); 3] = [("LR", 11), ("LN", 12), ("LX", 13)];
const ADMINS_TOKEN: u128 = 21;

impl Made {
    fn path(&self, path: &str) -> String {
        let mut named: Vec<(String, Uuid)> = Vec::new();
        for (index, (word, number)) in NUMBERS.iter().enumerate() {
            named.push(((*word).to_owned(), Uuid::from_u128(*number)));
            named.push((format!("D{word}"), self.delivery[index].as_uuid()));
        }
        named.extend(LETTERS.iter().map(|(word, number)| ((*word).to_owned(), Uuid::from_u128(*number))));
        named.push(("T".to_owned(), Uuid::from_u128(ADMINS_TOKEN)));
        named.push(("I".to_owned(), self.item));
        let is_end = |text: &str| text.is_empty() || text.starts_with('/');
        for (word, id) in &named {
            for before in ["/", "notification="] {
                let wanted = format!("{before}{word}");
                if let Some(at) = path.find(&wanted)
                    && is_end(&path[at + wanted.len()..])
                {
                    return path.replacen(&wanted, &format!("{before}{id}"), 1);
                }
            }
        }
        path.to_owned()
    }
}

fn account_name(text: &str) -> AccountName {
    AccountName::parse(text).expect("a name")
}

fn namespace(text: &str) -> NamespaceName {
    NamespaceName::parse(text).expect("a name")
}

fn repository(text: &str) -> RepositoryName {
    RepositoryName::parse(text).expect("a name")
}

fn scopes() -> [Scope; 4] {
    let namespace = |name: &str| Scope::Namespace(name.into());
    [Scope::Repository(repository("acme/api")), namespace("acme"), Scope::Registry, namespace("admin")]
}

fn secret(role: &str) -> String {
    // Of the form that tokens have, so that it is looked up.
    format!("bbt_{role:x<43}")
}

fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

fn token(id: Uuid, account: Option<&str>, scope: TokenScope) -> Token {
    Token {
        id,
        title: "test".into(),
        account: account.map(account_name),
        scopes: TokenScopes::new([scope]),
        created_by: "test".into(),
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        last_used_at: None,
    }
}

async fn add_account(store: &Store, name: &str, kind: AccountKind) {
    let account = Account {
        name: account_name(name),
        id: Uuid::new_v4(),
        kind,
        email: None,
        email_verified: false,
        superuser: name == "superuser",
        enabled: true,
        created_at: Timestamp::UNIX_EPOCH,
    };
    store.put_account(&account).await.expect("put");
}

async fn add_owners(store: &Store, organization: &str, owner: &str) {
    add_account(store, organization, AccountKind::Organization).await;
    let team = Team {
        organization: namespace(organization),
        name: TeamName::parse("owners").expect("a name"),
        role: TeamRole::Admin,
    };
    store.put_team(&team).await.expect("put");
    store.add_member(&team.organization, &team.name, &account_name(owner)).await.expect("added");
}

/// Everybody, and the tokens that they ask with.
async fn fill(store: &Store) {
    // Its robots belong to it.
    add_account(store, "acme", AccountKind::Organization).await;
    let others = ALIKE.iter().map(|(role, _)| role);
    for (place, role) in ROLES
        .iter()
        .chain(others)
        .enumerate()
        .filter(|(_, role)| !["anonymous", "operator", "registry", "cookie"].contains(role))
    {
        let (account, scope) = match *role {
            "robot" => (Some("acme+ci"), TokenScope::Superuser),
            "narrow" => (Some("admin"), TokenScope::Account),
            "producer" => (None, TokenScope::Publish),
            "metrics" => (None, TokenScope::Metrics),
            role => (Some(role), TokenScope::Superuser),
        };
        if let Some(name) = account {
            let kind = if *role == "robot" { AccountKind::Robot } else { AccountKind::User };
            add_account(store, name, kind).await;
        }
        let id = Uuid::from_u128(100 + place as u128);
        store.create_token(&token(id, account, scope), &hash(&secret(role))).await.expect("created");
    }
    add_owners(store, "acme", "owner").await;
    add_owners(store, "other", "neighbour").await;
    for (team, member, role) in [
        ("dev", "writer", TeamRole::Member),
        ("x", "owner", TeamRole::Member),
        ("makers", "creator", TeamRole::Creator),
    ] {
        let name = TeamName::parse(team).expect("a name");
        let team = Team { organization: namespace("acme"), name, role };
        store.put_team(&team).await.expect("put");
        store.add_member(&team.organization, &team.name, &account_name(member)).await.expect("added");
    }
    for name in ["acme/api", "acme/open", "other/x"] {
        let public = name == "acme/open";
        let repository = Repository { name: repository(name), public, created_at: Timestamp::UNIX_EPOCH };
        store.put_repository(&repository).await.expect("put");
    }
    for (grantee, role) in [("acme+ci", RepositoryRole::Read), ("admin", RepositoryRole::Admin)] {
        grant(store, grantee, role).await;
    }
}

async fn grant(store: &Store, grantee: &str, role: RepositoryRole) {
    let permission = Permission { grantee: Grantee::parse(grantee).expect("one"), role };
    store.grant(&repository("acme/api"), &permission).await.expect("granted");
}

fn notification(number: u128, scope: Scope) -> Notification {
    Notification {
        id: Uuid::from_u128(number).into(),
        title: None,
        scope,
        kinds: vec![Kind::RepoPush],
        event_config: Map::new(),
        method: "webhook".into(),
        config: json!({"url": "https://ci.example.com/"}).as_object().expect("an object").clone(),
        secret: None,
        format: "quay".into(),
        retry: None,
        state: NotificationState::Active,
        state_reason: None,
        failures: 0,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        author: None,
        succeeded_at: None,
    }
}

/// Puts what the routes are about back to where it was.
async fn restore(store: &Store) -> Made {
    let at = Timestamp::UNIX_EPOCH;
    store.delete_repository(&repository("acme/new")).await.expect("answered");
    let x = TeamName::parse("x").expect("a name");
    store.remove_member(&namespace("acme"), &x, &account_name("stranger")).await.expect("answered");
    let old = Repository { name: repository("acme/old"), public: false, created_at: at };
    store.put_repository(&old).await.expect("put");
    grant(store, "reader", RepositoryRole::Read).await;
    grant(store, "acme/dev", RepositoryRole::Write).await;
    sign_in(store).await;
    let event = "of-repository";
    let source = "registry.example.com";
    let body = push_event(event).to_string().into_bytes();
    let seen = SeenEvent {
        source: source.into(),
        id: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::nil(),
        accepted_at: at,
        body,
    };
    store.admit_events(&[seen], Duration::from_secs(1)).await.expect("admitted");
    let mut delivery = [DeliveryId::from(Uuid::nil()); 4];
    for (index, ((_, number), scope)) in NUMBERS.iter().zip(scopes()).enumerate() {
        let notification = notification(*number, scope);
        store.delete_notification(notification.id).await.expect("answered");
        store.create_notification(&notification).await.expect("created");
        delivery[index] = DeliveryId::derive(source, event, notification.id);
        let records = delivered(source, event, delivery[index], notification.id, at);
        store.record(&records, 100).await.expect("recorded");
    }
    let [of_repository, of_namespace] =
        [1, 2].map(|number| Some(NotificationId::from(Uuid::from_u128(number))));
    for ((_, number), of) in LETTERS.iter().zip([of_repository, of_namespace, None]) {
        let letter = DeadLetter {
            id: Uuid::from_u128(*number),
            origin: "ingest.distribution".into(),
            reason: "undecodable".into(),
            detail: String::new(),
            delivery: None,
            notification: of,
            method: None,
            subject: None,
            attempts: 0,
            body: b"?".to_vec(),
            died_at: at,
        };
        store.archive_dead_letters(&[letter]).await.expect("archived");
    }
    let own = token(Uuid::from_u128(ADMINS_TOKEN), Some("admin"), TokenScope::Account);
    store.create_token(&own, &hash("of nobody")).await.expect("created");
    let told = InboxRow {
        delivery: delivery[0],
        target_kind: "user".into(),
        target: "admin".into(),
        kind: Kind::RepoPush.into(),
        metadata: Map::new(),
        created_at: at,
    };
    store.add_to_inbox(&[told]).await.expect("added");
    let item = store.inbox("user", "admin", None, 1).await.expect("a page").rows[0].id;
    Made { delivery, item }
}

/// The admin's cookie is of a login again, whatever became of it.
async fn sign_in(store: &Store) {
    let (now, known) = (Timestamp::now(), hash(&cookie()));
    store.end_session(&known).await.expect("answered");
    let end = now + SignedDuration::from_hours(1);
    store.begin_session(&account_name("admin"), &known, now, end).await.expect("begun");
}

fn delivered(
    source: &str,
    event: &str,
    delivery: DeliveryId,
    notification: NotificationId,
    at: Timestamp,
) -> [Record; 2] {
    let planned = PlannedDelivery { delivery, notification, method: "webhook".into() };
    let fanned_out = FannedOut {
        source: source.into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        deliveries: vec![planned],
    };
    // Later than any resend of an earlier round told.
    let attempt = AttemptRecord {
        delivery,
        notification,
        method: "webhook".into(),
        source: source.into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        attempt: 1,
        started_at: at + SignedDuration::from_secs(1),
        duration_ms: 1,
        outcome: "delivered".into(),
        cause: None,
        status: Some(200),
        state: DeliveryState::Delivered,
        next_due_at: None,
        on_probation: false,
    };
    [
        Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None },
        Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) },
    ]
}

fn credential(role: &str) -> Option<String> {
    match role {
        "anonymous" => None,
        "operator" => Some(format!("Bearer {TOKEN}")),
        "registry" => {
            let header = json!({"alg": "EdDSA", "kid": "ed25519"});
            let claims = registry::claims("acme/api", &["*"]);
            Some(format!("Bearer {}", registry::sign("ed25519", &header, &claims)))
        }
        role => Some(format!("Bearer {}", secret(role))),
    }
}

/// The cookie of the admin's login.
fn cookie() -> String {
    format!("bbs_{:x<43}", "cookie")
}

/// The headers by which a role shows who it is.
fn headers_of(role: &str) -> Vec<(&'static str, String)> {
    if role != "cookie" {
        return credential(role).into_iter().map(|credential| ("authorization", credential)).collect();
    }
    let cookie = cookie();
    let word = BASE64_URL_SAFE_NO_PAD.encode(hash(&format!("csrf\n{cookie}")));
    vec![("cookie", format!("bellbuoy_session={cookie}")), ("x-csrf-token", word)]
}

/// What every role is answered on a route of the table.
fn expected((verb, path, body, ok, answers): &Row) -> Vec<(&'static str, u16)> {
    let mut expected: Vec<_> = ROLES.into_iter().zip(answers(*ok)).collect();
    for (role, like) in ALIKE {
        let like = if (role, *verb) == ("auditor", "GET") { SUPERUSER } else { like };
        let body = body.to_string();
        let otherwise = OTHERWISE
            .iter()
            .find(|(who, by, at, of, _)| (*who, by, at) == (role, verb, path) && body.contains(of));
        let place = ROLES.iter().position(|known| *known == like).expect("a role");
        expected.push((role, otherwise.map_or(answers(*ok)[place], |(.., status)| *status)));
    }
    expected
}

#[test]
fn what_is_otherwise_is_of_the_table() {
    for (role, verb, path, ..) in OTHERWISE {
        assert!(ALIKE.iter().any(|(known, _)| known == role), "{role}");
        assert!(table().iter().any(|(known, at, ..)| (known, at) == (verb, path)), "{verb} {path}");
    }
}

#[tokio::test]
async fn every_route_answers_every_role_as_the_table_says() {
    let registry = RegistryTokens::new(registry::ISSUER, registry::AUDIENCE, || async {
        Ok(registry::JWKS.as_bytes().to_vec())
    });
    let generous = |api: &mut Api| {
        api.limits.wrong_tokens = u32::MAX;
        api.limits.letters = u32::MAX;
        let auth = Auth::new([TOKEN]).expect("a token").with_registry(registry);
        api.auth = auth.with_readonly_superusers(vec![account_name("auditor")]);
    };
    let rig = Rig::with(generous, ServerLimits::default()).await;
    fill(&rig.store).await;
    let mut wrong = Vec::new();
    for row in table() {
        let (verb, path, body, ..) = &row;
        for (role, expected) in expected(&row) {
            let made = restore(&rig.store).await;
            let shown = headers_of(role);
            let mut headers: Vec<(&str, &str)> =
                shown.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let content = if body.is_null() { String::new() } else { body.to_string() };
            if path.starts_with("/v1/events") && !body.is_null() {
                headers.push(("content-type", "application/cloudevents+json"));
            } else if !body.is_null() {
                headers.push(JSON);
            }
            let answer = rig.raw(verb, &made.path(path), &headers, content).await;
            if answer.status != expected {
                wrong.push(format!(
                    "{verb} {path} as {role}: {} not {expected}: {}",
                    answer.status,
                    answer.text()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_explanation_shows_nobody_elses_notification() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    restore(&rig.store).await;
    for (role, shown) in [("admin", 1), ("owner", 2), ("superuser", 3)] {
        let authorization = credential(role).expect("a credential");
        let answer =
            rig.raw("GET", "/v1/events/of-repository", &[("authorization", &authorization)], "").await;
        let considered = answer.json()["events"][0]["considered"].as_array().expect("a list").len();
        assert_eq!(considered, shown, "{role}");
    }
}

#[tokio::test]
async fn a_token_ends_when_it_expires_is_revoked_or_its_account_is_disabled() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    let ask = async |token: &str| {
        let authorization = format!("Bearer {token}");
        rig.raw("GET", "/v1/inbox", &[("authorization", &authorization)], "").await
    };
    let body =
        json!({"title": "mine", "scopes": ["user:admin"], "account": "reader", "expires_in_seconds": 3600});
    let made = rig.post("/v1/tokens", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let (secret, id) =
        (made.json()["token"].as_str().expect("a token").to_owned(), made.json()["id"].clone());
    assert_eq!(ask(&secret).await.status, 200);
    let listed = rig.get("/v1/tokens?account=reader").await;
    assert!(!listed.text().contains(&secret), "shown once");
    let path = format!("/v1/tokens/{}", id.as_str().expect("an id"));
    assert_eq!(rig.send("DELETE", &path, &[], "").await.status, 204);
    until_refused(async || ask(&secret).await.status.as_u16()).await;

    let past = Some(Timestamp::UNIX_EPOCH);
    let expired = Token { expires_at: past, ..token(Uuid::new_v4(), Some("reader"), TokenScope::Account) };
    let old = self::secret("expired");
    rig.store.create_token(&expired, &hash(&old)).await.expect("created");
    problem(&ask(&old).await, 401);

    let writers = self::secret("writer");
    assert_eq!(ask(&writers).await.status, 200);
    let off = json!({"kind": "user", "enabled": false});
    assert_eq!(rig.send("PUT", "/v1/directory/accounts/writer", &[JSON], off.to_string()).await.status, 200);
    until_refused(async || ask(&writers).await.status.as_u16()).await;
}

/// What was read of a token serves for a second; then it is looked up again.
async fn until_refused(ask: impl AsyncFn() -> u16) {
    let refused = async {
        while ask().await != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused).await.expect("still let in");
}

#[tokio::test]
async fn nobody_makes_a_token_for_more_than_its_own() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    let make = async |role: &str, scopes: &[&str], account: Option<&str>| {
        let authorization = credential(role).expect("a credential");
        let headers = [("authorization", &*authorization), JSON];
        let body = json!({"title": "x", "scopes": scopes, "account": account}).to_string();
        rig.raw("POST", "/v1/tokens", &headers, body).await.status.as_u16()
    };
    assert_eq!(make("narrow", &["repo:admin"], Some("admin")).await, 403);
    assert_eq!(make("narrow", &["super:user"], Some("admin")).await, 403);
    assert_eq!(make("admin", &["repo:admin", "org:admin"], Some("admin")).await, 201);
    assert_eq!(make("admin", &["repo:admin"], Some("owner")).await, 403);
    assert_eq!(make("superuser", &["repo:admin"], Some("nobody")).await, 400);
    assert_eq!(make("superuser", &[], Some("admin")).await, 400);
}

#[tokio::test]
async fn a_token_with_an_end_makes_none_that_outlives_it() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    let hour = Timestamp::from_second(Timestamp::now().as_second() + 3600).expect("a time");
    for (role, account, scope) in
        [("short", Some("admin"), TokenScope::Account), ("brief", None, TokenScope::Superuser)]
    {
        let ending = Token { expires_at: Some(hour), ..token(Uuid::new_v4(), account, scope) };
        rig.store.create_token(&ending, &hash(&secret(role))).await.expect("created");
    }
    let make = async |role: &str, seconds: Option<u32>, account: Option<&str>| {
        let authorization = format!("Bearer {}", secret(role));
        let headers = [("authorization", &*authorization), JSON];
        let body = json!({"title": "x", "scopes": ["user:admin"], "account": account, "expires_in_seconds": seconds});
        rig.raw("POST", "/v1/tokens", &headers, body.to_string()).await
    };
    for (role, account) in [("short", "admin"), ("brief", "reader")] {
        for seconds in [None, Some(3601), Some(u32::MAX)] {
            let detail = problem(&make(role, seconds, Some(account)).await, 403);
            assert!(detail.contains("expires_in_seconds") && detail.contains(&hour.to_string()), "{detail}");
        }
        let answer = make(role, Some(60), Some(account)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    assert_eq!(make("admin", None, Some("admin")).await.status, 201, "one without an end still can");
}

#[tokio::test]
async fn who_did_what_is_written_down() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    let admin = credential("admin").expect("a credential");
    let headers = [("authorization", &*admin), JSON];
    let path = "/api/v1/repository/acme/api/notification/";
    let made = rig.raw("POST", path, &headers, common::webhook_body().to_string()).await.json();
    let id = made["uuid"].as_str().expect("an id").to_owned();
    assert_eq!(rig.raw("POST", &format!("/v1/notifications/{id}/pause"), &headers, "").await.status, 200);
    assert_eq!(rig.raw("POST", &format!("/v1/notifications/{id}/pause"), &headers, "").await.status, 200);
    assert_eq!(rig.raw("POST", &format!("/v1/notifications/{id}/reset"), &headers, "").await.status, 200);
    assert_eq!(rig.raw("DELETE", &format!("{path}{id}"), &headers, "").await.status, 204);
    let audit = rig.get(&format!("/v1/audit?target={id}")).await.json();
    let entries = audit["entries"].as_array().expect("a list");
    let actions: Vec<&str> = entries.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(
        actions,
        ["notification.delete", "notification.reset", "notification.pause", "notification.create"],
        "a second pause changes nothing"
    );
    for entry in entries {
        assert_eq!((&entry["actor"], &entry["place"]), (&json!("admin"), &json!("acme/api")));
        assert!(entry["address"].is_string());
    }
    assert!(!audit.to_string().contains("whsec_"));
}

#[tokio::test]
async fn every_change_by_quays_surface_is_written_down_of_a_repository_s_and_of_a_namespace_s() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    let quota = json!({"event": "quota_error", "method": "webhook", "config": {"url": "https://ci.example.com/"}, "eventConfig": {}});
    for (who, all, body, place) in [
        ("admin", "/api/v1/repository/acme/api/notification/", common::webhook_body(), "acme/api"),
        ("owner", "/api/v1/organization/acme/notifications", quota.clone(), "acme"),
        ("owner", "/api/v1/user/namespacenotifications", quota, "owner"),
    ] {
        let credential = credential(who).expect("a credential");
        let headers = [("authorization", &*credential), JSON];
        let made = rig.raw("POST", all, &headers, body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let id = made.json()["uuid"].as_str().expect("an id").to_owned();
        let one = format!("{}/{id}", all.trim_end_matches('/'));
        for (verb, path, body, status) in [
            ("PUT", one.clone(), body.to_string(), 200),
            ("POST", format!("{one}/pause"), String::new(), 200),
            ("POST", format!("{one}/resume"), String::new(), 200),
            ("POST", one.clone(), String::new(), 204),
            ("POST", format!("{one}/test"), String::new(), 200),
            ("GET", one.clone(), String::new(), 200),
            ("DELETE", one.clone(), String::new(), 204),
        ] {
            let answer = rig.raw(verb, &path, &headers, body).await;
            assert_eq!(answer.status, status, "{verb} {path}: {}", answer.text());
        }
        let audit = rig.get(&format!("/v1/audit?target={id}")).await.json();
        let entries = audit["entries"].as_array().expect("a list");
        let actions: Vec<&str> = entries.iter().rev().filter_map(|entry| entry["action"].as_str()).collect();
        let expected = ["create", "change", "pause", "resume", "reset", "delete"]
            .map(|word| format!("notification.{word}"));
        assert_eq!(actions, expected, "{all}: neither a look nor a test is a change");
        for entry in entries {
            assert_eq!((&entry["actor"], &entry["place"]), (&json!(who), &json!(place)), "{entry}");
        }
    }
}
