//! The command line of DESIGN §14. Scripts depend on it: a change here is a change of contract.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Automation's one door: clusters for work and tests, checks, benches.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Build everything and start a hub and private nodes with the examples on them
    Up(Up),
    /// Stop what `up` started and remove all of it but the logs; works after a crashed `up` too
    Down(Dir),
    /// Import an image (OCI layout, docker archive, Wasm artefact) into the nodes
    Load(Load),
    /// Cut, heal and worsen the network of a node
    #[command(subcommand)]
    Link(Link),
    /// Power, commands and clock of a node
    #[command(subcommand)]
    Node(Node),
    /// Stop, start, kill, back up and restore the hub
    #[command(subcommand)]
    Hub(Hub),
    /// Install what is missing on this machine (apt, rustup, tools in a cache)
    Deps(Deps),
    /// Run the checks and tests; without an argument, what CI runs
    Test(Test),
    /// Check arrows between crates and house rules
    Tidy,
    /// Run a benchmark: a JSON line a figure
    Bench(Bench),
    /// Run the simulator over seeds
    Sim(Passed),
    /// Run mutated frames through the link's readers and ends (`fuzz --help`)
    Fuzz(Passed),
    /// Time a build and compare it with the last one
    Timings,
    /// Internal: the outer process of a node
    #[command(hide = true)]
    NodeOuter(NodeProcess),
    /// Internal: makes the PID namespace of a node
    #[command(hide = true)]
    NodeFork(NodeProcess),
    /// Internal: PID 1 of a node
    #[command(hide = true)]
    NodeInit(NodeProcess),
}

/// Which cluster.
#[derive(Args, Clone)]
pub(crate) struct Dir {
    /// Folder of the cluster
    #[arg(long, default_value = ".holdfast", value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct Up {
    /// Number of nodes, named edge-1 … edge-N
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) nodes: u32,
    #[command(flatten)]
    pub(crate) dir: Dir,
    /// Return when ready and leave the cluster running (else it ends with Ctrl-C)
    #[arg(long)]
    pub(crate) detach: bool,
    /// Port of the API on this machine [default: 6443 for .holdfast, else derived from DIR]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Do not apply examples/
    #[arg(long)]
    pub(crate) no_sample: bool,
    /// Cargo profile to build with [default: the one that tests use]
    #[arg(long, default_value = "dev")]
    pub(crate) profile: String,
    /// Seconds to become ready, counted from the end of installing and building
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// Take the binaries from here instead of building them
    #[arg(long, hide = true, value_name = "DIR")]
    pub(crate) bin_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Load {
    /// The image as a tar
    pub(crate) image: PathBuf,
    /// Only this node [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) dir: Dir,
}

#[derive(Subcommand)]
pub(crate) enum Link {
    /// Drop all traffic between a node and the hub (or another node)
    Cut {
        node: String,
        /// `hub` or another node's name
        #[arg(long, default_value = "hub", value_name = "PEER")]
        from: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Undo every cut, loss and block of a node
    Heal {
        node: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Drop a share of a node's packets
    Lossy {
        node: String,
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
        #[command(flatten)]
        dir: Dir,
    },
    /// Drop UDP between a node and the hub
    BlockUdp {
        node: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Put a NAT router between a node and the hub
    Nat {
        node: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Bytes and packets between a node and the hub, and over its link in all
    Stats {
        node: String,
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Node {
    /// Power cut: everything of the node ends at once
    Kill {
        node: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Boot the node again with the disk it had
    Start {
        node: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Stop the node's programs in order, then boot it again
    Reboot {
        node: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Run a command inside the node's namespaces; passes stdin and the exit code
    Exec {
        node: String,
        #[command(flatten)]
        dir: Dir,
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<std::ffi::OsString>,
    },
    /// Set the node's wall clock
    Clock {
        node: String,
        /// Seconds since 1970 that the clock shows now
        #[arg(long, value_name = "EPOCH", conflicts_with = "offset", required_unless_present = "offset")]
        at: Option<i64>,
        /// Seconds that the clock is ahead of this machine's
        #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
        offset: Option<i64>,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Subcommand)]
pub(crate) enum Hub {
    /// SIGTERM, and wait for its end
    Stop(Dir),
    /// Start it again with the data it had
    Start(Dir),
    /// SIGKILL
    Kill(Dir),
    /// Write a backup to a file
    Backup {
        file: PathBuf,
        #[command(flatten)]
        dir: Dir,
    },
    /// Replace the hub's data by a backup
    Restore {
        file: PathBuf,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Args)]
pub(crate) struct Deps {
    /// Only say what is missing; exit 1 if anything is
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Args)]
pub(crate) struct Test {
    /// What to run [default: all that CI runs]
    #[arg(value_enum)]
    pub(crate) what: Option<Suite>,
    /// Passed on to the test binaries
    #[arg(last = true)]
    pub(crate) rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    Fmt,
    Clippy,
    Deny,
    Tidy,
    Unit,
    Api,
    Clients,
    Node,
    Containerd2,
    Wasm,
    Net,
    Control,
    Offline,
    Sim,
    E2e,
    Traffic,
}

#[derive(Args)]
pub(crate) struct Bench {
    /// Which benchmark [default: all]
    pub(crate) name: Option<String>,
    /// Passed on to it, such as --quick
    #[arg(last = true)]
    pub(crate) rest: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<String>,
}

#[derive(Args, Clone)]
pub(crate) struct NodeProcess {
    #[arg(long)]
    pub(crate) dir: PathBuf,
    #[arg(long)]
    pub(crate) node: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scripts_of_the_design_still_parse() {
        for line in [
            "up",
            "up --nodes 3 --dir /tmp/x --detach --port 7000 --no-sample --profile release --timeout 60",
            "down --dir x",
            "load a.tar --node edge-1",
            "link cut edge-1",
            "link cut edge-1 --from edge-2 --dir x",
            "link heal edge-1",
            "link lossy edge-1 30",
            "link block-udp edge-1",
            "link nat edge-1",
            "link stats edge-1 -o json",
            "node kill edge-1",
            "node start edge-1",
            "node reboot edge-1",
            "node exec edge-1 -- holdfast-edge pods -o json",
            "node exec edge-1 --dir x -- ls -l",
            "node clock edge-1 --at 5",
            "node clock edge-1 --offset -3600",
            "hub stop",
            "hub start --dir x",
            "hub kill",
            "hub backup f",
            "hub restore f",
            "deps",
            "test",
            "test e2e",
            "test traffic",
            "tidy",
            "bench",
            "bench skeleton -- --quick",
            "timings",
            "sim --seeds 5 --from 1",
        ] {
            let words = ["cargo xtask"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in ["up --nodes 0", "link lossy edge-1 101", "node exec edge-1", "node clock edge-1", "test nonsense"]
        {
            let words = ["cargo xtask"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
