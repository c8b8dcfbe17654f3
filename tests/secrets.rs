//! Nothing secret is told to anybody: marked secrets are put into every place that takes one, and all that the program
//! wrote, answered and stored is searched for them.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bellbuoy_testkit::{
    certs::Authority,
    http::{Answer as HttpAnswer, Http},
    postgres::Postgres,
    rabbitmq::Node,
    receiver::{Answer, Receiver},
    wait::eventually,
};
use http::Method;
use serde_json::{Value, json};
use support::{BINARY, Client, Deployment, Fleet, SOON, TOKEN, push};

/// The text of each secret, and what it is: no two share a text.
struct Marked(BTreeMap<String, String>);

impl Marked {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// A new secret for a place; of letters and digits, so that no encoding changes it.
    fn mark(&mut self, place: &str) -> String {
        let text =
            format!("MARK{}x{}", self.0.len() + 1000, STANDARD.encode(place).replace(['=', '+', '/'], ""));
        self.keep(place, &text)
    }

    /// A secret that has a form of its own.
    fn keep(&mut self, place: &str, text: &str) -> String {
        self.0.insert(text.to_owned(), place.to_owned());
        text.to_owned()
    }

    /// The places whose secrets stand in `bytes`.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let text = String::from_utf8_lossy(bytes);
        self.0
            .iter()
            .filter(|(secret, _)| text.contains(secret.as_str()))
            .map(|(_, place)| place.as_str())
            .collect()
    }

    #[track_caller]
    fn assert_none_in(&self, what: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "{what} tells {found:?}");
    }
}

/// Everything in a folder and below, by its name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.display().to_string(), fs::read(&path).expect("a file")));
        }
    }
    found
}

fn run(fleet: &Fleet, settings: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).env_clear().current_dir(fleet.data());
    command.env("BELLBUOY_URL", &fleet.api.url).env("BELLBUOY_TOKEN", TOKEN);
    command.envs(settings.iter().copied()).output().expect("it runs")
}

fn wish(name: &str, method: &str, config: &Value) -> Value {
    json!({"scope": {"repository": format!("acme/{name}")}, "kinds": ["repo_push"], "method": method,
        "config": config, "retry": {"steps_ms": [1], "longest_hint_ms": 0, "client_error_attempts": 1}})
}

/// A webhook with a secret in every place that takes one.
fn full_webhook(marked: &mut Marked, url: &str) -> Value {
    let authority = Authority::new("ours").expect("an authority");
    let identity = authority.client("bellbuoy").expect("a certificate");
    // Any line of the key is as good as all of it.
    let line = identity.key_pem.lines().nth(1).expect("a line").to_owned();
    marked.keep("client_key", &line);
    let whsec = format!("whsec_{}", STANDARD.encode("MARK of a secret of 32 bytes...."));
    let whsk = STANDARD.encode("MARK of a signing key 32 bytes..");
    marked.keep("secret", whsec.trim_start_matches("whsec_").trim_end_matches('='));
    // Up to where the public half begins.
    marked.keep("signing_key", &whsk[..40]);
    json!({
        "url": format!("{url}?token={}&{}", marked.mark("url's query"), marked.mark("url's query, bare")),
        "bearer_token": marked.mark("bearer_token"),
        "hmac_secret": marked.mark("hmac_secret"),
        "secret_headers": {"X-Gitlab-Token": marked.mark("secret_headers")},
        "secret": whsec, "signing_key": format!("whsk_{whsk}"),
        "signatures": ["standard-webhooks", "standard-webhooks-v1a", "x-hub-signature-256", "x-signature"],
        "client_certificate": identity.cert_pem, "client_key": identity.key_pem, "follow_redirects": true,
    })
}

/// Signs in as a browser does, wrongly and rightly; marks the passwords and what the browser is given to keep.
async fn sign_in(fleet: &Fleet, marked: &mut Marked) -> Vec<HttpAnswer> {
    let put = async |path: &str, body: Value| {
        let path = format!("/v1/directory/accounts/kim{path}");
        let answer = fleet.api.send(Method::PUT, &path, "application/json", body.to_string()).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
    };
    let (right, wrong) = (marked.mark("a password"), marked.mark("a wrong password"));
    put("", json!({"kind": "user"})).await;
    put("/password", json!({ "password": right })).await;
    let (http, mut answers) = (Http::new(), Vec::new());
    for (password, expected) in [(&wrong, 403), (&right, 200)] {
        let come = http
            .send(Method::GET, &format!("{}/csrf_token", fleet.api.url), &[], "")
            .await
            .expect("an answer");
        let given = |answer: &HttpAnswer| {
            let cookie = answer.headers["set-cookie"].to_str().expect("text");
            cookie.split(';').next().unwrap_or_default().to_owned()
        };
        let (cookie, word) = (given(&come), come.json()["csrf_token"].as_str().expect("a word").to_owned());
        let headers =
            [("cookie", cookie.as_str()), ("x-csrf-token", &word), ("content-type", "application/json")];
        let body = json!({"username": "kim", "password": password}).to_string();
        let url = format!("{}/api/v1/signin", fleet.api.url);
        let answer = http.send(Method::POST, &url, &headers, body).await.expect("an answer");
        assert_eq!(answer.status, expected, "{}", answer.text());
        if expected == 200 {
            let cookie = given(&answer);
            marked.keep("a login's cookie", cookie.split('=').nth(1).expect("a value"));
        }
        answers.push(answer);
    }
    answers
}

/// The API as kim sees it, who looks after `repository`.
async fn keeper(api: &Client, marked: &mut Marked, repository: &str) -> Client {
    let people = json!({"version": 1, "users": [{"name": "kim"}],
        "repositories": [{"name": repository, "permissions": [{"grantee": "kim", "role": "admin"}]}]});
    let answer = api.post("/v1/directory/import", &people).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = json!({"title": "kim", "account": "kim", "scopes": ["user:admin"]});
    let made = api.post("/v1/tokens", &body).await.json();
    Client::new(&api.url, &marked.keep("kim's token", made["token"].as_str().expect("a token")))
}

#[expect(clippy::too_many_lines, reason = "a list of places, one after the other")]
#[tokio::test]
async fn no_marked_secret_is_told_or_stored_in_the_open() {
    let mut marked = Marked::new();
    let receiver = Receiver::start().await.expect("a receiver");
    let store_key = STANDARD.encode("MARK of the key of the store....");
    marked.keep("store.secret_key", store_key.trim_end_matches('='));
    let proxy = format!("http://kim:{}@127.0.0.1:9", marked.mark("outbound.proxy"));
    let settings: Vec<(&str, String)> = vec![
        ("BELLBUOY_LOG__FILTER", "debug".to_owned()),
        ("BELLBUOY_STORE__SECRET_KEY", store_key.clone()),
        ("BELLBUOY_INGEST__GITHUB_SECRET", marked.mark("ingest.github_secret")),
        ("BELLBUOY_SMTP__HOST", "127.0.0.1".to_owned()),
        ("BELLBUOY_SMTP__PORT", "9".to_owned()),
        ("BELLBUOY_SMTP__USER", "bells".to_owned()),
        ("BELLBUOY_SMTP__PASSWORD", marked.mark("smtp.password")),
        ("BELLBUOY_SMTP__FROM", "bells@example.com".to_owned()),
        ("BELLBUOY_OUTBOUND__PROXY", proxy),
        ("BELLBUOY_OUTBOUND__NO_PROXY", "127.0.0.0/8".to_owned()),
        ("BELLBUOY_HIPCHAT__BASE_URL", receiver.url("/hipchat").trim_end_matches('/').to_owned()),
        ("BELLBUOY_FLOWDOCK__BASE_URL", receiver.url("/flowdock").trim_end_matches('/').to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut fleet = Fleet::start(&settings).await;
    marked.keep("auth.admin_token", TOKEN);
    assert!(!marked.0.contains_key(""));

    // Each receiver fails in a way that tempts to say where it was.
    receiver.script("/full", [Answer::status(500), Answer::status(404)]);
    receiver.script(
        "/away",
        [Answer::status(307).with("location", &format!("/there?k={}", marked.mark("location")))],
    );
    receiver.script("/there", [Answer::text(403, marked.mark("a receiver's body"))]);
    receiver.script("/cut", [Answer::CloseUnanswered]);
    receiver.script("/gone", [Answer::status(410)]);
    let mut ids = Vec::new();
    let mut create = async |body: Value| {
        let answer = fleet.api.post("/v1/notifications", &body).await;
        assert_eq!(answer.status, 201, "{body}: {}", answer.text());
        ids.push(answer.json()["id"].as_str().expect("an id").to_owned());
    };
    create(wish("full", "webhook", &full_webhook(&mut marked, &receiver.url("/full")))).await;
    for (name, url) in [
        ("cut", receiver.url("/cut")),
        ("gone", receiver.url("/gone")),
        ("tls", receiver.url("/tls").replace("http:", "https:")),
        ("refused", "http://127.0.0.1:9009/hook".to_owned()),
        ("proxied", "http://93.184.215.14/hook".to_owned()),
        ("dns", "http://receiver.invalid/hook".to_owned()),
    ] {
        let url = format!("{url}?k={}", marked.mark(&format!("url's query, {name}")));
        create(wish(name, "webhook", &json!({ "url": url }))).await;
    }
    let closed = format!("http://169.254.169.254/x?k={}", marked.mark("location, blocked"));
    receiver.script("/blocked", [Answer::status(307).with("location", &closed)]);
    let led = json!({"url": receiver.url("/blocked"), "follow_redirects": true});
    create(wish("blocked", "webhook", &led)).await;
    let password = marked.mark("password");
    marked.keep("basic credentials", &STANDARD.encode(format!("kim:{password}"))[..24]);
    let basic = json!({"url": receiver.url("/away"), "username": "kim", "password": password, "follow_redirects": true});
    create(wish("away", "webhook", &basic)).await;
    let verbatim = json!({"url": receiver.url("/full"), "authorization": marked.mark("authorization")});
    create(wish("verbatim", "webhook", &verbatim)).await;
    for chat in ["slack", "mattermost", "rocketchat", "teams", "discord"] {
        let url = receiver.url(&format!(
            "/services/{}?sig={}",
            marked.mark(chat),
            marked.mark(&format!("{chat}'s query"))
        ));
        create(wish(chat, chat, &json!({ "url": url }))).await;
    }
    create(wish(
        "hipchat",
        "hipchat",
        &json!({"room_id": "1", "notification_token": marked.mark("hipchat")}),
    ))
    .await;
    create(wish("flowdock", "flowdock", &json!({"flow_api_token": marked.mark("flowdock")}))).await;
    receiver.script("/hipchat/v2/room/1/notification", [Answer::status(404)]);
    create(json!({"scope": {"registry": true}, "kinds": ["repo_push"], "method": "email",
        "config": {"email": "kim@example.com"}}))
    .await;

    // What is refused is not repeated either.
    let mut answers = Vec::new();
    let bad = marked.mark("what is refused");
    for config in [
        json!({"url": format!("https://kim:{bad}@a.example/")}),
        json!({"url": "https://a.example/", "bearer_token": format!("{bad}\n")}),
        json!({"url": "https://a.example/", "secret": bad}),
        json!({"url": "https://a.example/", "secret": format!("whsec_{bad}")}),
        json!({"url": "https://a.example/", "signing_key": format!("whsk_{bad}")}),
        json!({"url": "https://a.example/", "client_key": bad, "client_certificate": bad}),
        json!({"url": "https://a.example/", "secret_headers": {"X-A": [bad]}}),
        json!({"url": "https://a.example/", "password": bad}),
    ] {
        answers.push(fleet.api.post("/v1/notifications", &wish("bad", "webhook", &config)).await);
    }
    answers
        .push(fleet.api.post(&format!("/v1/notifications/{}/rotate", ids[0]), &json!({"secret": bad})).await);
    assert!(answers.iter().all(|answer| answer.status == 400));
    let token = json!({"title": "ci", "scopes": ["events:publish"]});
    let token = fleet.api.post("/v1/tokens", &token).await;
    assert_eq!(token.status, 201, "{}", token.text());
    marked.keep("a token", token.json()["token"].as_str().expect("shown once"));
    answers.extend(sign_in(&fleet, &mut marked).await);
    let kim = keeper(&fleet.api, &mut marked, "acme/gone").await;
    let guess = Client::new(&fleet.api.url, &marked.mark("a wrong token"));
    answers.push(guess.send(Method::GET, "/v1/notifications", "", "").await);
    let in_query = format!("/v1/notifications?token={}", marked.mark("a token in the query"));
    answers.push(fleet.api.send(Method::GET, &in_query, "", "").await);

    // Every receiver is told, and what can end in dead letters does.
    let names = [
        "full",
        "cut",
        "gone",
        "tls",
        "refused",
        "blocked",
        "dns",
        "away",
        "verbatim",
        "slack",
        "mattermost",
        "rocketchat",
        "teams",
        "discord",
        "hipchat",
        "flowdock",
        "proxied",
    ];
    for name in names {
        fleet.api.publish(&push(name, &format!("acme/{name}"), "v1")).await;
    }
    let settled = async || {
        let rows = fleet.api.deliveries("").await;
        let tried = |row: &Value| {
            row["state"] != "pending" && (row["attempt_count"] != 0 || row["cause"].is_object())
        };
        (rows.len() == 2 * names.len() && rows.iter().all(tried)).then_some(rows)
    };
    let rows = eventually(SOON, settled).await;
    let dead = async || Some(fleet.api.dead_letters("").await).filter(|letters| letters.len() >= 6);
    let letters = eventually(SOON, dead).await;
    answers.push(fleet.api.post(&format!("/v1/notifications/{}/rotate", ids[1]), &json!({})).await);
    marked.keep(
        "a rotated secret",
        answers
            .last()
            .and_then(|answer| answer.json()["config"]["secret"].as_str().map(str::to_owned))
            .expect("shown once")
            .trim_start_matches("whsec_"),
    );
    answers.pop();

    // They did reach whom they are for, so that the search below can find what it looks for.
    let sent: Vec<u8> =
        receiver.requests().iter().flat_map(|request| format!("{request:?}").into_bytes()).collect();
    let reached = marked.found_in(&sent);
    for place in [
        "url's query",
        "bearer_token",
        "secret_headers",
        "basic credentials",
        "authorization",
        "slack",
        "teams's query",
        "hipchat",
        "flowdock",
    ] {
        assert!(reached.contains(&place), "{place} reached nobody: {reached:?}");
    }

    for answer in &answers {
        marked.assert_none_in("a refusal", answer.text().as_bytes());
    }
    let mut paths: Vec<String> =
        ["notifications", "deliveries", "dead-letters", "audit", "tokens", "secrets", "events/full"]
            .map(|path| format!("/v1/{path}"))
            .to_vec();
    paths.extend(
        ids.iter().flat_map(|id| [format!("/v1/notifications/{id}"), format!("/v1/notifications/{id}/keys")]),
    );
    paths.extend(rows.iter().map(|row| format!("/v1/deliveries/{}", row["id"].as_str().expect("an id"))));
    paths
        .extend(letters.iter().map(|row| format!("/v1/dead-letters/{}", row["id"].as_str().expect("an id"))));
    paths.extend(
        [
            "/metrics",
            "/readyz",
            "/healthz",
            "/",
            "/api/v1/repository/acme/full/notification/",
            "/api/v0/webhooks?webhookType=any",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        let answer = fleet.api.send(Method::GET, &path, "", "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        marked.assert_none_in(&path, answer.text().as_bytes());
    }
    // Who looks after a notification is told that it was disabled, and no more.
    let told = async || Some(kim.get("/v1/inbox").await).filter(|page| page["items"] != json!([]));
    let told = eventually(SOON, told).await.to_string();
    assert!(told.contains("notification_disabled"), "{told}");
    marked.assert_none_in("/v1/inbox", told.as_bytes());
    for args in [
        &["config", "show"][..],
        &["config", "check"],
        &["notifications", "list"],
        &["notifications", "show", &ids[0]],
        &["secrets", "list"],
    ] {
        let said = run(&fleet, &settings, args);
        assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
        marked.assert_none_in(&format!("{args:?}"), &[said.stdout, said.stderr].concat());
    }
    // The broker's and the store's files as a crash leaves them, and as an orderly end does.
    fleet.process.kill_9();
    for (name, bytes) in files(&fleet.data()) {
        marked.assert_none_in(&name, &bytes);
    }
    fleet.start_again().await;
    fleet.stop().await;
    for (name, bytes) in files(&fleet.data()) {
        marked.assert_none_in(&name, &bytes);
    }
    let log = fleet.log();
    assert!(log.contains("DEBUG") || log.contains("\"debug\""), "the log is not at its most talkative");
    marked.assert_none_in("the log", log.as_bytes());
}

#[tokio::test]
async fn without_a_key_secrets_are_stored_as_they_are_which_is_said_and_a_rewrite_leaves_nothing_of_it() {
    let receiver = Receiver::start().await.expect("a receiver");
    let mut marked = Marked::new();
    let mut fleet = Fleet::start(&[]).await;
    let answer = fleet
        .api
        .post(
            "/v1/notifications",
            &wish("api", "webhook", &full_webhook(&mut marked, &receiver.url("/hook"))),
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(fleet.log().contains("secrets are stored unencrypted; set `store.secret_key`"));
    let said = run(&fleet, &[], &["config", "check"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("set `store.secret_key`"), "{said:?}");
    assert_eq!(
        run(&fleet, &[], &["secrets", "rewrite"]).status.code(),
        Some(1),
        "there is nothing to write with"
    );
    fleet.stop().await;
    let stored: Vec<u8> = files(&fleet.data()).into_iter().flat_map(|(_, bytes)| bytes).collect();
    let open = marked.found_in(&stored).len();
    // The search finds what is there: all but the line breaks of a key in JSON.
    assert!(open >= 6, "only {:?}", marked.found_in(&stored));

    let new_key = || {
        let said = run(&fleet, &[], &["secrets", "new-key"]);
        String::from_utf8(said.stdout).expect("text").trim().to_owned()
    };
    let (one, two) = (new_key(), new_key());
    assert_ne!(one, two);
    let pushes = async |fleet: &Fleet, id: &str| {
        fleet.api.publish(&push(id, "acme/api", "v1")).await;
        fleet.api.until(&format!("event={id}"), 1, &["delivered"]).await;
    };
    for (round, keys) in [one.clone(), format!("{two},{one}"), two.clone()].iter().enumerate() {
        fleet.set("BELLBUOY_STORE__SECRET_KEY", keys);
        fleet.start_again().await;
        pushes(&fleet, &format!("before{round}")).await;
        let said = run(&fleet, &[], &["secrets", "rewrite"]);
        assert!(said.status.success(), "{said:?}");
        let audit = fleet.api.send(Method::GET, "/v1/audit?action=secrets.rewrite", "", "").await.json();
        let written_down = audit["entries"].as_array().map(Vec::len);
        assert_eq!(
            written_down,
            Some([1, 2, 2][round]),
            "in the last round there was nothing to do: {audit}"
        );
        pushes(&fleet, &format!("after{round}")).await;
        fleet.stop().await;
        for (name, bytes) in files(&fleet.data()) {
            marked.assert_none_in(&format!("{name} in round {round}"), &bytes);
        }
    }
    // Without its key it does not start, and says which is missing.
    fleet.set("BELLBUOY_STORE__SECRET_KEY", &one);
    fleet.launch_again();
    fleet.process.wait_for_line("which `store.secret_key` does not hold", SOON).await;
    assert_eq!(fleet.process.wait_exit(SOON).await.code(), Some(1));
}

/// The URLs of a broker and of a database with a user of their own each, whose passwords are marked; and that database.
async fn grounds(node: &Node, postgres: &Postgres, marked: &mut Marked) -> (String, String, String) {
    let (broker_password, store_password) = (marked.mark("broker.url"), marked.mark("store.url"));
    node.add_vhosts(&["fleet"]).await;
    node.ctl(&["add_user", "bells", &broker_password]).await;
    node.ctl(&["set_permissions", "-p", "fleet", "bells", ".*", ".*", ".*"]).await;
    let broker = format!("amqp://bells:{broker_password}@{}/fleet", node.address());
    let url = postgres.database().await;
    let database = url.rsplit('/').next().expect("a name").to_owned();
    let role = format!(
        "CREATE ROLE bells LOGIN PASSWORD '{store_password}'; ALTER DATABASE {database} OWNER TO bells"
    );
    postgres.sql("postgres", &role).await;
    let store = format!("postgres://bells:{store_password}@{}/{database}", postgres.address());
    (broker, store, database)
}

/// A dump, and after it whatever it has of bytes, which it writes in hexadecimal, as they are.
fn readable(dump: &str) -> Vec<u8> {
    let mut all = dump.as_bytes().to_vec();
    for value in dump.split(r"\\x").skip(1) {
        let digits = value.chars().map_while(|digit| u8::try_from(digit.to_digit(16)?).ok());
        all.push(b'\n');
        all.extend(digits.collect::<Vec<u8>>().chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    }
    all
}

/// Makes notifications with marked secrets, whose receivers fail or are no more; gives back their names.
async fn plant(api: &Client, marked: &mut Marked, receiver: &Receiver) -> Vec<&'static str> {
    receiver.script("/full", [Answer::status(500)]);
    receiver.script("/chat", [Answer::status(503)]);
    let address = |marked: &mut Marked, name: &str| receiver.url(&format!("/chat?sig={}", marked.mark(name)));
    let (slack, teams) = (address(marked, "slack"), address(marked, "teams"));
    let wishes = [
        ("full", "webhook", full_webhook(marked, &receiver.url("/full"))),
        (
            "verbatim",
            "webhook",
            json!({"url": receiver.url("/full"), "authorization": marked.mark("authorization")}),
        ),
        ("slack", "slack", json!({ "url": slack })),
        ("teams", "teams", json!({ "url": teams })),
        ("flowdock", "flowdock", json!({"flow_api_token": marked.mark("flowdock")})),
    ];
    for (name, method, config) in &wishes {
        let wish = json!({"scope": {"repository": format!("acme/{name}")}, "kinds": ["repo_push"],
            "method": method, "config": config});
        let answer = api.post("/v1/notifications", &wish).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        if *name == "full" {
            let id = answer.json()["id"].as_str().expect("an id").to_owned();
            let rotated = api.post(&format!("/v1/notifications/{id}/rotate"), &json!({})).await.json();
            let secret = rotated["config"]["secret"].as_str().expect("shown once").to_owned();
            marked.keep("a rotated secret", secret.trim_start_matches("whsec_"));
        }
    }
    wishes.map(|(name, ..)| name).to_vec()
}

#[tokio::test]
async fn no_marked_secret_is_in_a_message_a_database_or_a_log_of_a_fleet() {
    const TOLD: &str = "TOLDxOFxTHExEVENT";
    let mut marked = Marked::new();
    let (node, postgres, receiver) = tokio::join!(Node::start(), Postgres::start(), Receiver::start());
    let receiver = receiver.expect("a receiver");
    let (broker, store, database) = grounds(&node, &postgres, &mut marked).await;
    let store_key = STANDARD.encode("MARK of the key of the store....");
    marked.keep("store.secret_key", store_key.trim_end_matches('='));
    marked.keep("auth.admin_token", TOKEN);
    let proxy = format!("http://kim:{}@127.0.0.1:9", marked.mark("outbound.proxy"));
    let (github, smtp) = (marked.mark("ingest.github_secret"), marked.mark("smtp.password"));
    let fleet = Deployment::new(
        &broker,
        &store,
        &[
            ("BELLBUOY_LOG__FILTER", "debug"),
            ("BELLBUOY_STORE__SECRET_KEY", &store_key),
            ("BELLBUOY_INGEST__GITHUB_SECRET", &github),
            ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
            ("BELLBUOY_SMTP__PORT", "9"),
            ("BELLBUOY_SMTP__USER", "bells"),
            ("BELLBUOY_SMTP__PASSWORD", &smtp),
            ("BELLBUOY_SMTP__FROM", "bells@example.com"),
            ("BELLBUOY_OUTBOUND__PROXY", &proxy),
            ("BELLBUOY_OUTBOUND__NO_PROXY", "127.0.0.0/8"),
            // What failed waits on the broker for as long as this takes.
            ("BELLBUOY_RETRY__STEPS", "1h"),
        ],
    );
    fleet.apply_topology().await;
    let (api, fanout, deliver, record) =
        tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    let client = api.client().await;
    let kim = keeper(&client, &mut marked, "acme/full").await;
    let names = plant(&client, &mut marked, &receiver).await;
    let publish = async |round: &str| {
        for name in &names {
            client.publish(&push(&format!("{name} {round}"), &format!("acme/{name}"), TOLD)).await;
        }
    };
    // Some have failed and wait for hours, one is a dead letter, and some were never tried.
    publish("tried").await;
    client.until("state=waiting", names.len() - 1, &["waiting"]).await;
    client.until("state=dead", 1, &["dead"]).await;
    deliver.stop().await;
    publish("never tried").await;
    client.until("state=pending", names.len(), &["pending"]).await;

    let sent: Vec<u8> =
        receiver.requests().iter().flat_map(|request| format!("{request:?}").into_bytes()).collect();
    let reached = marked.found_in(&sent);
    for place in ["url's query", "bearer_token", "secret_headers", "authorization", "slack", "teams"] {
        assert!(reached.contains(&place), "{place} reached nobody: {reached:?}");
    }
    for path in ["notifications", "deliveries", "dead-letters", "audit", "tokens", "secrets"] {
        let answer = client.send(Method::GET, &format!("/v1/{path}"), "", "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        marked.assert_none_in(path, answer.text().as_bytes());
    }
    marked.assert_none_in("/v1/inbox", kim.get("/v1/inbox").await.to_string().as_bytes());
    for member in [&api, &fanout, &record] {
        marked.assert_none_in(&member.name, member.client().await.metrics().await.as_bytes());
    }
    let dump = readable(&postgres.dump(&database).await);
    assert!(String::from_utf8_lossy(&dump).contains(TOLD), "the search would find what is there");
    marked.assert_none_in("the database", &dump);
    node.kill_9();
    let on_disk = files(node.folder());
    let holds_event = |(_, bytes): &(String, Vec<u8>)| String::from_utf8_lossy(bytes).contains(TOLD);
    assert!(on_disk.iter().any(holds_event), "the search would find what is there");
    for (name, bytes) in &on_disk {
        marked.assert_none_in(name, bytes);
    }
    let logs = files(fleet.folder());
    let text: String = logs.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect();
    assert!(text.contains("DEBUG") || text.contains("\"debug\""), "the logs are not at their most talkative");
    for (name, bytes) in &logs {
        marked.assert_none_in(name, bytes);
    }
}
