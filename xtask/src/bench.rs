//! `bench`: runs `holdfast-bench`, once for each benchmark asked for; its figures are its own.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{cli, compile, etcd};

/// All that there are.
const BENCHES: [&str; 4] = ["skeleton", "link", "api", "node"];

pub(crate) fn bench(args: &cli::Bench) -> Result<ExitCode> {
    let bin_dir = compile::binaries("dev")?;
    for name in args.name.as_deref().map_or(BENCHES.to_vec(), |name| vec![name]) {
        let mut bench = Command::new(bin_dir.join("holdfast-bench"));
        bench.arg(name).args(&args.rest).env("HOLDFAST_BIN_DIR", &bin_dir);
        match name {
            "api" => bench.env("ETCD", etcd::ensure()?),
            "node" => bench.env("HOLDFAST_IMAGES", compile::images(&bin_dir)?),
            _ => &mut bench,
        };
        let status = bench.status().context("running holdfast-bench")?;
        if !status.success() {
            return Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)));
        }
    }
    Ok(ExitCode::SUCCESS)
}
