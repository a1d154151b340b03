//! `sim`: builds and runs the simulator. Its words are its own, but for `--mutation` and `--mutations`, which need another
//! build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::compile::cargo;
use crate::{cli, place, process};

/// Seeds that CI runs, each twice.
const CI_SEEDS: &str = "1000";
/// The same for sites.
const CI_SITE_SEEDS: &str = "300";

pub(crate) fn sim(args: &cli::Passed) -> Result<ExitCode> {
    let mutated = args.rest.iter().any(|arg| arg.starts_with("--mutation"));
    let status = Command::new(build(mutated)?).args(&args.rest).status().context("running holdfast-sim")?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}

/// What CI runs: plain seeds, each twice, and then that every mutation is caught. It takes what others leave of the processors,
/// so that it can run beside tests that wait more than they compute.
pub(crate) fn ci() -> Result<()> {
    let plain = build(false)?;
    patient(&plain, &["--seeds", CI_SEEDS, "--twice"])?;
    patient(&plain, &["--site", "--seeds", CI_SITE_SEEDS, "--twice"])?;
    patient(&build(true)?, &["--mutations"])
}

/// Builds the simulator; returns the program, under a name that the other build does not overwrite.
fn build(mutated: bool) -> Result<PathBuf> {
    let mut build = cargo();
    // With the whole workspace's features, so that nothing but our own crates is built twice.
    build.args(["build", "--bins", "-p", "holdfast-unify", "-p", "holdfast-sim"]);
    if mutated {
        build.args(["--features", "holdfast-sim/mutations"]);
    }
    process::show(&mut build)?;
    let folder = place::bin_dir("dev");
    let program = folder.join(if mutated { "sim-mutated" } else { "sim-plain" });
    let beside = program.with_extension("new");
    fs::copy(folder.join("holdfast-sim"), &beside).with_context(|| format!("copying to {}", beside.display()))?;
    fs::rename(&beside, &program).with_context(|| format!("renaming to {}", program.display()))?;
    Ok(program)
}

fn patient(program: &Path, args: &[&str]) -> Result<()> {
    process::show(Command::new("nice").args(["-n", "19"]).arg(program).args(args))
}
