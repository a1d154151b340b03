//! Figure 1: from the start of the hub's process to `/readyz`.

use super::pace::Pace;
use crate::figure::{Figure, median};
use crate::hub::{self, Hub};
use crate::memory;
use anyhow::Result;
use std::path::Path;
use tokio::runtime::Runtime;

/// Each start makes a new store, keys and default objects. The last hub is left running.
pub(crate) fn on_empty_stores(runtime: &Runtime, bin_dir: &Path, dir: &Path, starts: usize) -> Result<Hub> {
    let mut times = Vec::new();
    loop {
        let data_dir = dir.join(format!("hub-{}", times.len()));
        std::fs::create_dir(&data_dir)?;
        let hub = hub::start(runtime, bin_dir, &data_dir)?;
        times.push(hub.ready_after.as_secs_f64() * 1000.0);
        if times.len() == starts {
            Figure::new("hub start to /readyz, empty store", median(&times), "ms", times.len()).print();
            return Ok(hub);
        }
        hub.process.stop()?;
    }
}

/// Stops and starts the hub over the store that it has.
pub(crate) fn on_a_filled_store(runtime: &Runtime, bin_dir: &Path, mut hub: Hub, pace: &Pace) -> Result<()> {
    let mut times = Vec::new();
    while times.len() < pace.starts {
        let data_dir = hub.data_dir.clone();
        hub.process.stop()?;
        hub = hub::start(runtime, bin_dir, &data_dir)?;
        times.push(hub.ready_after.as_secs_f64() * 1000.0);
    }
    let objects = format!("store with {} ConfigMaps", pace.objects);
    Figure::new(format!("hub start to /readyz, {objects}"), median(&times), "ms", times.len()).print();
    memory::print(&format!("hub, idle after a start, {objects}"), &hub.process.settled_pss(pace.settle)?);
    hub.process.stop()
}
