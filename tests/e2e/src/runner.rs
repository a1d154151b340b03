//! Runs cases in order on one cluster.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::leftovers;
use crate::world::World;

/// Says that a suite of real clusters is meant: a plain `cargo test` must work without root and start none.
const MEANT: &str = "HOLDFAST_E2E";

/// A name and what is to hold.
pub type Case = (&'static str, fn(&mut World) -> Result<()>);

/// Cases that share a cluster.
pub struct Suite {
    /// As `cargo xtask test NAME` calls it.
    pub name: &'static str,
    /// In running order.
    pub cases: &'static [Case],
    /// Settings of the hub: variables of its environment.
    pub hub: &'static [(&'static str, &'static str)],
}

impl Suite {
    /// The program: arguments that are no flags choose cases by parts of their names.
    pub fn main(&self) -> ExitCode {
        let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
        let name = self.name;
        if std::env::args().any(|a| a == "--list") {
            self.cases.iter().for_each(|(name, _)| println!("{name}: test"));
            return ExitCode::SUCCESS;
        }
        if std::env::var_os(MEANT).is_none() {
            println!("{name} skipped: it starts a cluster and needs root; run `cargo xtask test {name}`");
            return ExitCode::SUCCESS;
        }
        match self.run(&filters) {
            Ok(0) => ExitCode::SUCCESS,
            Ok(_) => ExitCode::from(101),
            Err(err) => {
                println!("{name}: {err:#}");
                ExitCode::from(101)
            }
        }
    }

    /// Brings the cluster up, runs the cases, takes it down; returns the number of failures.
    fn run(&self, filters: &[String]) -> Result<usize> {
        let chosen: Vec<&Case> = self
            .cases
            .iter()
            .filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str())))
            .collect();
        println!("running {} tests", chosen.len() + 2);
        let mut world = World::new(self.hub)?;
        let before = leftovers::Snapshot::take()?;
        let mut failed: Vec<(&str, anyhow::Error)> = Vec::new();

        let up = report("up_is_ready_in_time", &mut failed, || world.up());
        if up {
            for (name, case) in chosen.iter().copied() {
                if !report(name, &mut failed, || case(&mut world)) {
                    world.dump();
                }
            }
        } else {
            world.dump();
        }
        let down = |world: &mut World| {
            world.remember_namespaces();
            world.xtask(&["down"]).context("cargo xtask down")?;
            leftovers::check(&before, world)
        };
        report("down_leaves_nothing_behind", &mut failed, || down(&mut world));
        if !failed.is_empty() {
            world.keep();
        }

        println!("\nfailures:");
        failed.iter().for_each(|(name, err)| println!("\n---- {name} ----\n{err:#}"));
        let ran = if up { chosen.len() + 2 } else { 2 };
        let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
        let (passed, skipped) = (ran - failed.len(), chosen.len() + 2 - ran);
        println!("\ntest result: {verdict}. {passed} passed; {} failed; {skipped} not run", failed.len());
        Ok(failed.len())
    }
}

fn report(
    name: &'static str,
    failed: &mut Vec<(&'static str, anyhow::Error)>,
    case: impl FnOnce() -> Result<()>,
) -> bool {
    let began = Instant::now();
    let result = case();
    let seconds = began.elapsed().as_secs_f32();
    match result {
        Ok(()) => {
            println!("test {name} ... ok ({seconds:.1} s)");
            true
        }
        Err(err) => {
            println!("test {name} ... FAILED ({seconds:.1} s): {err:#}");
            failed.push((name, err));
            false
        }
    }
}
