//! Managers of an object as managers of its `scale`, and back.
//!
//! A scale has one field that somebody can own, `spec.replicas`; in the object it may have another path.

use super::element::Element;
use super::managers::{Entry, Managers};
use super::set::FieldSet;
use std::borrow::Cow;

/// The version of `Scale`.
const VERSION: &str = "autoscaling/v1";

/// Where the object has its replicas.
#[derive(Clone, Copy)]
pub struct Replicas<'r> {
    /// The object's version in this request.
    pub api_version: &'r str,
    /// The path of the replicas in a version of the object; `None` when that has none.
    pub path: &'r dyn Fn(&str) -> Option<Vec<Element<'static>>>,
}

fn replicas_of_scale() -> FieldSet<'static> {
    let mut set = FieldSet::default();
    set.insert(&[Element::field("spec"), Element::field("replicas")]);
    set
}

/// Those managers of an object that own its replicas, as managers of its scale.
pub fn to_scale<'a>(managers: &Managers<'a>, replicas: Replicas<'_>) -> Managers<'a> {
    let owns =
        |entry: &&Entry<'a>| (replicas.path)(&entry.api_version).is_some_and(|path| entry.fields.contains(&path));
    let entries = managers.entries.iter().filter(owns).map(|entry| Entry {
        api_version: Cow::Borrowed(VERSION),
        fields: replicas_of_scale(),
        ..entry.clone()
    });
    Managers { entries: entries.collect() }
}

/// The managers of an object after a write of its scale left the scale with `scale`.
pub fn to_object<'a>(managers: Managers<'a>, scale: Managers<'a>, replicas: Replicas<'_>) -> Managers<'a> {
    let own = [Element::field("spec"), Element::field("replicas")];
    let mut left: Vec<Entry<'a>> = scale.entries.into_iter().filter(|entry| entry.fields.contains(&own)).collect();
    let mut out = Managers::default();
    for mut entry in managers.entries {
        let Some(path) = (replicas.path)(&entry.api_version) else { continue };
        let same = |other: &Entry<'_>| {
            (&other.manager, other.operation, &other.subresource)
                == (&entry.manager, entry.operation, &entry.subresource)
        };
        if entry.fields.contains(&path) {
            match left.iter().position(same) {
                Some(at) => {
                    left.swap_remove(at);
                }
                // Somebody else has it now.
                None => {
                    let mut gone = FieldSet::default();
                    gone.insert(&path);
                    entry.fields = entry.fields.difference(&gone);
                }
            }
        }
        if !entry.fields.is_empty() {
            out.put(entry);
        }
    }
    let Some(path) = (replicas.path)(replicas.api_version) else { return out };
    for mut entry in left {
        entry.api_version = Cow::Owned(replicas.api_version.to_string());
        entry.fields = FieldSet::default();
        entry.fields.insert(&path);
        out.join(entry);
    }
    out
}
