//! Installs what a fresh Debian 12 lacks: packages by apt, targets by rustup, tools into a cache outside the clone.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::compile::foreign_cargo;
use crate::{cli, docker_registry, etcd, kubectl, place, process};

/// Package and the file or program that shows that it is there (it may have come another way than by apt).
const PACKAGES: [(&str, &str); 10] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("crun", "crun"),
    ("runsc", "runsc"),
    ("nftables", "nft"),
    ("iproute2", "ip"),
    ("busybox-static", "busybox"),
    ("protobuf-compiler", "protoc"),
    ("libprotobuf-dev", "/usr/include/google/protobuf/empty.proto"),
    ("conntrack", "conntrack"),
];
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "wasm32-wasip2"];
const CARGO_DENY: &str = "0.20.2";

pub(crate) fn deps(args: &cli::Deps) -> Result<()> {
    if args.check {
        let missing: Vec<&str> = missing_packages().into_iter().chain(missing_targets()?).collect();
        if !missing.is_empty() {
            bail!("missing: {}; `cargo xtask deps` installs them", missing.join(" "));
        }
        println!("nothing is missing");
        return Ok(());
    }
    println!("{}", ensure()?.display());
    etcd::ensure()?;
    docker_registry::ensure()?;
    Ok(())
}

/// Installs what is missing for `up`; returns kubectl's path.
pub(crate) fn ensure() -> Result<PathBuf> {
    packages()?;
    targets()?;
    kubectl::ensure()
}

pub(crate) fn need_root(what: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{what} needs root: it makes namespaces, bridges and cgroups; run it as root (sudo -E cargo xtask …)");
    }
    Ok(())
}

fn missing_packages() -> Vec<&'static str> {
    let there = |probe: &str| match probe.strip_prefix('/') {
        Some(_) => std::path::Path::new(probe).exists(),
        None => place::program(probe).is_some(),
    };
    PACKAGES.iter().filter(|(_, probe)| !there(probe)).map(|(package, _)| *package).collect()
}

fn packages() -> Result<()> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    need_root(&format!("installing {}", missing.join(" ")))?;
    if place::program("apt-get").is_none() {
        bail!("this is no Debian (no apt-get); install these yourself: {}", missing.join(" "));
    }
    eprintln!("installing packages: {}", missing.join(" "));
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
        apt
    };
    // A third party's dead source must not stop us: what is needed comes from Debian's own.
    if let Err(err) = process::output(apt().arg("update")) {
        eprintln!("note: {err:#}");
    }
    process::output(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))
        .with_context(|| format!("installing {}", missing.join(" ")))?;
    match missing_packages() {
        still if still.is_empty() => Ok(()),
        still => bail!("apt installed them, but these are still not found: {}", still.join(" ")),
    }
}

fn missing_targets() -> Result<Vec<&'static str>> {
    let installed = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let libs = PathBuf::from(installed.trim()).join("lib/rustlib");
    Ok(TARGETS.into_iter().filter(|t| !libs.join(t).join("lib").is_dir()).collect())
}

fn targets() -> Result<()> {
    let missing = missing_targets()?;
    if missing.is_empty() {
        return Ok(());
    }
    if place::program("rustup").is_none() {
        bail!("rustc lacks the targets {}, and there is no rustup to add them", missing.join(" "));
    }
    eprintln!("installing Rust targets: {}", missing.join(" "));
    process::output(Command::new("rustup").args(["target", "add"]).args(&missing))?;
    Ok(())
}

/// cargo-deny from the cache, built into it when it is not there (minutes).
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let tools = place::tools()?;
    let program = tools.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("building cargo-deny {CARGO_DENY} into {}", tools.display());
    let mut install = foreign_cargo();
    // It runs for seconds: quick to build is worth more than quick to run.
    install.args(["install", "--debug", "--locked", "--version", CARGO_DENY, "cargo-deny", "--root"]).arg(&tools);
    install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Outside the repository: our `.cargo/config.toml` and target folder are not meant for it.
    install.current_dir("/").env_remove("CARGO_TARGET_DIR");
    process::show(&mut install)?;
    Ok(program)
}
