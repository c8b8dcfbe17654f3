//! `Dockerfile`, `.dockerignore` and the systemd unit: each runs the binary by itself.

use std::collections::BTreeMap;

use super::{
    assert_is_command, assert_is_setting, bellbuoy, found, read, seconds, settings, shutdown_seconds, tool,
};

/// The instructions of the Dockerfile, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn instruction(word: &str) -> Vec<String> {
    instructions().into_iter().filter(|(name, _)| name == word).map(|(_, rest)| rest).collect()
}

/// The variables of ours that the image sets.
pub(super) fn environment() -> BTreeMap<String, String> {
    let all = instruction("ENV").join(" ");
    let pairs = all.split_whitespace().filter_map(|pair| pair.split_once('='));
    let ours = pairs.filter(|(name, _)| name.starts_with("BELLBUOY_"));
    ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The words of an instruction in its JSON form.
fn exec(rest: &str) -> Vec<String> {
    let list = &rest[rest.find('[').expect("the JSON form, which needs no shell")..];
    serde_json::from_str(list).expect("a list of words")
}

#[test]
fn the_image_runs_the_binary_where_it_was_put_with_settings_that_it_has() {
    let entrypoint = exec(&instruction("ENTRYPOINT")[0]);
    let [binary] = entrypoint.as_slice() else { panic!("{entrypoint:?}") };
    assert!(instruction("COPY").iter().any(|copy| copy.ends_with(&format!(" {binary}"))), "{binary}");
    assert_is_command(&exec(&instruction("CMD")[0]), "Dockerfile");
    let environment = environment();
    for variable in environment.keys() {
        assert_is_setting(variable, "Dockerfile");
    }
    let (code, said) = bellbuoy(&["config", "check"], &environment);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(instruction("EXPOSE"), [environment["BELLBUOY_LISTEN"].trim_start_matches("0.0.0.0:")]);
    assert_eq!(exec(&instruction("VOLUME")[0]), [environment["BELLBUOY_DATA_DIR"].as_str()]);
}

#[test]
fn the_image_checks_itself_without_a_shell() {
    let health = instruction("HEALTHCHECK");
    let command = health[0].split_once("CMD").expect("a command").1.trim();
    let words = exec(command);
    assert_eq!(words[0], exec(&instruction("ENTRYPOINT")[0])[0]);
    assert_is_command(&words[1..], "Dockerfile");
}

#[test]
fn the_image_is_small_labelled_and_not_roots() {
    assert_eq!(instruction("USER"), ["65532:65532"]);
    let [build, run] = instruction("FROM").try_into().expect("two stages");
    assert!(run.contains("distroless/cc-debian12:nonroot"), "{run}");
    // The C library of both is that of Debian 12.
    let toolchain = found(r#"(?m)^rust-version = "([0-9.]+)""#, &read("Cargo.toml"));
    assert_eq!(build, format!("rust:{}.0-bookworm AS build", toolchain[0]));
    let labels = instruction("LABEL").join(" ");
    for label in ["title", "description", "source", "documentation", "licenses", "version", "revision"] {
        assert!(labels.contains(&format!("org.opencontainers.image.{label}=")), "{label}");
    }
    assert!(instruction("ARG").contains(&format!("VERSION={}", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_builder_is_sent_what_it_reads_and_nothing_else() {
    let ignored = read(".dockerignore");
    let lines: Vec<_> = ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(lines[0], "*", "everything but what follows");
    for needed in ["Cargo.toml", "Cargo.lock", "crates"] {
        assert!(lines.contains(&format!("!{needed}").as_str()), "{needed}");
    }
}

const UNIT: &str = "deploy/systemd/bellbuoy.service";

fn directive(name: &str) -> Vec<String> {
    found(&format!("(?m)^{name}=(.*)$"), &read(UNIT))
}

#[test]
fn the_unit_runs_the_binary_with_settings_that_it_has_and_time_to_stop() {
    assert_eq!(directive("Type"), ["exec"], "the program does not tell systemd when it is ready");
    let command: Vec<_> = directive("ExecStart")[0].split(' ').map(str::to_owned).collect();
    assert_is_command(&command[1..], UNIT);
    for variable in found("BELLBUOY_[A-Z_]+[A-Z]", &read(UNIT)) {
        assert_is_setting(&variable, UNIT);
    }
    let data = format!("BELLBUOY_DATA_DIR=/var/lib/{}", directive("StateDirectory")[0]);
    assert_eq!(directive("Environment"), [data]);
    assert!(seconds(&directive("TimeoutStopSec")[0]) >= shutdown_seconds());
    for key in found("`([a-z]+[.][a-z_]+)`", &read(UNIT)) {
        assert!(settings().contains_key(&key), "{key}");
    }
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let remedy = "run `cargo xtask tools` (Debian package systemd)";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = folder.path().join("bellbuoy.service");
    // The program is not installed here; systemd refuses a unit whose program is missing.
    std::fs::write(&unit, read(UNIT).replace("/usr/bin/bellbuoy", super::BINARY)).expect("a file");
    let unit = unit.to_str().expect("a path of text");
    let (taken, said) = tool("systemd-analyze", remedy, &["verify", unit]);
    assert!(taken && said.trim().is_empty(), "{said}");
    // Exposure, in tenths, of ten that an unhardened unit comes near to.
    let (hardened, said) =
        tool("systemd-analyze", remedy, &["security", "--offline=true", "--threshold=20", unit]);
    assert!(hardened, "{said}");
}
