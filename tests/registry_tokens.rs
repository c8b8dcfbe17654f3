//! The registry's own tokens open the API of the real program: with keys from its issuer's server, which is away at
//! first, and with keys from a file.

mod support;

use base64::{Engine, prelude::*};
use bellbuoy_testkit::{
    process::Launch,
    receiver::{Answer, Receiver},
    wait::eventually,
};
use http::Method;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use support::{BINARY, Client, Fleet, SOON};

const ISSUER: &str = "https://auth.example.com";
const AUDIENCE: &str = "bellbuoy.example.com";

/// A key made of a seed, so that there can be another.
fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
}

fn jwks(seed: u8) -> String {
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair(seed).public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": format!("key-{seed}"), "x": x}]}).to_string()
}

/// `SubjectPublicKeyInfo` of an Ed25519 key is these bytes and the key.
fn pem(seed: u8) -> String {
    let head = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    let body = BASE64_STANDARD.encode([head, pair(seed).public_key().as_ref()].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

fn token(seed: u8, repository: &str, actions: &[&str]) -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "kim", "exp": 99_999_999_999_i64,
        "access": [{"type": "repository", "name": repository, "actions": actions}]});
    let signed = format!("{}.{}", part(json!({"alg": "EdDSA", "kid": format!("key-{seed}")})), part(claims));
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(pair(seed).sign(signed.as_bytes())))
}

/// What a holder of `token` is answered when it asks for a repository's notifications.
async fn ask(fleet: &Fleet, token: &str, repository: &str) -> (u16, String) {
    let holder = Client::new(&fleet.api.url, token);
    let path = format!("/v1/notifications?repository={repository}");
    let answer = holder.send(Method::GET, &path, "", "").await;
    (answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn keys_come_from_the_issuers_server_by_the_rules_of_every_request() {
    let issuer = Receiver::start().await.expect("an issuer");
    issuer.script("/keys", [Answer::text(200, jwks(1))]);
    let url = issuer.url("/keys");
    let settings = [
        ("BELLBUOY_AUTH__REGISTRY_ISSUER", ISSUER),
        ("BELLBUOY_AUTH__REGISTRY_AUDIENCE", AUDIENCE),
        ("BELLBUOY_AUTH__REGISTRY_KEYS", url.as_str()),
    ];
    let fleet = Fleet::start(&settings).await;
    let kim = token(1, "acme/api", &["pull", "push", "*"]);
    let (status, said) = ask(&fleet, &kim, "acme/api").await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(ask(&fleet, &kim, "acme/web").await.0, 404);
    assert_eq!(ask(&fleet, &token(1, "acme/api", &["pull", "push"]), "acme/api").await.0, 403);
    let (status, said) = ask(&fleet, &token(2, "acme/api", &["*"]), "acme/api").await;
    assert!(status == 401 && said.contains("not among those of its issuer"), "{status} {said}");
    assert_eq!(issuer.requests().len(), 1, "fetched once for all of them");
    let holder = Client::new(&fleet.api.url, &kim);
    holder.webhook("acme/api", "repo_push", "https://ci.example.com/").await;
    let audit = fleet.api.get("/v1/audit?actor=registry:kim").await;
    assert_eq!(audit["entries"][0]["action"], "notification.create", "{audit}");
    assert!(!fleet.log().contains(&kim), "the token is in the log");

    let closed =
        Fleet::start(&[settings[0], settings[1], settings[2], ("BELLBUOY_OUTBOUND__ALLOW", "")]).await;
    let (status, said) = ask(&closed, &kim, "acme/api").await;
    assert!(status == 503 && said.contains("keys of registry tokens"), "{status} {said}");
    eventually(SOON, async || closed.log().contains("blocked").then_some(())).await;
    assert_eq!(issuer.requests().len(), 1, "no address that the rules forbid is asked");
}

#[tokio::test]
async fn keys_come_from_a_file_that_has_to_be_right_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.pem");
    std::fs::write(&file, pem(1)).expect("written");
    let path = file.to_str().expect("UTF-8");
    let settings = [
        ("BELLBUOY_AUTH__REGISTRY_ISSUER", ISSUER),
        ("BELLBUOY_AUTH__REGISTRY_AUDIENCE", AUDIENCE),
        ("BELLBUOY_AUTH__REGISTRY_KEYS", path),
    ];
    let fleet = Fleet::start(&settings).await;
    let (status, said) = ask(&fleet, &token(1, "acme/api", &["*"]), "acme/api").await;
    assert_eq!(status, 200, "{said}");
    let (status, said) = ask(&fleet, &token(2, "acme/api", &["*"]), "acme/api").await;
    assert!(status == 401 && said.contains("not genuine"), "{status} {said}");

    for (content, said) in [(Some("secret"), "neither PEM nor JSON"), (None, "can't read")] {
        match content {
            Some(content) => std::fs::write(&file, content).expect("written"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
        let launch = Launch::new("refused", BINARY, folder.path()).args(["serve"]);
        let launch = launch.env("BELLBUOY_LISTEN", "127.0.0.1:0");
        let process = settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start();
        assert_eq!(process.wait_exit(SOON).await.code(), Some(1));
        let told = process.lines().join("\n");
        assert!(
            told.contains(said) && told.contains("auth.registry_keys") && told.contains("keys.pem"),
            "{told}"
        );
    }
}
