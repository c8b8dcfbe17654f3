//! Installs what the checks call and this machine lacks.

use std::{fs, path::Path};

use anyhow::bail;

use crate::command::{cargo, no_arguments, output, program, run, succeeds};

/// Cargo's subcommands, and what brings each.
const SUBCOMMANDS: &[(&str, &str)] = &[
    ("fmt", "rustup component add rustfmt"),
    ("clippy", "rustup component add clippy"),
    ("nextest", "cargo install cargo-nextest --locked --version 0.9.143"),
    ("deny", "cargo install cargo-deny --locked --version 0.20.2"),
];

/// The servers, clients and checkers that integration tests start, named as their Debian packages are.
const PACKAGES: &[&str] = &[
    "chromium",
    "chromium-driver",
    "docker-registry",
    "postgresql",
    "prometheus",
    "python3-aiosmtpd",
    "python3-cryptography",
    "python3-pip",
    "rabbitmq-server",
    "skopeo",
    "systemd",
];

/// Debian's own interpreter.
const PYTHON: &str = "/usr/bin/python3";

/// Python packages that Debian does not have, and where they go: `target/python`, for Debian's interpreter.
const REQUIREMENTS: &str = "crates/xtask/python-requirements.txt";
const PYTHON_FOLDER: &str = "target/python";

pub(crate) fn install(args: &[String]) -> anyhow::Result<()> {
    no_arguments(args)?;
    for (subcommand, remedy) in SUBCOMMANDS {
        if !succeeds(&mut cargo(&format!("{subcommand} --version"))) {
            let mut words = remedy.split_whitespace();
            run(program(words.next().unwrap_or_default()).args(words))?;
        }
    }
    install_packages()?;
    install_python_packages()
}

fn install_packages() -> anyhow::Result<()> {
    let missing: Vec<_> = PACKAGES.iter().copied().filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !(on_path("apt-get") && is_root()?) {
        bail!(
            "the integration tests need {names}: `apt-get install --no-install-recommends {names}` as root"
        );
    }
    run(program("sh").arg("crates/xtask/apt-install.sh").args(missing))
}

/// By version and hash, without dependencies.
fn install_python_packages() -> anyhow::Result<()> {
    let import = ["-c", "import standardwebhooks as it; assert it.__version__ == '1.1.0'"];
    if succeeds(program(PYTHON).args(import).env("PYTHONPATH", PYTHON_FOLDER)) {
        return Ok(());
    }
    let pip =
        "-m pip install --quiet --root-user-action=ignore --no-deps --require-hashes --upgrade".split(' ');
    run(program(PYTHON).args(pip).args(["--target", PYTHON_FOLDER, "--requirement", REQUIREMENTS]))
}

fn is_there(package: &str) -> bool {
    match package {
        "chromium-driver" => on_path("chromedriver"),
        "postgresql" => has_postgres(),
        "prometheus" => on_path("promtool"),
        "python3-aiosmtpd" => has_module("aiosmtpd"),
        "python3-cryptography" => has_module("cryptography"),
        "python3-pip" => has_module("pip"),
        "systemd" => on_path("systemd-analyze"),
        named_as_its_program => on_path(named_as_its_program),
    }
}

/// Whether Debian's own interpreter has it; another one may come first on the path.
fn has_module(name: &str) -> bool {
    succeeds(program(PYTHON).args(["-c", &format!("import {name}")]))
}

pub(crate) fn on_path(name: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the search path is the shell's, not a setting of ours")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(Path::new(name)).is_file())
}

/// Debian keeps one folder per version, and none of its servers on the search path.
fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin/postgres")).any(|server| server.is_file())
}

pub(crate) fn is_root() -> anyhow::Result<bool> {
    Ok(output(program("id").arg("-u"))?.trim_ascii() == b"0")
}
