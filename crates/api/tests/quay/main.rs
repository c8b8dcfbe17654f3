//! Quay's API, row by row of what its clients rely on. One file for each subject.

#[path = "../common/mod.rs"]
mod common;

mod automation;
mod errors;
mod inbox;
mod mail;
mod namespace;
mod notifications;
mod people;
mod repositories;
mod settings;
mod sign_in;

use bellbuoy_testkit::http::Answer;
use common::{JSON, Rig};
use serde_json::{Value, json};

const COLLECTION: &str = "/api/v1/repository/acme/api/notification/";
const UNKNOWN: &str = "0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11";

/// `acme` with owner `ann`, developer `bob`, `cy` who may make repositories, and robot `acme+ci`; `kim`, who
/// administers `acme/api`; the organization `beta` of `ann`, and the stranger `eve`.
async fn rig() -> Rig {
    let rig = Rig::start().await;
    fill(&rig).await;
    rig
}

async fn fill(rig: &Rig) {
    let document = json!({
        "version": 1,
        "users": [
            {"name": "ann", "email": "ann@example.com", "email_verified": true}, {"name": "bob"}, {"name": "cy"},
            {"name": "eve"}, {"name": "kim"}, {"name": "root", "superuser": true},
        ],
        "organizations": [
            {"name": "acme", "email": "contact@acme.example", "owners": ["ann"], "teams": [
                {"name": "dev", "members": ["bob", "acme+ci"]},
                {"name": "makers", "role": "creator", "members": ["cy"]},
            ]},
            {"name": "beta", "owners": ["ann"], "teams": [{"name": "qa"}]},
        ],
        "robots": [{"name": "acme+ci"}, {"name": "ann+bot"}],
        "repositories": [
            {"name": "acme/api", "permissions": [
                {"grantee": "acme/dev", "role": "write"}, {"grantee": "kim", "role": "admin"},
                {"grantee": "acme+ci", "role": "read"},
            ], "emails": ["list@example.com"]},
            {"name": "acme/open", "public": true},
        ],
    });
    let answer = rig.post("/v1/directory/import", &document).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A credential of an account's, with which requests are sent.
struct As<'a> {
    rig: &'a Rig,
    authorization: String,
}

impl<'a> As<'a> {
    /// With a token for what automation does.
    async fn automation(rig: &'a Rig, account: &str) -> Self {
        Self::scoped(rig, account, &["repo:admin", "org:admin", "user:admin"]).await
    }

    async fn scoped(rig: &'a Rig, account: &str, scopes: &[&str]) -> Self {
        let body = json!({"title": "test", "account": account, "scopes": scopes});
        let made = rig.post("/v1/tokens", &body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let token = made.json()["token"].as_str().expect("a token").to_owned();
        Self { rig, authorization: format!("Bearer {token}") }
    }

    async fn send(&self, verb: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut headers = vec![("authorization", self.authorization.as_str())];
        headers.extend(body.map(|_| JSON));
        let body = body.map(Value::to_string).unwrap_or_default();
        self.rig.raw(verb, path, &headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }
}

/// Holds that an answer has that status, and gives its JSON.
#[track_caller]
fn json_of(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.json()
}
