//! The kinds that a server serves.

use holdfast_core::{Gvk, Gvr};
use holdfast_kinds::Kind;
use std::collections::BTreeMap;

/// The kinds that a server serves, found by path or by type.
#[derive(Clone, Debug, Default)]
pub struct KindSet {
    kinds: Vec<&'static Kind>,
    by_gvr: BTreeMap<Gvr, usize>,
    by_gvk: BTreeMap<Gvk, usize>,
}

impl KindSet {
    /// These kinds, in the order of discovery.
    pub fn new(kinds: impl IntoIterator<Item = &'static Kind>) -> KindSet {
        let kinds: Vec<&'static Kind> = kinds.into_iter().collect();
        let by_gvr = kinds.iter().enumerate().map(|(at, kind)| (kind.gvr(), at)).collect();
        let by_gvk = kinds.iter().enumerate().map(|(at, kind)| (kind.gvk(), at)).collect();
        KindSet { kinds, by_gvr, by_gvk }
    }

    /// The kind at a path.
    pub fn by_gvr(&self, gvr: &Gvr) -> Option<&'static Kind> {
        self.by_gvr.get(gvr).map(|at| self.kinds[*at])
    }

    /// The kind of an object.
    pub fn by_gvk(&self, gvk: &Gvk) -> Option<&'static Kind> {
        self.by_gvk.get(gvk).map(|at| self.kinds[*at])
    }

    /// All kinds.
    pub fn iter(&self) -> impl Iterator<Item = &'static Kind> + '_ {
        self.kinds.iter().copied()
    }
}
