//! `holdfast-fuzz`: `cargo xtask fuzz` runs it.

use anyhow::{Context, Result, bail};
use clap::Parser;
use holdfast_fuzz::{Target, targets};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Mutated frames through the link's readers and ends, mutated talks and texts through what reads them. The last line is `inputs=N failed=K`.
#[derive(Parser)]
#[command(name = "holdfast-fuzz", version)]
struct Arguments {
    /// Frame, codec or text [default: all]
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Number of the first input
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run this input alone, and show it
    #[arg(long, value_name = "NUMBER", requires = "target")]
    input: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("holdfast-fuzz: {err:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let chosen: Vec<Target> =
        targets().into_iter().filter(|t| arguments.target.as_ref().is_none_or(|name| name == t.name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = targets().iter().map(|target| target.name).collect();
        bail!("there is no target {:?}; there are {}", arguments.target, names.join(", "));
    }
    // A panic is told as a failure.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut inputs, mut failed) = (0u64, 0u64);
    for target in chosen {
        let (mut number, end) = (arguments.from, Instant::now() + Duration::from_secs(arguments.seconds));
        if let Some(number) = arguments.input {
            let payload = target.input(number);
            println!("{} {payload:02x?}", target.name);
            return target.run(&payload).map(|()| true).with_context(|| format!("{} {number}", target.name));
        }
        while Instant::now() < end {
            if let Err(err) = target.run(&target.input(number)) {
                println!("{} {number}: {err:#}", target.name);
                failed += 1;
            }
            number += 1;
            inputs += 1;
        }
    }
    println!("inputs={inputs} failed={failed}");
    Ok(failed == 0)
}
