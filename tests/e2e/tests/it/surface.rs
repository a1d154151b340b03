//! The programs' own command line against what we ship and document.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use holdfast_e2e::world::World;

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
