//! The cluster's CAs: the one that signs, and for a while the one before it.
//!
//! A rotation makes the next generation (`ca-2.crt`, `ca-3.crt`, …; the certificate is the commit point). From the
//! hub's next start on, nodes and clients are certified by the new CA, while the hub itself shows certificates of
//! the old one, because that is what everybody trusts. Nodes get both roots with their renewals. When every
//! certificate that the old one signed has ended for longer than the grace, the old one is no longer used.

use super::{ClusterCa, PkiError};
use holdfast_core::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The CAs in use.
pub(super) struct Authorities {
    pub(super) current: Arc<ClusterCa>,
    pub(super) previous: Option<Arc<ClusterCa>>,
    generation: u32,
}

impl Authorities {
    /// Reads them, and makes the first. `overlap` is how long a CA is used after its successor was made.
    pub(super) fn open(dir: &Path, now: Timestamp, overlap: Duration) -> Result<Authorities, PkiError> {
        let mut generation = 1;
        let mut current = match ClusterCa::read(dir, generation)? {
            Some(ca) => ca,
            None => ClusterCa::create(dir, generation, now)?,
        };
        let mut previous = None;
        while let Some(next) = ClusterCa::read(dir, generation + 1)? {
            generation += 1;
            previous = Some(std::mem::replace(&mut current, next));
        }
        let over = current.made_at().after(overlap) <= now;
        let previous = previous.filter(|_| !over).map(Arc::new);
        Ok(Authorities { current: Arc::new(current), previous, generation })
    }

    /// Makes the next generation; durable when this returns.
    pub(super) fn rotate(&self, dir: &Path, now: Timestamp, overlap: Duration) -> Result<ClusterCa, PkiError> {
        if self.previous.is_some() {
            return Err(PkiError::Rotating { until: self.current.made_at().after(overlap) });
        }
        ClusterCa::create(dir, self.generation + 1, now)
    }
}
