//! Signing in by name and password.

use bellbuoy_api::{Limits, ServerLimits};
use bellbuoy_telemetry::Counter;
use bellbuoy_testkit::http::Answer;
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{
    COLLECTION,
    common::{JSON, Rig, problem, quay_problem, webhook_body},
    fill, json_of, rig,
};

const PASSWORD: &str = "correct horse battery";
const SIGN_IN: &str = "/api/v1/signin";

async fn with_password(rig: &Rig, account: &str) {
    let path = format!("/v1/directory/accounts/{account}/password");
    let answer = rig.send("PUT", &path, &[JSON], json!({ "password": PASSWORD }).to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0), "{}", answer.text());
}

/// A client that keeps its cookie and its word, as a browser does.
struct Visitor<'a> {
    rig: &'a Rig,
    cookie: String,
    word: String,
}

/// `name=value` of the cookie that an answer sets, and the rest.
fn cookie(answer: &Answer) -> (String, String) {
    let set = answer.headers["set-cookie"].to_str().expect("text");
    let (pair, attributes) = set.split_once("; ").expect("attributes");
    (pair.to_owned(), attributes.to_owned())
}

impl<'a> Visitor<'a> {
    async fn come(rig: &'a Rig) -> Self {
        let answer = rig.raw("GET", "/csrf_token", &[], "").await;
        let word = json_of(&answer, 200)["csrf_token"].as_str().expect("a word").to_owned();
        Self { rig, cookie: cookie(&answer).0, word }
    }

    async fn send(&self, verb: &str, path: &str, body: &str) -> Answer {
        let headers = [("cookie", self.cookie.as_str()), ("x-csrf-token", &self.word), JSON];
        self.rig.raw(verb, path, &headers, body.to_owned()).await
    }

    async fn try_in(&self, name: &str, password: &str) -> Answer {
        self.send("POST", SIGN_IN, &json!({"username": name, "password": password}).to_string()).await
    }

    async fn signed_in(rig: &'a Rig, name: &str) -> Self {
        let visitor = Self::come(rig).await;
        let answer = visitor.try_in(name, PASSWORD).await;
        assert_eq!(json_of(&answer, 200), json!({"success": true}));
        let word = answer.headers["x-next-csrf-token"].to_str().expect("text").to_owned();
        let (cookie, _) = cookie(&answer);
        assert!(cookie != visitor.cookie && word != visitor.word, "nothing of before serves on");
        Self { rig, cookie, word }
    }
}

#[tokio::test]
async fn whoever_signs_in_acts_as_itself_until_it_signs_out() {
    let rig = rig().await;
    with_password(&rig, "kim").await;
    let kim = Visitor::signed_in(&rig, "kim").await;
    assert_eq!(json_of(&kim.send("GET", "/api/v1/user/", "").await, 200)["username"], "kim");
    let made = json_of(&kim.send("POST", COLLECTION, &webhook_body().to_string()).await, 201);
    let one = format!("{COLLECTION}{}", made["uuid"].as_str().expect("an id"));
    assert_eq!(kim.send("POST", &one, "").await.status, 204);
    assert_eq!(kim.send("GET", "/v1/inbox", "").await.status, 200, "the native surface too");
    quay_problem(
        &kim.send("GET", "/api/v1/organization/acme/notifications", "").await,
        403,
        "insufficient_scope",
    );
    problem(&kim.send("GET", "/v1/audit", "").await, 403);
    let again = rig.raw("GET", "/csrf_token", &[("cookie", &kim.cookie)], "").await;
    assert_eq!(
        (json_of(&again, 200)["csrf_token"].as_str(), again.headers.get("set-cookie")),
        (Some(&*kim.word), None)
    );

    let out = kim.send("POST", "/api/v1/signout", "").await;
    assert_eq!(json_of(&out, 200), json!({"success": true}));
    assert!(cookie(&out).1.contains("Max-Age=0"));
    quay_problem(&kim.send("GET", "/api/v1/user/", "").await, 401, "invalid_token");
    quay_problem(&kim.send("POST", COLLECTION, &webhook_body().to_string()).await, 403, "insufficient_scope");
    let audit = rig.get("/v1/audit?actor=kim").await.json().to_string();
    assert!(audit.contains("session.begin") && audit.contains("session.end"), "{audit}");
    assert_eq!(
        rig.send("POST", "/api/v1/signout", &[], "").await.status,
        200,
        "with a token there is none to end"
    );
}

#[tokio::test]
async fn a_password_that_can_not_be_checked_is_no_wrong_one() {
    let rig = rig().await;
    with_password(&rig, "kim").await;
    let visitor = Visitor::come(&rig).await;
    rig.store.close().await;
    // More often than either an account or an address may be wrong.
    for _ in 0..=Limits::default().wrong_tokens {
        quay_problem(&visitor.try_in("kim", PASSWORD).await, 503, "downstream_issue");
    }
}

#[tokio::test]
async fn a_login_without_its_word_changes_nothing() {
    let rig = rig().await;
    with_password(&rig, "kim").await;
    let kim = Visitor::signed_in(&rig, "kim").await;
    let stranger = Visitor::come(&rig).await;
    for word in ["", "x", &stranger.word] {
        let misled = Visitor { rig: &rig, cookie: kim.cookie.clone(), word: word.to_owned() };
        for (verb, path) in [("POST", COLLECTION), ("DELETE", COLLECTION), ("POST", "/api/v1/signout")] {
            let answer = misled.send(verb, path, &webhook_body().to_string()).await;
            assert_eq!(
                quay_problem(&answer, 403, "insufficient_scope"),
                "CSRF token was invalid or missing."
            );
        }
        problem(&misled.send("POST", "/v1/notifications", "{}").await, 403);
        assert_eq!(misled.send("GET", COLLECTION, "").await.status, 200, "reading needs no word");
    }
    let by_query = async |query: &str, headers: &[(&str, &str)]| {
        let headers = [&[("cookie", &*kim.cookie), JSON], headers].concat();
        rig.raw("POST", &format!("{COLLECTION}{query}"), &headers, webhook_body().to_string()).await
    };
    for query in ["", "?_csrf_token=", "?_csrf_token=x", &format!("?_csrf_token={}", stranger.word)] {
        quay_problem(&by_query(query, &[]).await, 403, "insufficient_scope");
    }
    let own = format!("?_csrf_token={}", kim.word);
    let contradicted = by_query(&own, &[("x-csrf-token", "x")]).await;
    quay_problem(&contradicted, 403, "insufficient_scope");
    assert_eq!(kim.send("GET", COLLECTION, "").await.json(), json!({"notifications": []}));
}

#[tokio::test]
async fn the_word_may_stand_in_the_query_as_quay_has_it() {
    let rig = rig().await;
    with_password(&rig, "kim").await;
    let kim = Visitor::signed_in(&rig, "kim").await;
    let path = format!("{COLLECTION}?_csrf_token={}", kim.word);
    let headers = [("cookie", &*kim.cookie), JSON];
    let answer = rig.raw("POST", &path, &headers, webhook_body().to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let native = format!("/v1/notifications?_csrf_token={}", kim.word);
    problem(&rig.raw("POST", &native, &headers, "{}").await, 403);
}

#[tokio::test]
async fn the_word_may_stand_in_a_form_as_quay_has_it() {
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let rig = rig().await;
    with_password(&rig, "kim").await;
    let kim = Visitor::signed_in(&rig, "kim").await;
    let made = json_of(&kim.send("POST", COLLECTION, &webhook_body().to_string()).await, 201);
    let reset = format!("{COLLECTION}{}", made["uuid"].as_str().expect("an id"));
    let headers = [("cookie", &*kim.cookie), FORM];
    let own = format!("a=b&_csrf_token={}", kim.word);
    for wrong in [String::new(), "_csrf_token=x".into(), format!("x_csrf_token={}", kim.word)] {
        quay_problem(&rig.raw("POST", &reset, &headers, wrong).await, 403, "insufficient_scope");
    }
    let contradicted = [headers.as_slice(), &[("x-csrf-token", "x")]].concat();
    quay_problem(&rig.raw("POST", &reset, &contradicted, own.clone()).await, 403, "insufficient_scope");
    let as_text = [("cookie", &*kim.cookie), ("content-type", "text/plain")];
    quay_problem(&rig.raw("POST", &reset, &as_text, own.clone()).await, 403, "insufficient_scope");
    assert_eq!(rig.raw("POST", &reset, &headers, own.clone()).await.status, 204);
    let making = rig.raw("POST", COLLECTION, &headers, own.clone()).await;
    assert_eq!(making.status, 415, "what a notification is comes as JSON: {}", making.text());
    let endless = format!("{own}&{}", "x".repeat(20_000));
    quay_problem(&rig.raw("POST", &reset, &headers, endless).await, 403, "insufficient_scope");
    assert_eq!(rig.raw("POST", "/api/v1/signout", &headers, own).await.status, 200);
}

#[tokio::test]
async fn signing_in_needs_the_word_the_name_and_the_password() {
    let rig = rig().await;
    with_password(&rig, "kim").await;
    let visitor = Visitor::come(&rig).await;
    let unmeant = Visitor { rig: &rig, cookie: visitor.cookie.clone(), word: "x".into() };
    quay_problem(&unmeant.try_in("kim", PASSWORD).await, 403, "insufficient_scope");
    let body = json!({"username": "kim", "password": PASSWORD}).to_string();
    quay_problem(&rig.raw("POST", SIGN_IN, &[JSON], body).await, 403, "insufficient_scope");

    let off = json!({"kind": "user", "enabled": false});
    with_password(&rig, "cy").await;
    rig.send("PUT", "/v1/directory/accounts/cy", &[JSON], off.to_string()).await;
    let mut told: Vec<Value> = Vec::new();
    for (name, password) in [
        ("kim", "wrong password"),
        ("kim", ""),
        ("nobody", PASSWORD),
        ("bob", PASSWORD),
        ("acme", PASSWORD),
        ("acme+ci", PASSWORD),
        ("cy", PASSWORD),
        ("No Body", PASSWORD),
    ] {
        let answer = visitor.try_in(name, password).await;
        assert_eq!(
            quay_problem(&answer, 403, "insufficient_scope"),
            "Invalid Username or Password",
            "{name}"
        );
        assert!(!answer.headers.contains_key("set-cookie"));
        told.push(answer.json());
    }
    told.dedup();
    assert_eq!(told.len(), 1, "what was wrong does not show");
    assert_eq!(told[0]["invalidCredentials"], true);
    for (body, expected) in [
        (json!({}), "'username' is a required property"),
        (json!({"username": "kim"}), "'password' is a required property"),
        (json!({"username": 1, "password": "x"}), "1 is not of type 'string'"),
        (json!({"username": "kim", "password": 424_242}), "'password' is not of type 'string'"),
    ] {
        let answer = visitor.send("POST", SIGN_IN, &body.to_string()).await;
        let detail = quay_problem(&answer, 400, "invalid_request");
        assert_eq!(detail.lines().next(), Some(expected));
        assert!(!answer.text().contains("424242"));
    }
    Visitor::signed_in(&rig, "kim").await;
}

#[tokio::test]
async fn guessing_a_password_is_slow_whoever_guesses_and_a_right_one_does_not_show() {
    let change = |api: &mut bellbuoy_api::Api| api.limits.wrong_passwords = 3;
    let rig = Rig::with(change, ServerLimits::default()).await;
    fill(&rig).await;
    with_password(&rig, "kim").await;
    with_password(&rig, "bob").await;
    let visitor = Visitor::come(&rig).await;
    for _ in 0..5 {
        assert_eq!(visitor.try_in("kim", PASSWORD).await.status, 200, "right ones are not counted");
    }
    for status in [403, 403, 403, 429, 429] {
        assert_eq!(visitor.try_in("kim", "wrong password").await.status, status);
    }
    let right = visitor.try_in("kim", PASSWORD).await;
    assert_eq!(right.status, 429);
    let wait: u64 = right.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(visitor.try_in("bob", PASSWORD).await.status, 200, "another account's are its own");
}

#[tokio::test]
async fn wrong_passwords_are_guesses_of_their_address_whoever_has_an_account_there() {
    let change = |api: &mut bellbuoy_api::Api| api.limits.wrong_tokens = 3;
    let rig = Rig::with(change, ServerLimits::default()).await;
    fill(&rig).await;
    with_password(&rig, "kim").await;
    let visitor = Visitor::come(&rig).await;
    for _ in 0..4 {
        assert_eq!(visitor.try_in("kim", PASSWORD).await.status, 200, "right ones are not counted");
    }
    for (name, status) in [("a", 403), ("b", 403), ("c", 403), ("d", 429), ("kim", 429)] {
        assert_eq!(visitor.try_in(name, PASSWORD).await.status, status, "{name}");
    }
    let stranger = rig.raw("GET", COLLECTION, &[("authorization", "Bearer wrong")], "").await;
    assert_eq!(stranger.status, 429, "and they are guesses like those of tokens");
    assert_eq!(rig.counted(Counter::RequestsUnauthorized, &["quay"]), 6);
}

#[tokio::test]
async fn a_login_ends_with_its_time_its_password_and_its_account() {
    let rig = rig().await;
    for name in ["kim", "bob", "cy"] {
        with_password(&rig, name).await;
    }
    let alive = async |visitor: &Visitor<'_>| visitor.send("GET", "/api/v1/user/", "").await.status == 200;
    let (kim, bob, cy) = (
        Visitor::signed_in(&rig, "kim").await,
        Visitor::signed_in(&rig, "bob").await,
        Visitor::signed_in(&rig, "cy").await,
    );
    assert!(alive(&kim).await && alive(&bob).await && alive(&cy).await);
    with_password(&rig, "kim").await;
    assert!(!alive(&kim).await, "a new password ends it");
    let off = json!({"kind": "user", "enabled": false});
    rig.send("PUT", "/v1/directory/accounts/bob", &[JSON], off.to_string()).await;
    assert!(!alive(&bob).await, "so does disabling the account");
    assert_eq!(rig.send("DELETE", "/v1/directory/accounts/cy/password", &[], "").await.status, 204);
    assert!(!alive(&cy).await, "or taking the password away");
    assert_eq!(Visitor::come(&rig).await.try_in("cy", PASSWORD).await.status, 403);

    // What the store has of a login is the digest of its cookie, and when it ends.
    let kim = Visitor::signed_in(&rig, "kim").await;
    let value = kim.cookie.split_once('=').expect("a value").1;
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, value.as_bytes()).as_ref());
    let later = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
    let held = async |hours| rig.store.session(&hash, later(hours)).await.expect("read").is_some();
    assert!(held(11).await && !held(13).await);
}

#[tokio::test]
async fn the_cookie_is_for_us_alone() {
    let rig = rig().await;
    with_password(&rig, "kim").await;
    let visitor = Visitor::come(&rig).await;
    let answer = visitor.try_in("kim", PASSWORD).await;
    let (pair, attributes) = cookie(&answer);
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=43200");
    assert!(pair.starts_with("bellbuoy_session=bbs_") && pair.len() > 50, "{pair}");
    let plain = Rig::with(|api| api.public_url = "http://127.0.0.1:1".into(), ServerLimits::default()).await;
    let answer = plain.raw("GET", "/csrf_token", &[], "").await;
    assert_eq!(cookie(&answer).1, "Path=/; HttpOnly; SameSite=Lax");
}

#[tokio::test]
async fn only_superusers_set_passwords_of_users_and_none_is_shown() {
    let rig = rig().await;
    let put = async |account: &str, body: Value| {
        rig.send("PUT", &format!("/v1/directory/accounts/{account}/password"), &[JSON], body.to_string())
            .await
    };
    for (account, body, status) in [
        ("kim", json!({"password": "short"}), 400),
        ("kim", json!({"password": "x".repeat(257)}), 400),
        ("kim", json!({}), 400),
        ("nobody", json!({ "password": PASSWORD }), 404),
        ("acme", json!({ "password": PASSWORD }), 400),
        ("acme+ci", json!({ "password": PASSWORD }), 400),
    ] {
        let answer = put(account, body).await;
        assert!(!problem(&answer, status).contains(PASSWORD), "{account}");
    }
    with_password(&rig, "kim").await;
    let hash = rig.store.password(&"kim".parse().expect("a name")).await.expect("read").expect("a hash");
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let seen = [rig.get("/v1/directory/accounts/kim").await.text(), rig.get("/v1/audit").await.text()];
    assert!(seen.iter().all(|seen| !seen.contains("argon2") && !seen.contains(PASSWORD)));
    assert!(seen[1].contains("account.password.put"));
}
