//! What the hub knows of a node's objects, and the bases of deltas among them.
//!
//! Bodies are handles on those of the hub's view, so they cost nothing while the view has the same. Only what the view has
//! left behind is held for the node's sake, within [`SUPERSEDED_BYTES`].

use crate::dictionary::NEWEST;
use crate::hub::HubView;
use crate::limits::{NEIGHBOUR_BYTES, SUPERSEDED_BYTES};
use crate::pack::{pack, pack_over_newest};
use crate::wire::ItemBody;
use bytes::Bytes;
use holdfast_core::ContentHash;
use holdfast_mutation::broken;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// An object of the node.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) hash: ContentHash,
    /// Its body, if the hub has it.
    pub(super) body: Option<Bytes>,
}

/// What the node has, as far as it has said or acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(BTreeMap<String, Held>);

impl Known {
    /// All of the view.
    pub(super) fn all(view: &dyn HubView) -> Known {
        let held = |(key, hash): (&str, ContentHash)| {
            (key.to_string(), Held { hash, body: view.get(key).map(|item| item.body) })
        };
        Known(view.entries().map(held).collect())
    }

    pub(super) fn hash(&self, key: &str) -> Option<ContentHash> {
        self.0.get(key).map(|held| held.hash)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn insert(&mut self, key: String, held: Held) {
        self.0.insert(key, held);
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| keep(key));
    }

    /// The view is now this: bodies that it has are its own, and of those that it has left behind only so many stay.
    pub(super) fn follow(&mut self, view: &dyn HubView, current: &BTreeMap<&str, ContentHash>) {
        let mut superseded = 0;
        for (key, held) in &mut self.0 {
            if current.get(key.as_str()) == Some(&held.hash) {
                held.body = view.get(key).map(|item| item.body);
            } else if let Some(body) = &held.body {
                superseded += body.len();
                if superseded > SUPERSEDED_BYTES {
                    superseded -= body.len();
                    held.body = None;
                }
            }
        }
    }

    /// The bytes that are held for the node's sake.
    #[cfg(test)]
    pub(super) fn superseded(&self, current: &BTreeMap<&str, ContentHash>) -> usize {
        let left = self.0.iter().filter(|(key, held)| current.get(key.as_str()) != Some(&held.hash));
        left.filter_map(|(_, held)| held.body.as_ref()).map(Bytes::len).sum()
    }

    /// The body of `key` for the wire, at its smallest. `batch` is what stands before it in the same batch.
    pub(super) fn body(&self, batch: &BTreeMap<String, Held>, key: &str, body: &[u8], deltas: bool) -> ItemBody {
        let base = if deltas { self.base(batch, key, body) } else { None };
        let delta = base.map(|(base_key, base_hash, base)| ItemBody::Delta {
            base_key: if base_key == key { String::new() } else { base_key.to_string() },
            base_hash,
            data: pack(base, body),
        });
        match delta {
            // An older version that still is like it: nothing else comes near.
            Some(delta) if size(&delta) < body.len() / 8 => delta,
            Some(delta) => {
                let whole = whole(body);
                if size(&delta) < size(&whole) { delta } else { whole }
            }
            None => whole(body),
        }
    }

    /// What the node has that is most like `key`: an older version of it, else of the two neighbours in the order of keys
    /// the one whose name has more in common. Pods of one ReplicaSet and slices of one Service stand side by side.
    fn base<'a>(
        &'a self,
        batch: &'a BTreeMap<String, Held>,
        key: &str,
        body: &[u8],
    ) -> Option<(&'a str, ContentHash, &'a Bytes)> {
        let usable = |(key, held): (&'a String, &'a Held)| Some((key.as_str(), held.hash, held.body.as_ref()?));
        let own = self.0.get_key_value(key).and_then(usable);
        if own.is_some() && !broken("delta-unverified") {
            return own;
        }
        // Of one kind and namespace.
        let folder = key.rfind('/').map_or(0, |at| at + 1);
        let common = |other: &str| key.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let neighbour = [&self.0, batch]
            .into_iter()
            .flat_map(|map| {
                let before = map.range::<str, _>((Unbounded, Excluded(key))).next_back();
                let after = map.range::<str, _>((Excluded(key), Unbounded)).next();
                [before, after]
            })
            .filter_map(|neighbour| usable(neighbour?))
            .filter(|(other, _, base)| common(other) >= folder && body.len().max(base.len()) <= NEIGHBOUR_BYTES)
            .max_by_key(|(other, ..)| common(other));
        match (own, neighbour) {
            // Over a base that the node takes for another: only with the rule broken.
            (Some((key, hash, _)), Some((.., other))) => Some((key, hash, other)),
            (own, neighbour) => own.or(neighbour),
        }
    }
}

/// The body by itself.
fn whole(body: &[u8]) -> ItemBody {
    ItemBody::Zstd { dictionary: NEWEST, data: pack_over_newest(body) }
}

/// About the bytes on the wire.
pub(super) fn size(body: &ItemBody) -> usize {
    match body {
        ItemBody::Zstd { data, .. } => data.len(),
        // With the hash of the base.
        ItemBody::Delta { base_key, data, .. } => base_key.len() + 10 + data.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::HubItem;
    use holdfast_core::{Revision, SetDigest, content_hash};

    #[derive(Default)]
    struct View(BTreeMap<String, Bytes>, SetDigest);

    impl HubView for View {
        fn revision(&self) -> Revision {
            Revision(1)
        }
        fn digest(&self) -> &SetDigest {
            &self.1
        }
        fn entries(&self) -> Box<dyn Iterator<Item = (&str, ContentHash)> + '_> {
            Box::new(self.0.iter().map(|(key, body)| (key.as_str(), content_hash(body))))
        }
        fn get(&self, key: &str) -> Option<HubItem> {
            self.0.get(key).map(|body| HubItem { revision: Revision(1), body: body.clone() })
        }
        fn needs(&self, _pod: &str) -> Vec<String> {
            Vec::new()
        }
    }

    fn follow(known: &mut Known, view: &View) -> usize {
        let current = view.entries().collect();
        known.follow(view, &current);
        known.superseded(&current)
    }

    #[test]
    fn what_the_view_left_behind_is_held_within_a_bound() {
        let (size, count) = (10 << 10, 60);
        let view = |version: u8| {
            View((0..count).map(|n| (format!("k/{n:02}"), vec![version; size].into())).collect(), SetDigest::default())
        };
        let mut known = Known::all(&view(1));
        assert_eq!(follow(&mut known, &view(1)), 0);
        let held = follow(&mut known, &view(2));
        assert!(held <= SUPERSEDED_BYTES && held > SUPERSEDED_BYTES - 2 * size, "{held}");
        let batch = BTreeMap::new();
        let kind = |key: &str| match known.body(&batch, key, &vec![3; size], true) {
            ItemBody::Delta { base_key, .. } => Some(base_key),
            ItemBody::Zstd { .. } => None,
        };
        assert_eq!(kind("k/00"), Some(String::new()));
        assert_eq!(known.base(&batch, "k/59", b"x"), None, "let go of, and its neighbours too");
    }

    #[test]
    fn bodies_are_those_of_the_view() {
        let view = |text: &'static str| {
            View([("k/a".to_string(), Bytes::from(text.as_bytes().to_vec()))].into(), SetDigest::default())
        };
        let mut known = Known::all(&view("one"));
        // The same content in another place, as of a view that was built anew.
        let rebuilt = view("one");
        follow(&mut known, &rebuilt);
        assert_eq!(known.0["k/a"].body.as_ref().unwrap().as_ptr(), rebuilt.0["k/a"].as_ptr());
        follow(&mut known, &view("two"));
        assert_eq!(known.0["k/a"].body.as_ref().unwrap(), "one");
    }
}
