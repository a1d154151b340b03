//! `fuzz`: builds and runs the fuzz targets. Its words are its own.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::compile::cargo;
use crate::{cli, place, process};

pub(crate) fn fuzz(args: &cli::Passed) -> Result<ExitCode> {
    process::show(cargo().args(["build", "--bins", "-p", "holdfast-unify", "-p", "holdfast-fuzz"]))?;
    let mut fuzz = Command::new(place::bin_dir("dev").join("holdfast-fuzz"));
    let status = fuzz.args(&args.rest).status().context("running holdfast-fuzz")?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}
