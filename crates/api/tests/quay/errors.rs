//! Who is refused with which code and body, before anything else is looked at.

use serde_json::json;

use crate::{
    As, COLLECTION, UNKNOWN,
    common::{JSON, TOKEN, quay_problem, webhook_body},
    rig,
};

const CSRF: &str = "CSRF token was invalid or missing.";

#[tokio::test]
async fn without_a_right_credential_reading_is_401_and_changing_403() {
    let rig = rig().await;
    let one = format!("{COLLECTION}{UNKNOWN}");
    for credential in [None, Some("Bearer wrong"), Some("bearer wrong"), Some("Basic eDp5"), Some("Nonsense")]
    {
        let mut headers: Vec<(&str, &str)> =
            credential.iter().map(|value| ("authorization", *value)).collect();
        headers.push(JSON);
        for (verb, path) in
            [("GET", COLLECTION), ("HEAD", COLLECTION), ("GET", "/api/v1/user/"), ("GET", &one)]
        {
            let answer = rig.raw(verb, path, &headers, "").await;
            assert_eq!(answer.status, 401, "{verb} {path} {credential:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            if verb == "GET" {
                assert_eq!(quay_problem(&answer, 401, "invalid_token"), "Requires authentication");
            }
        }
        for (verb, path) in [
            ("POST", COLLECTION),
            ("DELETE", &one),
            ("POST", &one),
            ("PUT", &one),
            ("POST", "/api/v1/signout"),
        ] {
            let answer = rig.raw(verb, path, &headers, webhook_body().to_string()).await;
            assert_eq!(
                quay_problem(&answer, 403, "insufficient_scope"),
                CSRF,
                "{verb} {path} {credential:?}"
            );
            assert_eq!(answer.json()["error"], CSRF);
            assert!(!answer.headers.contains_key("www-authenticate"));
        }
    }
}

#[tokio::test]
async fn a_bad_token_in_the_shape_of_a_jwt_is_401_for_every_verb() {
    let rig = rig().await;
    for verb in ["GET", "POST"] {
        let answer =
            rig.raw(verb, COLLECTION, &[("authorization", "Bearer aaaa.bbbb.cccc"), JSON], "{}").await;
        quay_problem(&answer, 401, "invalid_token");
        assert!(answer.json()["error"].is_string());
    }
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case_and_rights_come_before_the_body() {
    let rig = rig().await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let authorization = format!("{scheme} {TOKEN}");
        assert_eq!(rig.raw("GET", COLLECTION, &[("authorization", &authorization)], "").await.status, 200);
    }
    let eve = As::automation(&rig, "eve").await;
    for body in ["{", "null", "[]", "{}"] {
        let headers = [("authorization", eve.authorization.as_str()), JSON];
        let answer = rig.raw("POST", COLLECTION, &headers, body).await;
        assert_eq!(quay_problem(&answer, 403, "insufficient_scope"), "Unauthorized", "{body}");
    }
}

#[tokio::test]
async fn a_token_without_the_scope_is_refused_whatever_its_account_may() {
    let rig = rig().await;
    let ann = As::scoped(&rig, "ann", &["user:admin"]).await;
    for path in [COLLECTION, "/api/v1/organization/acme/notifications", "/api/v1/repository/acme/api"] {
        assert_eq!(quay_problem(&ann.get(path).await, 403, "insufficient_scope"), "Unauthorized", "{path}");
    }
    let ann = As::scoped(&rig, "ann", &["repo:admin"]).await;
    assert_eq!(ann.get(COLLECTION).await.status, 200);
    for path in ["/api/v1/organization/acme/notifications", "/api/v1/user/notifications"] {
        quay_problem(&ann.get(path).await, 403, "insufficient_scope");
    }
}

#[tokio::test]
async fn every_error_type_that_is_answered_is_described() {
    let rig = rig().await;
    let eve = As::automation(&rig, "eve").await;
    let anonymous = rig.raw("GET", COLLECTION, &[], "").await;
    for answer in [
        anonymous,
        eve.get(COLLECTION).await,
        rig.get("/api/v1/nothing").await,
        rig.post(COLLECTION, &json!({})).await,
        rig.send("POST", COLLECTION, &[], "x").await,
    ] {
        let body = answer.json();
        let name = body["error_type"].as_str().expect("a type");
        let described = rig.get(&format!("/api/v1/error/{name}")).await.json();
        assert_eq!((&described["type"], &described["title"]), (&body["type"], &body["title"]));
        assert!(described["description"].is_string());
    }
}
