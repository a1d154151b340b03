//! The baseline of durable writes: one thread that appends and calls fdatasync, on the same disk.

use anyhow::Result;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const NAME: &str = "plain append + fdatasync of the same bytes, 1 thread";
const TIME: Duration = Duration::from_secs(3);

/// Appends + fdatasyncs a second.
pub(crate) fn syncs_per_second(dir: &Path, record: &[u8]) -> Result<f64> {
    let path = dir.join("fdatasync");
    let mut file = File::create(&path)?;
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < TIME {
        file.write_all(record)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}
