//! The command line. Others script against it: names and meanings stay.

use crate::config::ServeArguments;
use crate::{backup, data_dir, nodes, remote, serve, tokens};
use clap::{Args, Parser, Subcommand};
use holdfast_core::Span;
use std::path::PathBuf;

/// The hub of a Holdfast cluster: the Kubernetes API, its store, scheduler, controllers and links to nodes.
#[derive(Parser)]
#[command(name = "holdfast-hub", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub.
    Serve(Box<ServeArguments>),
    /// Make, list and revoke the tokens by which nodes join. The hub must be running.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Manage nodes' identities. The hub must be running.
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Manage the cluster's CA.
    Ca {
        #[command(subcommand)]
        command: CaCommand,
    },
    /// Allow nodes to take their time floor down to this hub's clock, after its clock was far ahead. The hub must be
    /// running, and its clock right.
    TimeReset {
        #[command(flatten)]
        data: DataDir,
        /// For how long; 0s to end it.
        #[arg(long = "for", default_value = "1h", value_name = "DURATION")]
        period: Span,
    },
    /// Print the administrator's kubeconfig.
    Kubeconfig {
        #[command(flatten)]
        data: DataDir,
        /// Use this address instead of the one that the hub wrote (https://HOST:PORT).
        #[arg(long)]
        server: Option<String>,
    },
    /// Write the whole store at one revision, and the cluster's keys, to a file; the hub may be running. Keep the file
    /// as you keep the keys: it holds all Secrets, and whoever has it can be the hub.
    Backup(FileArguments),
    /// Begin from a file that `backup` wrote, in an empty folder or, with --force, in place of a stopped hub. Clients list
    /// again, and nodes report the pods that the backup lacks.
    Restore {
        #[command(flatten)]
        arguments: FileArguments,
        /// Move the hub that is in the folder aside.
        #[arg(long)]
        force: bool,
    },
    /// Check a backup, or the folder of a stopped hub, and print how much of what it holds.
    Check {
        /// The hub's folder.
        #[arg(long, env = "HOLDFAST_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// A backup; then the folder is not looked at.
        file: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct DataDir {
    /// The hub's folder.
    #[arg(long, env = "HOLDFAST_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Args)]
struct FileArguments {
    #[command(flatten)]
    data: DataDir,
    /// The file.
    file: PathBuf,
}

#[derive(Subcommand)]
enum CaCommand {
    /// Make a new CA. From the next start of the hub on it certifies nodes and clients, and nodes learn it as they
    /// renew; the old one is used beside it until all that it signed has ended.
    Rotate {
        #[command(flatten)]
        data: DataDir,
        /// The life of nodes' certificates plus their grace: a rotation is not over earlier.
        #[arg(long, default_value = "455d", value_name = "DURATION")]
        overlap: Span,
    },
}

#[derive(Subcommand)]
enum NodeCommand {
    /// Revoke a node's certificates: it is cut, and may neither connect, nor renew, nor use the API. Its pods stay
    /// assigned. To let the machine join again, delete the Node.
    Revoke {
        #[command(flatten)]
        data: DataDir,
        /// The node's name.
        name: String,
    },
    /// Take a revocation back.
    Restore {
        #[command(flatten)]
        data: DataDir,
        /// The node's name.
        name: String,
    },
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it as ID.SECRET.CAHASH.
    Create {
        #[command(flatten)]
        data: DataDir,
        /// How long it is valid; 0s for ever.
        #[arg(long, env = "HOLDFAST_TOKEN_TTL", default_value = "24h")]
        ttl: Span,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List the tokens that are valid.
    List {
        #[command(flatten)]
        data: DataDir,
    },
    /// Revoke a token; nodes that joined with it stay.
    Revoke {
        #[command(flatten)]
        data: DataDir,
        /// The token's ID, or the whole token.
        token: String,
    },
}

impl Arguments {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(arguments) => serve::run(arguments.resolve()?),
            Command::Token { command } => remote::block_on(async {
                match command {
                    TokenCommand::Create { data, ttl, description } => {
                        tokens::create(&data.data_dir, ttl.0, &description).await
                    }
                    TokenCommand::List { data } => tokens::list(&data.data_dir).await,
                    TokenCommand::Revoke { data, token } => tokens::revoke(&data.data_dir, &token).await,
                }
            }),
            Command::Node { command } => remote::block_on(async {
                match command {
                    NodeCommand::Revoke { data, name } => nodes::set_revoked(&data.data_dir, &name, true).await,
                    NodeCommand::Restore { data, name } => nodes::set_revoked(&data.data_dir, &name, false).await,
                }
            }),
            Command::Ca { command: CaCommand::Rotate { data, overlap } } => {
                data_dir::rotate_ca(&data.data_dir, overlap.0)
            }
            Command::TimeReset { data, period } => remote::block_on(nodes::allow_time_reset(&data.data_dir, period.0)),
            Command::Kubeconfig { data, server } => {
                let text = remote::read_kubeconfig(&data.data_dir)?;
                print!("{}", remote::with_server(&text, server.as_deref()));
                Ok(())
            }
            Command::Backup(FileArguments { data, file }) => backup::run(&data.data_dir, &file),
            Command::Restore { arguments: FileArguments { data, file }, force } => {
                backup::restore(&data.data_dir, &file, force)
            }
            Command::Check { data_dir, file } => backup::check(data_dir.as_deref(), file.as_deref()),
        }
    }
}
