//! The kinds that a server serves.

use holdfast_core::{Gvk, Gvr, Status};
use holdfast_kinds::Kind;
use std::collections::BTreeMap;

/// The kinds that a server serves, found by path or by type.
#[derive(Clone, Debug, Default)]
pub struct KindSet {
    kinds: Vec<&'static Kind>,
    by_gvr: BTreeMap<Gvr, usize>,
    by_gvk: BTreeMap<Gvk, usize>,
    read_only: Option<&'static str>,
}

impl KindSet {
    /// These kinds, in the order of discovery.
    pub fn new(kinds: impl IntoIterator<Item = &'static Kind>) -> KindSet {
        let kinds: Vec<&'static Kind> = kinds.into_iter().collect();
        let by_gvr = kinds.iter().enumerate().map(|(at, kind)| (kind.gvr(), at)).collect();
        let by_gvk = kinds.iter().enumerate().map(|(at, kind)| (kind.gvk(), at)).collect();
        KindSet { kinds, by_gvr, by_gvk, read_only: None }
    }

    /// These kinds, none of which can be written; `why` says so to whoever tries.
    pub fn read_only(kinds: impl IntoIterator<Item = &'static Kind>, why: &'static str) -> KindSet {
        KindSet { read_only: Some(why), ..KindSet::new(kinds) }
    }

    /// 405 for a verb that a kind does not have here.
    pub(crate) fn refusal(&self, gvr: &Gvr, verb: &str) -> Status {
        match self.read_only {
            Some(why) if !["get", "list", "watch"].contains(&verb) => Status::read_only(gvr, verb, why),
            _ => Status::method_not_allowed(gvr, verb),
        }
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
