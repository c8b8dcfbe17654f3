//! The checks, each one command line or two.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;

use crate::command::{cargo, no_arguments, run, run_within};

/// How long a fetch of the advisory database may take. It is some 20 MB; a network that drops packets
/// instead of refusing would otherwise hold everything up.
const FETCH_LIMIT: Duration = Duration::from_mins(2);

pub(crate) fn fmt(args: &[String]) -> anyhow::Result<()> {
    no_arguments(args)?;
    run(&mut cargo("fmt --all --check"))
}

pub(crate) fn lint(args: &[String]) -> anyhow::Result<()> {
    no_arguments(args)?;
    run(&mut cargo("clippy --locked --workspace --all-targets -- -D warnings"))
}

pub(crate) fn doc(args: &[String]) -> anyhow::Result<()> {
    no_arguments(args)?;
    run(cargo("doc --locked --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
}

pub(crate) fn deny(args: &[String]) -> anyhow::Result<()> {
    no_arguments(args)?;
    run(&mut cargo("deny --locked check --hide-inclusion-graph bans licenses sources"))
}

/// Fails on a finding, but not on a database out of reach: that says nothing about this tree.
pub(crate) fn advisories(args: &[String]) -> anyhow::Result<()> {
    no_arguments(args)?;
    let fetched = run_within(FETCH_LIMIT, &mut cargo("deny --locked fetch db"))?;
    if fetched.is_some_and(|status| status.success()) {
        return run(&mut cargo("deny --locked check --hide-inclusion-graph advisories"));
    }
    println!("    NOT CHECKED: the advisory database could not be fetched (`cargo deny fetch db` says why)");
    Ok(())
}

pub(crate) fn unit(args: &[String]) -> anyhow::Result<()> {
    run(cargo("nextest run --locked --workspace").args(["-E", "not kind(test)"]).args(args))
}

pub(crate) fn integration(args: &[String]) -> anyhow::Result<()> {
    run(cargo("nextest run --locked --workspace").args(["-E", "kind(test)"]).args(args))
}

/// Apart, because nextest does not run them.
pub(crate) fn doctest(args: &[String]) -> anyhow::Result<()> {
    run(cargo("test --locked --workspace --doc").args(args))
}

/// Both halves of each ratio come from one run. Where no scenario is named, the broker by itself is measured too.
pub(crate) fn bench(args: &[String]) -> anyhow::Result<()> {
    run(&mut cargo("build --locked --release --package bellbuoy --package bellbuoy-bench"))?;
    if args.iter().all(|arg| arg == "--strict") {
        run(&mut cargo("run --locked --release --package bellbuoy-broker --example settle_rate"))?;
    }
    run(cargo("run --locked --release --package bellbuoy-bench -- run --binary")
        .arg(release_binary()?)
        .args(args))
}

// The release build stands beside the build that runs this.
fn release_binary() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).context("this program has no place in a target directory")?;
    Ok(target.join("release").join("bellbuoy"))
}
