//! `api`: the API server under load, beside etcd driven directly with the same bytes in the same run: creates at 1 to 256
//! writers, GETs, LISTs of 10,000 pods, watches that fan out, and memory. The bench's own work is on the same CPUs, and so
//! is etcd's client's.

mod etcd;
mod fanout;
mod load;
mod reads;
mod writes;

use crate::figure::line;
use crate::hub::Hub;
use crate::namespace::Place;
use crate::{hub, machine, memory, namespace};
use anyhow::Result;
use etcd::Etcd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The whole run takes about five minutes.
const LIMIT: Duration = Duration::from_secs(1200);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The program of etcd, the baseline; without it the figures have none
    #[arg(long, env = "ETCD")]
    etcd: Option<PathBuf>,
    /// Pods of the largest store
    #[arg(long, default_value_t = 100_000)]
    pods: usize,
}

/// Counts and times of one run.
struct Pace {
    writers: &'static [usize],
    /// How long each row of creates, and of GETs, runs.
    row: Duration,
    /// Pods of the LISTs.
    listed: usize,
    /// Pods of the largest store.
    most: usize,
    /// LISTs that a median stands on.
    lists: usize,
    watchers: &'static [usize],
    /// Changes that each watcher sees.
    changes: usize,
    /// How long memory may take to come to rest; then it is taken as it is.
    settle: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if arguments.place.inside {
        return inside(arguments, &runtime);
    }
    let pods = arguments.pods.to_string();
    let etcd = arguments.etcd.as_ref().map(|path| path.canonicalize()).transpose()?;
    let etcd = etcd.map(|path| path.to_string_lossy().into_owned());
    let mut bench = vec!["api", "--pods", &pods];
    bench.extend(etcd.iter().flat_map(|path| ["--etcd", path]));
    namespace::run(&runtime, &bench, &arguments.place, LIMIT, |_| {})
}

fn inside(arguments: &Arguments, runtime: &Runtime) -> Result<()> {
    namespace::furnish()?;
    line(&machine::facts(&arguments.place.dir, &arguments.place.bin_dir)?);
    let pace = if arguments.place.quick {
        Pace {
            writers: &[1, 8],
            row: Duration::from_millis(500),
            listed: 100,
            most: 200,
            lists: 2,
            watchers: &[5],
            changes: 5,
            settle: Duration::from_secs(2),
        }
    } else {
        Pace {
            writers: &[1, 16, 64, 256],
            row: Duration::from_secs(5),
            listed: 10_000.min(arguments.pods),
            most: arguments.pods,
            lists: 9,
            watchers: &[100, 1000],
            changes: 50,
            settle: Duration::from_secs(8),
        }
    };
    let etcd =
        arguments.etcd.as_ref().map(|program| Etcd::start(runtime, program, &arguments.place.dir)).transpose()?;
    if etcd.is_none() {
        eprintln!("holdfast-bench: no etcd (ETCD or --etcd): the figures have no baseline");
    }
    let fresh = |name: &str| -> Result<Hub> {
        let data_dir = arguments.place.dir.join(name);
        std::fs::create_dir(&data_dir)?;
        hub::start(runtime, &arguments.place.bin_dir, &data_dir)
    };
    // Creates go to a store of their own: what the others measure depends on what is in theirs.
    let written = fresh("hub-writes")?;
    for writers in pace.writers {
        writes::measure(runtime, &written, etcd.as_ref(), *writers, pace.row)?;
    }
    reads::gets(runtime, &written, etcd.as_ref(), pace.row)?;
    written.process.stop()?;

    let listed = fresh("hub-lists")?;
    load::pods(runtime, &listed, 0..pace.listed)?;
    memory::print(&format!("hub with {} pods", pace.listed), &listed.process.settled_pss(pace.settle)?);
    reads::lists(runtime, &listed, etcd.as_ref(), &pace)?;
    for watchers in pace.watchers {
        fanout::measure(runtime, &listed, *watchers, pace.changes)?;
    }
    if pace.most > pace.listed {
        load::pods(runtime, &listed, pace.listed..pace.most)?;
        memory::print(&format!("hub with {} pods", pace.most), &listed.process.settled_pss(pace.settle)?);
    }
    listed.process.stop()?;
    etcd.map_or(Ok(()), Etcd::stop)
}
