//! Starting other programs from the root of the workspace.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The command line made no sense, as opposed to a check that failed.
#[derive(Debug)]
pub(crate) struct Misuse(String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// For verbs that take none: an argument silently ignored would look like one obeyed.
pub(crate) fn no_arguments(args: &[String]) -> anyhow::Result<()> {
    match args {
        [] => Ok(()),
        [first, ..] => Err(Misuse(format!("it takes no arguments, but got `{first}`")).into()),
    }
}

/// `program` in the root of the workspace, free of what `cargo run` set for this process.
///
/// Build scripts (ring's among them) watch the `CARGO_MANIFEST_*` and `CARGO_PKG_*` variables, so a build
/// started from here with ours would rebuild half the tree, and the next one from a shell again.
pub(crate) fn program(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    #[expect(clippy::disallowed_methods, reason = "only to hand them on cleaned")]
    for (name, _) in std::env::vars_os() {
        let ours = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_"];
        if name.to_str().is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

/// `cargo` with `args`, words separated by spaces.
pub(crate) fn cargo(args: &str) -> Command {
    let mut command = program("cargo");
    command.args(args.split_whitespace());
    command
}

/// Runs `command` to its end, its output passing through, which stays alone on standard output.
///
/// # Errors
///
/// When it cannot be started or does not exit with 0; the text names the command.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    eprintln!("    {}", words(command));
    let status = command.status().with_context(|| format!("`{}` did not start", words(command)))?;
    if !status.success() {
        bail!("`{}`: {status}", words(command));
    }
    Ok(())
}

/// Whether `command` starts and exits with 0, its output swallowed.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// What `command` wrote to standard output.
///
/// # Errors
///
/// When it cannot be started or does not exit with 0.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("`{}` did not start", words(command)))?;
    if !output.status.success() {
        bail!("`{}`: {}", words(command), output.status);
    }
    Ok(output.stdout)
}

/// Runs `command` with its output swallowed; `None` when it was still busy after `limit` and was killed.
///
/// # Errors
///
/// When it cannot be started or waited for.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> io::Result<Option<ExitStatus>> {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = silent.spawn()?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        #[expect(clippy::disallowed_methods, reason = "std offers no wait for a child with a limit")]
        thread::sleep(Duration::from_millis(50));
    }
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
