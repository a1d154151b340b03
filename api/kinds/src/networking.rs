//! networking.k8s.io: Ingress, IngressClass, NetworkPolicy, IPAddress, ServiceCIDR.

use crate::show::{AGE, NAME, NONE, age, column, name, or, selector_or_none, text};
use crate::{Kind, Subresource};
use holdfast_core::json::{at, items_at};
use holdfast_core::{Json, Timestamp};
use std::collections::BTreeSet;

const GROUP: &str = "networking.k8s.io";

/// networking.k8s.io/v1 Ingress.
pub(crate) const INGRESS: Kind = Kind {
    group: GROUP,
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    subresources: &[Subresource::status(GROUP, "Ingress")],
    schema: "io.k8s.api.networking.v1.Ingress",
    columns: &[
        NAME,
        column("Class", "string", "Who serves it."),
        column("Hosts", "string", "The host names that it serves."),
        column("Address", "string", "Where it is reached."),
        column("Ports", "string", "The ports that it serves."),
        AGE,
    ],
    row: ingress_row,
    ..Kind::BASE
};

/// networking.k8s.io/v1 IngressClass.
pub(crate) const INGRESS_CLASS: Kind = Kind {
    group: GROUP,
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    schema: "io.k8s.api.networking.v1.IngressClass",
    columns: &[
        NAME,
        column("Controller", "string", "Who serves the Ingresses of this class."),
        column("Parameters", "string", "What the controller is told."),
        AGE,
    ],
    row: ingress_class_row,
    ..Kind::BASE
};

/// networking.k8s.io/v1 NetworkPolicy.
pub(crate) const NETWORK_POLICY: Kind = Kind {
    group: GROUP,
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    schema: "io.k8s.api.networking.v1.NetworkPolicy",
    columns: &[NAME, column("Pod-Selector", "string", "The pods that it is for."), AGE],
    row: |doc, now| vec![name(doc), selector_or_none(at(doc, &["spec", "podSelector"])).into(), age(doc, now)],
    ..Kind::BASE
};

/// networking.k8s.io/v1 IPAddress.
pub(crate) const IP_ADDRESS: Kind = Kind {
    group: GROUP,
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    namespaced: false,
    schema: "io.k8s.api.networking.v1.IPAddress",
    columns: &[NAME, column("ParentRef", "string", "Who has the address.")],
    row: |doc, _| vec![name(doc), parent(doc).into()],
    ..Kind::BASE
};

/// networking.k8s.io/v1 ServiceCIDR.
pub(crate) const SERVICE_CIDR: Kind = Kind {
    group: GROUP,
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    namespaced: false,
    subresources: &[Subresource::status(GROUP, "ServiceCIDR")],
    schema: "io.k8s.api.networking.v1.ServiceCIDR",
    columns: &[NAME, column("CIDRs", "string", "The addresses that Services get theirs from."), AGE],
    row: |doc, now| {
        let cidrs: Vec<&str> = items_at(doc, &["spec", "cidrs"]).iter().filter_map(Json::as_str).collect();
        vec![name(doc), cidrs.join(",").into(), age(doc, now)]
    },
    ..Kind::BASE
};

/// At most three hosts of the rules; `*` when none has one.
fn hosts(doc: &Json) -> String {
    const SHOWN: usize = 3;
    let rules = items_at(doc, &["spec", "rules"]);
    let named = rules.iter().map(|rule| text(rule, &["host"])).filter(|host| !host.is_empty());
    let shown: Vec<&str> = named.take(SHOWN).collect();
    match shown.len() {
        0 => "*".to_string(),
        // Upstream counts all rules beyond the hosts shown, named or not.
        SHOWN if rules.len() > SHOWN && later_than(rules, &shown) => {
            format!("{} + {} more...", shown.join(","), rules.len() - SHOWN)
        }
        _ => shown.join(","),
    }
}

/// Whether rules stand after the one that gave the last of `shown`.
fn later_than(rules: &[Json], shown: &[&str]) -> bool {
    let mut left = shown.len();
    rules.iter().any(|rule| {
        let after = left == 0;
        if !text(rule, &["host"]).is_empty() && left > 0 {
            left -= 1;
        }
        after
    })
}

fn ingress_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let addresses: BTreeSet<&str> = items_at(doc, &["status", "loadBalancer", "ingress"])
        .iter()
        .map(|one| or(text(one, &["ip"]), text(one, &["hostname"])))
        .filter(|address| !address.is_empty())
        .collect();
    let addresses: Vec<&str> = addresses.into_iter().collect();
    let ports = if items_at(doc, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        name(doc),
        or(text(doc, &["spec", "ingressClassName"]), NONE).into(),
        hosts(doc).into(),
        addresses.join(",").into(),
        ports.into(),
        age(doc, now),
    ]
}

fn ingress_class_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let annotations = at(doc, &["metadata", "annotations"]);
    let default = annotations.and_then(|all| all.get("ingressclass.kubernetes.io/is-default-class"));
    let mark = if default.and_then(Json::as_str) == Some("true") { " (default)" } else { "" };
    let parameters = at(doc, &["spec", "parameters"]).map_or_else(
        || NONE.to_string(),
        |of| {
            let group = text(of, &["apiGroup"]);
            let dot = if of.get("apiGroup").is_some() { "." } else { "" };
            format!("{}{dot}{group}/{}", text(of, &["kind"]), text(of, &["name"]))
        },
    );
    vec![
        format!("{}{mark}", text(doc, &["metadata", "name"])).into(),
        text(doc, &["spec", "controller"]).into(),
        parameters.into(),
        age(doc, now),
    ]
}

/// `services/default/kubernetes`.
fn parent(doc: &Json) -> String {
    let Some(of) = at(doc, &["spec", "parentRef"]) else { return NONE.to_string() };
    let (group, resource, namespace) = (text(of, &["group"]), text(of, &["resource"]), text(of, &["namespace"]));
    let mut shown = if group.is_empty() { resource.to_string() } else { format!("{resource}.{group}") }.to_lowercase();
    for part in [namespace, text(of, &["name"])] {
        if !part.is_empty() {
            shown = format!("{shown}/{part}");
        }
    }
    shown
}
