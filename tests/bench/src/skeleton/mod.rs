//! `skeleton`: the hub's start, memory and durable writes; the agent's memory and wake-ups without pods.
//!
//! Everything runs in mount, network and process namespaces made for it, on loopback: see `namespace`.

mod agent;
mod creates;
mod disk;
mod pace;
mod start;

use crate::figure::line;
use crate::namespace::Place;
use crate::{machine, memory, namespace, services};
use anyhow::Result;
use pace::Pace;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The whole run takes about two minutes; the agent's quiet is one of them.
const LIMIT: Duration = Duration::from_secs(240);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if arguments.place.inside {
        return inside(arguments, &runtime);
    }
    let end = |dir: &Path| services::remove_cgroup(&services::cgroup(dir));
    namespace::run(&runtime, &["skeleton"], &arguments.place, LIMIT, end)
}

fn inside(arguments: &Arguments, runtime: &Runtime) -> Result<()> {
    namespace::furnish()?;
    namespace::system("ip", &["address", "add", &format!("{}/32", services::NODE_IP), "dev", "lo"])?;
    let (bin_dir, dir) = (&*arguments.place.bin_dir, &*arguments.place.dir);
    let pace = if arguments.place.quick { Pace::QUICK } else { Pace::FULL };
    line(&machine::facts(dir, bin_dir)?);

    // The first hub serves the agent; it stays idle while a second one takes the writes and the agent comes to rest.
    let mut first = start::on_empty_stores(runtime, bin_dir, dir, pace.starts)?;
    memory::print("hub, idle, empty store", &first.process.settled_pss(pace.settle)?);
    let mut agent = services::start(runtime, bin_dir, dir, &mut first)?;
    creates::measure(runtime, bin_dir, dir, &pace)?;
    agent::measure(&mut agent, dir, &pace)?;
    services::stop(agent)?;
    creates::fill(runtime, &first, pace.objects)?;
    start::on_a_filled_store(runtime, bin_dir, first, &pace)
}
