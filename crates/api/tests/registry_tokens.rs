//! Tokens of the registry's own: which are taken, what they grant, and that no other opens anything.

mod common;

use std::sync::Arc;

use bellbuoy_api::{Auth, RegistryTokens, ServerLimits};
use bellbuoy_domain::{AccountKind, AccountName};
use bellbuoy_store::Account;
use common::{
    JSON, Rig, TOKEN, problem, quay_problem,
    registry::{AUDIENCE, ISSUER, JWKS, PUBLIC_PEM, claims, sign, sign_text},
};
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

async fn rig(keys: &'static str) -> Rig {
    let registry = RegistryTokens::new(ISSUER, AUDIENCE, move || async move { Ok(keys.into()) });
    Rig::with(
        |api| api.auth = Auth::new([TOKEN]).expect("a token").with_registry(registry),
        ServerLimits::default(),
    )
    .await
}

/// Asks for the notifications of `acme/api`, which takes its administration.
async fn ask(rig: &Rig, token: &str) -> bellbuoy_testkit::http::Answer {
    let authorization = format!("Bearer {token}");
    rig.raw("GET", "/v1/notifications?repository=acme/api", &[("authorization", &authorization)], "").await
}

fn with(member: &str, value: Value) -> Value {
    let mut claims = claims("acme/api", &["*"]);
    claims[member] = value;
    claims
}

fn without(member: &str) -> Value {
    let mut claims = claims("acme/api", &["*"]);
    claims.as_object_mut().expect("an object").remove(member);
    claims
}

fn seconds(from_now: i64) -> i64 {
    Timestamp::now().as_second() + from_now
}

#[tokio::test]
async fn a_token_of_the_issuer_is_taken_by_each_algorithm_and_however_it_names_its_key() {
    for keys in [JWKS, PUBLIC_PEM] {
        let rig = rig(keys).await;
        for (algorithm, key) in [("RS256", "rsa"), ("ES256", "p256"), ("EdDSA", "ed25519")] {
            for header in [
                json!({"alg": algorithm, "typ": "JWT", "kid": key}),
                json!({"alg": algorithm}),
                json!({"alg": algorithm, "typ": "jwt", "kid": key, "jwk": {"kty": "oct"}, "x5c": ["AAAA"]}),
            ] {
                let answer = ask(&rig, &sign(key, &header, &claims("acme/api", &["*"]))).await;
                assert_eq!(answer.status, 200, "{header}: {}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn claims_are_read_as_their_specification_has_them() {
    let rig = rig(JWKS).await;
    let header = json!({"alg": "EdDSA", "kid": "ed25519"});
    for good in [
        with("aud", json!(["other", AUDIENCE])),
        with("exp", json!(f64::from(u32::try_from(seconds(3600)).expect("a time")) + 0.5)),
        with("exp", json!(seconds(-30))),
        with("nbf", json!(seconds(30))),
        with("nbf", json!(seconds(-3600))),
        with("sub", json!("")),
        without("sub"),
        with("jti", json!({"of": "theirs"})),
        with(
            "access",
            json!([{"type": "registry", "name": "catalog", "actions": ["*"]},
            {"type": "repository", "name": "Not/A/Name", "actions": ["*"]},
            {"type": "repository", "name": "acme/api", "actions": ["pull"]},
            {"type": "repository", "class": "image", "name": "acme/api", "actions": ["push", "*"]}]),
        ),
    ] {
        let answer = ask(&rig, &sign("ed25519", &header, &good)).await;
        assert_eq!(answer.status, 200, "{good}: {}", answer.text());
    }
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn whatever_is_not_a_token_of_the_issuer_for_us_and_now_is_refused_and_says_why() {
    const MALFORMED: &str = "no JSON Web Token of three parts";
    const ALGORITHM: &str = "not signed by RS256, ES256 or EdDSA";
    const SIGNATURE: &str = "signature is not genuine";
    const CLAIMS: &str = "claims are not those of the registry token specification";
    let rig = rig(JWKS).await;
    let header = json!({"alg": "EdDSA", "kid": "ed25519"});
    let good = sign("ed25519", &header, &claims("acme/api", &["*"]));
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let (first, payload) = signed.split_once('.').expect("a payload");
    let claimed = |claims: &Value| sign("ed25519", &header, claims);
    let under = |key: &str, header: Value| sign(key, &header, &claims("acme/api", &["*"]));
    let text = |header: &str, claims: &str| sign_text("ed25519", header, claims);
    // With the public key as the secret that both sides know.
    let confused = |header: &str| {
        let signed = sign_text("none", header, &claims("acme/api", &["*"]).to_string());
        let signed = signed.trim_end_matches('.');
        let key = hmac::Key::new(hmac::HMAC_SHA256, PUBLIC_PEM.as_bytes());
        format!("{signed}.{}", common::registry::base64url(hmac::sign(&key, signed.as_bytes()).as_ref()))
    };
    let other =
        sign_text("ed25519", r#"{"alg":"EdDSA","kid":"ed25519"}"#, &with("sub", json!("eve")).to_string());
    let others_payload = other.split('.').nth(1).expect("a payload");
    let rows = [
        // Form
        (format!("{first}.{payload}"), MALFORMED),
        (format!("{good}.x"), MALFORMED),
        (format!("{first}..{signature}"), SIGNATURE),
        (format!("{first}.{payload}."), SIGNATURE),
        (format!("{good}="), MALFORMED),
        (format!("{first}=.{payload}.{signature}"), MALFORMED),
        (format!("ey!.{payload}.{signature}"), MALFORMED),
        (text(r#"{"typ": "JWT"}"#, "{}"), MALFORMED),
        (text(r#"{"alg": "EdDSA", "alg": "none"}"#, "{}"), MALFORMED),
        (text(r#"{"alg": ["EdDSA"]}"#, "{}"), MALFORMED),
        (text(r#"{"alg": "EdDSA", "typ": "at+jwt"}"#, "{}"), MALFORMED),
        (text(r#"{"alg": "EdDSA", "crit": ["exp"], "exp": 1}"#, "{}"), "critical headers"),
        // Algorithm
        (format!("{}.{payload}.", common::registry::base64url(br#"{"alg":"none"}"#)), ALGORITHM),
        (under("none", json!({"alg": "nOnE"})), ALGORITHM),
        (under("none", json!({"alg": ""})), ALGORITHM),
        (confused(r#"{"alg":"HS256"}"#), ALGORITHM),
        (confused(r#"{"alg":"HS256","kid":"rsa"}"#), ALGORITHM),
        (confused(r#"{"alg":"RS256","kid":"rsa"}"#), SIGNATURE),
        (under("rsa", json!({"alg": "RS512", "kid": "rsa"})), ALGORITHM),
        (under("rsa", json!({"alg": "PS256", "kid": "rsa"})), ALGORITHM),
        (under("rsa", json!({"alg": "ES256", "kid": "rsa"})), SIGNATURE),
        (under("p256", json!({"alg": "EdDSA", "kid": "p256"})), SIGNATURE),
        // Key and signature
        (under("ed25519", json!({"alg": "EdDSA", "kid": "p256"})), SIGNATURE),
        (under("ed25519", json!({"alg": "EdDSA", "kid": "unknown"})), "not among those of its issuer"),
        (under("stranger", json!({"alg": "EdDSA", "kid": "ed25519"})), SIGNATURE),
        (under("stranger", json!({"alg": "EdDSA", "jwk": common::registry::strangers_key()})), SIGNATURE),
        (format!("{first}.{others_payload}.{signature}"), SIGNATURE),
        // Claims
        (text(r#"{"alg": "EdDSA"}"#, "null"), CLAIMS),
        (text(r#"{"alg": "EdDSA"}"#, "<claims/>"), CLAIMS),
        (text(r#"{"alg": "EdDSA"}"#, r#"{"exp": 1, "exp": 99999999999}"#), CLAIMS),
        (claimed(&with("iss", json!("https://eve.example.com"))), "another issuer"),
        (claimed(&without("iss")), "another issuer"),
        (claimed(&with("iss", json!([ISSUER]))), CLAIMS),
        (claimed(&with("aud", json!("registry.example.com"))), "for another service"),
        (claimed(&with("aud", json!([]))), "for another service"),
        (claimed(&with("aud", json!(format!("{AUDIENCE}.eve.example")))), "for another service"),
        (claimed(&without("aud")), "for another service"),
        (claimed(&without("exp")), "has no end"),
        (claimed(&with("exp", json!(seconds(-90)))), "has expired"),
        (claimed(&with("exp", json!(0))), "has expired"),
        (claimed(&with("exp", json!(-1e300))), CLAIMS),
        (claimed(&with("exp", json!(1e300))), CLAIMS),
        (claimed(&with("exp", json!("99999999999"))), CLAIMS),
        (claimed(&with("nbf", json!(seconds(90)))), "not valid yet"),
        (claimed(&with("access", json!({"acme/api": "*"}))), CLAIMS),
        (
            claimed(&with("access", json!([{"type": "repository", "name": "acme/api", "actions": "*"}]))),
            CLAIMS,
        ),
    ];
    for (place, (token, said)) in rows.iter().enumerate() {
        // Each from an address that has shown a right one: guesses from there are not held against it.
        if place % 20 == 0 {
            assert_eq!(ask(&rig, &good).await.status, 200);
        }
        let answer = ask(&rig, token).await;
        let detail = problem(&answer, 401);
        assert!(detail.contains(said), "row {place}: {detail}");
        assert!(!detail.contains(token.as_str()) && answer.headers["www-authenticate"] == "Bearer");
    }
    let long = with("padding", json!("x".repeat(17_000)));
    assert!(problem(&ask(&rig, &claimed(&long)).await, 401).contains("longer than 16384 bytes"));
}

#[tokio::test]
async fn a_token_grants_what_it_says_on_the_repositories_that_it_names_and_nothing_else() {
    let rig = rig(JWKS).await;
    let header = json!({"alg": "ES256", "kid": "p256"});
    let get = async |actions: &[&str], path: &str| {
        let token = sign("p256", &header, &claims("acme/api", actions));
        let authorization = format!("Bearer {token}");
        rig.raw("GET", path, &[("authorization", &authorization)], "").await.status.as_u16()
    };
    let of = |repository: &str| format!("/v1/notifications?repository={repository}");
    for (actions, status) in
        [(&["*"][..], 200), (&["push", "pull"], 403), (&["pull"], 403), (&["delete"], 404), (&[], 404)]
    {
        assert_eq!(get(actions, &of("acme/api")).await, status, "{actions:?}");
        for path in
            [of("acme/api/v2"), of("acme/web"), of("acme"), "/v1/notifications?namespace=acme".to_owned()]
        {
            assert_eq!(get(actions, &path).await, 404, "{actions:?} {path}");
        }
        for path in [
            "/v1/notifications",
            "/v1/audit",
            "/v1/tokens",
            "/v1/inbox",
            "/metrics",
            "/v1/directory/accounts",
        ] {
            assert_eq!(get(actions, path).await, 403, "{actions:?} {path}");
        }
    }
    let token = sign("p256", &header, &claims("acme/api", &["*"]));
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization), JSON];
    let body = json!({"title": "mine", "scopes": ["repo:admin"], "account": "kim"});
    problem(&rig.raw("POST", "/v1/tokens", &headers, body.to_string()).await, 403);
    let path = "/api/v1/repository/acme/api/notification/";
    let made = rig.raw("POST", path, &headers, common::webhook_body().to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["uuid"].as_str().expect("an id").to_owned();
    let audit = rig.get(&format!("/v1/audit?target={id}")).await.json();
    assert_eq!(audit["entries"][0]["actor"], "registry:kim");
    let basic = format!("Basic {}", common::registry::base64(format!("kim:{token}").as_bytes()));
    assert_eq!(rig.raw("GET", path, &[("authorization", &basic)], "").await.status, 200, "as a password");
}

#[tokio::test]
async fn who_is_locked_out_here_is_so_with_a_token_of_the_registry() {
    let rig = rig(JWKS).await;
    let token = sign("ed25519", &json!({"alg": "EdDSA"}), &claims("acme/api", &["*"]));
    assert_eq!(ask(&rig, &token).await.status, 200, "kim needs no account here");
    let kim = Account {
        name: AccountName::parse("kim").expect("a name"),
        id: uuid::Uuid::new_v4(),
        kind: AccountKind::User,
        email: None,
        email_verified: false,
        superuser: true,
        enabled: true,
        created_at: Timestamp::UNIX_EPOCH,
    };
    rig.store.put_account(&kim).await.expect("put");
    assert_eq!(ask(&rig, &token).await.status, 200);
    let authorization = format!("Bearer {token}");
    let all = rig.raw("GET", "/v1/notifications", &[("authorization", &authorization)], "").await;
    assert_eq!(all.status, 403, "what the account may do is not the token's");
    rig.store.put_account(&Account { enabled: false, ..kim }).await.expect("put");
    assert!(problem(&ask(&rig, &token).await, 401).contains("disabled here"));
}

#[tokio::test]
async fn without_keys_a_token_is_asked_to_come_back_and_without_the_setting_it_is_nobodys() {
    let token = sign("ed25519", &json!({"alg": "EdDSA"}), &claims("acme/api", &["*"]));
    let rig = Rig::start().await;
    assert!(problem(&ask(&rig, &token).await, 401).contains("none of this server's"));
    let away = RegistryTokens::new(ISSUER, AUDIENCE, || async { Err("it is away".to_owned()) });
    assert_eq!(away.load().await, Err("it is away".to_owned()));
    let rig = Rig::with(
        |api| api.auth = Auth::new([TOKEN]).expect("a token").with_registry(away),
        ServerLimits::default(),
    )
    .await;
    let answer = ask(&rig, &token).await;
    assert!(
        problem(&answer, 503).contains("keys of registry tokens")
            && answer.headers.contains_key("retry-after")
    );
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization)];
    let answer = rig.raw("GET", "/api/v1/repository/acme/api/notification/", &headers, "").await;
    assert_eq!(answer.status, 503, "on Quay's surface too");
}

#[tokio::test]
async fn quays_surface_refuses_in_quays_words_and_made_up_tokens_count_as_guesses() {
    let rig = rig(JWKS).await;
    let stranger = sign("stranger", &json!({"alg": "EdDSA", "kid": "ed25519"}), &claims("acme/api", &["*"]));
    let authorization = format!("Bearer {stranger}");
    let headers = [("authorization", &*authorization)];
    let answer = rig.raw("GET", "/api/v1/repository/acme/api/notification/", &headers, "").await;
    assert_eq!(quay_problem(&answer, 401, "invalid_token"), "Requires authentication");
    assert_eq!(answer.json()["error"], "Requires authentication", "as of every bad JWT");
    assert_eq!(answer.json()["flaw"], problem(&ask(&rig, &stranger).await, 401));
    let expired = sign("ed25519", &json!({"alg": "EdDSA"}), &with("exp", json!(0)));
    for _ in 0..150 {
        assert_eq!(ask(&rig, &expired).await.status, 401, "one that was genuine is no guess");
    }
    let rig = Arc::new(rig);
    let mut last = 401;
    for _ in 0..150 {
        last = ask(&rig, &stranger).await.status.as_u16();
    }
    assert_eq!(last, 429);
}
