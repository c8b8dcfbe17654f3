//! Chains of webhooks by Docker Hub's callbacks: each URL after the one before has called back that all went well.

mod support;

use bellbuoy_testkit::http::{Answer, Http};
use bellbuoy_testkit::postgres::Postgres;
use bellbuoy_testkit::process::free_port;
use bellbuoy_testkit::rabbitmq::Node;
use bellbuoy_testkit::receiver::{Receiver, Recorded};
use bellbuoy_testkit::wait::within;
use http::Method;
use serde_json::{Value, json};
use support::{BINARY, Client, Deployment, Fleet, SOON, TOKEN, push};

const PATHS: [&str; 3] = ["/one", "/two", "/three"];

/// A notification for pushes to `repository` whose chain goes over all of [`PATHS`].
async fn chained(api: &Client, repository: &str, receiver: &Receiver) -> String {
    let [first, rest @ ..] = PATHS.map(|path| receiver.url(path));
    let body = json!({
        "scope": {"repository": repository}, "kinds": ["repo_push"], "method": "webhook", "format": "dockerhub",
        "config": {"url": first, "chain": rest},
    });
    api.wish(&body).await.id
}

/// The next request to `path`, and where it wants to be called back.
async fn asked(receiver: &Receiver, path: &str) -> (Recorded, String) {
    let mut came = receiver.wait_for(1, |request| request.path == path).await.expect(path);
    let request = came.remove(0);
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let url = body["callback_url"].as_str().expect("a URL").to_owned();
    (request, url)
}

async fn call_back(url: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json; charset=utf-8")];
    Http::new().send(Method::POST, url, &headers, body.to_string()).await.expect("an answer")
}

async fn says(url: &str, state: &str) {
    let body = json!({"state": state, "description": format!("Build result {state}"), "context": "Jenkins"});
    let answer = call_back(url, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn id_of(request: &Recorded) -> Value {
    request.header("webhook-id").expect("an id").into()
}

/// The delivery's callback, once it is in `state`.
async fn called_back(api: &Client, delivery: &Value, state: &str) -> Value {
    let found = within(SOON, async || {
        let path = format!("/v1/deliveries/{}", delivery.as_str().expect("an id"));
        let answer = api.send(Method::GET, &path, "", "").await;
        // History learns of a delivery a moment after its receiver.
        let callback = (answer.status == 200).then(|| answer.json()["callback"].clone())?;
        (callback["state"] == state).then_some(callback)
    });
    found.await.unwrap_or_else(|| panic!("never {state}"))
}

fn paths(receiver: &Receiver) -> Vec<String> {
    receiver.requests().into_iter().map(|request| request.path).collect()
}

/// Waits until whatever was accepted before has had its time: another notification's delivery went all its way.
async fn settled(api: &Client, receiver: &Receiver, name: &str) {
    let url = receiver.url("/plain");
    let repository = format!("acme/{name}");
    let body = json!({
        "scope": {"repository": repository}, "kinds": ["repo_push"], "method": "webhook", "format": "dockerhub",
        "config": {"url": url, "chain": [receiver.url(&format!("/after-{name}"))]},
    });
    api.wish(&body).await;
    api.publish(&push(name, &repository, "v1")).await;
    let (_, back) = asked(receiver, "/plain").await;
    says(&back, "success").await;
    // It passes the same sweep as those before it.
    asked(receiver, &format!("/after-{name}")).await;
}

#[tokio::test]
async fn a_chain_goes_on_from_success_to_success_over_a_kill_and_shows_each_result() {
    let mut fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    chained(&fleet.api, "acme/api", &receiver).await;
    fleet.api.publish(&push("1", "acme/api", "v1")).await;
    let (first, back) = asked(&receiver, "/one").await;
    fleet.api.until("event=1", 1, &["delivered"]).await;
    // A pending chain holds nobody up, itself included.
    fleet.api.publish(&push("2", "acme/api", "v2")).await;
    receiver.wait_for(2, |request| request.path == "/one").await.expect("the next push");
    assert_eq!(paths(&receiver), ["/one", "/one"]);
    assert_eq!(called_back(&fleet.api, &id_of(&first), "pending").await["link"], 1);

    // The answer is durable before it is given: what follows comes though the process dies.
    says(&back, "success").await;
    fleet.start_again().await;
    let (second, back) = asked(&receiver, "/two").await;
    says(&back, "success").await;
    let (third, back) = asked(&receiver, "/three").await;
    let done = json!({"state": "success", "target_url": "https://ci.example.com/7"});
    assert_eq!(call_back(&back, &done).await.status, 200);

    let ids = [&first, &second, &third].map(id_of);
    fleet.api.until("event=1", 3, &["delivered"]).await;
    let first = called_back(&fleet.api, &ids[0], "success").await;
    let second = called_back(&fleet.api, &ids[1], "success").await;
    let third = called_back(&fleet.api, &ids[2], "success").await;
    assert_eq!((&first["next"], &second["next"], &third["next"]), (&ids[1], &ids[2], &Value::Null));
    assert_eq!((&first["context"], &third["target_url"]), (&json!("Jenkins"), &done["target_url"]));
    assert_eq!((&third["link"], &third["first"]), (&json!(3), &ids[0]));
    let tags: Vec<Value> = receiver
        .requests()
        .iter()
        .filter(|request| request.path != "/one")
        .map(|request| {
            serde_json::from_slice::<Value>(&request.body).expect("JSON")["push_data"]["tag"].clone()
        })
        .collect();
    // The kill may have made one come twice.
    assert!(tags.len() >= 2 && tags.iter().all(|tag| tag == "v1"), "each tells the same: {tags:?}");

    let show = std::process::Command::new(BINARY)
        .args([
            "deliveries",
            "show",
            ids[0].as_str().expect("an id"),
            "--url",
            &fleet.api.url,
            "--token",
            TOKEN,
        ])
        .output()
        .expect("run");
    let shown = String::from_utf8_lossy(&show.stdout).into_owned();
    assert!(shown.contains("success: Jenkins, Build result success"), "{shown}");
    assert!(shown.contains(ids[1].as_str().expect("an id")), "{shown}");
    assert!(!fleet.log().contains("/hook/"), "no token is in the log");
}

#[tokio::test]
async fn failure_and_error_end_a_chain_and_what_contradicts_or_guesses_is_refused() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    for state in ["failure", "error"] {
        receiver.clear();
        let repository = format!("acme/{state}");
        chained(&fleet.api, &repository, &receiver).await;
        fleet.api.publish(&push(state, &repository, "v1")).await;
        let (request, back) = asked(&receiver, "/one").await;
        let (path, _) = back.split_once("/hook/").expect("a token");
        let guess = format!("{path}/hook/{}/", "A".repeat(43));
        assert_eq!(call_back(&guess, &json!({"state": "success"})).await.status, 404);
        says(&back, state).await;
        says(&back, state).await;
        assert_eq!(call_back(&back, &json!({"state": "success"})).await.status, 409);
        assert_eq!(called_back(&fleet.api, &id_of(&request), state).await["next"], Value::Null);
        settled(&fleet.api, &receiver, &format!("after-{state}")).await;
        assert!(!paths(&receiver).iter().any(|path| path == "/two"), "{:?}", paths(&receiver));
    }
}

#[tokio::test]
async fn silence_ends_a_chain_when_its_time_is_over() {
    let fleet = Fleet::start(&[("BELLBUOY_CALLBACKS__WAIT_SECONDS", "1")]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    let wish = chained(&fleet.api, "acme/api", &receiver).await;
    fleet.api.publish(&push("1", "acme/api", "v1")).await;
    let (request, back) = asked(&receiver, "/one").await;
    called_back(&fleet.api, &id_of(&request), "expired").await;
    assert_eq!(call_back(&back, &json!({"state": "success"})).await.status, 410);
    let deliveries = fleet.api.until("event=1", 1, &["delivered"]).await;
    assert_eq!(deliveries[0]["id"], id_of(&request), "no other follows");
    let said = fleet.api.get(&format!("/v1/notifications/{wish}/explain")).await["why"].to_string();
    assert!(said.contains("because no callback came in time, the last at URL 1 of 3"), "{said}");
    let expired = async || {
        let expired = fleet.api.counted("bellbuoy_callbacks_total", &[r#"outcome="expired""#]).await;
        (expired > 0.5).then_some(())
    };
    within(SOON, expired).await.expect("counted");
}

#[tokio::test]
async fn a_chain_that_was_cut_short_meanwhile_ends_where_it_ends_now() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    let id = chained(&fleet.api, "acme/api", &receiver).await;
    fleet.api.publish(&push("1", "acme/api", "v1")).await;
    let (_, back) = asked(&receiver, "/one").await;
    let shorter = json!({
        "scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook", "format": "dockerhub",
        "config": {"url": receiver.url("/one")},
    });
    let path = format!("/v1/notifications/{id}");
    let changed = fleet.api.send(Method::PUT, &path, "application/json", shorter.to_string()).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    says(&back, "success").await;
    settled(&fleet.api, &receiver, "last").await;
    assert!(!paths(&receiver).iter().any(|path| path == "/two"), "{:?}", paths(&receiver));
}

#[tokio::test]
async fn over_several_processes_a_chain_goes_on_though_each_is_killed_in_turn() {
    let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["fleet"]).await;
    let address = format!("127.0.0.1:{}", free_port());
    let public_url = format!("http://{address}");
    let settings = [("BELLBUOY_PUBLIC_URL", public_url.as_str())];
    let fleet = Deployment::new(&node.url("fleet"), &postgres.database().await, &settings);
    fleet.apply_topology().await;
    let api = fleet.launch_at("api", &["serve", "--roles", "api"], &address);
    api.wait_for_ok(&format!("{public_url}/readyz"), SOON).await;
    let client = Client::new(&public_url, TOKEN);
    // Two of each that queue and deliver: whichever takes a link, it goes out.
    let mut members = vec![
        fleet.role("fanout").await,
        fleet.member("deliver-1", "deliver"),
        fleet.member("deliver-2", "deliver"),
        fleet.member("record-1", "record"),
        fleet.member("record-2", "record"),
    ];
    for member in &members {
        member.until_ready().await;
    }
    let receiver = Receiver::start().await.expect("a receiver");
    chained(&client, "acme/api", &receiver).await;
    client.publish(&push("1", "acme/api", "v1")).await;
    let (first, back) = asked(&receiver, "/one").await;
    for member in &mut members {
        member.kill_9();
    }
    // Nobody but the API is there to hear it.
    says(&back, "success").await;
    for member in &mut members {
        member.launch_again(&fleet);
    }
    for member in &members {
        member.until_ready().await;
    }
    let (_, back) = asked(&receiver, "/two").await;
    says(&back, "success").await;
    let (third, back) = asked(&receiver, "/three").await;
    says(&back, "success").await;
    assert_eq!(called_back(&client, &id_of(&third), "success").await["first"], id_of(&first));
    client.until("event=1", 3, &["delivered"]).await;
    for member in &members {
        member.stop().await;
    }
    api.terminate();
    assert_eq!(api.wait_exit(SOON).await.code(), Some(0));
}
