//! `docker-compose.yml`.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::{
    assert_is_command, assert_is_setting, bellbuoy, entries, found, items, path, read, seconds, secrets,
    settings, shutdown_seconds, words, yaml,
};

const FILE: &str = "docker-compose.yml";

fn services() -> BTreeMap<String, Value> {
    entries(&yaml(FILE)["services"]).map(|(name, service)| (name.clone(), service.clone())).collect()
}

/// Services of our own image.
fn ours() -> BTreeMap<String, Value> {
    services().into_iter().filter(|(_, service)| service.get("build").is_some()).collect()
}

/// Services of our own image that run for as long as they are let.
pub(super) fn processes() -> BTreeMap<String, Value> {
    ours().into_iter().filter(|(_, service)| service["command"][0] == "serve").collect()
}

/// What stands after `--NAME` in a service's command.
fn flag(service: &Value, name: &str) -> Option<String> {
    let words = words(&service["command"]);
    let place = words.iter().position(|word| *word == format!("--{name}"))?;
    words.get(place + 1).cloned()
}

/// A value as compose hands it on when none of the variables in it is set.
fn interpolated(text: &str) -> String {
    let variable = Regex::new(r"\$\{[A-Z_]+:-([^}]*)\}").expect("a pattern");
    let text = variable.replace_all(text, "$1").into_owned();
    assert!(!text.contains('$'), "{text} has a variable without a default");
    text
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let value = |value: &Value| interpolated(value.as_str().unwrap_or_else(|| panic!("no text: {value}")));
    entries(&service["environment"]).map(|(name, text)| (name.clone(), value(text))).collect()
}

#[test]
fn every_variable_of_ours_is_a_setting() {
    for (name, service) in ours() {
        let environment = environment(&service);
        assert!(!environment.is_empty(), "{name}");
        for variable in environment.keys() {
            assert!(variable.starts_with("BELLBUOY_"), "{variable} of {name}");
            assert_is_setting(variable, FILE);
        }
    }
}

#[test]
fn what_each_process_is_given_is_right_by_the_programs_own_check() {
    let made = secrets();
    for (name, service) in ours() {
        let mut environment = environment(&service);
        for value in environment.values_mut() {
            if let Some(secret) = value.strip_prefix("/run/secrets/") {
                *value = made.path().join(secret).display().to_string();
            }
        }
        for key in ["roles", "methods"] {
            environment
                .extend(flag(&service, key).map(|value| (format!("BELLBUOY_{}", key.to_uppercase()), value)));
        }
        environment.extend(super::image::environment());
        let (code, said) = bellbuoy(&["config", "check"], &environment);
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}

#[test]
fn every_command_is_one_of_the_binarys() {
    for (_, service) in ours() {
        assert_is_command(&words(&service["command"]), FILE);
    }
}

#[test]
fn every_role_and_every_method_has_a_process() {
    let all = |key: &str| settings()[key].split(',').map(str::to_owned).collect::<BTreeSet<_>>();
    let run = |name| processes().values().filter_map(|service| flag(service, name)).collect::<BTreeSet<_>>();
    assert_eq!(run("roles"), all("roles"));
    assert_eq!(run("methods"), all("methods"));
}

#[test]
fn what_is_waited_for_exists_and_can_come_true() {
    let services = services();
    for (name, service) in &services {
        for (target, how) in entries(&service["depends_on"]) {
            let other = services.get(target).unwrap_or_else(|| panic!("{name} waits for {target}"));
            match how["condition"].as_str() {
                Some("service_healthy") => {
                    assert!(!other["healthcheck"]["test"].is_null(), "{target} has no health check");
                }
                Some("service_completed_successfully") => {
                    let restart = other["restart"].as_str().unwrap_or("no");
                    assert!(restart == "no" || restart.starts_with("on-failure"), "{target} never completes");
                }
                other => panic!("{name} waits for {target} by {other:?}"),
            }
        }
    }
    for (name, service) in processes() {
        for target in ["topology", "postgres"] {
            assert!(!service["depends_on"][target].is_null(), "{name} starts before {target}");
        }
    }
    assert_eq!(services["topology"]["depends_on"]["rabbitmq"]["condition"], "service_healthy");
}

#[test]
fn every_file_and_volume_that_is_mounted_exists() {
    let compose = yaml(FILE);
    for (name, service) in services() {
        for volume in words(&service["volumes"]) {
            let source = volume.split(':').next().unwrap_or_default();
            if source.starts_with('.') {
                assert!(path(source).exists(), "{name} mounts {source}");
                assert!(volume.ends_with(":ro"), "{name} may write to {source}");
            } else {
                assert!(compose["volumes"].get(source).is_some(), "{name} mounts {source}");
            }
        }
    }
}

#[test]
fn each_service_gets_the_secrets_that_it_reads_and_no_other() {
    let (compose, made) = (yaml(FILE), secrets());
    let mut used = BTreeSet::new();
    for (name, service) in services() {
        let granted: BTreeSet<_> = words(&service["secrets"]).into_iter().collect();
        let mut reads: BTreeSet<_> = environment(&service)
            .values()
            .filter_map(|value| Some(value.strip_prefix("/run/secrets/")?.to_owned()))
            .collect();
        if name == "rabbitmq" {
            reads.extend(found("/run/secrets/([a-z_]+)", &read("deploy/rabbitmq/rabbitmq.conf")));
        }
        assert_eq!(granted, reads, "{name}");
        used.extend(granted);
    }
    for (name, secret) in entries(&compose["secrets"]) {
        assert!(used.contains(name), "no service uses {name}");
        assert_eq!(secret["file"], format!("./deploy/secrets/{name}"));
        let text = std::fs::read_to_string(made.path().join(name)).unwrap_or_default();
        assert!(
            !text.trim().is_empty() && text.trim_end() == text.trim_end_matches('\n'),
            "{name}: {text:?}"
        );
    }
    let declared = entries(&compose["secrets"]).count();
    assert_eq!(used.len(), declared, "{used:?}");
}

#[test]
fn any_number_of_each_worker_can_run() {
    for (name, service) in services() {
        assert!(service.get("container_name").is_none(), "{name} has a name for one only");
        let ports = words(&service["ports"]);
        let is_worker = processes().contains_key(&name) && name != "api";
        assert!(ports.is_empty() || !is_worker, "{name} has a port for one only: {ports:?}");
        for port in ports {
            assert!(port.starts_with("127.0.0.1:"), "{name} is open to the network: {port}");
        }
    }
}

#[test]
fn every_service_is_pinned_restarted_watched_and_bounded() {
    let compose = yaml(FILE);
    assert!(compose.get("version").is_none(), "`version` is obsolete");
    let pinned = Regex::new(r"^[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?$").expect("a pattern");
    for (name, service) in services() {
        let image = service["image"].as_str().expect("an image");
        assert!(pinned.is_match(image), "{name} runs {image}");
        assert!(service["restart"].is_string(), "{name} is not started again");
        assert_eq!(service["logging"]["options"]["max-size"], "10m", "{name} fills the disk with logs");
        // Our image and the mail catcher's bring a health check with them.
        let brings = service.get("build").is_some() || image.starts_with("axllent/mailpit:");
        assert!(brings || !service["healthcheck"]["test"].is_null(), "{name} has no health check");
    }
}

#[test]
fn processes_of_ours_have_time_to_stop_and_no_more_rights_than_they_need() {
    let image = format!("bellbuoy/bellbuoy:{}", env!("CARGO_PKG_VERSION"));
    for (name, service) in ours() {
        assert_eq!(service["image"], image, "{name}");
        let grace = seconds(service["stop_grace_period"].as_str().unwrap_or_default());
        assert!(grace >= shutdown_seconds(), "{name} is killed after {grace} s");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(words(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        let data = &super::image::environment()["BELLBUOY_DATA_DIR"];
        let tmpfs = words(&service["tmpfs"]);
        assert!(
            items(&service["tmpfs"]).count() == 1 && tmpfs[0].starts_with(&format!("{data}:uid=65532,")),
            "{tmpfs:?}"
        );
    }
}

#[test]
fn whoever_speaks_to_a_service_knows_its_name_and_port() {
    let (services, made) = (services(), secrets());
    let published = |name: &str, port: &str| {
        words(&services[name]["ports"]).iter().any(|mapping| mapping.ends_with(&format!(":{port}")))
    };
    for service in processes().values() {
        let settings = environment(service);
        let read = |variable: &str| {
            let secret = settings[variable].trim_start_matches("/run/secrets/").to_owned();
            std::fs::read_to_string(made.path().join(secret)).expect("a secret")
        };
        let broker = url::Url::parse(&read("BELLBUOY_BROKER__URL_FILE")).expect("a URL");
        assert_eq!(
            (broker.scheme(), broker.host_str(), broker.path()),
            ("amqp", Some("rabbitmq"), "/bellbuoy")
        );
        assert!(published("rabbitmq", &broker.port().expect("a port").to_string()));
        let store = url::Url::parse(&read("BELLBUOY_STORE__URL_FILE")).expect("a URL");
        assert_eq!(
            (store.scheme(), store.host_str(), store.port()),
            ("postgres", Some("postgres"), Some(5432))
        );
        let database = environment(&services["postgres"]);
        assert_eq!(store.username(), database["POSTGRES_USER"]);
        assert_eq!(store.path(), format!("/{}", database["POSTGRES_DB"]));
        let password = std::fs::read_to_string(made.path().join("postgres_password")).expect("a secret");
        assert_eq!(store.password(), Some(password.as_str()));
    }
    for sender in ["deliver-email", "api"] {
        let mail = environment(&processes()[sender]);
        let catcher = environment(&services[&mail["BELLBUOY_SMTP__HOST"]]);
        let port = catcher["MP_SMTP_BIND_ADDR"].rsplit(':').next().expect("a port");
        assert_eq!(mail["BELLBUOY_SMTP__PORT"], port, "the mail server's");
    }
    let listen = &super::image::environment()["BELLBUOY_LISTEN"];
    assert!(published("api", listen.trim_start_matches("0.0.0.0:")), "{listen}");
    let source = &yaml("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"][0];
    assert_eq!(source["url"], "http://prometheus:9090");
    assert!(published("prometheus", "9090") && published("grafana", "3000"));
    let provider = &yaml("deploy/grafana/provisioning/dashboards/bellbuoy.yml")["providers"][0];
    let folder = provider["options"]["path"].as_str().expect("a folder");
    assert!(
        words(&services["grafana"]["volumes"]).contains(&format!("./deploy/grafana/dashboards:{folder}:ro"))
    );
    let home = &environment(&services["grafana"])["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    let file = home.strip_prefix(folder).expect("a dashboard of that folder");
    assert!(path(&format!("deploy/grafana/dashboards{file}")).is_file(), "{file}");
}
