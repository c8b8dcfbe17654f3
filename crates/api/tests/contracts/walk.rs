//! One walk over everything that is served, so that of each operation an answer that is no refusal was held against the
//! document.

use std::time::Duration;

use bellbuoy_api::ServerLimits;
use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeliveryId, DeliveryState, Event, FannedOut, Kind, NotificationId,
    PlannedDelivery, Record, WIRE_VERSION,
};
use bellbuoy_store::{AwaitedCallback, DeadLetter, InboxRow, SecretKeys, SeenEvent};
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::common::{JSON, Rig, STRUCTURED, contract, push_event};

const PASSWORD: &str = "correct horse battery";
const CALLBACK: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// `ann`, who may do everything, on her way.
struct Walker {
    rig: Rig,
    authorization: String,
}

impl Walker {
    async fn start() -> Self {
        let keys = SecretKeys::generate().expect("random bytes");
        let keys = SecretKeys::parse(&keys).expect("a key");
        let with_keys = |api: &mut bellbuoy_api::Api| api.store = api.store.clone().with_secret_keys(keys);
        let rig = Rig::with(with_keys, ServerLimits::default()).await;
        let directory = json!({
            "version": 1,
            "users": [{"name": "ann", "email": "ann@example.com", "email_verified": true, "superuser": true}],
            "organizations": [{"name": "acme", "owners": ["ann"], "teams": [{"name": "dev", "members": ["ann"]}]}],
            "robots": [{"name": "acme+ci"}, {"name": "ann+bot"}],
            "repositories": [{"name": "acme/api", "permissions": [
                {"grantee": "acme/dev", "role": "write"}, {"grantee": "ann", "role": "admin"},
            ]}],
        });
        assert_eq!(rig.post("/v1/directory/import", &directory).await.status, 200);
        let scopes =
            ["repo:admin", "org:admin", "user:admin", "events:publish", "metrics:read", "super:user"];
        let token =
            rig.post("/v1/tokens", &json!({"title": "walk", "account": "ann", "scopes": scopes})).await;
        let token = token.json()["token"].as_str().expect("a token").to_owned();
        Self { rig, authorization: format!("Bearer {token}") }
    }

    /// Asks for what has to be given; null where it is given without a body.
    async fn go(&self, verb: &str, path: &str, body: Value) -> Value {
        let (headers, body) = match body {
            Value::Null => (vec![("authorization", self.authorization.as_str())], String::new()),
            body => (vec![("authorization", self.authorization.as_str()), JSON], body.to_string()),
        };
        let answer = self.rig.raw(verb, path, &headers, body).await;
        assert!(answer.status.is_success(), "{verb} {path}: {} {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Value {
        self.go("GET", path, Value::Null).await
    }

    async fn get_all(&self, paths: &[&str]) {
        for path in paths {
            self.get(path).await;
        }
    }

    async fn delete(&self, path: &str) {
        self.go("DELETE", path, Value::Null).await;
    }
}

#[tokio::test]
async fn every_operation_answers_as_the_document_says() {
    let walker = Walker::start().await;
    health_and_events(&walker).await;
    directory(&walker).await;
    native_notifications(&walker).await;
    history(&walker).await;
    quay_people(&walker).await;
    quay_repositories(&walker).await;
    for (base, slash) in [
        ("/api/v1/repository/acme/api/notification", "/"),
        ("/api/v1/organization/acme/notifications", ""),
        ("/api/v1/user/namespacenotifications", ""),
    ] {
        quay_notifications(&walker, base, slash).await;
    }
    dtr(&walker).await;
    callbacks(&walker).await;
    let seen = contract::seen();
    let missing: Vec<_> = contract::operations().difference(&seen).cloned().collect();
    assert!(missing.is_empty(), "no answer of these was seen: {missing:?}");
}

async fn health_and_events(walker: &Walker) {
    walker.get_all(&["/", "/healthz", "/readyz", "/metrics", "/v1/audit", "/v1/secrets"]).await;
    walker.go("POST", "/v1/secrets/rewrite", Value::Null).await;
    let headers = [("authorization", walker.authorization.as_str()), STRUCTURED];
    let answer = walker.rig.raw("POST", "/v1/events", &headers, push_event("42").to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    for registry in ["distribution", "gitlab", "harbor", "zot", "acr", "dockerhub", "ecr", "ghcr"] {
        walker.go("POST", &format!("/v1/ingest/{registry}?source=eu"), json!({})).await;
    }
}

async fn directory(walker: &Walker) {
    let (accounts, teams) = ("/v1/directory/accounts", "/v1/directory/organizations/acme/teams");
    let permission = "/v1/directory/permissions?repository=acme/new&grantee=bob";
    walker.go("PUT", &format!("{accounts}/bob"), json!({"kind": "user"})).await;
    walker.go("PUT", &format!("{accounts}/bob"), json!({"kind": "user", "email": "bob@example.com"})).await;
    walker.go("PUT", &format!("{accounts}/bob/password"), json!({"password": PASSWORD})).await;
    walker.delete(&format!("{accounts}/bob/password")).await;
    walker.go("PUT", &format!("{accounts}/ann/password"), json!({"password": PASSWORD})).await;
    walker.go("PUT", &format!("{teams}/qa"), json!({"role": "creator"})).await;
    walker.go("PUT", &format!("{teams}/qa/members/bob"), Value::Null).await;
    walker.get_all(&[accounts, &format!("{accounts}/bob"), teams, &format!("{teams}/qa/members")]).await;
    walker.delete(&format!("{teams}/qa/members/bob")).await;
    walker.delete(&format!("{teams}/qa")).await;
    walker.go("PUT", "/v1/directory/repositories/acme/new", json!({"public": true})).await;
    walker.go("PUT", permission, json!({"role": "write"})).await;
    walker
        .get_all(&[
            "/v1/directory/repositories?namespace=acme",
            "/v1/directory/permissions?repository=acme/new",
        ])
        .await;
    walker.delete(permission).await;
    walker.delete("/v1/directory/repositories/acme/new").await;
    walker.delete(&format!("{accounts}/bob")).await;
    let token = walker.go("POST", "/v1/tokens", json!({"title": "ci", "scopes": ["events:publish"]})).await;
    walker.get("/v1/tokens").await;
    walker.delete(&format!("/v1/tokens/{}", text(&token, "id"))).await;
}

fn text(object: &Value, member: &str) -> String {
    object[member].as_str().unwrap_or_else(|| panic!("{member} of {object}")).to_owned()
}

/// One of every scope and by several methods.
fn drafts() -> [Value; 4] {
    [
        json!({
            "scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook", "format": "dockerhub",
            "config": {
                "url": "https://ci.example.com/${name}", "bearer_token": "t", "headers": {"X-A": "b"},
                "success_statuses": ["2xx", 302], "chain": ["https://next.example.com"], "rate": 60,
                "signatures": ["x-signature", "standard-webhooks-v1a"],
            },
        }),
        json!({
            "title": "t", "scope": {"registry": true}, "kinds": ["repo_push", "quota_error"],
            "filter": {"tags": ["v*"]}, "method": "webhook", "format": "cloudevents",
            "config": {"url": "https://ci.example.com"},
            "retry": {"steps_ms": [5000], "longest_hint_ms": 60000, "client_error_attempts": 1},
        }),
        json!({
            "scope": {"namespace": "acme"}, "kinds": ["quota_error"], "method": "quay_notification",
            "config": {"target": {"kind": "org", "name": "acme"}},
        }),
        json!({
            "scope": {"repository": "acme/api"}, "kinds": ["vulnerability_found"], "method": "slack",
            "filter": {"level": 1, "digest": 60}, "config": {"url": "https://hooks.example.com/services/T0/B0/x"},
        }),
    ]
}

async fn native_notifications(walker: &Walker) {
    for draft in drafts() {
        let made = walker.go("POST", "/v1/notifications", draft.clone()).await;
        let one = format!("/v1/notifications/{}", text(&made, "id"));
        walker.go("PUT", &one, draft).await;
        for act in ["pause", "resume", "reset", "test"] {
            walker.go("POST", &format!("{one}/{act}"), Value::Null).await;
        }
        walker.go("POST", &format!("{one}/catch-up"), json!({"since": "2026-11-01T00:00:00Z"})).await;
        if made["method"] == "webhook" {
            walker.go("POST", &format!("{one}/rotate"), json!({"grace_seconds": 60})).await;
        }
        walker.get_all(&[&one, &format!("{one}/keys"), &format!("{one}/explain"), "/v1/notifications"]).await;
        walker.delete(&one).await;
    }
}

/// An event, its dead delivery with an attempt, dead letters, and an in-app item.
async fn history(walker: &Walker) {
    let made = walker.go("POST", "/v1/notifications", drafts()[1].clone()).await;
    let notification = text(&made, "id").parse().expect("an id");
    let delivery = dead_delivery(walker, notification).await;
    let of_it = format!("/v1/events/past?notification={notification}");
    walker
        .get_all(&["/v1/deliveries", &format!("/v1/deliveries/{delivery}"), "/v1/events/past", &of_it])
        .await;
    walker.get(&format!("/v1/notifications/{notification}/explain")).await;
    walker.go("POST", &format!("/v1/deliveries/{delivery}/resend"), Value::Null).await;
    walker.get("/v1/dead-letters").await;
    for (number, act) in [(1, "replay"), (2, "replay"), (3, "")] {
        let one = format!("/v1/dead-letters/{}", Uuid::from_u128(number));
        walker.get(&one).await;
        match (act, number) {
            ("", _) => walker.delete(&one).await,
            (_, 1) => drop(walker.go("POST", &format!("{one}/replay?as=event"), Value::Null).await),
            _ => drop(walker.go("POST", &format!("{one}/replay"), Value::Null).await),
        }
    }
    let row = InboxRow {
        delivery,
        target_kind: "user".into(),
        target: "ann".into(),
        kind: Kind::RepoPush.into(),
        metadata: Map::new(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    walker.rig.store.add_to_inbox(&[row]).await.expect("added");
    let inbox = walker.get("/v1/inbox").await;
    let item = text(&inbox["items"][0], "id");
    walker.go("PUT", &format!("/v1/inbox/{item}"), json!({"dismissed": false})).await;
    walker.get_all(&["/api/v1/user/notifications", &format!("/api/v1/user/notifications/{item}")]).await;
    walker.go("PUT", &format!("/api/v1/user/notifications/{item}"), json!({"dismissed": true})).await;
}

async fn dead_delivery(walker: &Walker, notification: NotificationId) -> DeliveryId {
    let store = &walker.rig.store;
    let at = Timestamp::from_millisecond(1_700_000_000_000).expect("a time");
    let event = Event::from_value(push_event("past"), at).expect("an event");
    let delivery = DeliveryId::derive(&event.source, &event.id, notification);
    let seen = SeenEvent {
        source: event.source.clone(),
        id: event.id.clone(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::new_v4(),
        accepted_at: at,
        body: event.to_json(),
    };
    store.admit_events(&[seen], Duration::from_mins(1)).await.expect("a store");
    let fanned_out = FannedOut {
        source: event.source.clone(),
        event: event.id.clone(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        deliveries: vec![PlannedDelivery { delivery, notification, method: "webhook".into() }],
    };
    let attempt = AttemptRecord {
        delivery,
        notification,
        method: "webhook".into(),
        source: event.source.clone(),
        event: event.id.clone(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        attempt: 1,
        started_at: at,
        duration_ms: 12,
        outcome: "rejected".into(),
        cause: Some(Cause::new(CauseCode::Http4xx, "seen in a test")),
        status: Some(404),
        state: DeliveryState::Dead,
        next_due_at: None,
        on_probation: false,
    };
    let records = [
        Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None },
        Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) },
    ];
    store.record(&records, 3).await.expect("recorded");
    let letter = |number: u128, origin: &str, reason: &str, body: Vec<u8>| DeadLetter {
        id: Uuid::from_u128(number),
        origin: origin.into(),
        reason: reason.into(),
        detail: "seen in a test".into(),
        delivery: None,
        notification: None,
        method: None,
        subject: None,
        attempts: 0,
        died_at: at,
        body,
    };
    let letters = [
        letter(1, "ingest.harbor", "undecodable", event.to_json()),
        letter(2, "bellbuoy.events", "poisoned", event.to_json()),
        letter(3, "ingest.harbor", "undecodable", b"\xff{".to_vec()),
    ];
    store.archive_dead_letters(&letters).await.expect("archived");
    delivery
}

async fn quay_people(walker: &Walker) {
    let paths = [
        "/api/v1/user/",
        "/api/v1/user/robots",
        "/api/v1/user/robots/bot",
        "/api/v1/organization/acme",
        "/api/v1/organization/acme/robots",
        "/api/v1/organization/acme/robots/ci",
        "/api/v1/entities/acme?includeOrgs=true&includeTeams=true&namespace=acme",
        "/api/v1/entities/dev?includeTeams=true&namespace=acme",
        "/api/v1/error/not_found",
    ];
    walker.get_all(&paths).await;
    let come = walker.rig.raw("GET", "/csrf_token", &[], "").await;
    let cookie = come.headers["set-cookie"].to_str().expect("text").split(';').next().unwrap_or_default();
    let word = text(&come.json(), "csrf_token");
    let headers = [("cookie", cookie), ("x-csrf-token", &word), JSON];
    let body = json!({"username": "ann", "password": PASSWORD}).to_string();
    let answer = walker.rig.raw("POST", "/api/v1/signin", &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    walker.go("POST", "/api/v1/signout", Value::Null).await;
}

async fn quay_repositories(walker: &Walker) {
    walker.go("POST", "/api/v1/repository", json!({"repository": "old", "namespace": "acme"})).await;
    walker.get("/api/v1/repository/acme/old").await;
    let email = "/api/v1/repository/acme/old/authorizedemail/kim@example.com";
    walker.go("POST", email, Value::Null).await;
    walker.get(email).await;
    let mail = walker.rig.mails.lock().expect("the mails").last().expect("a mail").1.text.clone();
    let link = mail.split_whitespace().find(|word| word.starts_with("https://")).expect("a link");
    let link = link.strip_prefix("https://bellbuoy.example.com").expect("our own").to_owned();
    assert_eq!(walker.rig.raw("GET", &link, &[], "").await.status, 200);
    for one in ["team/dev", "user/ann", "user/acme+ci"] {
        let path = format!("/api/v1/repository/acme/old/permissions/{one}");
        walker.go("PUT", &path, json!({"role": "read"})).await;
        walker.get(&path).await;
    }
    for kind in ["team", "user"] {
        walker.get(&format!("/api/v1/repository/acme/old/permissions/{kind}/")).await;
    }
    walker.delete("/api/v1/repository/acme/old/permissions/team/dev").await;
    walker.delete("/api/v1/repository/acme/old/permissions/user/acme+ci").await;
    walker.delete("/api/v1/repository/acme/old").await;
}

/// `slash` ends the path of all.
async fn quay_notifications(walker: &Walker, base: &str, slash: &str) {
    let draft = json!({
        "event": "quota_error", "method": "webhook", "title": "Quota", "eventConfig": {},
        "config": {"url": "https://ci.example.com/hook"},
    });
    let all = format!("{base}{slash}");
    let made = walker.go("POST", &all, draft.clone()).await;
    let one = format!("{base}/{}", text(&made, "uuid"));
    walker.go("PUT", &one, draft).await;
    for act in ["", "/test", "/pause"] {
        walker.go("POST", &format!("{one}{act}"), Value::Null).await;
    }
    walker.get_all(&[&all, &one]).await;
    walker.go("POST", &format!("{one}/resume"), Value::Null).await;
    walker.delete(&one).await;
}

async fn dtr(walker: &Walker) {
    let draft = json!({"type": "TAG_PUSH", "key": "acme/api", "endpoint": "https://ci.example.com/hook", "tlsCert": ""});
    let made = walker.go("POST", "/api/v0/webhooks", draft.clone()).await;
    let id = text(&made, "id");
    walker.go("POST", "/api/v0/webhooks/update", json!({"id": id, "inactive": true})).await;
    walker.go("POST", "/api/v0/webhooks/test", draft).await;
    walker
        .get_all(&[
            "/api/v0/webhooks",
            "/api/v0/webhooks?webhookType=any",
            "/api/v0/repositories/acme/webhooks",
            "/api/v0/repositories/acme/api/webhooks",
            "/api/v0/accounts/acme/webhooks",
        ])
        .await;
    walker.delete(&format!("/api/v0/webhooks/{id}")).await;
    walker.go("POST", "/api/v0/api_tokens?username=ann", json!({"tokenLabel": "jenkins"})).await;
}

async fn callbacks(walker: &Walker) {
    for (number, subject, path) in [(1, "acme/api", "/u/acme/api"), (2, "api", "/_/api")] {
        let token = format!("{}{number}", &CALLBACK[1..]);
        let delivery = DeliveryId::from(Uuid::from_u128(number));
        let awaited = AwaitedCallback {
            delivery,
            first: delivery,
            link: 0,
            notification: Uuid::from_u128(1).into(),
            source: "registry.example.com".into(),
            event: "1".into(),
            subject: subject.into(),
            expires_at: Timestamp::now() + SignedDuration::from_mins(10),
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        walker.rig.store.await_callback(&awaited, &hash).await.expect("awaited");
        let path = format!("{path}/hook/{token}/");
        let body =
            json!({"state": "success", "context": "Jenkins", "target_url": "https://ci.example.com/7"});
        assert_eq!(walker.rig.raw("POST", &path, &[JSON], body.to_string()).await.status, 200);
    }
}
