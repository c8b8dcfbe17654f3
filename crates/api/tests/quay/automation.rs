//! The calls of an automation client in their order, headers and bodies as it sends them.

use serde_json::{Value, json};

use crate::{As, common::Rig, json_of, rig};

/// What such a client does: JSON both ways, an empty answer read as `{}`, 404 read as "absent".
struct Automation<'a>(As<'a>);

impl<'a> Automation<'a> {
    async fn of(rig: &'a Rig, account: &str) -> Self {
        Self(As::scoped(rig, account, &["repo:admin"]).await)
    }

    async fn call(&self, verb: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("authorization", self.0.authorization.as_str()),
            ("user-agent", "Python-urllib/3.9"),
            ("connection", "close"),
        ];
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.0.rig.raw(verb, path, &headers, body).await;
        let status = answer.status.as_u16();
        assert!(status < 500 && ![401, 403, 405].contains(&status), "{verb} {path}: {}", answer.text());
        let body = if answer.body.is_empty() { json!({}) } else { answer.json() };
        (status, body)
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let (status, body) = self.call("GET", path, None).await;
        match status {
            200 => Some(body),
            404 => None,
            other => panic!("{path}: {other} {body}"),
        }
    }
}

#[tokio::test]
async fn a_notification_is_made_once_tested_reset_and_taken_away() {
    let rig = rig().await;
    let client = Automation::of(&rig, "ann").await;
    assert_eq!(client.get("/api/v1/user/").await.expect("itself")["username"], "ann");
    let organization = client.get("/api/v1/organization/acme").await.expect("the organization");
    assert!(organization["teams"].get("dev").is_some());
    let collection = "/api/v1/repository/acme/api/notification/";
    assert_eq!(client.get(collection).await.expect("a list"), json!({"notifications": []}));
    assert!(client.get("/api/v1/repository/acme/api").await.is_some());
    for (path, is_there) in [
        ("/api/v1/user/robots/bob", false),
        ("/api/v1/organization/acme/robots/ci", true),
        ("/api/v1/organization/nowhere", false),
    ] {
        assert_eq!(client.get(path).await.is_some(), is_there, "{path}");
    }
    let bodies = [
        json!({"eventConfig": {}, "event_config": {}, "config": {"url": "http://127.0.0.1:9/", "template": "{\"text\": \"${repository} pushed\"}"},
               "title": "hook one", "event": "repo_push", "method": "webhook"}),
        json!({"eventConfig": {"days": 7}, "event_config": {"days": 7}, "config": {"target": {"name": "dev", "kind": "team"}},
               "title": "expiry", "event": "repo_image_expiry", "method": "quay_notification"}),
    ];
    for body in &bodies {
        let (status, made) = client.call("POST", collection, Some(body)).await;
        assert!(status == 201 && made["uuid"].is_string(), "{made}");
    }
    let listed = client.get(collection).await.expect("a list");
    for row in listed["notifications"].as_array().expect("a list") {
        let uuid = row["uuid"].as_str().expect("an id");
        assert_eq!(
            client.call("POST", &format!("{collection}{uuid}/test"), Some(&json!({}))).await,
            (200, json!({}))
        );
        assert_eq!(
            client.call("POST", &format!("{collection}{uuid}"), Some(&json!({}))).await,
            (204, json!({}))
        );
        assert_eq!(client.call("DELETE", &format!("{collection}{uuid}"), None).await, (204, json!({})));
        let (status, body) = client.call("DELETE", &format!("{collection}{uuid}"), None).await;
        assert!(status == 400 && body["detail"].is_string(), "tolerated: {body}");
    }
    assert_eq!(client.get(collection).await.expect("a list"), json!({"notifications": []}));
}

#[tokio::test]
async fn a_namespace_that_is_no_organization_is_tried_as_the_user() {
    let rig = rig().await;
    let client = Automation::of(&rig, "eve").await;
    assert_eq!(client.get("/api/v1/organization/eve").await, None);
    let (status, _) = client.call("GET", "/api/v1/user/robots/eve", None).await;
    assert!(matches!(status, 400 | 404));
    let found =
        client.get("/api/v1/entities/eve?includeOrgs=False&includeTeams=False").await.expect("results");
    let me = client.get("/api/v1/user/").await.expect("itself");
    assert_eq!(
        (&found["results"][0]["name"], &found["results"][0]["kind"]),
        (&me["username"], &json!("user"))
    );
    let body = json!({"repository": "mine", "namespace": "eve", "visibility": "private", "description": "", "repo_kind": "image"});
    assert_eq!(client.call("POST", "/api/v1/repository", Some(&body)).await.0, 201);
    for kind in ["team", "user"] {
        let listed = client.get(&format!("/api/v1/repository/eve/mine/permissions/{kind}/")).await;
        assert_eq!(listed.expect("a list"), json!({"permissions": {}}));
    }
    let put = json!({"role": "write"});
    assert_eq!(
        client.call("PUT", "/api/v1/repository/eve/mine/permissions/user/bob", Some(&put)).await.0,
        200
    );
    assert_eq!(client.call("DELETE", "/api/v1/repository/eve/mine", None).await, (204, json!({})));
    assert_eq!(client.get("/api/v1/repository/eve/mine").await, None);
}

#[tokio::test]
async fn the_admin_token_does_the_same_everywhere() {
    let rig = rig().await;
    assert_eq!(json_of(&rig.get("/api/v1/user/").await, 200)["username"], "admin");
    for path in [
        "/api/v1/organization/acme",
        "/api/v1/organization/beta/robots",
        "/api/v1/repository/acme/api",
        "/api/v1/repository/acme/api/permissions/user/",
        "/api/v1/entities/ann",
        "/api/v1/organization/acme/notifications",
    ] {
        assert_eq!(rig.get(path).await.status, 200, "{path}");
    }
}
