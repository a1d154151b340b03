//! ResourceQuotas: which objects a name counts, which a scope selects, what a change adds.
//! (<https://kubernetes.io/docs/concepts/policy/resource-quotas/>)
//!
//! The one home of this arithmetic: the registry charges a quota by it in the transaction of the object's own write, and the
//! controller of quotas counts again by it.

mod scopes;
mod usage;

pub use usage::{add, expires, usage};

use holdfast_core::json::at;
use holdfast_core::{Json, Quantity, Timestamp};
use scopes::Term;
use std::collections::BTreeMap;
use usage::unnamed;

/// Amounts by the name of a resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Between the name of a class and what is counted of its claims.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
/// Between the name of a device class and its devices.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";

/// What a resource list of the API holds. What is no quantity was not validated, and is left out.
pub fn amounts(map: Option<&Json>) -> Amounts {
    let entries = map.and_then(Json::as_object).into_iter().flatten();
    let amount = |value: &Json| serde_json::from_value::<Quantity>(value.clone()).ok();
    entries.filter_map(|(name, value)| Some((name.clone(), amount(value)?))).collect()
}

/// Amounts as the API writes them.
pub fn to_json(amounts: &Amounts) -> Json {
    amounts
        .iter()
        .map(|(name, amount)| (name.clone(), Json::from(amount.to_string())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Whether two lists have the same names with amounts of the same size, whatever they are written in.
pub fn same(a: &Amounts, b: &Amounts) -> bool {
    a.len() == b.len()
        && a.iter().all(|(name, amount)| b.get(name).is_some_and(|other| other.exact_milli() == amount.exact_milli()))
}

/// Group and plural of the kind whose objects a quota's name counts; `None` when it counts none.
pub fn counted_by(name: &str) -> Option<(&str, &str)> {
    if let Some(resource) = name.strip_prefix("count/") {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        return Some((group, plural));
    }
    if name.ends_with(DEVICES) {
        return Some(("resource.k8s.io", "resourceclaims"));
    }
    let claims = name.rsplit_once(OF_CLASS).map_or(name, |(_, what)| what);
    if matches!(claims, "persistentvolumeclaims" | "requests.storage") {
        return Some(("", "persistentvolumeclaims"));
    }
    match name {
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => return Some(("", name)),
        "services" | "services.nodeports" | "services.loadbalancers" => return Some(("", "services")),
        _ => {}
    }
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let measured = matches!(bare, "cpu" | "memory" | "ephemeral-storage");
    let huge = name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-");
    let extended = name.starts_with("requests.") && usage::is_foreign(name);
    (name == "pods" || measured || huge || extended).then_some(("", "pods"))
}

/// Whether objects of a kind are never counted: upstream leaves out Events, and what is answered and not kept.
pub fn is_ignored(group: &str, plural: &str) -> bool {
    matches!((group, plural), ("" | "events.k8s.io", "events") | ("", "bindings"))
}

/// A write of an object, as quotas see it.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// Group of the kind; empty for core.
    pub group: &'a str,
    /// Plural of the kind.
    pub plural: &'a str,
    /// What the object becomes.
    pub new: &'a Json,
    /// What it was; `None` when it is new.
    pub old: Option<&'a Json>,
    /// Now: a pod that should be gone by now does not count.
    pub now: Timestamp,
}

impl Change<'_> {
    /// Whether it may add anything to any quota. Most updates cannot, and that is quickly told.
    pub fn may_add(&self) -> bool {
        if is_ignored(self.group, self.plural) {
            return false;
        }
        let Some(old) = self.old else { return true };
        let kinds =
            [("", "pods"), ("", "services"), ("", "persistentvolumeclaims"), ("resource.k8s.io", "resourceclaims")];
        // What of a status counts: whether a pod has ended, its class, and what a claim was given.
        let status =
            ["phase", "qosClass", "allocatedResources", "currentVolumeAttributesClassName", "modifyVolumeStatus"];
        let changed = |path: &[&str]| at(self.new, path) != at(old, path);
        kinds.contains(&(self.group, self.plural))
            && (changed(&["spec"]) || status.iter().any(|field| changed(&["status", field])))
    }
}

/// A ResourceQuota as it is in force: bounds and use of its status, scopes of its spec.
#[derive(Clone, Debug)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// `status.hard`.
    pub hard: Amounts,
    /// `status.used`.
    pub used: Amounts,
    terms: Vec<Term>,
}

impl Quota {
    /// From its document.
    pub fn of(doc: &Json) -> Quota {
        Quota {
            name: crate::show::text(doc, &["metadata", "name"]).to_string(),
            hard: amounts(at(doc, &["status", "hard"])),
            used: amounts(at(doc, &["status", "used"])),
            terms: scopes::terms(doc.get("spec").unwrap_or(&Json::Null)),
        }
    }

    /// Whether its scopes select an object.
    pub fn selects(&self, group: &str, plural: &str, doc: &Json) -> bool {
        self.terms.iter().all(|term| term.selects(group, plural, doc))
    }

    /// The names among its bounds that count objects of a kind.
    fn bounds<'q>(&'q self, group: &'q str, plural: &'q str) -> impl Iterator<Item = &'q str> {
        self.hard.keys().map(String::as_str).filter(move |name| counted_by(name) == Some((group, plural)))
    }

    /// What a change adds to what it bounds. A change that takes something away adds nothing: only who counts
    /// everything gives back.
    pub fn added(&self, change: &Change<'_>) -> Amounts {
        let counted = |doc: &Json| match self.selects(change.group, change.plural, doc) {
            true => usage(change.group, change.plural, doc, change.now),
            false => Amounts::new(),
        };
        let mut added = counted(change.new);
        added.retain(|name, _| self.hard.contains_key(name));
        let before = change.old.filter(|_| !added.is_empty()).map(counted).unwrap_or_default();
        for (name, amount) in &mut added {
            *amount = amount.minus(before.get(name).copied().unwrap_or(Quantity::ZERO));
        }
        added.retain(|_, amount| amount.exact_milli() > 0);
        added
    }

    /// Why a new object cannot be counted, in upstream's words: it does not name what the quota bounds, or nobody knows
    /// yet how much of that is used.
    pub fn uncountable(&self, change: &Change<'_>) -> Option<String> {
        let bounds: Vec<&str> = self.bounds(change.group, change.plural).collect();
        if bounds.is_empty() || !self.selects(change.group, change.plural, change.new) {
            return None;
        }
        if (change.group, change.plural) == ("", "pods")
            && change.old.is_none()
            && let Some(missing) = unnamed(&bounds, change.new)
        {
            return Some(format!("failed quota: {}: must specify {missing}", self.name));
        }
        if bounds.iter().any(|name| !self.used.contains_key(*name)) {
            return Some(format!("status unknown for quota: {}, resources: {}", self.name, bounds.join(",")));
        }
        None
    }

    /// Why what is added is too much, in upstream's words.
    pub fn exceeded(&self, added: &Amounts) -> Option<String> {
        let used = |name: &str| self.used.get(name).copied().unwrap_or(Quantity::ZERO);
        let over = |name: &&String| {
            let sum = used(name).plus(added[*name]);
            self.hard.get(*name).is_some_and(|hard| sum.exact_milli() > hard.exact_milli())
        };
        let over: Vec<&String> = added.keys().filter(over).collect();
        if over.is_empty() {
            return None;
        }
        let list = |amount: &dyn Fn(&str) -> Quantity| {
            over.iter().map(|name| format!("{name}={}", amount(name))).collect::<Vec<_>>().join(",")
        };
        Some(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            self.name,
            list(&|name| added[name]),
            list(&used),
            list(&|name| self.hard[name]),
        ))
    }

    /// What is used with this added.
    pub fn with(&self, added: &Amounts) -> Amounts {
        let mut used = self.used.clone();
        usage::add(&mut used, added);
        used
    }
}

#[cfg(test)]
mod tests;
