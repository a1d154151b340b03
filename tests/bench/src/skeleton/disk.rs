//! The baseline of durable writes: one thread that appends and calls fdatasync, on the same disk.

use anyhow::Result;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const NAME: &str = "plain append + fdatasync of the same bytes, 1 thread";

/// Appends + fdatasyncs a second, measured for some time.
pub(crate) fn syncs_per_second(dir: &Path, record: &[u8], time: Duration) -> Result<f64> {
    let path = dir.join("fdatasync");
    let mut file = File::create(&path)?;
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < time {
        file.write_all(record)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}
