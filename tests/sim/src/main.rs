//! `cargo xtask sim`: many seeds, or one with its trace. The last line is `seeds=N failed=K first=S`.

use anyhow::{Context, Result};
use clap::Parser;
use holdfast_mutation::MUTATIONS;
use holdfast_sim::log::Backup;
use holdfast_sim::plan::{Plan, caught_by, provokes};
use holdfast_sim::{Outcome, hub, run, site};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A seed does little but make and drop small documents, for which this takes half of glibc's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulated disasters.
#[derive(Parser)]
struct Args {
    /// How many seeds to run
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed alone
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print what happens
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Simulate boxes of a site among themselves
    #[arg(long)]
    site: bool,
    /// Run each seed twice and compare
    #[arg(long)]
    twice: bool,
    /// Break this rule (needs the feature `mutations`: `cargo xtask sim` sees to it)
    #[arg(long)]
    mutation: Option<String>,
    /// Break every rule in turn; each must be caught within its number of seeds
    #[arg(long, conflicts_with_all = ["seed", "mutation"])]
    mutations: bool,
    /// Threads
    #[arg(long, default_value_t = 2)]
    jobs: u64,
}

fn main() -> ExitCode {
    match work(&Args::parse()) {
        Ok(code) => code,
        Err(err) => {
            eprintln!("sim: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(args: &Args) -> Result<ExitCode> {
    if args.trace {
        let filter = tracing_subscriber::EnvFilter::try_from_env("HOLDFAST_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).with_env_filter(filter).init();
    }
    let began = Instant::now();
    let log = hub::first_log().map_err(anyhow::Error::msg)?;
    if args.mutations {
        return mutations(args, &log);
    }
    if let Some(name) = &args.mutation {
        activate(Some(name))?;
    }
    let is_site =
        args.site || MUTATIONS.iter().any(|known| known.of_site && args.mutation.as_deref() == Some(known.name));
    let (from, count) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let next = AtomicU64::new(from);
    let failed: Mutex<Vec<Outcome>> = Mutex::default();
    let virtual_seconds = AtomicU64::new(0);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..args.jobs.clamp(1, count.max(1)))
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= from + count {
                            return Ok(());
                        }
                        let outcome = one(seed, &log, is_site, args.twice)?;
                        virtual_seconds.fetch_add(outcome.lasted.as_secs(), Ordering::Relaxed);
                        if !outcome.violations.is_empty() {
                            println!("seed {seed}: {}", outcome.violations.join("\n    "));
                            failed.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                        } else if args.seed.is_some() {
                            println!("seed {seed}: trace {:016x}, {} polls", outcome.trace, outcome.polls);
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a simulation panicked; see above")))
        })
    })?;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let first = failed.iter().map(|outcome| outcome.seed).min();
    println!(
        "{} hours of virtual time in {:.1} s",
        virtual_seconds.load(Ordering::Relaxed) / 3600,
        began.elapsed().as_secs_f32()
    );
    let first = first.map_or("none".to_string(), |seed| seed.to_string());
    println!("seeds={count} failed={} first={first}", failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(feature = "mutations")]
fn activate(name: Option<&str>) -> Result<()> {
    anyhow::ensure!(holdfast_mutation::activate(name), "there is no mutation {:?}", name.unwrap_or_default());
    Ok(())
}

#[cfg(not(feature = "mutations"))]
fn activate(_name: Option<&str>) -> Result<()> {
    anyhow::bail!("this program was built without the feature `mutations`; use `cargo xtask sim --mutation NAME`")
}

/// Breaks every rule in turn; the last line counts those that were not caught.
fn mutations(args: &Args, log: &Backup) -> Result<ExitCode> {
    let mut missed = Vec::new();
    for mutation in MUTATIONS {
        activate(Some(mutation.name))?;
        let began = Instant::now();
        let next = AtomicU64::new(0);
        let caught: Mutex<Option<Outcome>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..args.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let turn = next.fetch_add(1, Ordering::Relaxed);
                        let done = caught.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                        if done || turn >= mutation.within {
                            return;
                        }
                        let seed = turn.checked_sub(1).unwrap_or_else(|| caught_by(mutation.name));
                        let fault = provokes(mutation.name);
                        if fault.is_some_and(|fault| !Plan::of(seed).faults.contains(&fault)) {
                            continue;
                        }
                        match one(seed, log, mutation.of_site, false) {
                            Ok(outcome) if outcome.violations.is_empty() => {}
                            Ok(outcome) => *caught.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome),
                            Err(err) => eprintln!("sim: {err:#}"),
                        }
                    }
                });
            }
        });
        let seconds = began.elapsed().as_secs_f32();
        match caught.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Outcome { seed, violations, .. }) => {
                let first: String = violations.first().into_iter().flat_map(|text| text.chars().take(110)).collect();
                println!("{}: caught by seed {seed} of {} ({seconds:.1} s): {first}", mutation.name, mutation.within);
            }
            None => {
                println!("{}: NOT caught within {} seeds ({seconds:.1} s)", mutation.name, mutation.within);
                missed.push(mutation.name);
            }
        }
    }
    println!("mutations={} missed={} names={}", MUTATIONS.len(), missed.len(), missed.join(","));
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64, log: &Backup, is_site: bool, twice: bool) -> Result<Outcome> {
    let base = if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let run_once = || -> Result<Outcome> {
        if is_site {
            return Ok(site::run(seed));
        }
        let dir = tempfile::Builder::new().prefix("holdfast-sim-").tempdir_in(base).context("making a folder")?;
        let (log, path) = (log.clone(), dir.path().to_path_buf());
        Ok(run(seed, log, &path))
    };
    let mut outcome = run_once()?;
    if twice {
        let again = run_once()?;
        if again != outcome {
            outcome.violations.push(format!(
                "world: two runs differ: trace {:016x} after {} polls, and {:016x} after {}",
                outcome.trace, outcome.polls, again.trace, again.polls
            ));
        }
    }
    Ok(outcome)
}
