//! `link`: 100,000 sessions through the hub's engine in this process, and 1,000 real QUIC connections to a hub, which
//! come back after it was killed, while its API is asked.

mod connections;
mod engine;
mod node;

use crate::figure::line;
use crate::{machine, namespace};
use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Two waits of some minutes are allowed for within.
const LIMIT: Duration = Duration::from_secs(900);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder of holdfast-hub
    #[arg(long, env = "HOLDFAST_BIN_DIR")]
    bin_dir: PathBuf,
    /// Folder on the disk of the hub's store; a temporary folder is made in it
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
    /// Sessions through the engine
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Real connections
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Few sessions and connections, and short times: it shows that the bench works, and its figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Set by the bench for its own second half
    #[arg(long, hide = true)]
    inside: bool,
}

/// Counts and times of one run.
struct Pace {
    sessions: usize,
    connections: usize,
    /// How long memory may take to come to rest; then it is taken as it is.
    settle: Duration,
    /// How long bytes are counted.
    count: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if arguments.inside {
        return inside(arguments, &runtime);
    }
    let (sessions, connections) = (arguments.sessions.to_string(), arguments.connections.to_string());
    let mut bench = vec!["link", "--sessions", &sessions, "--connections", &connections];
    bench.extend(arguments.quick.then_some("--quick"));
    namespace::run(&runtime, &bench, &arguments.bin_dir, &arguments.dir, LIMIT, |_| {})
}

fn inside(arguments: &Arguments, runtime: &Runtime) -> Result<()> {
    namespace::furnish()?;
    line(&machine::facts(&arguments.dir, &arguments.bin_dir)?);
    let pace = if arguments.quick {
        Pace { sessions: 500, connections: 10, settle: Duration::from_secs(2), count: Duration::from_secs(1) }
    } else {
        Pace {
            sessions: arguments.sessions,
            connections: arguments.connections,
            settle: Duration::from_secs(8),
            count: Duration::from_secs(30),
        }
    };
    engine::measure(pace.sessions)?;
    connections::measure(runtime, &arguments.bin_dir, &arguments.dir, &pace)
}
