//! Automation's one door: up, down, test, bench, link, node, hub, load, deps, tidy.
//!
//! It starts real processes in real namespaces and never pretends; it links none of our crates, so that it builds
//! in seconds and before anything else does. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 timed out.

mod bench;
mod cgroups;
mod cli;
mod clients;
mod clock;
mod cluster;
mod compile;
mod containerd;
mod deps;
mod docker_registry;
mod down;
mod etcd;
mod failure;
mod fuzz;
mod hub;
mod kubectl;
mod link;
mod load;
mod net;
mod node;
mod place;
mod process;
mod progress;
mod ready;
mod rfc3339;
mod rustc;
mod sid;
mod sim;
mod test;
mod tidy;
mod timings;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Hub, Link, Node, Verb};

fn main() -> ExitCode {
    if rustc::called() {
        return rustc::run();
    }
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(err) => {
            eprintln!("failed: {err:#}");
            ExitCode::from(failure::exit_code(&err))
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up(args) => up::up(&args)?,
        Verb::Down(dir) => down::down(&dir.dir)?,
        Verb::Load(args) => load::load(&args)?,
        Verb::Link(Link::Cut { node, from, dir }) => link::cut(&dir.dir, &node, &from)?,
        Verb::Link(Link::Heal { node, dir }) => link::heal(&dir.dir, &node)?,
        Verb::Link(Link::Lossy { node, percent, dir }) => link::lossy(&dir.dir, &node, percent)?,
        Verb::Link(Link::BlockUdp { node, dir }) => link::block_udp(&dir.dir, &node)?,
        Verb::Link(Link::Nat { node, dir }) => link::nat(&dir.dir, &node)?,
        Verb::Link(Link::Stats { node, output, dir }) => link::stats(&dir.dir, &node, output)?,
        Verb::Node(Node::Kill { node, dir }) => node::power::kill(&dir.dir, &node)?,
        Verb::Node(Node::Start { node, dir }) => node::power::start(&dir.dir, &node)?,
        Verb::Node(Node::Reboot { node, dir }) => node::power::reboot(&dir.dir, &node)?,
        Verb::Node(Node::Exec { node, dir, command }) => return node::exec::exec(&dir.dir, &node, &command),
        Verb::Node(Node::Clock { node, at, offset, dir }) => clock::set(&dir.dir, &node, at, offset)?,
        Verb::Hub(Hub::Stop(dir)) => hub::stop(&dir.dir)?,
        Verb::Hub(Hub::Start(dir)) => hub::start_again(&dir.dir)?,
        Verb::Hub(Hub::Kill(dir)) => hub::kill(&dir.dir)?,
        Verb::Hub(Hub::Backup { file, dir }) => hub::backup(&dir.dir, &file)?,
        Verb::Hub(Hub::Restore { file, dir }) => hub::restore(&dir.dir, &file)?,
        Verb::Deps(args) => deps::deps(&args)?,
        Verb::Test(args) => test::test(&args)?,
        Verb::Tidy => tidy::tidy()?,
        Verb::Bench(args) => return bench::bench(&args),
        Verb::Sim(args) => return sim::sim(&args),
        Verb::Fuzz(args) => return fuzz::fuzz(&args),
        Verb::Timings => timings::timings()?,
        Verb::NodeOuter(args) => node::outer::run(&args)?,
        Verb::NodeFork(args) => return node::fork::run(&args),
        Verb::NodeInit(args) => node::init::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
