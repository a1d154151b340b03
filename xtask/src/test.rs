//! `test`: the checks and tests by name. Without a name: all that CI runs, first what fails fastest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use crate::cli::{self, Suite};
use crate::compile::{self, cargo};
use crate::{clients, containerd, deps, docker_registry, etcd, kubectl, place, process, sim, tidy};

/// Names the folder of upstream's texts.
const REFERENCE: &str = "HOLDFAST_K8S_REFERENCE";
/// Where it lies beside the clone.
const SHARED: &str = "shared/kubernetes-1.36";

pub(crate) fn test(args: &cli::Test) -> Result<()> {
    match args.what {
        Some(suite) => prepare().and_then(|()| timed(suite, &args.rest)),
        None => ci(&args.rest),
    }
}

/// Installs what is missing.
fn prepare() -> Result<()> {
    deps::ensure()?;
    etcd::ensure()?;
    docker_registry::ensure()?;
    Ok(())
}

/// What CI runs. `Unit` holds every crate's unit and integration tests, so the narrower suites are not named here; clippy is the
/// compiler of them all. Tests of real processes mostly wait: the simulator computes meanwhile, and a failure of the one does
/// not hide what the other finds.
fn ci(rest: &[String]) -> Result<()> {
    compile::lint_what_is_built()?;
    // Packages come over the network meanwhile; the first checks need nothing but cargo.
    std::thread::scope(|scope| {
        let prepared = scope.spawn(prepare);
        let checked = [Suite::Fmt, Suite::Tidy, Suite::Deny].into_iter().try_for_each(|suite| timed(suite, rest));
        checked.and(prepared.join().unwrap_or_else(|_| Err(anyhow!("the thread that installs panicked"))))
    })?;
    eprintln!("== build");
    process::show(cargo().args(["test", "--workspace", "--no-run"]))?;
    std::thread::scope(|scope| {
        let sim = scope.spawn(|| timed(Suite::Sim, rest));
        let real = [Suite::Unit, Suite::E2e].into_iter().try_for_each(|suite| timed(suite, rest));
        if let Err(err) = &real {
            eprintln!("failed: {err:#}; waiting for what the simulator says");
        }
        let simulated = sim.join().unwrap_or_else(|_| Err(anyhow!("the simulator's thread panicked")));
        real.and(simulated)
    })
}

fn timed(suite: Suite, rest: &[String]) -> Result<()> {
    let name = format!("{suite:?}").to_lowercase();
    eprintln!("== {name}");
    let began = Instant::now();
    run(suite, rest).with_context(|| format!("test {name}"))?;
    eprintln!("== {name}: passed in {:.0} s", began.elapsed().as_secs_f32());
    Ok(())
}

fn run(suite: Suite, rest: &[String]) -> Result<()> {
    // What pods may count on, of the cases on a real cluster.
    let contract = ["contract_".to_owned()];
    match suite {
        Suite::Fmt => fmt(),
        Suite::Tidy => tidy::tidy(),
        Suite::Clippy => {
            process::show(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
        }
        Suite::Deny => {
            let mut deny = Command::new(deps::cargo_deny()?);
            deny.current_dir(place::root()).args(["--workspace", "check", "bans", "licenses", "sources"]);
            process::show(&mut deny)
        }
        Suite::Unit => {
            process::show(tested()?.args(["test", "--workspace"]).arg("--").args(rest))?;
            guests()
        }
        Suite::Api => {
            // The names of Kubernetes' conformance tests are counted there.
            tidy::tidy()?;
            const ROOMS: [&str; 7] = [
                "api",
                "storage/store",
                "storage/fjall",
                "storage/etcd",
                "hub",
                "controllers/controllers",
                "tests/fuzz",
            ];
            crates(&ROOMS, rest)?;
            // Whoever looks for one test waits for no Helm.
            if rest.is_empty() { others_clients(rest) } else { Ok(()) }
        }
        Suite::Clients => others_clients(rest),
        Suite::Node => {
            crates(&["edge-node", "storage/edge", "storage/edge-views", "runtimes"], rest)?;
            cluster("e2e", if rest.is_empty() { &contract } else { rest })
        }
        Suite::Containerd2 => containerd2(rest),
        Suite::Wasm => crates(&["runtimes/wasm", "runtimes/wasm-engine", "runtimes/wasm-host", "edge-node/wasm"], rest),
        Suite::Net => crates(&["netmesh", "hub/links"], rest),
        Suite::Control => crates(&["controllers"], rest),
        Suite::E2e => cluster("e2e", rest),
        Suite::Traffic => cluster("traffic", rest),
        Suite::Offline => cluster("offline", rest),
        Suite::Sim => sim::ci(),
    }
}

/// The workspace and each guest, which is a workspace of its own.
fn fmt() -> Result<()> {
    process::show(cargo().args(["fmt", "--all", "--check"]))?;
    for guest in guest_folders()? {
        process::show(cargo().current_dir(guest).args(["fmt", "--check"]))?;
    }
    Ok(())
}

/// The tests inside guest programs that run on this machine.
fn guests() -> Result<()> {
    let mut test = compile::foreign_cargo();
    test.current_dir(place::root().join("tests/fixtures/guests/agnhost"));
    process::show(test.args(["test", "--quiet", "--locked", "--target-dir"]).arg(place::target().join("guests")))
}

fn guest_folders() -> Result<Vec<PathBuf>> {
    let folder = place::root().join("tests/fixtures/guests");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok(entries.flatten().map(|e| e.path()).filter(|p| p.join("Cargo.toml").is_file()).collect())
}

/// Cargo, with what tests would skip without: kubectl 1.36, etcd, a registry of images, and upstream's own texts to compare with.
fn tested() -> Result<Command> {
    let mut cargo = cargo();
    cargo.env("KUBECTL", kubectl::path()?).env("ETCD", etcd::path()?).env("DOCKER_REGISTRY", docker_registry::path()?);
    // Tests that are not optimised (see `rustc`) have frames several times as large.
    cargo.env("RUST_MIN_STACK", (8 << 20).to_string());
    match reference() {
        Some(folder) => {
            cargo.env(REFERENCE, folder);
        }
        None => eprintln!(
            "== note: {REFERENCE} is not set and there is no ../{SHARED}: comparisons with upstream Kubernetes are SKIPPED"
        ),
    }
    Ok(cargo)
}

/// Files of Kubernetes 1.36 that are not in this repository: where the environment says, else beside the clone.
pub(crate) fn reference() -> Option<PathBuf> {
    let named = std::env::var_os(REFERENCE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    named.or_else(|| place::root().parent().map(|beside| beside.join(SHARED)).filter(|folder| folder.is_dir()))
}

/// Clients that others wrote, and an older kubectl, against the hub's program.
fn others_clients(rest: &[String]) -> Result<()> {
    let mut test = tested()?;
    test.env("HELM", clients::helm()?).env("PYTHON", clients::python()?).env("KUBE_CLIENT", clients::kube()?);
    const HUB: [&str; 8] = ["test", "-p", "holdfast-unify", "-p", "holdfast-hub", "--test", "it", "--"];
    process::show(test.args(HUB).arg("clients::").args(rest))?;
    let mut older = tested()?;
    process::show(older.env("KUBECTL", kubectl::older()?).args(HUB).args(["kubectl::", "verbs::"]).args(rest))
}

/// The runtime's tests on containerd 2 instead of the system's.
fn containerd2(rest: &[String]) -> Result<()> {
    let mut test = tested()?;
    test.env("CONTAINERD", containerd::ensure()?);
    test.args(["test", "-p", "holdfast-unify", "-p", "holdfast-containerd", "--test", "it", "--"]).args(rest);
    process::show(&mut test)
}

/// The crates below some folders, with the features of the whole workspace so that nothing is built twice.
fn crates(folders: &[&str], rest: &[String]) -> Result<()> {
    let metadata = tidy::arrows::Metadata::read()?;
    let mut test = tested()?;
    test.args(["test", "-p", "holdfast-unify"]);
    let root = place::root();
    let inside = |at: &Path| folders.iter().any(|f| at.starts_with(root.join(f)));
    metadata.members().filter(|m| inside(&m.folder)).for_each(|m| {
        test.args(["-p", &m.name]);
    });
    process::show(test.arg("--").args(rest))
}

/// A suite on a real cluster with real kubectl. It needs root, and says so instead of skipping.
fn cluster(suite: &str, rest: &[String]) -> Result<()> {
    deps::need_root(&format!("test {suite}"))?;
    // Before, so that the time that `up` takes there is that of a built tree.
    compile::images(&compile::binaries("dev")?)?;
    let mut test = cargo();
    test.args(["test", "--workspace", "--test", suite, "--"]).args(rest);
    process::show(test.env("HOLDFAST_E2E", "1"))
}
