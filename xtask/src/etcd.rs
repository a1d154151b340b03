//! etcd in our cache, for tests of the store on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::sid::Tool;

const ETCD: Tool =
    Tool { suite: "sid", name: "etcd", version: "3.5", packages: &["etcd-server"], program: "usr/bin/etcd", release };

/// Where the cached program is, or would be.
pub(crate) fn path() -> Result<PathBuf> {
    ETCD.path()
}

/// Fetches it unless it is there.
pub(crate) fn ensure() -> Result<PathBuf> {
    ETCD.ensure()
}

fn release(etcd: &Path) -> Result<String> {
    let told = process::output(Command::new(etcd).arg("--version"))?;
    let version = told.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version.context("reading etcd's version")?.trim().to_owned())
}
