//! A fleet in which each method has a process of its own: each serves what is its own and nothing else, and what is for a
//! method that no process serves waits for one.

mod support;

use bellbuoy_testkit::{
    mail::{MailServer, Setup},
    postgres::Postgres,
    rabbitmq::Node,
    receiver::Receiver,
    wait::eventually,
};
use serde_json::{Value, json};
use support::{Client, Deployment, SOON};

const METHODS: [&str; 10] = [
    "webhook",
    "quay_notification",
    "email",
    "slack",
    "mattermost",
    "rocketchat",
    "teams",
    "discord",
    "hipchat",
    "flowdock",
];

/// The method whose process comes last.
const LATE: &str = "discord";

/// What happens: kinds of several sorts, each once.
fn events() -> Vec<Value> {
    let event = |kind: &str, subject: &str, data: Value| json!({"specversion": "1.0", "id": kind, "source": "journeys", "type": kind, "subject": subject, "data": data});
    vec![
        event("repo_push", "acme/api", json!({"updated_tags": ["v1"]})),
        event("build_failure", "acme/api", json!({"build_id": "8f3c", "error_message": "no space"})),
        event("vulnerability_found", "acme/api", json!({"tags": ["v1"], "vulnerability": {"id": "CVE-1"}})),
        event("quota_warning", "acme", json!({"threshold_percent": 80})),
    ]
}

/// A notification of every event by that method, over the whole registry.
fn wish(method: &str, receiver: &Receiver) -> Value {
    let config = match method {
        "quay_notification" => json!({"target": {"kind": "user", "name": "kim"}}),
        "email" => json!({"email": "kim@example.com"}),
        "hipchat" => json!({"room_id": "hipchat", "notification_token": "tok"}),
        "flowdock" => json!({"flow_api_token": "flowdock"}),
        other => json!({"url": receiver.url(&format!("/{other}"))}),
    };
    let kinds: Vec<Value> = events().iter().map(|event| event["type"].clone()).collect();
    json!({"scope": {"registry": true}, "kinds": kinds, "method": method, "config": config})
}

/// How often a method's own deliveries were attempted by one process, and those of all others.
async fn attempts(member: &Client, method: &str) -> (f64, f64) {
    let counter = "bellbuoy_delivery_attempts_total";
    let own = member.counted(counter, &[&format!("method=\"{method}\"")]).await;
    (own, member.counted(counter, &[]).await - own)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_method_is_served_by_a_process_of_its_own_and_waits_for_one_that_is_not_there() {
    let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["methods"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let server = MailServer::start(folder.path(), &Setup::default()).await;
    let receiver = Receiver::start().await.expect("a receiver");
    let (base, port) = (receiver.url(""), server.port().to_string());
    let settings = [
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__PORT", port.as_str()),
        ("BELLBUOY_SMTP__SECURITY", "none"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
        ("BELLBUOY_HIPCHAT__BASE_URL", base.as_str()),
        ("BELLBUOY_FLOWDOCK__BASE_URL", base.as_str()),
    ];
    let fleet = Deployment::new(&node.url("methods"), &postgres.database().await, &settings);
    fleet.apply_topology().await;
    let (api, fanout, record) = tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("record"));
    let mut members: Vec<_> =
        METHODS.iter().filter(|method| **method != LATE).map(|method| fleet.deliverer(method)).collect();
    for member in &members {
        member.until_ready().await;
    }
    let client = api.client().await;
    let people = json!({"version": 1, "users": [{"name": "kim"}]});
    assert_eq!(client.post("/v1/directory/import", &people).await.status, 200);
    for method in METHODS {
        client.wish(&wish(method, &receiver)).await;
    }
    let events = events();
    for event in &events {
        client.publish(event).await;
    }
    for member in &members {
        client.until(&format!("method={}", member.name), events.len(), &["delivered"]).await;
    }
    client.until(&format!("method={LATE}"), events.len(), &["pending"]).await;
    let to = |name: &str| {
        let requests = receiver.requests();
        requests.into_iter().filter(|request| request.path.contains(name)).count()
    };
    for method in METHODS {
        let arrived = match method {
            "quay_notification" => inbox(&client).await,
            "email" => server.mails().len(),
            LATE => continue,
            other => to(other),
        };
        assert_eq!(arrived, events.len(), "{method}");
    }
    assert_eq!(to(LATE), 0);

    members.push(fleet.deliverer(LATE));
    client.until(&format!("method={LATE}"), events.len(), &["delivered"]).await;
    assert_eq!(to(LATE), events.len());
    #[expect(clippy::cast_precision_loss, reason = "four")]
    let each = events.len() as f64;
    for member in &members {
        let own = member.client().await;
        assert_eq!(attempts(&own, &member.name).await, (each, 0.0), "{}", member.name);
    }
    for member in members.iter().chain([&api, &fanout, &record]) {
        member.stop().await;
    }
}

/// What kim was told in-app.
async fn inbox(client: &Client) -> usize {
    let body = json!({"title": "test", "account": "kim", "scopes": ["user:admin"]});
    let made = client.post("/v1/tokens", &body).await.json();
    let kim = Client::new(&client.url, made["token"].as_str().expect("a token"));
    let all = async || {
        let page = kim.get("/v1/inbox?limit=100").await;
        page["items"].as_array().map(Vec::len).filter(|count| *count > 0)
    };
    eventually(SOON, all).await
}
