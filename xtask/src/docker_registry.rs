//! A registry of images in our cache, for tests of pulling.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::sid::Tool;

const REGISTRY: Tool = Tool {
    suite: "sid",
    name: "docker-registry",
    version: "2.8",
    packages: &["docker-registry"],
    program: "usr/bin/docker-registry",
    release,
};

/// Where the cached program is, or would be.
pub(crate) fn path() -> Result<PathBuf> {
    REGISTRY.path()
}

/// Fetches it unless it is there.
pub(crate) fn ensure() -> Result<PathBuf> {
    REGISTRY.ensure()
}

fn release(registry: &Path) -> Result<String> {
    let told = process::output(Command::new(registry).arg("--version"))?;
    // program, module, version
    let version = told.split_whitespace().nth(2);
    Ok(version.context("reading the registry's version")?.trim_start_matches('v').to_owned())
}
