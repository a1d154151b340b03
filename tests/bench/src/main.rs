//! Benchmarks: each prints a JSON line a figure.
//!
//! A figure is what this machine gave in this run, beside a baseline of the same run where there is one. Nothing
//! here asserts a figure; a run fails only when what it measures does not work.

mod api;
mod client;
mod figure;
mod hub;
mod link;
mod machine;
mod memory;
mod namespace;
mod node;
mod process;
mod services;
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
    /// Sessions through the hub's end of the link, real connections to a hub, and their return after it was killed.
    Link(link::Arguments),
    /// A node with pods, beside containerd alone: from a create to the first answer, memory, CPU, wake-ups, writes. Needs root.
    Node(node::Arguments),
    /// The API server under load, beside etcd: creates, reads, watches, memory. Needs root.
    Api(api::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().bench {
        Bench::Skeleton(arguments) => skeleton::run(&arguments),
        Bench::Link(arguments) => link::run(&arguments),
        Bench::Node(arguments) => node::run(&arguments),
        Bench::Api(arguments) => api::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("holdfast-bench: {err:#}");
            ExitCode::FAILURE
        }
    }
}
