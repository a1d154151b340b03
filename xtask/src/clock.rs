//! `node clock`: what the node believes about the time, by the file that its agent reads.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::cluster::{Cluster, write_private};

/// The file holds one signed decimal number: the seconds to add to this machine's clock.
pub(crate) fn set(dir: &Path, name: &str, at: Option<i64>, offset: Option<i64>) -> Result<()> {
    let cluster = Cluster::load(dir)?;
    let node = cluster.node(name)?;
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    let offset = match (at, offset) {
        (Some(at), _) => at.checked_sub(now).context("--at is out of range")?,
        (None, offset) => offset.unwrap_or(0),
    };
    write_private(&node.clock_offset_file, format!("{offset}\n").as_bytes())?;
    println!("{name}: the clock is {offset} s ahead");
    Ok(())
}
