//! networking.k8s.io/v1 ServiceCIDR and IPAddress.

use super::rules::{canonical_cidr, text};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, items_at, set};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use ipnet::IpNet;
use serde_json::json;
use std::net::IpAddr;

/// networking.k8s.io/v1 IPAddress.
pub(crate) struct IpAddress;

impl Strategy for IpAddress {
    fn name_problems(&self, name: &str) -> Vec<String> {
        match name.parse::<IpAddr>() {
            Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_string()],
            Ok(ip) if ip.to_string() != name => vec![format!("must be in canonical form ({:?})", ip.to_string())],
            Ok(_) => Vec::new(),
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec.parentRef");
        let Some(parent) = at(doc, &["spec", "parentRef"]) else { return errors.required(&path, "") };
        let group = text(parent, "group");
        if !group.is_empty() {
            errors.all_invalid(&path.child("group"), group, names::dns_subdomain(group));
        }
        for field in ["resource", "name", "namespace"] {
            match text(parent, field) {
                "" if field == "namespace" => {}
                "" => errors.required(&path.child(field), ""),
                value => errors.all_invalid(&path.child(field), value, names::path_segment(value)),
            }
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["spec", "parentRef"], &FieldPath::new("spec.parentRef"), errors);
    }
}

/// networking.k8s.io/v1 ServiceCIDR.
pub(crate) struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({}));
    }

    fn validate_new(&self, doc: &Json, errors: &mut FieldErrors) {
        validate_cidrs(doc, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec.cidrs");
        let (now, before) = (items_at(doc, &["spec", "cidrs"]), items_at(old, &["spec", "cidrs"]));
        // A second family may join.
        let grows = before.len() == 1 && now.len() == 2;
        if now.len() != before.len() && !grows {
            return errors.invalid(&path, now.to_vec(), "field is immutable");
        }
        for (index, (now, before)) in now.iter().zip(before).enumerate() {
            if now != before {
                errors.invalid(&path.index(index), now.clone(), "field is immutable");
            }
        }
        if grows {
            validate_cidrs(doc, errors);
        }
    }
}

fn validate_cidrs(doc: &Json, errors: &mut FieldErrors) {
    let (path, cidrs) = (FieldPath::new("spec.cidrs"), items_at(doc, &["spec", "cidrs"]));
    if cidrs.is_empty() {
        return errors.required(&path, "at least one CIDR required");
    }
    if cidrs.len() > 2 {
        let shown = doc.get("spec").cloned().unwrap_or_default();
        return errors.invalid(&path, shown, "may only hold up to 2 values");
    }
    let mut families = Vec::new();
    for (index, cidr) in cidrs.iter().filter_map(Json::as_str).enumerate() {
        canonical_cidr(cidr, &path.index(index), errors);
        families.extend(cidr.parse::<IpNet>().ok().map(|net| net.addr().is_ipv4()));
    }
    if matches!(families[..], [one, other] if one == other) {
        let text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(&path, cidrs.to_vec(), text);
    }
}
