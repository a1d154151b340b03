//! What cargo calls in rustc's place for our own crates while CI builds ([`crate::compile::lint_what_is_built`]).
//!
//! It is this program under another name. It has clippy's driver compile, which makes the same code as rustc: so the build is the
//! lint as well, where `cargo clippy` beside it compiles all dependencies once more. And it optimises no crate whose product is a
//! program of tests: such a crate (a library with its tests in it, or a folder of tests) is built for one run of seconds, and
//! optimising it takes more than half of its compiling. What it calls, our own libraries included, is optimised as ever. Cargo's
//! profiles cannot say that: they know packages, not what is made of them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::place;

/// The name by which it knows that cargo calls it.
const NAME: &str = "holdfast-rustc";
/// The variables that tell cargo to call it.
pub(crate) const VARIABLES: [&str; 2] = ["RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS"];
/// As `cargo clippy` gives its words to the driver: all warnings denied.
const CLIPPY_ARGS: &str = "-Dwarnings__CLIPPY_HACKERY__";

/// Whether this process was started in rustc's place.
pub(crate) fn called() -> bool {
    std::env::args_os().next().is_some_and(|own| Path::new(&own).file_name() == Some(NAME.as_ref()))
}

/// Compiles; returns only when that cannot be started.
pub(crate) fn run() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let err = Command::new("clippy-driver").args(without_optimising_tests(args)).exec();
    eprintln!("{NAME}: running clippy-driver: {err}");
    ExitCode::FAILURE
}

fn without_optimising_tests(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.iter().any(|arg| arg == "--test") {
        args.iter_mut().filter(|arg| *arg == "opt-level=1").for_each(|arg| *arg = "opt-level=0".into());
    }
    args
}

/// Puts this program where cargo finds it under that name, and returns the values of [`VARIABLES`]. The place is the same for all
/// clones: it is a part of the name of what cargo makes.
pub(crate) fn values() -> Result<[OsString; 2]> {
    let program = place::tools()?.join(NAME);
    install(&program).with_context(|| format!("writing {}", program.display()))?;
    Ok([program.into(), CLIPPY_ARGS.into()])
}

fn install(program: &Path) -> Result<()> {
    let own = std::env::current_exe()?;
    if let Some(folder) = program.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Another build may be calling it.
    let beside = program.with_extension(std::process::id().to_string());
    std::fs::copy(own, &beside)?;
    Ok(std::fs::rename(beside, program)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_tests_alone_are_not_optimised() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let library = "rustc --crate-name a -C opt-level=1 --crate-type lib";
        assert_eq!(without_optimising_tests(words(library)), words(library));
        assert_eq!(
            without_optimising_tests(words("rustc --crate-name a -C opt-level=1 -C lto=off --test")),
            words("rustc --crate-name a -C opt-level=0 -C lto=off --test")
        );
    }
}
