//! Prometheus' rules, Grafana's dashboard and the runbook against what the program exports.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellbuoy_telemetry::{Counter, Gauge, Histogram};
use bellbuoy_testkit::receiver::Receiver;
use bellbuoy_testkit::wait::within;
use regex::Regex;
use serde_json::{Value, json};

use super::support::{Fleet, push};
use super::{assert_is_command, compose, found, image, items, path, read, settings, tool, words, yaml};

const RECORDING: &str = "deploy/prometheus/rules/bellbuoy.recording.yml";
const ALERTS: &str = "deploy/prometheus/rules/bellbuoy.alerts.yml";
const DASHBOARD: &str = "deploy/grafana/dashboards/bellbuoy.json";
const RUNBOOK: &str = "deploy/RUNBOOK.md";
const RUNBOOK_URL: &str = "https://github.com/bellbuoy/bellbuoy/blob/main/deploy/RUNBOOK.md";
const PROMTOOL: &str = "run `cargo xtask tools` (Debian package prometheus)";

/// What Prometheus itself, RabbitMQ and the process library export, as far as it is used here.
const FOREIGN: &[&str] = &[
    "up",
    "ALERTS",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_detailed_queue_messages",
    "rabbitmq_detailed_queue_messages_ready",
];

/// Labels that Prometheus or its configuration adds.
const ADDED: &[&str] = &["job", "instance", "service"];

/// An expression, and where it stands.
struct Expression {
    place: String,
    text: String,
}

/// One metric in an expression, with its matchers.
struct Selector {
    metric: String,
    matchers: Vec<(String, String, String)>,
}

fn rules() -> Vec<Value> {
    let groups = [yaml(RECORDING), yaml(ALERTS)];
    groups
        .iter()
        .flat_map(|file| items(&file["groups"]))
        .flat_map(|group| items(&group["rules"]))
        .cloned()
        .collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| rule.get("alert").is_some()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).expect("JSON")
}

/// The panels that show something.
fn panels(dashboard: &Value) -> Vec<Value> {
    items(&dashboard["panels"]).filter(|panel| panel["type"] != "row").cloned().collect()
}

fn expressions_of_rules() -> Vec<Expression> {
    let place =
        |rule: &Value| rule["alert"].as_str().or(rule["record"].as_str()).unwrap_or_default().to_owned();
    rules().iter().map(|rule| Expression { place: place(rule), text: text(&rule["expr"]) }).collect()
}

fn expressions_of_dashboard() -> Vec<Expression> {
    let dashboard = dashboard();
    let of_panel = |panel: &Value| {
        let title = text(&panel["title"]);
        let targets: Vec<_> = items(&panel["targets"]).map(|target| text(&target["expr"])).collect();
        targets.into_iter().map(move |text| Expression { place: title.clone(), text })
    };
    panels(&dashboard).iter().flat_map(of_panel).collect()
}

/// Every metric in an expression. Names are told from functions by how ours, and those of others, begin.
fn selectors(expression: &str) -> Vec<Selector> {
    let metric = Regex::new(
        r"\b((?:[a-z]+:)?(?:bellbuoy|process|rabbitmq)_[a-z0-9_]+(?::[a-z0-9_]+)?|up|ALERTS)\b(?:\{([^}]*)\})?",
    );
    let matcher = Regex::new(r#"([a-z_]+)(=~|!~|!=|=)"([^"]*)""#).expect("a pattern");
    // `$__rate_interval` and quoted label values hold no metrics.
    let metric = metric.expect("a pattern");
    let selector = |found: regex::Captures<'_>| Selector {
        metric: found[1].to_owned(),
        matchers: matcher
            .captures_iter(found.get(2).map_or("", |list| list.as_str()))
            .map(|found| (found[1].to_owned(), found[2].to_owned(), found[3].to_owned()))
            .collect(),
    };
    metric.captures_iter(expression).map(selector).collect()
}

/// The labels of each metric that the program exports, by the name that it has in Prometheus.
fn exported() -> BTreeMap<String, Vec<&'static str>> {
    let mut metrics = BTreeMap::new();
    for metric in Counter::ALL {
        metrics.insert(metric.name().to_owned(), metric.labels().to_vec());
    }
    for metric in Gauge::ALL {
        metrics.insert(metric.name().to_owned(), metric.labels().to_vec());
    }
    for metric in Histogram::ALL {
        for suffix in ["count", "sum"] {
            metrics.insert(format!("{}_{suffix}", metric.name()), metric.labels().to_vec());
        }
        metrics.insert(format!("{}_bucket", metric.name()), [metric.labels(), &["le"]].concat());
    }
    metrics
}

fn recorded() -> BTreeSet<String> {
    rules().iter().filter_map(|rule| Some(rule["record"].as_str()?.to_owned())).collect()
}

#[test]
fn every_metric_and_label_that_is_asked_for_is_exported() {
    let (exported, recorded) = (exported(), recorded());
    let grouping = Regex::new(r"(?:by|on|ignoring|without) \(([a-z_, ]*)\)").expect("a pattern");
    let known: BTreeSet<_> = exported.values().flatten().chain(ADDED).copied().collect();
    let mut seen = 0;
    for Expression { place, text } in expressions_of_rules().into_iter().chain(expressions_of_dashboard()) {
        let selectors = selectors(&text);
        assert!(!selectors.is_empty(), "{place}: {text}");
        for Selector { metric, matchers } in selectors {
            seen += 1;
            let Some(labels) = exported.get(&metric) else {
                assert!(
                    recorded.contains(&metric) || FOREIGN.contains(&metric.as_str()),
                    "{place} asks for {metric}, which nobody exports"
                );
                continue;
            };
            for (label, _, _) in matchers {
                let known = labels.contains(&label.as_str()) || ADDED.contains(&label.as_str());
                assert!(known, "{place} asks for {label} of {metric}, which has {labels:?}");
            }
        }
        let made = found(r#""([a-z]+)", "\$1""#, &text);
        for list in grouping.captures_iter(&text) {
            for label in list[1].split(", ").filter(|label| !label.is_empty()) {
                let known = known.contains(label) || made.iter().any(|made| made == label);
                assert!(known, "{place} groups by {label}");
            }
        }
    }
    assert!(seen > 100, "only {seen} metrics found: is the pattern still right?");
}

#[test]
fn every_metric_that_is_exported_is_in_a_panel_or_a_rule() {
    let asked: BTreeSet<_> = expressions_of_rules()
        .iter()
        .chain(&expressions_of_dashboard())
        .flat_map(|expression| selectors(&expression.text))
        .map(|selector| selector.metric)
        .collect();
    let counters = Counter::ALL.iter().map(|metric| metric.name());
    for name in counters.chain(Gauge::ALL.iter().map(|metric| metric.name())) {
        assert!(asked.contains(name), "nobody looks at {name}");
    }
    for name in Histogram::ALL.iter().map(|metric| metric.name()) {
        assert!(asked.contains(&format!("{name}_bucket")), "nobody looks at {name}");
    }
}

#[tokio::test]
async fn every_value_of_a_label_that_is_asked_for_is_one_that_a_running_server_has() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    fleet.api.publish(&push("1", "acme/api", "v1")).await;
    receiver.wait_for(1, |_| true).await.expect("a delivery");
    // Some series begin with what they count: an answered request, a queue that was looked at.
    let nothing_missing = async || missing_values(&fleet.api.metrics().await).is_empty().then_some(());
    let complete = within(Duration::from_secs(20), nothing_missing).await;
    let exposition = fleet.api.metrics().await;
    assert!(complete.is_some(), "{}", missing_values(&exposition).join("\n"));
    for name in FOREIGN.iter().filter(|name| name.starts_with("process_")) {
        assert!(exposition.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert!(missing_values("").len() > 20, "hardly any values found: is the pattern still right?");
}

/// Every value of a label that is asked for and that no series has.
fn missing_values(exposition: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for Expression { place, text } in expressions_of_rules().into_iter().chain(expressions_of_dashboard()) {
        for Selector { metric, matchers } in selectors(&text) {
            for (label, operator, value) in matchers {
                let ours = metric.starts_with("bellbuoy_") && !metric.contains(':');
                // A healthy server has answered nothing with 5xx yet; `$method` is the dashboard's reader's.
                if !ours || label == "status" || value.starts_with('$') || ADDED.contains(&label.as_str()) {
                    continue;
                }
                let values = found(&format!(r#"(?m)^{metric}\{{.*?\b{label}="([^"]*)""#), exposition);
                for wanted in alternatives(&label, &operator, &value) {
                    let pattern = Regex::new(&format!("^(?:{wanted})$")).expect("a pattern");
                    if !values.iter().any(|value| pattern.is_match(value)) {
                        missing.push(format!("{place}: {metric} has no {label} {wanted}, but {values:?}"));
                    }
                }
            }
        }
    }
    missing
}

/// A matcher's value as patterns of which each has to match something. A bucket's bound has several spellings.
fn alternatives(label: &str, operator: &str, value: &str) -> Vec<String> {
    match operator {
        "=" | "!=" => vec![regex::escape(value)],
        _ if label == "le" => vec![value.to_owned()],
        _ => value.split('|').map(str::to_owned).collect(),
    }
}

#[test]
fn promtool_takes_the_configuration_and_the_rules() {
    for args in [
        ["check", "config", "deploy/prometheus/prometheus.yml"].as_slice(),
        &["check", "rules", "--lint=all", "--lint-fatal", RECORDING, ALERTS],
    ] {
        let (taken, said) = tool("promtool", PROMTOOL, args);
        assert!(taken, "{args:?}: {said}");
    }
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let files = ["deploy/prometheus/alerts.test.yml", "deploy/prometheus/days.test.yml"];
    let (right, said) = tool("promtool", PROMTOOL, &[&["test", "rules"], files.as_slice()].concat());
    assert!(right, "{said}");
    let tests = files.map(read).concat();
    for alert in alerts() {
        let name = text(&alert["alert"]);
        // Two are named by a pattern.
        assert!(tests.contains(&name) || name.starts_with("BellbuoyBroker"), "no test names {name}");
    }
}

#[test]
fn every_alert_says_what_it_means_how_urgent_it_is_and_where_to_read_on() {
    for alert in alerts() {
        let name = text(&alert["alert"]);
        assert!(matches!(alert["labels"]["severity"].as_str(), Some("page" | "ticket")), "{name}");
        for annotation in ["summary", "description"] {
            assert!(text(&alert["annotations"][annotation]).len() > 10, "{name} has no {annotation}");
        }
        let url = format!("{RUNBOOK_URL}#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], url, "{name}");
    }
}

#[test]
fn the_runbook_has_a_section_for_each_alert_with_meaning_place_and_remedy() {
    let runbook = read(RUNBOOK);
    let mut sections: Vec<_> =
        runbook.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    let mut known = BTreeMap::new();
    for alert in alerts() {
        known.insert(text(&alert["alert"]), text(&alert["labels"]["severity"]));
    }
    sections.sort_unstable();
    let headings: Vec<_> = sections.iter().map(|(heading, _)| *heading).collect();
    assert_eq!(headings, known.keys().map(String::as_str).collect::<Vec<_>>());
    for (heading, body) in sections {
        assert!(
            body.trim_start().starts_with(&format!("`{}`. ", known[heading])),
            "{heading}: wrong severity"
        );
        assert!(body.contains("\n*Look at* ") && body.contains("\n*Do* "), "{heading}");
    }
}

#[test]
fn what_the_runbook_names_exists() {
    let runbook = read(RUNBOOK);
    let anchors: BTreeSet<_> =
        found(r"(?m)^## (\w+)$", &runbook).iter().map(|name| name.to_lowercase()).collect();
    for link in found(r"\]\(([^)]*)\)", &runbook) {
        match link.strip_prefix('#') {
            Some(anchor) => assert!(anchors.contains(anchor), "{link}"),
            None => assert!(path("deploy").join(&link).is_file(), "{link}"),
        }
    }
    let exported = exported();
    for metric in found(r"bellbuoy_[a-z_]+", &runbook) {
        assert!(exported.contains_key(&metric), "{metric}");
    }
    for key in found(r"`([a-z]+\.[a-z_]+)`", &runbook).iter().filter(|key| !key.starts_with("bellbuoy.")) {
        assert!(settings().contains_key(key), "{key} is no setting");
    }
    for command in found(r"`bellbuoy ([a-z -]+)`", &runbook) {
        assert_is_command(&command.split(' ').map(str::to_owned).collect::<Vec<_>>(), RUNBOOK);
    }
    let services = yaml("docker-compose.yml")["services"].clone();
    for scaled in found(r"--scale ([a-z-]+)=", &runbook) {
        assert!(services.get(&scaled).is_some(), "{scaled}");
    }
}

#[tokio::test]
async fn the_runbooks_requests_are_ones_that_a_running_server_answers() {
    let fleet = Fleet::start(&[]).await;
    let runbook = read(RUNBOOK);
    let requests = found("`(?:GET|POST) (/[^`]*)`", &runbook);
    assert!(requests.len() > 5, "{requests:?}");
    let bare: BTreeSet<_> =
        found("`GET (/[^`{]*)`", &runbook).into_iter().chain(["/readyz".to_owned()]).collect();
    for request in bare {
        fleet.api.get(&request).await;
    }
    // With an id that nothing has, a route says so by a name; where there is no route, nothing is named.
    let nothing = fleet.api.post("/v1/nothing", &json!({})).await.text();
    for request in requests.iter().filter(|request| request.contains("{id}")) {
        let path = request.replace("{id}", "00000000-0000-0000-0000-000000000000");
        let answer = fleet.api.post(&path, &json!({})).await;
        assert_ne!(answer.text().replace(&path, ""), nothing.replace("/v1/nothing", ""), "{request}");
    }
}

#[test]
fn prometheus_scrapes_every_process_where_it_listens() {
    let configuration = yaml("deploy/prometheus/prometheus.yml");
    let jobs: BTreeMap<_, _> =
        items(&configuration["scrape_configs"]).map(|job| (text(&job["job_name"]), job.clone())).collect();
    let lookup = &jobs["bellbuoy"]["dns_sd_configs"][0];
    let scraped: BTreeSet<_> = words(&lookup["names"]).into_iter().collect();
    assert_eq!(scraped, compose::processes().into_keys().collect());
    assert_eq!(format!("0.0.0.0:{}", lookup["port"]), image::environment()["BELLBUOY_LISTEN"]);
    assert_eq!(jobs["bellbuoy"]["relabel_configs"][0]["target_label"], "service");
    for job in ["rabbitmq", "rabbitmq-queues"] {
        assert_eq!(words(&jobs[job]["static_configs"][0]["targets"]), ["rabbitmq:15692"]);
    }
    for rules in words(&configuration["rule_files"]) {
        assert_eq!(rules, "rules/*.yml");
    }
    for Expression { place, text } in expressions_of_rules().into_iter().chain(expressions_of_dashboard()) {
        for job in found(r#"job="([a-z-]+)""#, &text) {
            assert!(jobs.contains_key(&job), "{place} asks for job {job}");
        }
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere_and_each_panel_has_a_unit() {
    let dashboard = dashboard();
    assert!(dashboard.get("id").is_none(), "an id is one installation's");
    assert!(dashboard["uid"].is_string() && dashboard["schemaVersion"].as_u64() > Some(38));
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    for uid in found(r#""type": "prometheus",\s*"uid": "([^"]*)""#, &read(DASHBOARD)) {
        assert_eq!(uid, "${datasource}");
    }
    let panels = panels(&dashboard);
    let ids: BTreeSet<_> = items(&dashboard["panels"]).map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), items(&dashboard["panels"]).count(), "two panels have one id");
    let sections: BTreeSet<_> =
        alerts().iter().map(|alert| text(&alert["annotations"]["runbook_url"])).collect();
    for panel in panels {
        let title = text(&panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert!(items(&panel["targets"]).count() > 0, "{title} shows nothing");
        for link in items(&panel["links"]) {
            assert!(sections.contains(&text(&link["url"])), "{title} links to {link}");
        }
    }
}

#[test]
fn promtool_takes_every_expression_of_the_dashboard() {
    let expressions = expressions_of_dashboard();
    let rules: Vec<_> = expressions
        .iter()
        .enumerate()
        .map(|(number, Expression { text, .. })| {
            let text =
                text.replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$method", ".*");
            json!({"record": format!("dashboard:{number}"), "expr": text})
        })
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dashboard.yml");
    // JSON is YAML.
    std::fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string())
        .expect("a file");
    let (taken, said) =
        tool("promtool", PROMTOOL, &["check", "rules", "--lint=none", file.to_str().expect("text")]);
    assert!(taken, "{said}");
}
