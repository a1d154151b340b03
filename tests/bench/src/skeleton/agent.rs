//! Figures 4 and 5: memory and wake-ups of an agent that has joined and has no pods.
//!
//! containerd and holdfast-wasm run beside it, as on a real node: an agent that looks for a missing one is not idle.

use super::pace::Pace;
use crate::figure::Figure;
use crate::memory;
use crate::services::{Agent, data_dir};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Memory and wake-ups once the agent has come to rest.
pub(crate) fn measure(node: &mut Agent, dir: &Path, pace: &Pace) -> Result<()> {
    let views = data_dir(dir).join("views");
    let agent = &mut node.agent;
    // Its threads wake hundreds of times a minute; it is open only around Events.
    let files = PathBuf::from(&views);
    let mut closed = false;
    let deadline = Instant::now() + pace.quiet;
    while !closed && Instant::now() < deadline {
        agent.check()?;
        std::thread::sleep(Duration::from_millis(200));
        closed = !agent.holds(&files);
    }
    let state = if closed { "at rest" } else { "its view of Events still open" };
    memory::print(&format!("agent, no pods, {state}"), &agent.settled_pss(pace.settle)?);
    memory::print("holdfast-wasm, no pods", &node.wasm.pss()?);
    Figure::new(format!("agent, no pods, {state}: threads"), agent.threads() as f64, "threads", 1).print();
    let (before, began) = (agent.sleeps()?, Instant::now());
    std::thread::sleep(pace.wakes);
    let after = agent.sleeps()?;
    let scale = 60.0 / began.elapsed().as_secs_f64();
    let name = format!("agent, no pods, {state}: voluntary context switches");
    let mut all = 0.0;
    for (thread, count) in &after {
        let count = count.saturating_sub(before.get(thread).copied().unwrap_or(0));
        all += count as f64 * scale;
        if count > 0 {
            Figure::new(format!("{name} of threads {thread:?}"), count as f64 * scale, "1/min", 1).print();
        }
    }
    Figure::new(format!("{name} of all threads"), all, "1/min", 1).print();
    agent.check()
}
