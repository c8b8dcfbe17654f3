//! Docker Trusted Registry's surface, row by row: paths, codes and bodies that its clients and scripts rely on.

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bellbuoy_api::{ServerLimits, Trial};
use bellbuoy_domain::{
    AccountKind, AccountName, AttemptRecord, Context, DeliveryId, DeliveryState, Event, Format, Grantee,
    Kind, Notification, NotificationId, NotificationState, Record, Registry, RepositoryName, RepositoryRole,
    Scope, WIRE_VERSION, dtr, webhook_payload,
};
use bellbuoy_store::{Account, Permission, Repository};
use bellbuoy_testkit::http::Answer;
use common::{AUTHORIZED, JSON, Rig, TOKEN};
use futures_util::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::timeout};
use uuid::Uuid;

/// Long against anything that a test waits for.
const SOON: Duration = Duration::from_secs(20);

const WEBHOOKS: &str = "/api/v0/webhooks";
const NIL: &str = "00000000-0000-0000-0000-000000000000";
const NEVER: &str = "0001-01-01T00:00:00Z";
const UNKNOWN: &str = "3f0c6a1b9d2e4f7788aa55cc11dd99ee3f0c6a1b9d2e4f7788aa55cc11dd99ee";

/// A whole webhook of empty texts around what matters, as one client sends it.
fn form(event_type: &str, key: &str) -> Value {
    json!({
        "id": "", "type": event_type, "key": key, "endpoint": "https://ci.example.com/hook", "authorID": "",
        "createdAt": "", "lastSuccessfullAt": "", "inactive": "", "tlsCert": "", "skipTLSVerification": false,
    })
}

fn id(webhook: &Value) -> &str {
    webhook["id"].as_str().expect("an id")
}

/// Holds that an answer is a refusal in DTR's form with this code, and gives its message.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/json");
    let body = answer.json();
    let error = &body["errors"][0];
    assert_eq!((&error["code"], body["errors"].as_array().map(Vec::len)), (&json!(code), Some(1)), "{body}");
    assert!(error.as_object().expect("an object").contains_key("detail"), "{body}");
    error["message"].as_str().expect("a message").to_owned()
}

async fn create(rig: &Rig, form: &Value) -> Value {
    let answer = rig.post(WEBHOOKS, form).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

async fn listed(rig: &Rig, path: &str) -> Vec<Value> {
    let answer = rig.get(path).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["content-type"]),
        (200, &"application/json".parse().expect("a value"))
    );
    answer.json().as_array().unwrap_or_else(|| panic!("not a bare array: {}", answer.text())).clone()
}

#[tokio::test]
async fn the_sequence_of_a_client_token_list_create_list_delete_works_with_its_token_in_the_url() {
    let rig = Rig::start().await;
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("admin:{TOKEN}")));
    let headers = [("authorization", basic.as_str()), JSON];
    let body = json!({"tokenLabel": "diver"}).to_string();
    let made = rig.raw("POST", "/api/v0/api_tokens?username=admin", &headers, body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["tokenLabel"], "diver");
    let token = made.json()["token"].as_str().expect("a token").to_owned();
    let with = |path: &str| format!("{path}?refresh_token={token}");

    let empty = rig.raw("GET", &with(WEBHOOKS), &[], "").await;
    assert_eq!((empty.status.as_u16(), empty.json()), (200, json!([])));
    let body = form("TAG_PUSH", "acme/api").to_string();
    let created = rig.raw("POST", &with(WEBHOOKS), &[JSON], body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let created = created.json();
    let listed = rig.raw("GET", &with(WEBHOOKS), &[], "").await;
    assert_eq!(listed.json(), json!([created]));
    let one = with(&format!("{WEBHOOKS}/{}", id(&created)));
    let deleted = rig.raw("DELETE", &one, &[], "").await;
    assert_eq!((deleted.status.as_u16(), deleted.text().is_empty()), (204, true));
    refused(&rig.raw("DELETE", &one, &[], "").await, 404, "NO_SUCH_WEBHOOK");
    // Basic, Bearer and the URL are three ways of the same.
    let bearer = format!("Bearer {token}");
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("admin:{token}")));
    for value in [&bearer, &basic] {
        assert_eq!(rig.raw("GET", WEBHOOKS, &[("authorization", value)], "").await.status, 200);
    }
    refused(
        &rig.raw("GET", &format!("{WEBHOOKS}?refresh_token=wrong"), &[], "").await,
        401,
        "NOT_AUTHENTICATED",
    );
    let elsewhere = rig.raw("GET", &with("/v1/notifications"), &[], "").await;
    assert_eq!(elsewhere.status, 401, "a token in the URL is for this surface alone");
}

#[tokio::test]
async fn a_webhook_has_every_member_of_dtrs() {
    let rig = Rig::start().await;
    let created = create(&rig, &form("TAG_PUSH", "acme/api")).await;
    let uuid: Uuid = id(&created).parse().expect("a UUID");
    let at = created["createdAt"].as_str().expect("a time");
    at.parse::<Timestamp>().expect("RFC 3339");
    let expected = json!({
        "id": uuid, "type": "TAG_PUSH", "key": "acme/api", "endpoint": "https://ci.example.com/hook",
        "authorID": NIL, "createdAt": at, "lastSuccessfulAt": NEVER, "inactive": false, "tlsCert": "",
        "skipTLSVerification": false,
    });
    assert_eq!(created, expected);
    for path in [WEBHOOKS, "/api/v0/repositories/acme/api/webhooks"] {
        assert_eq!(listed(&rig, path).await, std::slice::from_ref(&expected), "{path}");
    }
}

#[tokio::test]
async fn the_last_success_is_shown_once_there_is_one() {
    let rig = Rig::start().await;
    let created = create(&rig, &form("TAG_PUSH", "acme/api")).await;
    let notification: NotificationId = id(&created).parse().expect("a UUID");
    let at = Timestamp::constant(1_790_000_000, 0);
    let attempt = AttemptRecord {
        delivery: DeliveryId::derive("registry.example.com", "1", notification),
        notification,
        method: "webhook".into(),
        source: "registry.example.com".into(),
        event: "1".into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        attempt: 1,
        started_at: at,
        duration_ms: 0,
        outcome: "delivered".into(),
        cause: None,
        status: Some(200),
        state: DeliveryState::Delivered,
        next_due_at: None,
        on_probation: false,
    };
    rig.store
        .record(&[Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) }], 20)
        .await
        .expect("recorded");
    assert_eq!(listed(&rig, WEBHOOKS).await[0]["lastSuccessfulAt"], at.to_string());
}

#[tokio::test]
async fn each_scope_has_its_key_and_its_list() {
    let rig = Rig::start().await;
    let of_repository = create(&rig, &form("TAG_PUSH", "acme/api")).await;
    let of_nested = create(&rig, &form("TAG_PUSH", "acme/team/api")).await;
    let of_namespace = create(&rig, &form("REPO_EVENT", "acme")).await;
    let everywhere = create(&rig, &form("SCANNER_UPDATE_COMPLETED", "")).await;
    let mut without_key = form("MANIFEST_PUSH", "");
    without_key.as_object_mut().expect("an object").remove("key");
    let also_everywhere = create(&rig, &without_key).await;
    assert_eq!((&everywhere["key"], &also_everywhere["key"]), (&json!(""), &json!("")));
    for (path, expected) in [
        ("/api/v0/repositories/acme/api/webhooks", vec![&of_repository]),
        ("/api/v0/repositories/acme/team/api/webhooks", vec![&of_nested]),
        ("/api/v0/repositories/acme/webhooks", vec![&of_namespace]),
        ("/api/v0/accounts/acme/webhooks", vec![&of_namespace]),
        ("/api/v0/repositories/acme/none/webhooks", vec![]),
        ("/api/v0/accounts/acme/webhooks?webhookType=TAG_PUSH", vec![]),
        ("/api/v0/accounts/acme/webhooks?webhookType=REPO_EVENT", vec![&of_namespace]),
    ] {
        assert_eq!(listed(&rig, path).await.iter().collect::<Vec<_>>(), expected, "{path}");
    }
    let count = async |wanted: &str| listed(&rig, &format!("{WEBHOOKS}{wanted}")).await.len();
    assert_eq!(count("").await, 5);
    assert_eq!(count("?webhookType=any").await, 5);
    assert_eq!(count("?webhookType=TAG_PUSH").await, 2);
    assert_eq!(count("?webhookType=NONSENSE").await, 0);
}

#[tokio::test]
async fn every_type_of_dtrs_can_be_subscribed_to_and_means_its_kinds() {
    let rig = Rig::start().await;
    let of = async |created: &Value| {
        let id: NotificationId = id(created).parse().expect("a UUID");
        rig.store.notification(id).await.expect("read").expect("there")
    };
    for kind in Kind::ALL {
        let Some(name) = kind.dtr_type() else { continue };
        let created = create(&rig, &form(name, "")).await;
        let stored = of(&created).await;
        assert_eq!((&created["type"], stored.kinds), (&json!(name), vec![*kind]));
        assert_eq!((stored.format.as_str(), stored.method.as_str()), ("dtr", "webhook"));
    }
    let created = create(&rig, &form("REPO_EVENT", "acme")).await;
    let stored = of(&created).await;
    assert_eq!(created["type"], "REPO_EVENT");
    assert_eq!(stored.kinds, [Kind::RepoCreated, Kind::RepoUpdated, Kind::RepoDeleted]);
    assert_eq!(stored.config["dtr_type"], "REPO_EVENT", "its payloads say what was subscribed to");
}

#[tokio::test]
async fn a_webhook_of_any_api_is_seen_through_all_and_changed_through_each() {
    let rig = Rig::start().await;
    let ours = create(&rig, &form("TAG_PUSH", "acme/api")).await;
    let quays = rig.webhook("acme/api").await;
    let native = json!({
        "scope": {"repository": "acme/api"}, "kinds": ["build_failure", "tag_delete", "repo_push"],
        "method": "webhook", "config": {"url": "https://ci.example.com/native"},
    });
    let native = rig.post("/v1/notifications", &native).await.json();
    let builds = json!({
        "scope": {"repository": "acme/api"}, "kinds": ["build_failure"], "method": "webhook",
        "config": {"url": "https://ci.example.com/builds"},
    });
    let builds = rig.post("/v1/notifications", &builds).await.json();
    let mail = json!({
        "scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "quay_notification",
        "config": {"target": {"kind": "user", "name": "ann"}},
    });
    rig.post("/v1/notifications", &mail).await;
    let seen: Vec<(Value, Value)> = listed(&rig, "/api/v0/repositories/acme/api/webhooks")
        .await
        .into_iter()
        .map(|mut one| (one["id"].take(), one["type"].take()))
        .collect();
    let expected = [
        (&ours["id"], "TAG_PUSH"),
        (&quays["uuid"], "TAG_PUSH"),
        (&native["id"], "TAG_DELETE"),
        (&builds["id"], "BUILD_FAILURE"),
    ];
    for (id, name) in expected {
        assert!(seen.contains(&(id.clone(), json!(name))), "{name} is not in {seen:?}");
    }
    assert_eq!(seen.len(), expected.len(), "what has no endpoint is not DTR's");

    let ours = id(&ours);
    let through_quay = rig.get(&format!("/api/v1/repository/acme/api/notification/{ours}")).await.json();
    assert_eq!((&through_quay["event"], &through_quay["method"]), (&json!("repo_push"), &json!("webhook")));
    let natively = rig.get(&format!("/v1/notifications/{ours}")).await.json();
    assert_eq!((&natively["format"], &natively["state"]), (&json!("dtr"), &json!("active")));
    let body = json!({"id": ours, "inactive": true});
    rig.post("/api/v0/webhooks/update", &body).await;
    assert_eq!(rig.get(&format!("/v1/notifications/{ours}")).await.json()["state"], "paused");
    let gone = rig.send("DELETE", &format!("{WEBHOOKS}/{}", id(&native)), &[], "").await;
    assert_eq!(gone.status, 204);
    assert_eq!(rig.get(&format!("/v1/notifications/{}", id(&native))).await.status, 404);
}

#[tokio::test]
async fn an_update_changes_what_it_says_and_nothing_else() {
    let rig = Rig::start().await;
    let created = create(&rig, &form("REPO_EVENT", "acme/api")).await;
    let stored = async || {
        let id: NotificationId = id(&created).parse().expect("a UUID");
        rig.store.notification(id).await.expect("read").expect("there")
    };
    let secret = stored().await.secret;
    let update = async |changes: Value| {
        let mut body = json!({"id": id(&created)});
        body.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        let answer = rig.post("/api/v0/webhooks/update", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(answer.as_array().map(Vec::len), Some(1), "an array of one: {answer}");
        answer[0].clone()
    };
    let mut expected = created.clone();
    assert_eq!(update(json!({})).await, expected);
    expected["inactive"] = json!(true);
    assert_eq!(update(json!({"inactive": true})).await, expected);
    assert_eq!(update(json!({"inactive": true})).await, expected, "again is no change");
    expected["inactive"] = json!(false);
    let full = json!({"inactive": false, "tlsCert": "", "skipTLSVerification": false});
    assert_eq!(update(full).await, expected);
    assert_eq!(listed(&rig, WEBHOOKS).await, [expected]);
    assert_eq!(stored().await.secret, secret, "the key that it signs with stays");

    // One that was disabled for failing begins anew, on probation, and stays there whatever is written back of it.
    rig.store.disable_notification(stored().await.id, "failing", Timestamp::now()).await.expect("disabled");
    assert_eq!(listed(&rig, WEBHOOKS).await[0]["inactive"], true);
    assert_eq!(update(json!({"inactive": true})).await["inactive"], true);
    for again in [json!({"inactive": false}), json!({"inactive": false, "tlsCert": ""}), json!({})] {
        assert_eq!(update(again).await["inactive"], false);
        assert_eq!((stored().await.failures, stored().await.state), (0, NotificationState::Probation));
    }
    assert_eq!(listed(&rig, WEBHOOKS).await[0]["inactive"], false);
    update(json!({"inactive": true})).await;
    assert_eq!(stored().await.state, NotificationState::Paused);
}

#[tokio::test]
async fn of_plain_http_it_is_said_that_nothing_is_verified() {
    let rig = Rig::start().await;
    let mut plain = form("TAG_PUSH", "acme/api");
    plain["endpoint"] = json!("http://ci.example.com/hook");
    for said in [json!(true), json!(false), Value::Null] {
        plain["skipTLSVerification"] = said;
        assert_eq!(create(&rig, &plain).await["skipTLSVerification"], true);
    }
}

#[tokio::test]
async fn verification_is_skipped_only_where_the_operator_permits_it() {
    let mut skipping = form("TAG_PUSH", "acme/api");
    skipping["skipTLSVerification"] = json!(true);
    let rig = Rig::start().await;
    for path in [WEBHOOKS, "/api/v0/webhooks/test"] {
        let message = refused(&rig.post(path, &skipping).await, 400, "INVALID_JSON");
        assert!(message.contains("outbound.allow_skip_verification"), "{message}");
    }
    let verified = create(&rig, &form("TAG_PUSH", "acme/api")).await;
    let change = json!({"id": id(&verified), "skipTLSVerification": true});
    refused(&rig.post("/api/v0/webhooks/update", &change).await, 400, "INVALID_JSON");
    assert_eq!(listed(&rig, WEBHOOKS).await, [verified]);

    let rig = Rig::with(|api| api.may_skip_verification = true, ServerLimits::default()).await;
    let created = create(&rig, &skipping).await;
    assert_eq!(created["skipTLSVerification"], true);
    let stored: NotificationId = id(&created).parse().expect("a UUID");
    let stored = rig.store.notification(stored).await.expect("read").expect("there");
    assert_eq!(stored.config["skip_tls_verification"], true, "deliveries go by it");
}

#[tokio::test]
async fn a_certificate_is_kept_and_shown_and_what_is_none_is_refused() {
    let rig = Rig::start().await;
    let authority = bellbuoy_testkit::certs::Authority::new("Ours").expect("an authority");
    let mut with = form("TAG_PUSH", "acme/api");
    with["tlsCert"] = json!(authority.pem());
    let created = create(&rig, &with).await;
    assert_eq!(created["tlsCert"], authority.pem());
    let update = async |pem: &str| {
        let body = json!({"id": id(&created), "tlsCert": pem});
        rig.post("/api/v0/webhooks/update", &body).await
    };
    refused(&update("hunter2").await, 400, "INVALID_JSON");
    assert_eq!(update("").await.json()[0]["tlsCert"], "");
}

#[tokio::test]
async fn what_can_not_be_made_is_400_with_what_is_wrong() {
    let rig = Rig::start().await;
    let with = |name: &str, value: Value| {
        let mut body = form("TAG_PUSH", "acme/api");
        body[name] = value;
        body
    };
    for (body, word) in [
        (json!([]), "JSON object"),
        (json!({}), "missing field `type`"),
        (json!({"type": "TAG_PUSH"}), "missing field `endpoint`"),
        (with("type", json!("HELM_PUSH")), "known are TAG_PUSH"),
        (with("type", json!("SCANNER_UPDATE_COMPLETED")), "never happens in a repository"),
        (with("endpoint", json!("")), "Missing webhook URL"),
        (with("endpoint", json!("ftp://example.com/")), "Invalid webhook URL"),
        (with("key", json!("../x")), "`key`"),
        (with("key", json!("ACME")), "`key`"),
        (with("skipTLSVerification", json!("yes")), "boolean"),
    ] {
        let message = refused(&rig.post(WEBHOOKS, &body).await, 400, "INVALID_JSON");
        assert!(message.contains(word), "{body}: {message}");
    }
    for path in [WEBHOOKS, "/api/v0/webhooks/test", "/api/v0/webhooks/update"] {
        refused(&rig.send("POST", path, &[JSON], "{").await, 400, "INVALID_JSON");
        refused(&rig.send("POST", path, &[], "{}").await, 415, "UNSUPPORTED_MEDIA_TYPE");
        let form = ("content-type", "application/x-www-form-urlencoded");
        refused(&rig.send("POST", path, &[form], "a=b").await, 415, "UNSUPPORTED_MEDIA_TYPE");
        let accept = ("accept", "text/html, image/*;q=0.5");
        refused(&rig.send("POST", path, &[JSON, accept], "{}").await, 406, "NOT_ACCEPTABLE");
    }
    refused(&rig.send("GET", WEBHOOKS, &[("accept", "text/html")], "").await, 406, "NOT_ACCEPTABLE");
    for accept in ["*/*", "text/html, application/json;q=0.9", "application/*"] {
        assert_eq!(rig.send("GET", WEBHOOKS, &[("accept", accept)], "").await.status, 200, "{accept}");
    }
    assert_eq!(listed(&rig, WEBHOOKS).await, Vec::<Value>::new());
    let kept = create(&rig, &form("TAG_PUSH", "acme/api")).await;
    let path = format!("{WEBHOOKS}/{}", id(&kept));
    refused(&rig.send("DELETE", &path, &[("accept", "text/html")], "").await, 406, "NOT_ACCEPTABLE");
    let form = ("content-type", "application/x-www-form-urlencoded");
    refused(&rig.send("DELETE", &path, &[form], "a=b").await, 415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(listed(&rig, WEBHOOKS).await.len(), 1, "what was refused is still there");
    assert_eq!(rig.send("DELETE", &path, &[JSON, ("accept", "*/*")], "").await.status, 204);
}

#[tokio::test]
async fn what_is_not_there_and_verbs_that_are_not_taken_have_dtrs_codes() {
    let rig = Rig::start().await;
    for id in [UNKNOWN, NIL, "x"] {
        refused(&rig.send("DELETE", &format!("{WEBHOOKS}/{id}"), &[], "").await, 404, "NO_SUCH_WEBHOOK");
        let body = json!({"id": id, "inactive": true});
        refused(&rig.post("/api/v0/webhooks/update", &body).await, 404, "NO_SUCH_WEBHOOK");
    }
    refused(&rig.get("/api/v0/accounts/ACME!/webhooks").await, 404, "NO_SUCH_ACCOUNT");
    refused(&rig.get("/api/v0/repositories/acme/API!/webhooks").await, 404, "NO_SUCH_REPOSITORY");
    for path in ["/api/v0/nothing", "/api/v0/repositories/acme/api", "/api/v0/repositories/webhooks"] {
        refused(&rig.get(path).await, 404, "NOT_FOUND");
    }
    for (verb, path) in [
        ("PUT", WEBHOOKS),
        ("PATCH", WEBHOOKS),
        ("GET", "/api/v0/webhooks/x"),
        ("PUT", "/api/v0/webhooks/x"),
        ("GET", "/api/v0/webhooks/test"),
        ("POST", "/api/v0/repositories/acme/api/webhooks"),
    ] {
        let answer = rig.send(verb, path, &[], "").await;
        refused(&answer, 405, "NOT_ALLOWED");
        assert!(answer.headers.contains_key("allow"), "{verb} {path}");
    }
    for (headers, path) in [(&[][..], WEBHOOKS), (&[("authorization", "Bearer wrong")], "/api/v0/nothing")] {
        refused(&rig.raw("GET", path, headers, "").await, 401, "NOT_AUTHENTICATED");
    }
}

/// An account with a token for everything that it may do.
async fn account(rig: &Rig, name: &str) -> (Uuid, String) {
    let id = Uuid::new_v4();
    let account = Account {
        name: AccountName::parse(name).expect("a name"),
        id,
        kind: AccountKind::User,
        email: None,
        email_verified: false,
        superuser: false,
        enabled: true,
        created_at: Timestamp::UNIX_EPOCH,
    };
    rig.store.put_account(&account).await.expect("put");
    let made = rig.post(&format!("/api/v0/api_tokens?username={name}"), &json!({"tokenLabel": "test"})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    (id, format!("Bearer {}", made.json()["token"].as_str().expect("a token")))
}

#[tokio::test]
async fn a_user_lists_its_own_and_an_admin_of_the_place_everybodys() {
    let rig = Rig::start().await;
    let (ann, as_ann) = account(&rig, "ann").await;
    let (bob, as_bob) = account(&rig, "bob").await;
    let api = RepositoryName::parse("acme/api").expect("a name");
    let repository = Repository { name: api.clone(), public: false, created_at: Timestamp::UNIX_EPOCH };
    rig.store.put_repository(&repository).await.expect("put");
    for name in ["ann", "bob"] {
        let grantee = Grantee::parse(name).expect("a name");
        let permission = Permission { grantee, role: RepositoryRole::Admin };
        rig.store.grant(&api, &permission).await.expect("granted");
    }
    let create = async |token: &str, key: &str| {
        let headers = [("authorization", token), JSON];
        rig.raw("POST", WEBHOOKS, &headers, form("TAG_PUSH", key).to_string()).await
    };
    let anns = create(&as_ann, "acme/api").await.json();
    let bobs = create(&as_bob, "acme/api").await.json();
    let in_anns_namespace = create(&as_ann, "ann").await.json();
    assert_eq!((&anns["authorID"], &bobs["authorID"]), (&json!(ann), &json!(bob)));
    let ids = async |token: &str, path: &str| {
        let answer = rig.raw("GET", path, &[("authorization", token)], "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut ids: Vec<Value> =
            answer.json().as_array().expect("an array").iter().map(|one| one["id"].clone()).collect();
        ids.sort_by_key(Value::to_string);
        ids
    };
    let sorted = |webhooks: &[&Value]| {
        let mut ids: Vec<Value> = webhooks.iter().map(|one| one["id"].clone()).collect();
        ids.sort_by_key(Value::to_string);
        ids
    };
    assert_eq!(ids(&as_ann, WEBHOOKS).await, sorted(&[&anns, &in_anns_namespace]));
    assert_eq!(ids(&as_bob, WEBHOOKS).await, sorted(&[&bobs]));
    let admin = AUTHORIZED.1;
    assert_eq!(ids(admin, WEBHOOKS).await, sorted(&[&anns, &bobs, &in_anns_namespace]));
    let of_place = "/api/v0/repositories/acme/api/webhooks";
    for token in [&as_ann, &as_bob] {
        assert_eq!(ids(token, of_place).await, sorted(&[&anns, &bobs]));
    }
    // Without a key, on another's namespace, or with another's webhook, a user is told what it may know.
    refused(&create(&as_ann, "").await, 403, "NOT_AUTHORIZED");
    refused(&create(&as_ann, "bob").await, 404, "NO_SUCH_ACCOUNT");
    refused(&create(&as_ann, "acme/web").await, 404, "NO_SUCH_REPOSITORY");
    let delete = async |token: &str, webhook: &Value| {
        rig.raw("DELETE", &format!("{WEBHOOKS}/{}", id(webhook)), &[("authorization", token)], "").await
    };
    refused(&delete(&as_bob, &in_anns_namespace).await, 404, "NO_SUCH_WEBHOOK");
    assert_eq!(delete(&as_bob, &anns).await.status, 204, "an admin of the repository deletes anybody's");
    // Who administers the place no more sees no more what it made there.
    rig.store.revoke(&api, &Grantee::parse("bob").expect("a name")).await.expect("revoked");
    assert_eq!(ids(&as_bob, WEBHOOKS).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_token_is_for_ones_own_account_and_no_wider_than_ones_own() {
    let rig = Rig::start().await;
    let (_, as_ann) = account(&rig, "ann").await;
    account(&rig, "bob").await;
    let request =
        async |token: &str, path: &str| rig.raw("POST", path, &[("authorization", token), JSON], "{}").await;
    assert_eq!(request(&as_ann, "/api/v0/api_tokens?username=ann").await.status, 201);
    assert_eq!(request(&as_ann, "/api/v0/api_tokens").await.status, 201, "one's own without a name");
    for other in ["bob", "nobody"] {
        let path = format!("/api/v0/api_tokens?username={other}");
        refused(&request(&as_ann, &path).await, 403, "NOT_AUTHORIZED");
    }
    let narrow = json!({"title": "narrow", "scopes": ["user:admin"], "account": "ann"});
    let narrow = rig.post("/v1/tokens", &narrow).await.json();
    let narrow = format!("Bearer {}", narrow["token"].as_str().expect("a token"));
    let made = request(&narrow, "/api/v0/api_tokens?username=ann").await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = format!("Bearer {}", made.json()["token"].as_str().expect("a token"));
    let refused_there = rig
        .raw("POST", WEBHOOKS, &[("authorization", &made), JSON], form("TAG_PUSH", "ann/x").to_string())
        .await;
    refused(&refused_there, 403, "NOT_AUTHORIZED");
}

type Tried = Arc<Mutex<Vec<(Notification, Event)>>>;

async fn rig_that_tries(answer: Result<(), String>) -> (Rig, Tried) {
    let tried = Tried::default();
    let kept = Arc::clone(&tried);
    let trial = Trial::new(move |notification, event, _| {
        kept.lock().expect("no panic").push((notification, event));
        let answer = answer.clone();
        async move { answer }
    });
    (Rig::with(|api| api.trial = trial, ServerLimits::default()).await, tried)
}

#[tokio::test]
async fn a_test_sends_the_types_constant_payload_to_the_endpoint_and_stores_nothing() {
    let (rig, tried) = rig_that_tries(Ok(())).await;
    let types = Kind::ALL.iter().filter_map(|kind| kind.dtr_type()).chain([dtr::REPO_EVENT]);
    for name in types {
        let answer = rig.post("/api/v0/webhooks/test", &form(name, "ignored")).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, ""), "{name}");
        let (notification, event) = tried.lock().expect("no panic").pop().expect("one attempt");
        let checked = notification.check().expect("a webhook");
        assert_eq!(notification.config["url"], "https://ci.example.com/hook");
        let registry = Registry { title: "Test".into(), url: "https://registry.example.com".into() };
        let context = Context {
            registry: &registry,
            delivery: DeliveryId::derive(&event.source, &event.id, notification.id),
            notification: notification.id,
            callback_url: "",
            dtr_type: notification.config.get("dtr_type").and_then(Value::as_str),
        };
        assert_eq!(checked.format, Format::Dtr);
        let sent = webhook_payload(&event, checked.format, None, &context).expect("a payload");
        let mut sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
        let created = sent["createdAt"].as_str().expect("a time").parse::<Timestamp>().expect("RFC 3339");
        assert!(
            created.duration_until(Timestamp::now()).unsigned_abs() < Duration::from_mins(1),
            "{created}"
        );
        assert_eq!(sent["type"], name);
        sent["createdAt"] = Value::Null;
        let contents = &sent["contents"];
        let of_image = json!({"namespace": "foo", "repository": "bar", "tag": "latest"});
        for (member, value) in of_image.as_object().expect("an object") {
            if let Some(found) = contents.get(member) {
                assert_eq!(found, value, "{name}");
            }
        }
        if name == "TAG_PUSH" {
            let expected = json!({
                "type": "TAG_PUSH", "createdAt": null, "location": "/repositories/foo/bar/tags/latest",
                "contents": {
                    "namespace": "foo", "repository": "bar", "tag": "latest",
                    "digest": "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
                    "imageName": "registry.example.com/foo/bar:latest", "os": "linux", "architecture": "amd64",
                    "author": "", "pushedAt": "2015-01-02T15:04:05Z",
                },
            });
            assert_eq!(sent, expected);
        }
    }
    assert_eq!(listed(&rig, WEBHOOKS).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_test_that_the_endpoint_does_not_take_says_why() {
    let (rig, _) = rig_that_tries(Err("http_5xx: the receiver answered 503".into())).await;
    let answer = rig.post("/api/v0/webhooks/test", &form("TAG_PUSH", "")).await;
    let message = refused(&answer, 502, "ENDPOINT_FAILED");
    assert!(message.contains("answered 503"), "{message}");
}

#[tokio::test]
async fn tests_that_hang_take_two_places_of_a_host_and_eight_in_all_and_others_are_told_to_wait() {
    let answers = Arc::new(Semaphore::new(0));
    let tried = Arc::new(AtomicUsize::new(0));
    let (may_answer, count) = (Arc::clone(&answers), Arc::clone(&tried));
    let trial = Trial::new(move |_, _, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let may_answer = Arc::clone(&may_answer);
        async move {
            may_answer.acquire().await.expect("open").forget();
            Ok(())
        }
    });
    let rig = &Rig::with(|api| api.trial = trial, ServerLimits::default()).await;
    let test = async |host: usize| {
        let endpoint = format!("https://ci-{host}.example.com/hook");
        rig.post("/api/v0/webhooks/test", &json!({"type": "TAG_PUSH", "endpoint": endpoint})).await
    };
    let mut all_tried = 0;
    for (hosts, places) in [(1, 2), (20, 8)] {
        let mut tests: FuturesUnordered<_> = (0..20).map(|number| test(number % hosts)).collect();
        for _ in places..20 {
            let answer = timeout(SOON, tests.next()).await.expect("not kept waiting").expect("one of them");
            refused(&answer, 429, "TOO_MANY_REQUESTS");
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        }
        answers.add_permits(places);
        while let Some(answer) = tests.next().await {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        all_tried += places;
        assert_eq!(tried.load(Ordering::Relaxed), all_tried, "to {hosts} hosts");
    }
}

#[tokio::test]
async fn a_list_longer_than_a_page_is_one_array() {
    let rig = Rig::start().await;
    let stored = create(&rig, &form("TAG_PUSH", "acme/api")).await;
    let id: NotificationId = id(&stored).parse().expect("a UUID");
    let one = rig.store.notification(id).await.expect("read").expect("there");
    let more = bellbuoy_store::MAX_PAGE + 1;
    for number in 1..=more {
        // More than one place may have.
        let scope = if number % 2 == 0 { one.scope.clone() } else { Scope::Registry };
        let other = Notification { id: Uuid::from_u128(number.into()).into(), scope, ..one.clone() };
        rig.store.create_notification(&other).await.expect("created");
    }
    assert_eq!(listed(&rig, WEBHOOKS).await.len(), more as usize + 1);
    assert_eq!(listed(&rig, &format!("{WEBHOOKS}?webhookType=PROMOTION")).await.len(), 0);
}
