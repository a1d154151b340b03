//! Where things are: the repository, build output, the cache outside the clone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The repository's root. `CARGO_MANIFEST_DIR` at run time wins, so that a cached binary works in another clone.
pub(crate) fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let mut at = manifest.as_path();
    while !at.join("xtask/Cargo.toml").is_file() {
        match at.parent() {
            Some(parent) => at = parent,
            None => return manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf),
        }
    }
    at.to_path_buf()
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the repository.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

/// Where `profile` puts its binaries.
pub(crate) fn bin_dir(profile: &str) -> PathBuf {
    target().join(if matches!(profile, "dev" | "test") { "debug" } else { profile })
}

/// `${XDG_CACHE_HOME:-~/.cache}/holdfast/tools`: survives the clone.
pub(crate) fn tools() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("holdfast/tools"))
}

/// The first executable file `name` on PATH, or where Debian puts system programs.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// An absolute path without a need for the file to exist.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} cannot be made absolute", path.display()))
}
