//! `node`: what pods cost a node, beside containerd alone with the same image and CNI plugin in the same run.
//!
//! Everything runs in mount, network and process namespaces made for it: see `namespace`. The node's folders lie on an ext4 of
//! their own, whose device counts what is written.

mod disk;
mod pods;
mod rest;
mod without;

use crate::figure::line;
use crate::namespace::Place;
use crate::{hub, machine, namespace, services};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(540);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Folder with agnhost.tar
    #[arg(long, env = "HOLDFAST_IMAGES")]
    images: PathBuf,
}

/// Counts and times of one run.
struct Pace {
    /// Pods that are started one after another, and containers beside them.
    starts: usize,
    /// Pods that stand together, fewest first.
    together: &'static [usize],
    /// How long the node has no work before it is looked at, and how long it is looked at.
    quiet: Duration,
    look: Duration,
}

impl Pace {
    const FULL: Pace =
        Pace { starts: 15, together: &[30, 100], quiet: Duration::from_secs(75), look: Duration::from_secs(60) };
    const QUICK: Pace = Pace { starts: 1, together: &[2], quiet: Duration::ZERO, look: Duration::from_secs(1) };
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if arguments.place.inside {
        return inside(arguments, &runtime);
    }
    let images = arguments.images.canonicalize().context("the folder of the images")?;
    let end = |dir: &Path| services::remove_cgroup(&services::cgroup(dir));
    let images = images.to_str().context("the folder of the images is no text")?;
    namespace::run(&runtime, &["node", "--images", images], &arguments.place, LIMIT, end)
}

fn inside(arguments: &Arguments, runtime: &tokio::runtime::Runtime) -> Result<()> {
    namespace::furnish()?;
    namespace::system("ip", &["address", "add", &format!("{}/32", services::NODE_IP), "dev", "lo"])?;
    let (bin_dir, place) = (&*arguments.place.bin_dir, &*arguments.place.dir);
    let pace = if arguments.place.quick { Pace::QUICK } else { Pace::FULL };
    let disk = disk::Disk::make(place)?;
    // Of the same name as the bench's own folder: the cgroup is named after it.
    let dir = disk.folder().join(place.file_name().context("a folder without a name")?);
    std::fs::create_dir(&dir)?;
    line(&machine::facts(&dir, bin_dir)?);

    let store = place.join("hub");
    std::fs::create_dir(&store)?;
    let mut hub = hub::start(runtime, bin_dir, &store)?;
    let mut node = services::start(runtime, bin_dir, &dir, &mut hub)?;
    let image = arguments.images.join("agnhost.tar");
    let mut import = Command::new(bin_dir.join("holdfast-edge"));
    output(import.args(["images", "import"]).arg(&image))?;

    let alone = without::Containerd::prepare(bin_dir, &dir, &image)?;
    let beside = alone.start(pace.starts)?;
    pods::one_after_another(runtime, &hub, pace.starts, &beside)?;
    let mut standing = 0;
    for count in pace.together {
        pods::add(runtime, &hub, standing, *count)?;
        rest::measure(&mut node, &disk, &dir, *count, &pace)?;
        rest::adopt(&mut node, *count)?;
        standing = *count;
    }
    services::stop(node)?;
    hub.process.stop()
}

/// Runs a program to its end; what it printed.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let out = command.output().with_context(|| format!("running {name}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    anyhow::ensure!(out.status.success(), "{name}: {} {said}", out.status);
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
