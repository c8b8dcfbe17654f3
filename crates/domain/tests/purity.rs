//! This crate is rules over plain values: nothing in it reads a clock, draws a random number, opens
//! a file or a socket, or waits.

use std::{fs, path::Path, process::Command};

/// Crates that do one of these, by the beginning of their names.
const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "async-",
    "futures",
    "rand",
    "getrandom",
    "fastrand",
    "hyper",
    "http-body",
    "reqwest",
    "tower",
    "axum",
    "sqlx",
    "rusqlite",
    "libsqlite3",
    "lapin",
    "amq",
    "ring",
    "rustls",
    "openssl",
    "native-tls",
    "notify",
    "tempfile",
    "polling",
    "rustix",
    "nix",
    "bellbuoy-",
];

#[test]
fn it_depends_on_nothing_that_does_io_or_draws_random_numbers() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "bellbuoy-domain",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{lib}|{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    let names: Vec<&str> =
        tree.lines().filter_map(|line| line.split_once('|')?.1.split_whitespace().next()).collect();
    for expected in ["bellbuoy-domain", "serde_json", "uuid", "jiff"] {
        assert!(names.contains(&expected), "the tree was not read: {tree}");
    }
    for name in names.iter().filter(|name| **name != "bellbuoy-domain") {
        assert!(!IMPURE.iter().any(|impure| name.starts_with(impure)), "{name} is in the tree");
    }
}

/// Words of code that read a clock, draw a number, touch the outside or wait.
const FORBIDDEN: &[&str] = &[
    "now(",
    "now_v7",
    "new_v4",
    "SystemTime",
    "Instant",
    "async",
    "await",
    "fs::",
    "net::",
    "env::",
    "env!(",
    "process::",
    "thread::",
    "io::",
    "os::",
    "File::",
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "static mut",
    "Mutex",
    "Atomic",
    "OnceLock",
    "LazyLock",
    "thread_local!",
    "RandomState",
    "HashMap",
    "HashSet",
];

/// Parts of `std` that no `use std::...` may name.
const FORBIDDEN_PARTS: &[&str] = &["fs", "net", "env", "process", "thread", "io", "os"];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).expect("UTF-8")));
        }
    }
}

/// The faults in one file's code. Its comments do not count, nor its own tests, which stand last (clippy's
/// `items_after_test_module` sees to that).
fn faults(source: &str) -> Vec<String> {
    let code = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let words = FORBIDDEN.iter().filter(|word| code.contains(*word)).map(ToString::to_string);
    let imports = code.split("use std::").skip(1).filter_map(|rest| rest.split(';').next());
    let parts = imports.flat_map(|import| {
        let named: Vec<&str> = import.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        FORBIDDEN_PARTS
            .iter()
            .filter(move |part| named.contains(*part))
            .map(|part| format!("use std::{part}"))
    });
    words.chain(parts).collect()
}

#[test]
fn its_code_names_no_clock_no_dice_no_file_and_no_socket() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 15, "only {} files found", found.len());
    for (path, source) in found {
        assert_eq!(faults(&source), [""; 0], "{path}");
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for impure in [
        "let t = Timestamp::now();",
        "use std::time::{Duration, Instant};",
        "use std::{\n    fmt,\n    fs,\n};",
        "std::net::TcpStream::connect(x)",
        "async fn f() {}",
        "Uuid::new_v4()",
        "let x = \"://\"; Timestamp::now();",
    ] {
        assert_ne!(faults(impure), [""; 0], "{impure}");
    }
    for pure in ["// SystemTime::now()", "use std::{fmt, rc::Rc};", "fn fsync_count() {}", "struct Io;"] {
        assert_eq!(faults(pure), [""; 0], "{pure}");
    }
}
