//! The programs' own command line against what we ship and document.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use holdfast_e2e::world::{World, said};
use serde_json::Value;

/// Every bench that there is, quickly: the figures mean nothing, but all are there, each with its baseline.
pub(crate) fn the_bench_prints_its_figures(world: &mut World) -> Result<()> {
    let out = world.xtask_elsewhere(&["bench", "--", "--quick"])?;
    ensure!(out.status.success(), "cargo xtask bench: {} {}", out.status, said(&out));
    let lines: Vec<Value> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect::<Result<_>>()?;
    let figures: Vec<&Value> = lines.iter().filter(|line| line["name"].is_string()).collect();
    for figure in &figures {
        for key in ["name", "value", "unit", "baseline", "baseline_name", "ratio", "runs"] {
            ensure!(figure.get(key).is_some(), "a figure without {key}: {figure}");
        }
        ensure!(figure["value"].is_number() && figure["runs"].as_u64().is_some_and(|runs| runs > 0), "{figure}");
    }
    for (start, end, unit, baseline) in [
        ("agent, no pods", ": PSS", "MiB", false),
        ("hub, idle, empty store", ": PSS", "MiB", false),
        ("hub start to /readyz, empty store", "", "ms", false),
        ("durable creates of ConfigMaps", "writers: 1", "1/s", true),
        ("durable creates of ConfigMaps", "writers: 64", "1/s", true),
    ] {
        let named = |figure: &&&Value| {
            figure["name"].as_str().is_some_and(|name| name.starts_with(start) && name.ends_with(end))
        };
        let figure = figures.iter().find(named).with_context(|| format!("no figure {start} … {end} in {lines:?}"))?;
        ensure!(figure["unit"] == unit && figure["value"].as_f64().is_some_and(|value| value > 0.0), "{figure}");
        let beside = figure["baseline_name"].as_str().is_some_and(|name| name.contains("fdatasync"));
        ensure!(!baseline || (beside && figure["ratio"].is_number()), "no plain fsync beside {figure}");
    }
    Ok(())
}

/// The flags that `hardware/profiles/tests/shipped.rs` takes for granted, asked of the programs themselves.
pub(crate) fn programs_have_the_flags_of_their_units(world: &mut World) -> Result<()> {
    for unit in ["holdfast-hub", "holdfast-edge", "holdfast-wasm"] {
        let path = world.root.join("hardware/systemd").join(format!("{unit}.service"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let start = text.lines().find_map(|l| l.strip_prefix("ExecStart=")).context("no ExecStart")?;
        let verb = start.split_whitespace().nth(1).context("no verb")?;
        let help = Command::new(world.bin_dir.join(unit)).args([verb, "--help"]).output().context("running --help")?;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        for flag in start.split_whitespace().filter(|w| w.starts_with("--")) {
            ensure!(help.contains(flag), "{unit} {verb} --help does not know {flag} of its unit:\n{help}");
        }
    }
    Ok(())
}
