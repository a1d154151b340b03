//! What a status of a pod may say, and what may follow it.

use super::update;
use crate::kinds::rules::{ip_address, text};
use holdfast_core::json::{i64_at, items_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

/// Conditions that need no name of the form that others have.
const OF_THE_SYSTEM: &[&str] = &["PodScheduled", "Ready", "Initialized"];
const LISTS: &[&str] = &["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];

/// Makes the two forms of a pod's address agree, as upstream's conversion does: who knows only the old one means it.
pub(super) fn prepare(doc: &mut Json) {
    let (address, all) = (str_at(doc, &["status", "podIP"]), items_at(doc, &["status", "podIPs"]));
    let first = all.first().map(|one| text(one, "ip"));
    match (address.filter(|address| !address.is_empty()), first) {
        (Some(address), first) if first != Some(address) => {
            let all = serde_json::json!([{ "ip": address }]);
            set(doc, &["status", "podIPs"], all);
        }
        (None, Some(first)) => {
            let first = first.to_string();
            set(doc, &["status", "podIP"], first);
        }
        _ => {}
    }
}

/// Problems of a new status.
pub(super) fn validate(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("status");
    conditions(doc, &path.child("conditions"), errors);
    nominated(doc, old, &path.child("nominatedNodeName"), errors);
    generation(doc.get("status").unwrap_or(&Json::Null), &path, errors);
    let class = |doc: &Json| str_at(doc, &["status", "qosClass"]).unwrap_or_default().to_string();
    if class(doc) != class(old) {
        errors.invalid(&path.child("qosClass"), class(doc), "field is immutable");
    }
    update::transitions(doc, old, errors);
    claims(doc, &path.child("resourceClaimStatuses"), errors);
    addresses(doc, old, "podIPs", &path, errors);
    if let Some(first) = items_at(doc, &["status", "hostIPs"]).first().map(|one| text(one, "ip"))
        && first != str_at(doc, &["status", "hostIP"]).unwrap_or_default()
    {
        errors.invalid(&path.child("hostIPs").index(0).child("ip"), first, "must be equal to `hostIP`");
    }
    addresses(doc, old, "hostIPs", &path, errors);
    for list in LISTS {
        for (index, status) in items_at(doc, &["status", list]).iter().enumerate() {
            user(status, doc, &path.child(list).index(index).child("user").child("linux"), errors);
        }
    }
}

fn generation(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(generation) = i64_at(doc, &["observedGeneration"]).filter(|generation| *generation < 0) {
        errors.invalid(&path.child("observedGeneration"), generation, "must be a non-negative integer");
    }
}

fn conditions(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, condition) in items_at(doc, &["status", "conditions"]).iter().enumerate() {
        generation(condition, &path.index(index), errors);
        let name = text(condition, "type");
        if !OF_THE_SYSTEM.contains(&name) {
            // Upstream calls the field by its Go name.
            errors.all_invalid(&path.index(index).child("Type"), name, names::qualified_name(name));
        }
    }
}

fn nominated(doc: &Json, old: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let of = |doc: &Json| str_at(doc, &["status", "nominatedNodeName"]).unwrap_or_default().to_string();
    let node = of(doc);
    if node.is_empty() || node == of(old) {
        return;
    }
    errors.all_invalid(path, &node, names::dns_subdomain(&node));
    if str_at(old, &["spec", "nodeName"]).is_some_and(|node| !node.is_empty()) {
        errors.forbidden(path, "may not be set on pods that are already bound to a node");
    }
}

fn claims(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, status) in items_at(doc, &["status", "resourceClaimStatuses"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(status, "name");
        if !items_at(doc, &["spec", "resourceClaims"]).iter().any(|claim| text(claim, "name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(&path.child("name"), name, detail);
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if let Some(claim) = status.get("resourceClaimName").and_then(Json::as_str) {
            errors.all_invalid(&path.child("resourceClaimName"), claim, names::dns_subdomain(claim));
        }
    }
}

/// Addresses of a list: new ones must be some, and there is one a family.
fn addresses(doc: &Json, old: &Json, list: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child(list);
    let all = items_at(doc, &["status", list]);
    for (index, address) in all.iter().map(|one| text(one, "ip")).enumerate() {
        let stood = items_at(old, &["status", list]).iter().any(|one| text(one, "ip") == address);
        if !stood {
            ip_address(address, &path.index(index), errors);
        }
    }
    let families = |v4: bool| {
        all.iter().filter(|one| IpAddr::from_str(text(one, "ip")).is_ok_and(|ip| ip.is_ipv4() == v4)).count()
    };
    if all.len() > 1 && (all.len() > 2 || families(true) != 1 || families(false) != 1) {
        errors.invalid(&path, all.to_vec(), "may specify no more than one IP for each IP family");
    }
}

fn user(status: &Json, pod: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(user) = holdfast_core::json::at(status, &["user", "linux"]).filter(|user| !user.is_null()) else { return };
    if str_at(pod, &["spec", "os", "name"]) == Some("windows") {
        return errors.forbidden(path, "cannot be set for a windows pod");
    }
    let mut check = |id: &Json, path: &FieldPath| {
        if let Some(id) = id.as_i64().filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
            errors.invalid(path, id, "must be between 0 and 2147483647, inclusive");
        }
    };
    for field in ["uid", "gid"] {
        check(user.get(field).unwrap_or(&Json::Null), &path.child(field));
    }
    for (index, group) in items_at(user, &["supplementalGroups"]).iter().enumerate() {
        check(group, &path.child("supplementalGroups").index(index));
    }
}
