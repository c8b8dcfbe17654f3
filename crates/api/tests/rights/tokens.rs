//! What a token may do, and until when.

use std::time::Duration;

use bellbuoy_domain::TokenScope;
use bellbuoy_store::Token;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::{
    common::{JSON, Rig, problem},
    world::{credential, fill, hash, secret, token},
};

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
