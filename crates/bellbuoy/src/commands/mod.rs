//! The commands for people. They talk to a running Bellbuoy as any client does.

pub(crate) mod publish;

/// Variables that belong to the command line, not to the settings.
pub(crate) const VARIABLES: &[&str] = &["BELLBUOY_CONFIG", "BELLBUOY_URL", "BELLBUOY_TOKEN"];

/// Prints a result.
#[expect(clippy::print_stdout, reason = "the result of a command")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Prints what went wrong.
#[expect(clippy::print_stderr, reason = "the failure of a command")]
pub(crate) fn complain(text: &str) {
    eprintln!("{text}");
}
