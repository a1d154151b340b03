//! `timings`: how long a build takes that changes one core crate, and one that changes nothing; compared with the
//! last figures that this machine wrote down.

use std::fs;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{compile, place, process};

#[derive(Serialize, Deserialize)]
struct Timings {
    /// Nothing changed.
    idle_seconds: f32,
    /// `api/core` changed: almost everything of ours is built again.
    core_seconds: f32,
}

pub(crate) fn timings() -> Result<()> {
    compile::binaries("dev")?;
    let idle_seconds = timed()?;
    let core = place::root().join("api/core/src/lib.rs");
    fs::File::options().append(true).open(&core)?.set_modified(SystemTime::now()).context("touching api/core")?;
    let now = Timings { idle_seconds, core_seconds: timed()? };

    let file = place::target().join("timings.json");
    let last: Option<Timings> = fs::read(&file).ok().and_then(|t| serde_json::from_slice(&t).ok());
    let show = |what: &str, value: f32, last: Option<f32>| match last {
        Some(last) => println!("{what:<28} {value:6.1} s (last {last:.1} s)"),
        None => println!("{what:<28} {value:6.1} s"),
    };
    show("nothing changed", now.idle_seconds, last.as_ref().map(|l| l.idle_seconds));
    show("api/core changed", now.core_seconds, last.as_ref().map(|l| l.core_seconds));
    fs::write(&file, serde_json::to_vec(&now)?).with_context(|| format!("writing {}", file.display()))
}

fn timed() -> Result<f32> {
    let began = Instant::now();
    process::show(compile::cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
    Ok(began.elapsed().as_secs_f32())
}
