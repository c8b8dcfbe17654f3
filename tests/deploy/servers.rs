//! RabbitMQ's files, and the users that `deploy/secrets.sh` makes for it.

use regex::Regex;
use serde_json::Value;

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
