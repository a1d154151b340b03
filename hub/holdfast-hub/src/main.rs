//! The hub's program: the command line, and which part runs when.

mod audit;
mod backup;
mod cli;
mod config;
mod data_dir;
mod logging;
mod nodes;
mod parts;
mod remote;
mod serve;
mod tokens;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // One line: what was tried, on what, and every cause.
            eprintln!("holdfast-hub: {err:#}");
            ExitCode::FAILURE
        }
    }
}
