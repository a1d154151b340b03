//! What goes first on a slow link: pods that are to end, then what is small, then bulk; and what a pod needs before it.

use crate::hub::{HubItem, HubView};
use crate::limits::BULK_BYTES;
use holdfast_core::ContentHash;
use std::collections::BTreeMap;

/// An object that the node lacks.
#[derive(Clone, Debug)]
pub(super) struct Lacking<'a> {
    pub(super) key: &'a str,
    pub(super) hash: ContentHash,
    pub(super) item: HubItem,
}

/// Whether a key is that of a pod.
pub(super) fn is_pod(key: &str) -> bool {
    key.starts_with("/v1/pods/")
}

/// Puts `lacking` into the order in which it is sent; how many stand before bulk. A pod comes after all that it needs,
/// unless the node has it already and is to end it.
pub(super) fn order(lacking: &mut [Lacking<'_>], is_held: impl Fn(&str) -> bool, view: &dyn HubView) -> usize {
    let bulk: BTreeMap<&str, usize> = lacking
        .iter()
        .filter(|lacks| !is_pod(lacks.key) && lacks.item.body.len() > BULK_BYTES)
        .map(|lacks| (lacks.key, lacks.item.body.len()))
        .collect();
    let mut urgent = 0;
    lacking.sort_by_cached_key(|lacks| {
        let pod = is_pod(lacks.key);
        let (class, bytes) = if pod && is_held(lacks.key) && is_ending(&lacks.item.body) {
            (Class::Ending, 0)
        } else if pod && !bulk.is_empty() {
            // Behind the largest that it needs: all that is smaller goes before that.
            let needs = view.needs(lacks.key);
            match needs.iter().filter_map(|key| bulk.get(key.as_str())).max() {
                Some(bytes) => (Class::Bulk, *bytes),
                None => (Class::Small, 0),
            }
        } else {
            bulk.get(lacks.key).map_or((Class::Small, 0), |bytes| (Class::Bulk, *bytes))
        };
        urgent += usize::from(class != Class::Bulk);
        (class, bytes, pod, lacks.key)
    });
    urgent
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Ending,
    Small,
    Bulk,
}

/// Whether a pod is being deleted. Others may say the word in a text of theirs: they go first, and lose nothing by it.
fn is_ending(body: &[u8]) -> bool {
    let word = b"\"deletionTimestamp\":";
    body.windows(word.len()).any(|window| window == word)
}
