//! One build for everything: a second selection of packages would have other features and rebuild the tree.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;

use crate::{place, process, rustc};

/// What [`rustc::VARIABLES`] are set to, once builds are to be the lint as well.
static LINTING: OnceLock<[OsString; 2]> = OnceLock::new();

/// From here on whatever [`cargo`] builds is linted on the way, warnings denied, and tests are not optimised ([`rustc`]).
///
/// # Errors
/// When the program that cargo calls cannot be put in its place.
pub(crate) fn lint_what_is_built() -> Result<()> {
    let values = rustc::values()?;
    LINTING.get_or_init(|| values);
    Ok(())
}

/// Cargo for what is not of this workspace, and would not pass its lints.
pub(crate) fn foreign_cargo() -> Command {
    let mut cargo = cargo();
    rustc::VARIABLES.iter().for_each(|name| {
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
    cargo.envs(rustc::VARIABLES.into_iter().zip(LINTING.get().into_iter().flatten()));
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
