//! Set-up and checks as one list of verbs, the same at a desk and in CI.
//!
//! `cargo xtask test` runs every check below in its order and stops at the first that fails; each
//! is also a verb of its own. The exit code is 0 when all is well, 1 when a check failed and 2
//! when the command line made no sense.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a person at a terminal")]

mod checks;
mod command;
mod rabbitmq;
mod tools;
mod tree;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

/// One thing that can be asked for by name.
struct Verb {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

/// What `cargo xtask test` runs, cheapest first.
const CHECKS: &[Verb] = &[
    Verb { name: "tools", about: "install what the checks need and this machine lacks", run: tools::install },
    Verb { name: "fmt", about: "is everything formatted?", run: checks::fmt },
    Verb {
        name: "deny",
        about: "dependencies: bans, arrows between crates, licences, sources",
        run: checks::deny,
    },
    Verb {
        name: "advisories",
        about: "dependencies: known vulnerabilities, where reachable",
        run: checks::advisories,
    },
    Verb { name: "lint", about: "clippy over every target, warnings denied", run: checks::lint },
    Verb { name: "doc", about: "API documentation, warnings denied", run: checks::doc },
    Verb { name: "unit", about: "tests inside the crates [NEXTEST ARGS]", run: checks::unit },
    Verb {
        name: "integration",
        about: "tests in tests/, over real processes [NEXTEST ARGS]",
        run: checks::integration,
    },
    Verb {
        name: "rabbitmq4",
        about: "broker, fleet and a storm on RabbitMQ 4, where it can be had [RELEASE of Debian] [NEXTEST ARGS]",
        run: rabbitmq::rabbitmq4,
    },
    Verb { name: "doctest", about: "examples in the documentation [TEST ARGS]", run: checks::doctest },
];

const COMMANDS: &[Verb] = &[
    Verb { name: "test", about: "all of the above, then: did they leave the git tree alone?", run: test },
    Verb {
        name: "bench",
        about: "measure a release build beside the bare limits [SCENARIO...] [--on embedded|fleet] [--strict] [--help]",
        run: checks::bench,
    },
    Verb { name: "help", about: "this list", run: help },
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "help".into());
    let Some(verb) = CHECKS.iter().chain(COMMANDS).find(|verb| verb.name == name) else {
        eprintln!("there is no `{name}`; `cargo xtask help` lists what there is");
        return ExitCode::from(2);
    };
    match (verb.run)(&args.collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{name}: {error:#}");
            error.downcast_ref::<command::Misuse>().map_or(ExitCode::FAILURE, |_| ExitCode::from(2))
        }
    }
}

fn test(args: &[String]) -> anyhow::Result<()> {
    command::no_arguments(args)?;
    let before = tree::state()?;
    let began = Instant::now();
    for check in CHECKS {
        timed(check).with_context(|| format!("{} (alone: `cargo xtask {}`)", check.name, check.name))?;
    }
    if tree::state()? != before {
        bail!("a check changed the git tree, see `git status`: does a test write there?");
    }
    println!("\nall checks passed in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn timed(check: &Verb) -> anyhow::Result<()> {
    println!("\n==> {}: {}", check.name, check.about);
    let began = Instant::now();
    (check.run)(&[])?;
    println!("<== {}: {:.1} s", check.name, began.elapsed().as_secs_f64());
    Ok(())
}

fn help(args: &[String]) -> anyhow::Result<()> {
    command::no_arguments(args)?;
    println!("cargo xtask VERB [ARGS]\n");
    for verb in CHECKS.iter().chain(COMMANDS) {
        println!("  {:<12} {}", verb.name, verb.about);
    }
    Ok(())
}
