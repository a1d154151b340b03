//! An ext4 of its own for the node: what is written to its device is written by the node.

use crate::namespace::system;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Sparse: it takes what is written.
const BYTES: u64 = 4 << 30;
/// Of `/sys/block/*/stat`, whatever the device's own is.
const SECTOR: u64 = 512;

pub(super) struct Disk {
    folder: PathBuf,
    device: String,
}

/// What was written so far.
#[derive(Clone, Copy)]
pub(super) struct Written {
    pub(super) bytes: u64,
    /// Writes that the device did, after joining neighbours.
    pub(super) writes: u64,
}

impl Disk {
    /// It goes with the mount namespace.
    pub(super) fn make(place: &Path) -> Result<Disk> {
        let (image, folder) = (place.join("node.img"), place.join("node"));
        File::create(&image)?.set_len(BYTES)?;
        fs::create_dir(&folder)?;
        let (image_path, at) = (image.display().to_string(), folder.display().to_string());
        // Tables that are written later would count as the node's writes.
        system("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image_path])?;
        system("mount", &["-o", "loop", &image_path, &at])?;
        let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
        let mount = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(&at))
            .context("the node's disk is not mounted")?;
        let device =
            mount.strip_prefix("/dev/").and_then(|rest| rest.split(' ').next()).context("no device")?.to_owned();
        Ok(Disk { folder, device })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn written(&self) -> Result<Written> {
        let path = format!("/sys/block/{}/stat", self.device);
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        // Documentation/block/stat.rst: the fifth is writes, the seventh sectors written.
        let field =
            |n: usize| stat.split_whitespace().nth(n).and_then(|text| text.parse::<u64>().ok()).context("no number");
        Ok(Written { writes: field(4)?, bytes: field(6)? * SECTOR })
    }
}
