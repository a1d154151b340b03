//! Estimates of calls: Kubernetes' rules first, then those of cel-go's libraries, then the language's own.

use super::estimate::Estimator;
use super::run::{is_text_order, selector};
use super::{CHECK, CostEstimate, LIST_BASE, MAX_FORMAT, MAX_FORMAT_PATTERN, PATTERN, SizeEstimate, TRAVERSAL};
use crate::syntax::ast::{Expr, Kind, Literal};
use crate::types::Type;

/// What one overload of a call costs, and how large its result is.
pub(super) struct CallEstimate {
    pub(super) cost: CostEstimate,
    pub(super) size: Option<SizeEstimate>,
}

fn costs(cost: CostEstimate) -> Option<CallEstimate> {
    Some(CallEstimate { cost, size: None })
}

fn yields(cost: CostEstimate, size: SizeEstimate) -> Option<CallEstimate> {
    Some(CallEstimate { cost, size: Some(size) })
}

const ONE: CostEstimate = CostEstimate { min: 1, max: 1 };
const ONE_MORE: SizeEstimate = SizeEstimate { min: 1, max: 1 };
/// Bytes of an address of either family.
const ADDRESS: SizeEstimate = SizeEstimate { min: 4, max: 16 };

impl Estimator<'_> {
    pub(super) fn function(
        &mut self,
        expr: &Expr,
        function: &str,
        id: &str,
        target: Option<&Expr>,
        args: &[Expr],
        arg_costs: &[CostEstimate],
    ) -> CallEstimate {
        let sum = arg_costs.iter().fold(CostEstimate::default(), |sum, cost| sum.plus(*cost));
        let own = self.lists_and_sets(id, target, args).or_else(|| self.kubernetes(function, id, target, args));
        if let Some(CallEstimate { cost, size }) = own {
            return CallEstimate { cost: cost.plus(sum), size };
        }
        match (id, arg_costs, args) {
            ("logical_and" | "logical_or", [first, ..], _) => {
                CallEstimate { cost: CostEstimate { min: first.min, max: sum.max }, size: None }
            }
            ("conditional", [condition, yes, no], [_, one, two]) => {
                let size = self.size_or_unknown(one).union(self.size_or_unknown(two));
                let entries = self.joined_entries(one, two);
                self.set_entries(expr, entries);
                CallEstimate { cost: condition.plus(yes.union(*no)), size: Some(size) }
            }
            _ => {
                let found = self.language(expr, id, target, args);
                let CallEstimate { cost, size } = found.unwrap_or(CallEstimate { cost: ONE, size: None });
                CallEstimate { cost: cost.plus(sum), size }
            }
        }
    }

    /// `strings`' and the language's own functions.
    fn language(&mut self, expr: &Expr, id: &str, target: Option<&Expr>, args: &[Expr]) -> Option<CallEstimate> {
        let traversal = |size: SizeEstimate| size.cost(TRAVERSAL);
        match (id, target, args) {
            ("string_format", Some(target), _) => costs(traversal(self.size_or_unknown(target))),
            ("string_to_bytes", _, [arg]) => {
                let size = self.size_or_unknown(arg);
                yields(traversal(size), SizeEstimate { min: size.min, max: size.max.saturating_mul(4) })
            }
            ("bytes_to_string", _, [arg]) => {
                let size = self.size_or_unknown(arg);
                yields(traversal(size), SizeEstimate { min: size.min / 4, max: size.max })
            }
            ("strings_quote", _, [arg]) => {
                let size = self.size_or_unknown(arg);
                let max = size.max.saturating_mul(2).saturating_add(2);
                yields(traversal(size), SizeEstimate { min: size.min.saturating_add(2), max })
            }
            ("starts_with_string" | "ends_with_string", _, [arg]) => costs(traversal(self.size_or_unknown(arg))),
            ("in_list", _, [_, list]) => costs(self.size_or_unknown(list).cost(1.0)),
            ("matches_string", Some(target), [pattern]) => costs(self.pattern(target, pattern)),
            ("contains_string", Some(target), [part]) => {
                let (text, part) = (self.size_or_unknown(target), self.size_or_unknown(part));
                costs(traversal(text).times(traversal(part)))
            }
            ("add_string" | "add_bytes" | "add_list", _, [one, two]) => {
                let size = self.size_or_unknown(one).plus(self.size_or_unknown(two));
                let entries = self.joined_entries(one, two);
                self.set_entries(expr, entries);
                yields(if id == "add_list" { ONE } else { traversal(size) }, size)
            }
            (_, _, [one, two]) if is_text_order(id) || matches!(id, "equals" | "not_equals") => {
                let max = self.size_or_unknown(one).max.min(self.size_or_unknown(two).max);
                costs(traversal(SizeEstimate { min: u64::from(max > 0), max }))
            }
            _ => None,
        }
    }

    /// A pattern that runs over a text: an empty text is not free.
    fn pattern(&mut self, text: &Expr, pattern: &Expr) -> CostEstimate {
        let text = self.size_or_unknown(text).plus(ONE_MORE).cost(TRAVERSAL);
        text.times(self.size_or_unknown(pattern).cost(PATTERN))
    }

    /// cel-go's `lists` and `sets`.
    fn lists_and_sets(&mut self, id: &str, target: Option<&Expr>, args: &[Expr]) -> Option<CallEstimate> {
        let made =
            |factor: f64, size: SizeEstimate| yields(size.cost(factor).plus(CostEstimate::fixed(1 + LIST_BASE)), size);
        match (id, target, args) {
            ("list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list", _, [one, two]) => {
                let factor = if id == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
                let size = self.size_or_unknown(one).times(self.size_or_unknown(two));
                costs(size.cost(factor).plus(ONE))
            }
            ("list_slice", Some(target), [start, end]) => {
                let (start, end) = (int(start, 0), int(end, self.size_or_unknown(target).max));
                made(1.0, SizeEstimate::fixed(end.saturating_sub(start)))
            }
            ("lists_range", None, [count]) => made(1.0, SizeEstimate::fixed(int(count, u64::MAX))),
            ("list_reverse", Some(target), []) => made(1.0, self.size_or_unknown(target)),
            ("list_flatten" | "list_flatten_int", Some(target), _) => {
                let depth = args.first().map_or(1, |depth| int(depth, u64::MAX));
                made(depth as f64, self.size_or_unknown(target))
            }
            ("list_distinct", Some(target), []) => {
                let size = self.size_or_unknown(target);
                made(2.0, size.times(size))
            }
            (_, Some(target), _) if id.ends_with("_sort") || id.ends_with("_sortByAssociatedKeys") => {
                let size = self.size_or_unknown(args.first().unwrap_or(target));
                let text = id.starts_with("list_string_") || id.starts_with("list_bytes_");
                made(if text { 2.0 + TRAVERSAL } else { 2.0 }, size.times(size))
            }
            _ => None,
        }
    }

    /// Kubernetes' libraries, and what it knows better of `strings`.
    fn kubernetes(&mut self, function: &str, id: &str, target: Option<&Expr>, args: &[Expr]) -> Option<CallEstimate> {
        let traversal = |size: SizeEstimate| size.cost(TRAVERSAL);
        match (function, target, args) {
            ("check", ..) => costs(CostEstimate::fixed(CHECK)),
            ("serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name", ..)
            | ("allowed" | "reason" | "error" | "errored" | "format.named", ..)
            | ("masked" | "prefixLength" | "family" | "isUnspecified" | "isLoopback", ..)
            | ("isLinkLocalMulticast" | "isLinkLocalUnicast" | "isGlobalUnicast", ..)
            | ("sign" | "asInteger" | "isInteger" | "asApproximateFloat" | "isGreaterThan" | "isLessThan", ..)
            | ("compareTo" | "add" | "sub" | "major" | "minor" | "patch", ..)
            | ("getScheme" | "getHostname" | "getHost" | "getPort" | "getEscapedPath" | "getQuery", ..) => costs(ONE),
            ("fieldSelector" | "labelSelector", _, [arg]) => {
                let size = self.size_or_unknown(arg);
                costs(CostEstimate { min: selector(size.min), max: selector(size.max) })
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                let size = self.size_or_unknown(target);
                costs(match self.element_size(target) {
                    Some((element, Type::String | Type::Bytes)) => size.times_cost(ONE.plus(traversal(element))),
                    Some(_) => size.times_cost(ONE),
                    None => traversal(size),
                })
            }
            ("url", _, [arg]) => {
                let size = self.size_or_unknown(arg);
                yields(traversal(size), size)
            }
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => {
                let size = self.size_or_unknown(target);
                yields(traversal(size), size)
            }
            ("replace", Some(target), [old, new, ..]) => {
                let size = self.size_or_unknown(target);
                let (old, new) = (self.size_or_unknown(old), self.size_or_unknown(new));
                yields(size.cost(2.0 * TRAVERSAL), replaced(size, old, new))
            }
            ("split", Some(target), _) => {
                let size = self.size_or_unknown(target);
                let max = args.get(1).map_or(size.max, |limit| int(limit, size.max));
                yields(size.cost(2.0 * TRAVERSAL), SizeEstimate { min: 0, max })
            }
            ("join", Some(target), _) => {
                let list = self.size_or_unknown(target);
                let elements = self.element_size(target).map(|(element, _)| list.times(element));
                let mut size = elements.unwrap_or(SizeEstimate::fixed(0));
                if let Some(separator) = args.first() {
                    let count = SizeEstimate { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    size = size.plus(self.size_or_unknown(separator).times(count));
                }
                yields(traversal(size), size)
            }
            ("find" | "findAll", Some(target), [pattern, ..]) => {
                let max = self.size_or_unknown(target).max;
                yields(self.pattern(target, pattern), SizeEstimate { min: 0, max })
            }
            ("ip", ..) if id == "cidr_ip" => costs(ONE),
            ("cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver", _, [arg, ..]) => {
                costs(traversal(self.size_or_unknown(arg)))
            }
            ("ip.isCanonical", _, [arg]) => costs(self.size_or_unknown(arg).cost(2.0 * TRAVERSAL)),
            ("containsIP" | "containsCIDR", _, [arg]) => {
                let mut cost = traversal(ADDRESS.plus(ADDRESS));
                if function == "containsCIDR" {
                    cost = cost.plus(traversal(ADDRESS)).plus(ONE);
                }
                if matches!(id, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                    let size = self.size_or_unknown(arg);
                    cost = cost.plus(CostEstimate { min: size.min, max: size.max }.scaled(TRAVERSAL));
                }
                costs(cost)
            }
            ("validate", _, [arg]) => costs(traversal(self.size_or_unknown(arg)).scaled(MAX_FORMAT_PATTERN * PATTERN)),
            ("_==_", _, [one, two]) if one.ty == two.ty => match &one.ty {
                Type::Object(name) if &**name == "kubernetes.NamedFormat" => {
                    costs(CostEstimate { min: 1, max: MAX_FORMAT }.scaled(TRAVERSAL))
                }
                Type::Object(name) if &**name == "kubernetes.URL" => {
                    let max = self.size(two).map_or(1, |size| size.max);
                    costs(CostEstimate { min: 1, max }.scaled(TRAVERSAL))
                }
                Type::Object(name) | Type::Opaque(name) if crate::kubernetes::is_own_type(name) => costs(ONE),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A literal integer, negative ones as zero, or what stands for others.
fn int(expr: &Expr, otherwise: u64) -> u64 {
    match &expr.kind {
        Kind::Literal(Literal::Int(value)) => u64::try_from(*value).unwrap_or(0),
        _ => otherwise,
    }
}

/// How long a text is in which parts were replaced.
fn replaced(text: SizeEstimate, old: SizeEstimate, new: SizeEstimate) -> SizeEstimate {
    let parts = |text: u64, old: u64| (text as f64 / old as f64).ceil() as u64;
    // Between all characters, if nothing is replaced by something.
    let (count_max, kept_max) = match old.min {
        0 => (text.max.saturating_add(1), text.max),
        min if new.max <= min => (0, text.max),
        min => (parts(text.max, min), 0),
    };
    let (count_min, kept_min) = match old.max {
        0 => (text.min.saturating_add(1), text.min),
        max if max <= new.min => (0, text.min),
        max => (parts(text.min, max), 0),
    };
    let count = SizeEstimate { min: count_min, max: count_max };
    count.times(new).plus(SizeEstimate { min: kept_min, max: kept_max })
}
