//! Clients that others wrote, in our cache: Helm, built by Go from its module, and Python's `kubernetes` in a virtual
//! environment of its own; and the program of ours that uses the crate kube. Tests find them by `HELM`, `PYTHON` and
//! `KUBE_CLIENT`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::compile::foreign_cargo;
use crate::{place, process};

const HELM: &str = "3.22.0";
const PYTHON_KUBERNETES: &str = "36.0.3";

/// Helm from the cache, built into it when it is not there (minutes).
pub(crate) fn helm() -> Result<PathBuf> {
    let home = place::tools()?.join(format!("helm-{HELM}"));
    let program = home.join("helm");
    if program.is_file() {
        return Ok(program);
    }
    if place::program("go").is_none() {
        bail!("Helm is built from its Go module, and there is no go; put a helm at {}", program.display());
    }
    eprintln!("building Helm {HELM} into {}", home.display());
    let mut install = Command::new("go");
    install.args(["install", &format!("helm.sh/helm/v3/cmd/helm@v{HELM}")]);
    // Without symbols: half the linking.
    install.env("GOBIN", &home).env("GOFLAGS", "-ldflags=-s").env("CGO_ENABLED", "0").current_dir("/");
    process::show(&mut install).context("building Helm")?;
    Ok(program)
}

/// The program that uses kube, built from `tests/fixtures/clients/kube` (minutes, the first time).
pub(crate) fn kube() -> Result<PathBuf> {
    let target = place::target().join("clients");
    let mut build = foreign_cargo();
    build.current_dir(place::root().join("tests/fixtures/clients/kube"));
    build.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target);
    process::show(&mut build)?;
    Ok(target.join("debug/kube-client"))
}

/// A Python that has the client, made in the cache when it is not there.
pub(crate) fn python() -> Result<PathBuf> {
    let home = place::tools()?.join(format!("python-kubernetes-{PYTHON_KUBERNETES}"));
    let (program, done) = (home.join("bin/python"), home.join("complete"));
    if done.is_file() {
        return Ok(program);
    }
    if place::program("python3").is_none() {
        bail!("there is no python3; with apt, install python3 and python3-venv");
    }
    eprintln!("installing Python's kubernetes {PYTHON_KUBERNETES} into {}", home.display());
    process::show(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))
        .context("making a virtual environment (Debian's python3 needs the package python3-venv)")?;
    let client = format!("kubernetes=={PYTHON_KUBERNETES}");
    process::show(Command::new(home.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &client,
    ]))
    .context("installing Python's client")?;
    std::fs::write(&done, "").with_context(|| format!("writing {}", done.display()))?;
    Ok(program)
}
