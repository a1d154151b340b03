//! `sim`: builds and runs the simulator. Its words are its own, but for `--mutation` and `--mutations`, which need another
//! build.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::compile::cargo;
use crate::{cli, place, process};

/// Seeds that CI runs, each twice.
const CI_SEEDS: &str = "1000";
/// The same for sites.
const CI_SITE_SEEDS: &str = "300";

pub(crate) fn sim(args: &cli::Passed) -> Result<ExitCode> {
    let mutated = args.rest.iter().any(|arg| arg.starts_with("--mutation"));
    build(mutated)?;
    let status = program().args(&args.rest).status().context("running holdfast-sim")?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}

/// What CI runs: plain seeds, each twice, and then that every mutation is caught.
pub(crate) fn ci() -> Result<()> {
    build(false)?;
    run(&["--seeds", CI_SEEDS, "--twice"])?;
    run(&["--site", "--seeds", CI_SITE_SEEDS, "--twice"])?;
    build(true)?;
    run(&["--mutations"])
}

fn build(mutated: bool) -> Result<()> {
    let mut build = cargo();
    // With the whole workspace's features, so that nothing but our own crates is built twice.
    build.args(["build", "--bins", "-p", "holdfast-unify", "-p", "holdfast-sim"]);
    if mutated {
        build.args(["--features", "holdfast-sim/mutations"]);
    }
    process::show(&mut build)
}

fn program() -> Command {
    Command::new(place::bin_dir("dev").join("holdfast-sim"))
}

fn run(args: &[&str]) -> Result<()> {
    let status = program().args(args).status().context("running holdfast-sim")?;
    if !status.success() {
        bail!("`holdfast-sim {}` failed ({status})", args.join(" "));
    }
    Ok(())
}
