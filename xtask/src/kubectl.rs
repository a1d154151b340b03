//! kubectl 1.36 in our cache, and calls of it. It comes from Debian sid through an apt configuration of its own, so
//! that neither the system's sources nor its packages change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::{place, process};

const VERSION: &str = "1.36";
/// Debian names the program's package so since 1.33; before, it lay in `kubernetes-client`.
const PACKAGES: [&str; 2] = ["kubectl", "kubernetes-client"];
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// Where the cached program is, or would be.
pub(crate) fn path() -> Result<PathBuf> {
    Ok(place::tools()?.join(format!("kubectl-{VERSION}/usr/bin/kubectl")))
}

/// Fetches it unless it is there.
pub(crate) fn ensure() -> Result<PathBuf> {
    let path = path()?;
    if path.is_file() {
        return Ok(path);
    }
    let tools = place::tools()?;
    // Of our own process: two clusters may start at once on a new machine.
    let apt = tools.join(format!("apt-sid.part{}", std::process::id()));
    eprintln!("fetching kubectl {VERSION} from Debian sid into {}", tools.display());
    for folder in ["lists/partial", "cache/archives/partial", "download"] {
        fs::create_dir_all(apt.join(folder)).with_context(|| format!("creating {}", apt.join(folder).display()))?;
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    fs::write(apt.join("sources.list"), format!("deb [signed-by={keyring}] {} sid main\n", mirror()))?;
    // An empty status file: what is installed on this system has no say in which version is fetched.
    fs::write(apt.join("status"), "")?;
    process::output(apt_get(&apt).args(["-q", "update"])).context("reading Debian sid's package lists")?;

    let unpacked = tools.join(format!("kubectl-{VERSION}.part{}", std::process::id()));
    let _ = fs::remove_dir_all(&unpacked);
    for package in PACKAGES {
        let fetched = apt.join("download").join(package);
        let _ = fs::remove_dir_all(&fetched);
        fs::create_dir_all(&fetched)?;
        if process::output(apt_get(&apt).current_dir(&fetched).args(["-q", "download", package])).is_err() {
            continue;
        }
        for deb in fs::read_dir(&fetched)?.flatten() {
            process::output(Command::new("dpkg-deb").arg("-x").arg(deb.path()).arg(&unpacked))?;
        }
        if unpacked.join("usr/bin/kubectl").is_file() {
            check_version(&unpacked.join("usr/bin/kubectl"))?;
            let home = tools.join(format!("kubectl-{VERSION}"));
            let moved = fs::rename(&unpacked, &home);
            let _ = fs::remove_dir_all(&apt);
            let _ = fs::remove_dir_all(&unpacked);
            // The other cluster's start may have been quicker.
            if !path.is_file() {
                moved.with_context(|| format!("moving kubectl to {}", home.display()))?;
            }
            return Ok(path);
        }
    }
    bail!("Debian sid has no kubectl in {PACKAGES:?}; put one at {}", path.display())
}

fn apt_get(home: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    for (key, file) in [
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
    ] {
        apt.arg("-o").arg(format!("{key}={}", home.join(file).display()));
    }
    for option in
        ["Dir::Etc::sourceparts=-", "APT::Sandbox::User=root", "Acquire::Languages=none", "Acquire::Retries=3"]
    {
        apt.args(["-o", option]);
    }
    apt
}

/// The system's own mirror, so that a site with a proxy or mirror of its own needs no second setting.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|e| e.path()));
    let texts: Vec<String> = files.iter().filter_map(|f| fs::read_to_string(f).ok()).collect();
    texts.iter().find_map(|text| mirror_in(text)).unwrap_or_else(|| DEFAULT_MIRROR.to_owned())
}

/// The first Debian archive (not security, not a third party's) in a sources file of either format.
fn mirror_in(text: &str) -> Option<String> {
    let uncommented = text.lines().map(str::trim).filter(|l| !l.starts_with('#'));
    let mut words = uncommented.flat_map(str::split_whitespace).map(|w| w.trim_end_matches('/'));
    words.find(|w| w.contains("://") && w.ends_with("/debian")).map(str::to_owned)
}

fn check_version(kubectl: &Path) -> Result<()> {
    let json = process::output(Command::new(kubectl).args(["version", "--client", "-o", "json"]))?;
    let version: Value = serde_json::from_str(&json).context("reading kubectl's version")?;
    let found = version["clientVersion"]["gitVersion"].as_str().unwrap_or("none").to_owned();
    if !found.starts_with(&format!("v{VERSION}.")) {
        eprintln!("note: Debian sid has kubectl {found}, not {VERSION}; using it");
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_both_formats() {
        let deb822 = "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\nSuites: bookworm\n";
        assert_eq!(mirror_in(deb822).as_deref(), Some("http://mirror.example/debian"));
        let line =
            "deb https://security.example/debian-security x main\ndeb [arch=amd64] https://m.example/debian x main\n";
        assert_eq!(mirror_in(line).as_deref(), Some("https://m.example/debian"));
        assert_eq!(mirror_in("deb https://packages.example/apt x main"), None);
    }
}
