//! The command line. Flags win over `HOLDFAST_WASM_…` in the environment.

use clap::{Args, Parser, Subcommand};
use holdfast_wasm_engine::{Compiler, EngineConfig};
use holdfast_wasm_host::HostConfig;
use std::path::PathBuf;
use std::time::Duration;

/// Runs a node's Wasm pods.
#[derive(Debug, Parser)]
#[command(name = "holdfast-wasm", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the agent until SIGTERM.
    Serve(ServeOptions),
    /// Compile one module; started by `serve` with limits on memory and time.
    #[command(hide = true)]
    Compile {
        /// The Wasm file.
        #[arg(long)]
        input: PathBuf,
        /// The new file with machine code.
        #[arg(long)]
        output: PathBuf,
        /// The engine's configuration as one word.
        #[arg(long)]
        config: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Unix socket for the agent; its folder should be on a tmpfs.
    #[arg(long, env = "HOLDFAST_WASM_SOCKET", default_value = "/run/holdfast/wasm.sock")]
    socket: PathBuf,
    /// Folder for images, compiled code and records.
    #[arg(long, env = "HOLDFAST_WASM_DATA_DIR", default_value = "/var/lib/holdfast/wasm")]
    data_dir: PathBuf,
    /// Instances alive at one time: half for commands, half for HTTP requests.
    #[arg(long, env = "HOLDFAST_WASM_SLOTS", default_value_t = EngineConfig::default().slots,
          value_parser = clap::value_parser!(u32).range(4..=10_000))]
    slots: u32,
    /// Most memory that one guest can have, in MiB; address space is set aside for it.
    #[arg(long, env = "HOLDFAST_WASM_MEMORY_MIB", default_value_t = EngineConfig::default().memory_reservation_bytes >> 20,
          value_parser = clap::value_parser!(u64).range(1..=4096))]
    memory_mib: u64,
    /// Most memory that compiling one module may take, in MiB.
    #[arg(long, env = "HOLDFAST_WASM_COMPILE_MEMORY_MIB", default_value_t = EngineConfig::default().compile_memory_bytes >> 20,
          value_parser = clap::value_parser!(u64).range(64..=65_536))]
    compile_memory_mib: u64,
    /// Time for one HTTP request, in seconds.
    #[arg(long, env = "HOLDFAST_WASM_REQUEST_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    request_seconds: u64,
    /// Time after which an idle connection to a pod is closed, in seconds.
    #[arg(long, env = "HOLDFAST_WASM_IDLE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    idle_seconds: u64,
    /// What to log: a level, or `target=level` pairs.
    #[arg(long, env = "HOLDFAST_WASM_LOG", default_value = "info")]
    pub(crate) log: String,
}

impl ServeOptions {
    pub(crate) fn host_config(&self) -> HostConfig {
        // This very program, even when its file was replaced by an update.
        let compiler = Compiler::Child { program: PathBuf::from("/proc/self/exe") };
        HostConfig {
            engine: EngineConfig {
                slots: self.slots,
                memory_reservation_bytes: self.memory_mib << 20,
                compile_memory_bytes: self.compile_memory_mib << 20,
                ..EngineConfig::default()
            },
            request_time: Duration::from_secs(self.request_seconds),
            idle_connection: Duration::from_secs(self.idle_seconds),
            ..HostConfig::new(self.socket.clone(), self.data_dir.clone(), compiler)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
    }
}
