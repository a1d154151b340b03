//! core/v1 Node.

use super::{resource_names, tolerations};
use crate::strategy::{Strategy, keep_all_but_status};
use holdfast_core::json::{at, copy, default, items_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// core/v1 Node.
pub(crate) struct Node;

impl Strategy for Node {
    fn default(&self, doc: &mut Json) {
        default(doc, &["spec"], serde_json::json!({}));
        // `podCIDRs` is the list, `podCIDR` its first.
        let first = items_at(doc, &["spec", "podCIDRs"]).first().cloned();
        match (first, str_at(doc, &["spec", "podCIDR"]).map(str::to_string)) {
            (Some(first), _) => default(doc, &["spec", "podCIDR"], first),
            (None, Some(single)) if !single.is_empty() => set(doc, &["spec", "podCIDRs"], vec![single]),
            _ => {}
        }
        if let Some(capacity) = at(doc, &["status", "capacity"]).cloned() {
            default(doc, &["status", "allocatable"], capacity);
        }
    }

    /// Upstream keeps the status of a new Node, since the kubelet registers with it; only updates are split. A
    /// Node is small and comes from its node, so the same is done here.
    fn has_status(&self) -> bool {
        false
    }

    fn prepare_for_update(&self, doc: &mut Json, old: &Json) {
        copy(old, doc, &["status"]);
    }

    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        Some(&["ownerReferences"])
    }

    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        keep_all_but_status(doc, old);
        copy(old, doc, &["metadata", "ownerReferences"]);
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        // Upstream's path.
        let at_taints = FieldPath::new("metadata").child("taints");
        tolerations::validate_taints(items_at(doc, &["spec", "taints"]), &at_taints, errors);
        for (index, cidr) in items_at(doc, &["spec", "podCIDRs"]).iter().filter_map(Json::as_str).enumerate() {
            if cidr.parse::<ipnet::IpNet>().is_err() {
                let path = path.child("podCIDRs").index(index);
                errors.invalid(&path, cidr, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
            }
        }
        one_a_family(items_at(doc, &["spec", "podCIDRs"]), &path.child("podCIDRs"), errors);
        for list in ["capacity", "allocatable"] {
            for (name, amount) in at(doc, &["status", list]).and_then(Json::as_object).into_iter().flatten() {
                // Upstream's path.
                resource_names::amount(name, amount, &FieldPath::new("status").child(list).child(name), errors);
            }
        }
        addresses(doc, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        for field in ["podCIDR", "podCIDRs", "providerID"] {
            let before = at(old, &["spec", field]);
            if before.is_some() && before != at(doc, &["spec", field]) {
                let text = if field == "providerID" {
                    "node updates may not change providerID except from \"\" to valid"
                } else {
                    "node updates may not change podCIDR except from \"\" to valid"
                };
                errors.forbidden(&FieldPath::new("spec").child(field), text);
            }
        }
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        addresses(doc, errors);
    }
}

/// Tells of two networks of one family.
fn one_a_family(cidrs: &[Json], path: &FieldPath, errors: &mut FieldErrors) {
    let parsed: Vec<ipnet::IpNet> =
        cidrs.iter().filter_map(Json::as_str).filter_map(|cidr| cidr.parse().ok()).collect();
    let both =
        matches!(parsed[..], [ipnet::IpNet::V4(_), ipnet::IpNet::V6(_)] | [ipnet::IpNet::V6(_), ipnet::IpNet::V4(_)]);
    if cidrs.len() > 1 && !both {
        errors.invalid(path, cidrs.to_vec(), "may specify no more than one CIDR for each IP family");
    }
}

fn addresses(doc: &Json, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for (index, address) in items_at(doc, &["status", "addresses"]).iter().enumerate() {
        if seen.contains(&address) {
            errors.duplicate(&FieldPath::new("status.addresses").index(index), address.clone());
        }
        seen.push(address);
    }
}
