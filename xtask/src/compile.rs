//! One build for everything: a second selection of packages would have other features and rebuild the tree.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use crate::{place, process};

/// The variables by which `cargo clippy` has its driver compile the workspace's crates. The driver makes the same code as
/// rustc: with them a build is the lint as well, where `cargo clippy` beside it compiles all dependencies once more.
const LINTING: [(&str, &str); 2] =
    [("RUSTC_WORKSPACE_WRAPPER", "clippy-driver"), ("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__")];
static LINTS: AtomicBool = AtomicBool::new(false);

/// From here on whatever [`cargo`] builds is linted on the way, warnings denied.
pub(crate) fn lint_what_is_built() {
    LINTS.store(true, Ordering::Relaxed);
}

/// Cargo for what is not of this workspace, and would not pass its lints.
pub(crate) fn foreign_cargo() -> Command {
    let mut cargo = cargo();
    LINTING.iter().for_each(|(name, _)| {
        cargo.env_remove(name);
    });
    cargo
}

pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(place::root());
    // `cargo run` describes xtask's own package to us; build scripts (ring's) watch these variables, and would run
    // again each time that a build is started from here instead of from a shell.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    if LINTS.load(Ordering::Relaxed) {
        cargo.envs(LINTING);
    }
    cargo
}

/// Builds all binaries; returns their folder. The libraries are named as tests have them all: without, `id-arena` serves the host
/// alone, cargo gives it another name then, and makes all of wasmtime that stands on it once more.
pub(crate) fn binaries(profile: &str) -> Result<PathBuf> {
    process::show(cargo().args(["build", "--workspace", "--lib", "--bins", "--profile", profile]))?;
    Ok(place::bin_dir(profile))
}

/// Builds guests and images; returns the images' folder.
pub(crate) fn images(bin_dir: &std::path::Path) -> Result<PathBuf> {
    let out = place::target().join("images");
    let mut build = Command::new(bin_dir.join("holdfast-fixtures"));
    build.arg("build").arg("--target-dir").arg(place::target().join("guests")).arg("--out").arg(&out);
    process::output(&mut build)?;
    Ok(out)
}
