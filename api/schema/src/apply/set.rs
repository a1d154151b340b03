//! A set of paths: a trie whose nodes say whether they are members themselves.

use super::element::Element;
use std::cmp::Ordering;

/// A set of paths. That a path is a member says nothing of what lies above or below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet<'a> {
    /// Sorted by element, each element once; no node without a member in or below it.
    pub(super) nodes: Vec<Node<'a>>,
}

/// An element of a trie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node<'a> {
    pub(super) element: Element<'a>,
    pub(super) is_member: bool,
    pub(super) below: FieldSet<'a>,
}

/// What a walk found at a place: whether the place is a member, and the members below.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch<'a> {
    pub(super) is_member: bool,
    pub(super) below: FieldSet<'a>,
}

impl<'a> Branch<'a> {
    pub(super) fn leaf() -> Branch<'a> {
        Branch { is_member: true, below: FieldSet::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }
}

impl<'a> FieldSet<'a> {
    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.nodes.iter().map(|node| usize::from(node.is_member) + node.below.len()).sum()
    }

    fn find(&self, element: &Element<'_>) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    pub(super) fn node(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        self.find(element).ok().map(|at| &self.nodes[at])
    }

    /// Whether the path is a member. The empty path never is.
    pub fn contains(&self, path: &[Element<'_>]) -> bool {
        match path {
            [] => false,
            [last] => self.node(last).is_some_and(|node| node.is_member),
            [first, rest @ ..] => self.node(first).is_some_and(|node| node.below.contains(rest)),
        }
    }

    /// Makes the path a member. The empty path is ignored: nobody owns a whole object.
    pub fn insert(&mut self, path: &[Element<'a>]) {
        let Some((first, rest)) = path.split_first() else { return };
        let at = self.find(first).unwrap_or_else(|at| {
            self.nodes.insert(at, Node { element: first.clone(), is_member: false, below: FieldSet::default() });
            at
        });
        match rest {
            [] => self.nodes[at].is_member = true,
            rest => self.nodes[at].below.insert(rest),
        }
    }

    /// Adds what a walk found under `element`; the caller [`FieldSet::seal`]s the set when all is in.
    pub(super) fn push(&mut self, element: Element<'a>, found: Branch<'a>) {
        if !found.is_empty() {
            self.nodes.push(Node { element, is_member: found.is_member, below: found.below });
        }
    }

    /// Puts pushed elements in order, and joins those that came twice.
    pub(super) fn seal(&mut self) {
        if self.nodes.is_sorted_by(|a, b| a.element < b.element) {
            return;
        }
        self.nodes.sort_by(|a, b| a.element.cmp(&b.element));
        let mut joined: Vec<Node<'a>> = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes) {
            match joined.last_mut().filter(|last| last.element == node.element) {
                Some(last) => {
                    last.is_member |= node.is_member;
                    last.below = std::mem::take(&mut last.below).union(node.below);
                }
                None => joined.push(node),
            }
        }
        self.nodes = joined;
    }

    /// Members of either.
    #[must_use]
    pub fn union(self, other: FieldSet<'a>) -> FieldSet<'a> {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self };
        }
        let mut nodes = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        let (mut ours, mut theirs) = (self.nodes.into_iter().peekable(), other.nodes.into_iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return FieldSet { nodes },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let a = if order.is_le() { ours.next() } else { None };
            let b = if order.is_ge() { theirs.next() } else { None };
            nodes.extend(match (a, b) {
                (Some(a), Some(b)) => Some(Node {
                    element: a.element,
                    is_member: a.is_member || b.is_member,
                    below: a.below.union(b.below),
                }),
                (one, other) => one.or(other),
            });
        }
    }

    /// Members of both.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet<'_>) -> FieldSet<'a> {
        if other.is_empty() {
            return FieldSet::default();
        }
        let common = self.nodes.iter().filter_map(|node| {
            let theirs = other.node(&node.element)?;
            let (is_member, below) = (node.is_member && theirs.is_member, node.below.intersection(&theirs.below));
            (is_member || !below.is_empty()).then(|| Node { element: node.element.clone(), is_member, below })
        });
        FieldSet { nodes: common.collect() }
    }

    /// Members of this set that are none of the other.
    #[must_use]
    pub fn difference(mut self, other: &FieldSet<'_>) -> FieldSet<'a> {
        self.subtract(other, false);
        self
    }

    /// Members of this set that are none of the other, nor below one of the other.
    #[must_use]
    pub fn without(mut self, other: &FieldSet<'_>) -> FieldSet<'a> {
        self.subtract(other, true);
        self
    }

    fn subtract(&mut self, other: &FieldSet<'_>, and_below: bool) {
        if other.is_empty() {
            return;
        }
        self.nodes.retain_mut(|node| {
            let Some(theirs) = other.node(&node.element) else { return true };
            if theirs.is_member && and_below {
                return false;
            }
            node.is_member &= !theirs.is_member;
            node.below.subtract(&theirs.below, and_below);
            node.is_member || !node.below.is_empty()
        });
    }

    /// The same set, borrowing nothing.
    pub fn into_owned(self) -> FieldSet<'static> {
        let nodes = self.nodes.into_iter().map(|node| Node {
            element: node.element.into_owned(),
            is_member: node.is_member,
            below: node.below.into_owned(),
        });
        FieldSet { nodes: nodes.collect() }
    }

    /// All members in upstream's order: those of a level before those below.
    pub fn paths(&self) -> Vec<Vec<Element<'a>>> {
        let mut out = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut out);
        out
    }

    fn collect_paths(&self, prefix: &mut Vec<Element<'a>>, out: &mut Vec<Vec<Element<'a>>>) {
        for node in self.nodes.iter().filter(|node| node.is_member) {
            out.push(prefix.iter().chain([&node.element]).cloned().collect());
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.below.collect_paths(prefix, out);
            prefix.pop();
        }
    }
}
