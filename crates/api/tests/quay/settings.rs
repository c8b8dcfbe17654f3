//! The settings of each method: what is checked when they are written, in which order, in which words.

use bellbuoy_api::{Closed, Reach, ServerLimits};
use serde_json::{Value, json};

use crate::{
    COLLECTION,
    common::{JSON, Rig, problem, quay_problem},
    rig,
};

fn body(method: &str, config: &Value) -> Value {
    json!({"event": "repo_push", "method": method, "config": config, "eventConfig": {}, "title": "x"})
}

/// A method and its settings.
type Settings = (&'static str, Value);

fn in_app(target: &Value) -> Settings {
    ("quay_notification", json!({ "target": target }))
}

const NOT_AUTHORIZED: &str =
    "The specified e-mail address is not authorized to receive notifications for this repository";

/// Settings for repository `acme/api`, and the whole of the refusal; or its beginning, before `...`.
fn refused() -> Vec<(Settings, &'static str)> {
    let hook = |config: Value| ("webhook", config);
    let template = |text: &str| hook(json!({"url": "https://ci.example.com/", "template": text}));
    vec![
        (("quay_notification", json!({})), "Missing target"),
        (("quay_notification", json!({"target": null})), "Missing target"),
        (in_app(&json!({})), "Missing target"),
        (in_app(&json!({"name": "ann"})), "Missing target"),
        (in_app(&json!({"kind": "", "name": "ann"})), "Missing target"),
        (in_app(&json!({"kind": "user"})), "Missing target name"),
        (in_app(&json!({"kind": "robot", "name": "ann"})), "Unknown target kind robot..."),
        (in_app(&json!({"kind": "user", "name": "nobody"})), "Unknown user nobody"),
        (in_app(&json!({"kind": "user", "name": "No Body"})), "Unknown user No Body"),
        (in_app(&json!({"kind": "user", "name": "acme+ci"})), "Unknown user acme+ci"),
        (in_app(&json!({"kind": "user", "name": "acme"})), "Unknown user acme"),
        (in_app(&json!({"kind": "org", "name": "nowhere"})), "Unknown organization nowhere"),
        (in_app(&json!({"kind": "org", "name": "ann"})), "Unknown organization ann"),
        (
            in_app(&json!({"kind": "org", "name": "beta"})),
            "Organization name must match repository namespace",
        ),
        (in_app(&json!({"kind": "team", "name": "nobody"})), "Unknown team nobody"),
        (in_app(&json!({"kind": "team", "name": "qa"})), "Unknown team qa"),
        (("email", json!({})), "Missing e-mail address"),
        (("email", json!({"email": ""})), "Missing e-mail address"),
        (("email", json!({"email": "a@b.c,d@e.f"})), "Invalid e-mail address"),
        (("email", json!({"email": "new@example.com"})), NOT_AUTHORIZED),
        (("email", json!({"email": "List@example.com"})), NOT_AUTHORIZED),
        (hook(json!({})), "Missing webhook URL"),
        (hook(json!({"url": ""})), "Missing webhook URL"),
        (hook(json!({"url": "ftp://example.com/"})), "Invalid webhook URL"),
        (hook(json!({"url": "example.com"})), "Invalid webhook URL"),
        (hook(json!({"url": "https://"})), "Invalid webhook URL"),
        (hook(json!({"url": "https://[::1/"})), "Invalid webhook URL"),
        (template("${"), "Could not parse template: Expecting value: line 1 column 1 (char 0)"),
        (template("\"${}\""), "Empty expression found"),
        (template("\"${;;}\""), "For expression `;;`: Error on line 1, col 0: Unexpected character: ; "),
        (("flowdock", json!({})), "Missing Flowdock API Token"),
        (("flowdock", json!({"flow_api_token": ""})), "Missing Flowdock API Token"),
        (("hipchat", json!({})), "Missing Hipchat Room Notification Token"),
        (("hipchat", json!({"room_id": "1"})), "Missing Hipchat Room Notification Token"),
        (("hipchat", json!({"notification_token": "t"})), "Missing Hipchat Room ID"),
        (("slack", json!({})), "Missing Slack Callback URL"),
        (("slack", json!({"url": ""})), "Missing Slack Callback URL"),
    ]
}

fn check(detail: &str, expected: &str, what: &str) {
    match expected.strip_suffix("...") {
        Some(start) => assert!(detail.starts_with(start), "{what}: {detail}"),
        None => assert_eq!(detail, expected, "{what}"),
    }
}

#[tokio::test]
async fn what_a_method_refuses_is_400_in_quays_words_on_making_and_on_changing() {
    let rig = rig().await;
    let made = rig.webhook("acme/api").await;
    let one = format!("{COLLECTION}{}", made["uuid"].as_str().expect("an id"));
    for ((method, config), expected) in refused() {
        let body = body(method, &config);
        let what = format!("{method} {config}");
        check(&quay_problem(&rig.post(COLLECTION, &body).await, 400, "invalid_request"), expected, &what);
        let changed = rig.send("PUT", &one, &[JSON], body.to_string()).await;
        check(&quay_problem(&changed, 400, "invalid_request"), expected, &what);
    }
    assert_eq!(rig.get(COLLECTION).await.json()["notifications"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_native_surface_asks_the_directory_the_same() {
    let rig = rig().await;
    let wish = |method: &str, config: &Value, scope: &Value| json!({"scope": scope, "kinds": ["repo_push"], "method": method, "config": config});
    let repository = json!({"repository": "acme/api"});
    let made = rig.webhook("acme/api").await;
    let one = format!("/v1/notifications/{}", made["uuid"].as_str().expect("an id"));
    for ((method, config), expected) in refused() {
        let body = wish(method, &config, &repository);
        let what = format!("{method} {config}");
        check(&problem(&rig.post("/v1/notifications", &body).await, 400), expected, &what);
        check(&problem(&rig.send("PUT", &one, &[JSON], body.to_string()).await, 400), expected, &what);
    }
    let registry = json!({"registry": true});
    for (scope, target, expected) in [
        (&registry, json!({"kind": "user", "name": "ann"}), 201),
        (&registry, json!({"kind": "user", "name": "nobody"}), 400),
        (&registry, json!({"kind": "org", "name": "beta"}), 201),
        (&json!({"namespace": "beta"}), json!({"kind": "team", "name": "qa"}), 201),
        (&json!({"namespace": "beta"}), json!({"kind": "team", "name": "dev"}), 400),
    ] {
        let (method, config) = in_app(&target);
        let answer = rig.post("/v1/notifications", &wish(method, &config, scope)).await;
        assert_eq!(answer.status, expected, "{scope} {target}: {}", answer.text());
    }
}

/// A server whose operator closes `localhost` and `10.0.0.1`, and port 6379.
async fn rig_that_closes() -> Rig {
    let closed = |url: &str| {
        let host = url.contains("//localhost") || url.contains("//10.0.0.1");
        let port = url.contains(":6379/").then_some(Closed::Port(6379));
        if host { Some(Closed::Host) } else { port }
    };
    let rig = Rig::with(|api| api.reach = Reach::new(closed), ServerLimits::default()).await;
    crate::fill(&rig).await;
    rig
}

#[tokio::test]
async fn a_receiver_that_the_network_rules_close_is_refused_on_making_and_on_changing() {
    let rig = rig_that_closes().await;
    let made = rig.webhook("acme/api").await;
    let uuid = made["uuid"].as_str().expect("an id");
    let (quays, own) = (format!("{COLLECTION}{uuid}"), format!("/v1/notifications/{uuid}"));
    for (method, config, expected) in [
        ("webhook", json!({"url": "http://localhost:8080/hook"}), "Invalid webhook URL"),
        // The host comes before the template, as there.
        ("webhook", json!({"url": "http://10.0.0.1/", "template": "${"}), "Invalid webhook URL"),
        ("slack", json!({"url": "http://localhost/services/A/B/c"}), "Invalid Slack Callback URL"),
        ("teams", json!({"url": "http://10.0.0.1/"}), "Invalid Teams Callback URL"),
    ] {
        let body = body(method, &config);
        let what = format!("{method} {config}");
        for answer in
            [rig.post(COLLECTION, &body).await, rig.send("PUT", &quays, &[JSON], body.to_string()).await]
        {
            check(&quay_problem(&answer, 400, "invalid_request"), expected, &what);
        }
        let wish = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": method, "config": config});
        for answer in [
            rig.post("/v1/notifications", &wish).await,
            rig.send("PUT", &own, &[JSON], wish.to_string()).await,
        ] {
            let detail = problem(&answer, 400);
            assert!(detail.starts_with(expected) && detail.ends_with("outbound.allow"), "{what}: {detail}");
        }
    }
    let chain = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook", "format": "dockerhub",
        "config": {"url": "https://ci.example.com/", "chain": ["https://next.example.com/", "http://10.0.0.1/"]}});
    assert!(problem(&rig.post("/v1/notifications", &chain).await, 400).starts_with("Invalid webhook URL"));
    let dtrs = json!({"type": "TAG_PUSH", "key": "acme/api", "endpoint": "http://10.0.0.1/"});
    assert_eq!(rig.post("/api/v0/webhooks", &dtrs).await.status, 400);
    assert_eq!(rig.get(COLLECTION).await.json()["notifications"].as_array().map(Vec::len), Some(1));
    taken(&rig, "hipchat", &json!({"notification_token": "t", "room_id": 1, "url": "http://localhost/"}))
        .await;
}

#[tokio::test]
async fn a_port_that_the_network_rules_close_is_named_with_its_setting() {
    let rig = rig_that_closes().await;
    let why = "the network rules close port 6379; an operator can open it with outbound.ports";
    for (method, fault) in [("webhook", "Invalid webhook URL"), ("slack", "Invalid Slack Callback URL")] {
        let config = json!({"url": "http://ci.example.com:6379/"});
        let expected = format!("{fault}: {why}");
        let answer = rig.post(COLLECTION, &body(method, &config)).await;
        check(&quay_problem(&answer, 400, "invalid_request"), &expected, method);
        let wish = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": method, "config": config});
        assert_eq!(problem(&rig.post("/v1/notifications", &wish).await, 400), expected);
    }
}

async fn taken(rig: &Rig, method: &str, config: &Value) {
    let answer = rig.post(COLLECTION, &body(method, config)).await;
    assert_eq!(answer.status, 201, "{method} {config}: {}", answer.text());
}

#[tokio::test]
async fn whoever_is_there_and_has_agreed_is_taken() {
    let rig = rig().await;
    for target in [
        json!({"kind": "user", "name": "eve"}),
        json!({"kind": "team", "name": "dev", "extra": "kept"}),
        json!({"kind": "org", "name": "acme"}),
    ] {
        let (method, config) = in_app(&target);
        taken(&rig, method, &config).await;
    }
    taken(&rig, "email", &json!({"email": "list@example.com"})).await;
    taken(&rig, "slack", &json!({"url": "http://127.0.0.1:9/any"})).await;
    taken(&rig, "flowdock", &json!({"flow_api_token": "t"})).await;
    taken(&rig, "hipchat", &json!({"notification_token": "t", "room_id": 12})).await;
    taken(&rig, "webhook", &json!({"url": "https://ci.example.com/", "template": ""})).await;
}

#[tokio::test]
async fn checks_come_in_quays_order_method_then_settings_then_event() {
    let rig = rig().await;
    let mut wrong = body("carrier_pigeon", &json!({}));
    wrong["event"] = "no_such".into();
    let detail = async |body: &Value| quay_problem(&rig.post(COLLECTION, body).await, 400, "invalid_request");
    assert!(detail(&wrong).await.starts_with("unknown method"));
    for (method, config, expected) in [
        ("quay_notification", json!({"target": {"kind": "team", "name": "nobody"}}), "Unknown team nobody"),
        ("email", json!({"email": "new@example.com"}), NOT_AUTHORIZED),
        ("webhook", json!({}), "Missing webhook URL"),
    ] {
        wrong["method"] = method.into();
        wrong["config"] = config;
        assert_eq!(detail(&wrong).await, expected);
    }
    wrong["config"] = json!({"url": "https://ci.example.com/"});
    assert!(detail(&wrong).await.starts_with("event: unknown kind \"no_such\""));
}
