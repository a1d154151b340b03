//! Benchmarks: each prints a JSON line a figure.
//!
//! A figure is what this machine gave in this run, beside a baseline of the same run where there is one. Nothing
//! here asserts a figure; a run fails only when what it measures does not work.

mod client;
mod figure;
mod machine;
mod process;
mod skeleton;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Holdfast's benchmarks. `cargo xtask bench NAME` builds the programs and runs one.
#[derive(Parser)]
#[command(name = "holdfast-bench", version)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Start, memory and durable writes of the hub; memory and wake-ups of an agent without pods. Needs root.
    Skeleton(skeleton::Arguments),
}

fn main() -> ExitCode {
    let Bench::Skeleton(arguments) = Arguments::parse().bench;
    match skeleton::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("holdfast-bench: {err:#}");
            ExitCode::FAILURE
        }
    }
}
