//! The node's identity where it is kept: the one that has connected, and its successor until that has too.
//!
//! Two checksummed files. A renewal writes the successor beside the identity; only when the hub has taken a
//! session of the successor does it take the identity's place. So at every instruction there is a file by which
//! the hub knows this node, whatever of the hub's answers, or of the hub's store, is lost.

use holdfast_core::Timestamp;
use holdfast_edge_store::file;
use holdfast_env::{Disk, DiskError, World};
use holdfast_link::NodeIdentity;
use holdfast_link::identity::{Validity, validity};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The identity.
const PATH: &str = "identity";
/// Its successor.
const NEXT: &str = "identity.next";

/// Why an identity could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk, or a checksum.
    #[error("the node's identity file {path:?}")]
    File {
        /// Which.
        path: &'static str,
        /// Why.
        source: holdfast_edge_store::StoreError,
    },
    /// The bytes are whole and yet no identity.
    #[error("the node's identity file {path:?} holds something else")]
    Malformed {
        /// Which.
        path: &'static str,
    },
    /// The task that was to write was ended.
    #[error("the node is ending")]
    Ending,
}

struct Held {
    identity: NodeIdentity,
    next: Option<NodeIdentity>,
    /// Whether the successor is shown to the hub.
    using_next: bool,
    /// Counts changes of what is shown.
    version: u64,
}

/// The node's identity.
pub struct Identities {
    env: World,
    held: Mutex<Held>,
}

impl Identities {
    /// Reads them; `None` for a machine that has not joined. Blocks.
    ///
    /// # Errors
    /// When the identity is damaged. A damaged successor is let go: the identity is still good.
    pub fn load(env: World) -> Result<Option<Arc<Identities>>, IdentityError> {
        let disk = env.disk();
        let Some(identity) = read(&*disk, PATH)? else { return Ok(None) };
        let next = read(&*disk, NEXT).unwrap_or_else(|err| {
            tracing::warn!(%err, "A renewed identity was damaged; the old one stays");
            None
        });
        let next = next.filter(|next| *next != identity);
        Ok(Some(Identities::holding(env, identity, next)))
    }

    /// Keeps what a join brought. Durable when this returns; blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(env: World, identity: NodeIdentity) -> Result<Arc<Identities>, IdentityError> {
        write(&*env.disk(), PATH, &identity)?;
        Ok(Identities::holding(env, identity, None))
    }

    /// Those of a machine that has not joined: it is known by its name alone, and connects to nobody.
    pub fn none(env: World, node_name: &str) -> Arc<Identities> {
        let identity = NodeIdentity {
            node_uid: String::new(),
            node_name: node_name.to_string(),
            chain: Vec::new(),
            key: Vec::new(),
            roots: Vec::new(),
        };
        Identities::holding(env, identity, None)
    }

    fn holding(env: World, identity: NodeIdentity, next: Option<NodeIdentity>) -> Arc<Identities> {
        let using_next = next.is_some();
        Arc::new(Identities { env, held: Mutex::new(Held { identity, next, using_next, version: 0 }) })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one to show to the hub, and a number that changes whenever another one is to be shown.
    pub fn in_use(&self) -> (NodeIdentity, u64) {
        let held = self.lock();
        let shown = held.next.as_ref().filter(|_| held.using_next).unwrap_or(&held.identity);
        (shown.clone(), held.version)
    }

    /// When the certificate in use ends, where it can be read.
    pub fn certificate_ends(&self) -> Option<Timestamp> {
        validity_of(&self.in_use().0).map(|validity| Timestamp::from_wall(validity.not_after))
    }

    /// The hub issued a successor of the identity in use: from now on it is shown. Durable when this returns.
    ///
    /// # Errors
    /// The disk's; then nothing has changed.
    pub async fn renewed(&self, next: NodeIdentity) -> Result<(), IdentityError> {
        let (disk, kept) = (self.env.disk(), next.clone());
        self.env.blocking(move || write(&*disk, NEXT, &kept)).await.ok_or(IdentityError::Ending)??;
        let mut held = self.lock();
        held.next = Some(next);
        held.using_next = true;
        held.version += 1;
        Ok(())
    }

    /// The hub has taken a session of the identity in use: if that is the successor, the old one goes.
    ///
    /// # Errors
    /// The disk's; then both stay.
    pub async fn connected(&self) -> Result<(), IdentityError> {
        let taken = {
            let held = self.lock();
            held.next.clone().filter(|_| held.using_next)
        };
        let Some(taken) = taken else { return Ok(()) };
        let (disk, kept) = (self.env.disk(), taken.clone());
        let replace = move || {
            write(&*disk, PATH, &kept)?;
            match disk.remove(NEXT) {
                // A power cut may bring it back: it is the same as the identity then, and let go at the start.
                Ok(()) | Err(DiskError::NotFound(_)) => Ok(()),
                Err(err) => Err(IdentityError::File { path: NEXT, source: err.into() }),
            }
        };
        self.env.blocking(replace).await.ok_or(IdentityError::Ending)??;
        let mut held = self.lock();
        if held.next.as_ref() == Some(&taken) {
            held.identity = taken;
            held.next = None;
            held.using_next = false;
        }
        Ok(())
    }

    /// The hub refused the identity in use: if there are two, the other one is tried.
    pub fn refused(&self) {
        let mut held = self.lock();
        if held.next.is_some() {
            held.using_next = !held.using_next;
            held.version += 1;
        }
    }
}

/// When a certificate is renewed: at two thirds of its life, and up to a twelfth of it later by `jitter` (0 to 1),
/// so that a fleet that joined in an hour does not renew in one.
pub fn renewal_due(validity: Validity, jitter: f64) -> Duration {
    let life = validity.not_after.saturating_sub(validity.not_before);
    validity.not_before.saturating_add(life / 3 * 2).saturating_add((life / 12).mul_f64(jitter.clamp(0.0, 1.0)))
}

/// The validity of an identity's certificate, where it can be read.
pub(crate) fn validity_of(identity: &NodeIdentity) -> Option<Validity> {
    validity(identity.chain.first()?).ok()
}

fn read(disk: &dyn Disk, path: &'static str) -> Result<Option<NodeIdentity>, IdentityError> {
    let Some(bytes) = file::read(disk, path).map_err(|source| IdentityError::File { path, source })? else {
        return Ok(None);
    };
    postcard::from_bytes(&bytes).map(Some).map_err(|_| IdentityError::Malformed { path })
}

fn write(disk: &dyn Disk, path: &'static str, identity: &NodeIdentity) -> Result<(), IdentityError> {
    let bytes = postcard::to_allocvec(identity).map_err(|_| IdentityError::Malformed { path })?;
    file::write(disk, path, &bytes).map_err(|source| IdentityError::File { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;

    fn identity(mark: u8) -> NodeIdentity {
        NodeIdentity {
            node_uid: "u".into(),
            node_name: "edge".into(),
            key: vec![mark],
            chain: vec![vec![mark]],
            roots: vec![vec![9]],
        }
    }

    fn shown(identities: &Identities) -> u8 {
        identities.in_use().0.key[0]
    }

    fn load(env: &World) -> Arc<Identities> {
        Identities::load(env.clone()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_old_identity_stays_until_the_new_one_has_connected() {
        let dir = tempfile::tempdir().unwrap();
        let env: World = HostEnv::new(dir.path());
        assert!(Identities::load(env.clone()).unwrap().is_none());
        let identities = Identities::create(env.clone(), identity(1)).unwrap();
        identities.connected().await.unwrap();
        let before = identities.in_use().1;
        identities.renewed(identity(2)).await.unwrap();
        assert_eq!(shown(&identities), 2);
        assert_ne!(identities.in_use().1, before);
        // Started again before it has connected: the new one first; when it is refused, the old one.
        let again = load(&env);
        assert_eq!(shown(&again), 2);
        again.refused();
        assert_eq!(shown(&again), 1);
        again.connected().await.unwrap();
        assert_eq!(read(&*env.disk(), PATH).unwrap(), Some(identity(1)), "the old one has connected, not the new one");
        assert_eq!(shown(&load(&env)), 2);
        again.refused();
        again.connected().await.unwrap();
        assert_eq!(shown(&again), 2);
        again.refused();
        assert_eq!(shown(&again), 2, "there is no other one");
        assert_eq!(shown(&load(&env)), 2);
        assert!(!dir.path().join(NEXT).exists());
    }

    #[tokio::test]
    async fn what_a_power_cut_leaves_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let env: World = HostEnv::new(dir.path());
        let identities = Identities::create(env.clone(), identity(1)).unwrap();
        identities.renewed(identity(2)).await.unwrap();
        // Between the two steps of `connected`.
        write(&*env.disk(), PATH, &identity(2)).unwrap();
        let again = load(&env);
        again.refused();
        assert_eq!(shown(&again), 2);
        std::fs::write(dir.path().join(NEXT), b"torn").unwrap();
        assert_eq!(shown(&load(&env)), 2);
        std::fs::write(dir.path().join(PATH), b"torn").unwrap();
        assert!(matches!(Identities::load(env).err(), Some(IdentityError::File { path: PATH, .. })));
    }

    #[test]
    fn renewals_are_spread_between_two_and_three_quarters_of_a_life() {
        let secs = Duration::from_secs;
        let validity = Validity { not_before: secs(1000), not_after: secs(1000 + 1200) };
        assert_eq!(renewal_due(validity, 0.0), secs(1800));
        assert_eq!(renewal_due(validity, 1.0), secs(1900));
        assert_eq!(renewal_due(validity, 7.0), secs(1900));
    }
}
