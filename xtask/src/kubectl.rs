//! kubectl 1.36 in our cache, and calls of it; 1.32 for the tests of older clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::process;
use crate::sid::Tool;

const KUBECTL: Tool = Tool {
    suite: "sid",
    name: "kubectl",
    version: "1.36",
    // Debian names the program's package so since 1.33; before, it lay in `kubernetes-client`.
    packages: &["kubectl", "kubernetes-client"],
    program: "usr/bin/kubectl",
    release,
};

const OLDER: Tool = Tool { suite: "trixie", version: "1.32", ..KUBECTL };

/// One that is older, fetched unless it is there.
pub(crate) fn older() -> Result<PathBuf> {
    OLDER.ensure()
}

/// Where the cached program is, or would be.
pub(crate) fn path() -> Result<PathBuf> {
    KUBECTL.path()
}

/// Fetches it unless it is there.
pub(crate) fn ensure() -> Result<PathBuf> {
    KUBECTL.ensure()
}

fn release(kubectl: &Path) -> Result<String> {
    let json = process::output(Command::new(kubectl).args(["version", "--client", "-o", "json"]))?;
    let version: Value = serde_json::from_str(&json).context("reading kubectl's version")?;
    Ok(version["clientVersion"]["gitVersion"].as_str().unwrap_or("none").trim_start_matches('v').to_owned())
}

/// kubectl as the cluster's admin. Its discovery cache lies in DIR: another cluster may have had the same port.
pub(crate) fn command(cluster: &Cluster) -> Command {
    let mut kubectl = Command::new(&cluster.kubectl);
    kubectl.arg("--kubeconfig").arg(&cluster.kubeconfig);
    kubectl.arg("--cache-dir").arg(cluster.dir.join("kubectl-cache"));
    kubectl.arg("--request-timeout=10s");
    kubectl
}

/// `kubectl get … -o json`, read.
pub(crate) fn get(cluster: &Cluster, args: &[&str]) -> Result<Value> {
    let json = process::output(command(cluster).arg("get").args(args).args(["-o", "json"]))?;
    serde_json::from_str(&json).context("reading kubectl's JSON")
}
