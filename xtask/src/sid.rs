//! Programs that Debian 12 lacks or has in another version: single packages of later suites, unpacked into our cache. They come through
//! an apt configuration of its own, so that neither the system's sources nor its packages change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{place, process};

const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// A program of another suite of Debian.
pub(crate) struct Tool {
    /// Debian's suite that has it.
    pub(crate) suite: &'static str,
    /// What people call it.
    pub(crate) name: &'static str,
    /// The release that we want; the folder in the cache is named by it.
    pub(crate) version: &'static str,
    /// The package that holds it, and others that did.
    pub(crate) packages: &'static [&'static str],
    /// Where it lies in the package.
    pub(crate) program: &'static str,
    /// What the program that was fetched says of its release.
    pub(crate) release: fn(&Path) -> Result<String>,
}

impl Tool {
    /// Where it is in the cache, or would be.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        Ok(place::tools()?.join(format!("{}-{}", self.name, self.version)).join(self.program))
    }

    /// Fetches it unless it is there.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        let path = self.path()?;
        if path.is_file() {
            return Ok(path);
        }
        let (name, version, suite) = (self.name, self.version, self.suite);
        let tools = place::tools()?;
        // Of our own process: two clusters may start at once on a new machine.
        let apt = tools.join(format!("apt-{suite}.part{}", std::process::id()));
        eprintln!("fetching {name} {version} from Debian {suite} into {}", tools.display());
        for folder in ["lists/partial", "cache/archives/partial", "download"] {
            fs::create_dir_all(apt.join(folder)).with_context(|| format!("creating {}", apt.join(folder).display()))?;
        }
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        fs::write(apt.join("sources.list"), format!("deb [signed-by={keyring}] {} {suite} main\n", mirror()))?;
        // An empty status file: what is installed on this system has no say in which version is fetched.
        fs::write(apt.join("status"), "")?;
        process::output(apt_get(&apt).args(["-q", "update"]))
            .with_context(|| format!("reading the package lists of Debian {suite}"))?;

        let unpacked = tools.join(format!("{name}-{version}.part{}", std::process::id()));
        let _ = fs::remove_dir_all(&unpacked);
        for package in self.packages {
            let fetched = apt.join("download").join(package);
            let _ = fs::remove_dir_all(&fetched);
            fs::create_dir_all(&fetched)?;
            if process::output(apt_get(&apt).current_dir(&fetched).args(["-q", "download", package])).is_err() {
                continue;
            }
            for deb in fs::read_dir(&fetched)?.flatten() {
                process::output(Command::new("dpkg-deb").arg("-x").arg(deb.path()).arg(&unpacked))?;
            }
            if unpacked.join(self.program).is_file() {
                let found = (self.release)(&unpacked.join(self.program))?;
                if !found.starts_with(&format!("{version}.")) {
                    eprintln!("note: Debian {suite} has {name} {found}, not {version}; using it");
                }
                let home = tools.join(format!("{name}-{version}"));
                let moved = fs::rename(&unpacked, &home);
                let _ = fs::remove_dir_all(&apt);
                let _ = fs::remove_dir_all(&unpacked);
                // The other cluster's start may have been quicker.
                if !path.is_file() {
                    moved.with_context(|| format!("moving {name} to {}", home.display()))?;
                }
                return Ok(path);
            }
        }
        bail!("Debian {suite} has no {name} in {:?}; put one at {}", self.packages, path.display())
    }
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
