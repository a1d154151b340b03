//! `bench`: runs `holdfast-bench`; its figures are its own.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{cli, compile, kubectl};

pub(crate) fn bench(args: &cli::Bench) -> Result<ExitCode> {
    let bin_dir = compile::binaries("dev")?;
    let mut bench = Command::new(bin_dir.join("holdfast-bench"));
    bench.args(args.name.as_deref()).args(&args.rest);
    bench.env("HOLDFAST_BIN_DIR", &bin_dir).env("HOLDFAST_KUBECTL", kubectl::path()?);
    let status = bench.status().context("running holdfast-bench")?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}
