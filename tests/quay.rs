//! What Quay's people do, through the real program: an address agrees by the mail that it gets; a user signs in by the
//! password that the operator set; an operator makes the server read-only.

mod support;

use std::path::Path;

use bellbuoy_testkit::{
    http::Http,
    mail::{MailServer, Setup},
    process::{Launch, free_port},
    receiver::{Answer, Receiver},
    wait::eventually,
};
use http::Method;
use serde_json::{Value, json};
use support::{BINARY, Fleet, SOON, TOKEN};

const PATH: &str = "/api/v1/repository/acme/api/authorizedemail/kim@example.com";

async fn people(fleet: &Fleet) {
    let document = json!({
        "version": 1, "users": [{"name": "kim"}],
        "repositories": [{"name": "acme/api", "permissions": [{"grantee": "kim", "role": "admin"}]}],
    });
    let answer = fleet.api.post("/v1/directory/import", &document).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The link of a mail, whose lines may have been broken.
fn link(data: &str) -> String {
    let whole = data.replace("=\r\n", "").replace("=3D", "=");
    let link = whole.split_whitespace().find(|word| word.starts_with("http://") && word.contains("?code="));
    link.unwrap_or_else(|| panic!("no link in {data}")).to_owned()
}

#[tokio::test]
async fn an_address_agrees_by_the_link_of_its_mail_and_no_mail_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mail_port, own_port) = (free_port(), free_port());
    let own = format!("127.0.0.1:{own_port}");
    let fleet = Fleet::start(&[
        ("BELLBUOY_LISTEN", &own),
        ("BELLBUOY_PUBLIC_URL", &format!("http://{own}/")),
        ("BELLBUOY_REGISTRY__TITLE", "Example"),
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__PORT", &mail_port.to_string()),
        ("BELLBUOY_SMTP__SECURITY", "none"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
    ])
    .await;
    people(&fleet).await;
    let away = fleet.api.post(PATH, &json!({})).await;
    assert_eq!(away.status, 400, "{}", away.text());
    assert!(away.text().contains("Could not send email."), "{}", away.text());
    assert_eq!(fleet.api.send(Method::GET, PATH, "application/json", "").await.status, 404);

    let server = MailServer::start(folder.path(), &Setup { port: mail_port, ..Setup::default() }).await;
    assert_eq!(fleet.api.post(PATH, &json!({})).await.json()["confirmed"], false);
    let mail = server.wait_for(1).await.remove(0);
    assert_eq!(mail.to, ["kim@example.com"]);
    let subject = "[Example] Please verify your e-mail address for repository acme/api";
    assert_eq!(mail.field("Subject").as_deref(), Some(subject));
    let link = link(&mail.data);
    assert!(link.starts_with(&format!("http://{own}/authrepoemail?code=bbe_")), "{link}");
    let page = Http::new().get(&link).await.expect("a page");
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(fleet.api.get(PATH).await["confirmed"], true);
    let wish = json!({"event": "repo_push", "method": "email", "config": {"email": "kim@example.com"}, "eventConfig": {}});
    let made = fleet.api.post("/api/v1/repository/acme/api/notification/", &wish).await;
    assert_eq!(made.status, 201, "{}", made.text());
    fleet.api.publish(&support::push("1", "acme/api", "v1")).await;
    assert_eq!(server.wait_for(2).await[1].field("Subject").as_deref(), Some("Repository acme/api updated"));
    let code = link.split_once("code=").expect("a code").1;
    assert!(!fleet.log().contains(code), "the code is in the log");
}

#[tokio::test]
async fn a_namespace_s_mail_goes_to_whoever_owns_it_by_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = MailServer::start(folder.path(), &Setup::default()).await;
    let port = server.port().to_string();
    let fleet = Fleet::start(&[
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__PORT", &port),
        ("BELLBUOY_SMTP__SECURITY", "none"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
    ])
    .await;
    let user =
        |name: &str| json!({"name": name, "email": format!("{name}@example.com"), "email_verified": true});
    let owned_by = async |owners: &[&str]| {
        let users = ["ann", "bob", "cy"].map(user);
        let document = json!({
            "version": 1, "users": users, "organizations": [{"name": "acme", "owners": owners}],
        });
        let answer = fleet.api.post("/v1/directory/import", &document).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let over_quota = async |id: &str| {
        fleet
            .api
            .publish(&json!({"specversion": "1.0", "id": id, "source": "journeys", "type": "quota_error",
            "subject": "acme", "data": {"usage_percent": 105}}))
            .await;
    };
    owned_by(&["ann"]).await;
    let path = "/api/v1/organization/acme/notifications";
    let mut wish = json!({"event": "quota_error", "method": "email", "config": {}, "eventConfig": {}});
    let made = fleet.api.post(path, &wish).await;
    assert_eq!((made.status.as_u16(), &made.json()["config"]), (201, &json!({})), "{}", made.text());
    wish["config"] = json!({"email": "cy@example.com"});
    assert_eq!(fleet.api.post(path, &wish).await.status, 400, "nobody's of acme");
    over_quota("1").await;
    assert_eq!(server.wait_for(1).await[0].to, ["ann@example.com"]);
    owned_by(&["bob", "cy"]).await;
    over_quota("2").await;
    let mails = server.wait_for(2).await;
    assert_eq!(mails[1].to, ["bob@example.com", "cy@example.com"], "one mail, to those who own it now");
    let subject = "Namespace acme storage usage has exceeded its quota limit (105%)";
    assert_eq!(mails[1].field("Subject").as_deref(), Some(subject));
    fleet.api.until("subject=acme", 2, &["delivered"]).await;
}

#[tokio::test]
async fn a_server_that_is_read_only_delivers_and_changes_nothing_and_who_only_reads_sees_it_all() {
    let mut fleet = Fleet::start(&[("BELLBUOY_AUTH__READONLY_SUPERUSERS", "auditor")]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    people(&fleet).await;
    let user = json!({"kind": "user"}).to_string();
    let made = fleet.api.send(Method::PUT, "/v1/directory/accounts/auditor", "application/json", user).await;
    assert!(made.status.is_success(), "{}", made.text());
    let wanted = json!({"title": "audit", "account": "auditor", "scopes": ["super:user"]});
    let token = fleet.api.post("/v1/tokens", &wanted).await.json()["token"].clone();
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;

    fleet.set("BELLBUOY_API__READ_ONLY", "true");
    fleet.stop().await;
    fleet.start_again().await;
    let path = "/api/v1/repository/acme/api/notification/";
    let wish = json!({"event": "repo_push", "method": "slack", "config": {"url": "https://hooks.example.com/"}, "eventConfig": {}});
    let refused = fleet.api.post(path, &wish).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["is_readonly"]), (503, &json!(true)));
    fleet.api.publish(&support::push("1", "acme/api", "v1")).await;
    fleet.api.until("subject=acme/api", 1, &["delivered"]).await;

    let auditor = support::Client::new(&fleet.api.url, token.as_str().expect("a token"));
    assert_eq!(auditor.get(path).await["notifications"].as_array().map(Vec::len), Some(1));
    fleet.set("BELLBUOY_API__READ_ONLY", "false");
    fleet.stop().await;
    fleet.start_again().await;
    let auditor = support::Client::new(&fleet.api.url, token.as_str().expect("a token"));
    assert_eq!(auditor.post(path, &wish).await.status, 403, "it changes no more than others");
    assert_eq!(fleet.api.post(path, &wish).await.status, 201);
}

#[tokio::test]
async fn a_test_call_s_failures_count_and_of_a_disabled_notification_nothing_is_sent() {
    let (fleet, receiver) = (Fleet::start(&[]).await, Receiver::start().await.expect("a receiver"));
    receiver.script("/hook", [Answer::status(400)]);
    let wish = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let one = format!("/api/v1/repository/acme/api/notification/{}", wish.id);
    let (query, test) = (format!("notification={}", wish.id), format!("{one}/test"));
    let failures = async || fleet.api.get(&one).await["number_of_failures"].clone();
    let answer = fleet.api.post(&test, &json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
    fleet.api.until(&query, 1, &["dead"]).await;
    assert_eq!(failures().await, 1);

    receiver.script("/hook", [Answer::status(410)]);
    assert_eq!(fleet.api.post(&test, &json!({})).await.status, 200);
    fleet.api.until(&query, 2, &["dead"]).await;
    let disabled = async || (failures().await == 3).then_some(());
    eventually(SOON, disabled).await;
    let asked = receiver.requests().len();
    let answer = fleet.api.post(&test, &json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})), "as if it were sent");
    let rows = fleet.api.until(&query, 3, &["dead"]).await;
    assert!(rows.iter().any(|row| row["attempt_count"] == 0), "one was never tried: {rows:?}");
    assert_eq!(receiver.requests().len(), asked);
}

/// Runs a command to its end; its exit code, what it printed and what it complained of.
async fn run(folder: &Path, fleet: &Fleet, args: &[&str]) -> (Option<i32>, Vec<String>) {
    let launch = Launch::new("command", BINARY, folder).args(args);
    let launch = launch.env("BELLBUOY_URL", &fleet.api.url).env("BELLBUOY_TOKEN", TOKEN);
    let process = launch.start();
    let code = process.wait_exit(SOON).await.code();
    (code, process.lines())
}

#[tokio::test]
async fn a_user_signs_in_by_the_password_that_the_operator_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&[]).await;
    people(&fleet).await;
    let (code, said) = run(folder.path(), &fleet, &["user", "password", "kim", "--generate"]).await;
    assert_eq!(code, Some(0), "{said:?}");
    let password =
        said.iter().find(|line| line.len() == 64).unwrap_or_else(|| panic!("no password: {said:?}"));
    let http = Http::new();
    let url = |path: &str| format!("{}{path}", fleet.api.url);
    let sign_in = async |password: &str| {
        let word = http.get(&url("/csrf_token")).await.expect("an answer");
        let cookie = cookie(&word.headers["set-cookie"]);
        let word = word.json()["csrf_token"].as_str().expect("a word").to_owned();
        let headers =
            [("cookie", cookie.as_str()), ("x-csrf-token", &word), ("content-type", "application/json")];
        let body = json!({"username": "kim", "password": password}).to_string();
        http.send(Method::POST, &url("/api/v1/signin"), &headers, body).await.expect("an answer")
    };
    assert_eq!(sign_in("not the password").await.status, 403);
    let answer = sign_in(password).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let session = cookie(&answer.headers["set-cookie"]);
    let word = answer.headers["x-next-csrf-token"].to_str().expect("text").to_owned();
    let headers = [("cookie", session.as_str()), ("x-csrf-token", &word)];
    let me = http.send(Method::GET, &url("/api/v1/user/"), &headers, "").await.expect("an answer");
    assert_eq!(me.json()["username"], "kim");
    let out = http.send(Method::POST, &url("/api/v1/signout"), &headers, "").await.expect("an answer");
    assert_eq!(out.json(), Value::from_iter([("success", true)]));

    let (code, said) = run(folder.path(), &fleet, &["user", "password", "kim", "--generate", "--json"]).await;
    let is_object = said.iter().any(|line| line.trim_start().starts_with(r#""password": ""#));
    assert!(code == Some(0) && is_object, "{said:?}");

    let (code, said) = run(folder.path(), &fleet, &["user", "password", "kim", "--remove"]).await;
    assert_eq!(code, Some(0), "{said:?}");
    assert_eq!(sign_in(password).await.status, 403);
    let (code, said) = run(folder.path(), &fleet, &["user", "password", "nobody", "--generate"]).await;
    assert!(code == Some(1) && said.concat().contains("nobody"), "{said:?}");
    assert!(!said.iter().any(|line| line.len() == 64), "a password that was not set is not shown: {said:?}");
    assert!(!fleet.log().contains(password.as_str()), "the password is in the log");
}

fn cookie(set: &http::HeaderValue) -> String {
    let set = set.to_str().expect("text");
    set.split(';').next().expect("a cookie").to_owned()
}
