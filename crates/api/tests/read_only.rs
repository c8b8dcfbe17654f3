//! A server that is read-only.

mod common;

use bellbuoy_api::ServerLimits;
use bellbuoy_domain::RepositoryName;
use bellbuoy_store::Repository;
use common::{JSON, Rig, contract, problem, push_event, quay_problem, webhook_body};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::json;

const COLLECTION: &str = "/api/v1/repository/acme/api/notification/";

/// What is answered as ever: events, and logins.
const TAKEN: [&str; 3] = ["/v1/events", "/v1/ingest/", "/api/v1/signout"];

async fn read_only() -> Rig {
    Rig::with(|api| api.read_only = true, ServerLimits::default()).await
}

#[tokio::test]
async fn a_server_that_is_read_only_changes_nothing_and_says_so_in_the_words_of_each_surface() {
    let rig = read_only().await;
    let mut refused = 0;
    for operation in contract::guarded_operations() {
        let (verb, template) = operation.split_once(' ').expect("a verb and a path");
        let verb = verb.to_uppercase();
        if verb == "GET" || TAKEN.iter().any(|taken| template.starts_with(taken)) {
            continue;
        }
        let path = template.replace(['{', '}'], "");
        let answer = rig.send(&verb, &path, &[JSON], "{}").await;
        assert_eq!(answer.status, 503, "{operation}: {}", answer.text());
        assert!(answer.text().contains(r#""is_readonly":true"#), "{operation}: {}", answer.text());
        refused += 1;
    }
    assert!(refused > 40, "only {refused} operations change something");
}

#[tokio::test]
async fn quays_clients_read_message_and_is_readonly() {
    let rig = read_only().await;
    let answer = rig.post(COLLECTION, &webhook_body()).await;
    let detail = quay_problem(&answer, 503, "downstream_issue");
    let body = answer.json();
    assert_eq!((&body["is_readonly"], &body["message"]), (&json!(true), &json!(detail)));
    assert_eq!(rig.get(COLLECTION).await.json(), json!({"notifications": []}), "reading goes on");
    let native = rig.post("/v1/notifications", &json!({})).await;
    assert!(problem(&native, 503).contains("read-only"), "{}", native.text());
    let anonymous = rig.raw("POST", COLLECTION, &[JSON], webhook_body().to_string()).await;
    assert_eq!(anonymous.status, 403, "who asks comes first");
}

#[tokio::test]
async fn a_server_that_is_read_only_takes_events() {
    let rig = read_only().await;
    let headers = [("content-type", "application/cloudevents+json")];
    let answer = rig.send("POST", "/v1/events", &headers, push_event("one").to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(rig.raw("GET", "/csrf_token", &[], "").await.status, 200);
    assert_eq!(rig.send("POST", "/api/v1/signout", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_link_of_a_mail_confirms_nothing_while_the_server_is_read_only() {
    let rig = read_only().await;
    let repository = RepositoryName::parse("acme/api").expect("a name");
    let created_at = Timestamp::now();
    let row = Repository { name: repository.clone(), public: false, created_at };
    rig.store.put_repository(&row).await.expect("put");
    let mut code = [0; 32];
    code.copy_from_slice(digest(&SHA256, b"code").as_ref());
    rig.store.request_email(&repository, "new@example.com", &code, created_at).await.expect("asked");
    let answer = rig.raw("GET", "/authrepoemail?code=code", &[], "").await;
    quay_problem(&answer, 503, "downstream_issue");
    assert_eq!(answer.json()["is_readonly"], true);
    let kept = rig.store.authorized_email(&repository, "new@example.com").await.expect("answered");
    assert!(!kept.expect("the address").confirmed, "the link serves on for when it may");
}
