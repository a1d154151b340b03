//! containerd 2 in our cache, to run the tests of the runtime on it beside Debian's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::sid::Tool;

const CONTAINERD: Tool = Tool {
    suite: "sid",
    name: "containerd",
    version: "2.1",
    packages: &["containerd"],
    program: "usr/bin/containerd",
    release,
};

/// Fetches it unless it is there. Its shim lies beside it; runc is the system's.
pub(crate) fn ensure() -> Result<PathBuf> {
    CONTAINERD.ensure()
}

fn release(containerd: &Path) -> Result<String> {
    let told = process::output(Command::new(containerd).arg("--version"))?;
    let version = told.split_whitespace().nth(2);
    Ok(version.context("reading containerd's version")?.to_owned())
}
