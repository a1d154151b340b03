//! What expressions cost: estimated before (`estimate`) and counted while they run (`run`).
//!
//! The model and its numbers are cel-go's and those of Kubernetes' libraries: which rules a custom resource may have
//! depends on them. "Traversal" is a tenth a code point.

mod calls;
mod estimate;
mod run;

pub(crate) use estimate::estimate;
pub(crate) use run::{RunCost, compare_cost};

use crate::types::Type;

/// Making a list, whatever is in it.
pub(crate) const LIST_BASE: u64 = 10;
/// Making a map.
pub(crate) const MAP_BASE: u64 = 30;
/// Making an object.
pub(crate) const STRUCT_BASE: u64 = 40;
/// A code point of text that is gone through once.
const TRAVERSAL: f64 = 0.1;
/// A code point of a pattern, for text of unit cost.
const PATTERN: f64 = 0.25;
/// An authorization check: two fit into one evaluation.
const CHECK: u64 = 350_000;
/// Longest pattern of a named format.
const MAX_FORMAT_PATTERN: f64 = 128.0;
/// Longest name of a format.
const MAX_FORMAT: u64 = 64;

/// How large something is at least and at most: code points, bytes, elements or entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeEstimate {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

/// What something costs at least and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostEstimate {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

/// `x * factor`, rounded up, without overflow.
fn scale(x: u64, factor: f64) -> u64 {
    let product = (x as f64 * factor).ceil();
    if product >= u64::MAX as f64 { u64::MAX } else { product as u64 }
}

impl SizeEstimate {
    /// Nothing is known.
    pub const UNKNOWN: SizeEstimate = SizeEstimate { min: 0, max: u64::MAX };

    /// Just this size.
    pub fn fixed(size: u64) -> SizeEstimate {
        SizeEstimate { min: size, max: size }
    }

    pub(crate) fn plus(self, other: SizeEstimate) -> SizeEstimate {
        SizeEstimate { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(crate) fn times(self, other: SizeEstimate) -> SizeEstimate {
        SizeEstimate { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(crate) fn times_cost(self, cost: CostEstimate) -> CostEstimate {
        CostEstimate { min: self.min.saturating_mul(cost.min), max: self.max.saturating_mul(cost.max) }
    }

    pub(crate) fn cost(self, factor: f64) -> CostEstimate {
        CostEstimate { min: scale(self.min, factor), max: scale(self.max, factor) }
    }

    pub(crate) fn union(self, other: SizeEstimate) -> SizeEstimate {
        SizeEstimate { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

impl CostEstimate {
    /// Just this cost.
    pub fn fixed(cost: u64) -> CostEstimate {
        CostEstimate { min: cost, max: cost }
    }

    pub(crate) fn plus(self, other: CostEstimate) -> CostEstimate {
        CostEstimate { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(crate) fn times(self, other: CostEstimate) -> CostEstimate {
        CostEstimate { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(crate) fn scaled(self, factor: f64) -> CostEstimate {
        CostEstimate { min: scale(self.min, factor), max: scale(self.max, factor) }
    }

    pub(crate) fn union(self, other: CostEstimate) -> CostEstimate {
        CostEstimate { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// A part of an expression whose size is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Node<'n> {
    /// The way to it from a variable: the variable's name, then names of fields, `@items`, `@values`, `@keys` or
    /// `@indices`. Empty when there is none.
    pub path: &'n [Box<str>],
    /// Its type.
    pub ty: &'n Type,
}

/// Knows how large values are: a schema's longest texts, lists and maps.
pub trait SizeEstimator {
    /// The size of a value, if it is known.
    fn size(&self, node: Node<'_>) -> Option<SizeEstimate>;
}

/// Knows no size.
#[derive(Clone, Copy, Debug)]
pub struct UnknownSizes;

impl SizeEstimator for UnknownSizes {
    fn size(&self, _: Node<'_>) -> Option<SizeEstimate> {
        None
    }
}
