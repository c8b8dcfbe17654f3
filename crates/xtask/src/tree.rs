//! Whether the checks left the git tree as they found it.

use anyhow::Context;

use crate::command::{output, program, succeeds};

/// What git sees: every file that is new or gone, and every changed line against the last commit.
/// Empty outside a git checkout (an unpacked archive), where there is nothing to compare with.
///
/// # Errors
///
/// When git is there but refuses to answer.
pub(crate) fn state() -> anyhow::Result<Vec<u8>> {
    if !succeeds(program("git").args(["rev-parse", "--verify", "HEAD"])) {
        return Ok(Vec::new());
    }
    let mut state = output(program("git").args(["status", "--porcelain"])).context("asking git")?;
    state.extend(output(program("git").args(["diff", "--no-ext-diff", "HEAD"])).context("asking git")?);
    Ok(state)
}
