//! RabbitMQ's files, and the users that `deploy/secrets.sh` makes for it.

use std::time::Duration;

use bellbuoy_testkit::amqp::{Operator, Producer, Publication};
use bellbuoy_testkit::http::Http;
use bellbuoy_testkit::postgres::Postgres;
use bellbuoy_testkit::process::free_port;
use bellbuoy_testkit::rabbitmq::Node;
use bellbuoy_testkit::receiver::{Answer, Receiver};
use bellbuoy_testkit::wait::eventually;
use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{Deployment, SOON, push};
use super::{found, items, read, run_secrets, secrets, tool, yaml};

/// Exchanges and queues of ours, and two exchanges of the broker's own that nobody may touch.
const NAMES: &[&str] = &[
    "bellbuoy.events",
    "bellbuoy.events.due",
    "bellbuoy.events.suspects",
    "bellbuoy.deliveries",
    "bellbuoy.deliver.webhook",
    "bellbuoy.deliver.webhook.due",
    "bellbuoy.deliver.webhook.3.suspects",
    "bellbuoy.delay.v1.00",
    "bellbuoy.delay.v1.18",
    "bellbuoy.queues",
    "bellbuoy.outcomes",
    "bellbuoy.outcomes.due",
    "bellbuoy.dead",
    "bellbuoy.dead.suspects",
    "bellbuoy.unroutable",
    "amq.default",
    "amq.topic",
];

/// What a worker may write to: outputs, waits, and the way back to its own queue.
const OUTPUTS: &[&str] = &[
    "bellbuoy.deliveries",
    "bellbuoy.delay.v1.00",
    "bellbuoy.delay.v1.18",
    "bellbuoy.queues",
    "bellbuoy.outcomes",
    "bellbuoy.dead",
];

/// Who may write to what, and read from what.
const RIGHTS: &[(&str, &[&str], &[&str])] = &[
    ("producer", &["bellbuoy.events"], &[]),
    ("api", &["bellbuoy.events", "bellbuoy.deliveries", "bellbuoy.outcomes", "bellbuoy.dead"], &[]),
    ("fanout", OUTPUTS, &["bellbuoy.events", "bellbuoy.events.due", "bellbuoy.events.suspects"]),
    (
        "deliver",
        OUTPUTS,
        &["bellbuoy.deliver.webhook", "bellbuoy.deliver.webhook.due", "bellbuoy.deliver.webhook.3.suspects"],
    ),
    (
        "record",
        OUTPUTS,
        &["bellbuoy.outcomes", "bellbuoy.outcomes.due", "bellbuoy.dead", "bellbuoy.dead.suspects"],
    ),
];

fn definitions() -> Value {
    let text = std::fs::read_to_string(secrets().path().join("rabbitmq_definitions")).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

fn permission(definitions: &Value, user: &str, right: &str) -> Vec<&'static str> {
    let of_user = |permission: &&Value| permission["user"] == user && permission["vhost"] == "bellbuoy";
    let permission =
        items(&definitions["permissions"]).find(of_user).unwrap_or_else(|| panic!("{user} has no rights"));
    let pattern = Regex::new(permission[right].as_str().expect("a pattern")).expect("a pattern");
    NAMES.iter().copied().filter(|name| pattern.is_match(name)).collect()
}

#[test]
fn each_user_of_the_broker_may_do_its_part_and_no_more() {
    let definitions = definitions();
    for (user, writes, reads) in RIGHTS {
        assert_eq!(permission(&definitions, user, "write"), *writes, "{user} writes");
        assert_eq!(permission(&definitions, user, "read"), *reads, "{user} reads");
        assert!(permission(&definitions, user, "configure").is_empty(), "{user} configures");
    }
    let ours: Vec<_> = NAMES.iter().copied().filter(|name| name.starts_with("bellbuoy.")).collect();
    for right in ["configure", "write", "read"] {
        assert_eq!(permission(&definitions, "topology", right), ours);
    }
    let users: Vec<_> = items(&definitions["users"]).filter_map(|user| user["name"].as_str()).collect();
    let mut known: Vec<_> = RIGHTS.iter().map(|(user, ..)| *user).chain(["operator", "topology"]).collect();
    known.sort_unstable();
    let mut found = users.clone();
    found.sort_unstable();
    assert_eq!(found, known);
    for user in items(&definitions["users"]) {
        let is_operator = user["name"] == "operator";
        assert_eq!(items(&user["tags"]).count(), usize::from(is_operator), "{user}");
    }
}

#[test]
fn a_users_hash_is_that_of_the_password_in_its_url() {
    use base64::Engine as _;
    let made = secrets();
    let read = |name: &str| std::fs::read_to_string(made.path().join(name)).expect("a secret");
    let definitions: Value = serde_json::from_str(&read("rabbitmq_definitions")).expect("JSON");
    for user in items(&definitions["users"]) {
        let name = user["name"].as_str().expect("a name");
        let url = url::Url::parse(&read(&format!("broker_url_{name}"))).expect("a URL");
        let password = url.password().expect("a password");
        assert_eq!((url.username(), password.len()), (name, 48));
        // https://www.rabbitmq.com/docs/passwords: a salt of four bytes, then SHA-256 of salt and password.
        let hash = user["password_hash"].as_str().expect("a hash");
        let hash = base64::engine::general_purpose::STANDARD.decode(hash).expect("base64");
        let (salt, digest) = hash.split_at(4);
        let expected = ring::digest::digest(&ring::digest::SHA256, &[salt, password.as_bytes()].concat());
        assert_eq!(digest, expected.as_ref(), "{name}");
    }
}

#[test]
fn secrets_made_once_stay() {
    let made = secrets();
    let names = ["admin_token", "secret_key", "store_url", "broker_url_api", "grafana_password"];
    let all = || names.map(|name| std::fs::read_to_string(made.path().join(name)).expect("a secret"));
    let before = all();
    let (again, said) = run_secrets(made.path());
    assert!(again, "{said}");
    assert_eq!(all(), before);
    assert_ne!(std::fs::read_to_string(secrets().path().join("admin_token")).expect("a secret"), before[0]);
    assert!(!said.contains(&before[0]), "{said}");
}

#[test]
fn rabbitmqs_erlang_files_are_terms_that_say_what_delays_need() {
    let remedy = "run `cargo xtask tools` (Debian package rabbitmq-server)";
    let check = "lists:foreach(fun(F) -> {ok, [T]} = file:consult(F), io:format(\"~0p~n\", [T]) end, \
        [\"deploy/rabbitmq/advanced.config\", \"deploy/rabbitmq/enabled_plugins\"]), halt().";
    let (read, said) = tool("erl", remedy, &["-noshell", "-eval", check]);
    assert!(read, "{said}");
    let terms: Vec<_> = said.lines().collect();
    let advanced = "[{rabbit,[{dead_letter_worker_consumer_prefetch,256},\
        {dead_letter_worker_publisher_confirm_timeout,10000}]}]";
    assert_eq!(terms, [advanced, "[rabbitmq_management,rabbitmq_prometheus]"]);
}

#[test]
fn rabbitmqs_settings_are_lines_of_key_and_value_and_each_file_is_where_it_is_read() {
    let text = read("deploy/rabbitmq/rabbitmq.conf");
    let line = Regex::new(r"^[a-z_.]+ = \S+$").expect("a pattern");
    for setting in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(line.is_match(setting), "{setting}");
    }
    let rabbitmq = &yaml("docker-compose.yml")["services"]["rabbitmq"];
    for file in ["rabbitmq.conf", "advanced.config", "enabled_plugins"] {
        let mount = format!("./deploy/rabbitmq/{file}:/etc/rabbitmq/{file}:ro");
        assert!(items(&rabbitmq["volumes"]).any(|volume| *volume == mount), "{mount}");
    }
    assert!(rabbitmq["hostname"].is_string(), "its data follows its name");
    assert_eq!(found("(?m)^load_definitions = (.*)$", &text), ["/run/secrets/rabbitmq_definitions"]);
}

#[test]
fn rabbitmq_leaves_claims_with_workers_that_wait_for_the_store_for_a_week() {
    let week = Duration::from_hours(7 * 24).as_millis().to_string();
    assert_eq!(found("(?m)^consumer_timeout = (.*)$", &read("deploy/rabbitmq/rabbitmq.conf")), [week]);
}

/// A node as the files of `deploy/` make it, with the users of `made`, and the port of its metrics. Only where it
/// listens is a test's own.
async fn deployed_node(made: &TempDir) -> (Node, u16) {
    let [management, metrics] = [free_port(), free_port()];
    let definitions = made.path().join("rabbitmq_definitions");
    let lines = read("deploy/rabbitmq/rabbitmq.conf")
        .replace("/run/secrets/rabbitmq_definitions", &definitions.to_string_lossy());
    let lines = format!(
        "{lines}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n\
         prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {metrics}\n"
    );
    let files =
        ["advanced.config", "enabled_plugins"].map(|name| (name, read(&format!("deploy/rabbitmq/{name}"))));
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    (Node::start_with(&lines, &files).await, metrics)
}

#[tokio::test]
async fn the_nodes_files_start_one_and_each_user_does_its_part_there_and_no_more() {
    let made = secrets();
    let ((node, metrics), postgres) = tokio::join!(deployed_node(&made), Postgres::start());
    let url = |user: &str| {
        let url = std::fs::read_to_string(made.path().join(format!("broker_url_{user}"))).expect("a URL");
        url.replace("rabbitmq:5672", &node.address().to_string())
    };
    let users = node.ctl(&["list_users", "--no-table-headers"]).await;
    assert!(users.contains("producer") && !users.contains("guest"), "{users}");
    let prefetch = "application:get_env(rabbit, dead_letter_worker_consumer_prefetch).";
    assert!(node.ctl(&["eval", prefetch]).await.contains("256"));
    let timeout = "application:get_env(rabbit, consumer_timeout).";
    assert!(node.ctl(&["eval", timeout]).await.contains("604800000"));
    let answer = Http::new().get(&format!("http://127.0.0.1:{metrics}/metrics")).await.expect("metrics");
    assert!(answer.text().contains("rabbitmq_build_info"), "{}", answer.text());

    // Everybody who serves, with the rights of its role alone: an event through every queue and wait.
    let store = postgres.database().await;
    let settings = [("BELLBUOY_RETRY__STEPS", "600ms"), ("BELLBUOY_RETRY__CLIENT_ERROR_ATTEMPTS", "1")];
    let fleet = |user: &str| Deployment::new(&url(user), &store, &settings);
    fleet("topology").apply_topology().await;
    let deployments = ["api", "fanout", "deliver", "record"].map(|role| (role, fleet(role)));
    let mut members = Vec::new();
    for (role, deployment) in &deployments {
        members.push(deployment.role(role).await);
    }
    let api = members[0].client().await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/again", [Answer::status(503), Answer::status(200)]);
    receiver.script("/never", [Answer::status(400)]);
    for path in ["/again", "/never"] {
        api.webhook("acme/api", "repo_push", &receiver.url(path)).await;
    }
    let body = push("by-http", "acme/api", "v1");
    api.publish(&body).await;
    api.until("state=delivered", 1, &["delivered"]).await;
    let letter = eventually(SOON, async || api.dead_letters("").await.pop()).await;
    assert_eq!(letter["reason"], "attempts_exhausted", "{letter}");
    let replay = format!("/v1/dead-letters/{}/replay", letter["id"].as_str().expect("an id"));
    receiver.script("/never", [Answer::status(200)]);
    assert!(api.post(&replay, &json!({})).await.status.is_success());
    api.until("", 2, &["delivered"]).await;

    // A producer writes to the exchange of events, and to nothing else.
    let event = push("by-amqp", "acme/api", "v1").to_string();
    let publish = async |exchange: &'static str, key: &'static str| {
        let content_type = "application/cloudevents+json";
        let publication =
            Publication { exchange, key, content_type, message_id: None, body: event.as_bytes() };
        Producer::new([url("producer")]).publish(publication).await
    };
    publish("bellbuoy.events", "repo_push").await.expect("it may");
    api.until("", 4, &["delivered"]).await;
    for (exchange, key) in [
        ("", "bellbuoy.events"),
        ("", "bellbuoy.deliver.webhook"),
        ("bellbuoy.deliveries", "webhook"),
        ("bellbuoy.outcomes", ""),
        ("bellbuoy.dead", ""),
        ("bellbuoy.queues", "bellbuoy.events"),
        ("bellbuoy.delay.v1.00", "bellbuoy.events"),
        ("amq.topic", "repo_push"),
    ] {
        let refused = publish(exchange, key).await.expect_err("it may not");
        assert!(format!("{refused:#}").contains("ACCESS_REFUSED"), "`{exchange}`: {refused:#}");
    }
    for user in ["producer", "api"] {
        let operator = Operator::connect(&url(user)).await.expect("connected");
        for refused in [
            operator.look("bellbuoy.events").await.map(drop),
            operator.delete_queue("bellbuoy.events").await,
            operator.declare_plain_queue("bellbuoy.mine").await,
            operator.unbind("bellbuoy.events", "#", "bellbuoy.events").await,
        ] {
            let refused = refused.expect_err("it may not").to_string();
            assert!(refused.contains("ACCESS_REFUSED"), "{user}: {refused}");
        }
    }
    for member in members {
        member.stop().await;
    }
}
