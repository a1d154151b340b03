//! The whole system as a user runs it: `cargo xtask up`, kubectl, faults, `cargo xtask down`, with real programs in
//! real namespaces. Cases run in order on one cluster; a failed one prints the cluster's state, and the next runs.
//!
//! It runs by `cargo xtask test e2e` (root). Under a plain `cargo test` it says so and passes, because that must
//! work without root and start no second cluster.

mod bad_input;
mod day;
mod faults;
mod leftovers;
mod surface;
mod traffic;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use world::World;

type Case = (&'static str, fn(&mut World) -> Result<()>);

/// In running order. The cases of `day` are the run that the README promises, step by step.
const CASES: &[Case] = &[
    ("programs_have_the_flags_of_their_units", surface::programs_have_the_flags_of_their_units),
    ("nodes_are_ready_and_described", day::nodes_are_ready_and_described),
    ("examples_are_listed_in_full", day::examples_are_listed_in_full),
    ("services_answer_on_every_node", day::services_answer_on_every_node),
    ("logs_of_both_runtimes", day::logs_of_both_runtimes),
    ("exec_passes_output_and_exit_code", day::exec_passes_output_and_exit_code),
    ("scaling_rolls_out", day::scaling_rolls_out),
    ("a_pod_runs_to_its_end", day::a_pod_runs_to_its_end),
    ("wasm_is_deleted_and_applied_again", day::wasm_is_deleted_and_applied_again),
    ("a_cut_node_keeps_serving_and_survives_a_power_cut", day::a_cut_node_keeps_serving_and_survives_a_power_cut),
    ("unknown_field_is_refused", bad_input::unknown_field_is_refused),
    ("wrong_enum_is_refused", bad_input::wrong_enum_is_refused),
    ("bad_name_is_refused", bad_input::bad_name_is_refused),
    ("missing_namespace_is_refused", bad_input::missing_namespace_is_refused),
    ("stale_resource_version_conflicts", bad_input::stale_resource_version_conflicts),
    ("missing_object_is_not_found", bad_input::missing_object_is_not_found),
    ("wrong_join_token_is_one_clear_line", bad_input::wrong_join_token_is_one_clear_line),
    ("missing_image_is_an_event", bad_input::missing_image_is_an_event),
    ("wasm_that_is_no_wasm_fails_at_the_pod", bad_input::wasm_that_is_no_wasm_fails_at_the_pod),
    ("pods_outlive_containerd_and_agent", faults::pods_outlive_containerd_and_agent),
    ("a_missing_containerd_is_said_and_outlived", faults::a_missing_containerd_is_said_and_outlived),
    ("views_are_rebuilt_when_deleted", faults::views_are_rebuilt_when_deleted),
    ("the_hub_comes_back_with_its_data", faults::the_hub_comes_back_with_its_data),
];

/// A run of its own, since it takes its time: what an idle node sends and receives.
const TRAFFIC: &[Case] = &[
    ("ten_pods_with_probes_are_ready", traffic::ten_pods_with_probes_are_ready),
    ("an_idle_node_sends_heartbeats_only", traffic::an_idle_node_sends_heartbeats_only),
    ("a_change_of_status_is_small", traffic::a_change_of_status_is_small),
    ("over_tcp_an_idle_node_sends_heartbeats_only", traffic::over_tcp_an_idle_node_sends_heartbeats_only),
];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let run_of = std::env::var("HOLDFAST_E2E");
    let cases = if run_of.as_deref() == Ok("traffic") { TRAFFIC } else { CASES };
    if std::env::args().any(|a| a == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if run_of.is_err() {
        println!("e2e skipped: it starts a cluster and needs root; run `cargo xtask test e2e`");
        return ExitCode::SUCCESS;
    }
    match run(cases, &filters) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(101),
        Err(err) => {
            println!("e2e: {err:#}");
            ExitCode::from(101)
        }
    }
}

/// Brings the cluster up, runs the cases, takes it down; returns the number of failures.
fn run(cases: &'static [Case], filters: &[String]) -> Result<usize> {
    let chosen: Vec<&Case> = cases
        .iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str())))
        .collect();
    println!("running {} tests", chosen.len() + 2);
    let mut world = World::new()?;
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
