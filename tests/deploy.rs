//! The files of `deploy/`, `Dockerfile` and `docker-compose.yml` against the program that they run: its settings,
//! commands, ports and metrics, and against the tools that can read them. Containers can't be started everywhere that
//! tests are run, so what a container engine would find out is looked for here.

mod support;

#[path = "deploy/compose.rs"]
mod compose;
#[path = "deploy/image.rs"]
mod image;
#[path = "deploy/monitoring.rs"]
mod monitoring;
#[path = "deploy/servers.rs"]
mod servers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use support::BINARY;
use tempfile::TempDir;

/// Variables of the command line, which are no settings.
const NO_SETTINGS: &[&str] = &["BELLBUOY_CONFIG", "BELLBUOY_URL", "BELLBUOY_TOKEN"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A YAML file with its merges and aliases resolved.
fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The texts of a list.
fn words(value: &Value) -> Vec<String> {
    items(value).map(|item| item.as_str().unwrap_or_else(|| panic!("no text: {item}")).to_owned()).collect()
}

/// Every match of `pattern` in `text`: its first group, or all of it where it has none.
fn found(pattern: &str, text: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let group = |captures: regex::Captures<'_>| {
        captures
            .get(1)
            .or_else(|| captures.get(0))
            .map_or_else(String::new, |found| found.as_str().to_owned())
    };
    pattern.captures_iter(text).map(group).collect()
}

/// Runs a tool and returns whether it succeeded and what it said. `remedy` says how to get it.
fn tool(program: &str, remedy: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).current_dir(path("")).output();
    let output = output.unwrap_or_else(|error| panic!("{program} does not start ({error}); {remedy}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Runs the binary in an environment of its own; its exit code and what it said.
fn bellbuoy(args: &[&str], environment: &BTreeMap<String, String>) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(args).env_clear().envs(environment).output().expect("the binary");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Every setting's key and default, from the example that the program prints.
fn settings() -> BTreeMap<String, String> {
    let (code, example) = bellbuoy(&["config", "example"], &BTreeMap::new());
    assert_eq!(code, Some(0), "{example}");
    let mut section = String::new();
    let mut settings = BTreeMap::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, default)) = line.strip_prefix("#: ").and_then(|line| line.split_once(" = "))
        {
            settings.insert(format!("{section}{key}"), default.trim_matches('"').to_owned());
        }
    }
    assert!(settings.contains_key("listen") && settings.contains_key("limits.in_flight"), "{settings:?}");
    settings
}

/// Fails for a variable that looks like a setting of ours and is none.
fn assert_is_setting(variable: &str, place: &str) {
    let Some(name) = variable.strip_prefix("BELLBUOY_") else { return };
    let key = name.replace("__", ".").to_lowercase();
    let settings = settings();
    let known = settings.contains_key(&key)
        || key.strip_suffix("_file").is_some_and(|key| settings.contains_key(key))
        || NO_SETTINGS.contains(&variable);
    assert!(known, "{variable} in {place} is no setting; `bellbuoy config example` prints all");
}

/// Fails for a command line that the binary would not take.
fn assert_is_command(words: &[String], place: &str) {
    let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
    args.push("--help");
    let (code, said) = bellbuoy(&args, &BTreeMap::new());
    let line = words.join(" ");
    assert_eq!(code, Some(0), "`bellbuoy {line}` in {place}: {said}");
}

/// `20s`, `1m`, `1m30s` in seconds.
fn seconds(text: &str) -> u64 {
    let parts = Regex::new(r"(\d+)(s|m|h)").expect("a pattern");
    let part = |captures: regex::Captures<'_>| {
        let unit = match &captures[2] {
            "h" => 3600,
            "m" => 60,
            _ => 1,
        };
        captures[1].parse::<u64>().expect("a number") * unit
    };
    parts.captures_iter(text).map(part).sum()
}

/// How long a shutdown may take: the drain, and what is closed after it.
fn shutdown_seconds() -> u64 {
    settings()["limits.drain_seconds"].parse::<u64>().expect("whole seconds") + 20
}

/// What `deploy/secrets.sh` makes.
fn secrets() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (made, said) = run_secrets(folder.path());
    assert!(made, "{said}");
    folder
}

fn run_secrets(folder: &Path) -> (bool, String) {
    let folder = folder.to_str().expect("a path of text");
    tool("sh", "it is part of every system", &["deploy/secrets.sh", folder])
}
