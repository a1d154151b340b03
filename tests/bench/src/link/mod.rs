//! `link`: 100,000 sessions through the hub's engine in this process, and 1,000 real QUIC connections to a hub, which
//! come back after it was killed, while its API is asked.

mod connections;
mod engine;
mod node;

use crate::figure::line;
use crate::namespace::Place;
use crate::{machine, namespace};
use anyhow::Result;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Two waits of some minutes are allowed for within.
const LIMIT: Duration = Duration::from_secs(900);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Sessions through the engine
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Real connections
    #[arg(long, default_value_t = 1000)]
    connections: usize,
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
    if arguments.place.inside {
        return inside(arguments, &runtime);
    }
    let (sessions, connections) = (arguments.sessions.to_string(), arguments.connections.to_string());
    let bench = ["link", "--sessions", &sessions, "--connections", &connections];
    namespace::run(&runtime, &bench, &arguments.place, LIMIT, |_| {})
}

fn inside(arguments: &Arguments, runtime: &Runtime) -> Result<()> {
    namespace::furnish()?;
    line(&machine::facts(&arguments.place.dir, &arguments.place.bin_dir)?);
    let pace = if arguments.place.quick {
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
    connections::measure(runtime, &arguments.place.bin_dir, &arguments.place.dir, &pace)
}
