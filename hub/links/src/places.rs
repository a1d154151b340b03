//! Places for peers of which nothing is known yet. They are few, and wherever a stranger sits, it may hold some of them
//! and no more: whoever takes places and never goes on keeps nobody else away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded number of places. From half of them on there are rules: a peer has to prove its address first, so that nobody
/// fills them under strangers' addresses, and a proven address has an eighth of them. (Until then it may have more: the
/// boxes of a site may share an address, and come back together.)
pub(crate) struct Places {
    most: usize,
    free: Arc<Semaphore>,
    /// Those whose address is proven.
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
}

/// What is done with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It goes on once it has a place.
    Admitted,
    /// The peer has to show first that it is where it says.
    Prove,
    /// Its address holds enough places: it may come again.
    Refused,
}

/// A place, until dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    proven: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many places.
    pub(crate) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { most, free: Arc::new(Semaphore::new(most)), by_address: Mutex::default() })
    }

    fn by_address(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.most - self.free.available_permits()
    }

    /// What to do with an attempt from there; `proven`: it does come from there.
    pub(crate) fn admit(&self, address: IpAddr, proven: bool) -> Admission {
        if self.taken() < self.most / 2 {
            Admission::Admitted
        } else if !proven {
            Admission::Prove
        } else if self.by_address().get(&address).is_some_and(|held| *held >= self.most / 8) {
            Admission::Refused
        } else {
            Admission::Admitted
        }
    }

    /// Waits for a place for a peer that was admitted; always gets one. Cancel safe.
    pub(crate) async fn place(self: &Arc<Self>, proven: Option<IpAddr>) -> Option<Place> {
        // Closed never: the semaphore lives as long as self.
        let permit = self.free.clone().acquire_owned().await.ok()?;
        Some(self.taken_by(proven, permit))
    }

    /// A place if there is one for a peer whose address is proven.
    pub(crate) fn place_now(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        if self.admit(address, true) != Admission::Admitted {
            return None;
        }
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(self.taken_by(Some(address), permit))
    }

    fn taken_by(self: &Arc<Self>, proven: Option<IpAddr>, permit: OwnedSemaphorePermit) -> Place {
        if let Some(address) = proven {
            *self.by_address().entry(address).or_default() += 1;
        }
        Place { places: self.clone(), proven, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.proven else { return };
        let mut by_address = self.places.by_address();
        if let Some(held) = by_address.get_mut(&address) {
            *held -= 1;
            if *held == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_holds_half_of_the_places_at_most_and_leaves_room_for_others() {
        let places = Places::new(64);
        let [stranger, node] = ["203.0.113.1", "203.0.113.2"].map(|address| address.parse::<IpAddr>().unwrap());
        let mut held = Vec::new();
        while places.admit(stranger, true) == Admission::Admitted {
            held.extend(places.place(Some(stranger)).await);
        }
        assert_eq!(places.taken(), 32);
        assert_eq!(places.admit(stranger, true), Admission::Refused);
        assert_eq!(places.admit(node, false), Admission::Prove);
        held.extend(std::iter::from_fn(|| places.place_now(node)));
        assert_eq!(places.taken(), 32 + 8);
        held.clear();
        assert_eq!((places.taken(), places.by_address().len()), (0, 0));
        // Whoever borrows a node's address takes none of that node's places.
        while places.admit(node, false) == Admission::Admitted {
            held.extend(places.place(None).await);
        }
        assert_eq!((places.taken(), places.admit(node, true)), (32, Admission::Admitted));
    }
}
