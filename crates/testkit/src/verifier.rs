//! Signatures checked by strangers: the `standardwebhooks` package for `v1`, Debian's `python3-cryptography` for `v1a`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use crate::receiver::Recorded;

/// Debian's own interpreter, which knows Debian's packages; another one may come first on the path.
const PYTHON: &str = "/usr/bin/python3";

/// Where `cargo xtask tools` puts what Debian does not have.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/python");

/// What a request's signature is checked by.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// `whsec_...`
    Secret(&'a str),
    /// `whpk_...`
    Public(&'a str),
}

/// Whether a stranger's code takes the request as signed by this key; why not, if not.
///
/// # Errors
///
/// What the stranger's code said.
///
/// # Panics
///
/// When the packages are not installed, or Python does not run.
pub fn verify(request: &Recorded, key: Key<'_>) -> Result<(), String> {
    assert!(Path::new(PACKAGES).is_dir(), "{PACKAGES} is not there; `cargo xtask tools` makes it");
    let headers = request
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), Value::from(value.to_str().ok()?))));
    let body = std::str::from_utf8(&request.body).expect("a body of text");
    let mut asked = json!({ "headers": headers.collect::<Map<_, _>>(), "body": body });
    let (name, key) = match key {
        Key::Secret(key) => ("secret", key),
        Key::Public(key) => ("public_key", key),
    };
    asked[name] = key.into();
    let mut python = Command::new(PYTHON)
        .args(["-c", include_str!("verifier.py")])
        .env("PYTHONPATH", PACKAGES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut input = python.stdin.take().expect("a pipe");
    input.write_all(asked.to_string().as_bytes()).expect("Python reads");
    drop(input);
    let said = python.wait_with_output().expect("Python ends").stdout;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said == "ok" { Ok(()) } else { Err(said) }
}
