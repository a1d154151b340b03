//! Deliberate faults: each breaks one rule of the design, and the simulator must find it.
//!
//! Where a rule is kept, the code asks [`broken`] whether to break it. Without the feature `mutations` the answer is a
//! constant `false` that the compiler removes; no build but the simulator's own sets it.

/// A fault, and the number of seeds within which the simulator must catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Its name, as [`broken`] is asked.
    pub name: &'static str,
    /// Seeds from 0 that it may survive at most.
    pub within: u64,
    /// The simulation of sites has to catch it.
    pub of_site: bool,
}

const fn mutation(name: &'static str, within: u64) -> Mutation {
    Mutation { name, within, of_site: false }
}

const fn site(name: &'static str, within: u64) -> Mutation {
    Mutation { name, within, of_site: true }
}

/// All of them.
pub const MUTATIONS: &[Mutation] = &[
    // The node's end of the link.
    mutation("ack-before-sync", 100),
    mutation("delete-by-absence", 100),
    mutation("facts-forgotten-on-reconnect", 50),
    mutation("silence-not-reported", 100),
    mutation("lease-not-enforced", 50),
    mutation("lease-before-sync", 50),
    mutation("lease-outlives-the-boot", 150),
    // The node's store.
    mutation("closure-not-atomic", 200),
    mutation("commit-without-sync", 50),
    mutation("numbers-used-twice", 400),
    mutation("page-cache-trusted", 400),
    mutation("doubtful-vitals-trusted", 500),
    mutation("sweep-before-sync", 600),
    mutation("results-forgotten", 400),
    // The hub's end of the link.
    mutation("mark-outside-the-transaction", 10),
    mutation("everything-sent-again", 50),
    mutation("delta-unverified", 20),
    mutation("tombstones-forgotten", 50),
    mutation("closure-without-secrets", 50),
    mutation("secrets-of-all", 10),
    mutation("pods-of-all", 20),
    mutation("view-shared-by-connections", 50),
    mutation("replaced-too-early", 50),
    mutation("adopt-under-new-uid", 100),
    mutation("adopt-deleted", 400),
    // Boxes of a site among themselves.
    site("site-minority", 50),
    site("site-old-set-forgotten", 400),
    site("site-promise-ends-with-set", 100),
    site("site-vote-before-sync", 200),
    site("site-lease-from-receipt", 200),
    site("site-votes-after-reboot", 400),
    site("site-run-lease-not-enforced", 50),
    site("site-grants-at-once", 50),
    site("site-silence-ends-delegation", 50),
];

#[cfg(feature = "mutations")]
static ACTIVE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);

/// Whether the rule of this name is broken in this process.
#[cfg(feature = "mutations")]
pub fn broken(name: &str) -> bool {
    let active = ACTIVE.load(std::sync::atomic::Ordering::Relaxed);
    MUTATIONS.get(active).is_some_and(|mutation| mutation.name == name)
}

/// Whether the rule of this name is broken in this process: never.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub const fn broken(_name: &str) -> bool {
    false
}

/// Breaks the rule of this name from now on, and none for `None`; false when there is no such rule.
#[cfg(feature = "mutations")]
pub fn activate(name: Option<&str>) -> bool {
    let at = name.map_or(Some(usize::MAX), |name| MUTATIONS.iter().position(|mutation| mutation.name == name));
    if let Some(at) = at {
        ACTIVE.store(at, std::sync::atomic::Ordering::Relaxed);
    }
    at.is_some()
}
